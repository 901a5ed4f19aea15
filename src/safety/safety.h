/* The guard's words, shared by all of its parts: categories, actions, verdicts, and the interface
 * through which a classifier scores a text. guard.h judges with them; policy.h decides what a score
 * means. Nothing here logs, and no text of a person is kept in a verdict: only offsets, scores and
 * identifiers of rules. */
#pragma once

#include "base/str.h"

/* The names are those of the API, the policy files and the corpus ("self_harm", …). */
/* clang-format off */
#define SAFETY_CATEGORY_TABLE(X)                \
    X(SAFETY_HATE,             "hate")          \
    X(SAFETY_HARASSMENT,       "harassment")    \
    X(SAFETY_VIOLENCE,         "violence")      \
    X(SAFETY_SELF_HARM,        "self_harm")     \
    X(SAFETY_SEXUAL,           "sexual")        \
    X(SAFETY_SEXUAL_MINORS,    "sexual_minors") \
    X(SAFETY_ILLICIT,          "illicit")       \
    X(SAFETY_PRIVACY,          "privacy")       \
    X(SAFETY_PROMPT_INJECTION, "prompt_injection") \
    X(SAFETY_JAILBREAK,        "jailbreak")
/* clang-format on */

enum safety_category {
#define X(id, name) id,
    SAFETY_CATEGORY_TABLE(X)
#undef X
        SAFETY_CATEGORIES
};
const char *safety_category_name(enum safety_category c);
int safety_category_from_name(struct str s); /* -1 = none */

/* In the order of strength: of two findings the stronger one leads.
 *   annotate  recorded, nothing else    redact  the span is replaced
 *   warn      goes through, and the reader is told    block  does not go through */
enum safety_action {
    SAFETY_ALLOW,
    SAFETY_ANNOTATE,
    SAFETY_REDACT,
    SAFETY_WARN,
    SAFETY_BLOCK,
    SAFETY_ACTIONS
};
const char *safety_action_name(enum safety_action a);
int safety_action_from_name(struct str s); /* -1 = none */

enum safety_direction {
    SAFETY_INPUT,  /* what a person sends */
    SAFETY_OUTPUT, /* what a model writes */
    SAFETY_PASSAGE /* documents and web pages on their way into a prompt */
};
const char *safety_direction_name(enum safety_direction d); /* "input", "output", "passage" */

/* One reason of a verdict. */
struct safety_finding {
    enum safety_category category;
    enum safety_action action;
    float score;     /* 0 to 1, calibrated where a model gave it */
    size_t from, to; /* bytes of the judged (original) text; both 0 = the whole */
    char source[64]; /* "rule:<id>", "pii:<detector>", "model:<name>", "guard:<model>",
                         "fallback:<why>" (guard_ask.h), "canary" */
};

#define SAFETY_FINDINGS_MAX 24 /* the strongest are kept */

struct safety_verdict {
    enum safety_action action;     /* of the leading finding */
    enum safety_category category; /* the same; meaningless while action is ALLOW */
    float scores[SAFETY_CATEGORIES];
    struct safety_finding findings[SAFETY_FINDINGS_MAX]; /* the leading one first */
    size_t n;
    int policy_version;
    bool uncertain; /* a score lies in the band in which a guard model is to be asked */
    bool degraded;  /* a part of the cascade was missing (damaged, slow, dead) */
};

/* What a classifier is given. Strings are borrowed for the call. */
struct safety_text {
    struct str text;    /* as it was written; valid UTF-8, at most SAFETY_TEXT_MAX bytes */
    struct str folded;  /* the same after normalise.h: lower case, disguises undone */
    struct str context; /* the turns before it, newest last, as written; may be empty */
    enum safety_direction direction;
    const float
        *embedding; /* of `text`: a row as safety_scorer_rows() makes it; NULL = none was had */
};
#define SAFETY_TEXT_MAX ((size_t)32 << 10) /* longer texts are scored in overlapping pieces */

/* A classifier. score() fills the calibrated probability of each category, is thread-safe, does not
 * block and allocates nothing. Implemented in classifier.h. */
struct safety_scorer {
    const char *name;      /* "parley-guard-6"; stands in findings */
    const char *digest;    /* tells it from others of that name; NULL = the name does */
    size_t embedding_dims; /* 0 = it does without; else it works without one, but less well */
    size_t layer_numbers;  /* that it reads beside an embedding, where they are had; 0 = none */
    const char *embedding_model; /* what an embedding must be from: a part of the model's name */
    void (*score)(const void *ctx, const struct safety_text *t, float ret[SAFETY_CATEGORIES]);
    /* As many texts with as many rows of scores, cheaper than one by one; a text that begins with
     * the one before it (the same bytes, and a line's end) costs its rest. NULL: one by one. */
    void (*score_all)(const void *ctx, const struct safety_text *t, size_t n,
                      float (*ret)[SAFETY_CATEGORIES]);
    /* For a text that grows: flow_size bytes of plain data, all zeros in the beginning; 0 = such
     * texts are scored again as a whole. No score is of more than what was added. */
    size_t flow_size;
    void (*flow_add)(const void *ctx, void *flow, struct str text);
    void (*flow_score)(const void *ctx, const void *flow, enum safety_direction direction,
                       float ret[SAFETY_CATEGORIES]);
    const void *ctx;
};

/* Whether a model of that name makes the embeddings that s reads. s may be NULL. */
bool safety_scorer_reads(const struct safety_scorer *s, struct str model, size_t dims);

/* Rows of safety_scorer_row() numbers, as score() reads them: of each text the embedding, then what
 * the layers beneath say (layer_numbers for each text; NULL, or of another size: none were had, and
 * zeros stand there). */
size_t safety_scorer_row(const struct safety_scorer *s);
void safety_scorer_rows(const struct safety_scorer *s, size_t n, const float *embeddings,
                        const float *layers, size_t layer_numbers, float *ret);
