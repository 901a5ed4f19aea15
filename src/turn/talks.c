/* See talks.h. A hash table by conversation and a list by age, under one lock that is held for a
 * few pointers at a time. What a talk holds lies in its own arena, which grows with it. */
#include "turn/talks.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/metrics.h"

#define BUCKETS   4096
#define ARENA_MAX (4 * TALK_BYTES)

struct talk {
    struct talk *next;          /* in its bucket */
    struct talk *older, *newer; /* by when they were put */
    int64_t put_ns;
    size_t bytes;
    struct store_mark mark;
    struct arena *arena; /* owned; of all strings here */
    struct conversation conversation;
    struct role role;
    struct role_retrieval documents;
    struct retrieval_scope scope;
    int64_t wait_until_ms;    /* the user's, of the guard */
    struct message *messages; /* owned */
    size_t n, size;
};

struct talks {
    pthread_mutex_t lock;
    struct talk *buckets[BUCKETS];
    struct talk *oldest, *newest;
    size_t bytes;
};

struct talks *talks_new(void) {
    struct talks *t = calloc(1, sizeof *t);
    if (t)
        pthread_mutex_init(&t->lock, NULL);
    return t;
}

void talk_free(struct talk *talk) {
    if (!talk)
        return;
    arena_free(talk->arena);
    free(talk->messages);
    free(talk);
}

void talks_free(struct talks *t) {
    if (!t)
        return;
    for (struct talk *k = t->oldest, *newer; k; k = newer) {
        newer = k->newer;
        talk_free(k);
    }
    pthread_mutex_destroy(&t->lock);
    free(t);
}

/* ---- the table; under the lock ---- */

/* The last bits of a version 7 id are random. */
static struct talk **place_of(struct talks *t, const struct uuid *conversation) {
    uint32_t h = 2166136261u;
    for (size_t i = UUID_LEN - 12; i < UUID_LEN; i++)
        h = (h ^ (unsigned char)conversation->s[i]) * 16777619u;
    struct talk **at = &t->buckets[(h ^ h >> 16) % BUCKETS];
    while (*at && !uuid_eq(&(*at)->conversation.conversation_id, conversation))
        at = &(*at)->next;
    return at;
}

static struct talk *take_out(struct talks *t, struct talk **at) {
    struct talk *k = *at;
    if (!k)
        return NULL;
    *at = k->next;
    *(k->older ? &k->older->newer : &t->oldest) = k->newer;
    *(k->newer ? &k->newer->older : &t->newest) = k->older;
    t->bytes -= k->bytes;
    return k;
}

static struct talk *take_oldest(struct talks *t) {
    return t->oldest ? take_out(t, place_of(t, &t->oldest->conversation.conversation_id)) : NULL;
}

static void put_newest(struct talks *t, struct talk *k) {
    struct talk **at = place_of(t, &k->conversation.conversation_id);
    k->next = NULL;
    *at = k;
    k->newer = NULL;
    k->older = t->newest;
    *(t->newest ? &t->newest->newer : &t->oldest) = k;
    t->newest = k;
    t->bytes += k->bytes;
}

void talks_sweep(struct talks *t, int64_t before_ns) {
    for (;;) {
        pthread_mutex_lock(&t->lock);
        struct talk *k = t->oldest && t->oldest->put_ns < before_ns ? take_oldest(t) : NULL;
        pthread_mutex_unlock(&t->lock);
        if (!k)
            return;
        talk_free(k);
    }
}

/* ---- load ---- */

static bool goes_on(const struct turn *t) {
    return t->in.kind == TURN_MESSAGE && t->in.parent_kind == PARENT_CURRENT;
}

/* What is loaded for these beyond a conversation is not kept. */
static bool needs_more(const struct turn *t) {
    return t->in.n_attachments || t->in.key_hash.n || (t->t->o.safety && !t->in.preferences.p);
}

/* For its owner only, and while the guard has them wait the store is asked for the words. */
static bool is_for(const struct talk *k, const struct turn *t) {
    return uuid_eq(&k->conversation.user_id, &t->in.user_id) &&
           (!t->t->o.safety || k->wait_until_ms <= clock_wall_ms()) &&
           store_mark_holds(t->t->o.store, &t->in.conversation_id, &k->mark);
}

bool talks_take(struct turn *t) {
    struct talks *all = t->t->talks;
    store_mark_take(t->t->o.store, &t->in.conversation_id, &t->mark);
    if (!goes_on(t) || needs_more(t))
        return false;
    pthread_mutex_lock(&all->lock);
    struct talk *k = take_out(all, place_of(all, &t->in.conversation_id));
    pthread_mutex_unlock(&all->lock);
    if (!k)
        return false;
    struct message *branch = arena_array(t->arena, k->n + 1, sizeof *branch);
    if (!branch || !is_for(k, t)) {
        talk_free(k);
        return false;
    }
    memcpy(branch, k->messages, k->n * sizeof *branch);
    t->talk = k;
    t->branch = branch;
    t->n_branch = k->n;
    t->conversation = k->conversation;
    t->role = k->role;
    t->documents = k->documents;
    t->scope = k->scope;
    t->wait_until_ms = k->wait_until_ms;
    t->mark = k->mark;
    metric_add(M_TURNS_REMEMBERED, 1);
    return true;
}

/* ---- close ---- */

