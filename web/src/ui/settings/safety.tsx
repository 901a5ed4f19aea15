/* The guard, for administrators: the review queue, policies with their trial, the audit log. */
import type { JSX } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import { get, patch, post } from '../../api/client.ts';
import type { AuditEntry, Finding, Policy, SafetyCase } from '../../api/types.ts';
import { toast, reportError } from '../../state/ui.ts';
import { fullTime } from '../../text/format.ts';
import { Icon } from '../icons.tsx';
import { ListView, useList } from './use-list.tsx';

type Pane = 'review' | 'policy' | 'audit';
const PANES: Record<Pane, string> = { review: 'Review', policy: 'Policy', audit: 'Audit log' };

const what = (findings: Finding[] | undefined): string =>
  (findings ?? []).slice(0, 3).map((f) => `${f.source} (${f.score.toFixed(2)})`).join(', ');

/* ---- review ---- */

const KINDS: Record<SafetyCase['kind'], string> = { block: 'Blocked', report: 'Reported', appeal: 'Appeal' };

function CaseRow({ item, onDecided }: { item: SafetyCase; onDecided: (item: SafetyCase) => void }): JSX.Element {
  const [shown, setShown] = useState(false);
  const decide = (decision: 'right' | 'wrong'): void =>
    void patch<SafetyCase>(`/api/v1/safety/cases/${item.case_id}`, { decision, release: decision === 'wrong' }).then(onDecided, reportError);
  return (
    <li class="feedback-entry">
      <div class="row-text">
        <span>
          {KINDS[item.kind]} {item.direction} {item.category && `· ${item.category.replaceAll('_', ' ')}`}
          {item.state !== 'open' && ` · ${item.state}, ${item.decided_by ?? ''}`}
        </span>
        <small>
          {item.username} · {item.path} · {fullTime(item.created_at)} {what(item.verdict?.findings)}
        </small>
        {item.reason && <p class="feedback-comment">{item.reason}</p>}
        {/* what was blocked is shown only to who asks for it */}
        {shown ? (
          <p class="feedback-text">{item.text}</p>
        ) : (
          <button type="button" class="link" onClick={() => setShown(true)}>
            Show the text
          </button>
        )}
      </div>
      {item.state === 'open' && (
        <span class="form-actions">
          <button type="button" class="button small" onClick={() => decide('right')}>
            The guard was right
          </button>
          <button type="button" class="button small" onClick={() => decide('wrong')}>
            It was wrong
          </button>
        </span>
      )}
    </li>
  );
}

function Review(): JSX.Element {
  const [open, setOpen] = useState(true);
  const list = useList<SafetyCase>(`/api/v1/safety/cases${open ? '?state=open' : ''}`);
  const decided = (item: SafetyCase): void =>
    list.setItems((items) => (open ? items.filter((i) => i.case_id !== item.case_id) : items.map((i) => (i.case_id === item.case_id ? item : i))));
  return (
    <>
      <div class="panel-head">
        <div class="segments" role="group" aria-label="Which cases">
          <button type="button" aria-pressed={open} onClick={() => setOpen(true)}>
            Open
          </button>
          <button type="button" aria-pressed={!open} onClick={() => setOpen(false)}>
            All
          </button>
        </div>
        <a class="button small" href="/api/v1/safety/examples" download="safety-examples.jsonl">
          <Icon name="download" />
          Export decided (JSONL)
        </a>
      </div>
      <ListView list={list} empty="There is nothing to review." row={(item) => <CaseRow key={item.case_id} item={item} onDecided={decided} />} />
    </>
  );
}

/* ---- policy ---- */

interface Policies {
  data: Policy[];
  live_version: number;
  live_text: string;
}
interface Verdict {
  action: string;
  category: string | null;
  findings: Finding[];
}
interface Comparison {
  compared: number;
  stricter: number;
  looser: number;
}

function PolicyEditor({ policies, reload }: { policies: Policies; reload: () => void }): JSX.Element {
  const [text, setText] = useState(policies.live_text);
  const [note, setNote] = useState('');
  const [sample, setSample] = useState('');
  const [said, setSaid] = useState('');
  const keep = (): void =>
    void post<Policy>('/api/v1/safety/policies', { text, note }).then((p) => {
      toast(`Kept as version ${p.version}, not in force yet.`);
      reload();
    }, reportError);
  const tryIt = (): void =>
    void post<Verdict>('/api/v1/safety/try', { text: sample, policy: text }).then(
      (v) => setSaid(`${v.action}${v.category ? ` · ${v.category}` : ''} ${what(v.findings)}`),
      reportError,
    );
  return (
    <>
      <label class="field">
        <span>The policy (JSON)</span>
        <textarea class="policy-text" rows={14} spellcheck={false} value={text} onInput={(e) => setText(e.currentTarget.value)} />
      </label>
      <div class="reason-form">
        <input aria-label="A text to try" placeholder="Try a text against what stands above" value={sample} onInput={(e) => setSample(e.currentTarget.value)} />
        <button type="button" class="button small" disabled={!sample} onClick={tryIt}>
          Try
        </button>
      </div>
      {said && <p role="status">{said}</p>}
      <div class="reason-form">
        <input aria-label="What it changes" placeholder="What it changes" value={note} onInput={(e) => setNote(e.currentTarget.value)} />
        <button type="button" class="button small primary" onClick={keep}>
          Keep as a draft
        </button>
      </div>
    </>
  );
}

