/* The retrieval learner on two collections: simulated people rate what they are shown, the learner
 * goes through the same proof as in the program, and every so often its order is measured against
 * the collections' judgements, which no learner sees.
 *
 * A person asks one of the seen questions, is shown ten passages, and says of each whether it
 * helped: rightly but for NOISE of all judgements; LIARS of the people always say the opposite. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "world.h"

struct learner {
    const char *name;
    bool linear, memory, liars, integrity;
    bool one;      /* a rating is about one of the passages, not about all that were shown */
    bool single;   /* one passage is shown */
    bool explores; /* the second best in its place, by chance, when it is nearly as good */
};
#define RATES_ALL .linear = true, .memory = true, .integrity = true
static const struct learner learners[] = {
    {.name = "linear re-ranker", .linear = true, .integrity = true, .liars = true},
    {.name = "memory", .memory = true, .integrity = true, .liars = true},
    {.name = "both", RATES_ALL, .liars = true},
    {.name = "both, nobody lies", RATES_ALL},
    {.name = "both, everybody equal", .linear = true, .memory = true, .liars = true},
    {.name = "both, one passage each", RATES_ALL, .liars = true, .one = true},
    {.name = "one shown", RATES_ALL, .liars = true, .single = true},
    {.name = "one shown, exploring", RATES_ALL, .liars = true, .single = true, .explores = true},
};
#undef RATES_ALL
#define N_LEARNERS (sizeof learners / sizeof *learners)
enum { BOTH = 2, HONEST = 3, EXPLORING = 7 };
#define SWAP_CHANCE 0.1 /* as LEARN_SWAP_CHANCE */
#define PAIR_NEAR   0.8 /* as the search has it */

static const size_t measured[] = {0, 200, 1000, 5000};
#define N_MEASURED (sizeof measured / sizeof *measured)

struct turn {
    size_t query, person, n;
    int64_t at;
    size_t shown[SHOWN]; /* places in the query's pool */
    double value[SHOWN], weight[SHOWN];
    bool silent[SHOWN]; /* nothing was said of it */
    size_t pair[2];     /* places of two of which one was drawn to be shown */
    double chance;      /* with which it was; 0 = there was nothing to draw */
};

struct world {
    const struct pool *pool;
    const struct learner *learner;
    struct rng rng;
    size_t *seen, n_seen, *unseen, n_unseen;
    bool liar[RATERS];
    struct turn *turns;
    size_t n_turns;
    struct ranker *ranker; /* in use */
    size_t proofs, refused, damaged, damaged_caught;
};

static void shuffle(size_t *v, size_t n, struct rng *r) {
    for (size_t i = n; i > 1; i--) {
        size_t k = rng_below(r, (uint32_t)i), t = v[i - 1];
        v[i - 1] = v[k];
        v[k] = t;
    }
}

static struct ranker_question question_of(const struct pool_query *q) {
    return (struct ranker_question){str_from(q->text), q->vector, 1};
}

struct place {
    double score;
    size_t at;
};
static int by_score(const void *a, const void *b) {
    const struct place *x = a, *y = b;
    if (x->score != y->score)
        return x->score > y->score ? -1 : 1;
    return x->at < y->at ? -1 : 1;
}

static void order(const struct ranker *r, struct pool_query *q, size_t *ret) {
    double score[POOL];
    struct place p[POOL];
    struct ranker_question question = question_of(q);
    if (r)
        ranker_score(r, &question, q->passages, q->n, score);
    for (size_t i = 0; i < q->n; i++)
        p[i] = (struct place){r ? score[i] : -(double)i, i};
    qsort(p, q->n, sizeof *p, by_score);
    for (size_t i = 0; i < q->n; i++)
        ret[i] = p[i].at;
}

static double measure(const struct world *w, const size_t *which, size_t n) {
    size_t at[POOL];
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        struct pool_query *q = &w->pool->queries[which[i]];
        order(w->ranker, q, at);
        sum += pool_ndcg(q, at, q->n);
    }
    return sum / (double)n;
}

/* One is shown: the best, or at times the second. */
static void show_one(struct world *w, struct turn *t, const struct pool_query *q, size_t *at) {
    double first = q->passages[at[0]].signals[RANKER_FUSED];
    double second = q->n > 1 ? q->passages[at[1]].signals[RANKER_FUSED] : 0;
    t->n = q->n < 1 ? q->n : 1;
    if (!w->learner->explores || second < PAIR_NEAR * first)
        return;
    bool swaps = rng_uniform(&w->rng) < SWAP_CHANCE;
    t->pair[0] = at[0];
    t->pair[1] = at[1];
    t->chance = swaps ? SWAP_CHANCE : 1 - SWAP_CHANCE;
    if (swaps)
        at[0] = at[1];
}

