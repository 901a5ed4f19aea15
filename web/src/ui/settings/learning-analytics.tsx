/* What people think of the answers: satisfaction by what an answer was made of and over time, complaints, worst answers, unanswered
 * questions, and documents that nobody needs or likes. */
import type { JSX } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import { get } from '../../api/client.ts';
import type { AnalyticsDocument, AnalyticsRow, AnalyticsTurn, Theme } from '../../api/types.ts';
import { fullTime, plural } from '../../text/format.ts';
import { FormError } from '../form.tsx';
import { Icon } from '../icons.tsx';
import { DaysPlot, IntervalRow } from './plot.tsx';

const BY = { role: 'Roles', model: 'Models', version: 'Prompts', variant: 'Variants', document: 'Documents', reason: 'Reasons' } as const;
type By = keyof typeof BY;
const SPANS = [7, 30, 90, 365];
const SHOWN = 30;

interface Loaded<T> {
  data: T[] | null;
  error: Error | null;
}

function useRows<T>(path: string): Loaded<T> {
  const [state, setState] = useState<Loaded<T>>({ data: null, error: null });
  useEffect(() => {
    let current = true;
    setState({ data: null, error: null });
    get<{ data: T[] }>(path).then(
      (a) => current && setState({ data: a.data, error: null }),
      (e: unknown) => current && setState({ data: null, error: e instanceof Error ? e : new Error(String(e)) }),
    );
    return () => {
      current = false;
    };
  }, [path]);
  return state;
}

function Csv({ path, name }: { path: string; name: string }): JSX.Element {
  return (
    <a class="button small" href={`${path}&format=csv`} download={`${name}.csv`} aria-label={`${name} as CSV`}>
      <Icon name="download" />
      CSV
    </a>
  );
}

function Satisfaction({ days }: { days: number }): JSX.Element {
  const [by, setBy] = useState<By>('role');
  const [chosen, setChosen] = useState<AnalyticsRow | null>(null);
  const path = `/api/v1/analytics?by=${by}&days=${days}`;
  const daysPath = `/api/v1/analytics?by=day&days=${days}` + (chosen ? `&of=${by}&key=${encodeURIComponent(chosen.key)}` : '');
  const rows = useRows<AnalyticsRow>(path);
  const overTime = useRows<AnalyticsRow>(daysPath);
  const change = (to: By): void => {
    setBy(to);
    setChosen(null);
  };
  return (
    <>
      <div class="panel-head">
        <h3>Satisfaction</h3>
        <Csv path={daysPath} name="satisfaction-by-day" />
      </div>
      <FormError error={overTime.error} />
      {overTime.data && <DaysPlot rows={overTime.data} title={chosen ? chosen.label || chosen.key : 'All answers'} />}
      <div class="plot-head">
        <div class="segments" role="group" aria-label="By what">
          {(Object.keys(BY) as By[]).map((k) => (
            <button key={k} type="button" aria-pressed={by === k} onClick={() => change(k)}>
              {BY[k]}
            </button>
          ))}
        </div>
        <Csv path={path} name={`satisfaction-by-${by}`} />
      </div>
      <FormError error={rows.error} />
      {rows.data && rows.data.length === 0 && <p class="hint">Nothing was rated in this time.</p>}
      {rows.data && rows.data.length > 0 && (
        <ul class="plot" aria-label={`Satisfaction by ${by}`}>
          {rows.data.slice(0, SHOWN).map((r) => (
            <IntervalRow
              key={r.key}
              row={r}
              chosen={chosen?.key === r.key}
              onChoose={by === 'reason' ? undefined : () => setChosen(chosen?.key === r.key ? null : r)}
            />
          ))}
        </ul>
      )}
      {by !== 'reason' && <p class="hint">A line is where the true share lies with 95 % certainty. Choose a name to see its days.</p>}
    </>
  );
}

