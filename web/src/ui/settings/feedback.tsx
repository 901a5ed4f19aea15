/* Everybody's ratings, for administrators. */
import type { JSX } from 'preact';
import { useState } from 'preact/hooks';
import type { FeedbackEntry, Rating } from '../../api/types.ts';
import { fullTime } from '../../text/format.ts';
import { Icon, type IconName } from '../icons.tsx';
import { REASON_NAMES } from '../rating.tsx';
import { ListView, useList } from './use-list.tsx';

const RATINGS: Record<Rating, { icon: IconName; name: string }> = {
  thumbs_up: { icon: 'up', name: 'Good' },
  neutral: { icon: 'neutral', name: 'Neutral' },
  thumbs_down: { icon: 'down', name: 'Bad' },
};

function Entry({ entry }: { entry: FeedbackEntry }): JSX.Element {
  const rating = RATINGS[entry.rating];
  return (
    <li class="feedback-entry">
      <div class="row-text">
        <span class={`rating ${entry.rating}`}>
          <Icon name={rating.icon} />
          {rating.name}
        </span>
        <small>
          {entry.username} · {entry.role_name}
          {entry.role_version !== null && ` v${entry.role_version}`} · {fullTime(entry.updated_at)}
        </small>
        {entry.reasons && entry.reasons.length > 0 && (
          <div class="tags">
            {entry.reasons.map((reason) => (
              <span key={reason} class="tag">
                {REASON_NAMES[reason]}
              </span>
            ))}
          </div>
        )}
        {entry.comment && <p class="feedback-comment">{entry.comment}</p>}
        <details>
          <summary>Question and answer</summary>
          <p class="feedback-text">{entry.question}</p>
          <p class="feedback-text">{entry.answer}</p>
        </details>
      </div>
    </li>
  );
}

export function FeedbackList(): JSX.Element {
  const [rating, setRating] = useState<Rating | ''>('');
  const list = useList<FeedbackEntry>(`/api/v1/feedback${rating ? `?rating=${rating}` : ''}`);
  return (
    <>
      <div class="panel-head">
        <h3>Feedback</h3>
        <a class="button small" href="/api/v1/feedback/export" download="feedback.jsonl">
          <Icon name="download" />
          Export (JSONL)
        </a>
      </div>
      <div class="segments" role="group" aria-label="Which ratings">
        <button type="button" aria-pressed={rating === ''} onClick={() => setRating('')}>
          All
        </button>
        {(Object.keys(RATINGS) as Rating[]).map((r) => (
          <button key={r} type="button" aria-pressed={rating === r} onClick={() => setRating(r)}>
            {RATINGS[r].name}
          </button>
        ))}
      </div>
      <ListView list={list} empty={rating ? 'There are no such ratings.' : 'There are no ratings yet. People rate answers with the thumbs below them.'} row={(entry) => <Entry key={entry.feedback_id} entry={entry} />} />
    </>
  );
}
