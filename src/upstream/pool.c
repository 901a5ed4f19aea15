/* The pool: which server a request goes to, and what is remembered of how it went.
 *
 * Conversations stay with a server (its cache holds their beginning) by weighted rendezvous hashing
 * (Thaler & Ravishankar 1998; weights as in Schindelhauer & Schomaker 2005): each server's score is
 * -weight / ln(hash), the highest wins, and when a server goes only its own conversations move.
 * Loads are bounded (Mirrokni, Thorup & Zadimoghaddam 2016): a server that has more than 1.25 times
 * its share of all requests under way is passed over for the next. Requests without a conversation
 * go to the least loaded. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"
#include "upstream/upstream_internal.h"

#define LOAD_SLACK       1.25
#define BREAKER_FAILURES 3
#define BREAKER_OPEN_MS  500
#define BREAKER_OPEN_MAX 15000
#define MS               1000000ll
#define AVERAGE_PART     0.1 /* of the newest in the moving average */

static uint64_t mix(uint64_t h) { /* the finaliser of MurmurHash3 */
    h = (h ^ h >> 33) * 0xff51afd7ed558ccdu;
    h = (h ^ h >> 33) * 0xc4ceb9fe1a85ec53u;
    return h ^ h >> 33;
}

static double score(const struct server *v, uint64_t affinity) {
    uint64_t h = affinity;
    for (const char *p = v->name; *p; p++)
        h = mix(h ^ (unsigned char)*p);
    double x = ((double)(mix(h) >> 11) + 0.5) / 9007199254740992.0; /* in (0, 1) */
    return -(double)v->weight / log(x);
}

/* Holding the lock. A lone server is never given up: its requests wait for it. */
static bool is_open(const struct server *v, int64_t now) {
    return v->pool->n > 1 && v->open_ms && (now < v->open_until_ns || v->probing);
}

static bool may_take(const struct server *v, const struct upstream_call *call, int64_t now) {
    if (!v->enabled || call->tried & 1u << v->index || is_open(v, now))
        return false;
    if (v->max_concurrent && atomic_load(&v->in_flight) >= v->max_concurrent)
        return false;
    return !call->model || !v->known || v->pool->n == 1 ||
           server_find(v, str_from(call->model)) != NULL;
}

static double load_of(const struct server *v) {
    return (double)(atomic_load(&v->in_flight) + 1) / v->weight;
}

/* Holding the lock. The bound of one server's load, per weight. */
static double load_bound(const struct upstream *u) {
    int all = 1, weights = 0;
    for (int i = 0; i < u->n; i++)
        if (u->servers[i].enabled) {
            all += atomic_load(&u->servers[i].in_flight);
            weights += u->servers[i].weight;
        }
    return weights ? LOAD_SLACK * all / weights : 0;
}

struct server *pool_pick(struct upstream *u, const struct upstream_call *call) {
    struct server *best = NULL, *least = NULL;
    double high = 0;
    int64_t now = clock_mono_ns();
    pthread_mutex_lock(&u->lock);
    double bound = load_bound(u);
    for (int i = 0; i < u->n; i++) {
        struct server *v = &u->servers[i];
        if (!may_take(v, call, now))
            continue;
        if (!least || load_of(v) < load_of(least))
            least = v;
        bool within = load_of(v) * v->weight <= ceil(bound * v->weight);
        double s = call->affinity && within ? score(v, call->affinity) : 0;
        if (s > high) {
            high = s;
            best = v;
        }
    }
    best = best ? best : least;
    if (best && best->open_ms && u->n > 1)
        best->probing = true;
    pthread_mutex_unlock(&u->lock);
    return best;
}

void pool_started(struct server *v) {
    atomic_fetch_add(&v->in_flight, 1);
    pthread_mutex_lock(&v->pool->lock);
    v->requests++;
    pthread_mutex_unlock(&v->pool->lock);
}

