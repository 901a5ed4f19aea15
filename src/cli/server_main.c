/* The server process: store, upstream, turns and API on one event loop for each core.
 *
 *   start:  store (migrations, recovery, roles, first account) → loops, each with HTTP server,
 * upstream connections, API and turns → ready is told to the supervisor end:    SIGTERM, SIGINT, or
 * the supervisor's end: nothing more is accepted, running answers get some seconds, then each loop
 * lets go of what it has and stops; the store writes what is queued
 *
 * Loop 0 is the main thread; it has the signals and the timers, and struct server's plain fields
 * are its own. The listening sockets are the supervisor's. */
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "api/api.h"
#include "api/slo.h"
#include "auth/auth.h"
#include "base/clock.h"
#include "base/crypto.h"
#include "cli/cli.h"
#include "cli/guard_open.h"
#include "cli/learn_open.h"
#include "cli/start_writes.h"
#include "cli/upstreams.h"
#include "extract/extract.h"
#include "ingest/ingest.h"
#include "net/http_server.h"
#include "net/jobs.h"
#include "retrieval/retrieval.h"
#include "retrieval/web_search.h"
#include "safety/document.h"
#include "store/care.h"
#include "supervisor/supervisor.h"
#include "turn/turn.h"
#include "upstream/upstream.h"

#define ARENAS_OTHERS     32 /* store, guard, searches, passwords, ingest, … */
#define ARENAS_LOOPS_MOST 256

/* How long connections may wait for the model server's first answer; in an upgrade the program
 * before serves meanwhile. */
#define LISTEN_MS           300
#define LISTEN_REPLACING_MS 15000
#define LOOP_STUCK_MS       2000 /* a loop that did not turn for so long is stuck */
#define LOOPS_MAX           256
#define DRAIN_MS            10000
#define DRAIN_ORPHANED_MS   0      /* whoever starts us again waits for the address and the lock */
#define DRAIN_LEAVING_MS    120000 /* another program serves already: answers may end in peace */
#define END_LOOK_MS         10
#define END_LOOKS           100
#define DRAIN_LOOK_MS       50
#define LOOK_MS             250   /* at what the upstream is known to be */
#define REFRESH_READY_MS    10000 /* and asked again when it was well */
#define IDEMPOTENCY_KEPT_MS (24 * 3600 * 1000ll)
#define PROBE_MS            1000
#define PURGE_MS            3600000
#define FILES_KEPT_BACK     256 /* descriptors for the store, the upstream and ourselves */
#define PASSWORD_THREADS    2
#define PASSWORDS_QUEUED    1000
#define THREAD_STACK        ((size_t)512 * 1024)

struct server;

struct server_loop {
    struct server *server;
    struct loop *loop;
    struct http_server *http;
    struct upstream_client *client;
    pthread_t thread; /* but for loop 0 */
    bool has_thread, turns_attached;
    int listen_fd;
    struct timer *beat, *end;
    int ends; /* looks at whether the last requests are answered */
    atomic_llong beat_ns;
};

struct server {
    const struct config *config;
    struct supervisor_link link;
    const char *address, *notice;
    struct store *store;
    struct upstream *upstream;
    struct retrieval *retrieval;
    struct turns *turns;
    struct ingest *ingest;
    struct web_search *web;
    struct jobs *jobs;
    struct server_guard guard;
    struct server_learn learn;
    struct api *api;
    struct server_loop loops[LOOPS_MAX];
    size_t n_loops;
    atomic_size_t n_serving;
    atomic_bool failed;
    atomic_bool orphaned; /* somebody waits for the lock */
    bool listening, draining, told_ready, refreshing, purging;
    bool purge_more; /* the store's thread, while purging */
    int64_t drain_left_ms;
    int64_t refreshed_ns; /* when the upstream was asked last */
    struct care *care;
    int64_t probed_ns; /* when a store that could not be written was tried last */
    struct start_writes writes;
    struct timer *listen_timer, *before_timer, *drain_timer, *refresh_timer, *purge_timer;
};

/* ---- the end ---- */

static void loop_last(void *arg, enum err err, const struct errinfo *ei) {
    struct server_loop *l = arg;
    (void)err;
    (void)ei;
    if (l == &l->server->loops[0])
        learn_stop(&l->server->learn);
    upstream_client_free(l->client);
    l->client = NULL;
    loop_stop(l->loop);
}

