/* The automaton over words. See words.h.
 *
 * A pattern becomes positions (its words) and edges (which word may follow which, with how many
 * words between). Scanning keeps, for each position, at which word of the text it matched last; a
 * word of the text is looked up once and touches only the positions that carry it. The most recent
 * match of a predecessor is always the closest, so one number is enough. */
#include "safety/words.h"

#include <stdlib.h>

#define WORD_MAX      40 /* bytes of a word that are looked at */
#define PREFIX_MIN    3
#define SENTENCE_SKIP 16 /* more than any gap: nothing matches across a sentence's end */

struct entry { /* a word of the patterns; prefix: all words that begin so */
    char text[WORD_MAX];
    uint8_t n;
    bool prefix;
    uint32_t first, count; /* postings */
};

struct slot {
    uint32_t hash;  /* told apart by it, most words need no look at an entry */
    uint32_t entry; /* its number + 1; 0 = free */
};

struct position {
    uint32_t id, word;
    uint32_t first_edge, n_edges;
    bool initial, final;
};

struct edge {
    uint32_t from, to;
    uint32_t gap;
};

struct words {
    struct entry *entries;
    size_t n_entries, size_entries;
    struct slot *table; /* open addressing */
    size_t slots;
    uint64_t *likely; /* once built, 8 * slots bits: a word's hash has its bit set */
    struct position *positions;
    size_t n_positions, size_positions;
    struct edge *edges; /* sorted by `to` once built */
    size_t n_edges, size_edges;
    uint32_t *postings; /* positions by word */
    bool built;
};

struct seen {
    uint32_t at; /* number of the word + 1; counted on over all scans, so that nothing is cleared */
    uint32_t from;
};

struct words_scanner {
    const struct words *w;
    struct seen *seen;
    uint32_t *hits; /* positions of the current word */
    uint32_t *froms;
    uint32_t *touched; /* between resume and suspend: positions whose seen is not zero */
    size_t n_touched;
    uint32_t clock;
};

/* ---- memory and the table of words ---- */

static bool grow(void **p, size_t *size, size_t n, size_t item) {
    if (n < *size)
        return true;
    size_t want = *size ? *size * 2 : 64;
    void *more = reallocarray(*p, want, item);
    if (!more)
        return false;
    *p = more;
    *size = want;
    return true;
}

static uint32_t hash_step(uint32_t h, char c) {
    return (h ^ (unsigned char)c) * 16777619u; /* FNV-1a */
}

#define HASH_START 2166136261u

static uint32_t hash_end(uint32_t h, bool prefix) {
    h = prefix ? h * 31 + 7 : h;
    return h ^ h >> 15;
}

static size_t slot_of(const struct words *w, struct str s, bool prefix, uint32_t h) {
    size_t at = h & (w->slots - 1);
    while (w->table[at].entry) {
        const struct entry *e = &w->entries[w->table[at].entry - 1];
        if (w->table[at].hash == h && e->n == s.n && e->prefix == prefix &&
            memcmp(e->text, s.p, s.n) == 0)
            break;
        at = (at + 1) & (w->slots - 1);
    }
    return at;
}

static uint32_t hash_of(struct str s, bool prefix) {
    uint32_t h = HASH_START;
    for (size_t i = 0; i < s.n; i++)
        h = hash_step(h, s.p[i]);
    return hash_end(h, prefix);
}

static bool rehash(struct words *w) {
    if (w->n_entries * 2 < w->slots)
        return true;
    size_t slots = w->slots ? w->slots * 2 : 1024;
    struct slot *table = calloc(slots, sizeof *table);
    if (!table)
        return false;
    free(w->table);
    w->table = table;
    w->slots = slots;
    for (size_t i = 0; i < w->n_entries; i++) {
        const struct entry *e = &w->entries[i];
        struct str s = {e->text, e->n};
        uint32_t h = hash_of(s, e->prefix);
        w->table[slot_of(w, s, e->prefix, h)] = (struct slot){h, (uint32_t)i + 1};
    }
    return true;
}

static enum err intern(struct words *w, struct str s, bool prefix, uint32_t *ret) {
    if (!rehash(w) ||
        !grow((void **)&w->entries, &w->size_entries, w->n_entries, sizeof *w->entries))
        return ERR_NOMEM;
    uint32_t h = hash_of(s, prefix);
    size_t at = slot_of(w, s, prefix, h);
    if (!w->table[at].entry) {
        struct entry *e = &w->entries[w->n_entries++];
        *e = (struct entry){.n = (uint8_t)s.n, .prefix = prefix};
        memcpy(e->text, s.p, s.n);
        w->table[at] = (struct slot){h, (uint32_t)w->n_entries};
    }
    *ret = w->table[at].entry - 1;
    return ERR_OK;
}

