/* One message: a question that can be edited, or an answer with what can be done with it. */
import type { JSX } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import type { GivenDocument, Message } from '../api/types.ts';
import { sentence } from '../api/client.ts';
import { shownText } from '../model/answer.ts';
import type { Step } from '../model/tree.ts';
import type { Chat } from '../state/chat.ts';
import { roleOf } from '../state/roles.ts';
import { copyText } from '../text/copy.ts';
import { duration, fullTime, plural } from '../text/format.ts';
import { Given } from './attachments.tsx';
import { Icon, type IconName } from './icons.tsx';
import { Markdown } from './markdown.tsx';
import { Rating } from './rating.tsx';
import { Sources } from './sources.tsx';
import { ReportButton, SafetyNotice } from './safety.tsx';

const COPIED_MS = 1500;

export function ActionButton(props: { icon: IconName; label: string; pressed?: boolean; disabled?: boolean; onClick: () => void }): JSX.Element {
  return (
    <button
      type="button"
      class="icon-button small"
      aria-label={props.label}
      title={props.label}
      aria-pressed={props.pressed}
      disabled={props.disabled}
      onClick={props.onClick}
    >
      <Icon name={props.icon} />
    </button>
  );
}

function CopyButton({ text, onCopied }: { text: string; onCopied?: () => void }): JSX.Element {
  const [copied, setCopied] = useState(false);
  const copy = (): void => {
    void copyText(text).then((done) => {
      setCopied(done);
      if (done) onCopied?.();
      setTimeout(() => setCopied(false), COPIED_MS);
    });
  };
  return <ActionButton icon={copied ? 'check' : 'copy'} label={copied ? 'Copied' : 'Copy'} onClick={copy} />;
}

/** ‹ 2/3 ›: the branches that part here. */
function BranchSwitcher({ chat, step }: { chat: Chat; step: Step }): JSX.Element | null {
  const { siblings, message } = step;
  if (siblings.length < 2) return null;
  const at = siblings.indexOf(message.message_id);
  const go = (to: number): void => void (siblings[to] && chat.switchTo(siblings[to]!));
  const busy = chat.busy.value;
  return (
    <span class="branches" role="group" aria-label="Versions">
      <ActionButton icon="left" label="Previous version" disabled={busy || at <= 0} onClick={() => go(at - 1)} />
      <span aria-live="polite">
        <span class="visually-hidden">Version </span>
        {at + 1}/{siblings.length}
      </span>
      <ActionButton icon="right" label="Next version" disabled={busy || at >= siblings.length - 1} onClick={() => go(at + 1)} />
    </span>
  );
}

function EditForm({ text, onDone, onSend }: { text: string; onDone: () => void; onSend: (text: string) => void }): JSX.Element {
  const [value, setValue] = useState(text);
  const area = useRef<HTMLTextAreaElement>(null);
  useEffect(() => {
    area.current?.focus();
    area.current?.setSelectionRange(text.length, text.length);
  }, []);
  const send = (event?: Event): void => {
    event?.preventDefault();
    if (value.trim() === '') return;
    onSend(value.trim());
    onDone();
  };
  return (
    <form class="edit-form" onSubmit={send}>
      <textarea
        ref={area}
        aria-label="Edit the message"
        rows={Math.min(10, value.split('\n').length + 1)}
        value={value}
        onInput={(e) => setValue(e.currentTarget.value)}
        onKeyDown={(e) => {
          if (e.key === 'Escape') {
            e.stopPropagation();
            onDone();
          } else if (e.key === 'Enter' && (e.ctrlKey || e.metaKey)) send(e);
        }}
      />
      <div class="form-actions">
        <span class="hint grow edit-hint">Ctrl+Enter sends, Esc leaves it as it was. The old version is kept.</span>
        <button type="button" class="button" onClick={onDone}>
          Cancel
        </button>
        <button class="button primary" disabled={value.trim() === ''}>
          Send
        </button>
      </div>
    </form>
  );
}

export function Question({ chat, step }: { chat: Chat; step: Step }): JSX.Element {
  const { message } = step;
  const [editing, setEditing] = useState(false);
  if (editing) {
    return (
      <article class="message question" aria-label="You">
        <EditForm text={message.content} onDone={() => setEditing(false)} onSend={(text) => void chat.edit(message, text)} />
      </article>
    );
  }
  return (
    <article class="message question" aria-label="You" data-message={message.message_id}>
      <Given list={message.attachments ?? []} />
      <div class="bubble" title={fullTime(message.timestamp)}>
        {message.content}
      </div>
      <footer class="message-foot">
        <BranchSwitcher chat={chat} step={step} />
        <span class="actions">
          <CopyButton text={message.content} />
          <ActionButton icon="edit" label="Edit" disabled={chat.busy.value} onClick={() => setEditing(true)} />
        </span>
      </footer>
    </article>
  );
}