static enum err write_nothing(struct store_tx *tx, void *arg, struct errinfo *ei) {
    (void)tx;
    (void)arg;
    (void)ei;
    return ERR_OK;
}

/* On each loop: clients first, because their going away reaches into the turns. Then one more turn
 * through the store, behind everything that this loop has given it: whoever waits for a write still
 * hears of it. */
static void loop_end(void *arg) {
    struct server_loop *l = arg;
    if (l->http && !l->server->orphaned && l->ends < END_LOOKS &&
        http_server_requests(l->http) > 0) {
        l->ends++; /* what is being answered is answered */
        timer_start(l->end, END_LOOK_MS, false);
        return;
    }
    timer_free(l->end);
    l->end = NULL;
    http_server_free(l->http);
    l->http = NULL;
    timer_free(l->beat);
    l->beat = NULL;
    if (l->turns_attached)
        turns_detach_loop(l->server->turns, l->loop);
    if (l == &l->server->loops[0] && l->server->retrieval)
        retrieval_stop(l->server->retrieval);
    if (store_write(l->server->store, write_nothing, l, l->loop, loop_last) != ERR_OK)
        loop_last(l, ERR_OK, NULL);
}

static void loop_refuse_more(void *arg) {
    struct server_loop *l = arg;
    if (l->http)
        http_server_stop_accepting(l->http);
}

static void on_all_loops(struct server *s, loop_fn fn) {
    for (size_t i = 0; i < s->n_loops; i++)
        if (loop_post(s->loops[i].loop, fn, &s->loops[i]))
            abort(); /* no memory for a pointer: ending at once is all that is left */
}

static void drain_look(void *arg) {
    struct server *s = arg;
    s->drain_left_ms -= DRAIN_LOOK_MS;
    int running = turns_busy(s->turns);
    if (running > 0 && s->drain_left_ms > 0)
        return;
    if (running > 0)
        log_event(LOG_WARN, "server.interrupts", LF_INT("answers", running));
    timer_free(s->listen_timer);
    timer_free(s->before_timer);
    timer_free(s->drain_timer);
    timer_free(s->refresh_timer);
    timer_free(s->purge_timer);
    s->listen_timer = s->before_timer = s->drain_timer = s->refresh_timer = s->purge_timer = NULL;
    on_all_loops(s, loop_end);
}

static void drain(struct server *s, int64_t ms) {
    if (s->draining)
        return;
    s->draining = true;
    s->drain_left_ms = ms;
    log_event(LOG_INFO, "server.stopping", LF_INT("answers", turns_busy(s->turns)));
    on_all_loops(s, loop_refuse_more);
    timer_start(s->drain_timer, turns_busy(s->turns) && ms ? DRAIN_LOOK_MS : 1, true);
}

static void on_stop_signal(void *arg) {
    struct server *s = arg;
    if (s->draining && s->drain_left_ms > DRAIN_MS)
        s->drain_left_ms = DRAIN_MS; /* it was leaving in peace; now all is to end */
    drain(s, DRAIN_MS);
}

static void on_leave_signal(void *arg) {
    drain(arg, DRAIN_LEAVING_MS);
}

static void on_lifeline(void *arg) {
    ((struct server *)arg)->orphaned = true;
    drain(arg, DRAIN_ORPHANED_MS);
}

static void on_loop_failed(void *arg) {
    drain(arg, DRAIN_ORPHANED_MS);
}

/* ---- what recurs ---- */

/* After an upgrade the former process goes on beside this one until its answers are written. What
 * it leaves behind in spite of that is taken up when it is gone. */
static void look_before(void *arg) {
    struct server *s = arg;
    if (kill(s->link.before_pid, 0) == 0 || errno != ESRCH)
        return;
    s->writes.answers_due = true;
    timer_stop(s->before_timer);
}

static void say_ready(struct server *s) {
    s->told_ready = true;
    log_event(LOG_INFO, "server.ready", LF_Z("address", s->address));
    if (s->link.start > 1)
        return; /* it came back by itself; whoever looks at the terminal has the address */
    printf("Parley is ready at %s\n", s->address);
    fflush(stdout);
}

static void listen_now(void *arg);

