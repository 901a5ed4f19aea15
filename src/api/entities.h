/* The entities as JSON objects (docs/api.md), but for Message, which turn.h writes. key as in
 * out.h. Any thread. */
#pragma once

#include "api/out.h"
#include "store/source.h"
#include "store/store.h"

void entity_user(struct buf *b, const struct user *u);
void entity_key(struct buf *b, const struct api_key *k, const char *secret /* NULL = not shown */);
void entity_role(struct buf *b, const struct role *r);
void entity_conversation(struct buf *b, const struct conversation *c,
                         const struct conversation_hit *hit /* NULL = no search */);
void entity_feedback(struct buf *b, const struct feedback *f);
void entity_feedback_row(struct buf *b, const struct feedback_row *r);
void entity_source(struct buf *b, const struct source *s);
void entity_document(struct buf *b, const struct document *d); /* content only when it is set */

/* {"data":[ … ],"next":…}; last: the last item's id, set only when there may be more. */
void entity_list_open(struct buf *b);
void entity_list_close(struct buf *b, const struct uuid *last);

/* The id to go on from: set when the page was full. */
struct uuid entity_next(const struct page *p, size_t n, const struct uuid *last);
