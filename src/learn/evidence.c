/* See evidence.h. */
#include "learn/evidence.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define ROUNDS       8
#define TRUST_RIGHT  4.0 /* the prior of a person: 4 of 5 judgements are like the others' */
#define TRUST_WRONG  1.0
#define TRUST_NORMAL 0.8 /* that much agreement is full reliability */
#define THING_PRIOR  1.0 /* of what the others say, before anybody has spoken */

static const struct {
    const char *name;
    struct worth worth;
} signals_table[IMPLICIT_KINDS] = {
    [IMPLICIT_COPIED] = {"copied", {0.9, 0.3}},
    [IMPLICIT_REGENERATED] = {"regenerated", {0.2, 0.3}},
    [IMPLICIT_EDITED] = {"edited", {0.3, 0.2}},
    [IMPLICIT_STOPPED] = {"stopped", {0.3, 0.2}},
};

const char *implicit_kind_name(enum implicit_kind k) {
    return signals_table[k].name;
}

int implicit_kind_from_name(const char *name, size_t n) {
    for (int i = 0; i < IMPLICIT_KINDS; i++)
        if (strlen(signals_table[i].name) == n && memcmp(signals_table[i].name, name, n) == 0)
            return i;
    return -1;
}

struct worth evidence_worth(int rating, unsigned signals) {
    static const struct worth ratings[] = {{1, 1}, {0, 1}, {0.5, 0.5}};
    if (rating >= 0 && rating < 3)
        return ratings[rating];
    struct worth out = {0};
    for (int i = 0; i < IMPLICIT_KINDS; i++) {
        if (!(signals & (1u << i)))
            continue;
        struct worth w = signals_table[i].worth;
        out.value += w.value * w.weight;
        out.weight += w.weight;
    }
    if (out.weight > 0)
        out.value /= out.weight;
    out.weight = fmin(out.weight, 0.5); /* signals never outweigh a rating */
    return out;
}

/* ---- bursts and newcomers ---- */

static int by_person_and_time(const void *a, const void *b) {
    const struct judgement *x = *(struct judgement *const *)a, *y = *(struct judgement *const *)b;
    if (x->person != y->person)
        return x->person < y->person ? -1 : 1;
    if (x->at != y->at)
        return x->at < y->at ? -1 : 1;
    return x->rating != y->rating ? (x->rating < y->rating ? -1 : 1) : (x < y ? -1 : x > y);
}

/* A window that slides over one person's ratings: each is damped by how full the window is that it
 * is in the middle of. nth: space for n. */
static void weigh_person(struct judgement **j, size_t n, struct person *p, size_t *nth) {
    size_t from = 0, to = 0;
    for (size_t i = 0; i < n;
         i++) /* the judgements of one rating have its time, and are together */
        nth[i] = i ? nth[i - 1] + (j[i]->rating != j[i - 1]->rating) : 0;
    for (size_t i = 0; i < n; i++) {
        while (j[i]->at - j[from]->at > EVIDENCE_BURST_MS / 2)
            from++;
        while (to < n && j[to]->at - j[i]->at <= EVIDENCE_BURST_MS / 2)
            to++;
        double crowd = (double)(nth[to - 1] - nth[from] + 1), seen = (double)(p->earlier + nth[i]);
        double standing =
            p->flagged ? 0 : fmin(1, EVIDENCE_NEW + (1 - EVIDENCE_NEW) * seen / EVIDENCE_SETTLED);
        j[i]->worth.weight *= standing * (crowd > EVIDENCE_BURST ? EVIDENCE_BURST / crowd : 1);
    }
    p->given = n ? nth[n - 1] + 1 : 0;
}

/* ---- reliability ---- */

/* What the others say of a thing, without this judgement. */
static double others(const double *sum, const double *weight, const struct judgement *j,
                     const struct person *people, double prior) {
    double mine = j->worth.weight * people[j->person].reliability;
    double w = weight[j->thing] - mine, s = sum[j->thing] - mine * j->worth.value;
    return (s + THING_PRIOR * prior) / (w + THING_PRIOR);
}

static void reliability(const struct judgement *j, size_t n, struct person *people, size_t n_people,
                        double *sum, double *weight, size_t n_things, double *right,
                        double *wrong) {
    double all = 0, all_w = 0;
    for (size_t i = 0; i < n; i++) {
        all += j[i].worth.weight * j[i].worth.value;
        all_w += j[i].worth.weight;
    }
    double prior = all_w > 0 ? all / all_w : 0.5;
    for (int round = 0; round < ROUNDS; round++) {
        memset(sum, 0, n_things * sizeof *sum);
        memset(weight, 0, n_things * sizeof *weight);
        for (size_t i = 0; i < n; i++) {
            double w = j[i].worth.weight * people[j[i].person].reliability;
            sum[j[i].thing] += w * j[i].worth.value;
            weight[j[i].thing] += w;
        }
        for (size_t p = 0; p < n_people; p++) {
            right[p] = TRUST_RIGHT;
            wrong[p] = TRUST_WRONG;
        }
        for (size_t i = 0; i < n; i++) {
            if (j[i].worth.weight <= 0)
                continue;
            double they = others(sum, weight, &j[i], people, prior);
            double sure = fabs(2 * they - 1); /* what is open proves nothing about anybody */
            double alike = j[i].worth.value * they + (1 - j[i].worth.value) * (1 - they);
            double chance = prior * j[i].worth.value + (1 - prior) * (1 - j[i].worth.value);
            double gain = alike - chance; /* agreeing with what most things are is no merit */
            if (gain >= 0)
                right[j[i].person] += sure * gain;
            else
                wrong[j[i].person] += sure * -gain;
        }
        for (size_t p = 0; p < n_people; p++) {
            double share = right[p] / (right[p] + wrong[p]);
            double r = (2 * share - 1) / (2 * TRUST_NORMAL - 1);
            people[p].reliability = r < 0 ? 0 : r > 1 ? 1 : r;
        }
    }
}

enum err evidence_weigh(struct judgement *j, size_t n, struct person *people, size_t n_people,
                        size_t n_things) {
    for (size_t i = 0; i < n; i++)
        if (j[i].person >= n_people || j[i].thing >= n_things)
            return ERR_INVALID;
    struct judgement **order = calloc(n + 1, sizeof *order);
    double *space = calloc(2 * n_things + 2 * n_people + 1, sizeof *space);
    size_t *nth = calloc(n + 1, sizeof *nth);
    if (!order || !space || !nth) {
        free(order);
        free(space);
        free(nth);
        return ERR_NOMEM;
    }
    for (size_t i = 0; i < n; i++)
        order[i] = &j[i];
    for (size_t p = 0; p < n_people; p++) {
        people[p].reliability = 1;
        people[p].given = 0;
    }
    qsort(order, n, sizeof *order, by_person_and_time);
    for (size_t i = 0, k; i < n; i = k) {
        for (k = i; k < n && order[k]->person == order[i]->person; k++)
            ;
        weigh_person(order + i, k - i, &people[order[i]->person], nth);
    }
    reliability(j, n, people, n_people, space, space + n_things, n_things, space + 2 * n_things,
                space + 2 * n_things + n_people);
    for (size_t i = 0; i < n; i++)
        j[i].worth.weight *= people[j[i].person].reliability;
    free(order);
    free(space);
    free(nth);
    return ERR_OK;
}