static void refreshed(void *ctx, enum err err, const struct errinfo *ei) {
    struct server *s = ctx;
    s->refreshing = false;
    if (err)
        log_event(LOG_DEBUG, "upstream.not_ready", LF_ERR(ei));
    if (upstream_is_ready(s->upstream, NULL))
        listen_now(s);
    if (!s->told_ready && upstream_is_ready(s->upstream, NULL))
        say_ready(s);
}

/* A store that could not be written is tried until it can: the page says so meanwhile. */
static void look_at_store(struct server *s, int64_t now) {
    if (store_health(s->store, NULL) == ERR_OK || now - s->probed_ns < (int64_t)PROBE_MS * 1000000)
        return;
    s->probed_ns = now;
    if (store_probe(s->store))
        log_event(LOG_DEBUG, "store.probe_put_off");
}

/* A model server that failed a request counts as not ready until it was asked again, which is done
 * at the next look. */
static void look(void *arg) {
    struct server *s = arg;
    int64_t now = clock_mono_ns();
    look_at_store(s, now);
    start_writes_look(&s->writes, now);
    slo_sample();
    bool due = now - s->refreshed_ns >= (int64_t)REFRESH_READY_MS * 1000000;
    if (s->refreshing || (!due && upstream_is_ready(s->upstream, NULL)))
        return;
    s->refreshed_ns = now;
    s->refreshing = true;
    if (upstream_refresh(s->loops[0].client, refreshed, s) != ERR_OK)
        s->refreshing = false;
}

static enum err purge_fn(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct server *s = arg;
    (void)ei;
    enum err e = session_purge(tx);
    return e ? e : idempotency_purge(tx, clock_wall_ms() - IDEMPOTENCY_KEPT_MS, &s->purge_more);
}

static void purge(void *arg);

/* What an hour of many users leaves is taken away in pieces, between which others get their turn.
 */
static void purged(void *arg, enum err e, const struct errinfo *ei) {
    struct server *s = arg;
    (void)ei;
    s->purging = false;
    if (!e && s->purge_more && !s->draining)
        purge(s);
}

static void purge(void *arg) {
    struct server *s = arg;
    if (s->purging)
        return;
    s->purge_more = false;
    s->purging = store_write(s->store, purge_fn, s, s->loops[0].loop, purged) == ERR_OK;
    if (!s->purging)
        log_event(LOG_DEBUG, "server.purge_put_off");
}

/* ---- signs of life: of the server as a whole only while every loop turns ---- */

static void loop_beat(void *arg) {
    struct server_loop *l = arg;
    atomic_store(&l->beat_ns, clock_mono_ns());
    if (l != &l->server->loops[0])
        return;
    int64_t oldest = clock_mono_ns() - (int64_t)LOOP_STUCK_MS * 1000000;
    for (size_t i = 1; i < l->server->n_loops; i++)
        if (atomic_load(&l->server->loops[i].beat_ns) < oldest)
            return;
    supervisor_link_beat(&l->server->link);
}

/* ---- the loops ---- */

static void loop_listen(void *arg) {
    struct server_loop *l = arg;
    struct errinfo ei = {0};
    if (!l->http || http_server_listen(l->http, l->listen_fd, &ei) == ERR_OK)
        return;
    log_event(LOG_ERROR, "server.loop_failed", LF_ERR(&ei));
    atomic_store(&l->server->failed, true);
    if (loop_post(l->server->loops[0].loop, on_loop_failed, l->server))
        abort();
}

/* Connections wait in the sockets' queues until the model server has told what it has, so that a
 * restart or an upgrade refuses nobody; but not for long, because the page works without a model.
 */
static void listen_now(void *arg) {
    struct server *s = arg;
    if (s->listening || s->draining)
        return;
    s->listening = true;
    timer_stop(s->listen_timer);
    on_all_loops(s, loop_listen);
    supervisor_link_ready(&s->link);
    log_event(LOG_INFO, "server.listening", LF_Z("address", s->address),
              LF_INT("loops", s->n_loops), LF_INT("start", s->link.start));
}

static void all_attached(void *arg) {
    struct server *s = arg;
    malloc_trim(0);
    timer_start(s->listen_timer, s->link.before_pid ? LISTEN_REPLACING_MS : LISTEN_MS, false);
    look(s);
    timer_start(s->refresh_timer, LOOK_MS, true);
    if (s->link.before_pid)
        timer_start(s->before_timer, LOOK_MS, true);
    purge(s);
}

