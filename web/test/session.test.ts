/* Who is signed in, and what is left for the next. */
import { loads } from './page.ts';
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { User } from '../src/api/types.ts';
import { readDraft, writeDraft } from '../src/state/drafts.ts';
import { signedIn, user } from '../src/state/session.ts';

const account = (id: string): User => ({ user_id: id, username: id, email: '', is_admin: false, preferences: {} }) as unknown as User;

test('session_that_ended_leaves_the_next_person_nothing', () => {
  signedIn(account('a'));
  writeDraft('new', 'of a');
  user.value = null; // the session ended by itself
  signedIn(account('a'));
  assert.equal(readDraft('new'), 'of a');
  assert.equal(loads.count, 0);
  user.value = null;
  signedIn(account('b'));
  assert.equal(readDraft('new'), '');
  assert.equal(loads.count, 1);
  assert.equal(location.pathname, '/');
  assert.equal(user.value, null);
});
