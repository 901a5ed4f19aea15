/* Variants of roles: other prompts, models and parameters that are tried against the role as it is. */
import type { JSX } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import { get, patch, post } from '../../api/client.ts';
import type { Variant } from '../../api/types.ts';
import { defaultRole, loadRoles, roleOf } from '../../state/roles.ts';
import { reportError, toast } from '../../state/ui.ts';
import { plural } from '../../text/format.ts';
import { Area, Field, FormError, FormFoot, useSubmit } from '../form.tsx';
import { ModelField } from './model-field.tsx';
import { IntervalBar } from './plot.tsx';
import { RoleField } from './role-field.tsx';

const numberOrNull = (value: string): number | null => (value.trim() === '' ? null : Number(value));

function VariantForm({ onClose }: { onClose: () => void }): JSX.Element {
  const [role, setRole] = useState(defaultRole()?.role_id ?? '');
  const [name, setName] = useState('');
  const [systemPrompt, setSystemPrompt] = useState(roleOf(role)?.system_prompt ?? '');
  const [model, setModel] = useState('');
  const [temperature, setTemperature] = useState('');
  const [passages, setPassages] = useState('');
  const { busy, error, submit } = useSubmit(async () => {
    await post<Variant>('/api/v1/learning/variants', {
      role_id: role,
      name,
      system_prompt: systemPrompt === (roleOf(role)?.system_prompt ?? '') ? null : systemPrompt || null,
      model: model.trim() || null,
      temperature: numberOrNull(temperature),
      passages: numberOrNull(passages),
    });
    toast('It is tried from now on.');
    onClose();
  });
  const choose = (id: string): void => {
    setRole(id);
    setSystemPrompt(roleOf(id)?.system_prompt ?? '');
  };
  return (
    <form onSubmit={submit}>
      <div class="panel-head">
        <button type="button" class="button small" onClick={onClose}>
          Back
        </button>
        <h3>New variant</h3>
      </div>
      <RoleField label="Role" value={role} onChange={choose} />
      <Field label="Name" required maxLength={80} value={name} onInput={setName} />
      <Area label="System prompt" rows={6} hint="The role's own, to be changed. As it is, it is not part of the trial." value={systemPrompt} onInput={setSystemPrompt} />
      <fieldset class="field-grid">
        <legend>What else is different (empty: as the role has it)</legend>
        <ModelField value={model} onInput={setModel} />
        <Field label="Temperature" type="number" step="any" min={0} max={2} value={temperature} onInput={setTemperature} />
        <Field label="Passages of documents" type="number" min={1} max={20} value={passages} onInput={setPassages} />
      </fieldset>
      <FormError error={error} />
      <FormFoot action="Try it" disabled={busy} onCancel={onClose} />
    </form>
  );
}

const WHY: Record<string, string> = { unsafe: 'its answers were unsafe more often', slow: 'it was too slow', failing: 'it failed more often', disliked: 'it was liked less' };

function differs(v: Variant): string {
  const parts = [
    v.system_prompt !== null && 'another prompt',
    v.model !== null && v.model,
    v.temperature !== null && `temperature ${v.temperature}`,
    v.passages !== null && plural(v.passages, 'passage'),
  ];
  return parts.filter(Boolean).join(' · ');
}

function VariantRow({ item, reload }: { item: Variant; reload: () => void }): JSX.Element {
  const end = (state: 'stopped' | 'kept'): void =>
    void patch(`/api/v1/learning/variants/${item.variant_id}`, { state }).then(() => {
      toast(state === 'kept' ? 'The role is like this variant from now on.' : 'Stopped.');
      reload();
      void loadRoles();
    }, reportError);
  const running = item.state === 'running';
  return (
    <li class={`stacked ${running ? '' : 'faded'}`}>
      <div class="row-text">
        <strong>{item.variant_id ? item.name : 'The role as it is'}</strong>
        {!running && <span class={`tag ${item.state === 'kept' ? '' : 'danger'}`}>{item.state === 'kept' ? 'Kept' : 'Stopped'}</span>}
        <small>
          {[differs(item), plural(item.turns, 'answer'), item.why && !running ? (WHY[item.why] ?? item.why) : ''].filter(Boolean).join(' · ')}
        </small>
        <IntervalBar value={item.satisfaction} low={item.low} high={item.high} n={item.rated} />
      </div>
      {item.variant_id && running && (
        <div class="row-actions">
          <button type="button" class="button small" onClick={() => end('kept')}>
            Keep
          </button>
          <button type="button" class="button small" onClick={() => end('stopped')}>
            Stop
          </button>
        </div>
      )}
    </li>
  );
}

export function Variants(): JSX.Element {
  const [list, setList] = useState<Variant[] | null>(null);
  const [error, setError] = useState<Error | null>(null);
  const [adding, setAdding] = useState(false);
  const load = (): void =>
    void get<{ data: Variant[] }>('/api/v1/learning/variants').then(
      (a) => setList(a.data),
      (e: unknown) => setError(e instanceof Error ? e : new Error(String(e))),
    );
  useEffect(load, []);
  if (adding) {
    return (
      <VariantForm
        onClose={() => {
          setAdding(false);
          load();
        }}
      />
    );
  }
  const ids = [...new Set((list ?? []).map((v) => v.role_id))];
  return (
    <>
      <div class="panel-head">
        <h3>Variants of roles</h3>
        <button type="button" class="button primary small" onClick={() => setAdding(true)}>
          Try a variant
        </button>
      </div>
      <p class="hint">Better rated variants get more conversations by themselves; one that is unsafe, slow, failing or disliked is stopped.</p>
      <FormError error={error} />
      {list && list.length === 0 && <p class="hint">Nothing is tried at the moment.</p>}
      {ids.map((id) => (
        <section key={id} class="plot-group">
          <h4>{roleOf(id)?.name ?? 'A role that is gone'}</h4>
          <ul class="rows">
            {list!
              .filter((v) => v.role_id === id)
              .map((v) => (
                <VariantRow key={v.variant_id ?? 'own'} item={v} reload={load} />
              ))}
          </ul>
        </section>
      ))}
    </>
  );
}
