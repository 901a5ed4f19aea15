/* See bandit.h. */
#include "learn/bandit.h"

#include <math.h>
#include <string.h>

#define CERTAIN         0.975
#define BASE_EVENTS     0.5 /* what is taken for granted of the role itself, before it is known */
#define BASE_TURNS      25.0
#define UNSAFE_MARGIN   0.02 /* more unsafe answers than the role's own by this share */
#define UNSAFE_CERTAIN  0.95
#define UNSAFE_TURNS    8 /* and at least so many answers and so many unsafe ones */
#define UNSAFE_SEEN     2
#define FAILED_MARGIN   0.05
#define FAILED_TURNS    10
#define SLOW_FACTOR     1.5 /* of the geometric mean time to the first words */
#define SLOW_TURNS      15
#define SLOW_MS         50 /* what nobody notices is not slow */
#define DISLIKED_MARGIN 0.05
#define DISLIKED_N      12

const char *arm_stop_name(enum arm_stop s) {
    static const char *const names[] = {"running", "unsafe", "slow", "failing", "disliked"};
    return names[s];
}

/* A prior of one good and one bad rating: a new arm may be anything. */
static double posterior_a(const struct bandit_arm *a) {
    return 1 + a->good;
}
static double posterior_b(const struct bandit_arm *a) {
    return 1 + a->bad;
}

static double floor_of(const struct bandit_arm *a, size_t running) {
    double some = a->turns < BANDIT_NEW ? BANDIT_FLOOR_NEW : BANDIT_FLOOR;
    return fmin(some, 0.5 / (double)running);
}

void bandit_chances(const struct bandit_arm *arms, size_t n, struct rng *r, double *chance) {
    double wins[BANDIT_ARMS_MAX] = {0};
    size_t running = 0, last = 0;
    for (size_t i = 0; i < n; i++) {
        chance[i] = 0;
        if (arms[i].stop == ARM_RUNNING) {
            running++;
            last = i;
        }
    }
    if (running <= 1) {
        chance[running ? last : 0] = 1;
        return;
    }
    for (int d = 0; d < BANDIT_DRAWS; d++) {
        size_t best = last;
        double most = -1;
        for (size_t i = 0; i < n; i++) {
            if (arms[i].stop != ARM_RUNNING)
                continue;
            double v = rng_beta(r, posterior_a(&arms[i]), posterior_b(&arms[i]));
            if (v > most) {
                most = v;
                best = i;
            }
        }
        wins[best]++;
    }
    double free_share = 1;
    for (size_t i = 0; i < n; i++)
        if (arms[i].stop == ARM_RUNNING)
            free_share -= floor_of(&arms[i], running);
    for (size_t i = 0; i < n; i++)
        if (arms[i].stop == ARM_RUNNING)
            chance[i] = floor_of(&arms[i], running) + free_share * wins[i] / BANDIT_DRAWS;
}

size_t bandit_draw(const double *chance, size_t n, struct rng *r) {
    double u = rng_uniform(r);
    size_t at = 0;
    for (size_t i = 0; i < n; i++) {
        if (chance[i] <= 0)
            continue;
        at = i;
        if ((u -= chance[i]) < 0)
            break;
    }
    return at;
}

/* P(this arm's rate of an event lies above the first arm's by more than the margin). */
static double more_often(double events, double turns, double base, double base_turns,
                         double margin) {
    double b0 = BASE_EVENTS + base, b1 = BASE_TURNS - BASE_EVENTS + base_turns - base;
    double mean = b0 / (b0 + b1), n = b0 + b1;
    double shifted = fmin(0.98, mean + margin);
    return beta_above(0.5 + events, 0.5 + turns - events, shifted * n, (1 - shifted) * n);
}

static bool is_slow(const struct bandit_arm *a, const struct bandit_arm *base) {
    if (a->ttft_n < SLOW_TURNS || base->ttft_n < SLOW_TURNS)
        return false;
    double m = a->ttft_sum / a->ttft_n, mb = base->ttft_sum / base->ttft_n;
    double v = fmax(0, a->ttft_squares / a->ttft_n - m * m) / a->ttft_n;
    double vb = fmax(0, base->ttft_squares / base->ttft_n - mb * mb) / base->ttft_n;
    return exp(m) - exp(mb) > SLOW_MS &&
           m - mb - student_t95(fmin(a->ttft_n, base->ttft_n) - 1) * sqrt(v + vb) >
               log(SLOW_FACTOR);
}

enum arm_stop bandit_guard(const struct bandit_arm *arms, size_t n, size_t arm) {
    const struct bandit_arm *a = &arms[arm], *base = &arms[0];
    if (arm == 0 || arm >= n || a->stop != ARM_RUNNING)
        return arm < n ? a->stop : ARM_RUNNING;
    if (a->turns >= UNSAFE_TURNS && a->unsafe >= UNSAFE_SEEN &&
        more_often(a->unsafe, a->turns, base->unsafe, base->turns, UNSAFE_MARGIN) > UNSAFE_CERTAIN)
        return ARM_STOPPED_UNSAFE;
    if (a->turns >= FAILED_TURNS &&
        more_often(a->failed, a->turns, base->failed, base->turns, FAILED_MARGIN) > CERTAIN)
        return ARM_STOPPED_FAILING;
    if (is_slow(a, base))
        return ARM_STOPPED_SLOW;
    double good = posterior_a(base), bad = posterior_b(base), rated = good + bad;
    double lowered = fmax(0.02, good / rated - DISLIKED_MARGIN);
    if (a->good + a->bad >= DISLIKED_N && beta_above(lowered * rated, (1 - lowered) * rated,
                                                     posterior_a(a), posterior_b(a)) > CERTAIN)
        return ARM_STOPPED_DISLIKED;
    return ARM_RUNNING;
}

void bandit_add_turn(struct bandit_arm *a, double ttft_ms, bool unsafe, bool failed) {
    a->turns += 1;
    a->unsafe += unsafe;
    a->failed += failed;
    if (ttft_ms >= 0) {
        double l = log(ttft_ms < 1 ? 1 : ttft_ms);
        a->ttft_n += 1;
        a->ttft_sum += l;
        a->ttft_squares += l * l;
    }
}

void bandit_add_rating(struct bandit_arm *a, double value, double weight) {
    a->good += weight * value;
    a->bad += weight * (1 - value);
}
