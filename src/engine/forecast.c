#include "engine/forecast.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define FORGET      0.97 /* of what a step taught, for each later step */
#define HOLD        0.05 /* how strongly what no step has told about stays as it was */
#define ANSWERS_OF  8.0  /* scale of tokens with logits in the fit, so that all three are alike */
#define PROMPTS_OF  64.0 /* the same for tokens of prompts */
#define LEAST_OF    0.3  /* of what was measured a prompt's token takes at least */
#define OUTLIER     4    /* a step is never taken for slower than so many times its prediction */
#define SETTLED     16   /* steps after which outliers are told from news */
#define MARGIN_MIN  1.05
#define MARGIN_MAX  2.5
#define MARGIN_STEP 0.08
#define HOLDS       0.98 /* the share of predictions that the margin is to make good */
#define SMOOTH      0.05
#define WEIGHT      1
#define SPREAD      1.3  /* of an exponential: nine in ten stay below 2.3 times the mean */
#define CALM_FALLS  0.2  /* how fast an undisturbed step is believed to be shorter, */
#define CALM_RISES  0.05 /* and longer: what takes longer was most often disturbed after all */
#define BESIDE      0.2  /* how fast another one is believed to be either */

void forecast_init(struct forecast *f, double base_ns, double answer_ns, double prompt_ns) {
    *f = (struct forecast){.base_ns = base_ns,
                           .answer_ns = answer_ns,
                           .prompt_ns = prompt_ns,
                           .margin = 1.25,
                           .weight = WEIGHT,
                           .answer_tokens = 128,
                           .ends = 0.5};
}

double forecast_step_ns(const struct forecast *f, int with_logits, int without) {
    return f->base_ns + f->answer_ns * with_logits + f->prompt_ns * without;
}

double forecast_token_ns(const struct forecast *f) {
    return fmax(f->prompt_ns, f->told_ns);
}

/* Solves a·x = b by elimination with pivots; a is positive definite. */
static void solve(double a[3][3], double b[3], double x[3]) {
    for (int c = 0; c < 3; c++) {
        int best = c;
        for (int r = c + 1; r < 3; r++)
            best = fabs(a[r][c]) > fabs(a[best][c]) ? r : best;
        for (int k = 0; k < 3; k++) {
            double t = a[c][k];
            a[c][k] = a[best][k];
            a[best][k] = t;
        }
        double t = b[c];
        b[c] = b[best];
        b[best] = t;
        for (int r = c + 1; r < 3; r++) {
            double by = a[r][c] / a[c][c];
            for (int k = c; k < 3; k++)
                a[r][k] -= by * a[c][k];
            b[r] -= by * b[c];
        }
    }
    for (int c = 2; c >= 0; c--) {
        x[c] = b[c];
        for (int k = c + 1; k < 3; k++)
            x[c] -= a[c][k] * x[k];
        x[c] /= a[c][c];
    }
}

void forecast_learn(struct forecast *f, int with_logits, int without, double took_ns) {
    const double x[3] = {1, with_logits / ANSWERS_OF, without / PROMPTS_OF};
    double theta[3] = {f->base_ns, f->answer_ns * ANSWERS_OF, f->prompt_ns * PROMPTS_OF};
    double most = forecast_step_ns(f, with_logits, without) * OUTLIER;
    double y = (f->known || f->seen >= SETTLED) && took_ns > most ? most : took_ns;
    double weight = 1 / (1 + x[1] + x[2]); /* noise grows with a step's length */
    double a[3][3], b[3], change[3];
    if (took_ns <= 0)
        return; /* the clock cannot tell */
    for (int i = 0; i < 3; i++) {
        for (int j = 0; j < 3; j++)
            f->xx[i][j] = f->xx[i][j] * FORGET + weight * x[i] * x[j];
        f->xy[i] = f->xy[i] * FORGET + weight * x[i] * y;
    }
    for (int i = 0; i < 3; i++) {
        b[i] = f->xy[i];
        for (int j = 0; j < 3; j++) {
            a[i][j] = f->xx[i][j] + (i == j ? HOLD : 0);
            b[i] -= f->xx[i][j] * theta[j];
        }
    }
    solve(a, b, change);
    f->base_ns = fmax(theta[0] + change[0], 1e3);
    f->answer_ns = fmax((theta[1] + change[1]) / ANSWERS_OF, 1e2);
    f->prompt_ns = fmax((theta[2] + change[2]) / PROMPTS_OF, fmax(1e2, f->told_ns * LEAST_OF));
    f->seen++;
}

double forecast_bounded(double took_ns, double predicted_ns) {
    return fmin(took_ns, predicted_ns * OUTLIER);
}

void forecast_answers(struct forecast *f, int answers, bool calm, double took_ns) {
    if (answers < 1 || answers > FORECAST_ANSWERS || took_ns <= 0)
        return;
    double *ns = calm ? &f->calm_ns[answers] : &f->beside_ns[answers];
    double share = !calm ? BESIDE : took_ns < *ns ? CALM_FALLS : CALM_RISES;
    *ns += (took_ns - *ns) * (*ns > 0 ? share : 1);
}

double forecast_piece_ns(const struct forecast *f, int answers) {
    double step = forecast_step_ns(f, answers, 0), calm = 0;
    if (answers > 0 && answers <= FORECAST_ANSWERS) {
        calm = f->calm_ns[answers];
        step = f->beside_ns[answers] > 0 ? f->beside_ns[answers] : step;
    }
    if (calm <= 0 || calm > step)
        calm = step;
    return fmax(FORECAST_GAP * calm - step, step);
}

