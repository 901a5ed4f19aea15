#include "engine/fairness.h"

#include <stdlib.h>

#define USERS 1024 /* remembered; the one idle for longest gives way */

struct account {
    uint64_t user;
    double served;
    int live; /* requests waiting or running */
    int64_t used;
    int64_t counted; /* the count that n_counted is of */
    int n_counted;
};

struct fairness {
    struct account accounts[USERS];
    int n;
    int64_t tick;
    int64_t count; /* how often counting began anew */
    double floor;  /* where those start who come when nobody is active */
};

struct fairness *fairness_new(void) {
    return calloc(1, sizeof(struct fairness));
}

void fairness_free(struct fairness *f) {
    free(f);
}

static struct account *find(struct fairness *f, uint64_t user) {
    for (int i = 0; i < f->n; i++)
        if (f->accounts[i].user == user)
            return &f->accounts[i];
    return NULL;
}

static double least_active(const struct fairness *f) {
    double least = -1;
    for (int i = 0; i < f->n; i++)
        if (f->accounts[i].live > 0 && (least < 0 || f->accounts[i].served < least))
            least = f->accounts[i].served;
    return least < 0 ? f->floor : least;
}

struct account *fairness_join(struct fairness *f, uint64_t user) {
    struct account *a = find(f, user);
    double least = least_active(f);
    if (!a && f->n < USERS) {
        a = &f->accounts[f->n++];
        *a = (struct account){.user = user};
    }
    for (int i = 0; !a && i < USERS; i++)
        if (f->accounts[i].live == 0 && (!a || f->accounts[i].used < a->used))
            a = &f->accounts[i];
    if (!a)
        return NULL; /* more active users than are counted: this one waits its turn by arrival */
    if (a->user != user)
        *a = (struct account){.user = user};
    if (a->live++ == 0 && a->served < least)
        a->served = least;
    a->used = ++f->tick;
    return a;
}

void fairness_leave(struct fairness *f, struct account *a) {
    if (!a || --a->live > 0)
        return;
    for (int i = 0; i < f->n; i++)
        if (f->accounts[i].live > 0)
            return;
    /* Nobody waits any more, so nobody is owed anything: all begin anew at the same level. */
    for (int i = 0; i < f->n; i++)
        if (f->accounts[i].served > f->floor)
            f->floor = f->accounts[i].served;
}

void fairness_charge(struct account *a, double tokens) {
    if (a)
        a->served += tokens;
}

double fairness_served(const struct fairness *f, const struct account *a) {
    return a ? a->served : least_active(f);
}

void fairness_count_anew(struct fairness *f) {
    f->count++;
}

int fairness_count(struct fairness *f, struct account *a) {
    if (!a)
        return 0;
    if (a->counted != f->count) {
        a->counted = f->count;
        a->n_counted = 0;
    }
    return a->n_counted++;
}