/* ---- words of a text ---- */

static bool is_word_byte(char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || (unsigned char)c >= 128;
}

bool words_next(struct str text, size_t *at, struct str *ret, bool *ret_new_sentence) {
    size_t i = *at;
    bool line = false; /* blanks since a line's end */
    while (i < text.n && !is_word_byte(text.p[i])) {
        char c = text.p[i];
        bool stop = words_ends_sentence(c) &&
                    (i + 1 >= text.n || text.p[i + 1] == ' ' || text.p[i + 1] == '\n');
        if (stop || (line && words_ends_line(c)))
            *ret_new_sentence = true;
        line = c == '\n' || (line && c == ' ');
        i++;
    }
    size_t from = i;
    while (i < text.n &&
           (is_word_byte(text.p[i]) ||
            (text.p[i] == '\'' && i > from && i + 1 < text.n && is_word_byte(text.p[i + 1]))))
        i++;
    *ret = (struct str){text.p + from, i - from};
    *at = i;
    return i > from;
}

/* ---- patterns ---- */

struct link { /* a position that may stand last (or first), and the words that may still follow */
    uint32_t position, gap;
};

struct part {
    struct link *first, *last;
    size_t n_first, n_last;
    bool nullable;
    uint32_t skip; /* nullable: the gap that it leaves when it is passed over */
};

struct parser {
    struct words *w;
    struct str s;
    size_t at;
    uint32_t id;
    int depth;
    size_t first_position, first_edge;
    struct arena *a;
    struct errinfo *ei;
};

static enum err parse_alternatives(struct parser *p, char end, struct part *ret);

static enum err refuse(struct parser *p, enum err e, const char *why) {
    return err_set(p->ei, e, "pattern \"%.*s\": %s", (int)utf8_cut(p->s, 120), p->s.p, why);
}

static enum err explode(struct parser *p) {
    return refuse(p, ERR_TOO_LARGE, "it would become too large; split it into several patterns");
}

static enum err copy_links(struct parser *p, struct link **to, size_t *n, const struct link *from,
                           size_t m) {
    struct link *list = arena_array(p->a, *n + m + 1, sizeof *list);
    if (!list)
        return ERR_NOMEM;
    if (*n)
        memcpy(list, *to, *n * sizeof *list);
    if (m)
        memcpy(list + *n, from, m * sizeof *list);
    *to = list;
    *n += m;
    return ERR_OK;
}

static enum err add_edge(struct parser *p, uint32_t from, uint32_t to, uint32_t gap) {
    struct words *w = p->w;
    if (w->n_edges - p->first_edge >= WORDS_EDGES_MAX || w->n_edges >= WORDS_TOTAL_MAX * 10)
        return explode(p);
    if (!grow((void **)&w->edges, &w->size_edges, w->n_edges, sizeof *w->edges))
        return ERR_NOMEM;
    w->edges[w->n_edges++] = (struct edge){from, to, gap > WORDS_GAP_MAX ? WORDS_GAP_MAX : gap};
    return ERR_OK;
}

/* *a followed by b, with up to gap words between. */
static enum err concat(struct parser *p, struct part *a, const struct part *b, uint32_t gap) {
    enum err e = ERR_OK;
    for (size_t i = 0; i < a->n_last && !e; i++)
        for (size_t k = 0; k < b->n_first && !e; k++)
            e = add_edge(p, a->last[i].position, b->first[k].position,
                         a->last[i].gap + gap + b->first[k].gap);
    if (!e && a->nullable) {
        size_t old = a->n_first;
        e = copy_links(p, &a->first, &a->n_first, b->first, b->n_first);
        for (size_t i = old; i < a->n_first && !e; i++)
            a->first[i].gap += gap;
    }
    if (e)
        return e;
    if (b->nullable) {
        for (size_t i = 0; i < a->n_last; i++)
            a->last[i].gap += gap + b->skip;
        e = copy_links(p, &a->last, &a->n_last, b->last, b->n_last);
    } else {
        a->last = b->last;
        a->n_last = b->n_last;
    }
    a->nullable = a->nullable && b->nullable;
    return e;
}

