/* Work on texts that would hold the loop: the tokens of many texts, the numbers of many vectors.
 * What is soon done is done where it comes, as a question waits for its one text; the rest one
 * after another on a thread of its own. */
#pragma once

#include <stdbool.h>

#include "base/err.h"

#define TEXTS_QUEUED 256 /* works that wait for the thread, at most */

struct engine;

struct texts_work { /* at the beginning of what is worked on; the loop's, between the calls */
    struct engine *engine;
    struct texts_work *prev, *next;     /* of those on the thread, before it or on their way back */
    void (*work)(struct texts_work *w); /* on the texts' thread, or on the loop's */
    void (*done)(struct texts_work *w); /* on the loop's */
    void (*drop)(struct texts_work *w); /* in place of done, when the engine ends: frees it */
};

/* Calls w->work, then w->done, both within the call unless it is much. ERR_OVERLOADED with
 * retry_after_ms: neither was called. */
enum err texts_run(struct engine *en, struct texts_work *w, bool much,
                   struct errinfo *ei) ERR_CHECK;
/* Drops what is left; when the thread and the loop have stopped. */
void texts_drop(struct engine *en);
