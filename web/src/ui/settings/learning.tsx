/* Learning, for administrators: what feedback changed and how far it is rolled out, approved answers, variants, and what people think. */
import type { FunctionComponent, JSX } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import { get, patch, post } from '../../api/client.ts';
import type { Candidate, LearnEvent, LearningState } from '../../api/types.ts';
import { announce, reportError, toast } from '../../state/ui.ts';
import { fullTime, plural } from '../../text/format.ts';
import { FormError, Toggle, useSubmit } from '../form.tsx';
import { Icon } from '../icons.tsx';
import { Analytics } from './learning-analytics.tsx';
import { Answers } from './learning-answers.tsx';
import { Variants } from './learning-variants.tsx';
import { ListView, useList } from './use-list.tsx';

const SWITCHES = [
  { key: 'ranker', label: 'Order of passages', hint: 'Ratings teach which documents help with which questions.' },
  { key: 'approved', label: 'Approved answers', hint: 'Answers that you approved are served for the same question.' },
  { key: 'examples', label: 'Examples', hint: 'Answers that you approved are shown to the model for like questions, first in one conversation in ten.' },
  { key: 'variants', label: 'Variants', hint: 'Variants of roles are tried against each other.' },
  { key: 'explore', label: 'Exploring', hint: 'Where an answer has room for one passage, one in ten shows the second best when it is nearly as good: without it nothing could be learnt there.' },
] as const;

const STEPS = [
  { share: 0, name: 'Not in use' },
  { share: 0.1, name: '10 %' },
  { share: 0.5, name: '50 %' },
  { share: 1, name: 'Everybody' },
];

const STATES: Record<Candidate['state'], string> = {
  refused: 'Not proved',
  trial: 'On trial, 10 %',
  half: 'On trial, 50 %',
  all: 'In use',
  replaced: 'Replaced',
  rolled_back: 'Taken back',
};
const inUse = (c: Candidate): boolean => c.state === 'trial' || c.state === 'half' || c.state === 'all';

/** How far the learnt order of passages has come. */
function RollOut({ share }: { share: number }): JSX.Element {
  return (
    <ol class="roll-out" aria-label="How many conversations have the learnt order of passages">
      {STEPS.map((step) => (
        <li key={step.name} class={step.share === share ? 'here' : step.share < share ? 'past' : ''} aria-current={step.share === share ? 'step' : undefined}>
          {step.name}
        </li>
      ))}
    </ol>
  );
}

function CandidateRow({ item, onUse }: { item: Candidate; onUse: (item: Candidate, use: boolean) => void }): JSX.Element {
  return (
    <li class={item.state === 'refused' || item.state === 'replaced' ? 'faded' : ''}>
      <div class="row-text">
        <span class={`tag first ${item.state === 'rolled_back' || item.state === 'refused' ? 'danger' : ''}`}>{STATES[item.state]}</span>
        <small>
          {item.kind === 'examples' ? `Examples, ${plural(item.ratings, 'approved answer')}` : `Order of passages, ${plural(item.ratings, 'rating')}`} · made{' '}
          {fullTime(item.created_at)}
        </small>
        <details>
          <summary>How it came about</summary>
          <p class="feedback-comment">{item.words}</p>
        </details>
      </div>
      {inUse(item) ? (
        <button type="button" class="button small" onClick={() => onUse(item, false)}>
          Roll back
        </button>
      ) : (
        item.usable && (
          <button type="button" class="button small" onClick={() => onUse(item, true)}>
            Use for all
          </button>
        )
      )}
    </li>
  );
}

function Changes(): JSX.Element {
  const [state, setState] = useState<LearningState | null>(null);
  const events = useList<LearnEvent>('/api/v1/learning/events');
  const candidates = useList<Candidate>('/api/v1/learning/candidates?limit=10');
  const load = (): void => void get<LearningState>('/api/v1/learning').then(setState, reportError);
  const reload = (): void => {
    load();
    events.reload();
    candidates.reload();
  };
  useEffect(load, []);
  const run = useSubmit(async () => {
    const done = await post<{ words: string; ratings: number }>('/api/v1/learning/run', {});
    const words = done.words || `Looked at ${plural(done.ratings, 'rating')}.`;
    announce(words);
    toast(words);
    reload();
  });
  const use = (item: Candidate, on: boolean): void =>
    void patch(`/api/v1/learning/candidates/${item.candidate_id}`, { in_use: on }).then(() => {
      toast(on ? 'All conversations have it now.' : 'Taken back: answers are as they were before it.');
      reload();
    }, reportError);
  const turn = (key: string, on: boolean): void => void patch<LearningState>('/api/v1/learning', { [key]: on }).then(setState, reportError);
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
      {state && <RollOut share={state.share} />}
      <ListView
        list={events}
        empty="Feedback has not changed anything yet. What ratings teach is first tried on ratings that it has not seen, then on one conversation in ten."
        row={(e) => (
          <li key={e.event_id}>
            <div class="row-text">
              <span>{e.words}</span>
              <small>{fullTime(e.at)}</small>
            </div>
          </li>
        )}
      />
      {candidates.items && candidates.items.length > 0 && (
        <>
          <h3>Candidates</h3>
          <ListView list={candidates} empty="" row={(c) => <CandidateRow key={c.candidate_id} item={c} onUse={use} />} />
        </>
      )}
      {state && (
        <>
          <h3>What may learn</h3>
          {SWITCHES.map((s) => (
            <Toggle key={s.key} label={s.label} hint={s.hint} checked={state[s.key]} onChange={(on) => turn(s.key, on)} />
          ))}
        </>
      )}
    </>
  );
}

const PANES = { changes: 'Changes', answers: 'Answers', variants: 'Variants', analytics: 'Analytics' } as const;
type Pane = keyof typeof PANES;
const VIEWS: Record<Pane, FunctionComponent> = { changes: Changes, answers: Answers, variants: Variants, analytics: Analytics };

export function Learning(): JSX.Element {
  const [pane, setPane] = useState<Pane>('changes');
  const View = VIEWS[pane];
  return (
    <>
      <div class="segments" role="group" aria-label="Part of learning">
        {(Object.keys(PANES) as Pane[]).map((p) => (
          <button key={p} type="button" aria-pressed={pane === p} onClick={() => setPane(p)}>
            {PANES[p]}
          </button>
        ))}
      </div>
      <View key={pane} />
    </>
  );
}
