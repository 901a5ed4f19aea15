/* net/sse on any bytes: the events are the same in one piece and cut in two (the first byte says
 * where), and none is longer than the cap. */
#include <stdint.h>
#include <stdlib.h>

#include "net/sse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define EVENT_MAX 200

static bool collect(const struct sse_event *e, void *ctx) {
    struct buf *b = ctx;
    if (e->data.n > EVENT_MAX || e->event.n > EVENT_MAX || e->id.n > EVENT_MAX)
        abort();
    buf_addf(b, "%zu %zu %zu ", e->event.n, e->data.n, e->id.n);
    buf_adds(b, e->event);
    buf_adds(b, e->data);
    buf_adds(b, e->id);
    return true;
}

static enum err parse(struct str s, size_t cut, struct buf *events) {
    struct sse_parser *p = sse_parser_new(EVENT_MAX);
    if (!p)
        abort();
    enum err e = sse_parser_feed(p, str_sub(s, 0, cut), collect, events);
    if (!e)
        e = sse_parser_feed(p, str_sub(s, cut, s.n), collect, events);
    sse_parser_free(p);
    return e;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0)
        return 0;
    struct str s = {(const char *)data + 1, size - 1};
    struct buf whole, pieces;
    buf_init(&whole, 1 << 22);
    buf_init(&pieces, 1 << 22);
    enum err a = parse(s, 0, &whole);
    enum err b = parse(s, data[0] % (s.n + 1), &pieces);
    if (a != b || !str_eq(buf_str(&whole), buf_str(&pieces)))
        abort();
    buf_deinit(&whole);
    buf_deinit(&pieces);
    return 0;
}
