/* Unsent text, kept for each conversation in this browser until it is sent or its owner signs out. */
const PREFIX = 'parley.draft.';

export const NEW_CONVERSATION = 'new';

export function readDraft(key: string): string {
  return localStorage.getItem(PREFIX + key) ?? '';
}

export function writeDraft(key: string, text: string): void {
  try {
    if (text) localStorage.setItem(PREFIX + key, text);
    else localStorage.removeItem(PREFIX + key);
  } catch {
    /* storage is full or forbidden: the draft lives only in the page */
  }
}

/** Whose drafts these are. Another person's are removed: they may have left without signing out. */
const OWNER = 'parley.drafts-of';
export function claimDrafts(userId: string): void {
  if (localStorage.getItem(OWNER) === userId) return;
  clearDrafts();
  try {
    localStorage.setItem(OWNER, userId);
  } catch {
    /* no storage: no drafts either */
  }
}

export function clearDrafts(): void {
  for (const key of Object.keys(localStorage)) {
    if (key.startsWith(PREFIX)) localStorage.removeItem(key);
  }
}
