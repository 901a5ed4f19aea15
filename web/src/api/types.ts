/* The objects of the HTTP API as docs/api.md names them. Nothing here is the page's own. */

export interface Status {
  version: string;
  setup_required: boolean;
  signup: 'open' | 'closed';
  ready: boolean;
  model: string;
  notice: string | null;
}

export interface User {
  user_id: string;
  username: string;
  email: string;
  created_at: string;
  last_login_at: string | null;
  preferences: Record<string, unknown>;
  is_admin: boolean;
  disabled: boolean;
}

export interface Collection {
  collection_id: string;
  name: string;
  kind: 'private' | 'shared' | 'role';
  documents: number;
}

/** What a role asks of documents. */
export interface RoleDocuments {
  enabled: boolean;
  grounded_only: boolean;
  collections: string[];
}

export interface Role {
  role_id: string;
  name: string;
  slug: string;
  description: string;
  system_prompt: string;
  version: number;
  model: string | null;
  temperature: number | null;
  top_p: number | null;
  max_tokens: number | null;
  stop: string[];
  starter_questions: string[];
  created_at: string;
  updated_at: string;
  retired_at: string | null;
}

export type ConversationStatus = 'active' | 'archived';

export interface Conversation {
  conversation_id: string;
  user_id: string;
  created_at: string;
  last_updated_at: string;
  assistant_role_id: string | null;
  status: ConversationStatus;
  title: string;
  current_message_id: string | null;
  summary: string;
  snippet?: string;
  snippet_message_id?: string | null;
}

export type Rating = 'thumbs_up' | 'thumbs_down' | 'neutral';
export type Reason = 'wrong' | 'not_helpful' | 'wrong_source' | 'unsafe' | 'too_long' | 'too_slow' | 'other';

export interface Feedback {
  feedback_id: string;
  message_id: string;
  user_id: string;
  rating: Rating;
  comment: string | null;
  reasons?: Reason[];
  created_at: string;
  updated_at: string;
}

export interface FeedbackEntry extends Feedback {
  username: string;
  conversation_id: string;
  assistant_role_id: string | null;
  role_name: string;
  role_version: number | null;
  model: string | null;
  question: string;
  answer: string;
}

export type MessageStatus = 'complete' | 'streaming' | 'stopped' | 'failed' | 'interrupted';

/** A passage that an answer was given. Positions are characters of the document's text. */
export interface RetrievedDoc {
  n: number;
  /** Null: a search service found it. */
  doc_id: string | null;
  source_name: string;
  title: string;
  uri: string;
  heading: string;
  page: number | null;
  /** The last page that it reaches. */
  page_to?: number | null;
  char_from: number;
  char_to: number;
  score: number;
  cited: boolean;
  text: string;
}

/** A sentence of the answer; `passage` is the n of a RetrievedDoc. */
export interface SupportedSentence {
  char_from: number;
  char_to: number;
  support: 'supported' | 'weak' | 'unsupported';
  passage: number | null;
}

export interface GivenDocument {
  doc_id: string;
  source_name: string;
}

export interface Message {
  message_id: string;
  conversation_id: string;
  parent_id: string | null;
  sender: 'user' | 'assistant';
  content: string;
  timestamp: string;
  response_latency_ms: number | null;
  /** Documents that came with a question; the name stays when the document is gone. */
  attachments?: GivenDocument[];
  retrieved_docs: RetrievedDoc[];
  support?: SupportedSentence[];
  status: MessageStatus;
  ttft_ms: number | null;
  assistant_role_id: string | null;
  role_version: number | null;
  model: string | null;
  finish_reason: string | null;
  error: string | ApiErrorBody | null;
  usage: { prompt_tokens: number; completion_tokens: number } | null;
  feedback: Feedback | null;
  safety: MessageSafety | null;
}

export interface Finding {
  category: string;
  action: string;
  score: number;
  source: string;
}

/** The guard's verdict on a message; null when nothing was found. */
export interface MessageSafety {
  direction: 'input' | 'output';
  action: 'allow' | 'annotate' | 'redact' | 'warn' | 'block';
  category: string | null;
  findings: Finding[];
  /** Words for the reader: of a warning, or of a block in the middle of an answer. */
  message: string | null;
  /** Said once in a conversation, e.g. that this replaces no doctor. */
  notice?: string;
}

export interface SafetyCase {
  case_id: string;
  kind: 'block' | 'report' | 'appeal';
  state: 'open' | 'right' | 'wrong';
  created_at: string;
  username: string;
  path: string;
  direction: string;
  category: string | null;
  reason: string;
  note: string;
  decided_by: string | null;
  verdict: { findings?: Finding[] } | null;
  text: string;
}

export interface Policy {
  policy_id: string;
  version: number;
  author: string;
  note: string;
  created_at: string;
  published_at: string | null;
  text?: string;
}

export interface AuditEntry {
  seq: number;
  at: string;
  actor: string;
  event: string;
  detail: Record<string, unknown>;
  hash: string;
}

