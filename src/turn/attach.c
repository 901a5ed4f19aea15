/* Coming back to an answer, and stopping one, from any loop. */
#include <stdlib.h>

#include "turn/turn_internal.h"

#define TAKE_OVER_MS 1000

/* ---- attaching ---- */

struct attach {            /* an answer that is read from the store, for one subscriber */
    struct stream *stream; /* a ref; its own, not in the hub */
    struct arena *arena;
    struct message message;
    struct unfinished taken_up; /* its generation */
    struct feedback feedback;
    bool rated;
};

static enum err read_answer(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct attach *at = arg;
    enum err e =
        message_get(tx, &at->stream->user_id, &at->stream->message_id, at->arena, &at->message);
    if (e == ERR_NOT_FOUND || (!e && at->message.sender != SENDER_ASSISTANT))
        return err_set(ei, ERR_NOT_FOUND, "there is no such answer");
    at->taken_up.message_id = at->stream->message_id;
    if (!e)
        e = message_generation(tx, &at->taken_up);
    if (e)
        return e;
    e = feedback_get(tx, &at->stream->user_id, &at->stream->message_id, at->arena, &at->feedback);
    at->rated = e == ERR_OK;
    return e == ERR_NOT_FOUND ? ERR_OK : e;
}

enum err turn_taken_over_soon(struct errinfo *ei) {
    err_set(ei, ERR_UNAVAILABLE, "the answer is just being taken over; ask again");
    ei->retry_after_ms = TAKE_OVER_MS;
    return ERR_UNAVAILABLE;
}

static void publish_stored(struct attach *at) {
    struct message *m = &at->message;
    bool failed = m->status == MESSAGE_FAILED || m->status == MESSAGE_INTERRUPTED;
    struct errinfo why;
    struct buf b;
    if (m->status == MESSAGE_STREAMING) { /* between two processes: it is taken up in a moment */
        turn_taken_over_soon(&why);
        stream_fail(at->stream, &why);
        return;
    }
    if (m->status == MESSAGE_FAILED)
        err_set(&why, ERR_UPSTREAM, "%.*s", STR_ARG(m->error));
    else
        err_set(&why, ERR_UNAVAILABLE,
                "Parley was restarted while this was written; make the answer again");
    const struct unfinished *u = &at->taken_up;
    struct generation g = {u->generation, u->base_first, u->base_last};
    if (stream_restore(at->stream, m->content, &g)) {
        err_set(&why, ERR_NOMEM, NULL);
        stream_fail(at->stream, &why);
        return;
    }
    buf_init(&b, 16 * TURN_ANSWER_MAX);
    if (failed)
        event_error(&b, &why, m, at->rated ? &at->feedback : NULL);
    else
        event_done(&b, m, at->rated ? &at->feedback : NULL);
    stream_publish(at->stream, failed ? STREAM_ERROR : STREAM_DONE, buf_str(&b));
    buf_deinit(&b);
}

static void on_read(void *arg, enum err e, const struct errinfo *ei) {
    struct attach *at = arg;
    struct errinfo mine;
    if (e && !ei) {
        err_set(&mine, e, NULL);
        ei = &mine;
    }
    if (e)
        stream_fail(at->stream, ei);
    else
        publish_stored(at);
    stream_unref(at->stream);
    arena_free(at->arena);
    free(at);
}

static enum err attach_stored(struct turns *t, struct loop *l, const struct uuid *user_id,
                              const struct uuid *message_id, int64_t after,
                              const struct stream_sink *sink, void *ctx,
                              struct subscription **ret) {
    struct attach *at = calloc(1, sizeof *at);
    struct subscription *sub = NULL;
    enum err e = ERR_NOMEM;
    if (!at)
        return e;
    at->arena = arena_new(TURN_ARENA_MAX);
    at->stream = stream_new(t, user_id, message_id, NULL);
    if (at->arena && at->stream) {
        e = stream_subscribe(at->stream, l, after, sink, ctx, &sub);
    }
    if (!e)
        e = store_read(t->o.store, read_answer, at, l, on_read);
    if (!e) {
        *ret = sub;
        return ERR_OK;
    }
    subscription_cancel(sub);
    stream_unref(at->stream);
    arena_free(at->arena);
    free(at);
    return e;
}