static void failed_once(struct server *v) {
    v->failed++;
    v->failures++;
    bool again = v->open_ms && v->probing;
    if (!again && v->failures < BREAKER_FAILURES)
        return;
    if (again)
        v->open_ms = v->open_ms * 2 < BREAKER_OPEN_MAX ? v->open_ms * 2 : BREAKER_OPEN_MAX;
    bool known = v->open_ms && !again; /* calls that were under way when it opened fail as well */
    if (!v->open_ms)
        v->open_ms = BREAKER_OPEN_MS;
    v->open_until_ns = clock_mono_ns() + v->open_ms * MS;
    if (!known)
        log_event(LOG_WARN, "upstream.open", LF_Z("server", v->name), LF_INT("for_ms", v->open_ms));
}

void pool_ended(struct server *v, bool health, bool failed, int64_t first_byte_ns) {
    atomic_fetch_sub(&v->in_flight, 1);
    pthread_mutex_lock(&v->pool->lock);
    if (health && failed) {
        failed_once(v);
    } else if (health) {
        v->failures = 0;
        v->open_ms = 0;
    }
    v->probing = false;
    if (first_byte_ns > 0) {
        double ms = (double)first_byte_ns / 1e6;
        v->first_byte_ms += v->first_byte_ms > 0 ? AVERAGE_PART * (ms - v->first_byte_ms) : ms;
    }
    pthread_mutex_unlock(&v->pool->lock);
}

bool pool_rotate_key(struct server *v, int refused) {
    pthread_mutex_lock(&v->pool->lock);
    bool more = v->n_keys > 1 && refused < v->n_keys;
    if (more && v->key == refused) { /* else another call did */
        v->key = (v->key + 1) % v->n_keys;
        v->rotated++;
    }
    pthread_mutex_unlock(&v->pool->lock);
    return more;
}

/* ---- seen and changed while running ---- */

static const char *breaker_name(const struct server *v, int64_t now) {
    return !v->open_ms ? "closed" : is_open(v, now) && !v->probing ? "open" : "half_open";
}

enum err upstream_servers(struct upstream *u, struct arena *a, struct upstream_server_state **ret,
                          size_t *ret_n) {
    int64_t now = clock_mono_ns();
    pthread_mutex_lock(&u->lock);
    size_t n = (size_t)u->n;
    struct upstream_server_state *list = arena_array(a, n + 1, sizeof *list);
    for (size_t i = 0; list && i < n; i++) {
        const struct server *v = &u->servers[i];
        list[i] = (struct upstream_server_state){
            .name = arena_str(a, str_from(v->name)),
            .base_url = arena_str(a, str_from(v->base_url)),
            .why = arena_str(a, str_from(v->asked && !v->ready ? v->why.message : "")),
            .breaker = breaker_name(v, now),
            .enabled = v->enabled,
            .ready = v->ready,
            .weight = v->weight,
            .max_concurrent = v->max_concurrent,
            .in_flight = atomic_load(&v->in_flight),
            .keys = v->n_keys,
            .models = (int)v->n_models,
            .requests = v->requests,
            .failed = v->failed,
            .hedged = v->hedged,
            .keys_rotated = v->rotated,
            .first_byte_ms = v->first_byte_ms,
        };
        if (!list[i].name.p || !list[i].base_url.p || !list[i].why.p)
            list = NULL;
    }
    pthread_mutex_unlock(&u->lock);
    if (!list)
        return ERR_NOMEM;
    *ret = list;
    *ret_n = n;
    return ERR_OK;
}

static enum err check_key(struct str key, struct errinfo *ei) {
    if (memchr(key.p, '\r', key.n) || memchr(key.p, '\n', key.n) || memchr(key.p, 0, key.n))
        return err_param(ei, ERR_INVALID, "key", "the key must be one line");
    return ERR_OK;
}

static enum err add_key(struct server *v, struct str key, struct errinfo *ei) {
    if (check_key(key, ei))
        return ERR_INVALID;
    if (v->n_keys == UPSTREAM_KEYS_MAX)
        return err_param(ei, ERR_INVALID, "key", "a server takes at most %d keys",
                         UPSTREAM_KEYS_MAX);
    size_t size = key.n + sizeof "Authorization: Bearer ";
    char *line = malloc(size);
    if (!line)
        return err_set(ei, ERR_NOMEM, NULL);
    snprintf(line, size, "Authorization: Bearer %.*s", STR_ARG(key));
    v->keys[v->n_keys++] = line;
    return ERR_OK;
}

