/* Objects for tests. */
import type { Message } from '../src/api/types.ts';

export function message(id: string, parent: string | null, fields: Partial<Message> = {}): Message {
  return {
    message_id: id,
    conversation_id: 'c',
    parent_id: parent,
    sender: 'assistant',
    content: '',
    timestamp: '2026-01-01T00:00:00.000Z',
    response_latency_ms: null,
    retrieved_docs: [],
    status: 'complete',
    ttft_ms: null,
    assistant_role_id: null,
    role_version: null,
    model: null,
    finish_reason: null,
    error: null,
    usage: null,
    feedback: null,
    safety: null,
    ...fields,
  };
}

export const byId = (list: Message[]): Map<string, Message> => new Map(list.map((m) => [m.message_id, m]));