export interface MessageTree {
  data: Message[];
  current_message_id: string | null;
}

export interface Document {
  doc_id: string;
  user_id: string;
  shared: boolean;
  source_name: string;
  content?: string;
  content_bytes: number;
  metadata: Record<string, unknown>;
  created_at: string;
  indexed_at: string | null;
  collection_id: string | null;
  status: 'pending' | 'indexed' | 'failed';
  error: string | null;
  /** A newer version waits to be indexed. */
  updating: boolean;
  title: string | null;
  media_type: string;
  uri: string | null;
  updated_at: string | null;
  chunk_count: number;
  /** What the guard found when it came in. */
  safety: DocumentSafety | null;
}

export interface DocumentSafety {
  policy_version: number;
  /** Sentences that give orders to a model. */
  left_out: number;
  /** Personal data and secrets. */
  replaced: number;
  pieces: number;
  counts: Record<string, number>;
  findings: { category: string; action: string; score: number; source: string; place: string; char_from: number | null; char_to: number | null }[];
}

export interface Source {
  source_id: string;
  user_id: string;
  name: string;
  kind: 'folder' | 'url' | 'sitemap' | 'feed' | 'search';
  location: string;
  collection_id: string | null;
  shared: boolean;
  interval_minutes: number;
  allow_private: boolean;
  enabled: boolean;
  settings: Record<string, unknown>;
  created_at: string;
  next_at: string | null;
  last_at: string | null;
  last_error: string | null;
  last_new: number;
  last_seen: number;
  running: boolean;
}

export interface ApiKey {
  key_id: string;
  name: string;
  prefix: string;
  created_at: string;
  last_used_at: string | null;
  revoked_at: string | null;
  key?: string;
}

export interface ApiErrorBody {
  message: string;
  type?: string;
  param?: string | null;
  code?: string | null;
}

export interface List<T> {
  data: T[];
  next: string | null;
}

export interface ObjectiveWindow {
  total: number;
  bad: number;
  good_ratio: number;
  /** 1: all that may fail has failed. */
  budget_burned: number;
}

export interface Objective {
  objective: 'answers' | 'requests' | 'ttft';
  target: number;
  hour: ObjectiveWindow;
  day: ObjectiveWindow;
  since_start: ObjectiveWindow;
}

export interface Upstream {
  name: string;
  enabled: boolean;
  ready: boolean;
  reason: string | null;
  breaker: 'closed' | 'open' | 'half_open';
  in_flight: number;
  requests: number;
  failures: number;
  first_byte_ms: number;
}

export interface StoreState {
  writable: boolean;
  reason: string | null;
  running: boolean;
  checked_at: string | null;
  check_error: string | null;
  backed_up_at: string | null;
  backup_error: string | null;
}

/** What feedback changed, in words. */
export interface LearnEvent {
  event_id: string;
  at: string;
  kind: string;
  words: string;
}

export interface AnalyticsRow {
  key: string;
  label: string;
  turns: number;
  rated: number;
  satisfaction: number | null;
  low: number | null;
  high: number | null;
}

export interface AnalyticsTurn {
  message_id: string;
  at: string;
  role_name: string;
  question: string;
  answer: string;
  comment: string | null;
  reasons: string[];
  rating: Rating | null;
}

export interface AnalyticsDocument {
  doc_id: string;
  source_name: string;
  used: number;
  liked: number;
  disliked: number;
}

export interface Theme {
  count: number;
  words: string;
  advice: string;
  examples: AnalyticsTurn[];
}

export interface LearningState {
  ranker: boolean;
  approved: boolean;
  variants: boolean;
  examples: boolean;
  explore: boolean;
  answer_days: number;
  candidate_id: string | null;
  share: number;
}

export interface Candidate {
  candidate_id: string;
  kind: 'ranker' | 'examples';
  state: 'refused' | 'trial' | 'half' | 'all' | 'replaced' | 'rolled_back';
  created_at: string;
  changed_at: string;
  ratings: number;
  words: string;
  usable: boolean;
}

export interface Variant {
  variant_id: string | null; // null: the role as it is
  role_id: string;
  name: string;
  system_prompt: string | null;
  model: string | null;
  temperature: number | null;
  passages: number | null;
  state: 'running' | 'stopped' | 'kept';
  why: string | null;
  turns: number;
  rated: number;
  satisfaction: number | null;
  low: number | null;
  high: number | null;
}

export interface ApprovedAnswer {
  answer_id: string;
  role_id: string;
  question: string;
  answer: string;
  sources: { doc_id: string }[];
  state: 'proposed' | 'approved' | 'stale' | 'retired';
  message_id: string | null;
  created_at: string;
  changed_at: string;
  served: number;
  why: 'changed' | 'old' | 'disliked' | null;
  rated: number;
  satisfaction: number | null;
  low: number | null;
  high: number | null;
}
