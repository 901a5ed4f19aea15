/* Keyboard shortcuts: one table gives both what they do and the list under `?`. */
import type { JSX } from 'preact';
import { useEffect } from 'preact/hooks';
import { chat, show } from '../state/chats.ts';
import { preferences } from '../state/session.ts';
import { drawerOpen, settingsTab, shortcutsOpen, sidebarHidden } from '../state/ui.ts';
import { focusComposer } from './composer.tsx';
import { Dialog } from './dialog.tsx';

interface Shortcut {
  keys: string[];
  text: string;
  /** Absent: handled by the control itself, listed only. */
  run?: () => void;
  /** Works while a text is being written, too. */
  whileWriting?: boolean;
  matches: (e: KeyboardEvent) => boolean;
}

const mod = (e: KeyboardEvent): boolean => e.ctrlKey || e.metaKey;
const single = (key: string) => (e: KeyboardEvent): boolean => e.key === key && !mod(e) && !e.altKey;
const never = (): boolean => false;

function focusSearch(): void {
  sidebarHidden.value = false;
  if (matchMedia('(max-width: 760px)').matches) drawerOpen.value = true;
  setTimeout(() => document.getElementById('search')?.focus());
}

function escape(): void {
  if (drawerOpen.value) drawerOpen.value = false;
  else if (chat.value?.busy.value) void chat.value.stop();
}

const SHORTCUTS: Shortcut[] = [
  { keys: ['Enter'], text: 'Send (can be changed in the settings)', matches: never },
  { keys: ['Shift', 'Enter'], text: 'New line', matches: never },
  { keys: ['Esc'], text: 'Stop the answer; close what is open', run: escape, whileWriting: true, matches: (e) => e.key === 'Escape' },
  { keys: ['Ctrl', 'K'], text: 'Search conversations', run: focusSearch, whileWriting: true, matches: (e) => mod(e) && e.key === 'k' },
  { keys: ['/'], text: 'Search conversations', run: focusSearch, matches: single('/') },
  { keys: ['n'], text: 'New conversation', run: () => show(null), matches: single('n') },
  { keys: ['i'], text: 'Write a message', run: focusComposer, matches: single('i') },
  { keys: ['s'], text: 'Show or hide the sidebar', run: () => (sidebarHidden.value = !sidebarHidden.value), matches: single('s') },
  { keys: [','], text: 'Settings', run: () => (settingsTab.value = 'account'), matches: single(',') },
  { keys: ['?'], text: 'This list', run: () => (shortcutsOpen.value = true), matches: single('?') },
];

function isWriting(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && target.closest('input, textarea, select, [contenteditable]') !== null;
}

export function useShortcuts(): void {
  useEffect(() => {
    const onKey = (e: KeyboardEvent): void => {
      if (e.defaultPrevented || e.isComposing || document.querySelector('dialog[open]')) return;
      const writing = isWriting(e.target);
      const found = SHORTCUTS.find((s) => s.run && s.matches(e) && (s.whileWriting || !writing));
      if (!found || (!found.whileWriting && !preferences.value.singleKeyShortcuts)) return;
      e.preventDefault();
      found.run?.();
    };
    addEventListener('keydown', onKey);
    return () => removeEventListener('keydown', onKey);
  }, []);
}

export function ShortcutsDialog(): JSX.Element | null {
  if (!shortcutsOpen.value) return null;
  return (
    <Dialog title="Keyboard shortcuts" onClose={() => (shortcutsOpen.value = false)} class="dialog-small">
      <dl class="shortcuts">
        {SHORTCUTS.map((s) => (
          <div key={s.keys.join()}>
            <dt>
              {s.keys.map((key) => (
                <kbd key={key}>{key}</kbd>
              ))}
            </dt>
            <dd>{s.text}</dd>
          </div>
        ))}
      </dl>
    </Dialog>
  );
}