enum err server_add_key(struct server *v, struct str key, struct errinfo *ei) {
    pthread_mutex_lock(&v->pool->lock);
    enum err e = add_key(v, key, ei);
    pthread_mutex_unlock(&v->pool->lock);
    return e;
}

/* The new key stands alone: requests under way have copied theirs. */
static enum err replace_keys(struct server *v, struct str key, struct errinfo *ei) {
    int old = v->n_keys;
    char *before[UPSTREAM_KEYS_MAX];
    memcpy(before, v->keys, sizeof before);
    v->n_keys = 0;
    enum err e = add_key(v, key, ei);
    if (e) {
        v->n_keys = old;
        return e;
    }
    for (int i = 0; i < old; i++) {
        explicit_bzero(before[i], strlen(before[i]));
        free(before[i]);
    }
    v->key = 0;
    return ERR_OK;
}

/* Holding the lock. */
static enum err find_server(struct upstream *u, struct str name, struct server **ret,
                            struct errinfo *ei) {
    for (int i = 0; i < u->n; i++)
        if (str_eqz(name, u->servers[i].name)) {
            *ret = &u->servers[i];
            return ERR_OK;
        }
    return err_set(ei, ERR_NOT_FOUND, "there is no such model server");
}

enum err upstream_server_change(struct upstream *u, struct str name,
                                const struct upstream_server_change *c, struct errinfo *ei) {
    struct server *v;
    pthread_mutex_lock(&u->lock);
    enum err e = find_server(u, name, &v, ei);
    if (!e && c->key.n)
        e = replace_keys(v, c->key, ei);
    if (!e && (!c->order || c->order > v->changed)) {
        v->enabled = c->enabled >= 0 ? c->enabled : v->enabled;
        v->weight = c->weight > 0 ? c->weight : v->weight;
        v->max_concurrent = c->max_concurrent >= 0 ? c->max_concurrent : v->max_concurrent;
        v->changed = c->order ? c->order : v->changed;
    }
    pthread_mutex_unlock(&u->lock);
    return e;
}

enum err upstream_server_check(struct upstream *u, struct str name,
                               const struct upstream_server_change *c, struct errinfo *ei) {
    struct server *v;
    pthread_mutex_lock(&u->lock);
    enum err e = find_server(u, name, &v, ei);
    pthread_mutex_unlock(&u->lock);
    return e || !c->key.n ? e : check_key(c->key, ei);
}

void upstream_render_metrics(struct upstream *u, struct buf *b) {
    static const struct {
        const char *name, *type, *help;
    } rows[] = {
        {"parley_upstream_server_ready", "gauge", "1 when the server answered when last asked"},
        {"parley_upstream_server_in_flight", "gauge", "requests under way"},
        {"parley_upstream_server_requests_total", "counter", "requests sent"},
        {"parley_upstream_server_failures_total", "counter", "requests that the server failed"},
        {"parley_upstream_server_open", "gauge", "1 while the circuit breaker is not closed"},
        {"parley_upstream_server_first_byte_seconds", "gauge", "moving average to the first byte"},
    };
    pthread_mutex_lock(&u->lock);
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
        buf_addf(b, "# HELP %s %s\n# TYPE %s %s\n", rows[r].name, rows[r].help, rows[r].name,
                 rows[r].type);
        for (int i = 0; i < u->n; i++) {
            const struct server *v = &u->servers[i];
            const double values[] = {v->enabled && v->ready, atomic_load(&v->in_flight),
                                     (double)v->requests,    (double)v->failed,
                                     v->open_ms > 0,         v->first_byte_ms / 1e3};
            buf_addf(b, "%s{server=\"%s\"} %.6g\n", rows[r].name, v->name, values[r]);
        }
    }
    pthread_mutex_unlock(&u->lock);
}
