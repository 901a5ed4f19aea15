/* See slo.h. A ring holds what the counters stood at, minute by minute, for a day. */
#include "api/slo.h"

#include <pthread.h>
#include <string.h>

#include "base/clock.h"
#include "base/metrics.h"

#define MINUTES     1440
#define MINUTE_NS   60000000000ll
#define TTFT_WITHIN 1.0 /* seconds */

struct counts {
    int64_t total[SLO_COUNT], bad[SLO_COUNT];
};

static const struct {
    const char *name;
    double target;
} objectives[] = {
    [SLO_ANSWERS] = {"answers", 0.999},   /* turns that did not end in an error */
    [SLO_REQUESTS] = {"requests", 0.999}, /* answered with less than 500 */
    [SLO_TTFT] = {"ttft", 0.99},          /* first words within a second */
};

static const int windows[] = {60, 1440, 0};
static const char *const window_names[] = {"1h", "24h", "start"};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct counts ring[MINUTES]; /* ring[n % MINUTES]: at the end of minute n */
static int64_t minutes_kept;        /* so many minutes have ended */
static int64_t next_ns;

static struct counts count_now(void) {
    struct counts c;
    c.total[SLO_ANSWERS] = metric_get(M_TURNS);
    c.bad[SLO_ANSWERS] = metric_get(M_TURNS_FAILED);
    c.total[SLO_REQUESTS] = metric_get(M_HTTP_REQUESTS);
    c.bad[SLO_REQUESTS] = metric_get(M_HTTP_ERRORS);
    c.total[SLO_TTFT] = metric_get(M_TTFT_SECONDS);
    c.bad[SLO_TTFT] = c.total[SLO_TTFT] - metric_within(M_TTFT_SECONDS, TTFT_WITHIN);
    return c;
}

void slo_sample(void) {
    int64_t now = clock_mono_ns();
    pthread_mutex_lock(&lock);
    if (!next_ns)
        next_ns = now + MINUTE_NS;
    if (now >= next_ns) {
        ring[minutes_kept++ % MINUTES] = count_now();
        next_ns = now + MINUTE_NS;
    }
    pthread_mutex_unlock(&lock);
}

const char *slo_name(enum slo_objective o) {
    return objectives[o].name;
}

double slo_target(enum slo_objective o) {
    return objectives[o].target;
}

struct slo_window slo_read(enum slo_objective o, int minutes) {
    struct counts now = count_now(), then = {0};
    pthread_mutex_lock(&lock);
    if (minutes && minutes_kept >= minutes)
        then = ring[(minutes_kept - minutes) % MINUTES];
    pthread_mutex_unlock(&lock);
    struct slo_window w = {now.total[o] - then.total[o], now.bad[o] - then.bad[o], 1, 0};
    if (w.total > 0) {
        double bad = (double)w.bad / (double)w.total;
        w.ratio = 1 - bad;
        w.burned = bad / (1 - objectives[o].target);
    }
    return w;
}

void slo_render_metrics(struct buf *b) {
    static const char *const names[] = {"parley_slo_good_ratio", "parley_slo_budget_burned_ratio"};
    static const char *const helps[] = {"share that met the objective",
                                        "share of what may fail that has failed"};
    for (int m = 0; m < 2; m++) {
        buf_addf(b, "# HELP %s %s\n# TYPE %s gauge\n", names[m], helps[m], names[m]);
        for (int o = 0; o < SLO_COUNT; o++)
            for (size_t i = 0; i < sizeof windows / sizeof *windows; i++) {
                struct slo_window w = slo_read((enum slo_objective)o, windows[i]);
                buf_addf(b, "%s{objective=\"%s\",window=\"%s\"} %.6g\n", names[m],
                         objectives[o].name, window_names[i], m ? w.burned : w.ratio);
            }
    }
}