static void rate(struct world *w) {
    struct turn *t = &w->turns[w->n_turns];
    size_t at[POOL];
    t->query = w->seen[rng_below(&w->rng, (uint32_t)w->n_seen)];
    t->person = rng_below(&w->rng, RATERS);
    t->at = (int64_t)w->n_turns * 300000;
    struct pool_query *q = &w->pool->queries[t->query];
    order(w->ranker, q, at);
    t->n = q->n < SHOWN ? q->n : SHOWN;
    if (w->learner->single)
        show_one(w, t, q, at);
    for (size_t i = 0; i < t->n; i++) {
        bool good = pool_is_relevant(q, q->docs[at[i]]);
        if (rng_uniform(&w->rng) < NOISE)
            good = !good;
        if (w->learner->liars && w->liar[t->person])
            good = !good;
        t->shown[i] = at[i];
        t->value[i] = good;
    }
    if (w->learner->one) { /* the one that the answer was made of */
        size_t k = rng_below(&w->rng, (uint32_t)t->n);
        for (size_t i = 0; i < t->n; i++)
            t->silent[i] = i != k;
    }
    w->n_turns++;
}

/* As the program does with its ratings. */
static void weigh(struct world *w) {
    size_t n = w->n_turns * SHOWN, m = 0;
    struct judgement *j = calloc(n + 1, sizeof *j);
    struct person people[RATERS] = {0};
    for (size_t i = 0; i < w->n_turns; i++)
        for (size_t k = 0; k < w->turns[i].n; k++)
            j[m++] = (struct judgement){
                .person = w->turns[i].person,
                .thing = w->turns[i].query * POOL + w->turns[i].shown[k],
                .at = w->turns[i].at,
                .worth = {w->turns[i].value[k], !w->turns[i].silent[k]},
                .rating = i,
            };
    if (w->learner->integrity &&
        evidence_weigh(j, m, people, RATERS, w->pool->n_queries * POOL) != ERR_OK)
        exit(1);
    m = 0;
    for (size_t i = 0; i < w->n_turns; i++)
        for (size_t k = 0; k < w->turns[i].n; k++)
            w->turns[i].weight[k] = j[m++].worth.weight;
    free(j);
}

static struct ranker *train(const struct world *w, size_t until) {
    struct ranker_question *q = calloc(w->pool->n_queries, sizeof *q);
    struct ranker_rating *r = calloc(until * SHOWN + 1, sizeof *r);
    size_t *number = calloc(w->pool->n_queries, sizeof *number), n_q = 0, n = 0;
    for (size_t i = 0; i < until; i++) {
        const struct turn *t = &w->turns[i];
        const struct pool_query *p = &w->pool->queries[t->query];
        if (!number[t->query]) {
            q[n_q++] = question_of(p);
            number[t->query] = n_q;
        }
        for (size_t k = 0; k < t->n; k++)
            r[n++] = (struct ranker_rating){number[t->query] - 1, p->passages[t->shown[k]],
                                            t->value[k], t->weight[k]};
    }
    struct ranker_input in = {q, n_q, r, n, w->pool->dims, w->learner->linear, w->learner->memory};
    struct ranker *ret = NULL;
    if (ranker_train(&in, &ret) != ERR_OK)
        exit(1);
    free(q);
    free(r);
    free(number);
    return ret;
}

/* What those that were drawn say, as the program asks it where one passage is shown. */
static bool choices_prove(const struct world *w, const struct ranker *candidate, size_t from) {
    struct replay_choice *c = calloc(w->n_turns - from + 1, sizeof *c);
    struct replay_choices r = {.turns = 0};
    size_t n = 0;
    for (size_t i = from; i < w->n_turns; i++) {
        const struct turn *t = &w->turns[i];
        const struct pool_query *q = &w->pool->queries[t->query];
        if (t->chance <= 0)
            continue;
        bool turned = q->passages[t->pair[1]].signals[RANKER_FUSED] >
                      q->passages[t->pair[0]].signals[RANKER_FUSED];
        c[n] = (struct replay_choice){.question = question_of(q),
                                      .question_number = t->query,
                                      .shown = (t->shown[0] == t->pair[1]) != turned,
                                      .chance = t->chance,
                                      .value = t->value[0],
                                      .weight = t->weight[0]};
        c[n].passages[turned] = q->passages[t->pair[0]];
        c[n].passages[!turned] = q->passages[t->pair[1]];
        ranker_fill_signals(c[n++].passages, 2, w->pool->dims);
    }
    if (replay_choices(candidate, NULL, c, n, &r) != ERR_OK)
        exit(1);
    free(c);
    return replay_choices_are_proof(&r);
}

