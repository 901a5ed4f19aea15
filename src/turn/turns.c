/* What all loops share: the options, the streams, the counts; and the way in for a new turn. */
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"
#include "turn/talks.h"
#include "turn/turn_internal.h"

#define SWEEP_MS      2000
#define COUNT_ENTRIES 16384

/* ---- the shared object ---- */

static int int_or(int n, int otherwise) {
    return n > 0 ? n : otherwise;
}

enum err turns_new(const struct turns_options *o, struct turns **ret, struct errinfo *ei) {
    struct turns *t = calloc(1, sizeof *t);
    if (!t || !(t->talks = talks_new()) || count_cache_new(COUNT_ENTRIES, &t->counts)) {
        talks_free(t ? t->talks : NULL);
        free(t);
        return err_set(ei, ERR_NOMEM, NULL);
    }
    if (o->guard_upstream &&
        !((t->guard_known = guard_known_new()) && (t->guard_gate = guard_gate_new()))) {
        guard_known_free(t->guard_known);
        count_cache_free(t->counts);
        talks_free(t->talks);
        free(t);
        return err_set(ei, ERR_NOMEM, NULL);
    }
    t->o = *o;
    t->o.max_running = int_or(o->max_running, 10000);
    t->o.max_running_per_user = int_or(o->max_running_per_user, 8);
    t->o.keep_seconds = int_or(o->keep_seconds, 60);
    t->o.default_max_tokens = int_or(o->default_max_tokens, 1024);
    t->o.max_content_bytes = o->max_content_bytes ? o->max_content_bytes : 128 << 10;
    pthread_mutex_init(&t->lock, NULL);
    pthread_mutex_init(&t->degrade.lock, NULL);
    hub_init(&t->hub);
    if (o->data_dir)
        t->tails = tails_open(o->data_dir);
    if (o->data_dir && !t->tails) /* a kill takes answers back to their last checkpoint */
        log_event(LOG_WARN, "turn.no_tails", LF_Z("folder", "/dev/shm"));
    *ret = t;
    return ERR_OK;
}

void turns_free(struct turns *t) {
    if (!t)
        return;
    for (int i = 0; i < t->n_loops; i++) {
        struct turn_loop *tl = t->loops[i];
        while (tl->turns)
            turn_free(tl->turns); /* interrupted ones: the store is done with them */
        background_clear(tl);
        checkpoints_free(tl);
        free(tl);
    }
    recover_free(t);
    hub_deinit(&t->hub);
    guard_known_free(t->guard_known);
    guard_gate_free(t->guard_gate);
    tails_close(t->tails);
    talks_free(t->talks);
    count_cache_free(t->counts);
    pthread_mutex_destroy(&t->degrade.lock);
    pthread_mutex_destroy(&t->lock);
    free(t);
}

int turns_running(const struct turns *t) {
    return atomic_load(&((struct turns *)t)->running);
}

int turns_busy(struct turns *t) {
    pthread_mutex_lock(&t->hub.lock);
    int n = t->hub.running;
    pthread_mutex_unlock(&t->hub.lock);
    return n;
}

enum err turns_enter(struct turns *t, const struct uuid *user_id, struct errinfo *ei) {
    return hub_enter(&t->hub, user_id, t->o.max_running, t->o.max_running_per_user, ei);
}

void turns_leave(struct turns *t, const struct uuid *user_id) {
    hub_leave(&t->hub, user_id);
}

/* ---- loops ---- */

struct turn_loop *turn_loop_of(struct turns *t, struct loop *l) {
    struct turn_loop *found = NULL;
    pthread_mutex_lock(&t->lock);
    for (int i = 0; i < t->n_loops && !found; i++)
        if (t->loops[i]->loop == l && !t->loops[i]->detached)
            found = t->loops[i];
    pthread_mutex_unlock(&t->lock);
    return found;
}

static void on_sweep(void *arg) {
    struct turn_loop *tl = arg;
    hub_sweep(&tl->t->hub, clock_mono_ns() - (int64_t)tl->t->o.keep_seconds * 1000000000);
    talks_sweep(tl->t->talks, clock_mono_ns() - TALK_KEEP_NS);
    recover_begin(tl);
    (void)degrade_now(tl->t); /* falls also when nobody asks */
    background_start(tl);
}

enum err turns_attach_loop(struct turns *t, struct loop *l, struct upstream_client *c,
                           struct errinfo *ei) {
    struct turn_loop *tl = calloc(1, sizeof *tl);
    if (!tl)
        return err_set(ei, ERR_NOMEM, NULL);
    tl->t = t;
    tl->loop = l;
    tl->client = c;
    tl->sweep = timer_new(l, on_sweep, tl);
    if (!tl->sweep) {
        free(tl);
        return err_set(ei, ERR_NOMEM, NULL);
    }
    if (t->o.otlp_endpoint && *t->o.otlp_endpoint) {
        enum err e = tracer_new(l, t->o.otlp_endpoint, &tl->tracer, ei);
        if (e) {
            timer_free(tl->sweep);
            free(tl);
            return e;
        }
    }
    if (t->o.guard_upstream && upstream_client_new(t->o.guard_upstream, l, &tl->guard_client, ei)) {
        timer_free(tl->sweep);
        tracer_free(tl->tracer);
        free(tl);
        return ei->code;
    }
    pthread_mutex_lock(&t->lock);
    bool full = t->n_loops == TURN_LOOPS_MAX;
    if (!full)
        t->loops[t->n_loops++] = tl;
    pthread_mutex_unlock(&t->lock);
    if (full) {
        timer_free(tl->sweep);
        tracer_free(tl->tracer);
        free(tl);
        return err_set(ei, ERR_INVALID, "at most %d loops", TURN_LOOPS_MAX);
    }
    timer_start(tl->sweep, SWEEP_MS, true);
    recover_begin(tl);
    return ERR_OK;
}

