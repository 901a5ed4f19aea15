/* Documents: one's own and shared ones; added as text or from a text file, read, deleted. */
import type { JSX } from 'preact';
import { useState } from 'preact/hooks';
import { del, get, post } from '../../api/client.ts';
import type { Document } from '../../api/types.ts';
import { user } from '../../state/session.ts';
import { confirmation, reportError, toast } from '../../state/ui.ts';
import { byteSize, fullTime } from '../../text/format.ts';
import { Area, Field, FormError, Toggle, useSubmit } from '../form.tsx';
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
  const readFile = (file: File | undefined): void => {
    if (!file) return;
    if (!name) setName(file.name);
    file.text().then(setContent, reportError);
  };
  return (
    <form class="panel-form" onSubmit={submit}>
      <Field label="Name" required maxLength={300} value={name} onInput={setName} />
      <Area label="Text" required rows={8} value={content} onInput={setContent} />
      <label class="field">
        <span>Or take the text of a file</span>
        <input type="file" accept=".txt,.md,.csv,.json,text/*" onChange={(e) => readFile(e.currentTarget.files?.[0])} />
      </label>
      {user.value?.is_admin && <Toggle label="Shared with everybody here" checked={shared} onChange={setShared} />}
      <FormError error={error} />
      <div class="form-actions">
        <button type="button" class="button" onClick={onClose}>
          Cancel
        </button>
        <button class="button primary" disabled={busy || !name.trim() || !content.trim()}>
          Add document
        </button>
      </div>
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
        {doc.content}
      </pre>
    </>
  );
}

export function Documents(): JSX.Element {
  const list = useList<Document>('/api/v1/documents');
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
          <button type="button" class="button primary small" onClick={() => setAdding(true)}>
            Add
          </button>
        )}
      </div>
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
              <small>
                {byteSize(doc.content_bytes)} · added {fullTime(doc.created_at)}
              </small>
            </div>
            {(doc.user_id === user.value?.user_id || user.value?.is_admin) && (
              <button type="button" class="button small" onClick={() => remove(doc)}>
                Delete
              </button>
            )}
          </li>
        )}
      />
    </>
  );
}
