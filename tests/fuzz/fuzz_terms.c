/* The words of any UTF-8 text, in a language that its first byte chooses: each is a whole, not too
 * long piece of UTF-8 whose place is in the text, and places go forward. The same bytes are a
 * question: whether it is small talk or leans on one before. */
#include <stdint.h>
#include <stdlib.h>

#include "base/arena.h"
#include "retrieval/question.h"
#include "text/terms.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const languages[] = {"",   "en", "de", "fr", "es", "it", "pt", "nl", "sv",
                                        "da", "no", "fi", "tr", "ru", "el", "ar", "hi", "ja"};

struct seen {
    size_t size, from;
};

static void look(void *ctx, const struct term *w) {
    struct seen *s = ctx;
    if (w->text.n == 0 || w->text.n > TERM_MAX || !utf8_valid(w->text))
        abort();
    if (w->from < s->from || w->to <= w->from || w->to > s->size)
        abort();
    s->from = w->from;
}

static void resolve(struct str text) {
    struct arena *a = arena_new(1 << 20);
    struct str halves[2] = {str_sub(text, 0, utf8_cut(text, text.n / 2)), text}, all, before;
    if (!a)
        abort();
    (void)question_is_smalltalk(text);
    if (question_resolve(halves[0], halves, 2, a, &all, &before) == ERR_OK &&
        (!utf8_valid(all) || !utf8_valid(before) || all.n < halves[0].n))
        abort();
    arena_free(a);
}

/* Without the bytes that are no UTF-8, so that most of what is tried gets further than a check. */
static struct str clean(const uint8_t *data, size_t size, char *out) {
    struct str in = {(const char *)data, size};
    size_t n = 0, len = 0;
    for (size_t i = 0; i < size; i += len) {
        for (len = 1; len < 5 && i + len <= size && !utf8_valid(str_sub(in, i, len)); len++)
            ;
        if (len == 5 || i + len > size || !data[i]) {
            len = 1;
            continue;
        }
        memcpy(out + n, data + i, len);
        n += len;
    }
    return (struct str){out, n};
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct terms *t;
    if (!t && terms_open(&t))
        abort();
    if (size == 0)
        return 0;
    char *room = malloc(size);
    if (!room)
        abort();
    struct str text = clean(data + 1, size - 1, room);
    struct seen s = {.size = text.n};
    terms_each(t, languages[data[0] % (sizeof languages / sizeof *languages)], text, look, &s);
    resolve(text);
    free(room);
    return 0;
}
