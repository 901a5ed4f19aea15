/* Streams: what a turn says, kept for those who are there and those who come back.
 *
 *   turn's loop ── publish ──→ events (a ring, numbered) ──→ post to each subscription's loop ──→
 * sink
 *
 * A subscription remembers the last event it had; one post at most is under way to it, and takes
 * all that has gathered. When what follows is no longer kept, one TOKEN with the text in between
 * stands for it; when what it had is not the beginning of the text (it saw more than the process
 * that died had stored, or a number that was never given), one RESET with the text so far. */
#include <stdlib.h>

#include "base/clock.h"
#include "base/metrics.h"
#include "turn/turn_internal.h"

#define BATCH        32 /* events taken under one lock */
#define EVENTS_FIRST 16

#define RETRY_UNKNOWN_MS 2000
#define RETRY_LEAST_MS   500
#define RETRY_MOST_MS    30000

/* What is told when there is no memory to say more. */
static const char reserve_text[] =
    "{\"error\":{\"message\":\"out of memory while the end was to be told; the answer is in the "
    "conversation\",\"type\":\"server_error\",\"param\":null,\"code\":\"out_of_memory\"}}";

struct subscription {
    struct stream *stream; /* a ref */
    struct loop *loop;
    struct stream_sink sink;
    void *ctx;
    bool cancelled, delivering; /* its own loop only */
    /* under the stream's lock */
    struct subscription *next;
    int64_t after; /* the last event it had */
    bool posted;   /* deliver() is on its way */
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

static int64_t id_of(int64_t generation, size_t bytes, int64_t order) {
    return generation << EVENT_GENERATION_SHIFT | (int64_t)bytes << EVENT_TEXT_SHIFT | order;
}

static size_t id_bytes(int64_t id) {
    return (size_t)(id >> EVENT_TEXT_SHIFT) &
           (((size_t)1 << (EVENT_GENERATION_SHIFT - EVENT_TEXT_SHIFT)) - 1);
}

static int64_t id_generation(int64_t id) {
    return id >> EVENT_GENERATION_SHIFT;
}

/* Under the lock: the id of an event that follows the last one. 0: there were so many without text
 * that this one can only be left out. The last event always has one. */
static int64_t next_id(const struct stream *s, bool last) {
    int64_t here = id_of(s->generation.n, s->published, 0);
    int64_t id = s->last_id < here ? here : s->last_id + 1;
    if (last)
        return id;
    return id - here < EVENT_ORDER_MAX - 2 ? id : 0;
}

static void drop_events(struct stream *s, size_t n) {
    if (n == 0)
        return;
    s->forgotten_id = s->events[n - 1]->id;
    for (size_t i = 0; i < n; i++) {
        s->bytes -= s->events[i]->n;
        event_unref(s->events[i]);
    }
    s->n_events -= n;
    memmove(s->events, s->events + n, s->n_events * sizeof *s->events);
}

/* Under the lock. When memory is out all events go: who wants them is served from the text. */
static void keep_event(struct stream *s, int64_t id, struct event *e) {
    if (e && s->n_events == s->size_events) {
        size_t size = s->size_events * 2;
        struct event **grown = realloc(s->events, size * sizeof *grown);
        if (grown) {
            s->events = grown;
            s->size_events = size;
        }
    }
    s->last_id = id;
    if (!e || s->n_events == s->size_events)
        drop_events(s, s->n_events);
    if (!e) {
        s->forgotten_id = id;
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

static void stream_free(struct stream *s) {
    drop_events(s, s->n_events);
    free(s->events);
    free(s->reserve);
    buf_deinit(&s->text);
    for (struct stopper *p = s->stoppers, *next; p; p = next) {
        next = p->next;
        free(p);
    }
    pthread_mutex_destroy(&s->lock);
    free(s);
}

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
    s->events = calloc(EVENTS_FIRST, sizeof *s->events);
    s->size_events = EVENTS_FIRST;
    s->reserve = event_new(0, STREAM_ERROR, str_from(reserve_text));
    if (!s->events || !s->reserve) {
        stream_free(s);
        return NULL;
    }
    return s;
}

void stream_unref(struct stream *s) {
    if (s && atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) == 1)
        stream_free(s);
}

struct stream *stream_ref(struct stream *s) {
    atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
    return s;
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
    if (*p)
        *p = sub->next;
}

static void sub_free(struct subscription *sub) {
    stream_unref(sub->stream);
    free(sub);
}

/* Under the lock: an event of this subscription alone with the published text from `from` on. */
static struct event *make_text(struct stream *s, int64_t id, enum stream_kind kind, size_t from) {
    struct buf b;
    buf_init(&b, 8 * TURN_ANSWER_MAX);
    event_text(&b, (struct str){s->text.p ? s->text.p + from : "", s->published - from});
    struct event *e = buf_err(&b) ? NULL : event_new(id, kind, buf_str(&b));
    buf_deinit(&b);
    return e;
}

/* Whether the text up to where `after` stands is the beginning of the text here. */
static bool is_beginning(const struct stream *s, int64_t after) {
    const struct generation *g = &s->generation;
    int64_t of = id_generation(after);
    size_t n = id_bytes(after);
    size_t same = of == g->n ? s->published : of + 1 == g->n ? g->base_last : g->base_first;
    struct str text = {s->text.p, s->published};
    return of <= g->n && n <= same && utf8_complete(str_sub(text, 0, n)) == n;
}

/* Under the lock: what brings sub to where the kept events go on. False: not now. */
static bool catch_up(struct subscription *sub, struct event **ret) {
    struct stream *s = sub->stream;
    int64_t stands_for = s->ended ? s->last_id - 1 : s->last_id;
    bool known = sub->after > 0 && is_beginning(s, sub->after);
    size_t seen = id_bytes(sub->after);
    *ret = NULL;
    if (!known && !s->ended && id_generation(sub->after) < s->generation.n && seen > s->published)
        return false; /* it is ahead of us; it would see the text shrink and grow again */
    if (!known || seen < s->published) {
        *ret = make_text(s, stands_for, known ? STREAM_TOKEN : STREAM_RESET, known ? seen : 0);
        if (!*ret && !s->ended) /* no memory: the next event tries again */
            return false;
    }
    sub->after = stands_for;
    return true;
}

/* Under the lock: the first of the kept events that follows `after`. */
static size_t first_after(const struct stream *s, int64_t after) {
    size_t lo = 0, hi = s->n_events;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (s->events[mid]->id > after)
            hi = mid;
        else
            lo = mid + 1;
    }
    return lo;
}

