/* Roles, for administrators: add, change, retire and restore, and read earlier versions. */
import type { JSX } from 'preact';
import { useState } from 'preact/hooks';
import { patch, post } from '../../api/client.ts';
import type { Role } from '../../api/types.ts';
import { loadRoles } from '../../state/roles.ts';
import { reportError, toast } from '../../state/ui.ts';
import { fullTime } from '../../text/format.ts';
import { Area, Field, FormError, FormFoot, useSubmit } from '../form.tsx';
import { ModelField } from './model-field.tsx';
import { RoleDocumentsFields, useRoleDocuments } from './role-documents.tsx';
import { ListView, useList } from './use-list.tsx';

interface Draft {
  name: string;
  description: string;
  system_prompt: string;
  model: string;
  temperature: string;
  top_p: string;
  max_tokens: string;
  stop: string;
  starter_questions: string;
}

const text = (value: number | null | undefined): string => (value === null || value === undefined ? '' : String(value));
const lines = (value: string): string[] =>
  value
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '');
const numberOrNull = (value: string): number | null => (value.trim() === '' ? null : Number(value));

function draftOf(role: Role | null): Draft {
  return {
    name: role?.name ?? '',
    description: role?.description ?? '',
    system_prompt: role?.system_prompt ?? '',
    model: role?.model ?? '',
    temperature: text(role?.temperature),
    top_p: text(role?.top_p),
    max_tokens: text(role?.max_tokens),
    stop: (role?.stop ?? []).join('\n'),
    starter_questions: (role?.starter_questions ?? []).join('\n'),
  };
}

function fieldsOf(draft: Draft): Record<string, unknown> {
  return {
    name: draft.name.trim(),
    description: draft.description.trim(),
    system_prompt: draft.system_prompt,
    model: draft.model.trim() || null,
    temperature: numberOrNull(draft.temperature),
    top_p: numberOrNull(draft.top_p),
    max_tokens: numberOrNull(draft.max_tokens),
    stop: draft.stop.split('\n').filter((line) => line !== ''),
    starter_questions: lines(draft.starter_questions),
  };
}

/** Only what was changed is sent: an unchanged prompt makes no new version. */
function changes(role: Role | null, draft: Draft): Record<string, unknown> {
  const fields = fieldsOf(draft);
  const before = fieldsOf(draftOf(role));
  return Object.fromEntries(
    Object.entries(fields).filter(([key, value]) => {
      if (role) return JSON.stringify(value) !== JSON.stringify(before[key]);
      return value !== null && value !== '' && !(Array.isArray(value) && value.length === 0);
    }),
  );
}

function RoleForm({ role, onClose }: { role: Role | null; onClose: () => void }): JSX.Element {
  const [draft, setDraft] = useState(draftOf(role));
  const [made, setMade] = useState<string | null>(null); // a new role that was saved before its documents were refused
  const documents = useRoleDocuments(role?.role_id ?? null);
  const set = (key: keyof Draft) => (value: string): void => setDraft((d) => ({ ...d, [key]: value }));
  const { busy, error, submit } = useSubmit(async () => {
    const fields = changes(role, draft);
    let id = made ?? role?.role_id;
    if (!id) {
      id = (await post<Role>('/api/v1/roles', fields)).role_id;
      setMade(id);
    } else if (Object.keys(fields).length > 0) await patch<Role>(`/api/v1/roles/${id}`, fields);
    await documents.save(id);
    await loadRoles();
    toast('Saved.');
    onClose();
  });
  return (
    <form class="role-form" onSubmit={submit}>
      <div class="panel-head">
        <button type="button" class="button small" onClick={onClose}>
          Back
        </button>
        <h3>{role ? role.name : 'New role'}</h3>
      </div>
      <Field label="Name" required maxLength={80} value={draft.name} onInput={set('name')} />
      <Field label="Description" maxLength={1000} value={draft.description} onInput={set('description')} />
      <Area
        label="System prompt"
        required
        rows={8}
        hint="What the model is told before each conversation. A change makes a new version; the old ones are kept."
        value={draft.system_prompt}
        onInput={set('system_prompt')}
      />
      <Area label="Starter questions" rows={4} hint="One on each line, up to ten." value={draft.starter_questions} onInput={set('starter_questions')} />
      <fieldset class="field-grid">
        <legend>How the model answers (empty: its own defaults)</legend>
        <ModelField value={draft.model} onInput={set('model')} />
        <Field label="Temperature" type="number" step="any" min={0} max={2} value={draft.temperature} onInput={set('temperature')} />
        <Field label="Top-p" type="number" step="any" min={0} max={1} value={draft.top_p} onInput={set('top_p')} />
        <Field label="Longest answer, tokens" type="number" min={1} value={draft.max_tokens} onInput={set('max_tokens')} />
      </fieldset>
      <Area label="Stop at" rows={2} hint="The answer ends before any of these texts. One on each line, up to four." value={draft.stop} onInput={set('stop')} />
      <RoleDocumentsFields state={documents} />
      <FormError error={error} />
      <FormFoot action="Save" disabled={busy} onCancel={onClose} />
    </form>
  );
}

