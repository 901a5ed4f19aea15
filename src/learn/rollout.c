/* See rollout.h. */
#include "learn/rollout.h"

#include <string.h>

static const struct {
    const char *name;
    double share;
} states[] = {
    [ROLLOUT_REFUSED] = {"refused", 0},   [ROLLOUT_TRIAL] = {"trial", 0.1},
    [ROLLOUT_HALF] = {"half", 0.5},       [ROLLOUT_ALL] = {"all", 1},
    [ROLLOUT_REPLACED] = {"replaced", 0}, [ROLLOUT_BACK] = {"rolled_back", 0},
};

const char *rollout_name(enum rollout r) {
    return states[r].name;
}

int rollout_from_name(const char *name, size_t n) {
    for (int i = 0; i <= ROLLOUT_BACK; i++)
        if (strlen(states[i].name) == n && memcmp(states[i].name, name, n) == 0)
            return i;
    return -1;
}

double rollout_share(enum rollout r) {
    return states[r].share;
}

static double rated(const struct bandit_arm *a) {
    return a->good + a->bad;
}

static const char *reason(enum arm_stop stop) {
    return stop == ARM_STOPPED_DISLIKED ? "worse rated" : arm_stop_name(stop);
}

static enum err with_all(const struct rollout_seen *s, struct rollout_step *ret) {
    const struct bandit_arm *a = &s->sides[1], *b = &s->sides[0];
    struct interval now = interval_of_share(a->good, rated(a)),
                    before = interval_of_share(b->good, rated(b));
    enum arm_stop stop = b->turns > 0 ? bandit_guard(s->sides, 2, 1) : ARM_RUNNING;
    ret->difference = (struct interval){now.mean - before.mean, now.low - before.mean,
                                        now.high - before.mean, now.n};
    ret->difference_dr = ret->difference.mean;
    if (stop != ARM_RUNNING) {
        ret->to = ROLLOUT_BACK;
        ret->why = reason(stop);
    } else if (rated(b) > 0 && rated(a) >= ROLLOUT_RATED_MIN &&
               now.high < before.mean - ROLLOUT_DROP) {
        ret->to = ROLLOUT_BACK;
        ret->why = "worse rated";
    }
    return ERR_OK;
}

enum err rollout_decide(enum rollout now, const struct rollout_seen *s, struct rollout_step *ret) {
    *ret = (struct rollout_step){.to = now, .why = "too few ratings yet"};
    if (now != ROLLOUT_TRIAL && now != ROLLOUT_HALF && now != ROLLOUT_ALL)
        return ERR_INVALID;
    if (now == ROLLOUT_ALL)
        return with_all(s, ret);
    enum arm_stop stop = bandit_guard(s->sides, 2, 1);
    if (stop != ARM_RUNNING) {
        ret->to = ROLLOUT_BACK;
        ret->why = reason(stop);
        return ERR_OK;
    }
    const double with[] = {0, 1}, without[] = {1, 0};
    struct estimate e;
    enum err err = estimate_difference(s->ratings, s->n, with, without, 2, &e);
    if (err)
        return err;
    ret->difference = e.snips;
    ret->difference_dr = e.dr.mean;
    if (rated(&s->sides[0]) < ROLLOUT_RATED_MIN || rated(&s->sides[1]) < ROLLOUT_RATED_MIN)
        return ERR_OK;
    if (e.snips.high < 0) {
        ret->to = ROLLOUT_BACK;
        ret->why = "worse rated";
    } else if (e.snips.mean >= 0 || e.snips.low > -ROLLOUT_DROP) {
        ret->to = now == ROLLOUT_TRIAL ? ROLLOUT_HALF : ROLLOUT_ALL;
        ret->why = "as good or better";
    } else {
        ret->why = "not clear yet";
    }
    return ERR_OK;
}
