/* The chunker on any text and any marks that pass their check: chunks are in order, within the
 * text, at letters' boundaries, and all that is not white space or a heading's is in one. */
#include <stdint.h>
#include <stdlib.h>

#include "retrieval/chunk.h"
#include "text/language.h"

/* Input: marks as lines, a NUL, text. Without a NUL it is Markdown. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct str text = {(const char *)data, size}, lines = STR_NULL;
    const char *nul = size ? memchr(text.p, 0, size) : NULL;
    struct arena *a = arena_new((size_t)64 << 20);
    struct doc_text doc = {0};
    struct doc_mark *marks;
    struct chunk *c;
    size_t n, at = 0;
    if (nul) {
        lines = str_sub(text, 0, (size_t)(nul - text.p));
        text = str_sub(text, lines.n + 1, size);
    }
    if (!a || !utf8_valid(text) || (text.n && memchr(text.p, 0, text.n)))
        goto out;
    if (nul ? doc_marks_read(lines, text, a, &marks, &doc.n_marks)
            : doc_marks_of_markdown(text, a, &marks, &doc.n_marks))
        goto out;
    doc.text = text;
    doc.marks = marks;
    doc.title = str_sub(text, 0, utf8_cut(text, 5));
    struct buf b;
    buf_init(&b, (size_t)1 << 20);
    doc_marks_write(&b, marks, doc.n_marks);
    struct doc_mark *again;
    if (doc_marks_read(buf_str(&b), text, a, &again, &n) || n != doc.n_marks)
        abort(); /* what Markdown gives keeps the promises, too */
    buf_clear(&b);
    if (chunk_document(&doc, &(struct chunk_options){.max_tokens = 16}, a, &c, &n))
        goto done;
    for (size_t i = 0; i < n; i++) {
        if (c[i].from < at || c[i].to <= c[i].from || c[i].to > text.n || !utf8_valid(c[i].text) ||
            !utf8_valid(c[i].heading_path))
            abort();
        at = c[i].to;
        chunk_embed_text(&b, &doc, &c[i]);
    }
    if (!utf8_valid(buf_str(&b)))
        abort();
    (void)text_language(text);
done:
    buf_deinit(&b);
out:
    arena_free(a);
    return 0;
}