enum err stream_attach(struct turns *t, struct loop *l, const struct uuid *user_id,
                       const struct uuid *message_id, int64_t after, const struct stream_sink *sink,
                       void *ctx, struct subscription **ret, struct errinfo *ei) {
    struct stream *s = hub_find(&t->hub, message_id);
    after = after < 0 || after > INT64_MAX / 2 ? 0 : after;
    enum err e;
    if (s && uuid_eq(&s->user_id, user_id))
        e = stream_subscribe(s, l, after, sink, ctx, ret);
    else /* not kept, or not theirs: the store tells */
        e = attach_stored(t, l, user_id, message_id, after, sink, ctx, ret);
    stream_unref(s);
    return e ? err_set(ei, e, NULL) : ERR_OK;
}

/* ---- stopping ---- */

static void stop_on_its_loop(void *arg) {
    struct stream *s = arg;
    if (s->turn)
        turn_stop_now(s->turn);
    stream_unref(s);
}

/* True when the turn still runs and will tell p. */
static bool ask_to_stop(struct stream *s, struct stopper *p) {
    bool running = false;
    pthread_mutex_lock(&s->lock);
    bool waiting = s->waiting && !s->failed;
    if (waiting || (s->loop && loop_post(s->loop, stop_on_its_loop, s) == ERR_OK)) {
        p->next = s->stoppers;
        s->stoppers = p;
        s->stop_wanted = running = true; /* the post took over our reference */
    }
    pthread_mutex_unlock(&s->lock);
    if (waiting)
        stream_unref(s);
    return running;
}

struct stop { /* of an answer that is not kept: is it there, and theirs? */
    struct uuid user_id, message_id;
    struct arena *arena;
    struct stopper *stopper;
};

static enum err find_answer(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct stop *stop = arg;
    struct message m;
    enum err e = message_get(tx, &stop->user_id, &stop->message_id, stop->arena, &m);
    return e == ERR_NOT_FOUND ? err_set(ei, e, "there is no such message") : e;
}

static void on_found(void *arg, enum err e, const struct errinfo *ei) {
    struct stop *stop = arg;
    struct stopper *p = stop->stopper;
    p->done(p->ctx, e, ei);
    free(p);
    arena_free(stop->arena);
    free(stop);
}

static enum err stop_stored(struct turns *t, const struct uuid *user_id,
                            const struct uuid *message_id, struct stopper *p) {
    struct stop *stop = calloc(1, sizeof *stop);
    if (!stop)
        return ERR_NOMEM;
    stop->user_id = *user_id;
    stop->message_id = *message_id;
    stop->stopper = p;
    stop->arena = arena_new(TURN_ARENA_MAX);
    enum err e =
        stop->arena ? store_read(t->o.store, find_answer, stop, p->loop, on_found) : ERR_NOMEM;
    if (e) {
        arena_free(stop->arena);
        free(stop);
    }
    return e;
}

enum err turn_stop(struct turns *t, struct loop *l, const struct uuid *user_id,
                   const struct uuid *message_id, store_done done, void *ctx) {
    struct stopper *p = calloc(1, sizeof *p);
    if (!p)
        return ERR_NOMEM;
    *p = (struct stopper){.loop = l, .done = done, .ctx = ctx};
    struct stream *s = hub_find(&t->hub, message_id);
    if (s && uuid_eq(&s->user_id, user_id) && ask_to_stop(s, p))
        return ERR_OK;
    stream_unref(s);
    enum err e = stop_stored(t, user_id, message_id, p);
    if (e)
        free(p);
    return e;
}
