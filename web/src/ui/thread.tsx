/* The conversation on screen. It follows the growing answer until its reader scrolls up. */
import type { JSX } from 'preact';
import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks';
import type { Chat } from '../state/chat.ts';
import { wantedMessage } from '../state/chats.ts';
import { Icon } from './icons.tsx';
import { Answer, PendingQuestion, Question } from './message.tsx';

/** Closer to the end than this counts as being there. */
const END_PX = 60;

function atEnd(box: HTMLElement): boolean {
  return box.scrollHeight - box.scrollTop - box.clientHeight < END_PX;
}

/** Keeps the end in view while the content grows, unless the reader went up. */
function useFollowing(chat: Chat): { box: preact.RefObject<HTMLDivElement>; away: boolean; toEnd: () => void } {
  const box = useRef<HTMLDivElement>(null);
  const following = useRef(true);
  const [away, setAway] = useState(false);
  const toEnd = (): void => {
    following.current = true;
    setAway(false);
    if (box.current) box.current.scrollTop = box.current.scrollHeight;
  };
  useEffect(() => {
    const element = box.current!;
    let last = element.scrollTop;
    const onScroll = (): void => {
      const wentUp = element.scrollTop < last - 1;
      last = element.scrollTop;
      if (atEnd(element)) following.current = true;
      else if (wentUp) following.current = false; // growth alone never moves the reader up
      setAway(!following.current);
    };
    element.addEventListener('scroll', onScroll, { passive: true });
    const grown = new ResizeObserver(() => {
      if (following.current) element.scrollTop = element.scrollHeight;
    });
    grown.observe(element.firstElementChild!);
    grown.observe(element);
    return () => {
      element.removeEventListener('scroll', onScroll);
      grown.disconnect();
    };
  }, []);
  const wanted = wantedMessage.value;
  const loaded = chat.loaded.value;
  useEffect(() => {
    const found = wanted && loaded ? box.current?.querySelector(`[data-message="${CSS.escape(wanted)}"]`) : null;
    if (!found) return;
    following.current = false;
    found.scrollIntoView({ block: 'center' });
    found.classList.add('found');
    wantedMessage.value = null;
  }, [wanted, loaded]);
  const sending = chat.sending.value !== null;
  useLayoutEffect(() => {
    if (sending) toEnd(); // whoever sends wants to see the answer
  }, [sending]);
  return { box, away, toEnd };
}

function ProblemBox({ chat }: { chat: Chat }): JSX.Element | null {
  const problem = chat.problem.value;
  if (!problem) return null;
  return (
    <div class="problem" role="alert">
      <Icon name="warning" />
      <p>{problem.message}</p>
      {problem.retry && (
        <button type="button" class="button small" onClick={problem.retry}>
          Try again
        </button>
      )}
    </div>
  );
}

function Messages({ chat }: { chat: Chat }): JSX.Element {
  const sending = chat.sending.value;
  const waiting = chat.problem.value?.text;
  return (
    <>
      {chat.steps.value.map((step) => {
        const id = step.message.message_id;
        return step.message.sender === 'user' ? <Question key={id} chat={chat} step={step} /> : <Answer key={id} chat={chat} step={step} />;
      })}
      {sending?.text && <PendingQuestion key="pending" text={sending.text} given={sending.given} />}
      {waiting && <PendingQuestion key="waiting" text={waiting} given={chat.problem.value?.given ?? []} />}
      {chat.busy.value && chat.liveId.value === null && <Answer key="live" chat={chat} step={null} />}
    </>
  );
}

export function Thread({ chat }: { chat: Chat }): JSX.Element {
  const { box, away, toEnd } = useFollowing(chat);
  const failed = chat.loadError.value;
  return (
    <div class="thread-frame">
      <div class="thread" ref={box} data-testid="thread">
        <div class="thread-column">
          {failed && !chat.loaded.value ? (
            <LoadFailure chat={chat} text={failed.message} missing={failed.status === 404} />
          ) : chat.loaded.value || chat.busy.value ? (
            <Messages chat={chat} />
          ) : (
            <p class="hint loading">Loading…</p>
          )}
          <ProblemBox chat={chat} />
        </div>
      </div>
      {away && (
        <button type="button" class="to-end" aria-label="Go to the end" title="Go to the end" onClick={toEnd}>
          <Icon name="toEnd" />
        </button>
      )}
    </div>
  );
}

function LoadFailure({ chat, text, missing }: { chat: Chat; text: string; missing: boolean }): JSX.Element {
  return (
    <div class="load-failure">
      <h1>{missing ? 'There is no such conversation' : 'This conversation could not be loaded'}</h1>
      <p>{missing ? 'It was deleted, or it belongs to another account.' : text}</p>
      {!missing && (
        <button type="button" class="button" onClick={() => void chat.load()}>
          Try again
        </button>
      )}
    </div>
  );
}
