/* net/http_reader on any bytes: the head and the body are the same in one piece and cut in two (the
 * first byte says where), and no more comes out than went in. */
#include <stdint.h>
#include <stdlib.h>

#include "net/http_reader.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct got {
    struct buf body;
    int heads, status;
};

static void on_head(void *ctx, const struct http_head *h) {
    struct got *g = ctx;
    g->heads++;
    g->status = h->status;
    for (size_t i = 0; i < h->nfields; i++)
        if (!http_is_token(h->fields[i].name) || !http_is_field_value(h->fields[i].value))
            abort();
}

static enum err read_cut(struct str s, size_t cut, bool head_request, struct got *g, int *ret_end) {
    struct http_reader r;
    const char *why = NULL;
    http_reader_begin(&r, head_request);
    buf_init(&g->body, 1 << 20);
    enum err e = http_reader_feed(&r, str_sub(s, 0, cut), &g->body, on_head, g, &why);
    if (!e)
        e = http_reader_feed(&r, str_sub(s, cut, s.n), &g->body, on_head, g, &why);
    if ((e && (!why || !*why)) || g->body.n > s.n || g->heads > 1)
        abort();
    *ret_end = (int)r.state;
    if (!e && g->heads == 0 && http_reader_end(&r))
        abort();
    http_reader_deinit(&r);
    return e;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 2)
        return 0;
    struct str s = {(const char *)data + 2, size - 2};
    struct got whole = {0}, pieces = {0};
    int end_a, end_b;
    enum err a = read_cut(s, 0, data[1] & 1, &whole, &end_a);
    enum err b = read_cut(s, data[0] % (s.n + 1), data[1] & 1, &pieces, &end_b);
    if (a != b || whole.status != pieces.status)
        abort();
    if (!a && (end_a != end_b || !str_eq(buf_str(&whole.body), buf_str(&pieces.body))))
        abort();
    buf_deinit(&whole.body);
    buf_deinit(&pieces.body);
    return 0;
}
