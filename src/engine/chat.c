/* POST /v1/chat/completions: from the request to the scheduler and from its tokens to the answer.
 *
 *   reading ──▶ in the scheduler ──▶ done
 *      └───────────────────────────────┴─▶ freed
 *
 * A struct chat belongs to the loop's thread, while its prompt is read in part to a reading
 * thread (read_prompt()). The compute thread knows its address only to post events to the loop; the
 * last event is the one with done, and with it the chat is freed. The client may be gone long
 * before. */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/crypto.h"
#include "base/log.h"
#include "engine/chat_prompt.h"
#include "engine/engine_internal.h"
#include "engine/render.h"

#define ARENA_MAX     (16u << 20)
#define ANSWER_MAX    (8u << 20)
#define CHUNK_MAX     (256u << 10)
#define READ_RETRY_MS 1000

struct chat {
    struct engine *engine;
    struct chat *prev, *next;  /* of those whose prompts are being read */
    struct http_request *http; /* NULL once answered or gone */
    struct arena *arena;
    struct chat_request request;
    struct render_answer answer;
    char id[40];
    struct sched_chat job;
    enum err err; /* of reading the prompt */
    struct errinfo ei;
    atomic_bool gone; /* the client, while its prompt is read: it need not be */
    bool is_read;
    uint64_t id_in_sched; /* when it is read */
    struct text_stream text;
    struct buf body;     /* the whole answer, when it is not streamed */
    struct buf logprobs; /* of tokens not yet sent */
    int tokens;
    int adapter;   /* that the model's name asked for */
    int before;    /* tokens of a partial answer that stand in the prompt */
    bool opened;   /* the stream's head was sent */
    bool begun;    /* and its first chunk */
    bool finished; /* nothing more is to be sent */
};

struct event {
    struct chat *chat;
    struct sched_event e;
    struct errinfo ei;
};

static void chat_free(struct chat *c) {
    text_stream_deinit(&c->text);
    buf_deinit(&c->body);
    buf_deinit(&c->logprobs);
    arena_free(c->arena);
    free(c);
}

static void on_client_gone(void *arg) {
    struct chat *c = arg;
    c->http = NULL;
    c->finished = true;
    if (c->is_read) {
        sched_cancel(c->engine->sched, c->id_in_sched);
    } else {
        atomic_store(&c->gone, true);
        sched_chat_leave(c->engine->sched, c->job.place);
    }
}

/* A slow reader's stream is ended by the server; the request is then invalid. */
static void send_data(struct chat *c, struct buf *json) {
    struct buf out;
    if (!c->http)
        return;
    buf_init(&out, CHUNK_MAX + 16);
    buf_addz(&out, "data: ");
    buf_adds(&out, buf_str(json));
    buf_addz(&out, "\n\n");
    if (buf_err(&out) || buf_err(json)) {
        http_stream_abort(c->http);
        on_client_gone(c);
    } else if (http_stream_write(c->http, buf_str(&out))) {
        on_client_gone(c);
    }
    buf_deinit(&out);
}

static void send_chunk(struct chat *c, bool role, struct str content, const char *finish) {
    struct buf json;
    buf_init(&json, CHUNK_MAX);
    render_chunk(&json, &c->answer, role, content, &c->logprobs, finish);
    buf_clear(&c->logprobs);
    send_data(c, &json);
    buf_deinit(&json);
}

static void open_stream(struct chat *c) {
    if (c->opened || !c->http)
        return;
    c->opened = true;
    http_set_header(c->http, "Cache-Control", "no-cache");
    http_stream_begin(c->http, 200, "text/event-stream");
}

static void begin_stream(struct chat *c) {
    if (c->begun || !c->http)
        return;
    open_stream(c);
    c->begun = true;
    send_chunk(c, true, STR_NULL, NULL);
}

/* A comment, which clients that do not know it pass over. */
static void on_queued(struct chat *c, int position) {
    char text[64];
    int n = snprintf(text, sizeof(text), ": queued {\"position\":%d}\n\n", position);
    if (!c->request.stream || !c->http || c->begun)
        return;
    open_stream(c);
    if (http_stream_write(c->http, (struct str){text, (size_t)n}))
        on_client_gone(c);
}

static void give_text(struct chat *c, struct str text) {
    if (text.n == 0)
        return;
    if (c->request.stream)
        send_chunk(c, false, text, NULL);
    else
        buf_adds(&c->body, text);
}

