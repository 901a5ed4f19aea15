/* Whether what was read from the store is still so, without asking it: for those who keep what they
 * read, or wrote themselves, in memory.
 *
 * A mark says how things stood when something of a conversation was read. It holds
 * (store_mark_holds()) as long as nothing of that conversation (its row, its messages), and nothing
 * of what concerns everybody has changed: roles, their versions and documents' settings,
 * collections, holds of the guard. Accounts, sessions and keys are not looked at: see
 * store_accounts_version().
 *
 * Why that is right, whoever changes something and however:
 * - In this process everything is written on the writer's connection. Which tables a statement can
 *   change is what SQLite itself says when it is prepared (its authorizer, which also tells of
 *   triggers and of what goes with a parent). A verb says of which conversation it changes rows;
 *   where it does not, all marks fall. Nothing has to be remembered by who writes a new verb.
 * - Marks fall when the COMMIT has returned and before anybody is told of it: whoever asks after
 *   a change was told, sees it, as with store_read(). A change that is rolled back makes marks fall
 *   for nothing.
 * - Another process (a terminal command, the former or next server of an upgrade) leaves another
 *   header in the log's index, which all of them have mapped: it is compared with the one that this
 *   process's last commit left, each time. So what another process has committed is seen at once.
 * - Of a program whose schema was changed while it runs (a trigger may have come) no mark outlives
 *   its next group of writes; of one that cannot write, or where there is no such header, none ever
 *   holds.
 *
 * Which tables that is stands in marks.c (tables[]), and is what turn_load_fn() reads: whoever has
 * it read another one adds it there. A test of turn/talks.c finds what is missing.
 *
 * A mark may fall without a reason; it never holds without one. */
#pragma once

#include "store/store.h"

struct store_mark {
    uint64_t all, place; /* all 0: holds never */
};

/* To be taken before the read is asked for. Any thread. */
void store_mark_take(struct store *s, const struct uuid *conversation, struct store_mark *ret);
bool store_mark_holds(struct store *s, const struct uuid *conversation, const struct store_mark *m);

/* First thing in a write: the mark goes on to hold for what was read before, with what this write
 * changes of the conversation; where somebody else has changed something since, it never holds. */
void store_mark_follow(struct store_tx *tx, const struct uuid *conversation, struct store_mark *m);
