/* Choosing a role, in forms. */
import type { JSX } from 'preact';
import { roles } from '../../state/roles.ts';

export function RoleField(props: { label: string; value: string; onChange: (id: string) => void }): JSX.Element {
  return (
    <label class="field">
      <span>{props.label}</span>
      <select value={props.value} onChange={(e) => props.onChange(e.currentTarget.value)}>
        {roles.value.map((role) => (
          <option key={role.role_id} value={role.role_id}>
            {role.name}
          </option>
        ))}
      </select>
    </label>
  );
}
