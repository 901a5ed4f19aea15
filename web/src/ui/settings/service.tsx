/* How well the service does, for administrators: objectives and error budgets, model servers, the database. */
import type { JSX } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import { get, patch, post } from '../../api/client.ts';
import type { Objective, ObjectiveWindow, StoreState, Upstream } from '../../api/types.ts';
import { reportError } from '../../state/ui.ts';
import { fullTime, plural } from '../../text/format.ts';
import { ListView, useList } from './use-list.tsx';

const NAMES: Record<Objective['objective'], string> = {
  answers: 'Answers without an error',
  requests: 'Requests without a server error',
  ttft: 'First words within a second',
};

const percent = (ratio: number, digits = 2): string => `${(100 * ratio).toFixed(digits)} %`;

function windowText(name: string, w: ObjectiveWindow): string {
  return w.total === 0 ? `${name}: nothing yet` : `${name}: ${percent(w.good_ratio)} of ${w.total}, budget used ${percent(w.budget_burned, 0)}`;
}

function ObjectiveRow({ o }: { o: Objective }): JSX.Element {
  return (
    <li>
      <div class="row-text">
        <strong>
          {NAMES[o.objective]} {o.hour.budget_burned > 1 && <span class="tag danger">Missed in the last hour</span>}
        </strong>
        <small>
          Objective {percent(o.target, 1)}. {windowText('Last hour', o.hour)}. {windowText('Last day', o.day)}.
        </small>
      </div>
    </li>
  );
}

function UpstreamRow({ u, changed }: { u: Upstream; changed: (u: Upstream) => void }): JSX.Element {
  const set = (enabled: boolean): void => {
    patch<Upstream>(`/api/v1/upstreams/${u.name}`, { enabled }).then(changed, reportError);
  };
  return (
    <li>
      <div class="row-text">
        <strong>
          {u.name} {!u.enabled && <span class="tag">Out of use</span>} {u.breaker !== 'closed' && <span class="tag">Left alone</span>}
        </strong>
        <small>
          {u.ready ? 'Ready' : (u.reason ?? 'Not asked yet')} · {u.in_flight} under way · {plural(u.requests, 'request')}, {u.failures} failed
          {u.first_byte_ms > 0 && ` · first byte after ${Math.round(u.first_byte_ms)} ms`}
        </small>
      </div>
      <button type="button" class="button small" onClick={() => set(!u.enabled)}>
        {u.enabled ? 'Take out of use' : 'Use again'}
      </button>
    </li>
  );
}

function Database(): JSX.Element | null {
  const [state, setState] = useState<StoreState | null>(null);
  const load = (): void => void get<StoreState>('/api/v1/store').then(setState, reportError);
  useEffect(load, []);
  const ask = (what: 'check' | 'backup'): void => void post<StoreState>(`/api/v1/store/${what}`, {}).then(setState, reportError);
  if (!state) return null;
  return (
    <>
      <p class={state.writable ? 'hint' : 'form-error'}>{state.writable ? 'It can be written.' : state.reason}</p>
      <p class="hint">
        Checked: {state.check_error ?? (state.checked_at ? fullTime(state.checked_at) : 'not yet')}. Backup, restored for a trial:{' '}
        {state.backup_error ?? (state.backed_up_at ? fullTime(state.backed_up_at) : 'none yet')}.{state.running && ' Something is under way.'}
      </p>
      <p>
        <button type="button" class="button small" onClick={() => ask('check')}>
          Check now
        </button>{' '}
        <button type="button" class="button small" onClick={() => ask('backup')}>
          Back up now
        </button>
      </p>
    </>
  );
}

export function Service(): JSX.Element {
  const objectives = useList<Objective>('/api/v1/slo');
  const upstreams = useList<Upstream>('/api/v1/upstreams');
  const changed = (u: Upstream): void => upstreams.setItems((all) => all.map((x) => (x.name === u.name ? u : x)));
  return (
    <>
      <div class="panel-head">
        <h3>Objectives</h3>
      </div>
      <ListView list={objectives} empty="Nothing is measured yet." row={(o) => <ObjectiveRow key={o.objective} o={o} />} />
      <h3>Model servers</h3>
      <ListView list={upstreams} empty="There are none." row={(u) => <UpstreamRow key={u.name} u={u} changed={changed} />} />
      <h3>Database</h3>
      <Database />
    </>
  );
}
