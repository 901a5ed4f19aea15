#include "engine/text_stream.h"

#define HELD_MAX (64u << 10)

void text_stream_init(struct text_stream *t, const struct str *stops, int n_stops) {
    *t = (struct text_stream){.stops = stops, .n_stops = n_stops};
    buf_init(&t->held, HELD_MAX);
}

void text_stream_deinit(struct text_stream *t) {
    buf_deinit(&t->held);
}

/* Bytes of the sequence that s begins with, 0 when it begins with none. */
static size_t sequence(struct str s) {
    for (size_t n = 1; n <= 4 && n <= s.n; n++)
        if (utf8_valid(str_sub(s, 0, n)))
            return n;
    return 0;
}

static void add_valid(struct buf *out, struct str s) {
    if (utf8_valid(s)) {
        buf_adds(out, s);
        return;
    }
    while (s.n) {
        size_t n = sequence(s);
        if (n)
            buf_add(out, s.p, n);
        else
            buf_addz(out, "\xEF\xBF\xBD");
        s = str_sub(s, n ? n : 1, s.n);
    }
}

/* The first place where a stop string begins, or SIZE_MAX. */
static size_t find_stop(const struct text_stream *t, struct str s) {
    size_t first = SIZE_MAX;
    for (int i = 0; i < t->n_stops; i++) {
        size_t at = str_find(s, t->stops[i]);
        first = at < first ? at : first;
    }
    return first;
}

/* The length of s without an end that a stop string could begin with. */
static size_t without_beginning(const struct text_stream *t, struct str s) {
    size_t keep = s.n;
    for (int i = 0; i < t->n_stops; i++) {
        struct str stop = t->stops[i];
        size_t longest = stop.n - 1 < s.n ? stop.n - 1 : s.n;
        for (size_t n = longest; n > s.n - keep; n--)
            if (str_ends(s, str_sub(stop, 0, n))) {
                keep = s.n - n;
                break;
            }
    }
    return keep;
}

bool text_stream_add(struct text_stream *t, struct str bytes, struct buf *out) {
    if (t->stopped)
        return true;
    buf_adds(&t->held, bytes);
    struct str s = buf_str(&t->held);
    size_t n = find_stop(t, s);
    if (n != SIZE_MAX) {
        add_valid(out, str_sub(s, 0, n));
        buf_clear(&t->held);
        t->stopped = true;
        return true;
    }
    n = without_beginning(t, s);
    n = utf8_complete(str_sub(s, 0, n));
    add_valid(out, str_sub(s, 0, n));
    buf_drop(&t->held, n);
    return false;
}

void text_stream_end(struct text_stream *t, struct buf *out) {
    if (!t->stopped)
        add_valid(out, buf_str(&t->held));
    buf_clear(&t->held);
    t->stopped = true;
}
