import assert from 'node:assert/strict';
import { test } from 'node:test';
import { placeOf, withoutMarks } from '../src/text/passage.ts';

const characters = [...'🌊 Waves.\n\nThe waves are (very) high. It rains.\nBoats stay in.'];
const marked = (text: string, char_from: number, char_to: number): string | null => {
  const place = placeOf(characters, { text, char_from, char_to });
  return place && characters.slice(...place).join('');
};

test('place_of_a_passage_is_where_it_says', () => {
  assert.equal(marked('The waves are (very) high.', 10, 36), 'The waves are (very) high.');
});

test('place_spans_what_a_passage_leaves_out', () => {
  assert.equal(marked('The waves are (very) high. … Boats stay in.', 10, 61), 'The waves are (very) high. It rains.\nBoats stay in.');
});

test('place_does_not_depend_on_how_lines_are_broken', () => {
  assert.equal(marked('It rains. Boats stay in.', 37, 61), 'It rains.\nBoats stay in.');
});

test('place_is_looked_for_when_the_document_has_changed', () => {
  assert.equal(marked('It rains. Boats stay in.', 3, 9), 'It rains.\nBoats stay in.');
  assert.equal(marked('The ferry leaves at ten.', 3, 9), null);
  assert.equal(marked('', 3, 9), null);
});

test('passage_is_read_without_the_marks_of_headings', () => {
  assert.equal(withoutMarks('## Sundays On Sundays at six.'), 'Sundays On Sundays at six.');
  assert.equal(withoutMarks('It rains. ### Boats\n# Stay'), 'It rains. Boats\nStay');
  assert.equal(withoutMarks('C# and # alone, issue #4'), 'C# and # alone, issue #4');
});
