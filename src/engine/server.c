/* The engine process: loads the models on the compute thread while HTTP is served already, and
 * dispatches requests.
 *
 * Threads: the loop's (HTTP, JSON, detokenising, a short text's tokens), reading threads (chats'
 * templates and tokenising), one for long lists of texts (texts.h) and the compute thread (loading,
 * then the scheduler). A struct engine belongs to the loop's thread; fields marked so are the
 * compute thread's until it posts. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/crypto.h"
#include "base/log.h"
#include "base/metrics.h"
#include "engine/engine_internal.h"
#include "engine/priority.h"
#include "engine/render.h"
#include "engine/slots.h"

#define BODY_MAX      (8u << 20)
#define PREFIXES      16
#define PREFIX_TOKENS 256 /* for each, as llama_model.c reserves in a pool */
#define HOLD_MS       300 /* a question is judged, searched with and sent in less */
#define SHELF_BYTES   ((size_t)256 << 20)
#define MAX_QUEUED    256
#define LOAD_WAIT_MS  30000
#define FINISH_MS     2000
#define LEAVE_MS      120000 /* another engine serves already */
#define RATES_MS      60000
#define READERS       2   /* so that a very long prompt holds up no other */
#define READ_END_MS   100 /* at the end such a prompt is not waited for */
#define POLL_LEVEL                                                                                 \
    50 /* how long threads spin for the next step, ggml's measure; docs/scheduler.md */

void engine_reply_error(struct http_request *r, enum err e, const struct errinfo *ei) {
    struct buf out;
    char seconds[32];
    if (ei && ei->retry_after_ms) {
        snprintf(seconds, sizeof(seconds), "%u", (ei->retry_after_ms + 999) / 1000);
        http_set_header(r, "Retry-After", seconds);
        snprintf(seconds, sizeof(seconds), "%u", ei->retry_after_ms);
        http_set_header(r, "Retry-After-Ms", seconds); /* for those who can wait more exactly */
    }
    buf_init(&out, 64 << 10);
    render_error(&out, e, ei);
    http_reply(r, err_http_status(e), "application/json", buf_str(&out));
    buf_deinit(&out);
}

static void error_body(struct buf *out, enum err e, const char *message, const char *request_id) {
    struct errinfo ei;
    (void)request_id;
    err_set(&ei, e, "%s", message ? message : err_text(e));
    render_error(out, e, &ei);
}

/* ---- small routes ---- */

static void get_health(struct engine *en, struct http_request *r) {
    struct buf out;
    int status = 200;
    buf_init(&out, 4096);
    if (en->state == ENGINE_READY) {
        buf_addz(&out, "{\"status\":\"ok\"}");
    } else if (en->state == ENGINE_LOADING) {
        status = 503;
        buf_addf(&out, "{\"status\":\"loading\",\"progress\":%.3f}",
                 atomic_load(&en->progress) / 1000.0);
    } else {
        struct buf error;
        status = 500;
        buf_init(&error, 4096);
        render_error(&error, en->error.code, &en->error);
        buf_addz(&out, "{\"status\":\"error\",");
        buf_adds(&out, str_sub(buf_str(&error), 1, error.n)); /* its own brace closes */
        buf_deinit(&error);
    }
    http_reply(r, status, "application/json", buf_str(&out));
    buf_deinit(&out);
}

static void get_metrics(struct engine *en, struct http_request *r) {
    struct buf out;
    (void)en;
    buf_init(&out, 1 << 20);
    metrics_render(&out);
    http_reply(r, 200, "text/plain; version=0.0.4", buf_str(&out));
    buf_deinit(&out);
}

int engine_adapter_find(const struct engine *en, struct str name) {
    struct str base = str_from(en->o->chat_name);
    if (str_eq(name, base))
        return 0;
    if (!str_starts(name, base) || name.p[base.n] != '+')
        return -1;
    name = str_sub(name, base.n + 1, name.n);
    for (int i = 0; i < en->o->n_adapters; i++)
        if (str_eqz(name, en->o->adapters[i].name) && (en->chat->info.adapters_loaded >> i & 1))
            return i + 1;
    return -1;
}

