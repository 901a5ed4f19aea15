/* What is open on the page, and the short messages that come and go. */
import { signal } from '@preact/signals';

export type SettingsTab = 'account' | 'preferences' | 'keys' | 'documents' | 'users' | 'roles' | 'feedback' | 'safety' | 'service' | 'learning';

export interface Confirmation {
  title: string;
  text: string;
  action: string;
  run: () => Promise<void>;
}

export interface Prompt {
  title: string;
  label: string;
  value: string;
  action: string;
  run: (value: string) => Promise<void>;
}

export const settingsTab = signal<SettingsTab | null>(null);
export const shortcutsOpen = signal(false);
export const confirmation = signal<Confirmation | null>(null);
export const prompt = signal<Prompt | null>(null);
/** The conversation list over the page on narrow screens. */
export const drawerOpen = signal(false);
/** The conversation list beside the page on wide screens. */
export const sidebarHidden = signal(false);

export interface Toast {
  id: number;
  text: string;
  kind: 'info' | 'error';
}

export const toasts = signal<Toast[]>([]);
let lastToast = 0;
const TOAST_MS = { info: 4000, error: 9000 };

export function toast(text: string, kind: Toast['kind'] = 'info'): void {
  const id = ++lastToast;
  toasts.value = [...toasts.value.slice(-2), { id, text, kind }];
  setTimeout(() => dismissToast(id), TOAST_MS[kind]);
}

export function dismissToast(id: number): void {
  toasts.value = toasts.value.filter((t) => t.id !== id);
}

export function reportError(error: unknown): void {
  toast(error instanceof Error ? error.message : String(error), 'error');
}

/** What screen readers hear; set once for each thing that happened. */
export const announcement = signal('');
export function announce(text: string): void {
  announcement.value = text;
}