function PolicyRow({ policy, live, reload, load }: { policy: Policy; live: boolean; reload: () => void; load: (p: Policy) => void }): JSX.Element {
  const path = `/api/v1/safety/policies/${policy.policy_id}`;
  const [difference, setDifference] = useState('');
  const compare = (): void =>
    void post<Comparison>(`${path}/compare`, {}).then(
      (c) => setDifference(`Of ${c.compared} recent texts: ${c.stricter} treated more strictly, ${c.looser} less.`),
      reportError,
    );
  const publish = (): void =>
    void post(`${path}/publish`, {}).then(() => {
      toast(`Version ${policy.version} is in force.`);
      reload();
    }, reportError);
  return (
    <li class="feedback-entry">
      <div class="row-text">
        <span>
          Version {policy.version} {live && '· in force'} {policy.note && `· ${policy.note}`}
        </span>
        <small>
          {policy.author} · {fullTime(policy.created_at)}
        </small>
        {difference && <p role="status">{difference}</p>}
      </div>
      <span class="form-actions">
        <button type="button" class="button small" onClick={() => void get<Policy>(path).then(load, reportError)}>
          Edit
        </button>
        <button type="button" class="button small" onClick={compare}>
          Compare
        </button>
        <button type="button" class="button small" disabled={live} onClick={publish}>
          {policy.published_at ? 'Roll back to it' : 'Publish'}
        </button>
      </span>
    </li>
  );
}

function PolicyPane(): JSX.Element {
  const [policies, setPolicies] = useState<Policies | null>(null);
  const [round, setRound] = useState(0);
  const reload = (): void =>
    void get<Policies>('/api/v1/safety/policies').then((p) => {
      setPolicies(p);
      setRound((n) => n + 1);
    }, reportError);
  useEffect(reload, []);
  if (!policies) return <p class="hint">Loading…</p>;
  const load = (p: Policy): void => {
    setPolicies({ ...policies, live_text: p.text ?? '' });
    setRound(round + 1);
  };
  return (
    <>
      <p class="hint">{policies.live_version === 0 ? 'The built-in policy is in force.' : `Version ${policies.live_version} is in force.`}</p>
      <PolicyEditor key={round} policies={policies} reload={reload} />
      <ul class="rows">
        {policies.data.map((p) => (
          <PolicyRow key={p.policy_id} policy={p} live={p.version === policies.live_version} reload={reload} load={load} />
        ))}
      </ul>
    </>
  );
}

/* ---- audit ---- */

function Audit(): JSX.Element {
  const [rows, setRows] = useState<AuditEntry[] | null>(null);
  const more = (before?: number): void =>
    void get<{ data: AuditEntry[] }>(`/api/v1/safety/audit${before ? `?before=${before}` : ''}`).then(
      (page) => setRows((old) => (before ? [...(old ?? []), ...page.data] : page.data)),
      reportError,
    );
  useEffect(() => more(), []);
  const last = rows?.at(-1);
  return (
    <>
      <p class="hint">
        Rows are only ever added; <code>parley audit verify</code> checks that none was changed.
      </p>
      {rows?.length === 0 && <p class="hint">Nothing has happened yet that belongs here.</p>}
      <ul class="rows">
        {rows?.map((row) => (
          <li key={row.seq} class="feedback-entry">
            <div class="row-text">
              <span>
                {row.seq}. {row.event} · {row.actor}
              </span>
              <small>
                {fullTime(row.at)} {JSON.stringify(row.detail)}
              </small>
            </div>
          </li>
        ))}
      </ul>
      {last && last.seq > 1 && (
        <button type="button" class="button small" onClick={() => more(last.seq)}>
          Older
        </button>
      )}
    </>
  );
}

export function Safety(): JSX.Element {
  const [pane, setPane] = useState<Pane>('review');
  return (
    <>
      <div class="panel-head">
        <h3>Safety</h3>
        <div class="segments" role="group" aria-label="Part">
          {(Object.keys(PANES) as Pane[]).map((p) => (
            <button key={p} type="button" aria-pressed={pane === p} onClick={() => setPane(p)}>
              {PANES[p]}
            </button>
          ))}
        </div>
      </div>
      {pane === 'review' ? <Review /> : pane === 'policy' ? <PolicyPane /> : <Audit />}
    </>
  );
}
