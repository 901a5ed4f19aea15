/* Documents: one's own and shared ones; added as files or as text, read, deleted; and where they come from by themselves. */
import type { JSX } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import { del, get, post, sentence } from '../../api/client.ts';
import type { Document } from '../../api/types.ts';
import { user } from '../../state/session.ts';
import { confirmation, reportError, toast } from '../../state/ui.ts';
import { byteSize, foundInDocument, fullTime } from '../../text/format.ts';
import { Area, Field, FormError, FormFoot, Toggle, useSubmit } from '../form.tsx';
import { Sources } from './sources.tsx';
import { Uploads } from './uploads.tsx';
import { ListView, useList } from './use-list.tsx';

function AddDocument({ onAdded, onClose }: { onAdded: () => void; onClose: () => void }): JSX.Element {
  const [name, setName] = useState('');
  const [content, setContent] = useState('');
  const [shared, setShared] = useState(false);
  const { busy, error, submit } = useSubmit(async () => {
    await post<Document>('/api/v1/documents', { source_name: name.trim(), content, ...(shared ? { shared } : {}) });
    toast('The document is added.');
    onAdded();
    onClose();
  });
  return (
    <form class="panel-form" onSubmit={submit}>
      <Field label="Name" required maxLength={300} value={name} onInput={setName} />
      <Area label="Text" required rows={8} value={content} onInput={setContent} />
      {user.value?.is_admin && <Toggle label="Shared with everybody here" checked={shared} onChange={setShared} />}
      <FormError error={error} />
      <FormFoot action="Add document" disabled={busy || !name.trim() || !content.trim()} onCancel={onClose} />
    </form>
  );
}

function ReadDocument({ doc, onClose }: { doc: Document; onClose: () => void }): JSX.Element {
  return (
    <>
      <div class="panel-head">
        <button type="button" class="button small" onClick={onClose}>
          Back
        </button>
        <h3>{doc.source_name}</h3>
      </div>
      <pre class="document-text" tabIndex={0}>
        {doc.content || 'There is no text yet.'}
      </pre>
    </>
  );
}

function Status({ doc }: { doc: Document }): JSX.Element | null {
  if (doc.status === 'failed') return <span class="tag danger">Failed</span>;
  if (doc.status === 'pending') return <span class="tag">Being indexed</span>;
  return doc.updating ? <span class="tag">Being updated</span> : null;
}

const LOOK_AGAIN_MS = 1500;

export function Documents(): JSX.Element {
  const list = useList<Document>('/api/v1/documents');
  const waiting = list.items?.some((d) => d.status === 'pending' || d.updating) ?? false;
  useEffect(() => {
    if (!waiting) return undefined;
    const timer = setInterval(list.reload, LOOK_AGAIN_MS);
    return () => clearInterval(timer);
  }, [waiting]);
  const [adding, setAdding] = useState(false);
  const [read, setRead] = useState<Document | null>(null);
  const open = (doc: Document): void => void get<Document>(`/api/v1/documents/${doc.doc_id}`).then(setRead, reportError);
  const remove = (doc: Document): void => {
    confirmation.value = {
      title: 'Delete this document?',
      text: `“${doc.source_name}” is deleted for good.`,
      action: 'Delete',
      run: async () => {
        await del(`/api/v1/documents/${doc.doc_id}`);
        list.reload();
      },
    };
  };
  if (read) return <ReadDocument doc={read} onClose={() => setRead(null)} />;
  return (
    <>
      <div class="panel-head">
        <h3>Documents</h3>
        {!adding && (
          <button type="button" class="button small" onClick={() => setAdding(true)}>
            Add text
          </button>
        )}
      </div>
      <Uploads onAdded={list.reload} />
      {adding && <AddDocument onAdded={list.reload} onClose={() => setAdding(false)} />}
      <ListView
        list={list}
        empty="There are no documents yet."
        row={(doc) => (
          <li key={doc.doc_id}>
            <div class="row-text">
              <button type="button" class="link strong" onClick={() => open(doc)}>
                {doc.source_name}
              </button>
              {doc.shared && <span class="tag">Shared</span>}
              <Status doc={doc} />
              <small>
                {doc.title && doc.title !== doc.source_name ? `${doc.title} · ` : ''}
                {doc.status === 'indexed' ? `${byteSize(doc.content_bytes)} of text, ${doc.chunk_count === 1 ? '1 passage' : `${doc.chunk_count} passages`} · ` : ''}added{' '}
                {fullTime(doc.created_at)}
              </small>
              {doc.safety && <small>{foundInDocument(doc.safety)}</small>}
              {doc.error && <small class="form-error">{sentence(doc.error)}</small>}
            </div>
            {(doc.user_id === user.value?.user_id || user.value?.is_admin) && (
              <button type="button" class="button small" onClick={() => remove(doc)}>
                Delete
              </button>
            )}
          </li>
        )}
      />
      <Sources onChanged={list.reload} />
    </>
  );
}
