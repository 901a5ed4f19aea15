/* What people complain about, put together into themes: leader clustering (Hartigan, 1975) over the
 * embeddings of what they wrote (or asked, where they wrote nothing) and the words they share. Each
 * theme has the words that set it apart, its examples, and what to do by the reasons that were
 * given. Pure. */
#pragma once

#include "base/arena.h"
#include "base/str.h"

#define COMPLAINTS_MAX     1000
#define COMPLAINT_EXAMPLES 5
#define COMPLAINT_WORDS    5

struct complaint {
    struct str text;     /* the comment, else the question */
    struct str reasons;  /* JSON list */
    const float *vector; /* of length 1; NULL = not known */
};
struct theme {
    size_t n;
    size_t examples[COMPLAINT_EXAMPLES]; /* into the list; nearest to the middle first */
    size_t n_examples;
    struct str words;   /* arena: "price, refund, invoice" */
    const char *advice; /* static: what to do */
};
/* Largest first; ones of a single complaint come last. ERR_NOMEM; ERR_INVALID past the cap. */
enum err complaints_cluster(const struct complaint *c, size_t n, size_t dims, struct arena *a,
                            struct theme **ret, size_t *ret_n) ERR_CHECK;
