/* Requests to the server, and whether it is there.
 *
 * Invariants: a failure always leaves as ApiError with a sentence for people. A request that may be sent twice (GET,
 * PUT, PATCH, DELETE) waits for a server that went away and is sent again; so is a POST, which carries a key by which the
 * server carries it out once. This file knows nothing of what the objects mean. */
import { signal } from '@preact/signals';
import type { ApiErrorBody, Status } from './types.ts';

/** The server cannot be reached just now; the page keeps trying by itself. */
export const reconnecting = signal(false);
/** What the server says about itself; null until it answered once. */
export const status = signal<Status | null>(null);

/** Called on 401: the session has ended. */
let onSignedOut: () => void = () => undefined;
export function setSignedOutHandler(handler: () => void): void {
  onSignedOut = handler;
}

export class ApiError extends Error {
  constructor(
    message: string,
    /** 0: no answer came. */
    readonly status: number,
    readonly code: string,
    readonly param: string | null,
    readonly retryAfterS: number,
  ) {
    super(message);
  }

  get isNetwork(): boolean {
    return this.status === 0;
  }

  /** A proxy or the starting program says that it will be back. */
  get isPassing(): boolean {
    return this.status === 0 || this.status === 502 || this.status === 503 || this.status === 504;
  }
}

export function networkError(): ApiError {
  return new ApiError('Parley cannot be reached just now. It is tried again by itself.', 0, 'network', null, 0);
}

/** The reason of a refusal, for people; one that says that the session has ended signs the page out. */
export async function errorOf(response: Response): Promise<ApiError> {
  let body: ApiErrorBody | undefined;
  try {
    body = ((await response.json()) as { error?: ApiErrorBody }).error;
  } catch {
    /* not in the API's shape: a proxy's page */
  }
  const retry = Number(response.headers.get('retry-after') ?? '0');
  const retryAfterS = Number.isFinite(retry) ? retry : 0;
  if (response.status === 401 && body?.code === 'unauthorized') onSignedOut();
  if (body?.code === 'disk_full' || body?.code === 'read_only') void refreshStatus(); // it says so in the page's notice
  const message = sentence(body?.message ?? `The server answered ${response.status}. Try again.`);
  return new ApiError(message, response.status, body?.code ?? '', body?.param ?? null, retryAfterS);
}

/** Errors come as clauses ("the request is not valid"); people get a sentence. */
export function sentence(text: string): string {
  const trimmed = text.trim();
  if (trimmed === '') return trimmed;
  const capital = trimmed.charAt(0).toUpperCase() + trimmed.slice(1);
  return /[.!?…)]$/.test(capital) ? capital : capital + '.';
}

export const sleep = (ms: number, abort?: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    abort?.addEventListener('abort', () => {
      clearTimeout(timer);
      resolve();
    });
  });

/** Pause before try number n (from 0): 0.25 s doubling to 4 s, spread so that many pages do not come at once. */
export function backoffMs(attempt: number): number {
  return Math.min(250 * 2 ** attempt, 4000) * (0.75 + Math.random() / 2);
}

/** A server that is being restarted lets connections wait: a try that takes longer is given up. */
const STATUS_TIMEOUT_MS = 5000;
/** Interruptions shorter than this are not worth a word. */
const UNNOTICED_MS = 700;

export async function refreshStatus(): Promise<Status | null> {
  try {
    const response = await fetch('/api/v1/status', {
      headers: { accept: 'application/json' },
      signal: AbortSignal.timeout(STATUS_TIMEOUT_MS),
    });
    if (!response.ok) return null;
    status.value = (await response.json()) as Status;
    return status.value;
  } catch {
    return null;
  }
}

let recovery: Promise<void> | null = null;

/** Resolves when the server answers again. All callers share one series of tries. */
export function untilBack(): Promise<void> {
  recovery ??= (async () => {
    const noticed = setTimeout(() => (reconnecting.value = true), UNNOTICED_MS);
    for (let attempt = 0; !(await refreshStatus()); attempt++) await sleep(backoffMs(attempt));
    clearTimeout(noticed);
    reconnecting.value = false;
    recovery = null;
  })();
  return recovery;
}

export interface RequestOptions {
  body?: unknown;
  accept?: string;
  headers?: Record<string, string>;
  signal?: AbortSignal;
}

/** A stream has its head at once, and says when it is silent; any other answer takes far less. A head that is later never comes. */
const HEAD_MS = 40_000;
/** What a slow line carries in a millisecond: long bodies get more time. */
const SLOW_BYTES_PER_MS = 16;

/** One request, one answer; any status. Throws ApiError only when no answer came. */
export async function send(method: string, path: string, options: RequestOptions = {}): Promise<Response> {
  const headers: Record<string, string> = { accept: options.accept ?? 'application/json', ...options.headers };
  const init: RequestInit = { method, headers, credentials: 'same-origin', cache: 'no-store' };
  if (options.body !== undefined) {
    headers['content-type'] = 'application/json';
    init.body = JSON.stringify(options.body);
  }
  const giveUp = new AbortController();
  const abort = (): void => giveUp.abort();
  if (options.signal?.aborted) abort();
  options.signal?.addEventListener('abort', abort, { once: true }); // the body, too, ends with the caller's signal
  init.signal = giveUp.signal;
  const timer = setTimeout(abort, HEAD_MS + String(init.body ?? '').length / SLOW_BYTES_PER_MS);
  try {
    return await fetch(path, init);
  } catch (error) {
    options.signal?.removeEventListener('abort', abort);
    if (options.signal?.aborted) throw error;
    throw networkError();
  } finally {
    clearTimeout(timer);
  }
}

/** What makes a POST one request, however often it is sent. (randomUUID() is there only behind TLS.) */
export function newKey(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => b.toString(16).padStart(2, '0')).join('');
}

const RESENDS = 20;

/** Sends and returns the JSON answer (undefined for 204). */
export async function request<T>(method: string, path: string, body?: unknown): Promise<T> {
  const options: RequestOptions = body === undefined ? {} : { body };
  if (method === 'POST') options.headers = { 'idempotency-key': newKey() };
  for (let attempt = 0; ; attempt++) {
    try {
      const response = await send(method, path, options);
      if (response.ok) return (response.status === 204 ? undefined : await response.json()) as T;
      throw await errorOf(response);
    } catch (error) {
      const failure = error instanceof ApiError ? error : networkError();
      if (failure.isNetwork) void untilBack();
      if (!failure.isPassing || attempt >= RESENDS) throw failure;
      if (!failure.isNetwork) await sleep(backoffMs(attempt));
      await untilBack();
    }
  }
}

export const get = <T>(path: string): Promise<T> => request<T>('GET', path);
export const post = <T>(path: string, body: unknown): Promise<T> => request<T>('POST', path, body);
export const put = <T>(path: string, body: unknown): Promise<T> => request<T>('PUT', path, body);
export const patch = <T>(path: string, body: unknown): Promise<T> => request<T>('PATCH', path, body);
export const del = (path: string): Promise<void> => request<void>('DELETE', path);
