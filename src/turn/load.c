/* What a turn does inside the store: one read that finds all a prompt needs, one write that makes
 * the question and the answer's row durable, and the writes that follow the answer. They run on the
 * store's threads with the turn as argument. */
#include "turn/turn_internal.h"

#define BRANCH_FIRST 32 /* messages read at first; doubled while they may matter */
#define BRANCH_SLACK 32 /* bytes for one token: more text than this cannot be in the window */

static bool reaches(const struct message *m, size_t n, const struct uuid *id) {
    for (size_t i = 0; i < n; i++)
        if (uuid_is_set(id) && uuid_eq(&m[i].message_id, id))
            return true;
    return false;
}

/* The newest messages up to leaf, as many as can matter: back to the root, to what has fallen out
 * before, or to more text than the window can hold. *ret has room for one more. */
static enum err load_branch(struct store_tx *tx, struct turn *t, const struct uuid *leaf,
                            int window) {
    struct message *list = NULL;
    size_t n = 0;
    size_t enough = (size_t)window * BRANCH_SLACK;
    for (size_t max = BRANCH_FIRST; uuid_is_set(leaf); max *= 2) {
        enum err e = message_branch(tx, leaf, max, t->arena, &list, &n);
        size_t bytes = 0;
        if (e)
            return e;
        for (size_t i = 0; i < n; i++)
            bytes += list[i].content.n;
        if (n < max || bytes > enough || max > (size_t)window ||
            reaches(list, n, &t->conversation.summary_until))
            break;
    }
    t->branch = arena_array(t->arena, n + 1, sizeof *t->branch);
    if (!t->branch)
        return ERR_NOMEM;
    if (n)
        memcpy(t->branch, list, n * sizeof *list);
    t->n_branch = t->n_loaded = n;
    t->loaded = list;
    return ERR_OK;
}

/* Regenerating: the answer's parent is what is answered again. */
static enum err find_question(struct store_tx *tx, struct turn *t, struct uuid *ret_leaf,
                              struct errinfo *ei) {
    struct message m;
    enum err e = message_get(tx, &t->in.user_id, &t->in.message_id, t->arena, &m);
    if (e == ERR_NOT_FOUND)
        return err_set(ei, e, "there is no such message");
    if (e)
        return e;
    if (m.sender != SENDER_ASSISTANT || !uuid_is_set(&m.parent_id))
        return err_set(ei, ERR_INVALID, "only an answer can be made again; post a message instead");
    t->in.conversation_id = m.conversation_id;
    *ret_leaf = m.parent_id;
    return ERR_OK;
}

static enum err find_parent(struct store_tx *tx, struct turn *t, struct uuid *ret_leaf,
                            struct errinfo *ei) {
    struct message m;
    if (t->in.parent_kind == PARENT_CURRENT)
        *ret_leaf = t->conversation.current_message_id;
    if (t->in.parent_kind != PARENT_GIVEN)
        return ERR_OK;
    enum err e = message_get(tx, &t->in.user_id, &t->in.parent_id, t->arena, &m);
    if (e && e != ERR_NOT_FOUND)
        return e;
    if (e || !uuid_eq(&m.conversation_id, &t->in.conversation_id))
        return err_param(ei, ERR_INVALID, "parent_id", "that message is not in this conversation");
    *ret_leaf = t->in.parent_id;
    return ERR_OK;
}

/* Taking up again: the answer as it was begun. */
static enum err find_unfinished(struct store_tx *tx, struct turn *t, struct uuid *ret_leaf) {
    enum err e = message_get(tx, &t->in.user_id, &t->in.message_id, t->arena, &t->answer);
    if (!e && (t->answer.status != MESSAGE_STREAMING || !uuid_is_set(&t->answer.parent_id)))
        e = ERR_NOT_FOUND; /* deleted or ended meanwhile */
    if (e)
        return e;
    t->in.conversation_id = t->answer.conversation_id;
    *ret_leaf = t->answer.parent_id;
    return ERR_OK;
}

static enum err being_done(struct errinfo *ei) {
    err_set(ei, ERR_UNAVAILABLE,
            "this very request is being carried out; ask again for its answer");
    ei->retry_after_ms = 1000;
    return ERR_UNAVAILABLE;
}

/* Two requests with one key at once: what the first has stored by now must not look to the second
 * like somebody else's message. */
static enum err look_for_key(struct store_tx *tx, struct turn *t, struct errinfo *ei) {
    struct idempotency i;
    if (!t->in.key_hash.n)
        return ERR_OK;
    enum err e = idempotency_find(tx, &t->in.user_id, t->in.key_hash, t->arena, &i);
    return e == ERR_NOT_FOUND ? ERR_OK : e ? e : being_done(ei);
}

