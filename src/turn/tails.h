/* What readers have seen of running answers, in memory that outlives the process: a killed server's
 * successor goes on behind the last word that anybody saw, not behind the last checkpoint.
 *
 * It is a ring in a file in /dev/shm that bears the name of the data directory and a random
 * number, and ends with the process's orderly end. A process may die at any moment: a record counts
 * once `head` is behind it. It is no store: power takes it, and the oldest records make room. */
#pragma once

#include <stddef.h>

#include "base/err.h"
#include "base/str.h"
#include "base/uuid.h"

struct arena;
struct tails;

/* NULL: there can be none; every function takes that. */
struct tails *tails_open(const char *data_dir);
void tails_close(struct tails *t); /* its end in good order: the file goes */

/* The answer's text from byte `at` on is about to be told; what was told from there on before is
 * taken back, with an empty text, too. Any thread. */
void tails_note(struct tails *t, const struct uuid *message_id, size_t at, struct str text);

/* The rings of processes that have ended. */
struct former_tails;
struct former_tails *former_tails_open(const char *data_dir); /* NULL: there are none */
/* *text goes on with what was told behind it; in the arena then. */
enum err former_tails_extend(const struct former_tails *f, const struct uuid *message_id,
                             struct arena *a, struct str *text) ERR_CHECK;
/* used: they are stored now, and the files go. */
void former_tails_close(struct former_tails *f, bool used);
