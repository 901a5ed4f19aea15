/* Files where one writes: chosen, dropped anywhere on the page, or pasted. */
import type { JSX } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import type { GivenDocument } from '../api/types.ts';
import { attach, attachments, detach, type Attachment } from '../state/attachments.ts';
import { Icon } from './icons.tsx';

function stateOf(a: Attachment): string {
  switch (a.state) {
    case 'sending':
      return a.sent > 0 && a.sent < 1 ? `Sending, ${Math.round(100 * a.sent)} %` : 'Sending…';
    case 'reading':
      return 'Being read…';
    case 'ready':
      return 'In your documents';
    case 'failed':
      return a.error ?? 'Failed';
  }
}

export function AttachButton(): JSX.Element {
  const input = useRef<HTMLInputElement>(null);
  return (
    <>
      <button type="button" class="icon-button" aria-label="Add files" title="Add files: they become documents of yours that answers can use" onClick={() => input.current?.click()}>
        <Icon name="attach" />
      </button>
      <input
        ref={input}
        type="file"
        multiple
        hidden
        data-testid="attach"
        onChange={(e) => {
          attach(e.currentTarget.files ?? []);
          e.currentTarget.value = '';
        }}
      />
    </>
  );
}

export function Attachments(): JSX.Element | null {
  if (attachments.value.length === 0) return null;
  return (
    <ul class="attachments" aria-label="Files">
      {attachments.value.map((a) => (
        <li key={a.id} class={a.state}>
          {a.state === 'sending' || a.state === 'reading' ? <span class="spinner" aria-hidden="true" /> : <Icon name={a.state === 'failed' ? 'warning' : 'file'} />}
          <span class="attachment-text">
            <strong title={a.name}>{a.name}</strong>
            <small role={a.state === 'failed' ? 'alert' : undefined}>{stateOf(a)}</small>
          </span>
          <button type="button" class="icon-button small" aria-label={`Remove ${a.name}`} title="Remove" onClick={() => detach(a)}>
            <Icon name="close" />
          </button>
        </li>
      ))}
    </ul>
  );
}

/** Above a question: what came with it. */
export function Given({ list }: { list: GivenDocument[] }): JSX.Element | null {
  if (list.length === 0) return null;
  return (
    <ul class="attachments given" aria-label="Files of this message">
      {list.map((d) => (
        <li key={d.doc_id} class="ready">
          <Icon name="file" />
          <span class="attachment-text">
            <strong title={d.source_name}>{d.source_name}</strong>
          </span>
        </li>
      ))}
    </ul>
  );
}

const dialogOpen = (): boolean => document.querySelector('dialog[open]') !== null;
const hasFiles = (e: DragEvent): boolean => e.dataTransfer?.types.includes('Files') ?? false;

/** A file that is dropped on the page is attached, instead of taking the page's place in the browser. Dialogs have places of their own. */
export function useFileDrop(): boolean {
  const [over, setOver] = useState(false);
  useEffect(() => {
    const move = (e: DragEvent): void => {
      if (!hasFiles(e)) return;
      e.preventDefault();
      setOver(!dialogOpen());
    };
    const leave = (e: DragEvent): void => {
      if (e.relatedTarget === null) setOver(false);
    };
    const drop = (e: DragEvent): void => {
      if (!hasFiles(e)) return;
      e.preventDefault();
      setOver(false);
      if (!dialogOpen()) attach(e.dataTransfer?.files ?? []);
    };
    addEventListener('dragover', move);
    addEventListener('dragleave', leave);
    addEventListener('drop', drop);
    return () => {
      removeEventListener('dragover', move);
      removeEventListener('dragleave', leave);
      removeEventListener('drop', drop);
    };
  }, []);
  return over;
}