/* What it finds is kept (talks.h): a table that is read here for every turn is one of those that
 * make marks fall (tables[] of store/marks.c). */
enum err turn_load_fn(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct turn *t = arg;
    struct uuid leaf = {{0}};
    enum err e = look_for_key(tx, t, ei);
    if (!e && t->in.kind != TURN_RESUME)
        e = turn_guard_load(tx, t, ei);
    if (!e && t->in.kind == TURN_REGENERATE)
        e = find_question(tx, t, &leaf, ei);
    else if (!e && t->in.kind == TURN_RESUME)
        e = find_unfinished(tx, t, &leaf);
    if (e)
        return e;
    e = conversation_get(tx, &t->in.user_id, &t->in.conversation_id, t->arena, &t->conversation);
    if (e == ERR_NOT_FOUND)
        return err_set(ei, e, "there is no such conversation");
    if (!e && t->in.kind == TURN_MESSAGE)
        e = find_parent(tx, t, &leaf, ei);
    if (!e && t->in.kind == TURN_RESUME) /* as it was when the answer began */
        e = role_version_get(tx, &t->answer.role_id, t->answer.role_version, t->arena, &t->role);
    else if (!e)
        e = role_get(tx, &t->conversation.assistant_role_id, t->arena, &t->role);
    t->role_loaded = t->role;
    if (!e && t->t->o.retrieval)
        e = role_retrieval_get(tx, &t->role.role_id, t->arena, &t->documents);
    if (!e && t->t->o.retrieval)
        e = collection_scope(tx, &t->in.user_id, &t->role.role_id, t->scope.collections,
                             &t->scope.n);
    if (!e)
        e = turn_given_load(tx, t, ei);
    if (!e)
        e = load_branch(tx, t, &leaf, upstream_context_window(t->t->o.upstream, t->role.model));
    return e;
}

/* The second of two at once that were both loaded before either was stored comes too late here. */
static enum err note_key(struct store_tx *tx, struct turn *t, struct errinfo *ei) {
    const struct idempotency i = {
        .user_id = t->in.user_id,
        .key_hash = t->in.key_hash,
        .request_hash = t->in.request_hash,
        .created_at = t->started_wall_ms,
        .status = 201,
        .message_id = t->stream->message_id,
        .reply = STR(""),
    };
    if (!t->in.key_hash.n)
        return ERR_OK;
    enum err e = idempotency_put(tx, &i);
    return e == ERR_CONFLICT ? being_done(ei) : e;
}

/* The answer's row as it is to be stored now: the final one when all of it is there. */
static const struct message *take_answer(struct turn *t) {
    enum append_state was = APPEND_QUEUED;
    if (atomic_compare_exchange_strong(&t->append, &was, APPEND_TAKEN) || was == APPEND_TAKEN)
        return &t->begun;
    atomic_store(&t->append, APPEND_TAKEN_WHOLE);
    return &t->whole;
}

enum err turn_append_fn(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct turn *t = arg;
    if (t->in.kind == TURN_RESUME)
        return message_resumed(tx, &t->resumed);
    store_mark_follow(tx, &t->in.conversation_id, &t->mark);
    const struct message *answer = take_answer(t);
    enum err e = note_key(tx, t, ei);
    /* Who posts without naming a parent means the message that is current: when another request
     * has put one there meanwhile, this one would become its silent sibling. */
    bool follows = t->in.kind == TURN_MESSAGE && t->in.parent_kind == PARENT_CURRENT;
    if (!e)
        e = message_append_turn(tx, uuid_is_set(&t->question.message_id) ? &t->question : NULL,
                                answer, follows ? &t->conversation.current_message_id : NULL, ei);
    if (!e && t->title[0])
        e = conversation_set_auto_title(tx, &t->in.conversation_id, str_from(t->title));
    if (!e && t->prompt.was_cut)
        e = conversation_set_summary(tx, &t->in.conversation_id, t->prompt.new_summary,
                                     &t->prompt.cut_until);
    if (!e)
        e = turn_guard_append(tx, t);
    return !e && answer == &t->whole ? turn_put_record(tx, t, answer) : e;
}

enum err turn_finish_fn(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct turn *t = arg;
    (void)ei;
    store_mark_follow(tx, &t->in.conversation_id, &t->mark);
    enum err e = message_finish(tx, &t->answer);
    if (!e)
        e = turn_guard_finish(tx, t);
    return e ? e : turn_put_record(tx, t, &t->answer);
}
