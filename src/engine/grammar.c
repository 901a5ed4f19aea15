#include "engine/grammar.h"

#include <stdlib.h>
#include <string.h>

#define CLOSURE_MAX 4096 /* moves without a byte that one byte may cause */

struct instruction {
    enum grammar_op op;
    uint32_t a, b;
};

struct grammar {
    struct instruction *code;
    uint8_t
        *need; /* stack entries that the way from an instruction to its rule's end takes at least */
    int n, size;
    uint8_t (*sets)[32];
    int n_sets, sets_size;
    int starts[GRAMMAR_RULES_MAX]; /* -1 = no code yet */
    int n_rules;
    bool full;
};

/* ---- making ---- */

struct grammar *grammar_new(void) {
    return calloc(1, sizeof(struct grammar));
}

void grammar_free(struct grammar *g) {
    if (!g)
        return;
    free(g->code);
    free(g->need);
    free(g->sets);
    free(g);
}

int grammar_rule_new(struct grammar *g) {
    if (g->n_rules == GRAMMAR_RULES_MAX) {
        g->full = true;
        return 0;
    }
    g->starts[g->n_rules] = -1;
    return g->n_rules++;
}

void grammar_rule_begin(struct grammar *g, int rule) {
    g->starts[rule] = g->n;
}

void grammar_rule_end(struct grammar *g) {
    grammar_emit(g, GRAMMAR_RETURN, 0, 0);
}

int grammar_here(const struct grammar *g) {
    return g->n;
}

int grammar_emit(struct grammar *g, enum grammar_op op, uint32_t a, uint32_t b) {
    if (g->n == g->size) {
        int size = g->size ? g->size * 2 : 256;
        struct instruction *grown =
            size > GRAMMAR_CODE_MAX ? NULL : realloc(g->code, (size_t)size * sizeof(*grown));
        if (!grown) {
            g->full = true;
            g->n = g->n ? g->n - 1 : 0; /* the last place is written again: nothing runs this */
        } else {
            g->code = grown;
            g->size = size;
        }
    }
    if (g->size)
        g->code[g->n] = (struct instruction){op, a, b};
    return g->n++;
}

void grammar_target(struct grammar *g, int at, bool second, int to) {
    if (g->full || at < 0)
        return;
    *(second ? &g->code[at].b : &g->code[at].a) = (uint32_t)to;
}

void grammar_text(struct grammar *g, struct str bytes) {
    for (size_t i = 0; i < bytes.n; i++)
        grammar_emit(g, GRAMMAR_BYTE, (unsigned char)bytes.p[i], 0);
}

void grammar_range(struct grammar *g, unsigned char from, unsigned char to) {
    bool set[256] = {0};
    for (int i = from; i <= to; i++)
        set[i] = true;
    grammar_set(g, set);
}

void grammar_set(struct grammar *g, const bool set[256]) {
    uint8_t bits[32] = {0};
    for (int i = 0; i < 256; i++)
        if (set[i])
            bits[i >> 3] |= (uint8_t)(1 << (i & 7));
    int at = 0;
    while (at < g->n_sets && memcmp(g->sets[at], bits, sizeof(bits)) != 0)
        at++;
    if (at == g->sets_size) {
        int size = g->sets_size ? g->sets_size * 2 : 32;
        void *grown =
            size > GRAMMAR_SETS_MAX ? NULL : realloc(g->sets, (size_t)size * sizeof(bits));
        if (!grown) {
            g->full = true;
            return;
        }
        g->sets = grown;
        g->sets_size = size;
    }
    if (at == g->n_sets)
        memcpy(g->sets[g->n_sets++], bits, sizeof(bits));
    grammar_emit(g, GRAMMAR_SET, (uint32_t)at, 0);
}

/* The jumps behind the ways are chained through their targets until these are known. */
static void close_way(struct grammar *g, struct grammar_alternatives *alt) {
    if (alt->split < 0)
        return;
    alt->jumps = grammar_emit(g, GRAMMAR_JUMP, (uint32_t)alt->jumps, 0);
    grammar_target(g, alt->split, true, g->n);
}

