/* From ratings and what people do to evidence with weights: how much one person's word counts.
 *
 *   rating          value  weight         signal            value  weight
 *   thumbs_up       1      1              copied            0.9    0.3
 *   neutral         0.5    0.5            regenerated       0.2    0.3
 *   thumbs_down     0      1              edited, asked again  0.3  0.2
 *                                         stopped           0.3    0.2
 *
 * A rating stands before every signal of the same turn. The weight is multiplied by
 *   - the person's standing: 0 when an administrator flagged them, EVIDENCE_NEW (rising to 1 over
 *     the first EVIDENCE_SETTLED ratings) while they are new;
 *   - damping of bursts: more than EVIDENCE_BURST ratings within EVIDENCE_BURST_MS share the weight
 *     of EVIDENCE_BURST;
 *   - reliability: how often they agree with the others where several judged the same thing
 *     (the one-coin model of Dawid and Skene, 1979, by alternating estimates).
 * Pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define EVIDENCE_NEW      0.4
#define EVIDENCE_SETTLED  5
#define EVIDENCE_BURST    10
#define EVIDENCE_BURST_MS 600000

enum implicit_kind {
    IMPLICIT_COPIED,
    IMPLICIT_REGENERATED,
    IMPLICIT_EDITED,
    IMPLICIT_STOPPED,
    IMPLICIT_KINDS
};
const char *
implicit_kind_name(enum implicit_kind k); /* "copied", "regenerated", "edited", "stopped" */
int implicit_kind_from_name(const char *name, size_t n); /* -1 = none */

struct worth {
    double value;  /* 0 to 1 */
    double weight; /* 0 = says nothing */
};
/* rating: enum rating's value or -1 for none; signals: bits 1 << enum implicit_kind. */
struct worth evidence_worth(int rating, unsigned signals);

/* One person's judgement of one thing. thing and person are small numbers that the caller gives
 * (0 … n_things - 1, 0 … n_people - 1). */
struct judgement {
    size_t person, thing;
    int64_t at;         /* Unix milliseconds */
    struct worth worth; /* in: of the rating alone; out of evidence_weigh(): with all weights */
    size_t rating;      /* a number that the judgements of one rating share, and no others */
};
struct person {
    bool flagged;
    size_t earlier;     /* ratings before these */
    double reliability; /* out: 0 (as good as against the others) to 1 */
    size_t given;       /* out: ratings */
};

/* Weighs the judgements in place. ERR_NOMEM, ERR_INVALID for a number out of range. */
enum err evidence_weigh(struct judgement *j, size_t n, struct person *people, size_t n_people,
                        size_t n_things) ERR_CHECK;