/* The chat model with an adapter, 0 = as it is. */
static void add_chat(struct buf *out, const struct engine *en, int adapter) {
    buf_addz(out, "{\"id\":\"");
    buf_add_json(out, str_from(en->o->chat_name));
    if (adapter) {
        buf_addz(out, "+");
        buf_add_json(out, str_from(en->o->adapters[adapter - 1].name));
    }
    double base, answer, prompt = 0; /* of a prompt token; 0 = not known yet */
    bool known = en->sched && sched_costs(en->sched, &base, &answer, &prompt) && prompt > 0;
    buf_addf(
        out,
        "\",\"object\":\"model\",\"created\":%lld,\"owned_by\":\"parley\",\"parley\":{\"kind\":"
        "\"chat\",\"context_window\":%d,\"template_overhead\":%d,\"answer_overhead\":%d,"
        "\"prefill_per_second\":%d}}",
        (long long)en->created, en->chat->info.window, en->template_overhead, en->answer_overhead,
        known ? (int)(1e9 / prompt) : 0);
}

static void add_embedding(struct buf *out, const struct engine *en) {
    buf_addz(out, "{\"id\":\"");
    buf_add_json(out, str_from(en->o->embedding_name));
    buf_addf(
        out,
        "\",\"object\":\"model\",\"created\":%lld,\"owned_by\":\"parley\",\"parley\":{\"kind\":"
        "\"embedding\",\"context_window\":%d,\"dimensions\":%d}}",
        (long long)en->created, en->embedding->info.window, en->embedding->info.dimensions);
}

static void get_models(struct engine *en, struct http_request *r) {
    struct buf out;
    buf_init(&out, 64 << 10);
    buf_addz(&out, "{\"object\":\"list\",\"data\":[");
    if (en->chat)
        add_chat(&out, en, 0);
    if (en->embedding) {
        buf_addz(&out, en->chat ? "," : "");
        add_embedding(&out, en);
    }
    for (int i = 0; en->chat && i < en->chat->info.adapters; i++)
        if (en->chat->info.adapters_loaded >> i & 1) {
            buf_addz(&out, ",");
            add_chat(&out, en, i + 1);
        }
    buf_addz(&out, "]}");
    http_reply(r, 200, "application/json", buf_str(&out));
    buf_deinit(&out);
}

static void get_model(struct engine *en, struct http_request *r) {
    struct str name = str_sub(http_path(r), strlen("/v1/models/"), SIZE_MAX);
    int adapter = en->chat ? engine_adapter_find(en, name) : -1;
    struct buf out;
    if (adapter < 0 && !(en->embedding && str_eqz(name, en->o->embedding_name))) {
        engine_reply_error(r, ERR_NO_MODEL, NULL);
        return;
    }
    buf_init(&out, 64 << 10);
    if (adapter >= 0)
        add_chat(&out, en, adapter);
    else
        add_embedding(&out, en);
    http_reply(r, 200, "application/json", buf_str(&out));
    buf_deinit(&out);
}

static void chat_or_none(struct engine *en, struct http_request *r) {
    struct errinfo ei;
    if (en->chat) {
        engine_chat(en, r);
        return;
    }
    err_set(&ei, ERR_NO_MODEL, "this engine has an embedding model only");
    engine_reply_error(r, ERR_NO_MODEL, &ei);
}

/* ---- dispatch ---- */

typedef void (*route_fn)(struct engine *en, struct http_request *r);

static const struct route {
    enum http_method method;
    const char *path; /* ending in '*': what follows is the handler's */
    route_fn handler;
    bool needs_models; /* waits while they are loaded */
    bool open;         /* without a key */
} routes[] = {
    {HTTP_GET, "/health", get_health, false, true},
    {HTTP_GET, "/metrics", get_metrics, false, false},
    {HTTP_GET, "/v1/models", get_models, true, false},
    {HTTP_GET, "/v1/models/*", get_model, true, false},
    {HTTP_POST, "/v1/chat/completions", chat_or_none, true, false},
    {HTTP_POST, "/v1/embeddings", engine_embeddings, true, false},
    {HTTP_POST, "/v1/tokens/count", engine_count, true, false},
};

static bool path_matches(const char *pattern, struct str path) {
    size_t n = strlen(pattern);
    if (pattern[n - 1] == '*')
        return path.n > n - 1 && str_starts(path, (struct str){pattern, n - 1});
    return str_eqz(path, pattern);
}

