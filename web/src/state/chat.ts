/* One conversation that is open: its message tree, and the answer that is being written in it.
 *
 * Invariants: `messages` holds what the server has stored; what is not stored yet (the text just sent, the tokens that arrived)
 * lives in `live`. At most one answer is written in a conversation at a time. A chat goes on following its answer while another
 * conversation is shown. */
import { batch, computed, signal } from '@preact/signals';
import { ApiError, del, get, networkError, post, put, sentence, sleep } from '../api/client.ts';
import { followTurn, type TurnStart } from '../api/turn.ts';
import type { Conversation, Feedback, GivenDocument, Message, MessageTree, Rating, Reason } from '../api/types.ts';
import { newAnswer, shownText, type Answer } from '../model/answer.ts';
import { leafBelow, pathTo } from '../model/tree.ts';
import { changeConversation, updateListed } from './conversations.ts';
import { stillThere } from './attachments.ts';
import { announce, reportError } from './ui.ts';

export interface Live {
  answer: Answer;
  stopping: boolean;
}

export interface Sending {
  /** Null when an answer is regenerated: there is no new question. */
  text: string | null;
  /** What the turn follows: the path is shown up to here until `created` comes. */
  parentId: string | null;
  given: GivenDocument[];
}

export interface Problem {
  message: string;
  /** Sends again what may go through the next time; null when it was refused for good. */
  retry: (() => void) | null;
  /** The question that waits for that. */
  text: string | null;
  given: GivenDocument[];
}

/** It would be refused again just so: its text has to be changed first. */
function isRefusal(error: unknown): boolean {
  return error instanceof ApiError && error.status >= 400 && error.status < 500 && error.status !== 401 && error.status !== 429;
}

const TITLE_PAUSES_MS = [1500, 4000, 10_000, 20_000];
/** A question and its answer. */
const FIRST_TURN = 2;

export class Chat {
  readonly conversation = signal<Conversation | null>(null);
  readonly messages = signal<ReadonlyMap<string, Message>>(new Map());
  readonly live = signal<Live | null>(null);
  readonly problem = signal<Problem | null>(null);
  /** A text that was refused, for whoever wrote it to change. */
  readonly returned = signal<{ text: string; given: GivenDocument[] } | null>(null);
  readonly loadError = signal<ApiError | null>(null);
  readonly loaded = signal(false);

  /** True from sending until the answer has ended: what the composer and the buttons ask. */
  readonly busy = computed(() => this.live.value !== null);
  /** The message whose answer is being written. */
  readonly liveId = computed(() => this.live.value?.answer.message?.message_id ?? null);
  /** A turn that was sent and is not confirmed as stored yet. */
  readonly sending = signal<Sending | null>(null);

  /** The branch on screen. Does not change while tokens arrive. */
  readonly steps = computed(() => {
    const sending = this.sending.value;
    if (sending) return sending.parentId ? pathTo(this.messages.value, sending.parentId) : [];
    return pathTo(this.messages.value, this.conversation.value?.current_message_id ?? null);
  });

  private readonly abort = new AbortController();
  private frame = 0;
  private changing: Promise<unknown> = Promise.resolve();
  private latest: Answer | null = null;

  constructor(readonly id: string) {}

  async load(): Promise<void> {
    try {
      const [conversation, tree] = await Promise.all([
        get<Conversation>(`/api/v1/conversations/${this.id}`),
        get<MessageTree>(`/api/v1/conversations/${this.id}/messages`),
      ]);
      if (this.live.value) return; // a turn began meanwhile: it knows better
      batch(() => {
        this.loadError.value = null;
        this.messages.value = new Map(tree.data.map((m) => [m.message_id, m]));
        this.conversation.value = conversation;
        this.loaded.value = true;
      });
      const unfinished = tree.data.find((m) => m.status === 'streaming');
      if (unfinished) void this.follow(null, unfinished, null);
    } catch (error) {
      const failure = error instanceof ApiError ? error : networkError();
      batch(() => {
        this.loadError.value = failure;
        if (failure.status !== 404) return; // what is on screen stays while the server is away
        this.loaded.value = false;
        this.conversation.value = null;
        this.messages.value = new Map();
      });
    }
  }

