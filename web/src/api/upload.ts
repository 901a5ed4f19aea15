/* A file on its way to the server. XMLHttpRequest, because fetch() does not say how far an upload is. */
import { ApiError, networkError, sentence } from './client.ts';
import type { ApiErrorBody, Document } from './types.ts';

export interface Upload {
  name: string;
  bytes: number;
  sent: number;
  error: string | null;
}

/** Where a file belongs: to oneself, to everybody here, or to a collection. */
export type Place = { kind: 'own' } | { kind: 'shared' } | { kind: 'collection'; id: string };

export interface Uploaded {
  document: Document;
  /** False: the same file was there already. */
  isNew: boolean;
}

/** Sends one file; `onSent` hears of the bytes that have gone. Failures leave as ApiError. */
export function uploadFile(file: File, place: Place, onSent: (bytes: number) => void): Promise<Uploaded> {
  const query = new URLSearchParams({
    source_name: file.name,
    ...(place.kind === 'shared' ? { shared: 'true' } : {}),
    ...(place.kind === 'collection' ? { collection_id: place.id } : {}),
  });
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open('POST', `/api/v1/documents?${query.toString()}`);
    request.setRequestHeader('content-type', file.type || 'application/octet-stream');
    request.setRequestHeader('accept', 'application/json');
    request.upload.onprogress = (e) => onSent(e.loaded);
    request.onerror = () => reject(networkError());
    request.onload = () => {
      if (request.status < 300) {
        resolve({ document: JSON.parse(request.responseText) as Document, isNew: request.status === 201 });
        return;
      }
      let body: ApiErrorBody | undefined;
      try {
        body = (JSON.parse(request.responseText) as { error?: ApiErrorBody }).error;
      } catch {
        /* a proxy's page */
      }
      const message = sentence(body?.message ?? `The server answered ${request.status}. Try again.`);
      reject(new ApiError(message, request.status, body?.code ?? '', body?.param ?? null, 0));
    };
    request.send(file);
  });
}
