/* A turn over a network that breaks: fetch is a script. */
import assert from 'node:assert/strict';
import { afterEach, test } from 'node:test';
import './page.ts';
import { ApiError, send, setSignedOutHandler } from '../src/api/client.ts';
import { followTurn, type TurnStart } from '../src/api/turn.ts';
import { shownText } from '../src/model/answer.ts';
import type { Message } from '../src/api/types.ts';
import { message } from './make.ts';

type Handler = (path: string, init: RequestInit) => Response | Error;

const realFetch = globalThis.fetch;
const realSetTimeout = globalThis.setTimeout;
/** Pauses up to this one pass at once; those above never end. */
const PAUSE_MS = 10_000;
globalThis.setTimeout = ((run: () => void, ms = 0) =>
  ms <= PAUSE_MS ? realSetTimeout(run, 0) : realSetTimeout(run, 2 ** 31 - 1).unref()) as typeof setTimeout;
let calls: string[] = [];
afterEach(() => {
  globalThis.fetch = realFetch;
  calls = [];
});

function network(handler: Handler): void {
  globalThis.fetch = async (input, init = {}) => {
    const path = String(input);
    if (path === '/api/v1/status') return Response.json({ ready: true });
    const last = (init.headers as Record<string, string>)['last-event-id'];
    calls.push(`${init.method} ${path}${last ? ` from ${last}` : ''}`);
    const answer = handler(path, init);
    if (answer instanceof Error) throw answer;
    return answer;
  };
}

const answering = message('a', 'q', { status: 'streaming' });
const event = (id: number, name: string, data: unknown): string => `id: ${id}\nevent: ${name}\ndata: ${JSON.stringify(data)}\n\n`;
const created = event(1, 'created', { user_message: message('q', null, { sender: 'user' }), message: answering });
const done = (id: number, content: string): string => event(id, 'done', { message: { ...answering, content, status: 'complete' } });

/** A stream of these texts that then ends, or breaks. */
function stream(texts: string[], breaks = false): Response {
  const encoder = new TextEncoder();
  const queue = texts.map((t) => encoder.encode(t));
  const body = new ReadableStream<Uint8Array>({
    pull(c) {
      const next = queue.shift();
      if (next) c.enqueue(next);
      else if (breaks) c.error(new TypeError('network error'));
      else c.close();
    },
  });
  return new Response(body, { headers: { 'content-type': 'text/event-stream' } });
}

function start(): TurnStart {
  return { path: '/post', body: { content: 'hi' } };
}

const follow = (s: TurnStart | null, existing: Message | null = null) =>
  followTurn(s, existing, () => undefined, new AbortController().signal);

test('turn_unbroken_stream_ends_with_done', async () => {
  network(() => stream([created, event(2, 'token', { text: 'Hi' }), done(3, 'Hi')]));
  const end = await follow(start());
  assert.equal(shownText(end), 'Hi');
  assert.deepEqual(calls, ['POST /post']);
});

test('turn_broken_stream_is_attached_from_the_last_event', async () => {
  network((path) => {
    if (path === '/post') return stream([created, event(2, 'token', { text: 'one ' })], true);
    if (path.endsWith('/events')) return stream([event(3, 'token', { text: 'two' }), done(4, 'one two')]);
    return Response.json({ ...answering, content: 'one ' });
  });
  const end = await follow(start());
  assert.equal(shownText(end), 'one two');
  assert.deepEqual(calls, ['POST /post', 'GET /api/v1/messages/a', 'GET /api/v1/messages/a/events from 2']);
});

test('turn_that_ended_meanwhile_is_taken_from_the_store', async () => {
  network((path) => (path === '/post' ? stream([created]) : Response.json({ ...answering, content: 'whole', status: 'complete' })));
  const end = await follow(start());
  assert.equal(end.ended, true);
  assert.equal(shownText(end), 'whole');
});