static void handle(struct http_request *r, void *ctx) {
    struct server *s = ctx;
    if (log_level() == LOG_DEBUG)
        log_event(LOG_DEBUG, "http.request", LF_Z("request", http_request_id(r)),
                  LF_Z("method", http_method_name(r)), LF_STR("path", http_path(r)));
    api_handle(r, s->api);
}

static size_t body_limit(const struct http_request *r, void *ctx) {
    return api_body_limit(r, ((struct server *)ctx)->api);
}

static int connections_of_a_loop(const struct server *s) {
    struct rlimit r;
    if (getrlimit(RLIMIT_NOFILE, &r) != 0 || r.rlim_cur > 1000000)
        return 0;
    int64_t n = ((int64_t)r.rlim_cur - FILES_KEPT_BACK) / (int64_t)s->n_loops;
    return n < 16 ? 16 : (int)n;
}

static enum err attach(struct server_loop *l, struct errinfo *ei) {
    struct server *s = l->server;
    struct http_server_options o = {
        .max_body_bytes = api_max_body_bytes(s->api),
        .body_limit = body_limit,
        .max_connections = connections_of_a_loop(s),
        .error_body = api_error_body,
    };
    enum err e = upstream_client_new(s->upstream, l->loop, &l->client, ei);
    if (!e && l == &s->loops[0])
        e = retrieval_start(s->retrieval, l->loop, l->client, ei);
    if (!e)
        e = turns_attach_loop(s->turns, l->loop, l->client, ei);
    if (!e) {
        l->turns_attached = true;
        e = api_attach_loop(s->api, l->loop, l->client, ei);
    }
    if (!e && l == &s->loops[0])
        e = learn_start(&s->learn, l->loop, l->client, ei);
    if (!e)
        e = http_server_new(l->loop, &o, handle, s, &l->http, ei);
    l->beat = timer_new(l->loop, loop_beat, l);
    l->end = timer_new(l->loop, loop_end, l);
    if (!e && (!l->beat || !l->end))
        e = err_set(ei, ERR_NOMEM, NULL);
    if (!e)
        timer_start(l->beat, SUPERVISOR_BEAT_MS, true);
    return e;
}

static void loop_begin(void *arg) {
    struct server_loop *l = arg;
    struct server *s = l->server;
    struct errinfo ei = {0};
    loop_fn next = NULL;
    if (attach(l, &ei) != ERR_OK) {
        log_event(LOG_ERROR, "server.loop_failed", LF_ERR(&ei));
        atomic_store(&s->failed, true);
        next = on_loop_failed;
    } else if (atomic_fetch_add(&s->n_serving, 1) + 1 == s->n_loops) {
        next = all_attached;
    }
    if (next && loop_post(s->loops[0].loop, next, s))
        abort();
}

static void *loop_thread(void *arg) {
    struct server_loop *l = arg;
    prctl(PR_SET_NAME, "loop");
    loop_run(l->loop);
    return NULL;
}

static enum err start_thread(struct server_loop *l, struct errinfo *ei) {
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, THREAD_STACK);
    int failed = pthread_create(&l->thread, &attr, loop_thread, l);
    pthread_attr_destroy(&attr);
    if (failed)
        return err_set(ei, ERR_NOMEM, "a thread cannot be started: %s", strerror(failed));
    l->has_thread = true;
    return ERR_OK;
}

