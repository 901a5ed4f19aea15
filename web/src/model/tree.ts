/* A conversation's messages as the tree they are: what the reader sees is the path from the root to the current message.
 * Pure functions; messages are never changed. */
import type { Message } from '../api/types.ts';

export interface Step {
  message: Message;
  /** The message ids that share this one's parent, oldest first; more than one makes a switcher. */
  siblings: string[];
}

/** Oldest first; identifiers are UUIDv7, so they settle what the same millisecond leaves open. */
function older(a: Message, b: Message): number {
  return a.timestamp < b.timestamp ? -1 : a.timestamp > b.timestamp ? 1 : a.message_id < b.message_id ? -1 : 1;
}

function childrenByParent(messages: Iterable<Message>): Map<string | null, Message[]> {
  const children = new Map<string | null, Message[]>();
  for (const message of messages) {
    const list = children.get(message.parent_id);
    if (list) list.push(message);
    else children.set(message.parent_id, [message]);
  }
  for (const list of children.values()) list.sort(older);
  return children;
}

/** The path that ends at `currentId`, root first. An unknown current message yields the newest leaf's path. */
export function pathTo(messages: ReadonlyMap<string, Message>, currentId: string | null): Step[] {
  const children = childrenByParent(messages.values());
  let at = currentId ? messages.get(currentId) : undefined;
  if (!at) at = newest(messages.values());
  const steps: Step[] = [];
  for (const seen = new Set<string>(); at && !seen.has(at.message_id); ) {
    seen.add(at.message_id);
    const siblings = (children.get(at.parent_id) ?? []).map((m) => m.message_id);
    steps.push({ message: at, siblings });
    at = at.parent_id ? messages.get(at.parent_id) : undefined;
  }
  return steps.reverse();
}

function newest(messages: Iterable<Message>): Message | undefined {
  let found: Message | undefined;
  for (const message of messages) if (!found || older(found, message) < 0) found = message;
  return found;
}

/** The leaf to show when the reader switches to `messageId`: always the newest child. */
export function leafBelow(messages: ReadonlyMap<string, Message>, messageId: string): string {
  const children = childrenByParent(messages.values());
  let at = messageId;
  for (;;) {
    const next = children.get(at)?.at(-1);
    if (!next) return at;
    at = next.message_id;
  }
}
