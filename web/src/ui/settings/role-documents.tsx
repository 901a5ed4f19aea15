/* What a role asks of documents: whether it looks into them, whether it answers from them only, and the collections that
 * only its conversations read. */
import type { JSX } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import { get, patch, post } from '../../api/client.ts';
import type { Collection, List, RoleDocuments } from '../../api/types.ts';
import { Field, FormError, Toggle, useSubmit } from '../form.tsx';

const STANDARD: RoleDocuments = { enabled: true, grounded_only: false, collections: [] };

export interface RoleDocumentsState {
  /** What is to be saved; null until it was loaded. */
  draft: RoleDocuments | null;
  error: Error | null;
  set: (change: Partial<RoleDocuments>) => void;
  /** Saves what was changed. */
  save: (roleId: string) => Promise<void>;
}

/** roleId null: a role that is still to be made. */
export function useRoleDocuments(roleId: string | null): RoleDocumentsState {
  const [before, setBefore] = useState<RoleDocuments | null>(roleId ? null : STANDARD);
  const [draft, setDraft] = useState<RoleDocuments | null>(before);
  const [error, setError] = useState<Error | null>(null);
  useEffect(() => {
    if (!roleId) return;
    get<RoleDocuments>(`/api/v1/roles/${roleId}/documents`).then(
      (found) => {
        setBefore(found);
        setDraft(found);
      },
      (e: unknown) => setError(e instanceof Error ? e : new Error(String(e))),
    );
  }, [roleId]);
  return {
    draft,
    error,
    set: (change) => setDraft((d) => d && { ...d, ...change }),
    save: async (id) => {
      if (draft && JSON.stringify(draft) !== JSON.stringify(before)) await patch<RoleDocuments>(`/api/v1/roles/${id}/documents`, draft);
    },
  };
}

function NewCollection({ onMade }: { onMade: (made: Collection) => void }): JSX.Element {
  const [name, setName] = useState('');
  const { busy, error, submit } = useSubmit(async () => {
    onMade(await post<Collection>('/api/v1/collections', { name: name.trim(), kind: 'role' }));
    setName('');
  });
  return (
    <>
      <Field
        label="New collection"
        maxLength={200}
        value={name}
        onInput={setName}
        onKeyDown={(e) => {
          if (e.key === 'Enter' && name.trim() !== '') submit(e); // not the form around it
        }}
      />
      <button type="button" class="button small" disabled={busy || name.trim() === ''} onClick={submit}>
        Add collection
      </button>
      <FormError error={error} />
    </>
  );
}

export function RoleDocumentsFields({ state }: { state: RoleDocumentsState }): JSX.Element {
  const [collections, setCollections] = useState<Collection[]>([]);
  const [error, setError] = useState<Error | null>(null);
  const { draft, set } = state;
  useEffect(() => {
    get<List<Collection>>('/api/v1/collections').then(
      (page) => setCollections(page.data.filter((c) => c.kind === 'role')),
      (e: unknown) => setError(e instanceof Error ? e : new Error(String(e))),
    );
  }, []);
  if (!draft) return <FormError error={state.error} />;
  const bind = (id: string, bound: boolean): void =>
    set({ collections: bound ? [...draft.collections, id] : draft.collections.filter((c) => c !== id) });
  return (
    <fieldset>
      <legend>Documents</legend>
      <Toggle label="Looks into documents" checked={draft.enabled} onChange={(enabled) => set({ enabled })} />
      <Toggle
        label="Answers from documents only"
        hint="Where they say nothing about a question, the assistant says so instead of guessing."
        checked={draft.grounded_only}
        onChange={(grounded_only) => set({ grounded_only })}
      />
      {collections.map((c) => (
        <Toggle
          key={c.collection_id}
          label={`Reads “${c.name}”`}
          hint={`${c.documents} ${c.documents === 1 ? 'document' : 'documents'}; only roles that are bound to it read it.`}
          checked={draft.collections.includes(c.collection_id)}
          onChange={(bound) => bind(c.collection_id, bound)}
        />
      ))}
      <NewCollection
        onMade={(made) => {
          setCollections((list) => [...list, made]);
          bind(made.collection_id, true);
        }}
      />
      <FormError error={error} />
    </fieldset>
  );
}