  /** A conversation that was just made: nothing to load. */
  adopt(conversation: Conversation): void {
    this.conversation.value = conversation;
    this.loaded.value = true;
  }

  get leafId(): string | null {
    return this.steps.value.at(-1)?.message.message_id ?? null;
  }

  send(text: string, given: GivenDocument[]): Promise<void> {
    return this.post(text, this.leafId, given);
  }

  /** The new text beside the old: a branch. */
  edit(message: Message, text: string): Promise<void> {
    return this.post(text, message.parent_id, message.attachments ?? [], stillThere);
  }

  /** What of `given` is sent is looked for once nothing else can be sent: the text waits for it on screen. */
  private post(text: string, parentId: string | null, given: GivenDocument[], look?: typeof stillThere): Promise<void> {
    const start = async (): Promise<TurnStart> => {
      const there = look ? await look(given) : given;
      return {
        path: `/api/v1/conversations/${this.id}/messages`,
        body: { content: text, parent_id: parentId, attachments: there.map((d) => d.doc_id) },
      };
    };
    return this.follow(start, null, { text, parentId, given }, () => void this.post(text, parentId, given, look));
  }

  regenerate(message: Message): Promise<void> {
    const start: TurnStart = { path: `/api/v1/messages/${message.message_id}/regenerate`, body: {} };
    return this.follow(() => Promise.resolve(start), null, { text: null, parentId: message.parent_id, given: [] }, () => void this.regenerate(message));
  }

  private async follow(
    start: (() => Promise<TurnStart>) | null,
    existing: Message | null,
    sending: Sending | null,
    retry?: () => void,
  ): Promise<void> {
    if (this.live.value) return;
    this.problem.value = null;
    this.latest = newAnswer(existing);
    batch(() => {
      this.sending.value = sending;
      this.live.value = { answer: newAnswer(existing), stopping: false };
    });
    if (start) announce('Sent. The answer is being written.');
    try {
      await this.changing; // a question goes to the role and the branch that are shown
      const end = await followTurn(start ? await start() : null, existing, (answer) => this.onAnswer(answer), this.abort.signal);
      if (end.message) this.finish(end);
      else if (end.error) this.fail(new Error(sentence(end.error.message)), retry);
    } catch (error) {
      this.fail(error, retry);
    }
  }

  /** Tokens are shown once a frame; what changes the tree is applied at once. */
  private onAnswer(answer: Answer): void {
    const before = this.latest;
    this.latest = answer;
    if (answer.message && before?.message?.message_id !== answer.message.message_id) this.store(answer);
    if (answer.title !== null && before?.title !== answer.title) this.retitle(answer.title);
    if (answer.ended || this.frame) return;
    const show = (): void => {
      this.frame = 0;
      const live = this.live.value;
      if (live && this.latest) this.live.value = { ...live, answer: this.latest };
    };
    // A hidden tab draws no frames.
    this.frame = document.hidden ? window.setTimeout(show, 200) : requestAnimationFrame(show);
  }

  private store(answer: Answer): void {
    const conversation = this.conversation.value;
    const messages = new Map(this.messages.value);
    if (answer.userMessage) messages.set(answer.userMessage.message_id, answer.userMessage);
    if (answer.message) messages.set(answer.message.message_id, answer.message);
    batch(() => {
      this.messages.value = messages;
      this.sending.value = null;
      const live = this.live.value;
      if (live) this.live.value = { ...live, answer };
      if (conversation && answer.message) {
        const changed = {
          ...conversation,
          current_message_id: answer.message.message_id,
          last_updated_at: answer.message.timestamp,
        };
        this.conversation.value = changed;
        updateListed(changed, true);
      }
    });
  }

  private retitle(title: string): void {
    const conversation = this.conversation.value;
    if (!conversation) return;
    this.conversation.value = { ...conversation, title };
    updateListed(this.conversation.value);
  }

  private finish(end: Answer): void {
    batch(() => {
      this.store(end);
      this.live.value = null;
    });
    const said = end.error ? `The answer failed: ${end.error.message}` : `Answer: ${shownText(end)}`;
    announce(said.slice(0, 2000));
    if (this.messages.value.size <= FIRST_TURN) void this.awaitTitle();
  }