static bool prove(const struct world *w, const struct ranker *candidate, size_t from) {
    size_t n = w->n_turns - from;
    struct replay_turn *t = calloc(n + 1, sizeof *t);
    struct ranker_passage *p = calloc(n * SHOWN + 1, sizeof *p);
    bool *known = calloc(w->pool->n_queries, sizeof *known);
    for (size_t i = 0; i < from; i++)
        known[w->turns[i].query] = true;
    for (size_t i = 0; i < n; i++) {
        const struct turn *u = &w->turns[from + i];
        const struct pool_query *q = &w->pool->queries[u->query];
        for (size_t k = 0; k < u->n; k++)
            p[i * SHOWN + k] = q->passages[u->shown[k]];
        t[i] = (struct replay_turn){
            question_of(q), u->query, !known[u->query], p + i * SHOWN, u->value, u->weight, u->n};
    }
    struct replay_result r = {0};
    if (replay_rankers(candidate, NULL, t, n, &r) != ERR_OK)
        exit(1);
    free(t);
    free(p);
    free(known);
    return replay_is_proof(&r) || choices_prove(w, candidate, from);
}

static void learn(struct world *w) {
    weigh(w);
    size_t from = w->n_turns - w->n_turns / 4;
    struct ranker *candidate = train(w, from);
    bool proved = prove(w, candidate, from);
    ranker_reverse(candidate); /* a damaged learner: does the replay find it out? */
    w->damaged_caught += !prove(w, candidate, from);
    w->damaged++;
    ranker_free(candidate);
    w->proofs += proved;
    w->refused += !proved;
    if (!proved)
        return;
    ranker_free(w->ranker);
    w->ranker = train(w, w->n_turns);
}

static void open_world(struct world *w, const struct pool *p, const struct learner *l,
                       uint64_t seed, size_t ratings) {
    *w = (struct world){.pool = p, .learner = l};
    rng_init(&w->rng, seed * 7919 + 1);
    size_t *all = calloc(p->n_queries, sizeof *all), n = 0;
    for (size_t i = 0; i < p->n_queries; i++)
        if (p->queries[i].n_relevant)
            all[n++] = i;
    shuffle(all, n, &w->rng);
    w->seen = all;
    w->n_seen = n / 2;
    w->unseen = all + n / 2;
    w->n_unseen = n - n / 2;
    for (size_t i = 0; i < RATERS; i++)
        w->liar[i] = i < (size_t)(LIARS * RATERS);
    w->turns = calloc(ratings + 1, sizeof *w->turns);
}

static void close_world(struct world *w) {
    ranker_free(w->ranker);
    free(w->seen);
    free(w->turns);
}

static bool is_due(size_t n) {
    static const size_t first[] = {50, 100, 200, 400, 700, 1000};
    for (size_t i = 0; i < sizeof first / sizeof *first; i++)
        if (n == first[i])
            return true;
    return n > 1000 && n % 1000 == 0;
}

struct outcome {
    double unseen[N_MEASURED], seen[N_MEASURED], lowest;
    size_t damaged, damaged_caught;
};

static void simulate(const struct pool *p, const struct learner *l, uint64_t seed,
                     const struct bench_options *o, struct outcome *out) {
    struct world w;
    size_t at = 0;
    open_world(&w, p, l, seed, o->ratings);
    *out = (struct outcome){.lowest = 0};
    for (size_t n = 0;; n++) {
        bool due = n && is_due(n);
        if (due)
            learn(&w);
        bool wanted = at < N_MEASURED && n == measured[at];
        if (due || wanted) {
            double unseen = measure(&w, w.unseen, w.n_unseen);
            if (wanted) {
                out->unseen[at] = unseen;
                out->seen[at++] = measure(&w, w.seen, w.n_seen);
            }
            if (unseen - out->unseen[0] < out->lowest)
                out->lowest = unseen - out->unseen[0];
        }
        if (n == o->ratings)
            break;
        rate(&w);
    }
    out->damaged = w.damaged;
    out->damaged_caught = w.damaged_caught;
    close_world(&w);
}

/* A quick run has what the results are made of. */
static bool is_run(size_t l, const struct bench_options *o) {
    bool is_main = l == BOTH || l == HONEST;
    return o->main_only ? is_main : !o->quick || is_main || l == EXPLORING;
}