/** A question that is on its way. */
export function PendingQuestion({ text, given }: { text: string; given: GivenDocument[] }): JSX.Element {
  return (
    <article class="message question pending" aria-label="You">
      <Given list={given} />
      <div class="bubble">{text}</div>
    </article>
  );
}

function meta(message: Message): string {
  const parts: string[] = [];
  if (message.model) parts.push(message.model);
  if (message.response_latency_ms !== null) parts.push(duration(message.response_latency_ms));
  if (message.ttft_ms !== null) parts.push(`first words after ${duration(message.ttft_ms)}`);
  if (message.usage) parts.push(plural(message.usage.completion_tokens, 'token'));
  return parts.join(' · ');
}

const ENDINGS: Partial<Record<Message['status'], string>> = {
  failed: 'This answer failed.',
  interrupted: 'This answer was interrupted.',
  stopped: 'You stopped this answer.',
};

/** Why an answer is not whole, and the way on. */
function Ending({ chat, message }: { chat: Chat; message: Message }): JSX.Element | null {
  const cut = message.status === 'complete' && message.finish_reason === 'length';
  const text = cut ? 'This answer reached its longest length.' : ENDINGS[message.status];
  if (!text) return null;
  const error = typeof message.error === 'string' ? message.error : message.error?.message;
  return (
    <div class={`ending ${message.status}`} role={message.status === 'failed' ? 'alert' : undefined}>
      <span>
        {text} {error && sentence(error)}
      </span>
      {!cut && (
        <button type="button" class="button small" disabled={chat.busy.value} onClick={() => void chat.regenerate(message)}>
          <Icon name="refresh" />
          {message.status === 'failed' ? 'Try again' : 'Regenerate'}
        </button>
      )}
    </div>
  );
}

function Waiting({ position }: { position: number | null }): JSX.Element {
  return (
    <div class="waiting">
      <span class="dots" aria-hidden="true">
        <i />
        <i />
        <i />
      </span>
      <span class={position === null ? 'visually-hidden' : ''}>
        {position === null ? 'Thinking' : position > 0 ? `Waiting for the model: ${position} before you` : 'Waiting for the model'}
      </span>
    </div>
  );
}

function RoleName({ roleId }: { roleId: string | null }): JSX.Element {
  return <header class="answer-role">{roleOf(roleId)?.name ?? 'Assistant'}</header>;
}

function AnswerFoot({ chat, step }: { chat: Chat; step: Step }): JSX.Element {
  const { message } = step;
  return (
    <>
      <SafetyNotice message={message} />
      <Ending chat={chat} message={message} />
      <footer class="message-foot">
        <BranchSwitcher chat={chat} step={step} />
        <span class="actions">
          <CopyButton text={message.content} onCopied={() => chat.noteCopied(message.message_id)} />
          <ActionButton icon="refresh" label="Regenerate" disabled={chat.busy.value} onClick={() => void chat.regenerate(message)} />
          <Rating chat={chat} message={message} />
          <ReportButton message={message} />
        </span>
        <span class="meta" title={fullTime(message.timestamp)}>
          {meta(message)}
        </span>
      </footer>
    </>
  );
}

/** An answer, finished or being written (`step` is null until the server has stored it). While tokens arrive only the one that is
 * being written renders, and its elements stay when it is done. */
export function Answer({ chat, step }: { chat: Chat; step: Step | null }): JSX.Element {
  const writing = step === null || chat.liveId.value === step.message.message_id;
  const live = writing ? chat.live.value : null;
  const text = live ? shownText(live.answer) : (step?.message.content ?? '');
  const roleId = step ? step.message.assistant_role_id : (chat.conversation.value?.assistant_role_id ?? null);
  const finished = live ? null : step;
  return (
    <article
      class={`message answer ${live ? 'live' : ''}`}
      aria-label={live ? 'Answer being written' : 'Answer'}
      aria-busy={live !== null}
      data-message={step?.message.message_id}
      data-status={finished?.message.status}
    >
      <RoleName roleId={roleId} />
      {text && <Markdown text={text} passages={finished?.message.retrieved_docs.map((doc) => doc.n)} />}
      {live?.answer.notice && (
        <p class="safety-notice" role="note" aria-label="Load">
          {live.answer.notice}
        </p>
      )}
      {live && !text && <Waiting position={live.answer.queuePosition} />}
      {finished && <Sources message={finished.message} />}
      {finished && <AnswerFoot chat={chat} step={finished} />}
    </article>
  );
}