void grammar_or(struct grammar *g, struct grammar_alternatives *alt) {
    close_way(g, alt);
    alt->split = grammar_emit(g, GRAMMAR_SPLIT, 0, 0);
    grammar_target(g, alt->split, false, g->n);
}

void grammar_or_end(struct grammar *g, struct grammar_alternatives *alt) {
    close_way(g, alt);
    grammar_emit(g, GRAMMAR_FAIL, 0, 0);
    for (int at = alt->jumps; at >= 0 && !g->full;) {
        int before = (int)g->code[at].a;
        g->code[at].a = (uint32_t)g->n;
        at = before;
    }
}

int grammar_repeat_begin(struct grammar *g, uint32_t min, uint32_t max) {
    grammar_emit(g, GRAMMAR_BEGIN, 0, 0);
    int begin = grammar_emit(g, GRAMMAR_LOOP, min, max);
    grammar_emit(g, GRAMMAR_EXIT, 0, 0);
    return begin;
}

void grammar_repeat_end(struct grammar *g, int begin) {
    grammar_emit(g, GRAMMAR_AGAIN, (uint32_t)begin, 0);
    grammar_target(g, begin + 1, false, g->n);
}

/* ---- checking ---- */

#define NO_END     255 /* in need: the end cannot be reached */
#define PASSES_MAX 256 /* over the code; a few unless the rules are perverse */

_Static_assert(GRAMMAR_DEPTH < NO_END, "need counts in bytes");

static int max_int(int a, int b) {
    return a > b ? a : b;
}

static int min_int(int a, int b) {
    return a < b ? a : b;
}

/* An instruction's need from those of the instructions that may follow. */
static int need_of(const struct grammar *g, int at) {
    const struct instruction *i = &g->code[at];
    const uint8_t *need = g->need;
    int behind = at + 1 < g->n ? need[at + 1] : NO_END, out;
    switch (i->op) {
    case GRAMMAR_RETURN:
        return 0;
    case GRAMMAR_FAIL:
    case GRAMMAR_EXIT:
        return NO_END;
    case GRAMMAR_JUMP:
        return need[i->a];
    case GRAMMAR_SPLIT:
        return min_int(need[i->a], need[i->b]);
    case GRAMMAR_CALL:
        return g->starts[i->a] < 0 ? NO_END : max_int(need[g->starts[i->a]] + 1, behind);
    case GRAMMAR_BEGIN:
        return max_int(1, behind + 1);
    case GRAMMAR_LOOP: /* its counter is on the stack, and gone behind it */
        out = need[g->code[at + 1].a];
        out = i->a ? NO_END : out == NO_END ? out : max_int(0, out - 1);
        return i->b ? min_int(out, need[at + 2]) : out;
    case GRAMMAR_AGAIN:
        out = need[g->code[i->a + 1].a];
        return out == NO_END ? out : max_int(0, out - 1);
    case GRAMMAR_BYTE:
    case GRAMMAR_SET:
        return behind;
    }
    return NO_END;
}

static enum err find_needs(struct grammar *g) {
    bool more = true;
    memset(g->need, NO_END, (size_t)g->n);
    for (int pass = 0; more; pass++) {
        if (pass == PASSES_MAX)
            return ERR_TOO_LARGE;
        more = false;
        for (int at = g->n; at-- > 0;) {
            int n = need_of(g, at);
            if (n < g->need[at]) {
                g->need[at] = (uint8_t)n;
                more = true;
            }
        }
    }
    return ERR_OK;
}

