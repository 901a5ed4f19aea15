/* What an answer may look like, byte by byte: rules that a small machine walks along with the
 * answer.
 *
 * A grammar is code of a machine with a stack (Thompson, "Regular expression search algorithm",
 * CACM 1968, with calls: each thread has a stack of return addresses and counters). All ways that
 * are open stand side by side as threads of a state; a byte moves each or ends it. So a state knows
 * whether a byte may come next and whether the text may end, without looking back.
 *
 * Bounds: GRAMMAR_CODE_MAX instructions, GRAMMAR_DEPTH entries of a stack, GRAMMAR_THREADS ways at
 * a time. A way that would pass the last two is closed: what is allowed stays right, and some of it
 * (objects nested deeper than about 60, say) is not offered.
 *
 * A grammar does not change after it was made and may be read by several threads. A state has one
 * owner. Makers: json_schema.h. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

#define GRAMMAR_CODE_MAX  65536
#define GRAMMAR_SETS_MAX  512
#define GRAMMAR_RULES_MAX 4096
#define GRAMMAR_DEPTH     128
#define GRAMMAR_THREADS   128
#define GRAMMAR_MANY      UINT32_MAX /* of repeats: without end */

struct grammar;
void grammar_free(struct grammar *g); /* NULL is fine */

/* ---- walking ---- */

struct grammar_state;
/* At the beginning of rule 0; NULL = no memory. The grammar must outlive it. */
struct grammar_state *grammar_state_new(const struct grammar *g);
void grammar_state_free(struct grammar_state *s);
/* Whether these bytes may come next. Changes nothing that is seen. */
bool grammar_allows(struct grammar_state *s, struct str bytes);
/* Goes on by bytes; false when they are not allowed, and then the state stays where it was. */
bool grammar_advance(struct grammar_state *s, struct str bytes);
uint64_t
grammar_work(const struct grammar_state *s); /* what it has cost so far: ways times bytes */
bool grammar_may_end(const struct grammar_state *s);
bool grammar_must_end(const struct grammar_state *s); /* nothing can come any more */

/* ---- making ---- */

enum grammar_op {
    GRAMMAR_BYTE,   /* a: the byte */
    GRAMMAR_SET,    /* a: a set of bytes */
    GRAMMAR_JUMP,   /* to a */
    GRAMMAR_SPLIT,  /* to a and to b */
    GRAMMAR_CALL,   /* rule a, then on */
    GRAMMAR_RETURN, /* the rule's end */
    GRAMMAR_BEGIN,  /* a counter; the loop follows: */
    GRAMMAR_LOOP,   /* its body follows at least a, at most b times; GRAMMAR_EXIT tells what comes
                       then */
    GRAMMAR_EXIT,   /* stands behind LOOP: to a */
    GRAMMAR_AGAIN,  /* the body's end: back to LOOP at a */
    GRAMMAR_FAIL,   /* no way */
};

struct grammar *grammar_new(void); /* NULL = no memory */
/* The next rule's number; its code is what is emitted between grammar_rule_begin() and
 * grammar_rule_end(). Rules may be called before they have code. Running out of room is remembered:
 * see grammar_finish(). */
int grammar_rule_new(struct grammar *g);
void grammar_rule_begin(struct grammar *g, int rule);
void grammar_rule_end(struct grammar *g);
int grammar_emit(struct grammar *g, enum grammar_op op, uint32_t a, uint32_t b); /* its place */
int grammar_here(const struct grammar *g); /* the next place */
/* Sets a (or b) of what was emitted at a place, once the place to go to is known. */
void grammar_target(struct grammar *g, int at, bool second, int to);
void grammar_text(struct grammar *g, struct str bytes);
void grammar_range(struct grammar *g, unsigned char from, unsigned char to); /* one byte of these */
void grammar_set(struct grammar *g, const bool set[256]);

struct grammar_alternatives { /* grammar_or() before each way, grammar_or_end() behind the last */
    int split, jumps;
};
#define GRAMMAR_ALTERNATIVES_INIT                                                                  \
    { -1, -1 }
void grammar_or(struct grammar *g, struct grammar_alternatives *alt);
void grammar_or_end(struct grammar *g, struct grammar_alternatives *alt);

/* Between the two: a body that comes min to max times. Bodies must not be empty. */
int grammar_repeat_begin(struct grammar *g, uint32_t min, uint32_t max);
void grammar_repeat_end(struct grammar *g, int begin);

/* Checks the whole: ERR_TOO_LARGE when it did not fit, ERR_INVALID with the rule's number in
 * *ret_rule when a rule has no end (no text meets it) or calls itself before its first byte. */
enum err grammar_finish(struct grammar *g, int *ret_rule) ERR_CHECK;
