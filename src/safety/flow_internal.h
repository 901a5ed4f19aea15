/* Between flow.c (what was found, and what is safe) and flow_read.c (what the bytes say). */
#pragma once

#include "safety/flow.h"
#include "safety/guard_internal.h"

#define NOWHERE       SIZE_MAX
#define FLOW_WORD_MAX 48 /* bytes of a word that are kept: more than the rules look at */
#define FLOW_RING     8

struct span {
    size_t from, to;
};

/* Personal data that may be coming: some words, from the first one with a digit, an "@" … on. */
struct candidate {
    size_t from;      /* NOWHERE: none */
    size_t end;       /* of its last word so far */
    size_t word_from; /* of the word that is coming; word_n == 0: none is */
    size_t word_n;
    size_t digits;
    unsigned char dashes;
    bool in_word;         /* that word belongs to it */
    bool letters;         /* it has not only digits */
    bool key, key_ending; /* it is a private key's block; its last line */
};

struct safety_flow {
    struct safety *safety;
    struct policy *policy;
    const struct policy_role *role;
    const struct safety_scorer *scorer; /* NULL: none */
    enum safety_direction direction;
    char canary[SAFETY_CANARY_SIZE];
    bool placeholders;
    bool pii, pii_held, numbers_held, words_held; /* what of personal data the policy cares about */

    struct buf raw;            /* the end of the text */
    size_t base;               /* where in the text raw begins */
    size_t safe, taken, known; /* known: where what is judged here began */

    /* reading */
    char ring[FLOW_RING]; /* the last folded bytes, the newest last */
    char word[FLOW_WORD_MAX];
    size_t word_n, word_from, word_to; /* word_n: as long as it is, also past FLOW_WORD_MAX */
    bool apostrophe, stop, new_sentence;
    bool line; /* blanks since a line's end */
    size_t sentence_from;
    struct buf folded; /* of the piece that is being added */
    bool differs;      /* folded from what was added, to the classifier */

    /* disguise */
    bool dirty;
    size_t dirty_from, clean_at, leet_until;
    size_t window_at;                          /* what was found further back, no window holds */
    bool letter, mark, sign;                   /* of the word: what of leetspeak it has */
    size_t run_from, run_n;                    /* of base64's letters */
    size_t latin_from, latin_n;                /* of ASCII letters: a word as ROT13 has it */
    size_t turned_from, turned_n, turned_hits; /* words in a row that are no English */
    int turned_before;                         /* of the last one (decode_is_turned) */
    bool reversed;                             /* the line is shown in another order */
    size_t override_at, overrides;             /* RLO, and how many are open from it on */

    struct candidate pii_now;
    size_t pii_done; /* up to where hits were told */
    struct buf cuts; /* struct safety_span, in order: what is redacted and was not taken yet */

    /* rules */
    struct words_live live;
    uint16_t node;
    size_t literal;       /* bytes at the end that may become a fixed string */
    unsigned char *rules; /* bits below */
    struct span *spans;
    bool hold_word, hold_model;
    size_t hold_from; /* of hold_word */

    /* the classifier: what it has summed up, now and at the end of the last whole word */
    char *sums[2], *sums_then[2]; /* as written; folded, when it differs */
    bool split, split_then;
    float scores[SAFETY_CATEGORIES]; /* of sums, while … */
    bool scored;                     /* … nothing was added since */
    size_t segment_from, word_end;   /* in the text */

    struct bench *b; /* while text is added */
    enum err error;
};
enum {
    RULE_TOLD = 1,
    RULE_EXCEPTED = 2,
    RULE_HIT = 4,
    RULE_WAS_EXCEPTED = 8 /* before the open word was tried */
};

/* ---- flow_read.c ---- */
void flow_read(struct safety_flow *f, struct str text); /* it stands at the end of raw already */
/* The open word, tried or ended. */
void flow_read_end(struct safety_flow *f, enum text_then then);
/* Something that normalising may undo, no further back than `from`. */
void flow_set_dirty(struct safety_flow *f, size_t from);
/* The candidate has ended, or goes on and is as long as may be held. */
enum candidate_state { CANDIDATE_OPEN, CANDIDATE_OVER, CANDIDATE_LONG };
enum candidate_state flow_candidate_state(const struct safety_flow *f, bool last);

/* ---- flow.c ---- */
void flow_hit(void *ctx, uint32_t id, size_t from, size_t to);       /* of a whole word */
void flow_trial_hit(void *ctx, uint32_t id, size_t from, size_t to); /* of an unfinished one */