static void finish(struct chat *c, const char *reason, const struct sched_event *e) {
    const struct render_usage u = {e->prompt_tokens - c->before, e->cached_tokens,
                                   c->tokens + c->before};
    struct buf json;
    c->finished = true;
    if (!c->http)
        return;
    if (c->request.stream) {
        begin_stream(c);
        send_chunk(c, false, STR_NULL, reason);
        if (c->http && c->request.include_usage) {
            buf_init(&json, CHUNK_MAX);
            render_usage_chunk(&json, &c->answer, &u);
            send_data(c, &json);
            buf_deinit(&json);
        }
        if (c->http && http_stream_write(c->http, STR("data: [DONE]\n\n")) == ERR_OK)
            http_stream_end(c->http);
        c->http = NULL;
        return;
    }
    buf_init(&json, ANSWER_MAX * 2);
    render_completion(&json, &c->answer, buf_str(&c->body), &c->logprobs, reason, &u);
    struct http_request *r = c->http;
    c->http = NULL;
    http_on_close(r, NULL, NULL);
    if (buf_err(&json) || buf_err(&c->body))
        engine_reply_error(r, ERR_TOO_LARGE, NULL);
    else
        http_reply(r, 200, "application/json", buf_str(&json));
    buf_deinit(&json);
}

static void fail(struct chat *c, enum err err, const struct errinfo *ei) {
    struct buf json;
    struct http_request *r = c->http;
    c->finished = true;
    if (!r)
        return;
    if (!c->opened) {
        c->http = NULL;
        http_on_close(r, NULL, NULL);
        engine_reply_error(r, err, ei);
        return;
    }
    buf_init(&json, CHUNK_MAX);
    render_error(&json, err, ei);
    send_data(c, &json);
    buf_deinit(&json);
    if (c->http)
        http_stream_end(c->http);
    c->http = NULL;
}

static void on_token(struct chat *c, const struct sched_event *e) {
    char piece[512];
    struct buf out;
    const struct model *m = c->engine->chat;
    int n = m->ops->piece(m, e->token.token, piece, sizeof(piece));
    c->tokens++;
    if (c->request.stream)
        begin_stream(c); /* its chunk of the role takes no logprobs along */
    if (c->request.sampling.logprobs >= 0)
        render_logprob(&c->logprobs, m, &e->token);
    buf_init(&out, CHUNK_MAX);
    /* The client has the forced bytes already. */
    bool stopped =
        text_stream_add(&c->text, (struct str){piece + e->forced, (size_t)(n - e->forced)}, &out);
    give_text(c, buf_str(&out));
    buf_deinit(&out);
    if (stopped && !c->finished) {
        finish(c, "stop", e);
        sched_cancel(c->engine->sched, c->id_in_sched);
    }
}

static void on_done(struct chat *c, const struct event *ev) {
    struct buf rest;
    if (ev->e.end == SCHED_FAILED) {
        fail(c, ev->ei.code, &ev->ei);
        return;
    }
    if (ev->e.end == SCHED_CANCELLED) {
        struct errinfo ei;
        err_set(&ei, ERR_LOADING, "the engine is being restarted; try again");
        fail(c, ERR_LOADING, &ei);
        return;
    }
    buf_init(&rest, CHUNK_MAX);
    text_stream_end(&c->text, &rest);
    if (c->request.stream)
        begin_stream(c);
    give_text(c, buf_str(&rest));
    buf_deinit(&rest);
    finish(c, ev->e.end == SCHED_LENGTH ? "length" : "stop", &ev->e);
}

static void on_event_in_loop(void *arg) {
    struct event *ev = arg;
    struct chat *c = ev->chat;
    if (!c->finished && ev->e.queued)
        on_queued(c, ev->e.position);
    else if (!c->finished && !ev->e.done)
        on_token(c, &ev->e);
    else if (!c->finished)
        on_done(c, ev);
    if (ev->e.done) {
        struct engine *en = c->engine;
        chat_free(c);
        engine_chat_ended(en);
    }
    free(ev);
}

/* On the compute thread. */
static void on_event(void *ctx, const struct sched_event *e) {
    struct chat *c = ctx;
    struct event *ev = malloc(sizeof(*ev));
    if (!ev)
        abort(); /* a lost done event would leave its client waiting for ever: the supervisor starts
                    us anew */
    ev->chat = c;
    ev->e = *e;
    ev->ei = e->ei ? *e->ei : (struct errinfo){0};
    ev->e.ei = NULL;
    if (loop_post(c->engine->loop, on_event_in_loop, ev))
        abort();
}

/* ---- the prompt, on a reading thread ---- */

static void list_add(struct chat *c) {
    struct engine *en = c->engine;
    c->next = en->reading;
    if (c->next)
        c->next->prev = c;
    en->reading = c;
}

static void list_remove(struct chat *c) {
    struct engine *en = c->engine;
    if (c->prev)
        c->prev->next = c->next;
    else
        en->reading = c->next;
    if (c->next)
        c->next->prev = c->prev;
    c->prev = c->next = NULL;
}

/* On a reading thread, which has the chat's request, job and errors until on_read(). */
static void read_prompt(void *arg) {
    struct chat *c = arg;
    const struct engine *en = c->engine;
    if (!atomic_load(&c->gone))
        c->err = chat_prompt_make(en->chat, en->openings, &c->request, c->adapter, &c->job, &c->ei);
}

