/* Where a passage stands in a document's text. Positions count characters (code points), as the server does. Pure. */
import type { RetrievedDoc } from '../api/types.ts';

const GAP = ' … '; // between sentences of a passage that do not follow each other

const words = (text: string): string[] => text.split(/\s+/).filter((word) => word !== '');

/** A passage as it is read: without the marks of Markdown's headings, which are sentences of an excerpt, too. */
export function withoutMarks(text: string): string {
  return text.replace(/(^|\n)\s*#{1,6} (?=\S)/g, '$1').replace(/(\s)#{2,6} (?=\S)/g, '$1');
}

/** The place of the passage; null when the document has changed since and does not have it any more. */
export function placeOf(characters: string[], doc: Pick<RetrievedDoc, 'text' | 'char_from' | 'char_to'>): [number, number] | null {
  const first = words(doc.text.split(GAP)[0] ?? '').join(' ');
  if (first === '') return null;
  const there = words(characters.slice(doc.char_from, doc.char_to).join('')).join(' ');
  if (there.startsWith(first)) return [doc.char_from, doc.char_to];
  const pattern = words(first).map((word) => word.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&'));
  const content = characters.join('');
  const found = new RegExp(pattern.join('\\s+')).exec(content);
  if (!found) return null;
  const from = [...content.slice(0, found.index)].length;
  return [from, from + [...found[0]].length];
}
