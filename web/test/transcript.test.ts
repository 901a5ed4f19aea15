import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { RetrievedDoc } from '../src/api/types.ts';
import { fileName, transcript } from '../src/model/transcript.ts';
import { message } from './make.ts';

const doc = (n: number, cited: boolean, fields: Partial<RetrievedDoc> = {}): RetrievedDoc => ({
  n, doc_id: 'd', source_name: 'ferries.md', title: '', uri: '', heading: '', page: null, char_from: 0, char_to: 1, score: 1, cited, text: '', ...fields,
});

test('transcript_says_who_said_what_and_names_cited_sources', () => {
  const text = transcript(
    'Ferries',
    [
      message('q', null, { sender: 'user', content: 'When?\n' }),
      message('a', 'q', { content: 'At ten [1].', retrieved_docs: [doc(1, true, { heading: 'Sundays' }), doc(2, false)] }),
    ],
    () => 'Travel Assistant',
  );
  assert.equal(text, '# Ferries\n\n## You\n\nWhen?\n\n## Travel Assistant\n\nAt ten [1].\n\nSources:\n- [1] ferries.md, Sundays\n');
});

test('transcript_of_nothing_is_its_title', () => assert.equal(transcript('Empty', [], () => ''), '# Empty\n'));

test('file_name_is_one_that_file_systems_take', () => {
  assert.equal(fileName('What is a/b: "c"?'), 'What is a b c.md');
  assert.equal(fileName('..'), 'conversation.md');
  assert.equal(fileName('x'.repeat(200)), 'x'.repeat(80) + '.md');
});
