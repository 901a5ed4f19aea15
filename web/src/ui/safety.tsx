/* What the guard did to a message, as its reader sees it, and the ways to a person: reporting an answer, appealing a block. */
import type { JSX } from 'preact';
import { useState } from 'preact/hooks';
import { post } from '../api/client.ts';
import type { Message } from '../api/types.ts';
import { toast, reportError } from '../state/ui.ts';
import { Icon } from './icons.tsx';

const SENT = 'Thank you. A person will look at it.';

function ReasonForm(props: { label: string; onSend: (reason: string) => void; onDone: () => void }): JSX.Element {
  const [reason, setReason] = useState('');
  const send = (event: Event): void => {
    event.preventDefault();
    props.onSend(reason.trim());
    props.onDone();
  };
  return (
    <form class="reason-form" onSubmit={send}>
      <input
        aria-label={props.label}
        placeholder={props.label}
        maxLength={2000}
        value={reason}
        ref={(input) => input?.focus()}
        onInput={(e) => setReason(e.currentTarget.value)}
        onKeyDown={(e) => {
          if (e.key !== 'Escape') return;
          e.stopPropagation();
          props.onDone();
        }}
      />
      <button class="button small primary">Send</button>
      <button type="button" class="button small" onClick={props.onDone}>
        Cancel
      </button>
    </form>
  );
}

async function ask(message: Message, what: 'report' | 'appeal', reason: string): Promise<void> {
  try {
    await post(`/api/v1/messages/${message.message_id}/${what}`, { reason });
    toast(SENT);
  } catch (error) {
    reportError(error);
  }
}

/** Says that something was blocked, replaced or is to be read with care. */
export function SafetyNotice({ message }: { message: Message }): JSX.Element | null {
  const [appealing, setAppealing] = useState(false);
  const safety = message.safety;
  if (!safety) return null;
  const blocked = safety.action === 'block';
  const replaced = safety.action === 'redact' && safety.direction === 'output';
  const lines = [
    blocked && (safety.direction === 'input' ? 'This message was not passed on to the model.' : 'This answer was cut off here.'),
    safety.message,
    replaced && 'Something secret was removed from this answer.',
    safety.notice,
  ].filter(Boolean);
  if (lines.length === 0) return null;
  return (
    <div class={`safety-notice ${blocked ? 'blocked' : ''}`} role="note" aria-label="Safety">
      <Icon name="warning" />
      <div>
        {lines.map((line) => (
          <p key={line as string}>{line}</p>
        ))}
        {blocked && !appealing && (
          <button type="button" class="link" onClick={() => setAppealing(true)}>
            Was this a mistake?
          </button>
        )}
        {appealing && (
          <ReasonForm label="Why this should be allowed" onSend={(reason) => void ask(message, 'appeal', reason)} onDone={() => setAppealing(false)} />
        )}
      </div>
    </div>
  );
}

/** Asks for a person to look at an answer. */
export function ReportButton({ message }: { message: Message }): JSX.Element | null {
  const [open, setOpen] = useState(false);
  if (open) return <ReasonForm label="What is wrong with it" onSend={(reason) => void ask(message, 'report', reason)} onDone={() => setOpen(false)} />;
  return (
    <button type="button" class="icon-button small" aria-label="Report" title="Report to an administrator" onClick={() => setOpen(true)}>
      <Icon name="flag" />
    </button>
  );
}
