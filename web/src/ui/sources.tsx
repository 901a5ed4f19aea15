/* Under an answer: the passages that it was given, each with its place in its document, and how many of its sentences stand in
 * them. */
import type { JSX } from 'preact';
import { useState } from 'preact/hooks';
import { get } from '../api/client.ts';
import type { Message, RetrievedDoc } from '../api/types.ts';
import { reportError } from '../state/ui.ts';

const AROUND = 1200; // characters shown before and behind the passage

/** The document's text with the passage marked. Positions count characters (code points), as the server does. */
function Passage({ doc }: { doc: RetrievedDoc }): JSX.Element {
  const [text, setText] = useState<string[] | null>(null);
  const open = async (): Promise<void> => {
    try {
      const document = await get<{ content: string }>(`/api/v1/documents/${doc.doc_id}`);
      setText([...document.content]);
    } catch (error) {
      reportError(error);
    }
  };
  if (text === null)
    return (
      <button type="button" class="button small" onClick={() => void open()}>
        Show in the document
      </button>
    );
  const from = Math.max(0, doc.char_from - AROUND);
  return (
    <div class="source-document" tabIndex={0} role="region" aria-label={`${doc.source_name}, the passage marked`}>
      {from > 0 && '… '}
      {text.slice(from, doc.char_from).join('')}
      <mark ref={(mark) => mark?.scrollIntoView({ block: 'nearest' })}>{text.slice(doc.char_from, doc.char_to).join('')}</mark>
      {text.slice(doc.char_to, doc.char_to + AROUND).join('')}
      {text.length > doc.char_to + AROUND && ' …'}
    </div>
  );
}

function Support({ message }: { message: Message }): JSX.Element | null {
  const list = message.support ?? [];
  if (list.length === 0) return null;
  const characters = [...message.content];
  const missing = list.filter((s) => s.support === 'unsupported');
  const weak = list.filter((s) => s.support === 'weak').length;
  const supported = list.length - missing.length - weak;
  return (
    <>
      <p class="support">
        Checked against these: {supported} of {list.length} sentences are supported{weak > 0 && `, ${weak} only weakly`}
        {missing.length > 0 && `, ${missing.length} not`}.
      </p>
      {missing.length > 0 && (
        <ul class="unsupported" aria-label="Sentences without support">
          {missing.map((s) => (
            <li key={s.char_from}>{characters.slice(s.char_from, s.char_to).join('')}</li>
          ))}
        </ul>
      )}
    </>
  );
}

export function Sources({ message }: { message: Message }): JSX.Element | null {
  const docs = message.retrieved_docs;
  if (docs.length === 0) return null;
  return (
    <details class="sources">
      <summary>
        {docs.length === 1 ? '1 source' : `${docs.length} sources`}
      </summary>
      <ol>
        {docs.map((doc) => (
          <li key={doc.n} value={doc.n}>
            <strong>{doc.title || doc.source_name}</strong>
            {doc.heading && ` — ${doc.heading}`}
            {doc.page !== null && `, page ${doc.page}`}
            {doc.cited && <span class="badge"> cited</span>}
            <blockquote>{doc.text}</blockquote>
            <Passage doc={doc} />
          </li>
        ))}
      </ol>
      <Support message={message} />
    </details>
  );
}
