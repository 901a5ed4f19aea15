/* What the page says beside the conversation: the server's notice, a lost connection, toasts, and the screen reader's line. */
import type { JSX } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import { reconnecting, refreshStatus, sentence, status } from '../api/client.ts';
import { announcement, dismissToast, toasts } from '../state/ui.ts';
import { Icon } from './icons.tsx';

const LOADING = 'The model is being loaded. You can write already; the answer comes as soon as it is ready.';

const STATUS_MS = { starting: 2000, noticed: 10_000, running: 60_000 };

/** The server's state is asked often while it starts, now and then while something is to be said of it, rarely after. */
export function useStatusPolling(): void {
  const ready = status.value?.ready !== false;
  const noticed = Boolean(status.value?.notice);
  useEffect(() => {
    const timer = setInterval(() => {
      if (!document.hidden) void refreshStatus();
    }, !ready ? STATUS_MS.starting : noticed ? STATUS_MS.noticed : STATUS_MS.running);
    return () => clearInterval(timer);
  }, [ready, noticed]);
}

function Reconnecting(): JSX.Element | null {
  if (!reconnecting.value) return null;
  return (
    <div class="banner reconnecting" role="status">
      <span class="spinner" aria-hidden="true" />
      Reconnecting…
    </div>
  );
}

function Notice(): JSX.Element | null {
  const [dismissed, setDismissed] = useState<string | null>(null);
  const now = status.value;
  if (!now) return null;
  const notice = now.notice ? sentence(now.notice) : now.ready ? null : LOADING;
  if (!notice || notice === dismissed) return null;
  return (
    <div class="banner" role="status">
      <span>{notice}</span>
      <button type="button" class="icon-button small" aria-label="Hide this notice" onClick={() => setDismissed(notice)}>
        <Icon name="close" />
      </button>
    </div>
  );
}

export function Banner(): JSX.Element {
  return (
    <>
      <Reconnecting />
      <Notice />
    </>
  );
}

export function Toasts(): JSX.Element {
  const ref = useRef<HTMLDivElement>(null);
  const shown = toasts.value.length > 0;
  const newest = toasts.value.at(-1)?.id;
  useEffect(() => {
    const box = ref.current;
    if (!box?.showPopover) return; // older browsers: it is an ordinary box
    if (box.matches(':popover-open')) box.hidePopover();
    if (shown) box.showPopover(); // shown last is on top, also of a dialog
  }, [shown, newest]);
  return (
    <div class="toasts" popover="manual" ref={ref}>
      {toasts.value.map((t) => (
        <div key={t.id} class={`toast ${t.kind}`} role={t.kind === 'error' ? 'alert' : 'status'}>
          <span>{t.text}</span>
          <button type="button" class="icon-button small" aria-label="Dismiss" onClick={() => dismissToast(t.id)}>
            <Icon name="close" />
          </button>
        </div>
      ))}
    </div>
  );
}

/** Says each finished answer once; tokens are not read out as they come. */
export function LiveRegion(): JSX.Element {
  return (
    <div class="visually-hidden" role="status" aria-live="polite" data-testid="announcer">
      {announcement.value}
    </div>
  );
}
