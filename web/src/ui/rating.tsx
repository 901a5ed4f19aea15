/* Rating an answer: up, down or neutral, with a comment; changed or withdrawn at will. */
import type { JSX } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import type { Message, Rating as RatingValue, Reason } from '../api/types.ts';
import type { Chat } from '../state/chat.ts';
import { announce, reportError } from '../state/ui.ts';
import { hasFinePointer } from './composer.tsx';
import { FormError, useSubmit } from './form.tsx';
import type { IconName } from './icons.tsx';
import { ActionButton } from './message.tsx';

const CHOICES: { rating: RatingValue; icon: IconName; label: string }[] = [
  { rating: 'thumbs_up', icon: 'up', label: 'Good answer' },
  { rating: 'neutral', icon: 'neutral', label: 'Neither good nor bad' },
  { rating: 'thumbs_down', icon: 'down', label: 'Bad answer' },
];

const QUESTIONS: Record<RatingValue, string> = {
  thumbs_up: 'What was good about it?',
  neutral: 'What would make it better?',
  thumbs_down: 'What was wrong or missing?',
};

/** In the order in which they are shown. */
export const REASON_NAMES: Record<Reason, string> = {
  wrong: 'Wrong',
  not_helpful: 'Not helpful',
  wrong_source: 'Wrong source',
  unsafe: 'Unsafe',
  too_long: 'Too long',
  too_slow: 'Too slow',
  other: 'Other',
};

export function Rating({ chat, message }: { chat: Chat; message: Message }): JSX.Element {
  const [open, setOpen] = useState(false);
  const given = message.feedback?.rating;
  const choose = (rating: RatingValue): void => {
    setOpen(true);
    if (rating === given) return;
    chat.rate(message.message_id, rating, message.feedback?.comment ?? '').then(() => announce('Rated.'), reportError);
  };
  return (
    <>
      {CHOICES.map((c) => (
        <ActionButton key={c.rating} icon={c.icon} label={c.label} pressed={given === c.rating} onClick={() => choose(c.rating)} />
      ))}
      {open && given && <CommentForm chat={chat} message={message} rating={given} onClose={() => setOpen(false)} />}
    </>
  );
}

function CommentForm(props: { chat: Chat; message: Message; rating: RatingValue; onClose: () => void }): JSX.Element {
  const { chat, message, rating, onClose } = props;
  const [comment, setComment] = useState(message.feedback?.comment ?? '');
  const [reasons, setReasons] = useState<Reason[]>(message.feedback?.reasons ?? []);
  const toggle = (r: Reason): void => setReasons((now) => (now.includes(r) ? now.filter((x) => x !== r) : [...now, r]));
  const area = useRef<HTMLTextAreaElement>(null);
  useEffect(() => {
    if (hasFinePointer()) area.current?.focus({ preventScroll: true }); // elsewhere a keyboard would cover the reasons
    area.current?.closest('form')?.scrollIntoView({ block: 'nearest' });
  }, []);
  const save = useSubmit(async () => {
    await chat.rate(message.message_id, rating, comment, rating === 'thumbs_up' ? [] : reasons);
    announce('Saved.');
    onClose();
  });
  const withdraw = useSubmit(async () => {
    await chat.withdrawRating(message.message_id);
    announce('Rating withdrawn.');
    onClose();
  });
  return (
    <form class="comment-form" onSubmit={save.submit} onKeyDown={(e) => e.key === 'Escape' && (e.stopPropagation(), onClose())}>
      {rating !== 'thumbs_up' && (
        <div class="chips" role="group" aria-label="Reasons">
          {(Object.keys(REASON_NAMES) as Reason[]).map((r) => (
            <button key={r} type="button" aria-pressed={reasons.includes(r)} onClick={() => toggle(r)}>
              {REASON_NAMES[r]}
            </button>
          ))}
        </div>
      )}
      <label class="field">
        <span>{QUESTIONS[rating]}</span>
        <textarea
          ref={area}
          rows={2}
          maxLength={4000}
          placeholder="A comment, if you like"
          value={comment}
          onInput={(e) => setComment(e.currentTarget.value)}
        />
      </label>
      <FormError error={save.error ?? withdraw.error} />
      <div class="form-actions">
        <button type="button" class="button quiet" onClick={withdraw.submit} disabled={withdraw.busy}>
          Withdraw rating
        </button>
        <span class="grow" />
        <button type="button" class="button" onClick={onClose}>
          Close
        </button>
        <button class="button primary" disabled={save.busy}>
          Save
        </button>
      </div>
    </form>
  );
}
