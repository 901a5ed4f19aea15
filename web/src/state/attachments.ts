/* Files handed over where one writes. They become the person's own documents, which all their conversations can ask about; a message
 * waits until those that came with it have been read.
 *
 *   sending → reading → ready
 *        └───────┴────→ failed */
import { computed, signal } from '@preact/signals';
import { ApiError, del, get, sentence, sleep } from '../api/client.ts';
import type { Document } from '../api/types.ts';
import { uploadFile } from '../api/upload.ts';
import { announce, reportError } from './ui.ts';

export interface Attachment {
  id: number;
  name: string;
  /** Share of the bytes that have gone, 0 to 1. */
  sent: number;
  state: 'sending' | 'reading' | 'ready' | 'failed';
  error: string | null;
  /** The document that it made; null when there is none, or it was there before. */
  made: string | null;
}

const LOOK_AGAIN_MS = 700;

export const attachments = signal<Attachment[]>([]);
export const attachmentsPending = computed(() => attachments.value.some((a) => a.state === 'sending' || a.state === 'reading'));

let lastId = 0;
/** One file at a time. */
let queue: Promise<void> = Promise.resolve();

const isThere = (id: number): boolean => attachments.value.some((a) => a.id === id);

function change(id: number, part: Partial<Attachment>): void {
  attachments.value = attachments.value.map((a) => (a.id === id ? { ...a, ...part } : a));
}

/** Waits until searches find the document, or its reader has given up on it. */
async function untilRead(id: number, document: Document): Promise<void> {
  let now = document;
  while (isThere(id) && (now.status === 'pending' || now.updating)) {
    await sleep(LOOK_AGAIN_MS);
    now = await get<Document>(`/api/v1/documents/${document.doc_id}`).catch((error: unknown) => {
      if (error instanceof ApiError && (error.isNetwork || error.status >= 500)) return now; // the server is coming back
      throw error;
    });
  }
  if (now.status === 'failed') throw new Error(sentence(now.error ?? 'It could not be read'));
}

async function send(id: number, file: File): Promise<void> {
  if (!isThere(id)) return;
  try {
    const { document, isNew } = await uploadFile(file, { kind: 'own' }, (bytes) => change(id, { sent: file.size ? bytes / file.size : 1 }));
    if (!isThere(id)) {
      if (isNew) await del(`/api/v1/documents/${document.doc_id}`).catch(reportError); // taken back while it was on its way
      return;
    }
    change(id, { state: 'reading', made: isNew ? document.doc_id : null });
    await untilRead(id, document);
    if (!isThere(id)) return;
    change(id, { state: 'ready' });
    announce(`${file.name} has been read.`);
  } catch (error) {
    change(id, { state: 'failed', error: error instanceof Error ? error.message : String(error) });
  }
}

export function attach(files: Iterable<File>): void {
  for (const file of files) {
    const id = ++lastId;
    attachments.value = [...attachments.value, { id, name: file.name, sent: 0, state: 'sending', error: null, made: null }];
    queue = queue.then(() => send(id, file));
  }
}

/** Takes a file back: the document that it made goes, too. */
export function detach(attachment: Attachment): void {
  attachments.value = attachments.value.filter((a) => a.id !== attachment.id);
  if (attachment.made) del(`/api/v1/documents/${attachment.made}`).catch(reportError);
}

/** A message was sent: what came with it stays among the documents. */
export function clearAttachments(): void {
  attachments.value = [];
}
