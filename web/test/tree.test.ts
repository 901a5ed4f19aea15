import assert from 'node:assert/strict';
import { test } from 'node:test';
import { leafBelow, pathTo } from '../src/model/tree.ts';
import { byId, message } from './make.ts';

const TREE = byId([
  message('q1', null),
  message('a1', 'q1'),
  message('q2', 'a1'),
  message('a2', 'q2'),
  message('a2b', 'q2'),
  message('q2b', 'a1'),
  message('a3', 'q2b'),
]);
const ids = (current: string | null): string[] => pathTo(TREE, current).map((s) => s.message.message_id);

test('path_to_leaf_is_root_first', () => {
  assert.deepEqual(ids('a2'), ['q1', 'a1', 'q2', 'a2']);
  assert.deepEqual(ids('a3'), ['q1', 'a1', 'q2b', 'a3']);
});

test('path_to_inner_message_ends_there', () => {
  assert.deepEqual(ids('a1'), ['q1', 'a1']);
});

test('path_to_unknown_message_is_the_newest', () => {
  assert.deepEqual(ids('gone'), ids('q2b'));
  assert.deepEqual(pathTo(new Map(), null), []);
});

test('path_counts_siblings_oldest_first', () => {
  const steps = pathTo(TREE, 'a2b');
  assert.deepEqual(steps[2]?.siblings, ['q2', 'q2b']);
  assert.deepEqual(steps[3]?.siblings, ['a2', 'a2b']);
  assert.deepEqual(steps[0]?.siblings, ['q1']);
});

test('path_in_a_cycle_ends', () => {
  const broken = byId([message('a', 'b'), message('b', 'a')]);
  assert.equal(pathTo(broken, 'a').length, 2);
});

test('leaf_below_takes_the_newest_child', () => {
  assert.equal(leafBelow(TREE, 'q2'), 'a2b');
  assert.equal(leafBelow(TREE, 'q1'), 'a3');
  assert.equal(leafBelow(TREE, 'a3'), 'a3');
});