function TurnRow({ turn }: { turn: AnalyticsTurn }): JSX.Element {
  return (
    <li>
      <div class="row-text">
        <span>{turn.question || 'Without a question'}</span>
        <small>
          {[turn.role_name, turn.reasons.map((r) => r.replace('_', ' ')).join(', '), fullTime(turn.at)].filter(Boolean).join(' · ')}
        </small>
        {turn.comment && <p class="feedback-comment">“{turn.comment}”</p>}
        {turn.answer && (
          <details>
            <summary>Answer</summary>
            <p class="feedback-text">{turn.answer}</p>
          </details>
        )}
      </div>
    </li>
  );
}

function Turns({ which, title, empty, days }: { which: string; title: string; empty: string; days: number }): JSX.Element {
  const path = `/api/v1/analytics/turns?which=${which}&days=${days}`;
  const { data, error } = useRows<AnalyticsTurn>(`${path}&limit=10`);
  return (
    <>
      <div class="panel-head">
        <h3>{title}</h3>
        <Csv path={`${path}&limit=200`} name={`${which}-answers`} />
      </div>
      <FormError error={error} />
      {data && (data.length > 0 ? <ul class="rows">{data.map((t) => <TurnRow key={t.message_id} turn={t} />)}</ul> : <p class="hint">{empty}</p>)}
    </>
  );
}

function Documents({ days }: { days: number }): JSX.Element {
  const [which, setWhich] = useState<'disliked' | 'unused'>('disliked');
  const path = `/api/v1/analytics/documents?which=${which}&days=${days}`;
  const { data, error } = useRows<AnalyticsDocument>(path);
  return (
    <>
      <div class="panel-head">
        <h3>Documents</h3>
        <div class="segments" role="group" aria-label="Which documents">
          <button type="button" aria-pressed={which === 'disliked'} onClick={() => setWhich('disliked')}>
            Often disliked
          </button>
          <button type="button" aria-pressed={which === 'unused'} onClick={() => setWhich('unused')}>
            Never used
          </button>
        </div>
        <Csv path={path} name={`${which}-documents`} />
      </div>
      <FormError error={error} />
      {data && data.length === 0 && <p class="hint">{which === 'unused' ? 'Every shared document was used.' : 'No document is disliked more often than liked.'}</p>}
      {data && data.length > 0 && (
        <ul class="rows">
          {data.slice(0, SHOWN).map((d) => (
            <li key={d.doc_id}>
              <div class="row-text">
                <span>{d.source_name}</span>
                {which === 'disliked' && (
                  <small>
                    disliked {plural(d.disliked, 'time')}, liked {plural(d.liked, 'time')}, in {plural(d.used, 'rated answer')}
                  </small>
                )}
              </div>
            </li>
          ))}
        </ul>
      )}
    </>
  );
}

function Themes({ days }: { days: number }): JSX.Element {
  const { data, error } = useRows<Theme>(`/api/v1/learning/complaints?days=${days}`);
  return (
    <>
      <h3>What people complain about</h3>
      <FormError error={error} />
      {data && data.length === 0 && <p class="hint">Nobody complained.</p>}
      {data && data.length > 0 && (
        <ul class="rows">
          {data.slice(0, 10).map((t, i) => (
            <li key={`${i} ${t.words}`}>
              <div class="row-text">
                <strong>{t.words || 'without words'}</strong>
                <span class="tag">{plural(t.count, 'complaint')}</span>
                <small>{t.advice}</small>
                <details>
                  <summary>Examples</summary>
                  <ul class="rows">
                    {t.examples.map((e) => (
                      <TurnRow key={e.message_id} turn={e} />
                    ))}
                  </ul>
                </details>
              </div>
            </li>
          ))}
        </ul>
      )}
    </>
  );
}

export function Analytics(): JSX.Element {
  const [days, setDays] = useState(30);
  return (
    <>
      <div class="segments" role="group" aria-label="How far back">
        {SPANS.map((d) => (
          <button key={d} type="button" aria-pressed={days === d} onClick={() => setDays(d)}>
            {d === 365 ? 'A year' : `${d} days`}
          </button>
        ))}
      </div>
      <Satisfaction days={days} />
      <Themes days={days} />
      <Turns which="worst" title="Worst answers" empty="No answer was disliked." days={days} />
      <Turns which="unanswered" title="Unanswered questions" empty="Every question got an answer." days={days} />
      <Documents days={days} />
    </>
  );
}
