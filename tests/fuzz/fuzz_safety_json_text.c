/* safety/json_text: arguments of tools in pieces of any size. What was valid JSON has the same
 * value afterwards, and one that changed is valid all the same; half of it never is. */
#include <stdlib.h>

#include "base/json.h"
#include "safety/json_text.h"

#define CHECK(x)                                                                                   \
    if (!(x))                                                                                      \
    abort()

struct judge {
    struct buf text;
    bool replaces;
};

static enum err piece(void *ctx, size_t from, size_t to, struct buf *out) {
    const struct judge *j = ctx;
    CHECK(from < to && to <= j->text.n);
    if (j->replaces)
        buf_addz(out, "[removed]");
    else
        buf_adds(out, str_sub(buf_str(&j->text), from, to - from));
    return ERR_OK;
}

/* Returns whether the result is JSON. between: what comes behind each piece but the last. */
static bool pass(struct str json, size_t most, bool replaces, bool ends, enum text_then between,
                 struct buf *out) {
    struct json_text j;
    struct judge judge = {.replaces = replaces};
    yyjson_doc *doc = NULL;
    enum err e = ERR_OK;
    json_text_init(&j, json.n);
    buf_init(&judge.text, json.n * 8 + 64);
    for (size_t at = 0; at < json.n && !e; at += most) {
        size_t n = at + most < json.n ? most : json.n - at;
        bool last = ends && at + n == json.n;
        enum text_then then = last ? TEXT_ENDS : between;
        e = json_text_read(&j, str_sub(json, at, n), then, &judge.text);
        if (!e && (!replaces || last))
            e = json_text_write(&j, judge.text.n, then, piece, &judge, out);
    }
    CHECK(e == ERR_OK);
    bool is = json_parse(buf_str(out), &doc, NULL) == ERR_OK;
    yyjson_doc_free(doc);
    buf_deinit(&judge.text);
    json_text_deinit(&j);
    return is;
}

static bool is_ascii(struct str s) {
    size_t n = 0;
    while (n < s.n && (unsigned char)s.p[n] < 128)
        n++;
    return n == s.n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct str json = {(const char *)data + 1, size ? size - 1 : 0};
    yyjson_doc *a = NULL, *b = NULL;
    struct buf out;
    bool is = size && json_parse(json, &a, NULL) == ERR_OK;
    bool object = is && yyjson_is_ctn(yyjson_doc_get_root(a));
    size_t most = size ? 1 + data[0] % 9 : 1;
    for (int i = 0; i < 3 && size; i++) {
        buf_init(&out, json.n * 64 + 4096);
        bool pauses = i == 0 && data[0] & 1; /* between whole characters */
        bool valid = pass(json, is && !(pauses && is_ascii(json)) ? json.n : most, i == 1, i < 2,
                          pauses ? TEXT_PAUSES : TEXT_GOES_ON, &out);
        CHECK(!is || i == 2 || valid);
        CHECK(!object || i < 2 || !valid);
        if (is && i == 0 &&
            str_find(buf_str(&out), STR("\xef\xbf\xbd")) == SIZE_MAX) { /* no half of a pair */
            CHECK(json_parse(buf_str(&out), &b, NULL) == ERR_OK);
            CHECK(yyjson_equals(yyjson_doc_get_root(a), yyjson_doc_get_root(b)));
            yyjson_doc_free(b);
        }
        buf_deinit(&out);
    }
    yyjson_doc_free(a);
    return 0;
}
