/* Metrics: one cell a row of the table, updated with relaxed atomics, rendered as Prometheus' text
 * format 0.0.4. A histogram's buckets are counted apart and summed up when rendered, so an
 * observation is three additions. Its sum is kept in nanoseconds, as integers add atomically. */
#include "base/metrics.h"

#include <stdalign.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum kind { COUNTER, GAUGE, HISTOGRAM };

static const struct {
    enum kind kind;
    const char *name, *help;
} table[] = {
#define X(id, kind, name, help) [id] = {kind, name, help},
    METRICS_TABLE(X)
#undef X
};

static const char *const kind_names[] = {"counter", "gauge", "histogram"};

#define BUCKETS 13
static const double bounds[BUCKETS] = {.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60};

static struct {
    /* Each for itself: loops that count different things must not wait for one line of the cache */
    alignas(64) _Atomic int64_t value;    /* of counters and gauges; a histogram's sum */
    _Atomic int64_t buckets[BUCKETS + 1]; /* the last one is for what is longer than all bounds */
} cells[M_COUNT];

void metric_add(enum metric m, int64_t n) {
    atomic_fetch_add_explicit(&cells[m].value, n, memory_order_relaxed);
}

void metric_set(enum metric m, int64_t v) {
    atomic_store_explicit(&cells[m].value, v, memory_order_relaxed);
}

void metric_observe(enum metric m, double seconds) {
    if (!(seconds > 0))
        seconds = 0; /* also NaN */
    else if (seconds > 1e6)
        seconds = 1e6; /* far from what int64_t nanoseconds hold */
    int i = 0;
    while (i < BUCKETS && seconds > bounds[i])
        i++;
    atomic_fetch_add_explicit(&cells[m].buckets[i], 1, memory_order_relaxed);
    metric_add(m, (int64_t)(seconds * 1e9));
}

int64_t metric_get(enum metric m) {
    if (table[m].kind != HISTOGRAM)
        return atomic_load_explicit(&cells[m].value, memory_order_relaxed);
    int64_t n = 0;
    for (int i = 0; i <= BUCKETS; i++)
        n += atomic_load_explicit(&cells[m].buckets[i], memory_order_relaxed);
    return n;
}

int64_t metric_within(enum metric m, double seconds) {
    int64_t n = 0;
    for (int i = 0; i < BUCKETS && bounds[i] <= seconds; i++)
        n += atomic_load_explicit(&cells[m].buckets[i], memory_order_relaxed);
    return n;
}

double metric_mean(enum metric m) {
    int64_t n = metric_get(m);
    int64_t sum = atomic_load_explicit(&cells[m].value, memory_order_relaxed);
    return n > 0 ? (double)sum / 1e9 / (double)n : 0;
}

static void render_histogram(struct buf *b, enum metric m) {
    const char *name = table[m].name;
    int64_t n = 0;
    for (int i = 0; i <= BUCKETS; i++) {
        n += atomic_load_explicit(&cells[m].buckets[i], memory_order_relaxed);
        if (i < BUCKETS)
            buf_addf(b, "%s_bucket{le=\"%g\"} %lld\n", name, bounds[i], (long long)n);
        else
            buf_addf(b, "%s_bucket{le=\"+Inf\"} %lld\n", name, (long long)n);
    }
    int64_t sum = atomic_load_explicit(&cells[m].value, memory_order_relaxed);
    buf_addf(b, "%s_sum %.9g\n%s_count %lld\n", name, (double)sum / 1e9, name, (long long)n);
}

static void head(struct buf *b, const char *name, const char *kind, const char *help) {
    buf_addf(b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind);
}

/* The time of the boot in seconds since 1970 (proc(5), /proc/stat), 0 if it cannot be read. */
static long long boot_seconds(void) {
    char line[256];
    long long at = 0;
    FILE *f = fopen("/proc/stat", "re");
    if (!f)
        return 0;
    while (fgets(line, sizeof line, f))
        if (sscanf(line, "btime %lld", &at) == 1)
            break;
    fclose(f);
    return at;
}

/* Fields 22 (start after boot, in clock ticks) and 24 (resident pages) of /proc/self/stat. */
static void render_process(struct buf *b) {
    char text[1024];
    FILE *f = fopen("/proc/self/stat", "re");
    if (!f)
        return;
    size_t n = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    text[n] = 0;
    const char *p = strrchr(text, ')'); /* the command's name may hold anything before */
    unsigned long long start = 0;
    long long pages = 0;
    if (!p || sscanf(p + 1,
                     " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d "
                     "%llu %*u %lld",
                     &start, &pages) != 2)
        return;
    double started = (double)boot_seconds() + (double)start / (double)sysconf(_SC_CLK_TCK);
    head(b, "process_start_time_seconds", "gauge", "start of the process, seconds since 1970");
    buf_addf(b, "process_start_time_seconds %.2f\n", started);
    head(b, "process_resident_memory_bytes", "gauge", "resident memory");
    buf_addf(b, "process_resident_memory_bytes %lld\n", pages * (long long)sysconf(_SC_PAGESIZE));
}

void metrics_render(struct buf *b) {
    metrics_render_without(b, NULL);
}

void metrics_add_lines(struct buf *b, struct str text, const char *prefix) {
    while (text.n) {
        struct str line = str_cut(&text, '\n'), name = line;
        if (str_starts(line, STR("# "))) { /* "# HELP name …", "# TYPE name …" */
            name = str_sub(line, 2, SIZE_MAX);
            (void)str_cut(&name, ' ');
        }
        if (!str_starts(name, str_from(prefix)))
            continue;
        buf_adds(b, line);
        buf_addc(b, '\n');
    }
}

void metrics_render_without(struct buf *b, const char *prefix) {
    for (int i = 0; i < M_COUNT; i++) {
        if (prefix && strncmp(table[i].name, prefix, strlen(prefix)) == 0)
            continue;
        head(b, table[i].name, kind_names[table[i].kind], table[i].help);
        if (table[i].kind == HISTOGRAM)
            render_histogram(b, (enum metric)i);
        else
            buf_addf(b, "%s %lld\n", table[i].name, (long long)metric_get((enum metric)i));
    }
    render_process(b);
}
