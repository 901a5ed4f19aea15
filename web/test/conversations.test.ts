/* The list in the sidebar. */
import './page.ts';
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { conversations, hasMore, loadConversations, loadMore } from '../src/state/conversations.ts';

test('list_whose_cursor_is_gone_is_loaded_from_the_start', async () => {
  const asked: (string | null)[] = [];
  globalThis.fetch = async (input) => {
    const after = new URL(String(input), 'http://page').searchParams.get('after');
    asked.push(after);
    if (after) return Response.json({ error: { message: 'there is no such thing', code: 'not_found' } }, { status: 404 });
    const id = asked.length === 1 ? 'c1' : 'c2';
    return Response.json({ data: [{ conversation_id: id, status: 'active' }], next: asked.length === 1 ? 'c1' : null });
  };
  await loadConversations();
  await loadMore();
  assert.deepEqual(asked, [null, 'c1', null]);
  assert.deepEqual(conversations.value.map((c) => c.conversation_id), ['c2']);
  assert.equal(hasMore.value, false);
});