/* Whether a rule comes to a byte before it calls itself; marks: 1 = under way, 2 = it does. */
static bool starts_well(const struct grammar *g, uint8_t *mark, int rule, int depth) {
    int open[64], n = 0;
    if (mark[rule])
        return mark[rule] == 2;
    if (depth > GRAMMAR_DEPTH)
        return false;
    mark[rule] = 1;
    open[n++] = g->starts[rule];
    for (int moves = 0; n && moves < CLOSURE_MAX; moves++) {
        int at = open[--n];
        const struct instruction *i = &g->code[at];
        if (n > 61 || (i->op == GRAMMAR_CALL && !starts_well(g, mark, (int)i->a, depth + 1)))
            return false;
        if (i->op == GRAMMAR_SPLIT)
            open[n++] = (int)i->b;
        if (i->op == GRAMMAR_JUMP || i->op == GRAMMAR_SPLIT)
            open[n++] = (int)i->a;
        if (i->op == GRAMMAR_BEGIN || i->op == GRAMMAR_LOOP)
            open[n++] = at + (i->op == GRAMMAR_BEGIN ? 1 : 2);
    }
    mark[rule] = 2;
    return n == 0;
}

enum err grammar_finish(struct grammar *g, int *ret_rule) {
    uint8_t *mark = calloc((size_t)g->n_rules + 1, 1);
    g->need = malloc((size_t)g->n + 1);
    enum err e = !mark || !g->need ? ERR_NOMEM : g->full || g->n == 0 ? ERR_TOO_LARGE : ERR_OK;
    e = e ? e : find_needs(g);
    /* Rules are numbered from the outside in: the innermost with a fault is named. */
    for (int r = g->n_rules; !e && r-- > 0;)
        if (g->need[g->starts[r]] == NO_END || !starts_well(g, mark, r, 0)) {
            *ret_rule = r;
            e = ERR_INVALID;
        }
    free(mark);
    if (!e && g->need[g->starts[0]] > GRAMMAR_DEPTH)
        e = ERR_TOO_LARGE;
    return e;
}

/* ---- walking ---- */

struct thread { /* stands before an instruction that takes a byte, or at the end */
    int pc;     /* -1 = the end */
    int depth;
    uint32_t stack[GRAMMAR_DEPTH]; /* return places and counters */
};

struct threads {
    int n;
    struct thread t[GRAMMAR_THREADS];
};

struct grammar_state {
    const struct grammar *g;
    int moves;     /* left for this byte */
    uint64_t work; /* moves and ways looked at, ever */
    struct threads now, next, other;
};

static bool same(const struct thread *a, const struct thread *b) {
    return a->pc == b->pc && a->depth == b->depth &&
           memcmp(a->stack, b->stack, (size_t)a->depth * sizeof(*a->stack)) == 0;
}

static void copy(struct thread *to, const struct thread *from) {
    to->pc = from->pc;
    to->depth = from->depth;
    memcpy(to->stack, from->stack, (size_t)from->depth * sizeof(*from->stack));
}

static void park(struct threads *to, const struct thread *t) {
    for (int i = 0; i < to->n; i++)
        if (same(&to->t[i], t))
            return;
    if (to->n < GRAMMAR_THREADS)
        copy(&to->t[to->n++], t);
}

/* Follows t to all instructions that take a byte. Where it forks, the first way is followed by
 * recursion on a copy. t is used up. */
