/* An answer that is being written, as a value that stream events change.
 *
 * The text shown never shrinks while an attached-again stream repeats what was already read: `known` is the text that was shown
 * before attaching, and the repetition stays hidden behind it until it has caught up. Pure. */
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

export function applyEvent(answer: Answer, event: SseEvent): Answer {
  if (isRepeated(answer, event)) return answer;
  const data = JSON.parse(event.data) as Record<string, unknown>;
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
    case 'title':
      next.title = String(data['title']);
      break;
    case 'done':
    case 'error':
      next.message = data['message'] as Message;
      next.error = (data['error'] as ApiErrorBody | undefined) ?? null;
      next.text = next.message?.content ?? shownText(answer);
      next.known = '';
      next.ended = true;
      break;
  }
  return next;
}
