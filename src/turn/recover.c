/* Answers that a former process had begun: found at the start, attached to at once, and gone on
 * with from their last checkpoint, a few at a time on each loop.
 *
 *   store (streaming rows) ─→ streams with their text ─→ waiting list ─→ a loop: TURN_RESUME, its
 * steps
 *
 * Who comes back finds the stream, even while its turn still waits. An answer that was taken up
 * GENERATIONS_MAX times is given up: it may be what the process dies of. */
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"
#include "turn/turn_internal.h"

#define RESUMES_MAX     20000 /* at one start */
#define RESUMES_AT_ONCE 64    /* on each loop: the model is for those who ask now, too */
#define GENERATIONS_MAX 5
#define AGE_MAX_MS      (6 * 3600 * 1000ll)

struct resume { /* waits for a loop */
    struct resume *next;
    struct stream *stream; /* a ref */
    struct unfinished u;   /* content not used */
};

struct found {
    struct arena *arena;
    const struct former_tails *tails;
    struct unfinished *list;
    size_t n;
    int64_t given_up;
};

static enum err find(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct found *f = arg;
    (void)ei;
    enum err e = message_unfinished(tx, clock_wall_ms() - AGE_MAX_MS, GENERATIONS_MAX, RESUMES_MAX,
                                    f->arena, &f->list, &f->n, &f->given_up);
    if (!e && f->n)
        e = store_touch(tx);
    for (size_t i = 0; !e && i < f->n; i++) {
        struct unfinished *u = &f->list[i];
        size_t stored = u->content.n;
        e = former_tails_extend(f->tails, &u->message_id, f->arena, &u->content);
        if (!e && u->content.n > stored)
            e = message_extend(tx, &u->message_id, u->content);
    }
    return e;
}

/* What readers saw is written into the answers. Nothing goes on before the store takes writing: an
 * answer notes that it was taken up, and one without what readers saw would be taken back. */
static enum err find_with_tails(struct turns *t, struct found *f, struct errinfo *ei) {
    struct former_tails *tails = t->o.data_dir ? former_tails_open(t->o.data_dir) : NULL;
    f->tails = tails;
    enum err e = store_write_wait(t->o.store, find, f, ei);
    former_tails_close(tails, e == ERR_OK);
    f->tails = NULL;
    return e;
}

static struct resume *make_resume(struct turns *t, const struct unfinished *u) {
    struct resume *r = calloc(1, sizeof *r);
    if (!r)
        return NULL;
    r->u = *u;
    r->u.content = STR_NULL;
    r->u.generation++;
    r->u.base_first = u->generation ? u->base_first : u->content.n;
    r->u.base_last = u->content.n;
    struct generation g = {r->u.generation, r->u.base_first, r->u.base_last};
    r->stream = stream_new(t, &u->user_id, &u->message_id, NULL);
    if (r->stream && stream_restore(r->stream, u->content, &g) == ERR_OK) {
        r->stream->waiting = true;
        return r;
    }
    stream_unref(r->stream);
    free(r);
    return NULL;
}

enum err turns_recover(struct turns *t, int64_t *ret_n, int64_t *ret_given_up, struct errinfo *ei) {
    struct found f = {.arena = arena_new((size_t)1 << 30)};
    int64_t n = 0;
    struct resume *first = NULL, **tail = &first;
    if (!f.arena)
        return err_set(ei, ERR_NOMEM, NULL);
    enum err e = find_with_tails(t, &f, ei);
    for (size_t i = 0; !e && i < f.n; i++) {
        struct stream *ours = hub_find(&t->hub, &f.list[i].message_id);
        if (ours) { /* begun by this process, beside the one that has ended */
            stream_unref(ours);
            continue;
        }
        struct resume *r = make_resume(t, &f.list[i]);
        if (!r) {
            e = err_set(ei, ERR_NOMEM, NULL);
            break;
        }
        hub_add(&t->hub, r->stream);
        n++;
        *tail = r;
        tail = &r->next;
    }
    pthread_mutex_lock(&t->lock);
    *tail = t->resumes;
    t->resumes = first;
    pthread_mutex_unlock(&t->lock);
    if (!e) {
        atomic_store(&t->recovered, true);
        *ret_n = n;
        *ret_given_up = f.given_up;
    }
    arena_free(f.arena);
    return e;
}

static struct resume *take_next(struct turns *t) {
    pthread_mutex_lock(&t->lock);
    struct resume *r = t->resumes;
    if (r)
        t->resumes = r->next;
    pthread_mutex_unlock(&t->lock);
    return r;
}

static void resume_free(struct resume *r) {
    stream_unref(r->stream);
    free(r);
}

static void begin(struct turn_loop *tl, struct resume *r) {
    struct turn_input in = {
        .user_id = r->u.user_id,
        .kind = TURN_RESUME,
        .message_id = r->u.message_id,
        .arrived_ns = clock_mono_ns() - (clock_wall_ms() - r->u.timestamp) * MS,
    };
    struct errinfo ei;
    struct turn *turn;
    if (turn_make(tl, &in, r->stream, &turn)) {
        err_set(&ei, ERR_NOMEM, NULL);
        stream_fail(r->stream, &ei); /* the next start tries again */
        stream_ended(&tl->t->hub, r->stream);
        return;
    }
    turn->resumed = r->u;
    hub_enter_always(&tl->t->hub, &in.user_id);
    tl->resuming++;
    metric_add(M_TURNS_RECOVERED, 1);
    turn_enlist(turn);
    if (stream_begin(r->stream, tl->loop))
        turn_stop_now(turn);
    turn_run(turn);
}

void recover_begin(struct turn_loop *tl) {
    struct resume *r;
    while (!tl->detached && tl->resuming < RESUMES_AT_ONCE && (r = take_next(tl->t))) {
        begin(tl, r);
        resume_free(r);
    }
}

static void begin_next(void *arg) {
    recover_begin(arg);
}

void recover_ended(struct turn *t) {
    if (t->in.kind != TURN_RESUME)
        return;
    t->tl->resuming--;
    if (loop_post(t->tl->loop, begin_next, t->tl))
        log_event(LOG_DEBUG, "turn.recover_put_off"); /* the sweep begins it */
}

void recover_free(struct turns *t) {
    struct resume *r;
    while ((r = take_next(t)))
        resume_free(r);
}
