/* Files to be added as documents: chosen or dropped, sent one after the other, with how far each is. */
import type { JSX } from 'preact';
import { useRef, useState } from 'preact/hooks';
import { uploadFile, type Upload } from '../../api/upload.ts';
import { user } from '../../state/session.ts';
import { byteSize } from '../../text/format.ts';
import { Toggle } from '../form.tsx';

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

export function Uploads({ onAdded }: { onAdded: () => void }): JSX.Element {
  const [uploads, setUploads] = useState<Upload[]>([]);
  const [shared, setShared] = useState(false);
  const [over, setOver] = useState(false);
  const queue = useRef<Promise<void>>(Promise.resolve());

  const change = (name: string, part: Partial<Upload>): void =>
    setUploads((all) => all.map((u) => (u.name === name ? { ...u, ...part } : u)));
  const send = async (file: File): Promise<void> => {
    try {
      await uploadFile(file, shared, (sent) => change(file.name, { sent: Math.min(sent, file.size) }));
      setUploads((all) => all.filter((u) => u.name !== file.name));
      onAdded();
    } catch (e) {
      change(file.name, { error: e instanceof Error ? e.message : String(e) });
    }
  };
  const take = (files: FileList | null | undefined): void => {
    for (const file of files ?? []) {
      setUploads((all) => [...all.filter((u) => u.name !== file.name), { name: file.name, bytes: file.size, sent: 0, error: null }]);
      queue.current = queue.current.then(() => send(file));
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
      {user.value?.is_admin && <Toggle label="Files are for everybody here" checked={shared} onChange={setShared} />}
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