static bool has_key(const struct engine *en, const struct http_request *r) {
    struct str given = http_header(r, "Authorization"), key = str_from(en->o->api_key);
    if (!key.n || strcmp(http_remote_ip(r), "unix") == 0)
        return true;
    if (given.n != key.n + 7 || !str_eq_nocase(str_sub(given, 0, 7), STR("Bearer ")))
        return false;
    return crypto_equal(given.p + 7, key.p, key.n);
}

/* A request that came while the models were being loaded. */
struct waiter {
    struct waiter *next;
    struct engine *engine;
    struct http_guard *guard;
    struct timer *timer;
    route_fn handler;
};

static void waiter_free(struct waiter *w) {
    struct waiter **at = &w->engine->waiters;
    while (*at && *at != w)
        at = &(*at)->next;
    if (*at)
        *at = w->next;
    timer_free(w->timer);
    http_guard_free(w->guard);
    free(w);
}

static void on_waited_too_long(void *arg) {
    struct waiter *w = arg;
    struct http_request *r = http_guard_get(w->guard);
    struct errinfo ei;
    err_set(&ei, ERR_LOADING, "the model is still being loaded (%d %%); try again",
            atomic_load(&w->engine->progress) / 10);
    ei.retry_after_ms = 5000;
    waiter_free(w);
    if (r)
        engine_reply_error(r, ERR_LOADING, &ei);
}

static void wait_for_models(struct engine *en, struct http_request *r, route_fn handler) {
    struct waiter *w = calloc(1, sizeof(*w)), **at = &en->waiters;
    if (w)
        w->timer = timer_new(en->loop, on_waited_too_long, w);
    if (w && w->timer)
        w->guard = http_guard_new(r);
    if (!w || !w->timer || !w->guard) {
        if (w)
            timer_free(w->timer);
        free(w);
        engine_reply_error(r, ERR_NOMEM, NULL);
        return;
    }
    w->engine = en;
    w->handler = handler;
    while (*at)
        at = &(*at)->next;
    *at = w;
    timer_start(w->timer, LOAD_WAIT_MS, false);
}

static void run_route(struct engine *en, struct http_request *r, route_fn handler) {
    struct errinfo ei;
    if (en->ending) {
        err_set(&ei, ERR_LOADING, "the engine is being restarted; try again");
        engine_reply_error(r, ERR_LOADING, &ei);
    } else if (en->state == ENGINE_BROKEN) {
        err_set(&ei, ERR_UNAVAILABLE, "%s", en->error.message);
        engine_reply_error(r, ERR_UNAVAILABLE, &ei);
    } else {
        handler(en, r);
    }
}

static void on_request(struct http_request *r, void *ctx) {
    struct engine *en = ctx;
    enum err e = ERR_NOT_FOUND;
    for (size_t i = 0; i < sizeof(routes) / sizeof(*routes); i++) {
        const struct route *route = &routes[i];
        if (!path_matches(route->path, http_path(r)))
            continue;
        e = ERR_METHOD;
        if (http_method(r) != route->method)
            continue;
        if (!route->open && !has_key(en, r))
            engine_reply_error(r, ERR_BAD_KEY, NULL);
        else if (!route->needs_models)
            route->handler(en, r);
        else if (en->state == ENGINE_LOADING && !en->ending)
            wait_for_models(en, r, route->handler);
        else
            run_route(en, r, route->handler);
        return;
    }
    engine_reply_error(r, e, NULL);
}

/* ---- the compute thread ---- */

static void on_progress(void *ctx, double fraction) {
    struct engine *en = ctx;
    atomic_store(&en->progress, (int)(fraction * 1000));
}

static bool should_abort(void *ctx) {
    struct engine *en = ctx;
    struct sched *s = atomic_load_explicit(&en->abort_sched, memory_order_acquire);
    return s ? sched_should_abort(s)
             : atomic_load_explicit(&en->stop_loading, memory_order_relaxed);
}

