/* An answer that is being written, as a value that stream events change.
 *
 * The text shown never shrinks while an attached-again stream repeats what was already read: `known` is the text that was shown
 * before attaching, and the repetition stays hidden behind it until it has caught up. An event that cannot be read is passed over:
 * the stored message, which `done` or the store brings, makes up for it. Pure. */
import type { ApiErrorBody, Message } from '../api/types.ts';
import type { SseEvent } from '../api/sse.ts';

export interface Answer {
  /** Null until `created` came. */
  userMessage: Message | null;
  message: Message | null;
  /** Text received in this numbering of events. */
  text: string;
  known: string;
  lastEventId: string;
  queuePosition: number | null;
  title: string | null;
  /** What is left out of the answer because there is so much to do. */
  notice: string | null;
  error: ApiErrorBody | null;
  ended: boolean;
}

export function newAnswer(message: Message | null = null): Answer {
  return {
    userMessage: null,
    message,
    text: '',
    known: message?.content ?? '',
    lastEventId: '',
    queuePosition: null,
    title: null,
    notice: null,
    error: null,
    ended: false,
  };
}

export function shownText(answer: Answer): string {
  return answer.text.length >= answer.known.length ? answer.text : answer.known;
}

/** Numbered events that were already applied are repetitions of an attached-again stream. */
function isRepeated(answer: Answer, event: SseEvent): boolean {
  const last = Number(answer.lastEventId);
  const id = Number(event.id);
  return event.event !== 'reset' && event.id !== '' && answer.lastEventId !== '' && id <= last;
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const NEEDED: Record<string, (data: Record<string, unknown>) => boolean> = {
  created: (data) => isObject(data['message']),
  queued: (data) => typeof data['position'] === 'number',
  token: (data) => typeof data['text'] === 'string',
  reset: (data) => typeof data['text'] === 'string',
  title: (data) => typeof data['title'] === 'string',
  notice: (data) => typeof data['message'] === 'string',
  done: (data) => isObject(data['message']),
  error: (data) => isObject(data['message']) || isObject(data['error']),
};

/** Null for what is no JSON object or lacks what its kind of event needs. */
function dataOf(event: SseEvent): Record<string, unknown> | null {
  try {
    const data: unknown = JSON.parse(event.data);
    return isObject(data) && (NEEDED[event.event]?.(data) ?? true) ? data : null;
  } catch {
    return null;
  }
}

export function applyEvent(answer: Answer, event: SseEvent): Answer {
  if (isRepeated(answer, event)) return answer;
  const data = dataOf(event);
  if (!data) return answer;
  const next = { ...answer, lastEventId: event.id || answer.lastEventId };
  switch (event.event) {
    case 'created':
      next.userMessage = (data['user_message'] as Message | null) ?? answer.userMessage;
      next.message = data['message'] as Message;
      break;
    case 'queued':
      next.queuePosition = Number(data['position']);
      break;
    case 'token':
      next.text = answer.text + String(data['text']);
      next.queuePosition = null;
      break;
    case 'reset':
      next.text = String(data['text']);
      next.known = '';
      next.queuePosition = null;
      break;
    case 'notice':
      next.notice = String(data['message']);
      break;
    case 'title':
      next.title = String(data['title']);
      break;
    case 'done':
    case 'error':
      next.message = (data['message'] as Message | undefined) ?? answer.message;
      next.error = (data['error'] as ApiErrorBody | undefined) ?? null;
      next.text = (data['message'] as Message | undefined)?.content ?? shownText(answer);
      next.known = '';
      next.ended = true;
      break;
  }
  return next;
}
