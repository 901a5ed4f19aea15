import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SseParser, readEvents, type SseEvent } from '../src/api/sse.ts';

const STREAM = ': hello\n\nid: 1\nevent: created\ndata: {"a":1}\n\nid: 2\r\nevent: token\r\ndata: {"text":"né"}\r\n\r\nid: 3\rdata: x\rdata:y\r\r\n';

function parse(pieces: string[]): SseEvent[] {
  const parser = new SseParser();
  return pieces.flatMap((piece) => parser.push(piece));
}

test('push_whole_stream_gives_events', () => {
  assert.deepEqual(parse([STREAM]), [
    { id: '1', event: 'created', data: '{"a":1}' },
    { id: '2', event: 'token', data: '{"text":"né"}' },
    { id: '3', event: 'message', data: 'x\ny' },
  ]);
});

test('push_any_split_gives_the_same', () => {
  const whole = parse([STREAM]);
  for (let a = 0; a <= STREAM.length; a++) {
    for (let b = a; b <= STREAM.length; b++) {
      assert.deepEqual(parse([STREAM.slice(0, a), STREAM.slice(a, b), STREAM.slice(b)]), whole, `split at ${a}, ${b}`);
    }
  }
});

test('push_unfinished_event_is_kept_back', () => {
  const parser = new SseParser();
  assert.deepEqual(parser.push('id: 1\ndata: half\n'), []);
  assert.equal(parser.lastEventId, '');
  assert.equal(parser.push('\n').length, 1);
  assert.equal(parser.lastEventId, '1');
});

test('push_comment_and_unknown_field_are_skipped', () => {
  assert.deepEqual(parse([':keep-alive\n\nretry: 10\nfoo: bar\ndata\n\n']), [{ id: '', event: 'message', data: '' }]);
});

test('push_byte_order_mark_is_skipped', () => {
  assert.equal(parse(['\ufeffdata: a\n\n'])[0]?.data, 'a');
});

test('read_events_split_inside_a_character_joins_it', async () => {
  const bytes = new TextEncoder().encode('data: 😀\n\n');
  const body = new ReadableStream<Uint8Array>({
    start(c) {
      c.enqueue(bytes.slice(0, 8));
      c.enqueue(bytes.slice(8));
      c.close();
    },
  });
  const events: SseEvent[] = [];
  for await (const event of readEvents(new Response(body))) events.push(event);
  assert.deepEqual(events.map((e) => e.data), ['😀']);
});