static int overhead(const struct model *m, bool answer) {
    const struct model_message two[2] = {{STR("user"), STR("x")}, {STR("assistant"), STR("x")}};
    struct tokens one_t = {0}, two_t = {0}, text = {0};
    int n = 0;
    if (m->ops->prompt(m, two, 1, false, STR_NULL, &one_t, NULL) == ERR_OK &&
        m->ops->prompt(m, two, answer ? 1 : 2, answer, STR_NULL, &two_t, NULL) == ERR_OK &&
        m->ops->tokenize(m, STR("x"), false, &text) == ERR_OK)
        n = two_t.n - one_t.n - (answer ? 0 : text.n);
    tokens_deinit(&one_t);
    tokens_deinit(&two_t);
    tokens_deinit(&text);
    return n > 0 ? n : 0;
}

static void serve_waiters(struct engine *en) {
    while (en->waiters) {
        struct waiter *w = en->waiters;
        struct http_request *r = http_guard_get(w->guard);
        route_fn handler = w->handler;
        waiter_free(w);
        if (r)
            run_route(en, r, handler);
    }
}

static void on_loaded_in_loop(void *arg) {
    struct engine *en = arg;
    en->error = en->load_error;
    en->embed_error = en->load_embed_error;
    en->chat = en->loaded_chat;
    en->embedding = en->loaded_embedding;
    en->sched = en->loaded_sched;
    bool ready = en->sched && (en->o->chat_path ? en->chat != NULL : en->embedding != NULL);
    en->state = ready ? ENGINE_READY : ENGINE_BROKEN;
    if (!en->o->chat_path && !ready)
        en->error = en->embed_error;
    if (en->chat) {
        en->template_overhead = overhead(en->chat, false);
        en->answer_overhead = overhead(en->chat, true);
        log_event(LOG_INFO, "engine.ready", LF_Z("model", en->o->chat_name),
                  LF_INT("window", en->chat->info.window),
                  LF_INT("memory_mib", en->chat->info.bytes >> 20), LF_INT("chat_ms", en->chat_ms),
                  LF_INT("embedding_ms", en->embedding_ms), LF_INT("rest_ms", en->rest_ms));
    } else if (!ready &&
               !en->ending) { /* else the loading was broken off, which says nothing of the file */
        log_event(LOG_ERROR, "engine.broken", LF_ERR(&en->error));
    }
    if (en->embed_error.code)
        log_event(LOG_ERROR, "engine.embedding_broken", LF_ERR(&en->embed_error));
    if (en->late_fd >= 0 && http_server_listen(en->http, en->late_fd, &en->error))
        log_event(LOG_ERROR, "engine.no_listening", LF_ERR(&en->error));
    if (en->o->on_loaded)
        en->o->on_loaded(en->o->ctx);
    serve_waiters(en);
}

/* ---- rates ---- */

static int thread_count(const struct engine *en) {
    return en->o->threads ? en->o->threads : (int)sysconf(_SC_NPROCESSORS_ONLN);
}

static int64_t weights_bytes(const struct engine *en) {
    struct stat st;
    return stat(en->o->chat_path, &st) == 0 ? st.st_size : 0;
}

/* Whether answers that an engine before this one had begun wait for it. */
static bool is_awaited(const struct engine *en) {
    struct kept kept;
    return en->o->hurries || (en->keep && keep_get(en->keep, 0, &kept));
}

/* From the last run, else measured now, which takes seconds: the first request is predicted by
 * them. */
static void know_rates(struct engine *en) {
    struct model *m = en->loaded_chat;
    struct errinfo ei;
    int threads = thread_count(en);
    if (en->o->rates_path &&
        rates_read(en->o->rates_path, threads, weights_bytes(en), &en->rates)) {
        llama_model_set_threads(m, en->rates.threads);
        return;
    }
    if (is_awaited(en))
        return; /* the steps to come will tell */
    if (rates_measure(m, threads, llama_model_set_threads, &en->rates, &ei)) {
        en->rates.base_ns = 0; /* broken off: the steps to come will tell */
        return;
    }
    log_event(LOG_INFO, "engine.measured", LF_INT("threads", en->rates.threads),
              LF_INT("base_us", (int64_t)(en->rates.base_ns / 1e3)),
              LF_INT("answer_us", (int64_t)(en->rates.answer_ns / 1e3)),
              LF_INT("prompt_us", (int64_t)(en->rates.prompt_ns / 1e3)));
    if (en->o->rates_path && rates_write(en->o->rates_path, threads, weights_bytes(en), &en->rates))
        log_event(LOG_WARN, "engine.rates_not_kept", LF_Z("path", en->o->rates_path));
}