static enum err nothing(struct store_tx *tx, void *arg, struct errinfo *ei) {
    (void)tx, (void)arg, (void)ei;
    return ERR_OK;
}

void turns_detach_loop(struct turns *t, struct loop *l) {
    struct turn_loop *tl = turn_loop_of(t, l);
    if (!tl)
        return;
    bool any = tl->turns != NULL;
    for (struct turn *turn = tl->turns; turn; turn = turn->next)
        turn_interrupt(turn);
    background_clear(tl);
    pace_end(tl);
    checkpoints_end(tl);
    timer_free(tl->sweep);
    tracer_free(tl->tracer);
    tl->tracer = NULL;
    guard_asks_end(tl);
    upstream_client_free(tl->guard_client);
    tl->guard_client = NULL;
    pthread_mutex_lock(&t->lock);
    tl->detached = true;
    pthread_mutex_unlock(&t->lock);
    /* Writes are done in order: after this one the interrupted answers are durable. */
    if (any && store_write_wait(t->o.store, nothing, NULL, NULL))
        return; /* then the next start marks them */
}

/* ---- starting a turn ---- */

static enum err check_content(const struct turns *t, const struct turn_input *in,
                              struct errinfo *ei) {
    if (in->kind == TURN_REGENERATE)
        return ERR_OK;
    if (str_trim(in->content).n == 0)
        return err_param(ei, ERR_INVALID, "content", "the message is empty");
    if (in->content.n > t->o.max_content_bytes)
        return err_param(ei, ERR_TOO_LARGE, "content",
                         "the message has %zu bytes; at most %zu are taken", in->content.n,
                         t->o.max_content_bytes);
    if (!utf8_valid(in->content) || memchr(in->content.p, 0, in->content.n))
        return err_param(ei, ERR_INVALID, "content", "the message must be UTF-8 text without NUL");
    return ERR_OK;
}

enum err turn_make(struct turn_loop *tl, const struct turn_input *in, struct stream *stream,
                   struct turn **ret) {
    struct turn *turn = calloc(1, sizeof *turn);
    if (!turn)
        return ERR_NOMEM;
    turn->t = tl->t;
    turn->tl = tl;
    turn->in = *in;
    turn->queued_position = turn->prompt_tokens = turn->completion_tokens = -1;
    turn->started_wall_ms = clock_wall_ms();
    if (in->kind == TURN_MESSAGE)
        turn->question.message_id = uuid_new();
    struct uuid answer = uuid_new(); /* after the question's, so that ids sort as messages do */
    turn->arena = arena_new(TURN_ARENA_MAX);
    turn->stream = stream ? stream_ref(stream) : stream_new(tl->t, &in->user_id, &answer, tl->loop);
    if (turn->arena && in->content.n)
        turn->in.content = arena_str(turn->arena, in->content);
    if (turn->arena && in->key_hash.n) {
        turn->in.key_hash = arena_str(turn->arena, in->key_hash);
        turn->in.request_hash = arena_str(turn->arena, in->request_hash);
    }
    if (!turn->arena || !turn->stream || (in->content.n && !turn->in.content.p) ||
        turn_make_timers(turn)) {
        turn_free(turn);
        return ERR_NOMEM;
    }
    turn->checkpointed = turn->stream->text.n;
    turn_guard_take_country(turn, in->preferences);
    if (in->preferences.p)
        turn->in.preferences = STR(""); /* taken */
    trace_init(&turn->trace, in->traceparent, tl->tracer != NULL);
    *ret = turn;
    return ERR_OK;
}

void turn_enlist(struct turn *turn) {
    struct turn_loop *tl = turn->tl;
    turn->stream->turn = turn;
    turn->next = tl->turns;
    if (tl->turns)
        tl->turns->prev = turn;
    tl->turns = turn;
    tl->n_turns++;
    turn->enlisted = true;
    atomic_fetch_add(&turn->t->running, 1);
    metric_add(M_TURNS_RUNNING, 1);
    pace_begin(tl);
    background_yield(turn->t);
}

enum err turn_start(struct turns *t, struct loop *l, const struct turn_input *in,
                    const struct stream_sink *sink, void *ctx, struct subscription **ret,
                    struct errinfo *ei) {
    struct turn_loop *tl = turn_loop_of(t, l);
    struct turn *turn = NULL;
    struct subscription *sub;
    if (!tl)
        return err_set(ei, ERR_UNAVAILABLE, "Parley is being restarted; try again");
    enum err e = check_content(t, in, ei);
    if (!e)
        e = turns_enter(t, &in->user_id, ei);
    if (e)
        return e;
    e = turn_make(tl, in, NULL, &turn);
    if (!e)
        e = stream_subscribe(turn->stream, l, 0, sink, ctx, &sub);
    if (e) {
        if (turn)
            turn_free(turn);
        turns_leave(t, &in->user_id);
        return err_set(ei, e, NULL);
    }
    hub_add(&t->hub, turn->stream);
    turn_enlist(turn);
    *ret = sub;
    turn_run(turn);
    return ERR_OK;
}
