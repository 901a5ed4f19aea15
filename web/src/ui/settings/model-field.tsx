/* Choosing a model, in forms: any name can be typed, those that there are can be picked. */
import type { JSX } from 'preact';
import { useEffect, useId, useState } from 'preact/hooks';
import { get } from '../../api/client.ts';
import { Field } from '../form.tsx';

interface ModelEntry {
  id: string;
  owned_by: string;
}

export function ModelField({ value, onInput }: { value: string; onInput: (value: string) => void }): JSX.Element {
  const [names, setNames] = useState<string[]>([]);
  const listId = useId();
  useEffect(() => {
    get<{ data: ModelEntry[] }>('/v1/models').then(
      (found) => setNames(found.data.filter((m) => m.owned_by !== 'parley').map((m) => m.id)), // the others are roles
      () => undefined, // a name can be typed all the same
    );
  }, []);
  return (
    <>
      <Field label="Model" list={listId} autocomplete="off" value={value} onInput={onInput} />
      <datalist id={listId}>
        {names.map((name) => (
          <option key={name} value={name} />
        ))}
      </datalist>
    </>
  );
}