static bool differs(double a, double b) {
    return a < b * 0.8 || a > b * 1.25;
}

/* On a reading thread: a busy disk must not hold up the loop, which sends every token. */
static void write_rates(void *arg) {
    struct engine *en = arg;
    en->rates_err =
        rates_write(en->o->rates_path, thread_count(en), weights_bytes(en), &en->learnt);
}

static void on_rates_written(void *arg) {
    struct engine *en = arg;
    en->writing_rates = false;
    if (!en->rates_err)
        en->rates = en->learnt;
}

/* What steps have told since. The threads stay as first measured: how they did lately says more of
 * what else ran. */
static void keep_rates(void *arg) {
    struct engine *en = arg;
    struct rates r = en->rates;
    if (en->writing_rates || !en->sched || !en->chat || !en->o->rates_path || r.base_ns <= 0 ||
        !sched_costs(en->sched, &r.base_ns, &r.answer_ns, &r.prompt_ns))
        return;
    if (!differs(r.base_ns, en->rates.base_ns) && !differs(r.answer_ns, en->rates.answer_ns) &&
        !differs(r.prompt_ns, en->rates.prompt_ns))
        return;
    en->learnt = r;
    en->writing_rates =
        jobs_submit(en->readers, write_rates, en->loop, on_rates_written, en) == ERR_OK;
}

/* ---- what was computed by the engine before ---- */

static void mix(uint64_t *h, const void *p, size_t n) { /* FNV-1a */
    for (size_t i = 0; i < n; i++)
        *h = (*h ^ ((const unsigned char *)p)[i]) * 1099511628211u;
}

static void mix_file(uint64_t *h, const char *path) {
    struct stat st;
    if (stat(path, &st) != 0)
        memset(&st, 0, sizeof st);
    const int64_t is[] = {(int64_t)st.st_dev, (int64_t)st.st_ino, st.st_size, st.st_mtim.tv_sec,
                          st.st_mtim.tv_nsec};
    mix(h, is, sizeof is);
}

/* Same program, same weights, same layout: then what was computed is what would be computed. */
static uint64_t keep_key(const struct engine *en) {
    const struct model_info *i = &en->loaded_chat->info;
    const int32_t layout[] = {i->window, i->rows, i->vocabulary};
    uint64_t h = 14695981039346656037u;
    mix_file(&h, "/proc/self/exe");
    mix_file(&h, en->o->chat_path);
    for (int k = 0; k < en->o->n_adapters; k++)
        mix_file(&h, en->o->adapters[k].path);
    mix(&h, layout, sizeof layout);
    return h;
}

/* After an upgrade the engine before this one still works: it keeps its own. */
static void open_keep(struct engine *en) {
    if (!en->o->keep_dir || en->o->keep_bytes <= 0 || !en->loaded_chat)
        return;
    int fd = keep_file_open(en->o->keep_dir, en->o->listen_when_loaded);
    if (fd >= 0)
        en->keep = keep_new(fd, keep_key(en), (size_t)en->o->keep_bytes);
    if (!en->keep)
        log_event(LOG_WARN, "engine.keeps_nothing");
}

/* Milliseconds since it was last asked. */
static int lap(struct engine *en) {
    int64_t before = en->lap_ns;
    en->lap_ns = clock_mono_ns();
    return (int)((en->lap_ns - before) / 1000000);
}