struct copying { /* into a talk; fails once for all */
    struct talk *k;
    bool failed;
};

/* As a row has it: none is what the column has then. */
static void keep(struct copying *c, struct str *s, struct str none) {
    struct str from = s->n ? *s : none;
    if (!from.n) {
        *s = STR("");
        return;
    }
    *s = arena_str(c->k->arena, from);
    c->failed = c->failed || !s->p;
}

static void keep_message(struct copying *c, const struct message *from) {
    struct talk *k = c->k;
    if (k->n == k->size) {
        size_t size = k->size ? k->size * 2 : 4;
        struct message *more = realloc(k->messages, size * sizeof *more);
        if (!more) {
            c->failed = true;
            return;
        }
        k->messages = more;
        k->size = size;
    }
    struct message *m = &k->messages[k->n++];
    *m = *from;
    keep(c, &m->content, STR(""));
    keep(c, &m->retrieved_docs, STR("[]"));
    keep(c, &m->model, STR(""));
    keep(c, &m->finish_reason, STR(""));
    keep(c, &m->error, STR(""));
    keep(c, &m->support, STR("[]"));
    keep(c, &m->safety, STR(""));
    keep(c, &m->attachments, STR("[]"));
}

static void keep_role(struct copying *c, const struct turn *t) {
    struct role *r = &c->k->role;
    struct role_retrieval *d = &c->k->documents;
    *r = t->role_loaded;
    keep(c, &r->name, STR(""));
    keep(c, &r->description, STR(""));
    keep(c, &r->system_prompt, STR(""));
    keep(c, &r->model, STR(""));
    keep(c, &r->stop, STR(""));
    keep(c, &r->starter_questions, STR(""));
    *d = t->documents;
    d->collections = arena_array(c->k->arena, d->n, sizeof *d->collections);
    if (!d->collections)
        c->failed = true;
    else if (d->n)
        memcpy(d->collections, t->documents.collections, d->n * sizeof *d->collections);
}

/* What the store was read for, before the turn changed anything of it for itself. */
static struct talk *talk_of(const struct turn *t) {
    struct talk *k = calloc(1, sizeof *k);
    struct copying c = {.k = k};
    if (!k || !(k->arena = arena_new(ARENA_MAX))) {
        free(k);
        return NULL;
    }
    k->conversation = t->conversation;
    keep(&c, &k->conversation.title, STR(""));
    keep(&c, &k->conversation.summary, STR(""));
    k->scope = t->scope;
    k->wait_until_ms = t->wait_until_ms;
    keep_role(&c, t);
    for (size_t i = 0; i < t->n_loaded && !c.failed; i++)
        keep_message(&c, &t->loaded[i]);
    if (c.failed) {
        talk_free(k);
        return NULL;
    }
    return k;
}

/* Nothing of the branch can change by itself, and all of it is there. */
static bool is_whole(const struct turn *t) {
    if (t->talk)
        return true;
    if (t->n_loaded && uuid_is_set(&t->loaded[0].parent_id))
        return false;
    size_t bytes = 0;
    for (size_t i = 0; i < t->n_loaded; i++) {
        if (t->loaded[i].status == MESSAGE_STREAMING)
            return false;
        bytes += t->loaded[i].content.n;
    }
    return t->n_loaded + 2 <= TALK_MESSAGES && bytes <= TALK_BYTES;
}

/* What else such a turn has changed would have to be said here. */
static bool is_plain(const struct turn *t) {
    return goes_on(t) && t->mark.all && t->answer.status == MESSAGE_COMPLETE && !t->failure.code &&
           !t->late && !t->guard.refused && !t->guard.cut_off && !t->guard.vault &&
           !t->prompt.was_cut;
}

static bool add_turn(struct talk *k, const struct turn *t) {
    struct copying c = {.k = k};
    struct conversation *v = &k->conversation;
    keep_message(&c, &t->question);
    if (!c.failed)
        keep_message(&c, &t->answer);
    if (t->title[0]) {
        v->title = str_from(t->title);
        keep(&c, &v->title, STR(""));
    }
    v->current_message_id = t->answer.message_id;
    if (v->last_updated_at < t->answer.timestamp)
        v->last_updated_at = t->answer.timestamp;
    k->mark = t->mark;
    k->put_ns = clock_mono_ns();
    k->bytes = sizeof *k + k->size * sizeof *k->messages + 2 * arena_used(k->arena);
    return !c.failed && k->n <= TALK_MESSAGES && arena_used(k->arena) <= TALK_BYTES;
}

void talks_put(struct turn *t) {
    struct talks *all = t->t->talks;
    struct talk *k = NULL, *gone = NULL;
    if (!is_plain(t) || !is_whole(t) || !(k = t->talk ? t->talk : talk_of(t)))
        return;
    t->talk = NULL;
    if (!add_turn(k, t)) {
        talk_free(k);
        return;
    }
    pthread_mutex_lock(&all->lock);
    gone = take_out(all, place_of(all, &t->in.conversation_id));
    put_newest(all, k);
    pthread_mutex_unlock(&all->lock);
    talk_free(gone);
    for (bool more = true; more;) {
        pthread_mutex_lock(&all->lock);
        gone = all->bytes > TALKS_BYTES ? take_oldest(all) : NULL;
        pthread_mutex_unlock(&all->lock);
        more = gone != NULL;
        talk_free(gone);
    }
}
