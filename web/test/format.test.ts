import assert from 'node:assert/strict';
import { test } from 'node:test';
import { sentence } from '../src/api/client.ts';
import { byteSize, dayGroup, duration, foundInDocument, markHits, snippetParts } from '../src/text/format.ts';

test('duration_by_size', () => {
  assert.equal(duration(412.4), '412 ms');
  assert.equal(duration(1240), '1.2 s');
  assert.equal(duration(61_000), '1 min 1 s');
});

test('byte_size_by_size', () => {
  assert.equal(byteSize(12), '12 B');
  assert.equal(byteSize(2048), '2.0 KB');
});

test('day_group_by_age', () => {
  const now = new Date(2026, 5, 15, 1, 0).getTime();
  const ago = (hours: number): string => new Date(now - hours * 3_600_000).toISOString();
  assert.equal(dayGroup(ago(0), now), 'Today');
  assert.equal(dayGroup(ago(2), now), 'Yesterday');
  assert.equal(dayGroup(ago(24 * 5), now), 'Last 7 days');
  assert.equal(dayGroup(ago(24 * 20), now), 'Last 30 days');
  assert.equal(dayGroup(ago(24 * 90), now), 'Older');
});

test('mark_hits_ignores_case_and_patterns', () => {
  assert.deepEqual(markHits('A (cat) and Cats', 'cat'), [
    { text: 'A (', hit: false },
    { text: 'cat', hit: true },
    { text: ') and ', hit: false },
    { text: 'Cat', hit: true },
    { text: 's', hit: false },
  ]);
  assert.deepEqual(markHits('a.b', '.'), [{ text: 'a', hit: false }, { text: '.', hit: true }, { text: 'b', hit: false }]);
  assert.deepEqual(markHits('a', ' '), [{ text: 'a', hit: false }]);
});

test('sentence_from_a_clause', () => {
  assert.equal(sentence('the model server failed'), 'The model server failed.');
  assert.equal(sentence('Try again?'), 'Try again?');
});

test('snippet_marks_become_parts', () => {
  assert.deepEqual(snippetParts('a \u0002cat\u0003 sat'), [{ text: 'a ', hit: false }, { text: 'cat', hit: true }, { text: ' sat', hit: false }]);
  assert.deepEqual(snippetParts('\u0003x\u0002y'), [{ text: 'x', hit: false }, { text: 'y', hit: true }]);
  assert.deepEqual(snippetParts(''), []);
});

test('findings_of_a_document_in_words', () => {
  const found = { policy_version: 0, left_out: 0, replaced: 0, pieces: 1, counts: {}, findings: [] };
  assert.equal(
    foundInDocument({ ...found, left_out: 2, replaced: 1, counts: { prompt_injection: 2, privacy: 1 } }),
    'Found in it: 2 sentences that give orders to an assistant: never shown to the model; 1 piece of personal data or secrets: replaced before the model reads it.',
  );
  assert.equal(foundInDocument({ ...found, left_out: 1, counts: { illicit: 1 } }), 'Found in it: 1 part that the safety policy keeps from the model.');
  assert.match(foundInDocument(found), /used as it is/);
});
