/* Settings: one dialog with tabs; administrators see more of them. */
import type { FunctionComponent, JSX } from 'preact';
import { useRef } from 'preact/hooks';
import { user } from '../../state/session.ts';
import { settingsTab, type SettingsTab } from '../../state/ui.ts';
import { status } from '../../api/client.ts';
import { Dialog } from '../dialog.tsx';
import { Account } from './account.tsx';
import { Documents } from './documents.tsx';
import { FeedbackList } from './feedback.tsx';
import { Keys } from './keys.tsx';
import { Learning } from './learning.tsx';
import { PreferencesForm } from './preferences.tsx';
import { Roles } from './roles.tsx';
import { Safety } from './safety.tsx';
import { Service } from './service.tsx';
import { Users } from './users.tsx';

interface Tab {
  id: SettingsTab;
  name: string;
  admin: boolean;
  view: FunctionComponent;
}

const TABS: Tab[] = [
  { id: 'account', name: 'Account', admin: false, view: Account },
  { id: 'preferences', name: 'Preferences', admin: false, view: PreferencesForm },
  { id: 'keys', name: 'API keys', admin: false, view: Keys },
  { id: 'documents', name: 'Documents', admin: false, view: Documents },
  { id: 'roles', name: 'Roles', admin: true, view: Roles },
  { id: 'users', name: 'People', admin: true, view: Users },
  { id: 'feedback', name: 'Feedback', admin: true, view: FeedbackList },
  { id: 'learning', name: 'Learning', admin: true, view: Learning },
  { id: 'safety', name: 'Safety', admin: true, view: Safety },
  { id: 'service', name: 'Service', admin: true, view: Service },
];

export function SettingsDialog(): JSX.Element | null {
  const list = useRef<HTMLDivElement>(null);
  const current = settingsTab.value;
  if (!current) return null;
  const tabs = TABS.filter((tab) => !tab.admin || user.value?.is_admin);
  const at = Math.max(0, tabs.findIndex((tab) => tab.id === current));
  const View = tabs[at]!.view;

  const onKey = (e: KeyboardEvent): void => {
    const step = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[e.key];
    if (step === undefined) return;
    e.preventDefault();
    const to = (at + step + tabs.length) % tabs.length;
    settingsTab.value = tabs[to]!.id;
    list.current?.querySelectorAll<HTMLElement>('[role=tab]')[to]?.focus();
  };

  return (
    <Dialog title="Settings" onClose={() => (settingsTab.value = null)} class="dialog-settings">
      <div class="settings">
        <div class="settings-tabs" role="tablist" aria-label="Settings" aria-orientation="vertical" ref={list} onKeyDown={onKey}>
          {tabs.map((tab, i) => (
            <button
              key={tab.id}
              id={`tab-${tab.id}`}
              type="button"
              role="tab"
              aria-selected={i === at}
              aria-controls="settings-panel"
              tabIndex={i === at ? 0 : -1}
              onClick={() => (settingsTab.value = tab.id)}
            >
              {tab.name}
            </button>
          ))}
          <p class="settings-version">Parley {status.value?.version}</p>
        </div>
        <div class="settings-panel" id="settings-panel" role="tabpanel" aria-labelledby={`tab-${tabs[at]!.id}`}>
          <View key={current} />
        </div>
      </div>
    </Dialog>
  );
}
