/* See out.h. */
#include "api/out.h"

#include <math.h>

#include "base/clock.h"

void out_item(struct buf *b) {
    if (b->n == 0)
        return;
    char last = b->p[b->n - 1];
    if (last != '{' && last != '[' && last != ':')
        buf_addc(b, ',');
}

void out_key(struct buf *b, const char *key) {
    out_item(b);
    if (!key)
        return;
    buf_addc(b, '"');
    buf_addz(b, key);
    buf_add(b, "\":", 2);
}

void out_open(struct buf *b, const char *key, char bracket) {
    out_key(b, key);
    buf_addc(b, bracket);
}

void out_close(struct buf *b, char bracket) {
    buf_addc(b, bracket);
}

void out_str(struct buf *b, const char *key, struct str s) {
    out_key(b, key);
    if (!s.p) {
        buf_addz(b, "null");
        return;
    }
    buf_addc(b, '"');
    buf_add_json(b, s);
    buf_addc(b, '"');
}

void out_strz(struct buf *b, const char *key, const char *z) {
    out_str(b, key, str_from(z));
}

void out_int(struct buf *b, const char *key, int64_t v) {
    out_key(b, key);
    buf_add_int(b, v);
}

void out_num(struct buf *b, const char *key, double v) {
    out_key(b, key);
    if (isfinite(v))
        buf_addf(b, "%.10g", v);
    else
        buf_addz(b, "null");
}

void out_bool(struct buf *b, const char *key, bool v) {
    out_key(b, key);
    buf_addz(b, v ? "true" : "false");
}

void out_null(struct buf *b, const char *key) {
    out_key(b, key);
    buf_addz(b, "null");
}

void out_raw(struct buf *b, const char *key, struct str json) {
    out_key(b, key);
    buf_adds(b, json.n ? json : STR("null"));
}

void out_id(struct buf *b, const char *key, const struct uuid *id) {
    out_str(b, key, uuid_is_set(id) ? uuid_str(id) : STR_NULL);
}

void out_time(struct buf *b, const char *key, int64_t wall_ms) {
    char text[25];
    if (!wall_ms) {
        out_null(b, key);
        return;
    }
    clock_format(wall_ms, text);
    out_strz(b, key, text);
}

void out_text_or_null(struct buf *b, const char *key, struct str s) {
    out_str(b, key, s.n ? s : STR_NULL);
}
