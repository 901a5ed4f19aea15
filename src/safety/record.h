/* What the store remembers of verdicts: cases for review, the steps against repeated abuse, and the
 * audit log's rows. These run inside store transactions. */
#pragma once

#include "safety/guard.h"
#include "store/safety.h"

struct safety_block {
    struct uuid user_id, conversation_id, message_id; /* the last two: may be not set */
    const char *path;                                 /* "native", "openai" */
    const struct safety_verdict *verdict;
    enum safety_direction direction;
    struct str text; /* what was blocked; kept in the case, cut at CASE_TEXT_MAX */
    bool earlier;    /* said before, and answered: it is no new offence */
};
/* Writes the case and its audit row, and applies the policy's steps to the user. A message in which
 * somebody may speak of harming themselves never counts against them, nor does what is only sent
 * again, and what a model wrote counts against nobody. */
enum err safety_record_block(struct store_tx *tx, const struct policy *p,
                             const struct safety_block *b) ERR_CHECK;

/* ERR_RATE (with retry_after_ms) or ERR_FORBIDDEN while the user has to wait, else ERR_OK. */
enum err safety_check_user(struct store_tx *tx, const struct uuid *user_id,
                           struct errinfo *ei) ERR_CHECK;
/* The same of what safety_user_until() says. */
enum err safety_check_until(int64_t until, bool suspended, struct errinfo *ei) ERR_CHECK;
