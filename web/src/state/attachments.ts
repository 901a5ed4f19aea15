/* Files handed over where one writes. They become the person's own documents, which all their conversations can ask about; a message
 * waits until those that came with it have been read, and names them: its conversation looks into them first.
 *
 *   sending → reading → ready
 *        └───────┴────→ failed */
import { computed, signal } from '@preact/signals';
import { ApiError, del, get, sentence, sleep } from '../api/client.ts';
import type { Document, GivenDocument } from '../api/types.ts';
import { uploadFile } from '../api/upload.ts';
import { announce, reportError } from './ui.ts';

export interface Attachment {
  id: number;
  name: string;
  /** Share of the bytes that have gone, 0 to 1. */
  sent: number;
  state: 'sending' | 'reading' | 'ready' | 'failed';
  error: string | null;
  /** The document; null while there is none. */
  document: string | null;
  /** It was not there before. */
  isNew: boolean;
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
    change(id, { state: 'reading', document: document.doc_id, isNew });
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
    attachments.value = [...attachments.value, { id, name: file.name, sent: 0, state: 'sending', error: null, document: null, isNew: false }];
    queue = queue.then(() => send(id, file));
  }
}

/** Takes a file back: the document that it made goes, too. */
export function detach(attachment: Attachment): void {
  attachments.value = attachments.value.filter((a) => a.id !== attachment.id);
  if (attachment.document && attachment.isNew) del(`/api/v1/documents/${attachment.document}`).catch(reportError);
}

/** For the message that is sent now: what could be read. All of it stays among the documents. */
export function takeAttachments(): GivenDocument[] {
  const taken = attachments.value.flatMap((a) => (a.state === 'ready' && a.document ? [{ doc_id: a.document, source_name: a.name }] : []));
  attachments.value = [];
  return taken;
}

/** The message was not taken: what came with it lies here again. */
export function returnAttachments(given: GivenDocument[]): void {
  const back = given.map((d): Attachment => ({ id: ++lastId, name: d.source_name, sent: 1, state: 'ready', error: null, document: d.doc_id, isNew: false }));
  attachments.value = [...back, ...attachments.value];
}

/** Those that were not deleted meanwhile, and could be read. */
export async function stillThere(given: GivenDocument[]): Promise<GivenDocument[]> {
  const isThere = (d: GivenDocument): Promise<boolean> =>
    get<Document>(`/api/v1/documents/${d.doc_id}`).then(
      (document) => document.status !== 'failed',
      (error: unknown) => !(error instanceof ApiError && error.status === 404),
    );
  const there = await Promise.all(given.map(isThere));
  return given.filter((_, i) => there[i]);
}
