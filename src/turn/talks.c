/* See talks.h. A hash table by conversation and a list by age, under one lock that is held for a
 * few pointers at a time. A talk is one piece of memory of just the size that it needs, and is
 * never changed: each turn makes another one. */
#include "turn/talks.h"

#include <stddef.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/metrics.h"

#define BUCKETS  4096
#define OVERHEAD 16 /* bytes that malloc() takes for itself */
#define TEXTS    8

/* Of a message, without what its place in the branch says. Behind it, in order, the texts. */
struct kept_message {
    struct uuid message_id, role_id;
    int64_t timestamp, response_latency_ms, ttft_ms;
    int role_version, prompt_tokens, completion_tokens;
    enum message_sender sender;
    enum message_status status;
    uint32_t texts[TEXTS]; /* bytes; each has a NUL behind it */
    const char *first_text;
};

struct talk {
    struct talk *next;          /* in its bucket */
    struct talk *older, *newer; /* by when they were put */
    int64_t put_ns;
    size_t bytes;
    struct store_mark mark;
    struct conversation conversation; /* strings and lists lie behind the messages */
    struct role role;
    struct role_retrieval documents;
    const struct uuid *scope;
    size_t n_scope;
    int64_t wait_until_ms; /* the user's, of the guard */
    size_t n;
    struct kept_message messages[];
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

/* ---- what a message has of texts ---- */

static const struct {
    size_t at;
    const char *none; /* what the column has then */
} texts[TEXTS] = {
    {offsetof(struct message, content), ""}, {offsetof(struct message, retrieved_docs), "[]"},
    {offsetof(struct message, model), ""},   {offsetof(struct message, finish_reason), ""},
    {offsetof(struct message, error), ""},   {offsetof(struct message, support), "[]"},
    {offsetof(struct message, safety), ""},  {offsetof(struct message, attachments), "[]"},
};

static struct str text_of(const struct message *m, size_t i) {
    struct str s;
    memcpy(&s, (const char *)m + texts[i].at, sizeof s);
    return s.n ? s : str_from(texts[i].none);
}

static void set_text(struct message *m, size_t i, struct str s) {
    memcpy((char *)m + texts[i].at, &s, sizeof s);
}

/* ---- load ---- */

/* What is loaded for others beyond a conversation is not kept. */
static bool is_kept_for(const struct turn *t) {
    return t->in.kind == TURN_MESSAGE && !(t->t->o.safety && !t->in.preferences.p);
}

/* For its owner only, and only behind its last message. */
static bool goes_on(const struct talk *k, const struct turn *t) {
    const struct turn_input *in = &t->in;
    return uuid_eq(&k->conversation.user_id, &in->user_id) &&
           (in->parent_kind == PARENT_CURRENT ||
            (in->parent_kind == PARENT_GIVEN &&
             uuid_eq(&in->parent_id, &k->conversation.current_message_id)));
}

/* While the guard has its owner wait, the store is asked for the words. */
static bool still_holds(const struct talk *k, const struct turn *t) {
    return (!t->t->o.safety || k->wait_until_ms <= clock_wall_ms()) &&
           store_mark_holds(t->t->o.store, &t->in.conversation_id, &k->mark);
}

static void unpack_message(const struct talk *k, size_t i, struct message *ret) {
    const struct kept_message *from = &k->messages[i];
    const char *at = from->first_text;
    *ret = (struct message){
        .message_id = from->message_id,
        .conversation_id = k->conversation.conversation_id,
        .sender = from->sender,
        .timestamp = from->timestamp,
        .response_latency_ms = from->response_latency_ms,
        .status = from->status,
        .ttft_ms = from->ttft_ms,
        .role_id = from->role_id,
        .role_version = from->role_version,
        .prompt_tokens = from->prompt_tokens,
        .completion_tokens = from->completion_tokens,
    };
    if (i)
        ret->parent_id = k->messages[i - 1].message_id;
    for (size_t text = 0; text < TEXTS; text++) {
        set_text(ret, text, (struct str){at, from->texts[text]});
        at += from->texts[text] + 1;
    }
}

/* Twice, as turn_load_fn() does: the turn changes its branch. */
static bool unpack_branch(const struct talk *k, struct turn *t) {
    struct message *loaded = arena_array(t->arena, k->n, sizeof *loaded);
    struct message *branch = arena_array(t->arena, k->n + 1, sizeof *branch);
    if (!loaded || !branch)
        return false;
    for (size_t i = 0; i < k->n; i++)
        unpack_message(k, i, &loaded[i]);
    memcpy(branch, loaded, k->n * sizeof *branch);
    t->loaded = loaded;
    t->branch = branch;
    t->n_loaded = t->n_branch = k->n;
    return true;
}

bool talks_take(struct turn *t) {
    struct talks *all = t->t->talks;
    store_mark_take(t->t->o.store, &t->in.conversation_id, &t->mark);
    if (!is_kept_for(t) || t->in.n_attachments)
        return false;
    pthread_mutex_lock(&all->lock);
    struct talk **at = place_of(all, &t->in.conversation_id);
    struct talk *k = *at && goes_on(*at, t) ? take_out(all, at) : NULL;
    pthread_mutex_unlock(&all->lock);
    if (!k)
        return false;
    if (!still_holds(k, t) || !unpack_branch(k, t)) {
        talk_free(k);
        return false;
    }
    t->talk = k;
    t->conversation = k->conversation;
    t->role = t->role_loaded = k->role;
    t->documents = k->documents;
    if (k->n_scope)
        memcpy(t->scope.collections, k->scope, k->n_scope * sizeof *k->scope);
    t->scope.n = k->n_scope;
    t->wait_until_ms = k->wait_until_ms;
    t->mark = k->mark;
    metric_add(M_TURNS_REMEMBERED, 1);
    return true;
}

/* ---- close ---- */

struct packing {
    char *to; /* NULL: it is only counted */
    size_t n;
};

static char *pack(struct packing *p, const void *from, size_t n) {
    char *at = p->to ? p->to + p->n : NULL;
    if (at && n)
        memcpy(at, from, n);
    p->n += n;
    return at;
}

static struct str pack_str(struct packing *p, struct str s) {
    const char *at = pack(p, s.p, s.n);
    (void)pack(p, "", 1);
    return (struct str){at, s.n};
}

static void pack_message(struct packing *p, const struct message *m, struct kept_message *ret) {
    *ret = (struct kept_message){
        .message_id = m->message_id,
        .role_id = m->role_id,
        .timestamp = m->timestamp,
        .response_latency_ms = m->response_latency_ms,
        .ttft_ms = m->ttft_ms,
        .role_version = m->role_version,
        .prompt_tokens = m->prompt_tokens,
        .completion_tokens = m->completion_tokens,
        .sender = m->sender,
        .status = m->status,
        .first_text = p->to ? p->to + p->n : NULL,
    };
    for (size_t i = 0; i < TEXTS; i++)
        ret->texts[i] = (uint32_t)pack_str(p, text_of(m, i)).n;
}

/* What no turn asks for is left out. */
static void pack_role(struct packing *p, const struct turn *t, struct talk *ret) {
    struct role *r = &ret->role;
    *r = t->role_loaded;
    r->description = r->starter_questions = STR("");
    r->name = pack_str(p, r->name);
    r->system_prompt = pack_str(p, r->system_prompt);
    r->model = pack_str(p, r->model);
    r->stop = pack_str(p, r->stop);
    ret->documents = t->documents;
    ret->documents.collections = (struct uuid *)(void *)pack(p, t->documents.collections,
                                                             t->documents.n * sizeof(struct uuid));
}

/* As the store has it now: what it was read for, before the turn changed anything of it for itself,
 * and what the turn then wrote. */
static void pack_talk(struct packing *p, const struct turn *t, struct talk *ret) {
    struct conversation *v = &ret->conversation;
    struct kept_message counted;
    *v = t->conversation;
    v->title = pack_str(p, t->title[0] ? str_from(t->title) : v->title);
    v->summary = pack_str(p, v->summary);
    v->current_message_id = t->answer.message_id;
    if (v->last_updated_at < t->answer.timestamp)
        v->last_updated_at = t->answer.timestamp;
    pack_role(p, t, ret);
    ret->scope = (const struct uuid *)(void *)pack(p, t->scope.collections,
                                                   t->scope.n * sizeof(struct uuid));
    ret->n_scope = t->scope.n;
    ret->wait_until_ms = t->wait_until_ms;
    ret->mark = t->mark;
    ret->n = t->n_loaded + 2;
    for (size_t i = 0; i < ret->n; i++)
        pack_message(p,
                     i < t->n_loaded    ? &t->loaded[i]
                     : i == t->n_loaded ? &t->question
                                        : &t->answer,
                     p->to ? &ret->messages[i] : &counted);
}

static struct talk *talk_of(const struct turn *t) {
    struct talk head;
    struct packing p = {0};
    pack_talk(&p, t, &head);
    size_t fixed = sizeof head + head.n * sizeof head.messages[0];
    struct talk *k = p.n <= TALK_BYTES ? malloc(fixed + p.n) : NULL;
    if (!k)
        return NULL;
    p = (struct packing){.to = (char *)k + fixed};
    pack_talk(&p, t, k);
    k->put_ns = clock_mono_ns();
    k->bytes = fixed + p.n + OVERHEAD;
    return k;
}

/* Nothing of the branch can change by itself, and all of it is there. */
static bool is_whole(const struct turn *t) {
    if (t->n_loaded + 2 > TALK_MESSAGES || (t->n_loaded && uuid_is_set(&t->loaded[0].parent_id)))
        return false;
    for (size_t i = 0; i < t->n_loaded; i++)
        if (t->loaded[i].status == MESSAGE_STREAMING)
            return false;
    return true;
}

/* What else such a turn has changed would have to be said here. */
static bool is_plain(const struct turn *t) {
    return is_kept_for(t) && t->mark.all && t->answer.status == MESSAGE_COMPLETE &&
           !t->failure.code && !t->late && !t->guard.refused && !t->guard.cut_off &&
           !t->guard.vault && !t->prompt.was_cut;
}

void talks_put(struct turn *t) {
    struct talks *all = t->t->talks;
    struct talk *k, *gone;
    if (!is_plain(t) || !is_whole(t) || !(k = talk_of(t)))
        return;
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
