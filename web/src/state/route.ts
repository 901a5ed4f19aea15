/* The address: `/` is a new conversation, `/c/ID` an existing one, `#setup=TOKEN` the first account's link. */
import { computed, signal } from '@preact/signals';

const path = signal(location.pathname);

export const conversationId = computed(() => /^\/c\/([\w-]+)$/.exec(path.value)?.[1] ?? null);
export const setupToken = signal(/^#setup=(.+)$/.exec(location.hash)?.[1] ?? null);

addEventListener('popstate', () => (path.value = location.pathname));
addEventListener('hashchange', () => {
  setupToken.value = /^#setup=(.+)$/.exec(location.hash)?.[1] ?? null;
});

export function navigate(to: string, replace = false): void {
  if (replace) history.replaceState(null, '', to);
  else if (to !== location.pathname) history.pushState(null, '', to);
  path.value = location.pathname;
}

export const pathOf = (id: string): string => `/c/${id}`;

export function clearSetupToken(): void {
  setupToken.value = null;
  history.replaceState(null, '', location.pathname);
}