static void follow(struct grammar_state *s, struct threads *to, struct thread *t, int forks) {
    while (s->moves-- > 0) {
        const struct instruction *i = &s->g->code[t->pc];
        struct thread fork;
        int second = -1;
        if (t->depth + s->g->need[t->pc] > GRAMMAR_DEPTH)
            return; /* its end would be out of reach */
        switch (i->op) {
        case GRAMMAR_BYTE:
        case GRAMMAR_SET:
            park(to, t);
            return;
        case GRAMMAR_FAIL:
        case GRAMMAR_EXIT:
            return;
        case GRAMMAR_JUMP:
            t->pc = (int)i->a;
            continue;
        case GRAMMAR_CALL:
            t->stack[t->depth++] = (uint32_t)t->pc + 1;
            t->pc = s->g->starts[i->a];
            continue;
        case GRAMMAR_RETURN:
            t->pc = t->depth ? (int)t->stack[--t->depth] : -1;
            if (t->pc < 0) {
                park(to, t);
                return;
            }
            continue;
        case GRAMMAR_BEGIN:
            t->stack[t->depth++] = 0;
            t->pc++;
            continue;
        case GRAMMAR_AGAIN:
            t->pc = (int)i->a;
            continue;
        case GRAMMAR_SPLIT:
            second = (int)i->b;
            break;
        case GRAMMAR_LOOP:
            if (t->stack[t->depth - 1] < i->a) { /* the body must come once more */
                t->stack[t->depth - 1]++;
                t->pc += 2;
                continue;
            }
            if (t->stack[t->depth - 1] >= i->b) {
                t->depth--;
                t->pc = (int)s->g->code[t->pc + 1].a;
                continue;
            }
            break;
        }
        if (forks == 0)
            return;
        copy(&fork, t);
        if (i->op == GRAMMAR_SPLIT) {
            fork.pc = (int)i->a;
        } else { /* once more or on; without an upper bound there is nothing more to count */
            if (i->b != GRAMMAR_MANY)
                fork.stack[fork.depth - 1]++;
            fork.pc += 2;
            second = (int)s->g->code[t->pc + 1].a;
            t->depth--;
        }
        follow(s, to, &fork, forks - 1);
        t->pc = second;
    }
}

static bool takes(const struct grammar *g, const struct thread *t, unsigned char byte) {
    if (t->pc < 0)
        return false;
    const struct instruction *i = &g->code[t->pc];
    return i->op == GRAMMAR_BYTE ? i->a == byte : (g->sets[i->a][byte >> 3] >> (byte & 7) & 1) != 0;
}

static void step(struct grammar_state *s, const struct threads *from, struct threads *to,
                 unsigned char byte) {
    struct thread t;
    to->n = 0;
    s->work += (uint64_t)from->n;
    s->moves = CLOSURE_MAX;
    for (int i = 0; i < from->n; i++) {
        if (!takes(s->g, &from->t[i], byte))
            continue;
        copy(&t, &from->t[i]);
        t.pc++;
        follow(s, to, &t, GRAMMAR_THREADS);
    }
    s->work += (uint64_t)(CLOSURE_MAX - s->moves);
}

uint64_t grammar_work(const struct grammar_state *s) {
    return s->work;
}

struct grammar_state *grammar_state_new(const struct grammar *g) {
    struct grammar_state *s = malloc(sizeof(*s));
    if (!s)
        return NULL;
    struct thread t;
    s->g = g;
    s->work = 0;
    s->now.n = s->next.n = s->other.n = 0;
    s->moves = CLOSURE_MAX;
    t.pc = g->starts[0];
    t.depth = 0;
    follow(s, &s->now, &t, GRAMMAR_THREADS);
    return s;
}

void grammar_state_free(struct grammar_state *s) {
    free(s);
}

/* The threads after these bytes: next or other; NULL when there are none. */
static const struct threads *walk(struct grammar_state *s, struct str bytes) {
    const struct threads *from = &s->now;
    for (size_t i = 0; i < bytes.n; i++) {
        struct threads *to = from == &s->next ? &s->other : &s->next;
        step(s, from, to, (unsigned char)bytes.p[i]);
        if (to->n == 0)
            return NULL;
        from = to;
    }
    return from;
}

bool grammar_allows(struct grammar_state *s, struct str bytes) {
    return walk(s, bytes) != NULL;
}

bool grammar_advance(struct grammar_state *s, struct str bytes) {
    const struct threads *after = walk(s, bytes);
    if (!after)
        return false;
    if (after != &s->now) {
        s->now.n = after->n;
        for (int i = 0; i < after->n; i++)
            copy(&s->now.t[i], &after->t[i]);
    }
    return true;
}

bool grammar_may_end(const struct grammar_state *s) {
    for (int i = 0; i < s->now.n; i++)
        if (s->now.t[i].pc < 0)
            return true;
    return false;
}

bool grammar_must_end(const struct grammar_state *s) {
    for (int i = 0; i < s->now.n; i++)
        if (s->now.t[i].pc >= 0)
            return false;
    return true;
}
