/* Times, durations, sizes and findings in words. */
import type { DocumentSafety } from '../api/types.ts';

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

const clock = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit' });
const day = new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'short' });
const dayYear = new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'short', year: 'numeric' });
const full = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'short' });

const startOfDay = (ms: number): number => new Date(ms).setHours(0, 0, 0, 0);

export function fullTime(iso: string | null): string {
  return iso ? full.format(new Date(iso)) : 'never';
}

/** For lists: the time today, the day this year. */
export function shortTime(iso: string, now = Date.now()): string {
  const time = Date.parse(iso);
  if (startOfDay(now) === startOfDay(time)) return clock.format(time);
  return new Date(time).getFullYear() === new Date(now).getFullYear() ? day.format(time) : dayYear.format(time);
}

/** The heading under which a conversation of that time is listed. */
export function dayGroup(iso: string, now = Date.now()): string {
  const days = Math.round((startOfDay(now) - startOfDay(Date.parse(iso))) / DAY);
  if (days <= 0) return 'Today';
  if (days === 1) return 'Yesterday';
  if (days < 7) return 'Last 7 days';
  return days < 31 ? 'Last 30 days' : 'Older';
}

export function duration(ms: number): string {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < MINUTE) return `${(ms / 1000).toFixed(1)} s`;
  return `${Math.floor(ms / MINUTE)} min ${Math.round((ms % MINUTE) / 1000)} s`;
}

export function byteSize(bytes: number): string {
  if (bytes < 1024) return `${bytes} B`;
  if (bytes < 1024 * 1024) return `${(bytes / 1024).toFixed(1)} KB`;
  return `${(bytes / 1024 / 1024).toFixed(1)} MB`;
}

export function plural(n: number, one: string, many = one + 's'): string {
  return `${n} ${n === 1 ? one : many}`;
}

/** The parts of a search's snippet: the server puts each match between U+0002 and U+0003. */
export function snippetParts(snippet: string): { text: string; hit: boolean }[] {
  let hit = false;
  const parts: { text: string; hit: boolean }[] = [];
  for (const piece of snippet.split(/([\u0002\u0003])/)) {
    if (piece === '\u0002' || piece === '\u0003') hit = piece === '\u0002';
    else if (piece !== '') parts.push({ text: piece, hit });
  }
  return parts;
}

/** The parts of `text` that match one of the words, for marking hits. */
export function markHits(text: string, words: string): { text: string; hit: boolean }[] {
  const parts = words
    .trim()
    .split(/\s+/)
    .filter((w) => w !== '')
    .map((w) => w.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'));
  if (parts.length === 0) return [{ text, hit: false }];
  return text
    .split(new RegExp(`(${parts.join('|')})`, 'giu'))
    .map((part, i) => ({ text: part, hit: i % 2 === 1 }))
    .filter((part) => part.text !== '');
}

const some = (n: number, one: string, more: string): string => (n === 1 ? `1 ${one}` : `${n} ${more}`);

/** What the guard found in a document, and what becomes of it. */
export function foundInDocument(s: DocumentSafety): string {
  const orders = (s.counts['prompt_injection'] ?? 0) + (s.counts['jailbreak'] ?? 0) > 0;
  const parts: string[] = [];
  if (s.left_out)
    parts.push(
      orders
        ? `${some(s.left_out, 'sentence that gives', 'sentences that give')} orders to an assistant: never shown to the model`
        : `${some(s.left_out, 'part', 'parts')} that the safety policy keeps from the model`,
    );
  if (s.replaced) parts.push(`${some(s.replaced, 'piece', 'pieces')} of personal data or secrets: replaced before the model reads it`);
  return parts.length ? `Found in it: ${parts.join('; ')}.` : 'The guard noted something in it; its text is used as it is.';
}
