/* What the page's state asks of a browser, for tests: import before anything that reads it. */
import { webcrypto } from 'node:crypto';

const kept = new Map<string, string>();
const storage: Record<string, unknown> = {};
Object.defineProperties(storage, {
  getItem: { value: (key: string) => kept.get(key) ?? null },
  setItem: { value: (key: string, text: string) => { kept.set(key, text); storage[key] = text; } },
  removeItem: { value: (key: string) => { kept.delete(key); delete storage[key]; } },
});

/** How often the page was loaded anew. */
export const loads = { count: 0 };
const location = { pathname: '/c/old', hash: '', reload: () => loads.count++ };
const history = { replaceState: (_s: unknown, _t: string, to: string) => (location.pathname = to), pushState: () => undefined };

Object.assign(globalThis, { localStorage: storage, location, history, addEventListener: () => undefined });
// Node 18 keeps it to itself.
Object.defineProperty(globalThis, 'crypto', { value: webcrypto, configurable: true });