static enum err parse_word(struct parser *p, struct part *ret) {
    size_t from = p->at;
    struct words *w = p->w;
    uint32_t word;
    while (p->at < p->s.n && (is_word_byte(p->s.p[p->at]) || p->s.p[p->at] == '\''))
        p->at++;
    struct str s = {p->s.p + from, p->at - from};
    bool prefix = p->at < p->s.n && p->s.p[p->at] == '*';
    p->at += prefix;
    if (s.n == 0)
        return refuse(p, ERR_INVALID,
                      "only lower-case words, ( | ), [ | ], * and *N may stand here");
    if (s.n > WORD_MAX)
        return refuse(p, ERR_INVALID, "a word is longer than 40 bytes");
    if (prefix && s.n < PREFIX_MIN)
        return refuse(p, ERR_INVALID, "a word before * needs three letters");
    if (w->n_positions - p->first_position >= WORDS_POSITIONS_MAX ||
        w->n_positions >= WORDS_TOTAL_MAX)
        return explode(p);
    if (!grow((void **)&w->positions, &w->size_positions, w->n_positions, sizeof *w->positions))
        return ERR_NOMEM;
    enum err e = intern(w, s, prefix, &word);
    if (e)
        return e;
    uint32_t at = (uint32_t)w->n_positions++;
    w->positions[at] = (struct position){.id = p->id, .word = word};
    struct link *l = arena_array(p->a, 2, sizeof *l);
    if (!l)
        return ERR_NOMEM;
    l[0] = l[1] = (struct link){at, 0};
    *ret = (struct part){.first = &l[0], .n_first = 1, .last = &l[1], .n_last = 1};
    return ERR_OK;
}

static enum err parse_group(struct parser *p, struct part *ret) {
    char close = p->s.p[p->at] == '(' ? ')' : ']';
    if (++p->depth > WORDS_DEPTH_MAX)
        return refuse(p, ERR_TOO_LARGE, "groups are nested too deep");
    p->at++;
    enum err e = parse_alternatives(p, close, ret);
    if (e)
        return e;
    if (p->at >= p->s.n || p->s.p[p->at] != close)
        return refuse(p, ERR_INVALID, "a group is not closed");
    p->at++;
    p->depth--;
    ret->nullable = ret->nullable || close == ']';
    return ERR_OK;
}

static enum err parse_gap(struct parser *p, uint32_t *gap) {
    uint32_t n = 3;
    p->at++;
    if (p->at < p->s.n && p->s.p[p->at] >= '0' && p->s.p[p->at] <= '9')
        n = (uint32_t)(p->s.p[p->at++] - '0');
    if (n > WORDS_GAP_MAX || (p->at < p->s.n && is_word_byte(p->s.p[p->at])))
        return refuse(p, ERR_INVALID, "* takes a number of words from 0 to 8");
    *gap += n;
    return *gap > WORDS_GAP_MAX ? refuse(p, ERR_TOO_LARGE, "a gap is longer than 8 words") : ERR_OK;
}

static enum err parse_sequence(struct parser *p, char end, struct part *ret) {
    struct part all = {.nullable = true}, one;
    uint32_t gap = 0;
    bool any = false;
    while (p->at < p->s.n && p->s.p[p->at] != '|' && p->s.p[p->at] != end) {
        char c = p->s.p[p->at];
        enum err e = ERR_OK;
        if (c == ' ') {
            p->at++;
            continue;
        }
        if (c == '*') {
            if ((e = parse_gap(p, &gap)))
                return e;
            continue;
        }
        e = c == '(' || c == '[' ? parse_group(p, &one) : parse_word(p, &one);
        if (!e && !any)
            all = one;
        else if (!e)
            e = concat(p, &all, &one, gap);
        if (e)
            return e;
        any = true;
        gap = 0;
    }
    *ret = all;
    return ERR_OK;
}

static enum err parse_alternatives(struct parser *p, char end, struct part *ret) {
    struct part all = {0}, one;
    for (;;) {
        enum err e = parse_sequence(p, end, &one);
        if (!e)
            e = copy_links(p, &all.first, &all.n_first, one.first, one.n_first);
        if (!e)
            e = copy_links(p, &all.last, &all.n_last, one.last, one.n_last);
        if (e)
            return e;
        all.nullable = all.nullable || one.nullable;
        if (p->at >= p->s.n || p->s.p[p->at] != '|')
            break;
        p->at++;
    }
    *ret = all;
    return ERR_OK;
}

