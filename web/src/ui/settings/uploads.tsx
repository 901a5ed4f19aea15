/* Files to be added as documents: chosen or dropped, sent one after the other, with how far each is. */
import type { JSX } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import { get } from '../../api/client.ts';
import type { Collection, List } from '../../api/types.ts';
import { uploadFile, type Place, type Upload } from '../../api/upload.ts';
import { user } from '../../state/session.ts';
import { reportError } from '../../state/ui.ts';
import { byteSize } from '../../text/format.ts';

function UploadRow({ upload }: { upload: Upload }): JSX.Element {
  return (
    <li>
      <div class="row-text">
        <strong>{upload.name}</strong>
        {upload.error ? (
          <small class="form-error" role="alert">
            {upload.error}
          </small>
        ) : (
          <small>
            {byteSize(upload.sent)} of {byteSize(upload.bytes)}
          </small>
        )}
        {!upload.error && <progress max={upload.bytes || 1} value={upload.sent} aria-label={`Sending ${upload.name}`} />}
      </div>
    </li>
  );
}

const OWN = 'own';
const SHARED = 'shared';

function placeFrom(value: string): Place {
  return value === OWN || value === SHARED ? { kind: value } : { kind: 'collection', id: value };
}

/** Whom the files are for; nothing to choose where there is no choice. */
function PlaceField({ value, onChange }: { value: string; onChange: (value: string) => void }): JSX.Element | null {
  const [collections, setCollections] = useState<Collection[]>([]);
  const admin = user.value?.is_admin ?? false;
  useEffect(() => {
    get<List<Collection>>('/api/v1/collections').then((page) => setCollections(page.data), reportError);
  }, []);
  // the first private one, whose id is the user's, is where one's documents are anyway
  const own = collections.filter((c) => c.kind === 'private' && c.collection_id !== user.value?.user_id);
  const others = admin ? collections.filter((c) => c.kind === 'role') : [];
  if (!admin && own.length === 0) return null;
  return (
    <label class="field">
      <span>Files are for</span>
      <select value={value} onChange={(e) => onChange(e.currentTarget.value)}>
        <option value={OWN}>me</option>
        {admin && <option value={SHARED}>everybody here</option>}
        {own.map((c) => (
          <option key={c.collection_id} value={c.collection_id}>
            me, in “{c.name}”
          </option>
        ))}
        {others.map((c) => (
          <option key={c.collection_id} value={c.collection_id}>
            roles that read “{c.name}”
          </option>
        ))}
      </select>
    </label>
  );
}

export function Uploads({ onAdded }: { onAdded: () => void }): JSX.Element {
  const [uploads, setUploads] = useState<Upload[]>([]);
  const [place, setPlace] = useState(OWN);
  const [over, setOver] = useState(false);
  const queue = useRef<Promise<void>>(Promise.resolve());

  const change = (name: string, part: Partial<Upload>): void =>
    setUploads((all) => all.map((u) => (u.name === name ? { ...u, ...part } : u)));
  const send = async (file: File, to: string): Promise<void> => {
    try {
      await uploadFile(file, placeFrom(to), (sent) => change(file.name, { sent: Math.min(sent, file.size) }));
      setUploads((all) => all.filter((u) => u.name !== file.name));
      onAdded();
    } catch (e) {
      change(file.name, { error: e instanceof Error ? e.message : String(e) });
    }
  };
  const take = (files: FileList | null | undefined): void => {
    for (const file of files ?? []) {
      setUploads((all) => [...all.filter((u) => u.name !== file.name), { name: file.name, bytes: file.size, sent: 0, error: null }]);
      queue.current = queue.current.then(() => send(file, place));
    }
  };
  const drop = (e: DragEvent): void => {
    e.preventDefault();
    setOver(false);
    take(e.dataTransfer?.files);
  };
  return (
    <div class="uploads">
      <label
        class={over ? 'drop-zone over' : 'drop-zone'}
        onDragOver={(e) => {
          e.preventDefault();
          setOver(true);
        }}
        onDragLeave={() => setOver(false)}
        onDrop={drop}
      >
        <span>
          <strong>Choose files</strong> or drop them here
        </span>
        <small class="hint">PDF, Word, PowerPoint, Excel, OpenDocument, EPUB, HTML, Markdown, text, CSV, JSON, e-mail, source code</small>
        <input
          type="file"
          multiple
          class="visually-hidden"
          aria-label="Choose files"
          onChange={(e) => {
            take(e.currentTarget.files);
            e.currentTarget.value = '';
          }}
        />
      </label>
      <PlaceField value={place} onChange={setPlace} />
      {uploads.length > 0 && (
        <ul class="rows" aria-live="polite">
          {uploads.map((u) => (
            <UploadRow key={u.name} upload={u} />
          ))}
        </ul>
      )}
    </div>
  );
}
