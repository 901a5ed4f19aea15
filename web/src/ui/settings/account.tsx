/* One's own account: names and password. */
import type { JSX } from 'preact';
import { useState } from 'preact/hooks';
import { patch } from '../../api/client.ts';
import type { User } from '../../api/types.ts';
import { user } from '../../state/session.ts';
import { toast } from '../../state/ui.ts';
import { fullTime } from '../../text/format.ts';
import { Field, FormError, FormFoot, useSubmit } from '../form.tsx';

function Names({ account }: { account: User }): JSX.Element {
  const [username, setUsername] = useState(account.username);
  const [email, setEmail] = useState(account.email);
  const changed = username.trim() !== account.username || email.trim() !== account.email;
  const { busy, error, submit } = useSubmit(async () => {
    user.value = await patch<User>('/api/v1/users/me', { username: username.trim(), email: email.trim() });
    toast('Saved.');
  });
  return (
    <form onSubmit={submit}>
      <Field label="User name" autocomplete="username" required value={username} onInput={setUsername} />
      <Field label="E-mail" type="email" autocomplete="email" required value={email} onInput={setEmail} />
      <FormError error={error} />
      <FormFoot action="Save" disabled={busy || !changed} />
    </form>
  );
}

function Password({ account }: { account: User }): JSX.Element {
  const [current, setCurrent] = useState('');
  const [password, setPassword] = useState('');
  const { busy, error, submit } = useSubmit(async () => {
    user.value = await patch<User>('/api/v1/users/me', { password, current_password: current });
    setCurrent('');
    setPassword('');
    toast('The password is changed. Other browsers are signed out.');
  });
  return (
    <form onSubmit={submit}>
      <input class="visually-hidden" type="text" autocomplete="username" value={account.username} tabIndex={-1} aria-hidden="true" readOnly />
      <Field label="Current password" type="password" autocomplete="current-password" required value={current} onInput={setCurrent} />
      <Field
        label="New password"
        type="password"
        autocomplete="new-password"
        required
        minLength={8}
        hint="Your other sessions end when it changes."
        value={password}
        onInput={setPassword}
      />
      <FormError error={error} />
      <FormFoot action="Change password" disabled={busy || !current || !password} />
    </form>
  );
}

export function Account(): JSX.Element | null {
  const account = user.value;
  if (!account) return null;
  return (
    <>
      <h3>Account</h3>
      <Names account={account} />
      <h3>Password</h3>
      <Password account={account} />
      <p class="hint">
        {account.is_admin ? 'Administrator' : 'Member'} since {fullTime(account.created_at)}. Last sign-in: {fullTime(account.last_login_at)}.
      </p>
    </>
  );
}