test('turn_lost_before_created_is_sent_again_with_the_same_key', async () => {
  const keys: string[] = [];
  network((_path, init) => {
    keys.push((init.headers as Record<string, string>)['idempotency-key'] ?? '');
    return keys.length === 1 ? new TypeError('network') : stream([created, done(2, 'second')]);
  });
  const end = await follow(start());
  assert.equal(shownText(end), 'second');
  assert.deepEqual(calls, ['POST /post', 'POST /post']);
  assert.match(keys[0] ?? '', /^[0-9a-f]{32}$/);
  assert.equal(keys[0], keys[1]);
});

test('turn_whose_first_request_is_still_under_way_is_asked_for_again', async () => {
  let tries = 0;
  network(() => {
    tries++;
    if (tries === 1) return new TypeError('network');
    if (tries === 2) return Response.json({ error: { message: 'being carried out', code: 'unavailable' } }, { status: 503 });
    return stream([created, done(2, 'third')]);
  });
  assert.equal(shownText(await follow(start())), 'third');
});

test('request_whose_answer_never_begins_is_given_up', async () => {
  const fast = globalThis.setTimeout;
  globalThis.setTimeout = ((run: () => void) => realSetTimeout(run, 0)) as typeof setTimeout; // 40 s are over at once
  globalThis.fetch = (_path, init) => new Promise((_, reject) => init?.signal?.addEventListener('abort', () => reject(new Error('aborted'))));
  await assert.rejects(send('GET', '/silent'), (e) => e instanceof ApiError && e.isNetwork);
  globalThis.setTimeout = fast;
});

test('request_ends_with_its_callers_signal', async () => {
  const caller = new AbortController();
  globalThis.fetch = (_path, init) => new Promise((_, reject) => init?.signal?.addEventListener('abort', () => reject(new Error('aborted'))));
  const sent = send('GET', '/silent', { signal: caller.signal });
  caller.abort();
  await assert.rejects(sent, (e) => !(e instanceof ApiError));
});

test('turn_refused_is_thrown_with_its_reason', async () => {
  network(() => Response.json({ error: { message: 'the model is busy', code: 'overloaded' } }, { status: 429, headers: { 'retry-after': '3' } }));
  await assert.rejects(follow(start()), (e) => {
    assert.ok(e instanceof ApiError);
    assert.deepEqual([e.status, e.code, e.message, e.retryAfterS], [429, 'overloaded', 'The model is busy.', 3]);
    return true;
  });
});

test('attach_to_an_answer_that_exists_replays_it', async () => {
  network(() => stream([created, event(2, 'token', { text: 'Hello' }), done(3, 'Hello')]));
  const end = await follow(null, { ...answering, content: 'Hel' });
  assert.equal(shownText(end), 'Hello');
  assert.deepEqual(calls, ['GET /api/v1/messages/a/events']);
});

test('turn_whose_end_cannot_be_read_is_taken_from_the_store', async () => {
  network((path) =>
    path === '/post'
      ? stream([created, 'id: 2\nevent: done\ndata: {broken\n\n'])
      : Response.json({ ...answering, content: 'whole', status: 'complete' }),
  );
  const end = await follow(start());
  assert.equal(shownText(end), 'whole');
  assert.deepEqual(calls, ['POST /post', 'GET /api/v1/messages/a']);
});

test('turn_refused_because_the_session_ended_signs_the_page_out', async () => {
  let ended = 0;
  setSignedOutHandler(() => ended++);
  network(() => Response.json({ error: { message: 'sign in first', code: 'unauthorized' } }, { status: 401 }));
  await assert.rejects(follow(start()), (e) => e instanceof ApiError && e.status === 401);
  await assert.rejects(follow(null, answering), (e) => e instanceof ApiError && e.status === 401);
  assert.deepEqual([ended, calls], [2, ['POST /post', 'GET /api/v1/messages/a/events']]);
  setSignedOutHandler(() => undefined);
});