/* Runs until the end; loops 1… are joined when this returns. */
static enum err run_loops(struct server *s, struct errinfo *ei) {
    struct loop *first = s->loops[0].loop;
    s->listen_timer = timer_new(first, listen_now, s);
    s->before_timer = timer_new(first, look_before, s);
    s->drain_timer = timer_new(first, drain_look, s);
    s->refresh_timer = timer_new(first, look, s);
    s->purge_timer = timer_new(first, purge, s);
    if (!s->listen_timer || !s->before_timer || !s->drain_timer || !s->refresh_timer ||
        !s->purge_timer)
        return err_set(ei, ERR_NOMEM, NULL);
    timer_start(s->purge_timer, PURGE_MS, true);
    enum err e = loop_on_signal(first, SIGTERM, on_stop_signal, s);
    if (!e)
        e = loop_on_signal(first, SIGINT, on_stop_signal, s);
    if (!e)
        e = loop_on_signal(first, SUPERVISOR_LEAVE_SIGNAL, on_leave_signal, s);
    if (!e && s->link.lifeline_fd >= 0)
        e = loop_on_readable(first, s->link.lifeline_fd, on_lifeline, s);
    if (e)
        return err_set(ei, e, "signals cannot be watched");
    for (size_t i = 0; i < s->n_loops && !e; i++)
        e = loop_post(s->loops[i].loop, loop_begin, &s->loops[i]);
    for (size_t i = 1; i < s->n_loops && !e; i++)
        e = start_thread(&s->loops[i], ei);
    if (!e)
        loop_run(first);
    for (size_t i = 1; i < s->n_loops; i++) {
        if (!s->loops[i].has_thread)
            continue;
        if (e)
            loop_stop(s->loops[i].loop);
        pthread_join(s->loops[i].thread, NULL);
    }
    return e ? e : atomic_load(&s->failed) ? err_set(ei, ERR_INTERNAL, "see the log") : ERR_OK;
}

/* ---- making the parts ---- */

/* What is there is served; start_writes_look() makes up for what a start writes. Other failures
 * stay, also those of other files than the database. */
static enum err put_off_if_full(struct server *s, enum err e, const struct errinfo *ei) {
    struct errinfo why;
    bool store = e == ERR_IO && store_health(s->store, &why) != ERR_OK;
    if (e != ERR_DISK_FULL && e != ERR_READ_ONLY && !store)
        return e;
    log_event(LOG_ERROR, "server.reads_only", LF_ERR(ei));
    return ERR_OK;
}

static enum err open_store(struct server *s, struct errinfo *ei) {
    struct store_options o = {.path = s->config->db_path};
    enum err e = store_open(&o, &s->store, ei);
    if (e)
        return e;
    s->writes = (struct start_writes){.config = s->config,
                                      .address = s->address,
                                      .store = s->store,
                                      .tells = s->link.start == 1,
                                      .accounts_due = true,
                                      .answers_due = !s->link.before_pid}; /* else look_before() */
    if (store_is_read_only(s->store))
        return put_off_if_full(s, store_health(s->store, ei), ei);
    e = start_writes_accounts(&s->writes, ei);
    if (!e)
        e = store_probe(s->store); /* a disk that is full already is told of from the start on */
    return e ? put_off_if_full(s, e, ei) : ERR_OK;
}

static const char *or_null(const char *s) {
    return s[0] ? s : NULL;
}

static size_t document_bytes(const struct config *c) {
    return (size_t)(c->max_body_bytes > c->max_document_bytes ? c->max_body_bytes
                                                              : c->max_document_bytes);
}

static struct document_quota quota_of(const struct config *c) {
    return (struct document_quota){c->max_user_documents, c->max_user_document_bytes};
}

static void poke_retrieval(void *ctx) {
    retrieval_poke(((struct server *)ctx)->retrieval);
}

static enum err open_care(struct server *s, struct errinfo *ei) {
    const struct config *c = s->config;
    char folder[4096];
    int n = snprintf(folder, sizeof folder, "%s/backups", c->data_dir);
    if (n < 0 || (size_t)n >= sizeof folder)
        return err_set(ei, ERR_INVALID, "the name of the data directory is too long");
    struct care_options o = {.db_path = c->db_path,
                             .backup_dir = folder,
                             .backup_hours = (int)c->backup_hours,
                             .keep = (int)c->backup_keep};
    return care_new(&o, &s->care, ei);
}

static bool guard_begins_early(const struct config *c) {
    return c->guard_early == GUARD_EARLY_ALWAYS ||
           (c->guard_early == GUARD_EARLY_ENGINE && !c->upstream[0]);
}

static enum err judge_document(void *ctx, struct document *d, struct chunk_row *rows, size_t n,
                               struct arena *a, bool *ret_orders) {
    return safety_judge_document(ctx, d, rows, n, a, ret_orders);
}

