/* Asking search services, see web_search.h.
 *
 *   web_search_run → job "plan": the sources from the store → a job for each: cache, or fetch →
 *   the last one to end posts to the loop → done
 *
 * A call belongs to its jobs until the last one has posted; then to the loop. */
#include "retrieval/web_search.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/crypto.h"
#include "net/fetch.h"
#include "net/jobs.h"

#define THREADS     4
#define QUEUED_MAX  64
#define SOURCES_MAX 8 /* asked for one question */
#define CACHE_SIZE  256
#define ANSWER_MAX  ((size_t)512 << 10)
#define CALL_ARENA  ((size_t)16 << 20)

struct cached {
    char key[SHA256_HEX_LEN + 1]; /* of source and URL; "" = free */
    int64_t until_ms;
    char *body; /* owned */
    size_t n;
};

struct web_search {
    struct store *store;
    struct jobs *jobs;
    atomic_int n_sources; /* < 0 = not read yet */
    pthread_mutex_t lock; /* guards the cache */
    struct cached cache[CACHE_SIZE];
    size_t next; /* which slot goes next */
};

struct ask { /* one source of a call */
    struct web_search_call *call;
    struct source source;
    struct web_map map;
    struct web_hit *hits;
    size_t n;
    bool failed, from_cache;
    char error[sizeof((struct errinfo *)0)->message];
    struct arena *arena; /* owned: of its job alone */
};

struct web_search_call {
    struct web_search *w;
    struct loop *loop;
    struct arena *arena; /* owned; the struct itself is in it */
    struct str query;
    struct uuid user_id, only;
    int budget_ms;
    void (*done)(void *ctx, const struct web_search_result *r);
    void *ctx;
    struct ask asks[SOURCES_MAX];
    size_t n;
    atomic_int left;
    atomic_bool cancelled;
};

/* ---- the cache ---- */

static void key_of(const struct ask *a, const char *url, char key[SHA256_HEX_LEN + 1]) {
    char text[2200];
    snprintf(text, sizeof text, "%s %s", a->source.source_id.s, url);
    sha256_hex(str_from(text), key);
}

static bool cache_find(struct web_search *w, const char *key, struct arena *a, struct str *ret) {
    bool found = false;
    pthread_mutex_lock(&w->lock);
    for (size_t i = 0; i < CACHE_SIZE && !found; i++) {
        struct cached *c = &w->cache[i];
        if (c->until_ms <= clock_wall_ms() || strcmp(c->key, key) != 0)
            continue;
        *ret = arena_str(a, (struct str){c->body, c->n});
        found = ret->p != NULL;
    }
    pthread_mutex_unlock(&w->lock);
    return found;
}

static void cache_put(struct web_search *w, const char *key, struct str body, int minutes) {
    char *copy = minutes ? malloc(body.n + 1) : NULL;
    if (!copy)
        return;
    memcpy(copy, body.p, body.n);
    pthread_mutex_lock(&w->lock);
    struct cached *c = &w->cache[w->next++ % CACHE_SIZE];
    free(c->body);
    *c = (struct cached){
        .until_ms = clock_wall_ms() + (int64_t)minutes * 60000, .body = copy, .n = body.n};
    memcpy(c->key, key, sizeof c->key);
    pthread_mutex_unlock(&w->lock);
}

/* ---- one source ---- */

static void fail(struct ask *a, const char *why) {
    a->failed = true;
    snprintf(a->error, sizeof a->error, "%s", why);
}

static bool get_answer(struct ask *a, const char *url, struct str *ret) {
    struct web_search *w = a->call->w;
    struct errinfo ei = {0};
    struct fetched got;
    char key[SHA256_HEX_LEN + 1], status[60];
    int budget = a->call->budget_ms;
    key_of(a, url, key);
    if ((a->from_cache = cache_find(w, key, a->arena, ret)))
        return true;
    struct fetch f = {.url = url,
                      .allow_private = a->source.allow_private,
                      .max_bytes = ANSWER_MAX,
                      .total_ms = budget && budget < a->map.timeout_ms ? budget : a->map.timeout_ms,
                      .accept = "application/json",
                      .stop = &a->call->cancelled};
    enum err e = fetch_run(&f, &got, &ei);
    if (e) {
        fail(a, ei.message[0] ? ei.message : err_text(e));
    } else if (got.status != 200) {
        snprintf(status, sizeof status, "the search answered HTTP %d", got.status);
        fail(a, status);
    } else {
        *ret = arena_str(a->arena, buf_str(&got.body));
        if (!ret->p)
            fail(a, err_text(ERR_NOMEM));
        else
            cache_put(w, key, *ret, a->map.cache_minutes);
    }
    fetched_free(&got);
    return !a->failed;
}

static void ended(void *arg);

static void call_free(struct web_search_call *c) {
    for (size_t i = 0; i < c->n; i++)
        arena_free(c->asks[i].arena);
    arena_free(c->arena);
}

/* The last one hands the call to its loop. When not even that is possible, nobody waits for it:
 * memory is out. */
static void one_less(struct web_search_call *c) {
    if (atomic_fetch_sub(&c->left, 1) == 1 && loop_post(c->loop, ended, c))
        call_free(c);
}

