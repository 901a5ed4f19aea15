/* The words of any UTF-8 text, in a language that its first byte chooses: each is a whole, not too
 * long piece of UTF-8 whose place is in the text, and places go forward. The same bytes are a
 * question: whether it is small talk or leans on one before; and a sentence with times of day, and
 * a text that is cut to some tokens. */
#include <stdint.h>
#include <stdlib.h>

#include "base/arena.h"
#include "retrieval/daytime.h"
#include "retrieval/question.h"
#include "text/terms.h"
#include "text/tokens.h"

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

static void look_at_times(struct str text) {
    struct daytime times[DAYTIMES_MAX];
    size_t n = daytimes_find(text, times), before = 0;
    if (n > DAYTIMES_MAX)
        abort();
    for (size_t i = 0; i < n; before = times[i++].to)
        if (times[i].from < before || times[i].to <= times[i].from || times[i].to > text.n ||
            times[i].minutes < 0 || times[i].minutes >= 1440)
            abort();
}

static void cut(struct str text) {
    int all = text_tokens(text), half = all / 2;
    size_t n = text_tokens_cut(text, half);
    if (n > text.n || utf8_cut(text, n) != n || text_tokens(str_sub(text, 0, n)) > half ||
        text_tokens_cut(text, all) != text.n)
        abort();
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
    look_at_times(text);
    cut(text);
    free(room);
    return 0;
}