static enum err submit(struct chat *c, struct errinfo *ei) {
    struct sched_chat *job = &c->job;
    int room = c->engine->chat->info.window - job->prompt.n;
    c->before = job->partial;
    job->max_tokens = c->request.max_tokens;
    if (job->max_tokens) /* of the whole answer, what is there already among it */
        job->max_tokens = job->max_tokens > c->before ? job->max_tokens - c->before : 1;
    if (!job->max_tokens || job->max_tokens > room)
        job->max_tokens = room;
    return sched_chat_submit(c->engine->sched, job, &c->id_in_sched, ei);
}

static void on_read(void *arg) {
    struct chat *c = arg;
    struct engine *en = c->engine;
    struct errinfo ei = c->ei;
    enum err e = c->err;
    list_remove(c);
    c->is_read = true;
    if (!atomic_load(&c->gone)) {
        if (e)
            sched_chat_leave(en->sched, c->job.place);
        else
            e = submit(c, &ei);
        if (e)
            fail(c, e, &ei);
    }
    chat_prompt_drop(&c->job);
    if (c->http)
        return;
    chat_free(c);
    engine_chat_ended(en);
}

void engine_chats_drop(struct engine *en) {
    while (en->reading) {
        struct chat *c = en->reading;
        list_remove(c);
        chat_prompt_drop(&c->job);
        chat_free(c);
    }
}

static struct sched_chat make_job(struct chat *c) {
    const struct chat_request *r = &c->request;
    struct sched_chat job = {
        .sampling = r->sampling,
        .max_tokens = r->max_tokens ? r->max_tokens : c->engine->chat->info.window,
        .conversation = r->conversation,
        .user = r->user,
        .wait = r->wait,
        .wait_ms = r->wait_ms,
        .deadline_ms = r->deadline_ms,
        .background = r->background,
        .exact = r->sampling.temperature <= 0 || r->seeded,
        .arrived_ns = http_request_arrived_ns(c->http),
        .on_event = on_event,
        .ctx = c,
    };
    if (!r->seeded)
        crypto_random(&job.sampling.seed, sizeof(job.sampling.seed));
    return job;
}

/* When all are busy most requests are refused: that is seen here, before the template and the
 * tokeniser have worked on them, and before those that were let in are read. */
static enum err begin(struct chat *c, struct errinfo *ei) {
    struct engine *en = c->engine;
    c->job = make_job(c);
    const struct sched_glance g =
        chat_prompt_glance(en->openings, &c->request, en->template_overhead + en->answer_overhead);
    enum err e = sched_chat_glance(en->sched, &c->job, &g, ei);
    if (e)
        return e;
    e = jobs_submit(en->readers, read_prompt, en->loop, on_read, c);
    if (e) {
        sched_chat_leave(en->sched, c->job.place);
        err_set(ei, e, "the model is busy: %d requests are being read already; try again in %d s",
                ENGINE_READ_MAX, READ_RETRY_MS / 1000);
        ei->retry_after_ms = READ_RETRY_MS;
        return e;
    }
    list_add(c);
    return ERR_OK;
}

static enum err check(struct chat *c, struct errinfo *ei) {
    const struct engine *en = c->engine;
    const struct chat_request *r = &c->request;
    c->adapter = r->model.p ? engine_adapter_find(en, r->model) : 0;
    if (c->adapter < 0)
        return err_param(ei, ERR_NO_MODEL, "model",
                         "there is no chat model \"%.*s\" here; this server has \"%s\"",
                         STR_ARG(str_sub(r->model, 0, 100)), en->o->chat_name);
    for (int i = 0; i < r->sampling.n_biases; i++)
        if (r->sampling.biases[i].token >= en->chat->info.vocabulary)
            return err_param(ei, ERR_INVALID, "logit_bias",
                             "token %d of \"logit_bias\" is not in the vocabulary (0 to %d)",
                             r->sampling.biases[i].token, en->chat->info.vocabulary - 1);
    return ERR_OK;
}

void engine_chat(struct engine *en, struct http_request *r) {
    struct errinfo ei = {0};
    struct chat *c = calloc(1, sizeof(*c));
    if (!c || !(c->arena = arena_new(ARENA_MAX))) {
        free(c);
        engine_reply_error(r, ERR_NOMEM, NULL);
        return;
    }
    c->engine = en;
    c->http = r;
    buf_init(&c->body, ANSWER_MAX);
    buf_init(&c->logprobs, ANSWER_MAX);
    enum err e = chat_request_parse(http_body(r), c->arena, &c->request, &ei);
    if (!e)
        e = check(c, &ei);
    text_stream_init(&c->text, c->request.stops, c->request.n_stops);
    memcpy(c->id, "chatcmpl-", 9);
    crypto_name(c->id + 9, 24);
    c->answer = (struct render_answer){c->id, clock_wall_ms() / 1000,
                                       c->adapter > 0 ? c->request.model.p : en->o->chat_name,
                                       c->request.include_usage};
    if (!e)
        e = begin(c, &ei);
    if (e) {
        chat_free(c);
        engine_reply_error(r, e, &ei);
        return;
    }
    en->running++;
    http_on_close(r, on_client_gone, c);
}
