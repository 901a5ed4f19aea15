/* What feedback changed, and what people think of the answers: for administrators. */
import type { JSX } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import { get, post } from '../../api/client.ts';
import type { AnalyticsRow, LearnEvent, Theme } from '../../api/types.ts';
import { announce } from '../../state/ui.ts';
import { fullTime, plural } from '../../text/format.ts';
import { FormError, useSubmit } from '../form.tsx';
import { Icon } from '../icons.tsx';
import { ListView, useList } from './use-list.tsx';

const BY = {
  role: 'Roles',
  model: 'Models',
  version: 'Prompt versions',
  variant: 'Variants',
  document: 'Documents',
  day: 'Days',
  reason: 'Reasons',
} as const;
type By = keyof typeof BY;

const ROW = 26;
const LABEL = 190;
const PLOT = 240;

/** Satisfaction of each row as a point in its interval (95 %). */
function Plot({ rows }: { rows: AnalyticsRow[] }): JSX.Element {
  const x = (v: number): number => LABEL + v * PLOT;
  return (
    <svg class="plot" width={LABEL + PLOT + 70} height={rows.length * ROW + 24} role="img" aria-label="Satisfaction with intervals">
      {[0, 0.5, 1].map((v) => (
        <g key={v} stroke="currentColor" fill="currentColor">
          <line x1={x(v)} x2={x(v)} y1={0} y2={rows.length * ROW} opacity={0.2} />
          <text x={x(v)} y={rows.length * ROW + 16} text-anchor="middle" font-size="11" stroke="none">
            {v * 100} %
          </text>
        </g>
      ))}
      {rows.map((r, i) => (
        <g key={r.key} transform={`translate(0 ${i * ROW + ROW / 2})`} stroke="currentColor" fill="currentColor">
          <text x={0} y={4} font-size="12" stroke="none">
            {r.label.length > 28 ? `${r.label.slice(0, 27)}…` : r.label || r.key}
          </text>
          {r.satisfaction !== null && (
            <>
              <line x1={x(r.low!)} x2={x(r.high!)} y1={0} y2={0} stroke-width={2} opacity={0.5} />
              <circle cx={x(r.satisfaction)} cy={0} r={4} stroke="none" />
            </>
          )}
          <text x={LABEL + PLOT + 8} y={4} font-size="11" stroke="none">
            {r.rated}/{r.turns}
          </text>
        </g>
      ))}
    </svg>
  );
}

function Analytics(): JSX.Element {
  const [by, setBy] = useState<By>('role');
  const [rows, setRows] = useState<AnalyticsRow[] | null>(null);
  const [error, setError] = useState<Error | null>(null);
  useEffect(() => {
    setRows(null);
    get<{ data: AnalyticsRow[] }>(`/api/v1/analytics?by=${by}`).then(
      (a) => (setRows(a.data.slice(0, 40)), setError(null)),
      (e: unknown) => setError(e instanceof Error ? e : new Error(String(e))),
    );
  }, [by]);
  return (
    <>
      <div class="panel-head">
        <h3>Satisfaction, last 30 days</h3>
        <a class="button small" href={`/api/v1/analytics?by=${by}&format=csv`} download={`satisfaction-by-${by}.csv`}>
          <Icon name="download" />
          CSV
        </a>
      </div>
      <div class="segments" role="group" aria-label="By what">
        {(Object.keys(BY) as By[]).map((k) => (
          <button key={k} type="button" aria-pressed={by === k} onClick={() => setBy(k)}>
            {BY[k]}
          </button>
        ))}
      </div>
      <FormError error={error} />
      {rows && rows.length > 0 ? <Plot rows={rows} /> : <p class="hint">{rows ? 'Nothing was rated yet.' : 'Loading…'}</p>}
    </>
  );
}

function Themes(): JSX.Element {
  const [themes, setThemes] = useState<Theme[]>([]);
  useEffect(() => {
    get<{ data: Theme[] }>('/api/v1/learning/complaints').then((a) => setThemes(a.data.slice(0, 8)), () => setThemes([]));
  }, []);
  if (themes.length === 0) return <></>;
  return (
    <>
      <h3>What people complain about</h3>
      <ul class="rows">
        {themes.map((t) => (
          <li key={t.words}>
            <div class="row-text">
              <span>
                {t.words || 'without words'} ({t.count})
              </span>
              <small>{t.advice}</small>
            </div>
          </li>
        ))}
      </ul>
    </>
  );
}

export function Learning(): JSX.Element {
  const events = useList<LearnEvent>('/api/v1/learning/events');
  const run = useSubmit(async () => {
    const done = await post<{ words: string; ratings: number }>('/api/v1/learning/run', {});
    announce(done.words || `Looked at ${plural(done.ratings, 'rating')}.`);
    events.reload();
  });
  return (
    <>
      <div class="panel-head">
        <h3>What your feedback changed</h3>
        <button type="button" class="button small" onClick={run.submit} disabled={run.busy}>
          <Icon name="refresh" />
          Learn now
        </button>
      </div>
      <FormError error={run.error} />
      <ListView
        list={events}
        empty="Feedback has not changed anything yet."
        row={(e) => (
          <li key={e.event_id}>
            <div class="row-text">
              <span>{e.words}</span>
              <small>{fullTime(e.at)}</small>
            </div>
          </li>
        )}
      />
      <Themes />
      <Analytics />
    </>
  );
}
