/* Which conversation is on screen, and how a new one comes to be. */
import { computed, signal } from '@preact/signals';
import { get, post } from '../api/client.ts';
import type { Conversation, GivenDocument, MessageTree } from '../api/types.ts';
import { fileName, transcript } from '../model/transcript.ts';
import { pathTo } from '../model/tree.ts';
import { Chat } from './chat.ts';
import { changeConversation, deleteConversation, updateListed } from './conversations.ts';
import { NEW_CONVERSATION, writeDraft } from './drafts.ts';
import { defaultRole, roleOf, roles } from './roles.ts';
import { conversationId, navigate, pathOf } from './route.ts';
import { confirmation, drawerOpen, prompt, reportError, toast } from './ui.ts';

const chats = signal<ReadonlyMap<string, Chat>>(new Map());
const chosenRoleId = signal<string | null>(null);
/** A first message is on its way: its conversation is being made. */
export const creating = signal(false);

export const chat = computed<Chat | null>(() => {
  const id = conversationId.value;
  return id ? (chats.value.get(id) ?? null) : null;
});

/** The role that a new conversation will have. */
export const newRole = computed(() => roles.value.find((r) => r.role_id === chosenRoleId.value) ?? defaultRole());
export function chooseNewRole(roleId: string): void {
  chosenRoleId.value = roleId;
}

/** Makes the conversation of the address the open one. */
export function openChat(id: string): void {
  const open = chats.value.get(id);
  if (open) {
    if ((open.loaded.value || open.loadError.value) && !open.busy.value) void open.load(); // another device may have gone on
    return;
  }
  const made = new Chat(id);
  chats.value = new Map(chats.value).set(id, made);
  void made.load();
}

/** A message that a search found: the thread goes there once and forgets it. */
export const wantedMessage = signal<string | null>(null);

export function show(id: string | null, messageId: string | null = null): void {
  drawerOpen.value = false;
  wantedMessage.value = messageId;
  navigate(id ? pathOf(id) : '/');
}

export async function startConversation(text: string, given: GivenDocument[]): Promise<void> {
  if (creating.value) return;
  creating.value = true;
  try {
    const role = newRole.value;
    const conversation = await post<Conversation>('/api/v1/conversations', role ? { assistant_role_id: role.role_id } : {});
    const made = new Chat(conversation.conversation_id);
    made.adopt(conversation);
    chats.value = new Map(chats.value).set(made.id, made);
    updateListed(conversation, true);
    writeDraft(NEW_CONVERSATION, '');
    chosenRoleId.value = null;
    navigate(pathOf(made.id));
    void made.send(text, given);
  } catch (error) {
    reportError(error);
    throw error;
  } finally {
    creating.value = false;
  }
}

export const titleOf = (conversation: Conversation | null): string => conversation?.title || 'New conversation';

export function askRename(conversation: Conversation): void {
  prompt.value = {
    title: 'Rename the conversation',
    label: 'Title',
    value: conversation.title,
    action: 'Rename',
    run: async (title) => {
      const changed = await changeConversation(conversation.conversation_id, { title: title.trim() });
      chats.value.get(conversation.conversation_id)?.applyChange(changed);
    },
  };
}

export async function setArchived(conversation: Conversation, archived: boolean): Promise<void> {
  try {
    const changed = await changeConversation(conversation.conversation_id, { status: archived ? 'archived' : 'active' });
    chats.value.get(conversation.conversation_id)?.applyChange(changed);
    toast(archived ? 'Archived. It is under “Archived” in the list.' : 'Restored to the list.');
  } catch (error) {
    reportError(error);
  }
}

/** The branch on screen as a file of the reader's own. */
export async function saveTranscript(conversation: Conversation): Promise<void> {
  try {
    const tree = await get<MessageTree>(`/api/v1/conversations/${conversation.conversation_id}/messages`);
    const messages = pathTo(new Map(tree.data.map((m) => [m.message_id, m])), tree.current_message_id).map((step) => step.message);
    const text = transcript(titleOf(conversation), messages, (m) => roleOf(m.assistant_role_id)?.name ?? 'Assistant');
    const address = URL.createObjectURL(new Blob([text], { type: 'text/markdown' }));
    const link = document.createElement('a');
    link.href = address;
    link.download = fileName(titleOf(conversation));
    link.click();
    setTimeout(() => URL.revokeObjectURL(address), 60_000); // when the browser has surely taken it
  } catch (error) {
    reportError(error);
  }
}

export function askDelete(conversation: Conversation): void {
  confirmation.value = {
    title: 'Delete this conversation?',
    text: `“${titleOf(conversation)}” and all its messages and ratings are deleted for good.`,
    action: 'Delete',
    run: async () => {
      await deleteConversation(conversation.conversation_id);
      const rest = new Map(chats.value);
      rest.get(conversation.conversation_id)?.close();
      rest.delete(conversation.conversation_id);
      if (conversationId.value === conversation.conversation_id) navigate('/', true);
      chats.value = rest;
      toast('Deleted.');
    },
  };
}
