/* Under an answer: the passages that it was given, each with its place in its document, and which of its sentences stand in
 * them. */
import type { JSX } from 'preact';
import { useState } from 'preact/hooks';
import { ApiError, get } from '../api/client.ts';
import type { Message, RetrievedDoc, SupportedSentence } from '../api/types.ts';
import { reportError } from '../state/ui.ts';
import { plural } from '../text/format.ts';
import { placeOf, withoutMarks } from '../text/passage.ts';

const AROUND = 1200; // characters shown before and behind the passage

/** The document's text with the passage marked. */
function Passage({ doc, roleId }: { doc: RetrievedDoc; roleId: string | null }): JSX.Element | null {
  const [text, setText] = useState<string[] | null>(null);
  const [gone, setGone] = useState(false);
  const open = async (): Promise<void> => {
    try {
      const as = roleId ? `?role_id=${roleId}` : '';
      const document = await get<{ content: string }>(`/api/v1/documents/${doc.doc_id}${as}`);
      setText([...document.content]);
    } catch (error) {
      if (error instanceof ApiError && error.status === 404) setGone(true);
      else reportError(error);
    }
  };
  if (doc.doc_id === null) return null;
  if (gone) return <p class="hint">The document is not there any more.</p>;
  if (text === null)
    return (
      <button type="button" class="button small" onClick={() => void open()}>
        Show in the document
      </button>
    );
  const place = placeOf(text, doc);
  if (!place) return <p class="hint">The document has changed since: this passage is not in it any more.</p>;
  const [from, to] = place;
  const start = Math.max(0, from - AROUND);
  return (
    <div class="source-document" tabIndex={0} role="region" aria-label={`${doc.source_name}, the passage marked`}>
      {start > 0 && '… '}
      {text.slice(start, from).join('')}
      <mark ref={(mark) => mark?.scrollIntoView({ block: 'nearest' })}>{text.slice(from, to).join('')}</mark>
      {text.slice(to, to + AROUND).join('')}
      {text.length > to + AROUND && ' …'}
    </div>
  );
}

const MARKS: Record<SupportedSentence['support'], string> = { supported: 'Supported', weak: 'Weak', unsupported: 'Unsupported' };

/** Each sentence of the answer that claims something, with what the passages say of it. */
function Support({ message }: { message: Message }): JSX.Element | null {
  const list = message.support ?? [];
  if (list.length === 0) return null;
  const characters = [...message.content];
  const supported = list.filter((s) => s.support === 'supported').length;
  return (
    <section aria-label="Checked sentences">
      <p class="support">
        Checked against these: {supported} of {plural(list.length, 'sentence')} {list.length === 1 ? 'is' : 'are'} supported.
      </p>
      <ul class="checked">
        {list.map((s) => (
          <li key={s.char_from} class={s.support}>
            <span class={s.support === 'unsupported' ? 'tag danger' : 'tag'}>
              {MARKS[s.support]}
              {s.passage !== null && ` [${s.passage}]`}
            </span>{' '}
            {characters.slice(s.char_from, s.char_to).join('')}
          </li>
        ))}
      </ul>
    </section>
  );
}

/** An address of the web that a passage came from. */
function Address({ doc }: { doc: RetrievedDoc }): JSX.Element | null {
  if (!/^https?:\/\//i.test(doc.uri)) return null;
  return (
    <a class="source-address" href={doc.uri} target="_blank" rel="noopener noreferrer nofollow">
      {doc.uri}
    </a>
  );
}

export function Sources({ message }: { message: Message }): JSX.Element | null {
  const docs = message.retrieved_docs;
  if (docs.length === 0) return null;
  return (
    <details class="sources">
      <summary>{docs.length === 1 ? '1 source' : `${docs.length} sources`}</summary>
      <ol>
        {docs.map((doc) => (
          <li key={doc.n} value={doc.n} tabIndex={-1}>
            <strong>{doc.title || doc.source_name}</strong>
            {doc.heading && doc.heading !== doc.title && ` — ${doc.heading}`}
            {doc.page !== null && ((doc.page_to ?? 0) > doc.page ? `, pages ${doc.page}–${doc.page_to}` : `, page ${doc.page}`)}
            {doc.cited && <span class="tag">cited</span>}
            <blockquote>{withoutMarks(doc.text)}</blockquote>
            <Address doc={doc} />
            <Passage doc={doc} roleId={message.assistant_role_id} />
          </li>
        ))}
      </ol>
      <Support message={message} />
    </details>
  );
}

/** Opens the sources of the answer that the element stands in, at the nth passage. */
export function showSource(from: Element, n: string): void {
  const details = from.closest('.answer')?.querySelector<HTMLDetailsElement>('details.sources');
  const item = details?.querySelector<HTMLElement>(`li[value="${n}"]`);
  if (!details || !item) return;
  details.open = true;
  item.focus({ preventScroll: true });
  item.scrollIntoView({ block: 'nearest' });
}
