/* Sources: pages, sitemaps, feeds and folders that documents come from by themselves. */
import type { JSX } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import { del, patch, post } from '../../api/client.ts';
import type { Source } from '../../api/types.ts';
import { user } from '../../state/session.ts';
import { confirmation, reportError, toast } from '../../state/ui.ts';
import { fullTime } from '../../text/format.ts';
import { Field, FormError, FormFoot, Toggle, useSubmit } from '../form.tsx';
import { Icon } from '../icons.tsx';
import { Menu } from '../menu.tsx';
import { ListView, useList } from './use-list.tsx';

const KINDS: { kind: Source['kind']; name: string; label: string; admin: boolean }[] = [
  { kind: 'url', name: 'A page', label: 'Address', admin: false },
  { kind: 'sitemap', name: 'A sitemap', label: 'Address of the sitemap', admin: false },
  { kind: 'feed', name: 'A feed (RSS, Atom)', label: 'Address of the feed', admin: false },
  { kind: 'folder', name: 'A folder of the server', label: 'Path of the folder', admin: true },
  { kind: 'search', name: 'A search service (JSON)', label: 'Address with {query} in it', admin: true },
];
const INTERVALS: [number, string][] = [
  [60, 'every hour'],
  [1440, 'every day'],
  [10080, 'every week'],
  [0, 'only when asked'],
];

function AddSource({ onAdded, onClose }: { onAdded: () => void; onClose: () => void }): JSX.Element {
  const admin = user.value?.is_admin ?? false;
  const [kind, setKind] = useState<Source['kind']>('url');
  const [location, setLocation] = useState('');
  const [interval, setEvery] = useState(1440);
  const [shared, setShared] = useState(false);
  const [inside, setInside] = useState(false);
  const { busy, error, submit } = useSubmit(async () => {
    await post<Source>('/api/v1/sources', {
      kind,
      location: location.trim(),
      interval_minutes: interval,
      ...(shared ? { shared } : {}),
      ...(inside ? { allow_private: inside } : {}),
    });
    toast(kind === 'search' ? 'The source is added; it is asked with each question.' : 'The source is added; it is looked at now.');
    onAdded();
    onClose();
  });
  const kinds = KINDS.filter((k) => admin || !k.admin);
  return (
    <form class="panel-form" onSubmit={submit}>
      <label class="field">
        <span>Kind</span>
        <select value={kind} onChange={(e) => setKind(e.currentTarget.value as Source['kind'])}>
          {kinds.map((k) => (
            <option key={k.kind} value={k.kind}>
              {k.name}
            </option>
          ))}
        </select>
      </label>
      <Field label={KINDS.find((k) => k.kind === kind)?.label ?? 'Address'} required maxLength={2000} value={location} onInput={setLocation} />
      {kind !== 'search' && (
        <label class="field">
          <span>Look at it</span>
          <select value={String(interval)} onChange={(e) => setEvery(Number(e.currentTarget.value))}>
            {INTERVALS.map(([minutes, name]) => (
              <option key={minutes} value={String(minutes)}>
                {kind === 'folder' && minutes === 0 ? 'when it changes' : name}
              </option>
            ))}
          </select>
        </label>
      )}
      {admin && <Toggle label="Its documents are for everybody here" checked={shared} onChange={setShared} />}
      {admin && kind !== 'folder' && (
        <Toggle label="It may reach into our own network" hint="Otherwise only addresses of the open internet are reached." checked={inside} onChange={setInside} />
      )}
      <FormError error={error} />
      <FormFoot action="Add source" disabled={busy || !location.trim()} onCancel={onClose} />
    </form>
  );
}

function state(s: Source): string {
  if (s.running) return 'being looked at now';
  if (!s.enabled) return 'switched off';
  if (s.kind === 'search') return 'asked when there is a question';
  if (!s.last_at) return 'not looked at yet';
  return `looked at ${fullTime(s.last_at)}: ${s.last_seen} found, ${s.last_new} new or changed`;
}

export function Sources({ onChanged }: { onChanged: () => void }): JSX.Element {
  const list = useList<Source>('/api/v1/sources');
  const [adding, setAdding] = useState(false);
  const waiting = list.items?.some((s) => s.running || (s.enabled && !s.last_at && s.kind !== 'search')) ?? false;
  useEffect(() => {
    if (!waiting) return undefined;
    const timer = setInterval(() => {
      list.reload();
      onChanged();
    }, 1500);
    return () => clearInterval(timer);
  }, [waiting]);
  const act = (run: () => Promise<unknown>): void => void run().then(list.reload, reportError);
  const remove = (s: Source): void => {
    confirmation.value = {
      title: 'Delete this source?',
      text: `“${s.name}” is not looked at any more, and the documents that it brought are deleted.`,
      action: 'Delete',
      run: async () => {
        await del(`/api/v1/sources/${s.source_id}?documents=true`);
        list.reload();
        onChanged();
      },
    };
  };
  return (
    <section class="source-list" aria-label="Sources">
      <div class="panel-head">
        <h3>Sources</h3>
        {!adding && (
          <button type="button" class="button small" onClick={() => setAdding(true)}>
            Add source
          </button>
        )}
      </div>
      {adding && <AddSource onAdded={list.reload} onClose={() => setAdding(false)} />}
      <ListView
        list={list}
        empty="Pages, sitemaps and feeds can be looked at by themselves."
        row={(s) => (
          <li key={s.source_id} class={s.enabled ? '' : 'faded'}>
            <div class="row-text">
              <strong>{s.name}</strong>
              {s.shared && <span class="tag">Shared</span>}
              <small>
                {KINDS.find((k) => k.kind === s.kind)?.name ?? s.kind} · {state(s)}
              </small>
              {s.last_error && <small class="form-error">{s.last_error}</small>}
            </div>
            <Menu
              label={`Actions for ${s.name}`}
              class="icon-button"
              items={[
                ...(s.kind === 'search' ? [] : [{ label: 'Look at it now', run: () => act(() => post(`/api/v1/sources/${s.source_id}/run`, {})) }]),
                {
                  label: s.enabled ? 'Switch off' : 'Switch on',
                  run: () => act(() => patch(`/api/v1/sources/${s.source_id}`, { enabled: !s.enabled })),
                },
                { label: 'Delete', danger: true, run: () => remove(s) },
              ]}
            >
              <Icon name="more" />
            </Menu>
          </li>
        )}
      />
    </section>
  );
}
