/* Before anybody is signed in: the first account, signing in, signing up. */
import type { ComponentChildren, JSX } from 'preact';
import { useState } from 'preact/hooks';
import { status } from '../api/client.ts';
import { setupToken } from '../state/route.ts';
import { sessionEnded, setUp, signIn, signUp } from '../state/session.ts';
import { Field, FormError, useSubmit } from './form.tsx';
import { Mark } from './icons.tsx';
import { Banner } from './notices.tsx';

const MIN_PASSWORD = 8;

function Frame({ title, lead, children }: { title: string; lead?: string; children: ComponentChildren }): JSX.Element {
  return (
    <main class="auth" id="main">
      <Banner />
      <div class="auth-card">
        <Mark size={44} />
        <h1>{title}</h1>
        {lead && <p class="auth-lead">{lead}</p>}
        {children}
      </div>
    </main>
  );
}

/** The fields of a new account; `run` sends them. */
function AccountForm(props: { action: string; run: (a: { username: string; email: string; password: string }) => Promise<void> }): JSX.Element {
  const [username, setUsername] = useState('');
  const [email, setEmail] = useState('');
  const [password, setPassword] = useState('');
  const { busy, error, submit } = useSubmit(() => props.run({ username: username.trim(), email: email.trim(), password }));
  return (
    <form onSubmit={submit}>
      <Field label="User name" name="username" autocomplete="username" required autofocus maxLength={64} value={username} onInput={setUsername} />
      <Field label="E-mail" name="email" type="email" autocomplete="email" required value={email} onInput={setEmail} />
      <Field
        label="Password"
        name="password"
        type="password"
        autocomplete="new-password"
        required
        minLength={MIN_PASSWORD}
        hint={`At least ${MIN_PASSWORD} characters. A few words together make a good one.`}
        value={password}
        onInput={setPassword}
      />
      <FormError error={error} />
      <button class="button primary wide" disabled={busy}>
        {busy ? 'One moment…' : props.action}
      </button>
    </form>
  );
}

function Setup({ token }: { token: string }): JSX.Element {
  return (
    <Frame title="Welcome to Parley" lead="Make the first account. It is the administrator’s: it can manage roles, people and documents.">
      <AccountForm action="Create the administrator" run={(account) => setUp(token, account)} />
    </Frame>
  );
}

function NeedsSetup(): JSX.Element {
  return (
    <Frame title="Welcome to Parley" lead="Nobody has an account here yet.">
      <p>
        When Parley started it printed a link that ends in <code>#setup=…</code>. Open that link in this browser to make the first
        account; it works once.
      </p>
      <p class="hint">Lost it? Restart Parley: it prints a new one as long as there is no account.</p>
    </Frame>
  );
}

function SignIn({ onSignUp }: { onSignUp: (() => void) | null }): JSX.Element {
  const [username, setUsername] = useState('');
  const [password, setPassword] = useState('');
  const { busy, error, submit } = useSubmit(() => signIn(username.trim(), password));
  return (
    <Frame title="Sign in" {...(sessionEnded.value ? { lead: 'Your session has ended. Sign in again; nothing is lost.' } : {})}>
      <form onSubmit={submit}>
        <Field label="User name or e-mail" name="username" autocomplete="username" required autofocus value={username} onInput={setUsername} />
        <Field label="Password" name="password" type="password" autocomplete="current-password" required value={password} onInput={setPassword} />
        <FormError error={error} />
        <button class="button primary wide" disabled={busy}>
          {busy ? 'One moment…' : 'Sign in'}
        </button>
      </form>
      {onSignUp && (
        <p class="auth-switch">
          New here?{' '}
          <button type="button" class="link" onClick={onSignUp}>
            Create an account
          </button>
        </p>
      )}
    </Frame>
  );
}

function SignUp({ onSignIn }: { onSignIn: () => void }): JSX.Element {
  return (
    <Frame title="Create an account">
      <AccountForm action="Create account" run={signUp} />
      <p class="auth-switch">
        Have an account?{' '}
        <button type="button" class="link" onClick={onSignIn}>
          Sign in
        </button>
      </p>
    </Frame>
  );
}

export function Auth(): JSX.Element {
  const [wantsSignUp, setWantsSignUp] = useState(false);
  const now = status.value;
  if (now?.setup_required) return setupToken.value ? <Setup token={setupToken.value} /> : <NeedsSetup />;
  if (wantsSignUp) return <SignUp onSignIn={() => setWantsSignUp(false)} />;
  return <SignIn onSignUp={now?.signup === 'open' ? () => setWantsSignUp(true) : null} />;
}