static enum err load_models(struct engine *en) {
    const char *adapters[MODEL_ADAPTERS_MAX];
    for (int i = 0; i < en->o->n_adapters; i++)
        adapters[i] = en->o->adapters[i].path;
    struct llama_open_options o = {
        .path = en->o->chat_path,
        .window = en->o->context,
        .slots = en->o->slots,
        .prefixes = PREFIXES,
        .adapters = adapters,
        .n_adapters = en->o->n_adapters,
        .pool = en->pool,
        .progress = on_progress,
        .abort = should_abort,
        .ctx = en,
    };
    enum err e =
        en->o->chat_path ? llama_model_open(&o, &en->loaded_chat, &en->load_error) : ERR_OK;
    en->chat_ms = lap(en);
    if (e)
        return e;
    if (en->o->embedding_path) {
        o.path = en->o->embedding_path;
        o.embedding = true;
        o.n_adapters = 0;
        o.window = o.slots = o.prefixes = 0;
        o.progress = NULL;
        if (llama_model_open(&o, &en->loaded_embedding, &en->load_embed_error))
            en->loaded_embedding = NULL;
        en->embedding_ms = lap(en);
    }
    const struct model *chat = en->loaded_chat;
    open_keep(en);
    if (chat)
        know_rates(en);
    const struct sched_options so = {
        .slots = chat ? chat->info.slots : 0,
        .prefixes = PREFIXES,
        .cells = chat ? chat->info.cells : 0,
        .prefix_tokens = PREFIXES * PREFIX_TOKENS,
        .shelf_bytes = SHELF_BYTES,
        .max_queued = en->o->max_queued ? en->o->max_queued : MAX_QUEUED,
        .deadline_ms = en->o->deadline_ms,
        .hold_ms = HOLD_MS,
        .keep = en->keep,
        .base_ns = en->rates.base_ns,
        .answer_ns = en->rates.answer_ns,
        .prompt_ns = en->rates.prompt_ns,
    };
    e = sched_new(en->loaded_chat, en->loaded_embedding, &so, &en->loaded_sched);
    en->rest_ms = lap(en);
    return e ? err_set(&en->load_error, e, NULL) : ERR_OK;
}

static void *compute_main(void *arg) {
    struct engine *en = arg;
    (void)lap(en);
    en->pool = llama_pool_new(thread_count(en), POLL_LEVEL);
    if (!en->pool)
        err_set(&en->load_error, ERR_NOMEM, NULL);
    else if (load_models(en) && en->loaded_chat && !en->loaded_sched) {
        model_free(en->loaded_chat);
        en->loaded_chat = NULL;
    }
    struct sched *s = en->loaded_sched;
    atomic_store_explicit(&en->abort_sched, s, memory_order_release);
    if (atomic_load(&en->stop_loading) && s)
        sched_stop(s);
    if (loop_post(en->loop, on_loaded_in_loop, en))
        abort(); /* nobody would ever be served */
    if (s)
        sched_run(s);
    return NULL;
}

/* ---- life ---- */

static void end_now(void *arg) {
    struct engine *en = arg;
    loop_stop(en->loop);
}

void engine_chat_ended(struct engine *en) {
    if (--en->running == 0 && en->ending)
        end_now(en);
}

static void finish(struct engine *en, int64_t ms) {
    en->ending = true;
    http_server_stop_accepting(en->http);
    serve_waiters(en);
    if (en->running == 0)
        end_now(en);
    else
        timer_start(en->end_timer, ms, false);
}

static void on_signal(void *arg) {
    struct engine *en = arg;
    if (en->ending && !en->leaving) {
        end_now(en);
        return;
    }
    en->leaving = false;
    finish(en, FINISH_MS);
}

static void on_leave(void *arg) {
    struct engine *en = arg;
    if (en->ending)
        return;
    en->leaving = true;
    finish(en, LEAVE_MS);
}

/* The supervisor is gone: nobody waits for an orderly end, and the cores are wanted by those who
 * come next. */
static void on_lifeline(void *arg) {
    struct engine *en = arg;
    char byte;
    ssize_t n = read(en->o->lifeline_fd, &byte, 1);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
        _exit(0);
}

static void beat(void *arg) {
    struct engine *en = arg;
    en->o->on_beat(en->o->ctx);
}

static void stop_compute(struct engine *en) {
    atomic_store(&en->stop_loading, true);
    struct sched *s = atomic_load(&en->abort_sched);
    if (s)
        sched_stop(s);
    pthread_join(en->thread, NULL);
    if (!jobs_end(en->readers, READ_END_MS) || !jobs_end(en->texts, READ_END_MS)) {
        log_event(LOG_INFO, "engine.left_reading");
        _exit(0); /* nothing is owed to anybody, and what is kept is whole at any moment */
    }
    en->readers = en->texts = NULL;
    http_server_free(en->http); /* clients that still wait see their connections closed */
    en->http = NULL;
    sched_free(en->loaded_sched);
    /* The last events of the requests are in the loop's queue, and with them what is to be freed.
     */
    if (loop_post(en->loop, end_now, en) == ERR_OK)
        loop_run(en->loop);
    engine_chats_drop(en);
    texts_drop(en);
    keep_free(en->keep);
    model_free(en->loaded_chat);
    model_free(en->loaded_embedding);
    llama_pool_free(en->pool);
}

