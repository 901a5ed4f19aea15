/* A modal dialog on <dialog>: the browser keeps the focus inside, closes it on Esc and gives the focus back. */
import type { ComponentChildren, JSX } from 'preact';
import { useEffect, useId, useRef, useState } from 'preact/hooks';
import { confirmation, prompt } from '../state/ui.ts';
import { Icon } from './icons.tsx';
import { FormError, useSubmit } from './form.tsx';

interface DialogProps {
  title: string;
  onClose: () => void;
  class?: string;
  children: ComponentChildren;
}

export function Dialog({ title, onClose, class: extra, children }: DialogProps): JSX.Element {
  const ref = useRef<HTMLDialogElement>(null);
  const titleId = useId();
  useEffect(() => {
    const opener = document.activeElement;
    const dialog = ref.current!;
    dialog.showModal();
    return () => {
      if (dialog.open) dialog.close();
      if (opener instanceof HTMLElement && opener.isConnected) opener.focus();
    };
  }, []);
  return (
    <dialog
      ref={ref}
      class={`dialog ${extra ?? ''}`}
      aria-labelledby={titleId}
      onCancel={(e) => {
        e.preventDefault();
        onClose();
      }}
      onMouseDown={(e) => e.target === ref.current && onClose()}
    >
      <div class="dialog-body">
        <header class="dialog-head">
          <h2 id={titleId}>{title}</h2>
          <button type="button" class="icon-button" aria-label="Close" onClick={onClose}>
            <Icon name="close" />
          </button>
        </header>
        {children}
      </div>
    </dialog>
  );
}

/** Asks before something that cannot be undone. */
export function ConfirmDialog(): JSX.Element | null {
  const asked = confirmation.value;
  const close = (): void => void (confirmation.value = null);
  const { busy, error, submit } = useSubmit(async () => {
    await asked?.run();
    close();
  });
  if (!asked) return null;
  return (
    <Dialog title={asked.title} onClose={close} class="dialog-small">
      <form onSubmit={submit}>
        <p>{asked.text}</p>
        <FormError error={error} />
        <div class="form-actions">
          <button type="button" class="button" onClick={close} autofocus>
            Cancel
          </button>
          <button type="submit" class="button danger" disabled={busy}>
            {asked.action}
          </button>
        </div>
      </form>
    </Dialog>
  );
}

/** Asks for one line of text. */
export function PromptDialog(): JSX.Element | null {
  const asked = prompt.value;
  return asked ? <PromptForm key={asked.title + asked.value} /> : null;
}

function PromptForm(): JSX.Element | null {
  const asked = prompt.value;
  const [value, setValue] = useState(asked?.value ?? '');
  const input = useRef<HTMLInputElement>(null);
  const close = (): void => void (prompt.value = null);
  const { busy, error, submit } = useSubmit(async () => {
    await asked?.run(value);
    close();
  });
  useEffect(() => input.current?.select(), []);
  if (!asked) return null;
  return (
    <Dialog title={asked.title} onClose={close} class="dialog-small">
      <form onSubmit={submit}>
        <label class="field">
          <span>{asked.label}</span>
          <input ref={input} value={value} required maxLength={200} autofocus onInput={(e) => setValue(e.currentTarget.value)} />
        </label>
        <FormError error={error} />
        <div class="form-actions">
          <button type="button" class="button" onClick={close}>
            Cancel
          </button>
          <button type="submit" class="button primary" disabled={busy}>
            {asked.action}
          </button>
        </div>
      </form>
    </Dialog>
  );
}
