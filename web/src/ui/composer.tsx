/* Where one writes. The text is kept as a draft for each conversation until it is sent. */
import { signal } from '@preact/signals';
import type { JSX } from 'preact';
import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks';
import { attach, attachments, attachmentsPending, returnAttachments, takeAttachments } from '../state/attachments.ts';
import { chat, creating, startConversation } from '../state/chats.ts';
import { NEW_CONVERSATION, readDraft, writeDraft } from '../state/drafts.ts';
import { conversationId } from '../state/route.ts';
import { preferences } from '../state/session.ts';
import { AttachButton, Attachments, useFileDrop } from './attachments.tsx';
import { Icon } from './icons.tsx';
import { RoleMenu } from './role-menu.tsx';

const INPUT_ID = 'composer-input';
const MAX_LINES_PX = 260;

/** Text for the composer from elsewhere on the page (a starter question). */
const inserted = signal<{ text: string } | null>(null);
export function insertText(text: string): void {
  inserted.value = { text };
}

export function focusComposer(): void {
  document.getElementById(INPUT_ID)?.focus();
}

/** With a physical keyboard in sight the composer takes the focus by itself; on a phone that would raise the keyboard. */
export const hasFinePointer = (): boolean => matchMedia('(pointer: fine)').matches;

function useGrowing(text: string): preact.RefObject<HTMLTextAreaElement> {
  const ref = useRef<HTMLTextAreaElement>(null);
  useLayoutEffect(() => {
    const area = ref.current;
    if (!area) return;
    area.style.height = 'auto';
    area.style.height = `${Math.min(area.scrollHeight, MAX_LINES_PX)}px`;
  }, [text]);
  return ref;
}

function SendOrStop({ canSend }: { canSend: boolean }): JSX.Element {
  const live = chat.value?.live.value;
  if (live) {
    return (
      <button
        type="button"
        class="send-button stop"
        aria-label="Stop the answer"
        title="Stop (Esc)"
        disabled={live.stopping || !live.answer.message}
        onClick={() => void chat.value?.stop()}
      >
        <Icon name="stop" />
      </button>
    );
  }
  return (
    <button type="submit" class="send-button" aria-label="Send" title="Send" disabled={!canSend}>
      <Icon name="send" />
    </button>
  );
}

function hint(reading: boolean): string {
  if (reading) return 'You can send when the file has been read';
  return preferences.value.enterToSend ? 'Enter sends, Shift+Enter makes a new line' : 'Ctrl+Enter sends';
}

export function Composer(): JSX.Element {
  const key = conversationId.value ?? NEW_CONVERSATION;
  return <ComposerFor key={key} draftKey={key} />;
}

function ComposerFor({ draftKey }: { draftKey: string }): JSX.Element {
  const [text, setText] = useState(() => readDraft(draftKey));
  const area = useGrowing(text);
  const open = chat.value;
  const waiting = creating.value || (conversationId.value !== null && !open?.loaded.value);
  const reading = attachmentsPending.value;
  const canSend = text.trim() !== '' && !open?.busy.value && !waiting && !reading;
  const over = useFileDrop();

  const change = (value: string): void => {
    setText(value);
    writeDraft(draftKey, value);
  };
  useEffect(() => {
    if (hasFinePointer()) area.current?.focus();
  }, []);
  const insert = inserted.value;
  useEffect(() => {
    if (!insert) return;
    inserted.value = null;
    change(insert.text);
    area.current?.focus();
  }, [insert]);

  const returned = open?.returned.value;
  useEffect(() => {
    if (!open || !returned) return;
    open.returned.value = null;
    change(text.trim() === '' ? returned.text : `${returned.text}\n\n${text}`);
    returnAttachments(returned.given);
  }, [returned]);

  const submit = (event?: Event): void => {
    event?.preventDefault();
    if (!canSend) return;
    const sent = text.trim();
    change('');
    const given = takeAttachments();
    if (open) void open.send(sent, given);
    else
      startConversation(sent, given).catch(() => {
        change(sent);
        returnAttachments(given);
      });
  };
  const onKey = (e: KeyboardEvent): void => {
    if (e.key !== 'Enter' || e.isComposing || e.shiftKey) return;
    // On a phone the return key makes a new line: there is a button for sending.
    const plain = preferences.value.enterToSend && hasFinePointer();
    if (plain || e.ctrlKey || e.metaKey) {
      e.preventDefault();
      submit();
    }
  };

  const onPaste = (e: ClipboardEvent): void => {
    const data = e.clipboardData;
    // Cells and paragraphs of office programs bring a picture of themselves along with their text.
    if (!data?.files.length || data.types.includes('text/plain')) return;
    e.preventDefault();
    attach(data.files);
  };

  return (
    <form class={over ? 'composer over' : 'composer'} onSubmit={submit}>
      <Attachments />
      <textarea
        ref={area}
        id={INPUT_ID}
        rows={1}
        placeholder={over ? 'Drop files to add them' : attachments.value.length > 0 ? 'Ask about the files' : 'Write a message'}
        aria-label="Message"
        value={text}
        onInput={(e) => change(e.currentTarget.value)}
        onKeyDown={onKey}
        onPaste={onPaste}
      />
      <div class="composer-bar">
        <AttachButton />
        <RoleMenu />
        <span class={reading ? 'composer-hint shown' : 'composer-hint'}>{hint(reading)}</span>
        <SendOrStop canSend={canSend} />
      </div>
    </form>
  );
}
