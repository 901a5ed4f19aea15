/* Bytes from a model server: a streamed or whole chat answer, in pieces. The first byte is the size
 * of the pieces. Whatever comes, what goes on is UTF-8 without NUL. */
#include <stdint.h>
#include <stdlib.h>

#include "upstream/chat_stream.h"

static void on_text(void *ctx, struct str text) {
    size_t *total = ctx;
    if (!utf8_valid(text) || memchr(text.p, 0, text.n) || text.n == 0)
        abort();
    *total += text.n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    size_t total = 0;
    struct errinfo ei;
    if (size == 0)
        return 0;
    struct chat_stream *s = chat_stream_new(on_text, &total);
    if (!s)
        return 0;
    struct str rest = {(const char *)data + 1, size - 1};
    size_t step = data[0] ? data[0] : 4096;
    enum err e = ERR_OK;
    while (rest.n && !e) {
        e = chat_stream_feed(s, str_sub(rest, 0, step), &ei);
        rest = str_sub(rest, step, SIZE_MAX);
    }
    if (!e)
        e = chat_stream_end(s, &ei);
    if (e && (ei.code != e || !utf8_valid(str_from(ei.message))))
        abort();
    if (!utf8_valid(chat_stream_finish_reason(s)))
        abort();
    chat_stream_free(s);
    return 0;
}