static void ask_source(void *arg) {
    struct ask *a = arg;
    struct errinfo ei = {0};
    struct str answer;
    a->arena = arena_new(CALL_ARENA);
    char *url = a->arena ? web_url(a->source.location, a->call->query, a->arena) : NULL;
    if (!url)
        fail(a, "the address is too long with this question in it");
    else if (!atomic_load(&a->call->cancelled) && get_answer(a, url, &answer) &&
             web_hits_read(answer, &a->map, a->source.name, a->arena, &a->hits, &a->n, &ei))
        fail(a, ei.message);
    one_less(a->call);
}

/* ---- the plan ---- */

struct list {
    struct arena *arena;
    struct source *s;
    size_t n;
};

static enum err list_searches(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct list *l = arg;
    (void)ei;
    return source_searches(tx, l->arena, &l->s, &l->n);
}

static bool is_for(const struct web_search_call *c, const struct source *s) {
    if (uuid_is_set(&c->only))
        return uuid_eq(&c->only, &s->source_id);
    return s->shared || uuid_eq(&s->user_id, &c->user_id);
}

static void plan(void *arg) {
    struct web_search_call *c = arg;
    struct errinfo ei;
    struct list l = {.arena = c->arena};
    if (store_read_wait(c->w->store, list_searches, &l, &ei))
        l.n = 0;
    else
        atomic_store(&c->w->n_sources, (int)l.n);
    for (size_t i = 0; i < l.n && c->n < SOURCES_MAX; i++) {
        if (!is_for(c, &l.s[i]))
            continue;
        struct ask *a = &c->asks[c->n++];
        *a = (struct ask){.call = c, .source = l.s[i]};
        web_map_read(l.s[i].settings, &a->map);
    }
    size_t n = c->n; /* c may be gone after the last one_less() */
    atomic_fetch_add(&c->left, (int)n);
    for (size_t i = 0; i < n; i++)
        if (jobs_submit(c->w->jobs, ask_source, NULL, NULL, &c->asks[i])) {
            fail(&c->asks[i], "too many searches run already");
            one_less(c);
        }
    one_less(c);
}

/* ---- the end, on the loop ---- */

/* Sources take turns: the first of each, the second of each, … */
static size_t weave(struct web_search_call *c, struct web_hit *out) {
    size_t n = 0;
    for (size_t rank = 0;; rank++) {
        bool any = false;
        for (size_t i = 0; i < c->n; i++)
            if (rank < c->asks[i].n) {
                any = true;
                out[n++] = c->asks[i].hits[rank];
            }
        if (!any)
            return n;
    }
}

static void ended(void *arg) {
    struct web_search_call *c = arg;
    struct web_search_result r = {.asked = (int)c->n, .first_error = STR("")};
    size_t total = 0;
    for (size_t i = 0; i < c->n; i++) {
        total += c->asks[i].n;
        r.failed += c->asks[i].failed;
        r.from_cache += c->asks[i].from_cache;
        if (c->asks[i].failed && !r.first_error.n)
            r.first_error = str_from(c->asks[i].error);
    }
    struct web_hit *hits = arena_array(c->arena, total + 1, sizeof *hits);
    r.hits = hits;
    r.n = hits ? weave(c, hits) : 0;
    if (!atomic_load(&c->cancelled))
        c->done(c->ctx, &r);
    call_free(c);
}

void web_search_cancel(struct web_search_call *c) {
    atomic_store(&c->cancelled, true);
}

enum err web_search_run(struct web_search *w, struct loop *l, const struct web_search_request *q,
                        void (*done)(void *ctx, const struct web_search_result *r), void *ctx,
                        struct web_search_call **ret, struct errinfo *ei) {
    struct arena *a = arena_new(CALL_ARENA);
    struct web_search_call *c = a ? arena_alloc(a, sizeof *c) : NULL;
    enum err e = c ? ERR_OK : ERR_NOMEM;
    if (c) {
        c->w = w;
        c->loop = l;
        c->arena = a;
        c->query = arena_str(a, str_trim(q->query));
        c->user_id = q->user_id;
        c->only = q->only;
        c->budget_ms = q->budget_ms;
        c->done = done;
        c->ctx = ctx;
        atomic_store(&c->left, 1);
        e = c->query.p ? jobs_submit(w->jobs, plan, NULL, NULL, c) : ERR_NOMEM;
    }
    if (e) {
        arena_free(a);
        return err_set(ei, e, NULL);
    }
    *ret = c;
    return ERR_OK;
}

/* ---- making ---- */

enum err web_search_new(struct store *s, struct web_search **ret, struct errinfo *ei) {
    struct web_search *w = calloc(1, sizeof *w);
    enum err e = w ? jobs_new(THREADS, QUEUED_MAX, &w->jobs) : ERR_NOMEM;
    if (e) {
        free(w);
        return err_set(ei, e, NULL);
    }
    w->store = s;
    pthread_mutex_init(&w->lock, NULL);
    web_search_changed(w);
    *ret = w;
    return ERR_OK;
}

void web_search_free(struct web_search *w) {
    if (!w)
        return;
    jobs_free(w->jobs);
    for (size_t i = 0; i < CACHE_SIZE; i++)
        free(w->cache[i].body);
    pthread_mutex_destroy(&w->lock);
    free(w);
}

void web_search_changed(struct web_search *w) {
    if (w)
        atomic_store(&w->n_sources, -1);
}

bool web_search_has_sources(struct web_search *w) {
    return w && atomic_load(&w->n_sources) != 0;
}
