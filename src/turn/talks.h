/* Conversations that were answered a moment ago, kept in memory as the store has them, so that the
 * next question needs no read: what turn_load_fn() would find, and the mark that says whether it
 * would still find it (store/mark.h has why that is right). Reading is what a turn's load costs
 * most of: a snapshot, some two dozen pages, two threads woken.
 *
 *   load ── nothing kept, or not so any more ─→ the store is read ─┐
 *     └──── kept ─→ taken out: the turn owns it ───────────────────┴─→ … ─→ close: put (back), with
 *                                                                         question and answer
 *
 * Kept is only a whole branch, from its root to a finished answer that is the conversation's
 * current message, of TALK_MESSAGES and TALK_BYTES of text at most, for TALK_KEEP_NS; all of them
 * together take TALKS_BYTES (what a running turn has taken is the turn's), then the one that waits
 * longest goes. Whoever goes on behind that answer is served, whether the parent is named (the
 * page, /v1/responses with previous_response_id) or not; a turn that does anything else reads the
 * store.
 *
 * A key that was used already (Idempotency-Key) is not looked for here as turn_load_fn() does: who
 * asked looked before, and turn_append_fn() notes it before anything else, so the second of two is
 * refused there at the latest, and nothing of it is stored. */
#pragma once

#include "turn/turn_internal.h"

#define TALK_MESSAGES 64
#define TALK_BYTES    ((size_t)64 << 10)
#define TALK_KEEP_NS  (180 * 1000000000ll)
#define TALKS_BYTES   ((size_t)48 << 20)

struct talks *talks_new(void); /* NULL: no memory */
void talks_free(struct talks *t);
/* Forgets those that were put before then. Any thread. */
void talks_sweep(struct talks *t, int64_t before_ns);

/* Step load: true: the turn has all that turn_load_fn() finds. Its mark is taken in any case. */
bool talks_take(struct turn *t);
/* Step close, last: what is kept of the turn's conversation is no more the turn's. */
void talks_put(struct turn *t);
void talk_free(struct talk *talk); /* one that was taken and not put back; NULL is fine */
