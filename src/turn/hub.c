/* Streams: what a turn says, kept for those who are there and those who come back.
 *
 *   turn's loop ── publish ──→ events (a ring, numbered) ──→ post to each subscription's loop ──→
 * sink
 *
 * A subscription remembers the next event it wants; one post at most is under way to it, and takes
 * all that has gathered. When its next event is no longer kept (or its number was never given), one
 * RESET with the text so far stands for what it missed. */
#include <stdlib.h>

#include "base/clock.h"
#include "base/metrics.h"
#include "turn/turn_internal.h"

#define BATCH 32 /* events taken under one lock */

struct subscription {
    struct stream *stream; /* a ref */
    struct loop *loop;
    struct stream_sink sink;
    void *ctx;
    bool cancelled, delivering; /* its own loop only */
    /* under the stream's lock */
    struct subscription *next;
    int64_t next_id;
    bool posted; /* deliver() is on its way */
};

struct user_slot {
    struct user_slot *next;
    struct uuid user;
    int running;
};

/* ---- events ---- */

static void event_unref(struct event *e) {
    if (atomic_fetch_sub_explicit(&e->refs, 1, memory_order_acq_rel) == 1)
        free(e);
}

static struct event *event_new(int64_t id, enum stream_kind kind, struct str data) {
    struct event *e = malloc(sizeof *e + data.n);
    if (!e)
        return NULL;
    atomic_init(&e->refs, 1);
    e->id = id;
    e->kind = kind;
    e->n = data.n;
    if (data.n)
        memcpy(e->data, data.p, data.n);
    return e;
}

static void drop_events(struct stream *s, size_t n) {
    if (n == 0)
        return;
    for (size_t i = 0; i < n; i++) {
        s->bytes -= s->events[i]->n;
        event_unref(s->events[i]);
    }
    s->n_events -= n;
    memmove(s->events, s->events + n, s->n_events * sizeof *s->events);
}

/* Under the lock. When memory is out all events go: who wants them is reset to the text. */
static void keep_event(struct stream *s, struct event *e) {
    if (e && s->n_events == s->size_events) {
        size_t size = s->size_events ? s->size_events * 2 : 16;
        struct event **grown = realloc(s->events, size * sizeof *grown);
        if (grown) {
            s->events = grown;
            s->size_events = size;
        }
    }
    s->last_id++;
    if (!e || s->n_events == s->size_events) {
        drop_events(s, s->n_events);
        if (!e)
            return;
    }
    if (s->size_events == 0) {
        event_unref(e);
        return;
    }
    s->events[s->n_events++] = e;
    s->bytes += e->n;
    if (s->bytes > TURN_RING_MAX) { /* a quarter at once, so that moving is rare */
        size_t n = 0, left = s->bytes;
        while (n + 1 < s->n_events && left > TURN_RING_MAX / 4 * 3)
            left -= s->events[n++]->n;
        drop_events(s, n);
    }
}

/* ---- life of a stream ---- */

struct stream *stream_new(struct turns *t, const struct uuid *user, const struct uuid *message,
                          struct loop *l) {
    struct stream *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    atomic_init(&s->refs, 1);
    s->owner = t;
    s->user_id = *user;
    s->message_id = *message;
    s->loop = l;
    pthread_mutex_init(&s->lock, NULL);
    buf_init(&s->text, TURN_ANSWER_MAX);
    return s;
}

static void stream_free(struct stream *s) {
    drop_events(s, s->n_events);
    free(s->events);
    buf_deinit(&s->text);
    for (struct stopper *p = s->stoppers, *next; p; p = next) {
        next = p->next;
        free(p);
    }
    pthread_mutex_destroy(&s->lock);
    free(s);
}

void stream_unref(struct stream *s) {
    if (s && atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) == 1)
        stream_free(s);
}

static void stream_ref(struct stream *s) {
    atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
}

/* ---- delivering ---- */

static void deliver(void *arg);

static void post_to(struct subscription *sub) {
    if (!sub->posted)
        sub->posted = loop_post(sub->loop, deliver, sub) == ERR_OK;
}

static void post_to_all(struct stream *s) {
    for (struct subscription *sub = s->subs; sub; sub = sub->next)
        post_to(sub);
}

/* Under the lock. */
static void unlink_sub(struct subscription *sub) {
    struct subscription **p = &sub->stream->subs;
    while (*p && *p != sub)
        p = &(*p)->next;
    if (*p) {
        *p = sub->next;
        metric_add(M_STREAMS_OPEN, -1);
    }
}

static void sub_free(struct subscription *sub) {
    stream_unref(sub->stream);
    free(sub);
}

static struct event *make_reset(struct stream *s, int64_t id) {
    struct buf b;
    buf_init(&b, 8 * TURN_ANSWER_MAX);
    event_text(&b, (struct str){s->text.p, s->published});
    struct event *e = buf_err(&b) ? NULL : event_new(id, STREAM_RESET, buf_str(&b));
    buf_deinit(&b);
    return e;
}

