/* How the page behaves for this account. */
import type { JSX } from 'preact';
import { defaultRole } from '../../state/roles.ts';
import { preferences, setPreference, type Theme } from '../../state/session.ts';
import { reportError } from '../../state/ui.ts';
import { Toggle } from '../form.tsx';
import { RoleField } from './role-field.tsx';

const THEMES: { value: Theme; name: string }[] = [
  { value: 'auto', name: 'As the system' },
  { value: 'light', name: 'Light' },
  { value: 'dark', name: 'Dark' },
];

export function PreferencesForm(): JSX.Element {
  const now = preferences.value;
  const set = (key: string, value: unknown): void => void setPreference(key, value).catch(reportError);
  return (
    <>
      <h3>Preferences</h3>
      <fieldset class="field">
        <legend>Theme</legend>
        <div class="segments">
          {THEMES.map((theme) => (
            <button key={theme.value} type="button" aria-pressed={now.theme === theme.value} onClick={() => set('theme', theme.value)}>
              {theme.name}
            </button>
          ))}
        </div>
      </fieldset>
      <RoleField label="Role for new conversations" value={defaultRole()?.role_id ?? ''} onChange={(id) => set('default_role_id', id)} />
      <Toggle
        label="Enter sends the message"
        hint="Shift+Enter makes a new line. Switched off, Ctrl+Enter sends."
        checked={now.enterToSend}
        onChange={(on) => set('enter_to_send', on)}
      />
      <Toggle
        label="Single-key shortcuts"
        hint="Such as n for a new conversation. Press ? for the list."
        checked={now.singleKeyShortcuts}
        onChange={(on) => set('single_key_shortcuts', on)}
      />
      <Toggle
        label="My rated answers may train models"
        hint="Administrators can export them for training, with personal data removed. Switched off, they cannot."
        checked={now.trainingConsent}
        onChange={(on) => set('training_consent', on)}
      />
    </>
  );
}