void forecast_paced(struct forecast *f, double took_ns) {
    f->pace_ns = f->pace_ns > 0 ? f->pace_ns + (took_ns - f->pace_ns) * SMOOTH : took_ns;
}

/* Moves the margin to where HOLDS of the predictions hold (the stochastic quantile estimate of
 * Robbins and Monro, on a logarithmic scale). */
void forecast_check(struct forecast *f, double predicted_ns, double took_ns) {
    bool held = took_ns <= predicted_ns * f->margin;
    f->margin *= exp(held ? -MARGIN_STEP * (1 - HOLDS) : MARGIN_STEP * HOLDS);
    f->margin = fmin(fmax(f->margin, MARGIN_MIN), MARGIN_MAX);
}

void forecast_answered(struct forecast *f, int tokens, bool by_itself) {
    f->ends += (by_itself - f->ends) * SMOOTH;
    f->answer_tokens += (tokens - f->answer_tokens) * SMOOTH;
}

static int by_left(const void *a, const void *b) {
    const struct forecast_running *x = a, *y = b;
    return (x->left > y->left) - (x->left < y->left);
}

/* Of n answers that may end at any token, as often as answers have ended by themselves, by when the
 * one at place i has very likely (or likely) ended; never later than it must. (Lengths are then
 * spread exponentially; ends over tokens is the likeliest rate when some are cut. The first end is
 * spread as widely as one answer is, later ones are spread less.) */
static double ends_after(const struct forecast *f, const struct forecast_state *s, int i) {
    double mean = f->answer_tokens / fmax(f->ends, 1e-3);
    double tokens = -mean * log(1 - (i + 1.0) / (s->n_running + 1.0));
    if (!s->likely)
        tokens *= 1 + SPREAD / sqrt(i + 1.0);
    return fmin(tokens, s->running[i].left);
}

/* What a prompt takes, in pieces with so many answers beside; their step after its last piece does
 * not count. */
static double prompt_takes(const struct forecast *f, const struct forecast_state *s, int fresh,
                           int answers) {
    int piece = fresh <= s->quick ? s->quick_chunk : s->chunk;
    int pieces = answers && piece > 0 && fresh > piece ? (fresh + piece - 1) / piece : 1;
    double step = answers ? forecast_step_ns(f, answers, 0) : f->base_ns;
    if (s->rows)
        return pieces * f->base_ns + (pieces - 1) * step + fresh * f->prompt_ns;
    return pieces * step + fresh * f->prompt_ns;
}

double forecast_order_ns(const struct forecast *f, double came_ns, int tokens) {
    return came_ns + f->weight * tokens * f->prompt_ns;
}

struct places { /* that were given so far to those who wait */
    double pace;
    int ended;   /* of the running ones */
    double slot; /* when the last one was free */
};

/* When the next one that waits has its slot. */
static double take_place(const struct forecast *f, struct forecast_state *s, struct places *p,
                         const struct forecast_request *q) {
    while ((s->idle == 0 || s->cells < q->reserve) && p->ended < s->n_running) {
        p->slot = p->pace * ends_after(f, s, p->ended);
        s->cells += s->running[p->ended++].reserved;
        s->idle++;
    }
    if (s->idle == 0 || s->cells < q->reserve) {
        /* All that run now have ended; those that followed them are taken for alike. */
        p->slot += p->pace * fmin(f->answer_tokens, q->most) / (s->n_running ? s->n_running : 1);
        s->idle = 1;
        s->cells = q->reserve;
    }
    s->idle--;
    s->cells -= q->reserve;
    return p->slot;
}

double forecast_first_token(const struct forecast *f, struct forecast_state *s,
                            const struct forecast_request *r) {
    int answers = 0, most = s->n_running + s->idle;
    double prefill = s->ahead_ns, order = forecast_order_ns(f, 0, r->fresh);
    for (int i = 0; i < s->n_running; i++)
        answers += s->running[i].todo == 0;
    struct places places = {.pace = fmax(forecast_step_ns(f, answers, 0), f->pace_ns)};
    for (int i = 0; i < s->n_running; i++) {
        const struct forecast_running *q = &s->running[i];
        if (!q->todo || forecast_order_ns(f, -q->age_ns, q->todo) > order)
            continue;
        prefill += prompt_takes(f, s, q->todo, answers++);
        prefill += s->rows ? forecast_step_ns(f, answers, 0) : 0;
    }
    if (s->n_running > 1)
        qsort(s->running, (size_t)s->n_running, sizeof(*s->running), by_left);
    for (int i = 0; i < s->n_ahead; i++) {
        const struct forecast_request *q = &s->ahead[i];
        double slot = take_place(f, s, &places, q);
        if (forecast_order_ns(f, -q->age_ns, q->fresh) > order)
            continue;
        prefill = fmax(prefill, slot) + prompt_takes(f, s, q->fresh, answers);
        if (answers < most)
            answers++;
        prefill += s->rows ? forecast_step_ns(f, answers, 0) : 0;
    }
    double slot = take_place(f, s, &places, r);
    return fmax(prefill, slot) + prompt_takes(f, s, r->fresh, answers) + f->answer_ns;
}