enum err words_add(struct words *w, struct str pattern, uint32_t id, struct errinfo *ei) {
    struct parser p = {.w = w,
                       .s = pattern,
                       .id = id,
                       .first_position = w->n_positions,
                       .first_edge = w->n_edges,
                       .a = arena_new((size_t)8 << 20),
                       .ei = ei};
    struct part all;
    enum err e = p.a ? parse_alternatives(&p, 0, &all) : ERR_NOMEM;
    if (!e && p.at < pattern.n)
        e = refuse(&p, ERR_INVALID, "a group is closed that was not opened");
    if (!e && all.nullable)
        e = refuse(&p, ERR_INVALID, "it would match any text");
    for (size_t i = 0; !e && i < all.n_first; i++)
        w->positions[all.first[i].position].initial = true;
    for (size_t i = 0; !e && i < all.n_last; i++)
        w->positions[all.last[i].position].final = true;
    if (e) {
        w->n_positions = p.first_position;
        w->n_edges = p.first_edge;
        if (e == ERR_NOMEM)
            err_set(ei, e, NULL);
    }
    arena_free(p.a);
    return e;
}

static int by_target(const void *a, const void *b) {
    const struct edge *x = a, *y = b;
    return x->to < y->to ? -1 : x->to > y->to;
}

static uint32_t likely_bit(const struct words *w, uint32_t h) {
    return h & (uint32_t)(8 * w->slots - 1);
}

static bool is_likely(const struct words *w, uint32_t h) {
    uint32_t bit = likely_bit(w, h);
    return w->likely[bit / 64] >> bit % 64 & 1;
}

static bool note_likely(struct words *w) {
    w->likely = calloc(w->slots / 8, sizeof *w->likely);
    for (size_t i = 0; w->likely && i < w->slots; i++) {
        uint32_t bit = likely_bit(w, w->table[i].hash);
        if (w->table[i].entry)
            w->likely[bit / 64] |= (uint64_t)1 << bit % 64;
    }
    return w->likely != NULL;
}

enum err words_build(struct words *w) {
    if (w->n_edges)
        qsort(w->edges, w->n_edges, sizeof *w->edges, by_target);
    for (size_t i = 0; i < w->n_edges; i++) {
        struct position *p = &w->positions[w->edges[i].to];
        if (p->n_edges++ == 0)
            p->first_edge = (uint32_t)i;
    }
    w->postings = malloc((w->n_positions + 1) * sizeof *w->postings);
    if (!w->postings || !rehash(w) || !note_likely(w))
        return ERR_NOMEM;
    for (size_t i = 0; i < w->n_positions; i++)
        w->entries[w->positions[i].word].count++;
    uint32_t next = 0;
    for (size_t i = 0; i < w->n_entries; i++) {
        w->entries[i].first = next;
        next += w->entries[i].count;
        w->entries[i].count = 0;
    }
    for (size_t i = 0; i < w->n_positions; i++) {
        struct entry *e = &w->entries[w->positions[i].word];
        w->postings[e->first + e->count++] = (uint32_t)i;
    }
    w->built = true;
    return ERR_OK;
}

struct words *words_new(void) {
    return calloc(1, sizeof(struct words));
}

void words_free(struct words *w) {
    if (!w)
        return;
    free(w->entries);
    free(w->table);
    free(w->likely);
    free(w->positions);
    free(w->edges);
    free(w->postings);
    free(w);
}

size_t words_positions(const struct words *w) {
    return w->n_positions;
}

/* ---- scanning ---- */

struct words_scanner *words_scanner_new(const struct words *w) {
    struct words_scanner *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->w = w;
    s->seen = calloc(w->n_positions + 1, sizeof *s->seen);
    s->hits = malloc((w->n_positions + 1) * sizeof *s->hits);
    s->froms = malloc((w->n_positions + 1) * sizeof *s->froms);
    s->touched = malloc((w->n_positions + 1) * sizeof *s->touched);
    if (!s->seen || !s->hits || !s->froms || !s->touched) {
        words_scanner_free(s);
        return NULL;
    }
    return s;
}

void words_scanner_free(struct words_scanner *s) {
    if (!s)
        return;
    free(s->seen);
    free(s->hits);
    free(s->froms);
    free(s->touched);
    free(s);
}

/* Whether position p matches the word that is the clock's, given what was seen before. */
static bool reached(const struct words_scanner *s, uint32_t p, uint32_t *from) {
    const struct position *pos = &s->w->positions[p];
    bool yes = false;
    for (uint32_t i = 0; i < pos->n_edges; i++) {
        const struct edge *e = &s->w->edges[pos->first_edge + i];
        const struct seen *before = &s->seen[e->from];
        if (before->at && before->at + 1 + e->gap >= s->clock && before->at < s->clock &&
            (!yes || before->from > *from)) {
            *from = before->from;
            yes = true;
        }
    }
    return yes;
}

