/* What all forms share: one submission at a time, and the server's refusal shown where it belongs. */
import type { JSX } from 'preact';
import { useId, useState } from 'preact/hooks';
import { ApiError } from '../api/client.ts';

export interface Submission {
  busy: boolean;
  error: ApiError | Error | null;
  submit: (event?: Event) => void;
}

export function useSubmit(run: () => Promise<void>): Submission {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<Error | null>(null);
  const submit = (event?: Event): void => {
    event?.preventDefault();
    if (busy) return;
    setBusy(true);
    setError(null);
    run()
      .catch((e: unknown) => setError(e instanceof Error ? e : new Error(String(e))))
      .finally(() => setBusy(false));
  };
  return { busy, error, submit };
}

export function FormError({ error }: { error: Error | null }): JSX.Element | null {
  if (!error) return null;
  return (
    <p class="form-error" role="alert">
      {error.message}
    </p>
  );
}

/** The last row of a form: what it does, and how it is left without that. */
export function FormFoot(props: { action: string; disabled: boolean; onCancel?: () => void }): JSX.Element {
  return (
    <div class="form-actions">
      {props.onCancel && (
        <button type="button" class="button" onClick={props.onCancel}>
          Cancel
        </button>
      )}
      <button class="button primary" disabled={props.disabled}>
        {props.action}
      </button>
    </div>
  );
}

interface FieldProps extends Omit<JSX.InputHTMLAttributes<HTMLInputElement>, 'onInput'> {
  label: string;
  hint?: string;
  value: string;
  onInput: (value: string) => void;
}

export function Field({ label, hint, value, onInput, ...input }: FieldProps): JSX.Element {
  const hintId = useId();
  return (
    <label class="field">
      <span>{label}</span>
      <input {...input} value={value} aria-describedby={hint ? hintId : undefined} onInput={(e) => onInput(e.currentTarget.value)} />
      {hint && (
        <small id={hintId} class="hint">
          {hint}
        </small>
      )}
    </label>
  );
}

interface AreaProps extends Omit<JSX.TextareaHTMLAttributes<HTMLTextAreaElement>, 'onInput'> {
  label: string;
  hint?: string;
  value: string;
  onInput: (value: string) => void;
}

export function Area({ label, hint, value, onInput, ...area }: AreaProps): JSX.Element {
  const hintId = useId();
  return (
    <label class="field">
      <span>{label}</span>
      <textarea {...area} value={value} aria-describedby={hint ? hintId : undefined} onInput={(e) => onInput(e.currentTarget.value)} />
      {hint && (
        <small id={hintId} class="hint">
          {hint}
        </small>
      )}
    </label>
  );
}

export function Toggle(props: { label: string; hint?: string; checked: boolean; onChange: (checked: boolean) => void }): JSX.Element {
  return (
    <label class="toggle">
      <input type="checkbox" role="switch" checked={props.checked} onChange={(e) => props.onChange(e.currentTarget.checked)} />
      <span>
        {props.label}
        {props.hint && <small class="hint">{props.hint}</small>}
      </span>
    </label>
  );
}