/* What all the others stand on. */
static enum err open_ground(struct server *s, struct errinfo *ei) {
    const struct config *c = s->config;
    enum err e = net_init(ei);
    if (!e && (e = crypto_init()) != ERR_OK)
        err_set(ei, e, "the cryptography library cannot be used");
    if (!e)
        e = open_store(s, ei);
    if (!e)
        e = upstreams_open(c, &s->upstream, ei);
    if (!e)
        e = store_read_wait(s->store, api_upstreams_restore, s->upstream, ei);
    if (!e && (e = jobs_new(PASSWORD_THREADS, PASSWORDS_QUEUED, &s->jobs)) != ERR_OK)
        err_set(ei, e, "threads cannot be started");
    return e ? e : guard_open(&s->guard, c, s->store, ei);
}

static enum err open_search(struct server *s, struct errinfo *ei) {
    const struct config *c = s->config;
    struct retrieval_options ro = {.store = s->store,
                                   .upstream = s->upstream,
                                   .extract = extract_document,
                                   .budget_ms = (int)c->embedding_wait_ms / 2,
                                   .judge = s->guard.safety ? judge_document : NULL,
                                   .judge_ctx = s->guard.safety};
    enum err e = retrieval_new(&ro, &s->retrieval, ei);
    if (!e)
        e = learn_open(&s->learn, s->store, s->upstream, s->retrieval, ei);
    return e ? e : web_search_new(s->store, &s->web, ei);
}

static enum err open_ingest(struct server *s, struct errinfo *ei) {
    const struct config *c = s->config;
    struct ingest_options in = {.store = s->store,
                                .delay_ms = (int)c->source_delay_ms,
                                .max_bytes = document_bytes(c),
                                .quota = quota_of(c),
                                .poke = poke_retrieval,
                                .poke_ctx = s};
    return ingest_start(&in, &s->ingest, ei);
}

static enum err open_turns(struct server *s, struct errinfo *ei) {
    const struct config *c = s->config;
    struct turns_options t = {.store = s->store,
                              .data_dir = c->data_dir,
                              .learn = &s->learn.turn,
                              .retrieval = s->retrieval,
                              .safety = s->guard.safety,
                              .safety_jobs = s->guard.jobs,
                              .guard_early = guard_begins_early(c),
                              .guard_upstream = s->guard.upstream,
                              .guard_model = or_null(c->guard_model),
                              .guard_format = (enum guard_format)c->guard_format,
                              .guard_wait_ms = (int)c->embedding_wait_ms,
                              .guard_timeout_ms = (int)c->guard_timeout_ms,
                              .guard_blocks = c->guard_fallback == 1,
                              .upstream = s->upstream,
                              .otlp_endpoint = c->otlp_endpoint,
                              .web = s->web,
                              .web_wait_ms = (int)c->search_wait_ms,
                              .max_running = (int)c->max_running,
                              .max_running_per_user = (int)c->max_running_per_user,
                              .keep_seconds = (int)c->keep_stream_seconds,
                              .degrade = c->degrade,
                              .fallback_model = c->fallback_model,
                              .titles = c->titles};
    return turns_new(&t, &s->turns, ei);
}

static enum err open_api(struct server *s, struct errinfo *ei) {
    const struct config *c = s->config;
    struct api_options o = {.store = s->store,
                            .retrieval = s->retrieval,
                            .care = s->care,
                            .learn = s->learn.learn,
                            .safety = s->guard.safety,
                            .safety_jobs = s->guard.jobs,
                            .guard_early = guard_begins_early(c),
                            .guard_wait_ms = (int)c->embedding_wait_ms,
                            .web_wait_ms = (int)c->search_wait_ms,
                            .turns = s->turns,
                            .upstream = s->upstream,
                            .jobs = s->jobs,
                            .ingest = s->ingest,
                            .web = s->web,
                            .upstream_is_engine = !c->upstream[0],
                            .signup_open = c->signup == SIGNUP_OPEN,
                            .session_days = (int)c->session_days,
                            .public_https = c->secure_cookies,
                            .notice = or_null(s->notice),
                            .max_body_bytes = (size_t)c->max_body_bytes,
                            .max_document_bytes = document_bytes(c),
                            .quota = quota_of(c)};
    return api_new(&o, &s->api, ei);
}

