/* The assistant roles: the ones to choose from, and retired ones that old conversations still name. */
import { signal } from '@preact/signals';
import { get } from '../api/client.ts';
import type { List, Role } from '../api/types.ts';
import { preferences } from './session.ts';

/** Those that can be chosen, in the server's order. */
export const roles = signal<Role[]>([]);
const known = signal<ReadonlyMap<string, Role>>(new Map());
const asked = new Set<string>();

export async function loadRoles(): Promise<void> {
  const found: Role[] = [];
  let next: string | null = null;
  do {
    const query: string = next ? `?limit=200&after=${encodeURIComponent(next)}` : '?limit=200';
    const page: List<Role> = await get<List<Role>>(`/api/v1/roles${query}`);
    found.push(...page.data);
    next = page.next;
  } while (next);
  roles.value = found.filter((role) => !role.retired_at);
  remember(found);
}

function remember(found: Role[]): void {
  known.value = new Map([...known.value, ...found.map((role) => [role.role_id, role] as const)]);
}

/** Looks a role up, asking the server once for one that is not listed. */
export function roleOf(id: string | null): Role | undefined {
  if (!id) return undefined;
  const role = known.value.get(id);
  if (!role && roles.value.length > 0 && !asked.has(id)) {
    asked.add(id);
    get<Role>(`/api/v1/roles/${id}`).then((r) => remember([r]), () => undefined);
  }
  return role;
}

export function defaultRole(): Role | undefined {
  return roles.value.find((role) => role.role_id === preferences.value.defaultRoleId) ?? roles.value[0];
}
