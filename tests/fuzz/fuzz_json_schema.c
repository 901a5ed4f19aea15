/* Schemas as people send them, and the walk along what they allow: the second half of the input,
 * after a NUL, is offered to the grammar byte by byte. What it has taken as whole must be JSON. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "engine/json_schema.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool ok) {
    if (!ok)
        abort();
}

static void walk(const struct grammar *g, struct str text) {
    struct grammar_state *s = grammar_state_new(g);
    struct buf taken;
    yyjson_doc *doc;
    buf_init(&taken, 1 << 20);
    for (size_t i = 0; s && i < text.n; i++) {
        bool allowed = grammar_allows(s, str_sub(text, i, 1));
        require(allowed == grammar_advance(s, str_sub(text, i, 1)));
        if (allowed)
            buf_addc(&taken, text.p[i]);
    }
    if (s && grammar_may_end(s)) {
        require(json_parse(buf_str(&taken), &doc, NULL) == ERR_OK);
        yyjson_doc_free(doc);
    }
    buf_deinit(&taken);
    grammar_state_free(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const uint8_t *nul = size ? memchr(data, 0, size) : NULL;
    size_t n = nul ? (size_t)(nul - data) : size;
    struct grammar *g;
    struct errinfo ei;
    yyjson_doc *doc;
    if (json_parse((struct str){(const char *)data, n}, &doc, NULL))
        return 0;
    if (json_schema_compile(yyjson_doc_get_root(doc), "schema", &g, &ei) == ERR_OK) {
        walk(g, nul ? (struct str){(const char *)nul + 1, size - n - 1} : STR_NULL);
        grammar_free(g);
    } else {
        require(ei.message[0] != 0);
    }
    yyjson_doc_free(doc);
    return 0;
}
