import assert from 'node:assert/strict';
import { test } from 'node:test';
import { applyEvent, newAnswer, shownText, type Answer } from '../src/model/answer.ts';
import { message } from './make.ts';

const event = (id: number, name: string, data: unknown) => ({ id: String(id), event: name, data: JSON.stringify(data) });
const token = (id: number, text: string) => event(id, 'token', { text });
const apply = (answer: Answer, ...events: ReturnType<typeof event>[]): Answer => events.reduce(applyEvent, answer);

test('tokens_in_order_are_joined', () => {
  const answer = apply(newAnswer(), event(1, 'created', { user_message: null, message: message('a', 'q') }), token(2, 'Hel'), token(3, 'lo'));
  assert.equal(shownText(answer), 'Hello');
  assert.equal(answer.lastEventId, '3');
  assert.equal(answer.message?.message_id, 'a');
});

test('tokens_repeated_after_attaching_are_dropped', () => {
  const answer = apply(newAnswer(), token(2, 'Hel'), token(3, 'lo'), token(2, 'Hel'), token(3, 'lo'), token(4, '!'));
  assert.equal(shownText(answer), 'Hello!');
});

test('attach_from_the_start_never_shrinks_what_is_shown', () => {
  let answer = newAnswer(message('a', 'q', { content: 'Hello wor', status: 'streaming' }));
  const shown: string[] = [];
  for (const e of [token(2, 'Hello'), token(3, ' world'), token(4, '!')]) {
    answer = applyEvent(answer, e);
    shown.push(shownText(answer));
  }
  assert.deepEqual(shown, ['Hello wor', 'Hello world', 'Hello world!']);
});

test('reset_replaces_the_text_and_the_numbering', () => {
  const answer = apply(newAnswer(), token(40, 'a long text'), event(7, 'reset', { text: 'short' }), token(8, 'er'));
  assert.equal(shownText(answer), 'shorter');
  assert.equal(answer.lastEventId, '8');
});

test('done_takes_the_stored_text', () => {
  const answer = apply(newAnswer(), token(1, 'dra'), event(2, 'done', { message: message('a', 'q', { content: 'draft' }) }));
  assert.equal(answer.ended, true);
  assert.equal(answer.error, null);
  assert.equal(shownText(answer), 'draft');
});

test('error_keeps_the_text_and_says_why', () => {
  const failed = message('a', 'q', { content: 'so far', status: 'failed' });
  const answer = apply(newAnswer(), token(1, 'so far'), event(2, 'error', { error: { message: 'the model server failed' }, message: failed }));
  assert.equal(answer.ended, true);
  assert.equal(shownText(answer), 'so far');
  assert.equal(answer.error?.message, 'the model server failed');
});

test('queued_is_over_with_the_first_token', () => {
  const queued = apply(newAnswer(), event(1, 'queued', { position: 2 }));
  assert.equal(queued.queuePosition, 2);
  assert.equal(apply(queued, token(2, 'a')).queuePosition, null);
});

test('event_that_cannot_be_read_is_passed_over', () => {
  const bad = [
    { id: '2', event: 'token', data: '{"text":' },
    { id: '3', event: 'token', data: 'null' },
    event(4, 'token', { words: 'x' }),
    event(5, 'done', {}),
    event(6, 'done', { message: null }),
  ];
  const before = apply(newAnswer(), token(1, 'a'));
  assert.deepEqual(apply(before, ...bad), before);
  const end = apply(before, ...bad, event(7, 'done', { message: message('a', 'q', { content: 'a b' }) }));
  assert.equal(shownText(end), 'a b');
});

test('error_without_a_message_keeps_the_answer_that_was_known', () => {
  const known = message('a', 'q', { status: 'streaming' });
  const answer = apply(newAnswer(known), token(1, 'so far'), event(2, 'error', { error: { message: 'gone' } }));
  assert.equal(answer.ended, true);
  assert.equal(answer.message?.message_id, 'a');
  assert.equal(shownText(answer), 'so far');
});