/* Under the lock: the next events for sub, each with a ref. */
static size_t take_events(struct subscription *sub, struct event **out) {
    struct stream *s = sub->stream;
    int64_t first = s->last_id - (int64_t)s->n_events + 1;
    size_t n = 0;
    if (s->last_id == 0)
        return 0;
    if (s->ended && sub->next_id == s->last_id + 1)
        sub->next_id = s->last_id; /* has seen all, and is told again that it is over */
    if (sub->next_id < first || sub->next_id > s->last_id + 1) {
        int64_t stands_for = s->ended ? s->last_id - 1 : s->last_id;
        struct event *reset = make_reset(s, stands_for);
        if (!reset)
            return 0;
        out[n++] = reset;
        sub->next_id = stands_for + 1;
    }
    for (; n < BATCH && sub->next_id <= s->last_id && sub->next_id >= first; n++) {
        out[n] = s->events[sub->next_id++ - first];
        atomic_fetch_add_explicit(&out[n]->refs, 1, memory_order_relaxed);
    }
    return n;
}

/* Hands over what was taken; true when the last event was among it. */
static bool hand_over(struct subscription *sub, struct event **events, size_t n) {
    bool last = false;
    for (size_t i = 0; i < n; i++) {
        struct stream_event e = {events[i]->id, events[i]->kind, {events[i]->data, events[i]->n}};
        last = last || e.kind == STREAM_DONE || e.kind == STREAM_ERROR;
        if (!sub->cancelled)
            sub->sink.on_event(sub->ctx, &e);
        event_unref(events[i]);
    }
    return last;
}

static void deliver(void *arg) {
    struct subscription *sub = arg;
    struct stream *s = sub->stream;
    struct event *events[BATCH];
    bool over = false;
    pthread_mutex_lock(&s->lock);
    sub->posted = false;
    pthread_mutex_unlock(&s->lock);
    sub->delivering = true;
    while (!over && !sub->cancelled) {
        pthread_mutex_lock(&s->lock);
        bool failed = s->failed;
        size_t n = failed ? 0 : take_events(sub, events);
        pthread_mutex_unlock(&s->lock);
        if (failed) {
            sub->sink.on_fail(sub->ctx, &s->ei); /* does not change any more */
            over = true;
        } else if (n == 0) {
            break;
        } else {
            over = hand_over(sub, events, n);
        }
    }
    sub->delivering = false;
    if (!over && !sub->cancelled)
        return;
    pthread_mutex_lock(&s->lock);
    unlink_sub(sub);
    bool again = sub->posted; /* one more is on its way: that one frees */
    sub->cancelled = true;
    pthread_mutex_unlock(&s->lock);
    if (!again)
        sub_free(sub);
}

void subscription_cancel(struct subscription *sub) {
    if (!sub || sub->cancelled)
        return;
    sub->cancelled = true;
    if (sub->delivering)
        return; /* deliver() frees */
    pthread_mutex_lock(&sub->stream->lock);
    unlink_sub(sub);
    bool posted = sub->posted;
    pthread_mutex_unlock(&sub->stream->lock);
    if (!posted)
        sub_free(sub);
}

enum err stream_subscribe(struct stream *s, struct loop *l, int64_t after,
                          const struct stream_sink *sink, void *ctx, struct subscription **ret) {
    struct subscription *sub = calloc(1, sizeof *sub);
    if (!sub)
        return ERR_NOMEM;
    sub->stream = s;
    sub->loop = l;
    sub->sink = *sink;
    sub->ctx = ctx;
    sub->next_id = after < 0 || after == INT64_MAX ? 1 : after + 1;
    stream_ref(s);
    metric_add(M_STREAMS_OPEN, 1);
    pthread_mutex_lock(&s->lock);
    sub->next = s->subs;
    s->subs = sub;
    if (s->last_id || s->failed)
        post_to(sub);
    pthread_mutex_unlock(&s->lock);
    *ret = sub;
    return ERR_OK;
}

/* ---- publishing ---- */

void stream_publish(struct stream *s, enum stream_kind kind, struct str data) {
    pthread_mutex_lock(&s->lock);
    keep_event(s, event_new(s->last_id + 1, kind, data));
    s->ended = s->ended || kind == STREAM_DONE || kind == STREAM_ERROR;
    post_to_all(s);
    pthread_mutex_unlock(&s->lock);
}

void stream_publish_text(struct stream *s) {
    struct buf b;
    if (s->published == s->text.n)
        return;
    buf_init(&b, 8 * TURN_ANSWER_MAX);
    event_text(&b, str_sub(buf_str(&s->text), s->published, SIZE_MAX));
    pthread_mutex_lock(&s->lock);
    s->published = s->text.n;
    keep_event(s, buf_err(&b) ? NULL : event_new(s->last_id + 1, STREAM_TOKEN, buf_str(&b)));
    post_to_all(s);
    pthread_mutex_unlock(&s->lock);
    buf_deinit(&b);
}

void stream_fail(struct stream *s, const struct errinfo *ei) {
    pthread_mutex_lock(&s->lock);
    s->failed = true;
    s->ei = *ei;
    post_to_all(s);
    pthread_mutex_unlock(&s->lock);
}

/* ---- the hub ---- */

