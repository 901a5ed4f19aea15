/* Follows one answer from the first byte to its end, through any number of lost connections.
 *
 *   open ──events──→ ended                      `done` or `error` came
 *    ↑ └──broken──→ wait until the server is back ─→ attach (GET …/events, Last-Event-ID) ─→ events …
 *    └──────── no `created` yet: send again with the same key, by which the server carries it out once
 *
 * A refusal (any status that is no success) of the POST is thrown. */
import type { Message } from './types.ts';
import { ApiError, backoffMs, errorOf, get, networkError, newKey, send, sleep, untilBack } from './client.ts';
import { readEvents } from './sse.ts';
import { applyEvent, newAnswer, type Answer } from '../model/answer.ts';

export interface TurnStart {
  /** Posts the turn; absent when an answer that already exists is followed. */
  path: string;
  body: unknown;
}

const EVENT_STREAM = 'text/event-stream';

async function openStream(start: TurnStart | null, key: string, answer: Answer, signal: AbortSignal): Promise<Response> {
  if (!answer.message) {
    if (!start) throw networkError();
    return send('POST', start.path, { body: start.body, accept: EVENT_STREAM, headers: { 'idempotency-key': key }, signal });
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

export async function followTurn(
  start: TurnStart | null,
  existing: Message | null,
  onAnswer: (answer: Answer) => void,
  signal: AbortSignal,
): Promise<Answer> {
  const key = newKey();
  let wasSent = false; // once sent, "not now" is no refusal: the first may be under way still
  let answer = newAnswer(existing);
  const set = (next: Answer): void => onAnswer((answer = next));
  for (let attempt = 0; !answer.ended && !signal.aborted; attempt++) {
    try {
      const response = await openStream(start, key, answer, signal);
      if (response.ok) {
        for await (const event of readEvents(response)) {
          set(applyEvent(answer, event));
          attempt = 0;
          if (answer.ended) return answer;
        }
      } else if (response.status === 401 || (!answer.message && !(wasSent && response.status === 503))) {
        throw await errorOf(response);
      }
    } catch (error) {
      if (signal.aborted) break;
      if (error instanceof ApiError && !error.isNetwork) throw error;
    }
    wasSent = true;
    await untilBack();
    const end = await settled(answer);
    if (end) set(end);
    if (!answer.ended && attempt > 0) await sleep(backoffMs(attempt), signal);
  }
  return answer;
}