  private fail(error: unknown, retry: (() => void) | undefined): void {
    const message = error instanceof Error ? error.message : String(error);
    const sending = this.sending.value;
    const text = sending?.text ?? null;
    const given = sending?.given ?? [];
    const refused = isRefusal(error);
    // An edited question would be posted as a new one from where one writes.
    const follows = sending?.parentId === this.leafId;
    batch(() => {
      const live = this.live.value;
      this.live.value = null;
      this.sending.value = null;
      if (live && retry) this.problem.value = { message, retry: refused ? null : retry, text: refused && follows ? null : text, given };
      if (refused && follows && text !== null) this.returned.value = { text, given };
    });
    announce(`That did not work: ${message}`);
    if (!retry) reportError(error);
  }

  /** A better title may be made after the first answer, when its stream has ended: ask for it a few times. */
  private async awaitTitle(): Promise<void> {
    const before = this.conversation.value?.title;
    for (const ms of TITLE_PAUSES_MS) {
      await sleep(ms, this.abort.signal);
      if (this.abort.signal.aborted || this.conversation.value?.title !== before) return;
      const fresh = await get<Conversation>(`/api/v1/conversations/${this.id}`).catch(() => null);
      if (fresh && fresh.title !== before) return this.retitle(fresh.title);
    }
  }

  async stop(): Promise<void> {
    const live = this.live.value;
    if (!live?.answer.message || live.stopping) return;
    this.live.value = { ...live, stopping: true };
    try {
      await post<Message>(`/api/v1/messages/${live.answer.message.message_id}/stop`, {});
      announce('Stopped.');
    } catch (error) {
      if (this.live.value) this.live.value = { ...this.live.value, stopping: false };
      reportError(error);
    }
  }

  async switchTo(messageId: string): Promise<void> {
    const conversation = this.conversation.value;
    if (!conversation || this.live.value) return;
    const leaf = leafBelow(this.messages.value, messageId);
    this.conversation.value = { ...conversation, current_message_id: leaf };
    try {
      await this.change({ current_message_id: leaf });
    } catch (error) {
      this.conversation.value = conversation;
      reportError(error);
    }
  }

  private change(what: Parameters<typeof changeConversation>[1]): Promise<Conversation> {
    const change = changeConversation(this.id, what);
    this.changing = change.catch(() => undefined);
    return change;
  }

  async setRole(roleId: string): Promise<void> {
    const conversation = this.conversation.value;
    if (!conversation || conversation.assistant_role_id === roleId) return;
    this.conversation.value = { ...conversation, assistant_role_id: roleId };
    try {
      this.applyChange(await this.change({ assistant_role_id: roleId }));
    } catch (error) {
      this.conversation.value = conversation;
      reportError(error);
    }
  }

  /** Takes over what was changed from elsewhere (the sidebar), but not the branch: it may have moved on. */
  applyChange(changed: Conversation): void {
    const current = this.conversation.value;
    if (current) this.conversation.value = { ...changed, current_message_id: current.current_message_id };
  }

  async rate(messageId: string, rating: Rating, comment: string, reasons: Reason[] = []): Promise<void> {
    const body = { rating, reasons, ...(comment.trim() ? { comment: comment.trim() } : {}) };
    this.setFeedback(messageId, await put<Feedback>(`/api/v1/messages/${messageId}/feedback`, body));
  }

  /** A copied answer was of use: learning counts it, and nothing depends on it. */
  noteCopied(messageId: string): void {
    post(`/api/v1/messages/${messageId}/signals`, { kind: 'copied' }).catch(() => undefined);
  }

  async withdrawRating(messageId: string): Promise<void> {
    await del(`/api/v1/messages/${messageId}/feedback`);
    this.setFeedback(messageId, null);
  }

  private setFeedback(messageId: string, feedback: Feedback | null): void {
    const message = this.messages.value.get(messageId);
    if (!message) return;
    this.messages.value = new Map(this.messages.value).set(messageId, { ...message, feedback });
  }

  /** Stops following; the answer goes on at the server. */
  close(): void {
    this.abort.abort();
  }
}