static size_t bucket_of(const struct uuid *id) {
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < UUID_LEN; i++)
        h = (h ^ (unsigned char)id->s[i]) * 0x100000001b3u;
    return (size_t)(h % TURN_BUCKETS);
}

void hub_init(struct hub *h) {
    pthread_mutex_init(&h->lock, NULL);
    h->ended_tail = &h->ended;
}

void hub_deinit(struct hub *h) {
    for (size_t i = 0; i < TURN_BUCKETS; i++) {
        for (struct stream *s = h->buckets[i], *next; s; s = next) {
            next = s->next;
            for (struct subscription *sub = s->subs, *n; sub; sub = n) {
                n = sub->next; /* its loop has ended: nothing is delivered any more */
                free(sub);
                atomic_fetch_sub(&s->refs, 1);
            }
            s->subs = NULL;
            stream_unref(s);
        }
        for (struct user_slot *u = h->users[i], *next; u; u = next) {
            next = u->next;
            free(u);
        }
    }
    pthread_mutex_destroy(&h->lock);
}

static struct user_slot **find_user(struct hub *h, const struct uuid *user) {
    struct user_slot **p = &h->users[bucket_of(user)];
    while (*p && !uuid_eq(&(*p)->user, user))
        p = &(*p)->next;
    return p;
}

static enum err enter(struct hub *h, const struct uuid *user, int max, int max_per_user,
                      struct errinfo *ei) {
    struct user_slot **p = find_user(h, user);
    if (h->running >= max) {
        err_set(ei, ERR_OVERLOADED, "too many answers are being written; try again in a moment");
        if (ei)
            ei->retry_after_ms = 2000;
        return ERR_OVERLOADED;
    }
    if (*p && (*p)->running >= max_per_user) {
        err_set(ei, ERR_RATE,
                "%d answers are being written for you; wait for one to end or stop it",
                (*p)->running);
        if (ei)
            ei->retry_after_ms = 2000;
        return ERR_RATE;
    }
    if (!*p) {
        struct user_slot *u = calloc(1, sizeof *u);
        if (!u)
            return err_set(ei, ERR_NOMEM, NULL);
        u->user = *user;
        *p = u;
    }
    (*p)->running++;
    h->running++;
    return ERR_OK;
}

enum err hub_enter(struct hub *h, const struct uuid *user, int max, int max_per_user,
                   struct errinfo *ei) {
    pthread_mutex_lock(&h->lock);
    enum err e = enter(h, user, max, max_per_user, ei);
    pthread_mutex_unlock(&h->lock);
    return e;
}

void hub_leave(struct hub *h, const struct uuid *user) {
    pthread_mutex_lock(&h->lock);
    struct user_slot **p = find_user(h, user), *u = *p;
    h->running--;
    if (--u->running == 0) {
        *p = u->next;
        free(u);
    }
    pthread_mutex_unlock(&h->lock);
}

void hub_add(struct hub *h, struct stream *s) {
    stream_ref(s);
    pthread_mutex_lock(&h->lock);
    struct stream **bucket = &h->buckets[bucket_of(&s->message_id)];
    s->next = *bucket;
    *bucket = s;
    pthread_mutex_unlock(&h->lock);
}

struct stream *hub_find(struct hub *h, const struct uuid *message) {
    pthread_mutex_lock(&h->lock);
    struct stream *s = h->buckets[bucket_of(message)];
    while (s && !uuid_eq(&s->message_id, message))
        s = s->next;
    if (s)
        stream_ref(s);
    pthread_mutex_unlock(&h->lock);
    return s;
}

static void forget(struct hub *h, struct stream *s) {
    struct stream **p = &h->buckets[bucket_of(&s->message_id)];
    while (*p != s)
        p = &(*p)->next;
    *p = s->next;
    stream_unref(s);
}

void hub_sweep(struct hub *h, int64_t older_than_ns) {
    pthread_mutex_lock(&h->lock);
    while (h->ended && h->ended->ended_ns <= older_than_ns) {
        struct stream *s = h->ended;
        h->ended = s->next_ended;
        if (!h->ended)
            h->ended_tail = &h->ended;
        forget(h, s);
    }
    pthread_mutex_unlock(&h->lock);
}

/* Runs on the loop of who asked for the stop. */
static void tell_stopper(void *arg) {
    struct stopper *p = arg;
    p->done(p->ctx, ERR_OK, NULL);
    free(p);
}

void stream_ended(struct hub *h, struct stream *s) {
    pthread_mutex_lock(&h->lock);
    s->ended_ns = clock_mono_ns();
    s->next_ended = NULL;
    *h->ended_tail = s;
    h->ended_tail = &s->next_ended;
    pthread_mutex_unlock(&h->lock);
    pthread_mutex_lock(&s->lock);
    struct stopper *list = s->stoppers;
    s->stoppers = NULL;
    s->loop = NULL; /* no turn any more: who wants to stop it comes too late */
    pthread_mutex_unlock(&s->lock);
    for (struct stopper *p = list, *next; p; p = next) {
        next = p->next;
        if (loop_post(p->loop, tell_stopper, p))
            free(p);
    }
}
