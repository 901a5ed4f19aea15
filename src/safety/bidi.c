/* How a line is shown that overrides the direction of its letters (UAX #9, the part that
 * left-to-right letters in a left-to-right line need): X1 to X8 with their counters of what is
 * nested too deep; each paragraph begins anew. Under RLO all that follows has the odd level, under
 * LRO the even one; in an embedding or isolate without an override Latin letters have the next even
 * level. Then each run of a level or higher is reversed, from the highest level down to the first
 * (rule L2). */
#include "safety/normalise_internal.h"

#define GLYPHS 1024 /* characters that are put in order at once; longer lines are broken */
#define DEPTH  125  /* max_depth of UAX #9 */

struct glyph {
    uint32_t at;
    uint8_t n, level;
};

struct embedding {
    uint8_t level;
    bool override, isolate;
};

struct nesting {
    struct embedding stack[DEPTH + 2]; /* the first is the paragraph's own */
    size_t n, isolates;
    size_t beyond, isolates_beyond; /* opened, but too deep */
};

static struct embedding *top(struct nesting *s) {
    return &s->stack[s->n - 1];
}

static void begin_paragraph(struct nesting *s) {
    s->stack[0] = (struct embedding){0};
    s->n = 1;
    s->isolates = s->beyond = s->isolates_beyond = 0;
}

static uint8_t level_of(struct nesting *s) {
    const struct embedding *e = top(s);
    return (uint8_t)(e->level + (!e->override && e->level % 2));
}

/* X2 to X5c */
static void open_level(struct nesting *s, bool leftwards, bool override, bool isolate) {
    unsigned now = top(s)->level, level = leftwards ? (now + 1) | 1 : (now + 2) & ~1u;
    if (level <= DEPTH && !s->beyond && !s->isolates_beyond) {
        s->stack[s->n++] = (struct embedding){(uint8_t)level, override, isolate};
        s->isolates += isolate;
    } else if (isolate) {
        s->isolates_beyond++;
    } else if (!s->isolates_beyond) {
        s->beyond++;
    }
}

/* X6a */
static void close_isolate(struct nesting *s) {
    if (s->isolates_beyond) {
        s->isolates_beyond--;
    } else if (s->isolates) {
        s->beyond = 0;
        while (!top(s)->isolate)
            s->n--;
        s->n--;
        s->isolates--;
    }
}

/* X7 */
static void close_embedding(struct nesting *s) {
    if (s->isolates_beyond)
        return;
    if (s->beyond)
        s->beyond--;
    else if (s->n > 1 && !top(s)->isolate)
        s->n--;
}

/* True: it was a control character. */
static bool control(struct nesting *s, int32_t c) {
    switch (c) {
    case 0x202E: /* RLO */
    case 0x202D: /* LRO */
        open_level(s, c == 0x202E, true, false);
        return true;
    case 0x202B: /* RLE */
    case 0x202A: /* LRE */
        open_level(s, c == 0x202B, false, false);
        return true;
    case 0x2067: /* RLI */
    case 0x2066: /* LRI */
    case 0x2068: /* FSI: of Latin letters it is LRI */
        open_level(s, c == 0x2067, false, true);
        return true;
    case 0x202C: /* PDF */
        close_embedding(s);
        return true;
    case 0x2069: /* PDI */
        close_isolate(s);
        return true;
    default:
        return c == 0x200E || c == 0x200F;
    }
}

static bool ends_paragraph(int32_t c) {
    return c == '\n' || c == '\r' || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2029;
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
    struct nesting s;
    bool moved = false;
    begin_paragraph(&s);
    buf_clear(out);
    for (size_t i = 0; i < line.n;) {
        size_t n = 0;
        for (bool ends = false; i < line.n && n < GLYPHS && !ends;) {
            int32_t c;
            size_t size = unicode_next(line.p + i, line.n - i, &c);
            ends = ends_paragraph(c);
            if (ends)
                begin_paragraph(&s);
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
