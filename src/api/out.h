/* Writing JSON straight into a buffer. A comma goes before a member or item by itself, unless the
 * buffer ends in '{', '[', ':' or is empty: so one buffer holds one JSON text. key NULL = an item
 * of an array (or the value after out_key()). */
#pragma once

#include "base/buf.h"
#include "base/uuid.h"

void out_item(struct buf *b);                 /* the comma, if one is due */
void out_key(struct buf *b, const char *key); /* "key": */
void out_open(struct buf *b, const char *key, char bracket);
void out_close(struct buf *b, char bracket);
void out_str(struct buf *b, const char *key, struct str s); /* p NULL = null */
void out_strz(struct buf *b, const char *key, const char *z);
void out_int(struct buf *b, const char *key, int64_t v);
void out_num(struct buf *b, const char *key, double v); /* not finite = null */
void out_bool(struct buf *b, const char *key, bool v);
void out_null(struct buf *b, const char *key);
void out_raw(struct buf *b, const char *key,
             struct str json); /* JSON text as it is; empty = null */
void out_id(struct buf *b, const char *key, const struct uuid *id);  /* not set = null */
void out_time(struct buf *b, const char *key, int64_t wall_ms);      /* 0 = null */
void out_text_or_null(struct buf *b, const char *key, struct str s); /* "" = null */