static size_t try_entry(struct words_scanner *s, const struct entry *e, uint32_t at, size_t n) {
    for (uint32_t i = 0; i < e->count; i++) {
        uint32_t p = s->w->postings[e->first + i], from = at;
        if (!s->w->positions[p].initial && !reached(s, p, &from))
            continue;
        s->hits[n] = p;
        s->froms[n++] = from;
    }
    return n;
}

static size_t try_word(struct words_scanner *s, struct str word, uint32_t at) {
    const struct words *w = s->w;
    uint32_t h = HASH_START;
    size_t n = 0;
    for (size_t i = 0; i < word.n && i < WORD_MAX; i++) {
        h = hash_step(h, word.p[i]);
        bool whole = i + 1 == word.n;
        for (int prefix = 0; prefix < 2; prefix++) {
            if (prefix ? i + 1 < PREFIX_MIN : !whole)
                continue;
            struct str part = {word.p, i + 1};
            uint32_t full = hash_end(h, prefix);
            if (!is_likely(w, full))
                continue;
            uint32_t entry = w->table[slot_of(w, part, prefix, full)].entry;
            if (entry)
                n = try_entry(s, &w->entries[entry - 1], at, n);
        }
    }
    return n;
}

void words_scan(struct words_scanner *s, struct str text,
                void (*hit)(void *ctx, uint32_t id, size_t from, size_t to), void *ctx) {
    size_t at = 0;
    struct str word;
    bool new_sentence = true;
    if (!s->w->n_positions)
        return;
    if (s->clock > UINT32_MAX / 2) { /* a text is at most 2^28 words */
        memset(s->seen, 0, (s->w->n_positions + 1) * sizeof *s->seen);
        s->clock = 0;
    }
    while (words_next(text, &at, &word, &new_sentence)) {
        uint32_t from = (uint32_t)(word.p - text.p);
        s->clock += new_sentence ? SENTENCE_SKIP : 1;
        new_sentence = false;
        size_t n = try_word(s, word, from);
        for (size_t i = 0; i < n; i++) { /* written together: a word does not follow itself */
            s->seen[s->hits[i]] = (struct seen){s->clock, s->froms[i]};
            if (s->w->positions[s->hits[i]].final)
                hit(ctx, s->w->positions[s->hits[i]].id, s->froms[i], at);
        }
    }
}

/* ---- a text that grows ---- */

void words_live_deinit(struct words_live *l) {
    free(l->list);
    *l = (struct words_live){0};
}

static void touch(struct words_scanner *s, uint32_t position, struct seen seen) {
    if (!s->seen[position].at)
        s->touched[s->n_touched++] = position;
    s->seen[position] = seen;
}

void words_resume(struct words_scanner *s, const struct words_live *l) {
    s->clock = l->clock;
    for (size_t i = 0; i < l->n; i++)
        touch(s, l->list[i].position, (struct seen){l->list[i].at, l->list[i].from});
}

void words_step(struct words_scanner *s, struct str word, bool new_sentence, size_t from, size_t to,
                bool trial, void (*hit)(void *ctx, uint32_t id, size_t from, size_t to),
                void *ctx) {
    uint32_t before = s->clock;
    if (!s->w->n_positions)
        return;
    s->clock += new_sentence ? SENTENCE_SKIP : 1;
    size_t n = try_word(s, word, (uint32_t)from);
    for (size_t i = 0; i < n; i++) {
        if (!trial)
            touch(s, s->hits[i], (struct seen){s->clock, s->froms[i]});
        if (s->w->positions[s->hits[i]].final)
            hit(ctx, s->w->positions[s->hits[i]].id, s->froms[i], to);
    }
    if (trial)
        s->clock = before;
}

enum err words_suspend(struct words_scanner *s, struct words_live *l) {
    enum err e = ERR_OK;
    l->n = 0;
    l->clock = s->clock;
    for (size_t i = 0; i < s->n_touched; i++) {
        uint32_t p = s->touched[i];
        struct seen seen = s->seen[p];
        s->seen[p].at = 0;
        if (seen.at + WORDS_GAP_MAX < s->clock || e) /* no gap reaches back so far */
            continue;
        if (!grow((void **)&l->list, &l->size, l->n, sizeof *l->list))
            e = ERR_NOMEM;
        else
            l->list[l->n++] = (struct words_seen){p, seen.at, seen.from};
    }
    s->n_touched = 0;
    return e;
}
