/* Approved answers: written by hand, or approved of what people liked; edited, withdrawn, approved again. */
import type { JSX } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import { del, get, patch, post } from '../../api/client.ts';
import type { ApprovedAnswer, LearningState } from '../../api/types.ts';
import { defaultRole, roleOf } from '../../state/roles.ts';
import { confirmation, reportError, toast } from '../../state/ui.ts';
import { fullTime, plural } from '../../text/format.ts';
import { Area, Field, FormError, FormFoot, useSubmit } from '../form.tsx';
import { IntervalBar } from './plot.tsx';
import { RoleField } from './role-field.tsx';
import { ListView, useList } from './use-list.tsx';

type State = ApprovedAnswer['state'];
const FILTERS: Record<State | '', string> = { '': 'All', proposed: 'Proposed', approved: 'Approved', stale: 'Stale', retired: 'Withdrawn' };
const STATES: Record<State, string> = { proposed: 'Proposed', approved: 'Approved', stale: 'Stale', retired: 'Withdrawn' };
const WHY: Record<string, string> = { changed: 'a document changed', old: 'nobody looked at it for long', disliked: 'people disliked it' };

function AnswerForm({ item, onClose }: { item: ApprovedAnswer | null; onClose: () => void }): JSX.Element {
  const [role, setRole] = useState(item?.role_id ?? defaultRole()?.role_id ?? '');
  const [question, setQuestion] = useState(item?.question ?? '');
  const [answer, setAnswer] = useState(item?.answer ?? '');
  const { busy, error, submit } = useSubmit(async () => {
    if (item) await patch(`/api/v1/learning/answers/${item.answer_id}`, { question, answer });
    else await post('/api/v1/learning/answers', { role_id: role, question, answer });
    toast('Saved.');
    onClose();
  });
  return (
    <form onSubmit={submit}>
      <div class="panel-head">
        <button type="button" class="button small" onClick={onClose}>
          Back
        </button>
        <h3>{item ? 'Edit the answer' : 'New answer'}</h3>
      </div>
      {!item && <RoleField label="Role" value={role} onChange={setRole} />}
      <Field label="Question" required maxLength={4000} value={question} onInput={setQuestion} />
      <Area
        label="Answer"
        required
        rows={8}
        maxLength={32000}
        hint="It is given word for word to who begins a conversation with the same question, and shown to the model as an example for like ones."
        value={answer}
        onInput={setAnswer}
      />
      <FormError error={error} />
      <FormFoot action="Save" disabled={busy} onCancel={onClose} />
    </form>
  );
}

function AnswerRow({ item, onEdit, reload }: { item: ApprovedAnswer; onEdit: () => void; reload: () => void }): JSX.Element {
  const set = (state: State, said: string): void =>
    void patch(`/api/v1/learning/answers/${item.answer_id}`, { state }).then(() => {
      toast(said);
      reload();
    }, reportError);
  const remove = (): void =>
    void (confirmation.value = {
      title: 'Delete this answer?',
      text: 'It is gone for good. The model answers this question again.',
      action: 'Delete',
      run: async () => {
        await del(`/api/v1/learning/answers/${item.answer_id}`);
        reload();
      },
    });
  return (
    <li class={`stacked ${item.state === 'retired' ? 'faded' : ''}`}>
      <div class="row-text">
        <strong>{item.question}</strong>
        <small>
          <span class={`tag first ${item.state === 'stale' ? 'danger' : ''}`}>{[STATES[item.state], item.why && WHY[item.why]].filter(Boolean).join(': ')}</span>{' '}
          {roleOf(item.role_id)?.name} · served{' '}
          {plural(item.served, 'time')} · {item.message_id ? 'from a liked answer' : 'written by hand'}
          {item.sources.length > 0 && ` · rests on ${plural(item.sources.length, 'document')}`} · {fullTime(item.changed_at)}
        </small>
        {item.rated > 0 && <IntervalBar value={item.satisfaction} low={item.low} high={item.high} n={item.rated} />}
        <p class="feedback-text">{item.answer}</p>
      </div>
      <div class="row-actions">
        {item.state === 'approved' ? (
          <button type="button" class="button small" onClick={() => set('retired', 'Withdrawn: the model answers again.')}>
            Withdraw
          </button>
        ) : (
          <button type="button" class="button small primary" onClick={() => set('approved', 'Approved: it is served from now on.')}>
            Approve
          </button>
        )}
        {item.state === 'proposed' && (
          <button type="button" class="button small" onClick={() => set('retired', 'Rejected.')}>
            Reject
          </button>
        )}
        <button type="button" class="button small" onClick={onEdit}>
          Edit
        </button>
        <button type="button" class="button small" onClick={remove}>
          Delete
        </button>
      </div>
    </li>
  );
}

/** For how many days an answer is served when nobody looks at it again. */
function Age(): JSX.Element | null {
  const [days, setDays] = useState<string | null>(null);
  useEffect(() => void get<LearningState>('/api/v1/learning').then((s) => setDays(String(s.answer_days)), reportError), []);
  const { busy, error, submit } = useSubmit(async () => {
    const s = await patch<LearningState>('/api/v1/learning', { answer_days: Number(days) });
    setDays(String(s.answer_days));
    toast('Saved.');
  });
  if (days === null) return null;
  return (
    <form class="answer-age" onSubmit={submit}>
      <Field
        label="Days until an answer must be looked at again (0: never)"
        type="number"
        required
        min={0}
        max={3650}
        value={days}
        onInput={setDays}
      />
      <button class="button small" disabled={busy}>
        Save
      </button>
      <FormError error={error} />
    </form>
  );
}

export function Answers(): JSX.Element {
  const [filter, setFilter] = useState<State | ''>('');
  const [editing, setEditing] = useState<ApprovedAnswer | null | undefined>(undefined); // null: a new one
  const list = useList<ApprovedAnswer>(`/api/v1/learning/answers${filter ? `?state=${filter}` : ''}`);
  if (editing !== undefined) {
    return (
      <AnswerForm
        item={editing}
        onClose={() => {
          setEditing(undefined);
          list.reload();
        }}
      />
    );
  }
  return (
    <>
      <div class="panel-head">
        <h3>Approved answers</h3>
        <button type="button" class="button primary small" onClick={() => setEditing(null)}>
          Write one
        </button>
      </div>
      <p class="hint">What people liked is proposed here; only what you approve is ever served, until a document it rests on changes or people dislike it.</p>
      <Age />
      <div class="segments" role="group" aria-label="Which answers">
        {(Object.keys(FILTERS) as (State | '')[]).map((s) => (
          <button key={s} type="button" aria-pressed={filter === s} onClick={() => setFilter(s)}>
            {FILTERS[s]}
          </button>
        ))}
      </div>
      <ListView
        list={list}
        empty="There are no answers here."
        row={(item) => <AnswerRow key={item.answer_id} item={item} onEdit={() => setEditing(item)} reload={list.reload} />}
      />
    </>
  );
}
