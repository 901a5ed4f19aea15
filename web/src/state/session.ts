/* Who is signed in, and what they prefer. Preferences live in the account, so that they are the same in every browser; the theme is also
 * kept in this browser, because it is needed before anybody is signed in. */
import { computed, signal } from '@preact/signals';
import { ApiError, del, get, patch, post, refreshStatus, setSignedOutHandler, status, untilBack } from '../api/client.ts';
import type { User } from '../api/types.ts';
import { claimDrafts, clearDrafts } from './drafts.ts';
import { navigate, clearSetupToken } from './route.ts';

export type Theme = 'auto' | 'light' | 'dark';

export interface Preferences {
  theme: Theme;
  enterToSend: boolean;
  singleKeyShortcuts: boolean;
  trainingConsent: boolean;
  defaultRoleId: string | null;
}

/** undefined: not known yet; null: nobody. */
export const user = signal<User | null | undefined>(undefined);
/** The session ended by itself (not by signing out): the sign-in form says so. */
export const sessionEnded = signal(false);
const localTheme = signal<Theme>(readLocalTheme());

const THEME_KEY = 'parley.theme'; // static/theme.js reads the same key before the first paint

function readLocalTheme(): Theme {
  const value = localStorage.getItem('parley.theme');
  return value === 'light' || value === 'dark' ? value : 'auto';
}

export const preferences = computed<Preferences>(() => {
  const stored = user.value?.preferences ?? {};
  const theme = stored['theme'];
  const role = stored['default_role_id'];
  return {
    theme: theme === 'light' || theme === 'dark' || theme === 'auto' ? theme : localTheme.value,
    enterToSend: stored['enter_to_send'] !== false,
    singleKeyShortcuts: stored['single_key_shortcuts'] !== false,
    trainingConsent: stored['training_consent'] === true,
    defaultRoleId: typeof role === 'string' ? role : null,
  };
});

/** Keeps unknown preferences: another client may have set them. */
export async function setPreference(key: string, value: unknown): Promise<void> {
  const before = user.value;
  if (!before) return;
  const changed = { ...before.preferences, [key]: value };
  user.value = { ...before, preferences: changed };
  if (key === 'theme') rememberTheme(value as Theme);
  try {
    user.value = await patch<User>('/api/v1/users/me', { preferences: changed });
  } catch (error) {
    user.value = before;
    throw error;
  }
}

function rememberTheme(theme: Theme): void {
  localTheme.value = theme;
  if (theme === 'auto') localStorage.removeItem(THEME_KEY);
  else localStorage.setItem(THEME_KEY, theme);
}

/** Whose conversations this document may hold in memory. */
let owner: string | null = null;

export function signedIn(account: User): void {
  claimDrafts(account.user_id);
  if (owner !== null && owner !== account.user_id) {
    startAfresh();
    return;
  }
  owner = account.user_id;
  sessionEnded.value = false;
  user.value = account;
  const theme = account.preferences['theme'];
  if (theme === 'light' || theme === 'dark' || theme === 'auto') rememberTheme(theme);
}

/** Finds out who is there; waits for a server that is just starting. */
export async function boot(): Promise<void> {
  setSignedOutHandler(() => {
    if (!user.value) return;
    sessionEnded.value = true;
    user.value = null;
  });
  if (!(await refreshStatus())) await untilBack();
  if (status.value?.setup_required) {
    user.value = null;
    return;
  }
  try {
    signedIn(await get<User>('/api/v1/users/me'));
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    user.value = null;
  }
}

export async function signIn(username: string, password: string): Promise<void> {
  signedIn(await post<User>('/api/v1/sessions', { username, password }));
}

export async function signUp(account: { username: string; email: string; password: string }): Promise<void> {
  signedIn(await post<User>('/api/v1/users', account));
}

export async function setUp(token: string, account: { username: string; email: string; password: string }): Promise<void> {
  signedIn(await post<User>('/api/v1/setup', { token, ...account }));
  clearSetupToken();
  await refreshStatus();
}

export async function signOut(): Promise<void> {
  await del('/api/v1/sessions/current');
  clearDrafts();
  startAfresh();
}

/** A fresh document: nothing of the person before stays in memory. */
function startAfresh(): void {
  navigate('/', true);
  location.reload();
}