static enum err open_parts(struct server *s, struct errinfo *ei) {
    enum err e = open_ground(s, ei);
    if (!e)
        e = open_search(s, ei);
    if (!e)
        e = open_ingest(s, ei);
    if (!e)
        e = open_turns(s, ei);
    s->writes.turns = s->turns;
    s->writes.jobs = s->jobs;
    if (!e && s->writes.answers_due && !s->writes.accounts_due)
        e = put_off_if_full(s, start_writes_answers(&s->writes, ei), ei);
    if (!e)
        e = open_care(s, ei);
    if (!e)
        e = open_api(s, ei);
    for (size_t i = 0; i < s->n_loops && !e; i++) {
        s->loops[i].server = s;
        e = loop_new(&s->loops[i].loop, ei);
    }
    s->writes.loop = s->loops[0].loop;
    return e;
}

/* The order is the headers': threads first, then the store, which still posts to the loops; those
 * last. */
static void close_parts(struct server *s) {
    care_free(s->care);
    ingest_stop(s->ingest);
    web_search_free(s->web);
    jobs_free(s->jobs);
    learn_close(&s->learn);
    guard_stop(&s->guard);
    retrieval_free(s->retrieval);
    if (s->store)
        store_close(s->store);
    api_free(s->api);
    turns_free(s->turns);
    guard_close(&s->guard);
    upstream_free(s->upstream);
    timer_free(s->listen_timer);
    timer_free(s->before_timer);
    timer_free(s->drain_timer);
    timer_free(s->refresh_timer);
    timer_free(s->purge_timer);
    for (size_t i = 0; i < s->n_loops; i++)
        loop_free(s->loops[i].loop);
}

/* ---- the command ---- */

static bool take_fds(struct server *s, const char *text) {
    struct str rest = str_from(text);
    while (rest.n > 0) {
        uint64_t fd;
        if (s->n_loops == LOOPS_MAX || !str_to_u64(str_cut(&rest, ','), &fd) || fd > INT32_MAX)
            return false;
        s->loops[s->n_loops++].listen_fd = (int)fd;
        fcntl((int)fd, F_SETFD, FD_CLOEXEC);
    }
    return s->n_loops > 0;
}

/* What a person must change first is no use to try again. */
static int status_of(enum err e) {
    switch (e) {
    case ERR_INVALID:
        return SUPERVISOR_EXIT_GIVE_UP;
    case ERR_CORRUPT:
    case ERR_CONFLICT: /* of a newer Parley */
        return SUPERVISOR_EXIT_GIVE_UP_DATA;
    default:
        return CLI_FAILED;
    }
}

/* malloc()'s: one for each thread. With fewer, threads get them in turn, and where two loops had
 * one in common (it depended on which threads began first) each request waited for the other loop
 * seven times: two fifths of its CPU time. An arena that is hardly used takes next to no memory. */
static int arenas_wanted(void) {
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    return ARENAS_OTHERS +
           (cores > 0 && cores < ARENAS_LOOPS_MOST ? (int)cores : ARENAS_LOOPS_MOST);
}

int cmd_server(const struct args *a) {
    const char *fds = args_get(a, "listen-fds"), *address = args_get(a, "address");
    if (!fds || !address)
        return cli_say(CLI_USAGE, "this is started by `parley serve`");
    struct config *config;
    if (cli_config(a, &config))
        return SUPERVISOR_EXIT_GIVE_UP;
    mallopt(M_ARENA_MAX, arenas_wanted());
    prctl(PR_SET_NAME, "parley-server"); /* executed as /proc/self/exe, it would be "exe" */
    config_start_log(config, "server");
    struct errinfo ei = {0};
    struct server *s = calloc(1, sizeof *s);
    enum err e = ERR_NOMEM;
    if (s) {
        s->config = config;
        if (args_has(a, "engine-socket"))
            config->engine_socket = args_get(a, "engine-socket");
        s->address = address;
        uint64_t lock; /* ours to keep, not for others */
        if (args_has(a, "lock-fd") && str_to_u64(str_from(args_get(a, "lock-fd")), &lock))
            fcntl((int)lock, F_SETFD, FD_CLOEXEC);
        s->notice = args_has(a, "notice") ? args_get(a, "notice") : "";
        supervisor_link_get(&s->link);
        e = take_fds(s, fds) ? open_parts(s, &ei) : err_set(&ei, ERR_INVALID, "--listen-fds");
        if (!e)
            e = run_loops(s, &ei);
        close_parts(s);
    }
    if (e)
        cli_say(0, "the server cannot run: %s", ei.message[0] ? ei.message : err_text(e));
    free(s);
    config_free(config);
    return e ? status_of(e) : CLI_OK;
}