static enum err start(struct engine *en, int fd, struct errinfo *ei) {
    const struct http_server_options ho = {
        .max_body_bytes = BODY_MAX,
        .max_pending_bytes = 4u << 20,
        .error_body = error_body,
    };
    enum err e = http_server_new(en->loop, &ho, on_request, en, &en->http, ei);
    en->late_fd = en->o->listen_when_loaded ? fd : -1;
    if (!e && en->late_fd < 0)
        e = http_server_listen(en->http, fd, ei);
    if (!e)
        e = loop_on_signal(en->loop, SIGTERM, on_signal, en);
    if (!e)
        e = loop_on_signal(en->loop, SIGINT, on_signal, en);
    if (!e && en->o->leave_signal)
        e = loop_on_signal(en->loop, en->o->leave_signal, on_leave, en);
    if (!e && en->o->lifeline_fd >= 0)
        e = loop_on_readable(en->loop, en->o->lifeline_fd, on_lifeline, en);
    en->end_timer = timer_new(en->loop, end_now, en);
    en->beat_timer = timer_new(en->loop, beat, en);
    en->rates_timer = timer_new(en->loop, keep_rates, en);
    if (en->rates_timer)
        timer_start(en->rates_timer, RATES_MS, true);
    if (!e && (!en->end_timer || !en->beat_timer || !en->rates_timer))
        e = err_set(ei, ERR_NOMEM, NULL);
    if (!e && en->o->on_beat)
        timer_start(en->beat_timer, en->o->beat_ms, true);
    if (!e &&
        (jobs_new(READERS, ENGINE_READ_MAX, &en->readers) || jobs_new(1, TEXTS_QUEUED, &en->texts)))
        e = err_set(ei, ERR_NOMEM, "no thread can be started");
    if (!e && pthread_create(&en->thread, NULL, compute_main, en) != 0)
        e = err_set(ei, ERR_NOMEM, "no thread can be started");
    if (!e)
        priority_at_once(); /* the other threads are there already, and do not inherit it */
    return e;
}

enum err engine_serve(const struct engine_options *o, struct errinfo *ei) {
    struct engine *en = calloc(1, sizeof(*en));
    int fd = o->listen_fd, own_fd = -1;
    bool started = false;
    enum err e;
    if (!en)
        return err_set(ei, ERR_NOMEM, NULL);
    /* The threads of a step wait for each other by spinning: when another process takes one core
     * for its time slice, the step stands still on both. */
    priority_before_others();
    en->o = o;
    en->created = clock_wall_ms() / 1000;
    if (o->n_adapters > MODEL_ADAPTERS_MAX) {
        e = err_set(ei, ERR_INVALID, "at most %d adapters can be loaded", MODEL_ADAPTERS_MAX);
        goto out;
    }
    if (o->slots < 0 || o->slots > SLOTS_MAX) {
        e = err_set(ei, ERR_INVALID, "slots must be 0 (automatic) to %d", SLOTS_MAX);
        goto out;
    }
    en->openings = openings_new();
    e = en->openings ? loop_new(&en->loop, ei) : err_set(ei, ERR_NOMEM, NULL);
    if (!e && fd < 0) {
        e = net_listen(o->listen, false, &own_fd, ei);
        fd = own_fd;
    }
    if (!e)
        e = start(en, fd, ei);
    if (!e) {
        started = true;
        loop_run(en->loop);
    }
out:
    if (started)
        stop_compute(en);
    while (en->waiters)
        waiter_free(en->waiters);
    jobs_free(en->readers);
    jobs_free(en->texts);
    http_server_free(en->http);
    timer_free(en->end_timer);
    timer_free(en->beat_timer);
    timer_free(en->rates_timer);
    if (en->loop)
        loop_free(en->loop);
    if (own_fd >= 0)
        close(own_fd);
    openings_free(en->openings);
    free(en);
    return e;
}
