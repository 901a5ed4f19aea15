/* The texts of running answers, stored while they grow. A tick takes all answers of its loop whose
 * time has come and has the store write them as one group: a transaction of its own for each would
 * cost more than the text. A group holds copies and references to the streams; turns may end
 * meanwhile. All on the loop but for write_group(). */
#include <stdlib.h>

#include "base/clock.h"
#include "turn/turn_internal.h"

#define TICK_MS   100
#define FIRST_MS  100
#define MOST_MS   1000
#define SLOW_MS   200                /* a write that took longer: the store is behind */
#define LONG      ((size_t)64 << 10) /* for each of these a text is stored less often */
#define MANY      1000               /* for each of these turns, all are */
#define MANY_MOST 4                  /* times less often at most */

#define GROUP_TEXTS 128
#define GROUP_BYTES ((size_t)512 << 10) /* with these a group is full; one text may be longer */

struct text {
    struct stream *stream; /* a reference */
    size_t at, n;          /* in the group's texts */
    int64_t ttft_ms;
    bool gone; /* its row is not there any more */
};

struct checkpoint_group {
    struct checkpoint_group *prev, *next; /* of the loop's, in the store's hands */
    struct turn_loop *tl;
    int64_t since_ns;
    struct buf bytes;
    size_t n;
    struct text texts[GROUP_TEXTS];
};

static struct checkpoint_group *group_new(struct turn_loop *tl, int64_t now) {
    struct checkpoint_group *g = calloc(1, sizeof *g);
    if (!g)
        return NULL;
    g->tl = tl;
    g->since_ns = now;
    buf_init(&g->bytes, GROUP_BYTES + TURN_ANSWER_MAX);
    return g;
}

static void group_free(struct checkpoint_group *g) {
    for (size_t i = 0; i < g->n; i++)
        stream_unref(g->texts[i].stream);
    buf_deinit(&g->bytes);
    free(g);
}

/* ---- in the store ---- */

static enum err write_group(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct checkpoint_group *g = arg;
    (void)ei;
    for (size_t i = 0; i < g->n; i++) {
        struct text *x = &g->texts[i];
        struct str text = str_sub(buf_str(&g->bytes), x->at, x->n);
        enum err e = message_checkpoint(tx, &x->stream->message_id, text, x->ttft_ms);
        x->gone = e == ERR_NOT_FOUND;
        if (e && !x->gone)
            return e;
    }
    return ERR_OK;
}

/* ---- on the loop ---- */

static void stored(struct turn *t, const struct text *x, enum err e, bool slow) {
    t->checkpointing = false;
    if (slow)
        t->checkpoint_ms = MOST_MS; /* the store is busy with what matters more */
    if (!e && !x->gone)
        t->checkpointed = x->n;
    else if (!e && turn_is_at(t, turn_step_answer))
        turn_stop_now(t); /* the conversation was deleted */
}

static void on_stored(void *arg, enum err e, const struct errinfo *ei) {
    struct checkpoint_group *g = arg;
    bool slow = clock_mono_ns() - g->since_ns > SLOW_MS * MS;
    (void)ei;
    *(g->prev ? &g->prev->next : &g->tl->groups) = g->next;
    if (g->next)
        g->next->prev = g->prev;
    for (size_t i = 0; i < g->n; i++) {
        struct turn *t = g->texts[i].stream->turn;
        if (t && !t->detached)
            stored(t, &g->texts[i], e, slow);
    }
    group_free(g);
}

static void hand_over(struct turn_loop *tl, struct checkpoint_group *g) {
    if (g->n && !buf_err(&g->bytes) &&
        !store_write_again(tl->t->o.store, write_group, g, tl->loop, on_stored)) {
        g->next = tl->groups;
        if (tl->groups)
            tl->groups->prev = g;
        tl->groups = g;
        return;
    }
    for (size_t i = 0; i < g->n; i++) /* the next tick may have better luck */
        g->texts[i].stream->turn->checkpointing = false;
    group_free(g);
}

/* At first soon, since the most is lost when nothing is stored yet; then less often, and the less
 * the longer the text, all of which is written each time, and the more others are written. */
static void next_time(struct turn *t, int64_t now) {
    int less = 1 + atomic_load_explicit(&t->t->running, memory_order_relaxed) / MANY;
    less = less < MANY_MOST ? less : MANY_MOST;
    int ms = t->checkpoint_ms ? t->checkpoint_ms * 2 : FIRST_MS * less;
    int most = MOST_MS * (less + (int)(t->stream->text.n / LONG));
    t->checkpoint_ms = ms < most ? ms : most;
    t->checkpoint_due_ns = now + t->checkpoint_ms * MS;
}

static bool is_due(const struct turn *t, int64_t now) {
    return t->checkpoint_due_ns && t->checkpoint_due_ns <= now && !t->checkpointing;
}

static void add(struct checkpoint_group *g, struct turn *t) {
    struct stream *s = t->stream;
    if (s->text.n == t->checkpointed)
        return;
    g->texts[g->n++] = (struct text){
        .stream = stream_ref(s), .at = g->bytes.n, .n = s->text.n, .ttft_ms = t->answer.ttft_ms};
    buf_adds(&g->bytes, buf_str(&s->text));
    t->checkpointing = true;
}

static void on_tick(void *arg) {
    struct turn_loop *tl = arg;
    struct checkpoint_group *g = NULL;
    int64_t now = clock_mono_ns();
    bool any = false;
    for (struct turn *t = tl->turns; t; t = t->next) {
        any = any || t->checkpoint_due_ns;
        if (!is_due(t, now))
            continue;
        if (!g && !(g = group_new(tl, now)))
            break; /* the next tick may have memory */
        next_time(t, now);
        add(g, t);
        if (g->n == GROUP_TEXTS || g->bytes.n >= GROUP_BYTES) {
            hand_over(tl, g);
            g = NULL;
        }
    }
    if (g)
        hand_over(tl, g);
    tl->ticking = any;
    if (any)
        timer_start(tl->tick, TICK_MS, false);
}

void turn_checkpoint_begin(struct turn *t) {
    struct turn_loop *tl = t->tl;
    next_time(t, clock_mono_ns());
    if (tl->ticking || (!tl->tick && !(tl->tick = timer_new(tl->loop, on_tick, tl))))
        return; /* without memory the text is stored when it is whole */
    tl->ticking = true;
    timer_start(tl->tick, TICK_MS, false);
}

void turn_checkpoint_hurry(struct turn *t) {
    if (t->checkpoint_due_ns)
        t->checkpoint_due_ns = 1;
}

void turn_checkpoint_end(struct turn *t) {
    t->checkpoint_due_ns = 0;
}

void checkpoints_end(struct turn_loop *tl) {
    timer_free(tl->tick);
    tl->tick = NULL;
    tl->ticking = true; /* nothing is begun any more */
}

void checkpoints_free(struct turn_loop *tl) {
    for (struct checkpoint_group *g = tl->groups, *next; g; g = next) {
        next = g->next;
        group_free(g);
    }
    tl->groups = NULL;
}
