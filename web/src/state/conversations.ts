/* The list of conversations in the sidebar: one page at a time, newest first, searched by the server. */
import { computed, signal } from '@preact/signals';
import { ApiError, del, get, patch } from '../api/client.ts';
import type { Conversation, ConversationStatus, List } from '../api/types.ts';
import { reportError } from './ui.ts';

const PAGE = 40;

export const shownStatus = signal<ConversationStatus>('active');
export const query = signal('');
export const conversations = signal<Conversation[]>([]);
export const loadState = signal<'idle' | 'loading' | 'failed'>('idle');
const next = signal<string | null>(null);
export const hasMore = computed(() => next.value !== null);

/** Only the answer to the latest question is shown. */
let latest = 0;

function address(after: string | null): string {
  const q = new URLSearchParams({ limit: String(PAGE) });
  const words = query.value.trim();
  if (words) q.set('q', words);
  q.set('status', words ? 'any' : shownStatus.value);
  if (after) q.set('after', after);
  return `/api/v1/conversations?${q}`;
}

async function fetchPage(after: string | null): Promise<void> {
  const turn = ++latest;
  loadState.value = 'loading';
  try {
    const page = await get<List<Conversation>>(address(after));
    if (turn !== latest) return;
    const before = after ? conversations.value : [];
    const seen = new Set(before.map((c) => c.conversation_id));
    conversations.value = [...before, ...page.data.filter((c) => !seen.has(c.conversation_id))];
    next.value = page.next;
    loadState.value = 'idle';
  } catch (error) {
    if (turn !== latest) return;
    // The conversation that the cursor names is gone: from the start again.
    if (after && error instanceof ApiError && (error.status === 404 || error.status === 400)) return fetchPage(null);
    loadState.value = 'failed';
    if (after) reportError(error);
  }
}

export const loadConversations = (): Promise<void> => fetchPage(null);

export async function loadMore(): Promise<void> {
  if (next.value && loadState.value !== 'loading') await fetchPage(next.value);
}

export function search(words: string): void {
  query.value = words;
  void loadConversations();
}

export function showStatus(which: ConversationStatus): void {
  shownStatus.value = which;
  void loadConversations();
}

/** Puts a changed conversation in its place: on top when something was said in it. */
export function updateListed(changed: Conversation, toTop = false): void {
  const list = conversations.value;
  const at = list.findIndex((c) => c.conversation_id === changed.conversation_id);
  const belongs = query.value.trim() !== '' || changed.status === shownStatus.value;
  if (!belongs) {
    if (at >= 0) conversations.value = list.filter((c) => c.conversation_id !== changed.conversation_id);
  } else if (at < 0) {
    if (query.value.trim() === '') conversations.value = [changed, ...list];
  } else {
    const merged = { ...list[at]!, ...changed };
    const others = list.filter((_, i) => i !== at);
    conversations.value = toTop ? [merged, ...others] : list.map((c, i) => (i === at ? merged : c));
  }
}

export function removeListed(id: string): void {
  conversations.value = conversations.value.filter((c) => c.conversation_id !== id);
}

export async function changeConversation(
  id: string,
  change: Partial<Pick<Conversation, 'title' | 'status' | 'assistant_role_id' | 'current_message_id'>>,
): Promise<Conversation> {
  const changed = await patch<Conversation>(`/api/v1/conversations/${id}`, change);
  updateListed(changed);
  return changed;
}

export async function deleteConversation(id: string): Promise<void> {
  await del(`/api/v1/conversations/${id}`);
  removeListed(id);
}