function Versions({ role, onClose }: { role: Role; onClose: () => void }): JSX.Element {
  const list = useList<Role>(`/api/v1/roles/${role.role_id}/versions`);
  return (
    <>
      <div class="panel-head">
        <button type="button" class="button small" onClick={onClose}>
          Back
        </button>
        <h3>Versions of {role.name}</h3>
      </div>
      <ListView
        list={list}
        empty="There are no versions."
        row={(v) => (
          <li key={v.version} class="version">
            <div class="row-text">
              <strong>Version {v.version}</strong>
              <small>
                {fullTime(v.updated_at)}
                {v.model && ` · ${v.model}`}
                {v.temperature !== null && ` · temperature ${v.temperature}`}
              </small>
              <pre tabIndex={0}>{v.system_prompt}</pre>
            </div>
          </li>
        )}
      />
    </>
  );
}

type View = { kind: 'list' } | { kind: 'edit'; role: Role | null } | { kind: 'versions'; role: Role };

function RoleList({ onView }: { onView: (view: View) => void }): JSX.Element {
  const list = useList<Role>('/api/v1/roles?retired=true&limit=200');
  const retire = async (role: Role, retired: boolean): Promise<void> => {
    await patch<Role>(`/api/v1/roles/${role.role_id}`, { retired });
    list.reload();
    await loadRoles();
  };
  return (
    <>
      <div class="panel-head">
        <h3>Roles</h3>
        <button type="button" class="button primary small" onClick={() => onView({ kind: 'edit', role: null })}>
          Add
        </button>
      </div>
      <ListView
        list={list}
        empty="There are no roles."
        row={(role) => (
          <li key={role.role_id} class={role.retired_at ? 'faded' : ''}>
            <div class="row-text">
              <button type="button" class="link strong" onClick={() => onView({ kind: 'edit', role })}>
                {role.name}
              </button>
              {role.retired_at && <span class="tag">Retired</span>}
              <small>{role.description}</small>
            </div>
            <button type="button" class="button small" onClick={() => onView({ kind: 'versions', role })} aria-label={`Versions of ${role.name}`}>
              Version {role.version}
            </button>
            <button type="button" class="button small" onClick={() => void retire(role, !role.retired_at).catch(reportError)}>
              {role.retired_at ? 'Restore' : 'Retire'}
            </button>
          </li>
        )}
      />
    </>
  );
}

export function Roles(): JSX.Element {
  const [view, setView] = useState<View>({ kind: 'list' });
  const back = (): void => setView({ kind: 'list' });
  if (view.kind === 'edit') return <RoleForm role={view.role} onClose={back} />;
  if (view.kind === 'versions') return <Versions role={view.role} onClose={back} />;
  return <RoleList onView={setView} />;
}