static void print_row(const char *what, const char *learner, const struct interval *v, size_t n) {
    printf("  %-24s %-9s", learner, what);
    for (size_t i = 0; i < n; i++)
        printf("  %.4f ± %.4f", v[i].mean, (v[i].high - v[i].low) / 2);
    printf("\n");
}

struct gains { /* over the seeds, of each learner: at 0 the value itself, then the gain */
    struct interval unseen[N_MEASURED], seen[N_MEASURED];
};

static void gather(const struct bench_options *o, const struct outcome *out, struct gains *g) {
    for (size_t c = 0; c < N_MEASURED; c++) {
        double u[SEEDS_MAX], s[SEEDS_MAX];
        for (size_t k = 0; k < o->seeds; k++) {
            u[k] = out[k].unseen[c] - (c ? out[k].unseen[0] : 0);
            s[k] = out[k].seen[c] - (c ? out[k].seen[0] : 0);
        }
        g->unseen[c] = interval_of_mean(u, o->seeds);
        g->seen[c] = interval_of_mean(s, o->seeds);
    }
}

static void table(const struct pool *p, size_t cols, const struct gains *g,
                  const struct bench_options *o) {
    printf("\n%s, nDCG@10 (real search; first column: before any rating, then what is gained) "
           "after",
           p->name);
    for (size_t i = 0; i < cols; i++)
        printf("%s%zu", i ? ", " : " ", measured[i]);
    printf(" ratings; ± 95 %% over the seeds\n");
    for (size_t l = 0; l < N_LEARNERS; l++) {
        if (!is_run(l, o))
            continue;
        print_row("unseen", learners[l].name, g[l].unseen, cols);
        print_row("repeated", learners[l].name, g[l].seen, cols);
    }
}

static void add(const struct pool *p, const char *what, double value, const char *aim,
                const char *better) {
    char name[100];
    snprintf(name, sizeof name, "%s: %s", p->name, what);
    result_add(name, value, "nDCG@10", aim, better);
}

static void results(const struct pool *p, size_t last, const struct gains *g,
                    struct outcome out[N_LEARNERS][SEEDS_MAX], size_t seeds) {
    char what[100];
    double low = 0;
    size_t damaged = 0, caught = 0;
    for (size_t l = 0; l < N_LEARNERS; l++)
        for (size_t s = 0; s < seeds; s++) {
            damaged += out[l][s].damaged;
            caught += out[l][s].damaged_caught;
            if (l == BOTH)
                low = fmin(low, out[l][s].lowest);
        }
    double honest = g[HONEST].unseen[last].mean, lied = g[BOTH].unseen[last].mean;
    double cost = honest > 0 ? (honest - lied) / honest : 0;
    snprintf(what, sizeof what, "gain on unseen queries at %zu ratings", measured[last]);
    add(p, what, lied, "0.03", "higher");
    add(p, "its interval's half width", (g[BOTH].unseen[last].high - g[BOTH].unseen[last].low) / 2,
        "", "lower");
    snprintf(what, sizeof what, "gain on repeated queries at %zu ratings", measured[last]);
    add(p, what, g[BOTH].seen[last].mean, "0.10", "higher");
    snprintf(what, sizeof what, "one passage shown, exploring: gain on repeated queries at %zu",
             measured[last]);
    add(p, what, g[EXPLORING].seen[last].mean, "", "higher");
    add(p, "lowest below the start at any look, unseen, any seed", -low, "0.01", "lower");
    printf(
        "  adversarial raters cost %.0f %% of the gain on unseen queries; damaged learners caught "
        "by the replay: %zu of %zu; lowest point on unseen queries %+.4f\n",
        100 * cost, caught, damaged, low);
    snprintf(what, sizeof what, "%s: share of the gain lost to adversarial raters", p->name);
    result_add(what, cost, "share", "0.33", "lower");
    snprintf(what, sizeof what, "%s: damaged learners caught by the replay", p->name);
    result_add(what, damaged ? (double)caught / (double)damaged : 0, "share", "1", "higher");
}

void bench_retrieval(struct pool *p, const struct bench_options *o) {
    static struct outcome out[N_LEARNERS][SEEDS_MAX];
    static struct gains g[N_LEARNERS]; /* of what is not run: zero */
    size_t cols = 0;
    while (cols < N_MEASURED && measured[cols] <= o->ratings)
        cols++;
    for (size_t l = 0; l < N_LEARNERS; l++) {
        if (!is_run(l, o))
            continue;
        for (size_t s = 0; s < o->seeds; s++)
            simulate(p, &learners[l], o->first_seed + s, o, &out[l][s]);
        gather(o, out[l], &g[l]);
    }
    table(p, cols, g, o);
    results(p, cols - 1, g, out, o->seeds);
}
