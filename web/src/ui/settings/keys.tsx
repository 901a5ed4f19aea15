/* API keys: made, shown once, revoked. */
import type { JSX } from 'preact';
import { useState } from 'preact/hooks';
import { del, post } from '../../api/client.ts';
import type { ApiKey } from '../../api/types.ts';
import { copyText } from '../../text/copy.ts';
import { fullTime } from '../../text/format.ts';
import { confirmation, toast } from '../../state/ui.ts';
import { Field, FormError, useSubmit } from '../form.tsx';
import { ListView, useList } from './use-list.tsx';

function NewKey({ made, onDone }: { made: ApiKey; onDone: () => void }): JSX.Element {
  const copy = (): void =>
    void copyText(made.key ?? '').then((done) => toast(done ? 'Copied.' : 'Select the key and press Ctrl+C.', done ? 'info' : 'error'));
  return (
    <div class="new-key" role="status">
      <p>
        <strong>Copy the key “{made.name}” now:</strong> it is not shown again.
      </p>
      <div class="key-line">
        <code>{made.key}</code>
        <button type="button" class="button primary" onClick={copy}>
          Copy
        </button>
      </div>
      <button type="button" class="button" onClick={onDone}>
        Done
      </button>
    </div>
  );
}

export function Keys(): JSX.Element {
  const list = useList<ApiKey>('/api/v1/keys');
  const [name, setName] = useState('');
  const [made, setMade] = useState<ApiKey | null>(null);
  const { busy, error, submit } = useSubmit(async () => {
    setMade(await post<ApiKey>('/api/v1/keys', { name: name.trim() }));
    setName('');
    list.reload();
  });
  const revoke = (key: ApiKey): void => {
    confirmation.value = {
      title: 'Revoke this key?',
      text: `Programs that use “${key.name}” are refused from now on.`,
      action: 'Revoke',
      run: async () => {
        await del(`/api/v1/keys/${key.key_id}`);
        list.reload();
      },
    };
  };
  return (
    <>
      <h3>API keys</h3>
      <p class="hint">
        With a key, programs talk to Parley as you: <code>Authorization: Bearer parley_…</code> on <code>{location.origin}/v1</code>{' '}
        (as OpenAI’s clients expect it) or <code>/api/v1</code>.
      </p>
      {made ? (
        <NewKey made={made} onDone={() => setMade(null)} />
      ) : (
        <form class="inline-form" onSubmit={submit}>
          <Field label="Name of a new key" placeholder="What will use it?" required maxLength={100} value={name} onInput={setName} />
          <button class="button primary" disabled={busy || name.trim() === ''}>
            Create key
          </button>
        </form>
      )}
      <FormError error={error} />
      <ListView
        list={list}
        empty="There are no keys yet."
        row={(key) => (
          <li key={key.key_id} class={key.revoked_at ? 'faded' : ''}>
            <div class="row-text">
              <strong>{key.name}</strong> <code>{key.prefix}…</code>
              <small>
                {key.revoked_at ? `Revoked ${fullTime(key.revoked_at)}` : `Made ${fullTime(key.created_at)} · last used: ${fullTime(key.last_used_at)}`}
              </small>
            </div>
            {!key.revoked_at && (
              <button type="button" class="button small" onClick={() => revoke(key)}>
                Revoke
              </button>
            )}
          </li>
        )}
      />
    </>
  );
}
