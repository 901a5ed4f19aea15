/* A parser for Server-Sent Events (WHATWG HTML, 9.2.6) over text that arrives in pieces of any size.
 *
 * EventSource is not used: it cannot POST, and it hides the status of a refusal. Invariants: an event is given out
 * only when its empty line has arrived, so that a broken connection never yields half of one; `lastEventId`
 * is that of the last event given out. */

export interface SseEvent {
  id: string;
  event: string;
  data: string;
}

export class SseParser {
  lastEventId = '';
  private rest = '';
  private id = '';
  private event = '';
  private data: string[] = [];
  private start = true;

  /** Takes the next piece and returns the events it completes. */
  push(piece: string): SseEvent[] {
    if (this.start && piece !== '') {
      if (piece.charCodeAt(0) === 0xfeff) piece = piece.slice(1);
      this.start = false;
    }
    this.rest += piece;
    const events: SseEvent[] = [];
    let from = 0;
    for (;;) {
      const end = this.lineEnd(from);
      if (end < 0) break;
      this.line(this.rest.slice(from, end), events);
      from = end + (this.rest[end] === '\r' && this.rest[end + 1] === '\n' ? 2 : 1);
    }
    this.rest = this.rest.slice(from);
    return events;
  }

  /* A CR that ends the buffer may be half of a CRLF: it waits for the next piece. */
  private lineEnd(from: number): number {
    for (let i = from; i < this.rest.length; i++) {
      const c = this.rest[i];
      if (c === '\n') return i;
      if (c === '\r') return i + 1 < this.rest.length ? i : -1;
    }
    return -1;
  }

  private line(line: string, events: SseEvent[]): void {
    if (line === '') {
      this.lastEventId = this.id;
      if (this.data.length > 0) {
        events.push({ id: this.id, event: this.event || 'message', data: this.data.join('\n') });
      }
      this.event = '';
      this.data = [];
      return;
    }
    const colon = line.indexOf(':');
    if (colon === 0) return; // a comment: keeps the connection alive
    const field = colon < 0 ? line : line.slice(0, colon);
    let value = colon < 0 ? '' : line.slice(colon + 1);
    if (value.startsWith(' ')) value = value.slice(1);
    if (field === 'data') this.data.push(value);
    else if (field === 'event') this.event = value;
    else if (field === 'id' && !value.includes('\0')) this.id = value;
  }
}

/** The server sends a comment every 15 s; a connection that is silent for longer than this is dead. */
const SILENCE_MS = 40_000;

/** Reads a response's body as events until it ends or falls silent; throws what the connection throws. */
export async function* readEvents(response: Response): AsyncGenerator<SseEvent> {
  if (!response.body) return;
  const reader = response.body.getReader();
  const decoder = new TextDecoder();
  const parser = new SseParser();
  const cancel = (): void => void reader.cancel().catch(() => undefined);
  let timer: ReturnType<typeof setTimeout> | undefined;
  try {
    for (;;) {
      timer = setTimeout(cancel, SILENCE_MS); // cancelling ends the read below
      const { done, value } = await reader.read();
      clearTimeout(timer);
      if (done) return;
      for (const event of parser.push(decoder.decode(value, { stream: true }))) yield event;
    }
  } finally {
    clearTimeout(timer);
    cancel(); // the caller left early: free the connection
  }
}
