/* Code colouring, loaded when the first code block is seen. Until it is there code is shown plain. */
import { signal } from '@preact/signals';

type Highlighter = (code: string, language: string) => string | null;

/** Set once the languages are loaded; reading it while rendering makes the reader render again then. */
const highlighter = signal<Highlighter | null>(null);
let asked = false;

/** Longer code is not coloured: it would cost a frame. */
const MAX_CHARS = 20_000;

/** HTML with class names, or null when this code stays plain. */
export function highlight(code: string, language: string): string | null {
  const ready = highlighter.value;
  if (ready) return code.length <= MAX_CHARS ? ready(code, language) : null;
  if (!asked) {
    asked = true;
    import('./languages.ts').then(
      (module) => (highlighter.value = module.highlightCode),
      () => (asked = false),
    );
  }
  return null;
}
