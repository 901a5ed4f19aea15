/* Which role answers: chosen for a new conversation, switched within one. */
import type { JSX } from 'preact';
import { chat, chooseNewRole, newRole } from '../state/chats.ts';
import { roleOf, roles } from '../state/roles.ts';
import { announce } from '../state/ui.ts';
import { Icon } from './icons.tsx';
import { Menu } from './menu.tsx';

export function RoleMenu(): JSX.Element | null {
  const open = chat.value;
  const role = open ? roleOf(open.conversation.value?.assistant_role_id ?? null) : newRole.value;
  if (roles.value.length === 0) return null;
  const items = roles.value.map((r) => ({
    label: r.name,
    detail: r.description,
    checked: r.role_id === role?.role_id,
    run: () => {
      if (open) void open.setRole(r.role_id);
      else chooseNewRole(r.role_id);
      announce(`${r.name} answers now.`);
    },
  }));
  const name = role?.name ?? 'Choose a role';
  return (
    <Menu label={`Role: ${name}. Change it`} class="role-button" items={items}>
      <span class="role-dot" aria-hidden="true" />
      <span class="role-button-name">{name}</span>
      <Icon name="downArrow" />
    </Menu>
  );
}
