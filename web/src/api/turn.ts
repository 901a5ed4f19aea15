/* Follows one answer from the first byte to its end, through any number of lost connections.
 *
 *   open ──events──→ ended                      `done` or `error` came
 *    ↑ └──broken──→ wait until the server is back ─→ attach (GET …/events, Last-Event-ID) ─→ events …
 *    └──────── nothing stored? send again ──┘
 *
 * When a POST broke before `created`, the store is asked whether the message arrived, and asked once more after a pause: the write
 * may have been waiting in the server's queue. Only when it is not there is it sent again; a write that waits longer than the
 * pause is stored twice, which only a key that the server knows could prevent. A refusal (any status that is no success) of the
 * POST is thrown. */
import type { Message } from './types.ts';
import { ApiError, backoffMs, errorOf, get, networkError, send, sleep, untilBack } from './client.ts';
import { readEvents } from './sse.ts';
import { applyEvent, newAnswer, type Answer } from '../model/answer.ts';

export interface TurnStart {
  /** Posts the turn; absent when an answer that already exists is followed. */
  path: string;
  body: unknown;
  /** The answer that this POST made, if it was carried out although its reply was lost. */
  findStored: () => Promise<Message | null>;
}

/** How long a write may wait in the server's queue before its absence counts. */
const SETTLE_MS = 2000;

const EVENT_STREAM = 'text/event-stream';

async function openStream(start: TurnStart | null, answer: Answer, signal: AbortSignal): Promise<Response> {
  if (!answer.message) {
    if (!start) throw networkError();
    return send('POST', start.path, { body: start.body, accept: EVENT_STREAM, signal });
  }
  const headers: Record<string, string> = answer.lastEventId ? { 'last-event-id': answer.lastEventId } : {};
  return send('GET', `/api/v1/messages/${answer.message.message_id}/events`, { accept: EVENT_STREAM, headers, signal });
}

/** The answer as the store has it, when it is no longer being written. */
async function settled(answer: Answer): Promise<Answer | null> {
  if (!answer.message) return null;
  const message = await get<Message>(`/api/v1/messages/${answer.message.message_id}`);
  if (message.status === 'streaming') return null;
  return { ...answer, message, text: message.content, known: '', ended: true };
}

async function findStored(start: TurnStart, signal: AbortSignal): Promise<Message | null> {
  const found = await start.findStored();
  if (found) return found;
  await sleep(SETTLE_MS, signal);
  return signal.aborted ? null : start.findStored();
}

export async function followTurn(
  start: TurnStart | null,
  existing: Message | null,
  onAnswer: (answer: Answer) => void,
  signal: AbortSignal,
): Promise<Answer> {
  let answer = newAnswer(existing);
  const set = (next: Answer): void => onAnswer((answer = next));
  for (let attempt = 0; !answer.ended && !signal.aborted; attempt++) {
    try {
      const response = await openStream(start, answer, signal);
      if (response.ok) {
        for await (const event of readEvents(response)) {
          set(applyEvent(answer, event));
          attempt = 0;
          if (answer.ended) return answer;
        }
      } else if (!answer.message || response.status === 401) {
        throw await errorOf(response);
      }
    } catch (error) {
      if (signal.aborted) break;
      if (error instanceof ApiError && !error.isNetwork) throw error;
    }
    await untilBack();
    if (answer.message) {
      const end = await settled(answer);
      if (end) set(end);
    } else if (start) {
      const stored = await findStored(start, signal);
      if (stored) set({ ...newAnswer(stored), userMessage: null });
    }
    if (!answer.ended && attempt > 0) await sleep(backoffMs(attempt), signal);
  }
  return answer;
}
