/* What can be done with a conversation: from its row in the list, and from its header. */
import type { JSX } from 'preact';
import type { Conversation } from '../api/types.ts';
import { askDelete, askRename, saveTranscript, setArchived, titleOf } from '../state/chats.ts';
import { Icon } from './icons.tsx';
import { Menu, type MenuItem } from './menu.tsx';

export function ConversationMenu({ conversation, label }: { conversation: Conversation; label?: string }): JSX.Element {
  const items: MenuItem[] = [
    { label: 'Rename', icon: 'edit', run: () => askRename(conversation) },
    { label: 'Save as a file', icon: 'download', run: () => void saveTranscript(conversation) },
    conversation.status === 'archived'
      ? { label: 'Restore', icon: 'restore', run: () => void setArchived(conversation, false) }
      : { label: 'Archive', icon: 'archive', run: () => void setArchived(conversation, true) },
    { label: 'Delete', icon: 'trash', danger: true, run: () => askDelete(conversation) },
  ];
  return (
    <Menu label={label ?? `Actions for ${titleOf(conversation)}`} class="icon-button small" items={items}>
      <Icon name="more" />
    </Menu>
  );
}
