/* Plots of satisfaction: a share with its interval (95 %) as a bar, and the same over days. */
import type { JSX } from 'preact';
import type { AnalyticsRow } from '../../api/types.ts';

const percent = (v: number): string => `${Math.round(100 * v)} %`;

/** A share on a scale from 0 to 100 %. */
export function IntervalBar(props: { value: number | null; low: number | null; high: number | null; n: number }): JSX.Element {
  const { value, low, high, n } = props;
  if (value === null || low === null || high === null) return <span class="interval none">not rated yet</span>;
  const words = `${percent(value)}, between ${percent(low)} and ${percent(high)}, ${n} rated`;
  return (
    <span class="interval">
      <svg height="16" role="img" aria-label={words}>
        <line class="scale" x1="0" x2="100%" y1="8" y2="8" />
        <line class="scale" x1="50%" x2="50%" y1="4" y2="12" />
        <line class="range" x1={`${100 * low}%`} x2={`${100 * high}%`} y1="8" y2="8" />
        <circle class="point" cx={`${100 * value}%`} cy="8" r="4.5" />
      </svg>
      <span class="interval-words" aria-hidden="true">
        {percent(value)} <small>of {n}</small>
      </span>
    </span>
  );
}

/** One row of a list by something; choosing it shows its days. */
export function IntervalRow(props: { row: AnalyticsRow; chosen: boolean; onChoose?: (() => void) | undefined }): JSX.Element {
  const { row, chosen, onChoose } = props;
  const label = row.label || row.key;
  return (
    <li class="plot-row">
      {onChoose ? (
        <button type="button" class="link plot-label" aria-pressed={chosen} title={label} onClick={onChoose}>
          {label}
        </button>
      ) : (
        <span class="plot-label" title={label}>
          {label}
        </span>
      )}
      <IntervalBar value={row.satisfaction} low={row.low} high={row.high} n={row.rated} />
    </li>
  );
}

const HEIGHT = 120;
const y = (v: number): number => 8 + (1 - v) * (HEIGHT - 16);

/** Satisfaction of each day, as a line in its intervals. */
export function DaysPlot({ rows, title }: { rows: AnalyticsRow[]; title: string }): JSX.Element {
  const rated = rows.filter((r) => r.satisfaction !== null);
  if (rated.length === 0) return <p class="hint">Nothing was rated in this time.</p>;
  const first = Date.parse(rated[0]!.key);
  const span = Math.max(1, Date.parse(rated[rated.length - 1]!.key) - first);
  const x = (r: AnalyticsRow): string => (rated.length === 1 ? '50%' : `${2 + (96 * (Date.parse(r.key) - first)) / span}%`);
  return (
    <figure class="days-plot">
      <figcaption>{title}</figcaption>
      <div class="days-body">
        <div class="days-scale" aria-hidden="true">
          <span>100 %</span>
          <span>50 %</span>
          <span>0 %</span>
        </div>
        <svg height={HEIGHT} role="img" aria-label={`${title}: ${rated.map((r) => `${r.key} ${percent(r.satisfaction!)}`).join(', ')}`}>
          {[0, 0.5, 1].map((v) => (
            <line key={v} class="scale" x1="0" x2="100%" y1={y(v)} y2={y(v)} />
          ))}
          {rated.map((r, i) => (
            <g key={r.key}>
              <line class="range" x1={x(r)} x2={x(r)} y1={y(r.low!)} y2={y(r.high!)} />
              {i > 0 && <line class="path" x1={x(rated[i - 1]!)} x2={x(r)} y1={y(rated[i - 1]!.satisfaction!)} y2={y(r.satisfaction!)} />}
              <circle class="point" cx={x(r)} cy={y(r.satisfaction!)} r="4">
                <title>{`${r.key}: ${percent(r.satisfaction!)} of ${r.rated}`}</title>
              </circle>
            </g>
          ))}
        </svg>
      </div>
      <div class="days-dates" aria-hidden="true">
        <span>{rated[0]!.key}</span>
        {rated.length > 1 && <span>{rated[rated.length - 1]!.key}</span>}
      </div>
    </figure>
  );
}
