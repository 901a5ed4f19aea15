/* People, for administrators: make, disable, appoint, set a new password, delete. */
import type { JSX } from 'preact';
import { useState } from 'preact/hooks';
import { del, patch, post } from '../../api/client.ts';
import type { User } from '../../api/types.ts';
import { user } from '../../state/session.ts';
import { confirmation, prompt, reportError, toast } from '../../state/ui.ts';
import { fullTime } from '../../text/format.ts';
import { Field, FormError, FormFoot, Toggle, useSubmit } from '../form.tsx';
import { Icon } from '../icons.tsx';
import { Menu, type MenuItem } from '../menu.tsx';
import { ListView, useList } from './use-list.tsx';

function AddUser({ onAdded, onClose }: { onAdded: () => void; onClose: () => void }): JSX.Element {
  const [username, setUsername] = useState('');
  const [email, setEmail] = useState('');
  const [password, setPassword] = useState('');
  const [admin, setAdmin] = useState(false);
  const { busy, error, submit } = useSubmit(async () => {
    const account = { username: username.trim(), email: email.trim(), password, ...(admin ? { is_admin: true } : {}) };
    await post<User>('/api/v1/users', account);
    toast(`${username.trim()} has an account now.`);
    onAdded();
    onClose();
  });
  return (
    <form class="panel-form" onSubmit={submit}>
      <Field label="User name" autocomplete="off" required value={username} onInput={setUsername} />
      <Field label="E-mail" type="email" autocomplete="off" required value={email} onInput={setEmail} />
      <Field label="First password" type="password" autocomplete="new-password" required minLength={8} value={password} onInput={setPassword} />
      <Toggle label="Administrator" checked={admin} onChange={setAdmin} />
      <FormError error={error} />
      <FormFoot action="Add person" disabled={busy} onCancel={onClose} />
    </form>
  );
}

export function Users(): JSX.Element {
  const list = useList<User>('/api/v1/users?limit=100');
  const [adding, setAdding] = useState(false);
  const change = async (account: User, fields: Record<string, unknown>): Promise<void> => {
    const changed = await patch<User>(`/api/v1/users/${account.user_id}`, fields);
    list.setItems((items) => items.map((u) => (u.user_id === changed.user_id ? changed : u)));
  };
  const actions = (account: User): MenuItem[] => [
    {
      label: account.is_admin ? 'Make a member' : 'Make an administrator',
      run: () => void change(account, { is_admin: !account.is_admin }).catch(reportError),
    },
    {
      label: account.disabled ? 'Enable' : 'Disable',
      run: () => void change(account, { disabled: !account.disabled }).catch(reportError),
    },
    {
      label: 'Set a new password',
      run: () => {
        prompt.value = {
          title: `New password for ${account.username}`,
          label: 'Password',
          value: '',
          action: 'Set password',
          run: async (password) => {
            await change(account, { password });
            toast('The password is set.');
          },
        };
      },
    },
    {
      label: 'Delete',
      danger: true,
      run: () => {
        confirmation.value = {
          title: `Delete ${account.username}?`,
          text: 'The account goes with all its conversations, ratings and documents.',
          action: 'Delete',
          run: async () => {
            await del(`/api/v1/users/${account.user_id}`);
            list.setItems((items) => items.filter((u) => u.user_id !== account.user_id));
          },
        };
      },
    },
  ];
  return (
    <>
      <div class="panel-head">
        <h3>People</h3>
        {!adding && (
          <button type="button" class="button primary small" onClick={() => setAdding(true)}>
            Add
          </button>
        )}
      </div>
      {adding && <AddUser onAdded={list.reload} onClose={() => setAdding(false)} />}
      <ListView
        list={list}
        empty="Nobody."
        row={(account) => (
          <li key={account.user_id} class={account.disabled ? 'faded' : ''}>
            <div class="row-text">
              <strong>{account.username}</strong>
              {account.is_admin && <span class="tag">Administrator</span>}
              {account.disabled && <span class="tag">Disabled</span>}
              <small>
                {account.email} · last sign-in: {fullTime(account.last_login_at)}
              </small>
            </div>
            {account.user_id !== user.value?.user_id && (
              <Menu label={`Actions for ${account.username}`} class="icon-button" items={actions(account)}>
                <Icon name="more" />
              </Menu>
            )}
          </li>
        )}
      />
    </>
  );
}
