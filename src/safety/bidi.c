/* How a line is shown that overrides the direction of its letters (UAX #9, the part that a
 * left-to-right line of letters needs): RLO and LRO give what follows the next odd or even level,
 * PDF takes the last of them back, isolates and embeddings nest without changing Latin letters;
 * then each run of a level or higher is reversed, from the highest level down to the first (rule
 * L2). */
#include "safety/normalise_internal.h"

#define GLYPHS 1024 /* characters that are put in order at once; longer lines are broken */
#define DEPTH  16   /* of nesting; what is deeper has the direction around it */

struct glyph {
    uint32_t at;
    uint8_t n, level;
};

struct nesting {
    uint8_t level[DEPTH];
    bool isolate[DEPTH];
    size_t n, beyond; /* beyond: opened, but too deep */
};

static uint8_t level_of(const struct nesting *s) {
    return s->n ? s->level[s->n - 1] : 0;
}

static void open_level(struct nesting *s, uint8_t level, bool isolate) {
    if (s->n == DEPTH) {
        s->beyond++;
        return;
    }
    s->level[s->n] = level;
    s->isolate[s->n++] = isolate;
}

static void close_isolate(struct nesting *s) {
    size_t n = s->n;
    while (n > 0 && !s->isolate[n - 1])
        n--;
    if (n > 0)
        s->n = n - 1;
}

/* True: it was a control character. */
static bool control(struct nesting *s, int32_t c) {
    uint8_t now = level_of(s);
    switch (c) {
    case 0x202E: /* RLO: the next odd level */
        open_level(s, (uint8_t)((now + 1) | 1), false);
        return true;
    case 0x202D: /* LRO: the next even one */
        open_level(s, (uint8_t)((now + 2) & ~1), false);
        return true;
    case 0x202A: /* LRE, RLE */
    case 0x202B:
        open_level(s, now, false);
        return true;
    case 0x202C: /* PDF */
        if (s->beyond)
            s->beyond--;
        else if (s->n > 0 && !s->isolate[s->n - 1])
            s->n--;
        return true;
    case 0x2066: /* LRI, RLI, FSI */
    case 0x2067:
    case 0x2068:
        open_level(s, now, true);
        return true;
    case 0x2069: /* PDI */
        close_isolate(s);
        return true;
    default:
        return c == 0x200E || c == 0x200F;
    }
}

static void reverse(struct glyph *g, size_t from, size_t to) {
    while (from + 1 < to) {
        struct glyph x = g[from];
        g[from++] = g[--to];
        g[to] = x;
    }
}

static void put_in_order(struct glyph *g, size_t n) {
    uint8_t highest = 0;
    for (size_t i = 0; i < n; i++)
        highest = g[i].level > highest ? g[i].level : highest;
    for (uint8_t level = highest; level > 0; level--)
        for (size_t i = 0; i < n;) {
            size_t from = i;
            while (i < n && g[i].level >= level)
                i++;
            reverse(g, from, i);
            i += i < n;
        }
}

void bidi_shown(struct str line, struct buf *out) {
    struct glyph g[GLYPHS];
    struct nesting s = {.n = 0};
    bool moved = false;
    buf_clear(out);
    for (size_t i = 0; i < line.n;) {
        size_t n = 0;
        while (i < line.n && n < GLYPHS) {
            int32_t c;
            size_t size = unicode_next(line.p + i, line.n - i, &c);
            if (!control(&s, c))
                g[n++] = (struct glyph){(uint32_t)i, (uint8_t)size, level_of(&s)};
            i += size;
        }
        put_in_order(g, n);
        for (size_t k = 0; k < n; k++) {
            moved = moved || (k > 0 && g[k].at < g[k - 1].at);
            buf_add(out, line.p + g[k].at, g[k].n);
        }
    }
    if (!moved)
        buf_clear(out);
}
