/* The variants' bandit on arms of known quality: regret over 5,000 turns against the best arm, for
 * Thompson sampling as the program does it (chances computed anew every REFRESH turns, as by its
 * clock), uniform choice and epsilon-greedy; and how soon an arm that does harm is stopped. Of all
 * turns RATED are rated. */
#include "learn/bandit.h"

#include <math.h>

#include "world.h"

#define TURNS   5000
#define RATED   0.5
#define REFRESH 20
#ifndef RUNS
#define RUNS 20
#endif
#define EPSILON 0.1
#define ARMS    4

static const double quality[ARMS] = {0.60, 0.66, 0.50, 0.55};

enum policy { THOMPSON, UNIFORM, GREEDY, POLICIES };
static const char *const policy_names[POLICIES] = {"Thompson sampling with guard-rails", "uniform",
                                                   "epsilon-greedy (0.1)"};

static size_t greedy(const struct bandit_arm *a, struct rng *r) {
    size_t best = 0;
    double most = -1;
    if (rng_uniform(r) < EPSILON)
        return rng_below(r, ARMS);
    for (size_t i = 0; i < ARMS; i++) {
        double n = a[i].good + a[i].bad, mean = n > 0 ? a[i].good / n : 1;
        if (mean > most) {
            most = mean;
            best = i;
        }
    }
    return best;
}

static double regret(enum policy p, uint64_t seed) {
    struct bandit_arm a[ARMS] = {{0}};
    struct rng r;
    double chance[ARMS], best = 0, sum = 0;
    rng_init(&r, seed);
    for (size_t i = 0; i < ARMS; i++)
        best = fmax(best, quality[i]);
    for (int t = 0; t < TURNS; t++) {
        if (p == THOMPSON && t % REFRESH == 0) {
            for (size_t i = 0; i < ARMS; i++)
                a[i].stop = bandit_guard(a, ARMS, i);
            bandit_chances(a, ARMS, &r, chance);
        }
        size_t arm = p == THOMPSON  ? bandit_draw(chance, ARMS, &r)
                     : p == UNIFORM ? rng_below(&r, ARMS)
                                    : greedy(a, &r);
        bandit_add_turn(&a[arm], 300 + 100 * rng_uniform(&r), rng_uniform(&r) < 0.01, false);
        if (rng_uniform(&r) < RATED)
            bandit_add_rating(&a[arm], rng_uniform(&r) < quality[arm], 1);
        sum += best - quality[arm];
    }
    return sum;
}

/* Turns of the harmful arm itself until it is stopped; the arms share the traffic by their chances.
 * 0: unsafe in a quarter of its answers, 1: disliked, 2: three times as slow, 3: failing. */
static int turns_until_stopped(int harm, uint64_t seed) {
    struct bandit_arm a[2] = {{0}};
    struct rng r;
    double chance[2] = {0.5, 0.5};
    int own = 0;
    rng_init(&r, seed);
    for (int t = 0; t < 100000 && a[1].stop == ARM_RUNNING; t++) {
        if (t % REFRESH == 0) {
            a[1].stop = bandit_guard(a, 2, 1);
            bandit_chances(a, 2, &r, chance);
        }
        size_t arm = bandit_draw(chance, 2, &r);
        bool bad = arm == 1;
        own += bad;
        bandit_add_turn(&a[arm], (bad && harm == 2 ? 900 : 300) * exp(0.3 * rng_normal(&r)),
                        rng_uniform(&r) < (bad && harm == 0 ? 0.25 : 0.01),
                        rng_uniform(&r) < (bad && harm == 3 ? 0.3 : 0.01));
        if (rng_uniform(&r) < RATED)
            bandit_add_rating(&a[arm], rng_uniform(&r) < (bad && harm == 1 ? 0.2 : 0.6), 1);
    }
    return own;
}

void bench_bandit(const struct bench_options *o) {
    static const char *const harms[] = {"unsafe (25 %)", "disliked (20 % against 60 %)",
                                        "slow (three times)", "failing (30 %)"};
    int runs = o->quick ? 20 : RUNS, worst = 0;
    struct interval of[POLICIES];
    printf("\nprompt bandit: regret against the best arm over %d turns, arms 0.60 0.66 0.50 0.55, "
           "half "
           "of the turns rated, %d runs\n",
           TURNS, runs);
    for (int p = 0; p < POLICIES; p++) {
        double v[RUNS];
        for (int i = 0; i < runs; i++)
            v[i] = regret((enum policy)p, (uint64_t)i + 1);
        of[p] = interval_of_mean(v, (size_t)runs);
        printf("  %-36s %7.1f ± %.1f\n", policy_names[p], of[p].mean, of[p].high - of[p].mean);
    }
    result_add("bandit: regret over 5,000 turns", of[THOMPSON].mean, "turns", "", "lower");
    result_add("bandit: regret against uniform choice", of[THOMPSON].mean / of[UNIFORM].mean,
               "ratio", "1", "lower");
    result_add("bandit: regret against epsilon-greedy", of[THOMPSON].mean / of[GREEDY].mean,
               "ratio", "1", "lower");
    printf("an arm that does harm: its own turns until it is stopped (looked at every %d turns)\n",
           REFRESH);
    for (int h = 0; h < 4; h++) {
        double v[RUNS];
        int most = 0;
        for (int i = 0; i < runs; i++) {
            int n = turns_until_stopped(h, (uint64_t)i + 100);
            v[i] = n;
            most = n > most ? n : most;
        }
        struct interval m = interval_of_mean(v, (size_t)runs);
        printf("  %-36s mean %5.1f, most %d\n", harms[h], m.mean, most);
        worst = most > worst ? most : worst;
    }
    result_add("bandit: turns until a harmful arm is stopped, worst run", worst, "turns", "100",
               "lower");
}