/* Under the lock: the next events for sub, each with a ref. */
static size_t take_events(struct subscription *sub, struct event **out) {
    struct stream *s = sub->stream;
    size_t n = 0;
    if (s->last_id == 0)
        return 0;
    if (s->ended && sub->after == s->last_id)
        sub->after = s->last_id - 1; /* has seen all, and is told again that it is over */
    if (sub->after < s->forgotten_id || sub->after > s->last_id) {
        if (!catch_up(sub, &out[0]))
            return 0;
        n += out[0] != NULL;
    }
    for (size_t i = first_after(s, sub->after); n < BATCH && i < s->n_events; i++, n++) {
        out[n] = s->events[i];
        sub->after = out[n]->id;
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
    size_t n = BATCH; /* fewer were taken: that was all */
    pthread_mutex_lock(&s->lock);
    sub->posted = false; /* what is published from here on is posted again */
    sub->delivering = true;
    while (!over && !sub->cancelled && n == BATCH) {
        bool failed = s->failed;
        n = failed ? 0 : take_events(sub, events);
        pthread_mutex_unlock(&s->lock);
        if (failed)
            sub->sink.on_fail(sub->ctx, &s->ei); /* does not change any more */
        over = failed || hand_over(sub, events, n);
        pthread_mutex_lock(&s->lock);
    }
    sub->delivering = false;
    bool ends = over || sub->cancelled;
    bool again = sub->posted; /* one more is on its way: that one frees */
    if (ends)
        unlink_sub(sub);
    sub->cancelled = sub->cancelled || ends;
    pthread_mutex_unlock(&s->lock);
    if (ends && !again)
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
    sub->after = after < 0 ? 0 : after;
    stream_ref(s);
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
    bool last = kind == STREAM_DONE || kind == STREAM_ERROR;
    pthread_mutex_lock(&s->lock);
    int64_t id = next_id(s, last);
    struct event *e = id ? event_new(id, kind, data) : NULL;
    if (last && !e) {
        e = s->reserve;
        s->reserve = NULL;
        e->id = id;
    }
    if (id)
        keep_event(s, id, e);
    s->ended = s->ended || last;
    post_to_all(s);
    pthread_mutex_unlock(&s->lock);
}

/* Under the lock. The reader on the stream's own loop, if it can be served at once; else all are
 * posted to. */
static struct subscription *post_to_others(struct stream *s) {
    struct subscription *here = NULL;
    for (struct subscription *sub = s->subs; sub; sub = sub->next) {
        if (!here && !sub->posted && sub->loop == s->loop) {
            sub->posted = true;
            here = sub;
        } else {
            post_to(sub);
        }
    }
    return here;
}

void stream_publish_text(struct stream *s, bool at_once) {
    struct buf b;
    if (s->published == s->text.n)
        return;
    buf_init(&b, 8 * TURN_ANSWER_MAX);
    event_text(&b, str_sub(buf_str(&s->text), s->published, SIZE_MAX));
    tails_note(s->owner->tails, &s->message_id, s->published,
               str_sub(buf_str(&s->text), s->published, SIZE_MAX));
    pthread_mutex_lock(&s->lock);
    s->published = s->text.n;
    int64_t id = next_id(s, false);
    keep_event(s, id, buf_err(&b) ? NULL : event_new(id, STREAM_TOKEN, buf_str(&b)));
    struct subscription *here = at_once ? post_to_others(s) : NULL;
    if (!at_once)
        post_to_all(s);
    pthread_mutex_unlock(&s->lock);
    buf_deinit(&b);
    if (here)
        deliver(here);
}

enum err stream_restore(struct stream *s, struct str text, const struct generation *g) {
    pthread_mutex_lock(&s->lock);
    buf_adds(&s->text, text);
    enum err e = buf_err(&s->text);
    if (!e) {
        s->published = s->text.n;
        s->generation = *g;
        s->last_id = s->forgotten_id = id_of(g->n, s->published, 1);
    }
    pthread_mutex_unlock(&s->lock);
    return e;
}

/* Under the lock. The numbers of a new generation follow those of more text that was published. */
static void new_generation(struct stream *s, size_t keep) {
    struct generation *g = &s->generation;
    if (g->n + 1 < EVENT_GENERATIONS_MAX)
        g->n++;
    g->base_first = g->n == 1 || keep < g->base_first ? keep : g->base_first;
    g->base_last = keep;
    s->text.n = keep;
    s->published = s->published < keep ? s->published : keep;
}

/* What was shown does not come back when the process dies now. */
static void note_cut(struct stream *s, size_t keep) {
    if (s->published > keep)
        tails_note(s->owner->tails, &s->message_id, keep, STR(""));
}

bool stream_cut(struct stream *s, size_t keep) {
    note_cut(s, keep);
    pthread_mutex_lock(&s->lock);
    bool shown = s->published > keep;
    if (shown)
        new_generation(s, keep);
    else if (keep < s->text.n)
        s->text.n = keep;
    pthread_mutex_unlock(&s->lock);
    return shown;
}

void stream_take_back(struct stream *s, size_t keep) {
    struct generation *g = &s->generation;
    note_cut(s, keep);
    pthread_mutex_lock(&s->lock);
    new_generation(s, keep);
    drop_events(s, s->n_events);
    s->last_id = s->forgotten_id = id_of(g->n, s->published, 1);
    post_to_all(s);
    pthread_mutex_unlock(&s->lock);
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

/* When one of n running answers is over, by how long answers have taken until now (Little's law).
 */
static uint32_t place_free_in_ms(int n) {
    double mean = metric_mean(M_TURN_SECONDS);
    double ms = mean > 0 ? mean * 1000 / (n > 0 ? n : 1) : RETRY_UNKNOWN_MS;
    return ms < RETRY_LEAST_MS ? RETRY_LEAST_MS : ms > RETRY_MOST_MS ? RETRY_MOST_MS : (uint32_t)ms;
}

static enum err add_user(struct user_slot **p, const struct uuid *user) {
    if (*p)
        return ERR_OK;
    *p = calloc(1, sizeof **p);
    if (!*p)
        return ERR_NOMEM;
    (*p)->user = *user;
    return ERR_OK;
}

static enum err enter(struct hub *h, const struct uuid *user, int max, int max_per_user,
                      struct errinfo *ei) {
    struct user_slot **p = find_user(h, user);
    if (h->running >= max) {
        err_set(ei, ERR_OVERLOADED, "too many answers are being written; try again in a moment");
        if (ei)
            ei->retry_after_ms = place_free_in_ms(h->running);
        return ERR_OVERLOADED;
    }
    if (*p && (*p)->running >= max_per_user) {
        err_set(ei, ERR_RATE,
                "%d answers are being written for you; wait for one to end or stop it",
                (*p)->running);
        if (ei)
            ei->retry_after_ms = place_free_in_ms((*p)->running);
        return ERR_RATE;
    }
    if (add_user(p, user))
        return err_set(ei, ERR_NOMEM, NULL);
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

void hub_enter_always(struct hub *h, const struct uuid *user) {
    pthread_mutex_lock(&h->lock);
    struct user_slot **p = find_user(h, user);
    if (add_user(p, user) == ERR_OK)
        (*p)->running++;
    h->running++;
    pthread_mutex_unlock(&h->lock);
}

void hub_leave(struct hub *h, const struct uuid *user) {
    pthread_mutex_lock(&h->lock);
    struct user_slot **p = find_user(h, user), *u = *p;
    h->running--;
    if (u && --u->running == 0) {
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

/* Under the lock: the one that ended first. */
static void forget_ended(struct hub *h) {
    struct stream *s = h->ended;
    h->ended = s->next_ended;
    if (!h->ended)
        h->ended_tail = &h->ended;
    h->n_ended--;
    forget(h, s);
}

void hub_sweep(struct hub *h, int64_t older_than_ns) {
    pthread_mutex_lock(&h->lock);
    while (h->ended && h->ended->ended_ns <= older_than_ns)
        forget_ended(h);
    pthread_mutex_unlock(&h->lock);
}

bool stream_begin(struct stream *s, struct loop *l) {
    pthread_mutex_lock(&s->lock);
    s->loop = l;
    s->waiting = false;
    bool stop = s->stop_wanted;
    pthread_mutex_unlock(&s->lock);
    return stop;
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
    if (++h->n_ended > TURN_KEPT_MAX)
        forget_ended(h);
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
