/* Conversations and reading their messages. What is another user's is not found: every verb is
 * given the user's id. */
#include <stdio.h>

#include "api/entities.h"
#include "api/handlers.h"
#include "base/clock.h"

static enum err not_found(struct errinfo *ei, enum err e, const char *what) {
    if (e == ERR_NOT_FOUND)
        return err_set(ei, e, "there is no such %s", what);
    return err_set(ei, e, NULL);
}

/* The cursor of this list is "<last_updated_at>.<conversation_id>": the order moves, and what was
 * last on a page may be deleted before the next one is asked for. */
static enum err read_cursor(struct call *c, struct errinfo *ei) {
    struct str rest = api_call_query(c, "after");
    uint64_t at;
    if (!rest.p)
        return ERR_OK;
    struct str first = str_cut(&rest, '.');
    if (!str_to_u64(first, &at) || at == 0 || at > INT64_MAX || !uuid_parse(rest, &c->page.after))
        return err_param(ei, ERR_INVALID, "after", "after must be `next` of the page before");
    c->page.after_at = (int64_t)at;
    return ERR_OK;
}

static void write_next(struct call *c, const struct conversation *last) {
    char text[24 + sizeof last->conversation_id];
    int n = snprintf(text, sizeof text, "%lld.%s", (long long)last->last_updated_at,
                     last->conversation_id.s);
    out_str(&c->out, "next", (struct str){text, (size_t)n});
}

enum err api_conversations_list(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    struct str filter = api_call_query(c, "status"), q = str_trim(api_call_query(c, "q"));
    struct conversation_hit *hits;
    size_t n;
    int status = str_eq(filter, STR("any")) ? -1
                 : filter.n                 ? conversation_status_from_name(filter)
                                            : (int)CONVERSATION_ACTIVE;
    if (q.n == 0)
        q = STR_NULL;
    enum err e = read_cursor(c, ei);
    if (e)
        return e;
    e = conversation_list(tx, &c->user.user_id, status, q, &c->page, c->arena, &hits, &n);
    if (e)
        return err_set(ei, e, NULL);
    entity_list_open(&c->out);
    for (size_t i = 0; i < n; i++)
        entity_conversation(&c->out, &hits[i].c, q.p ? &hits[i] : NULL);
    out_close(&c->out, ']');
    if (n && n >= (size_t)c->page.limit)
        write_next(c, &hits[n - 1].c);
    else
        out_null(&c->out, "next");
    out_close(&c->out, '}');
    return ERR_OK;
}

/* The role that the body names, which must be in use. */
static enum err body_role(struct call *c, struct store_tx *tx, struct uuid *ret,
                          struct errinfo *ei) {
    struct uuid id;
    struct role r;
    (void)uuid_parse(json_get_str(c->body, "assistant_role_id"),
                     &id); /* the schema has checked it */
    enum err e = role_get(tx, &id, c->arena, &r);
    if (e && e != ERR_NOT_FOUND)
        return err_set(ei, e, NULL);
    if (e || r.retired_at)
        return err_param(ei, ERR_INVALID, "assistant_role_id",
                         e ? "there is no such role" : "this role is retired; choose another one");
    *ret = id;
    return ERR_OK;
}

static enum err first_role(struct call *c, struct store_tx *tx, struct uuid *ret,
                           struct errinfo *ei) {
    struct role *roles;
    size_t n;
    enum err e = role_list(tx, false, c->arena, &roles, &n);
    if (e)
        return err_set(ei, e, NULL);
    if (n == 0)
        return err_param(ei, ERR_INVALID, "assistant_role_id",
                         "there is no role in use; an administrator must add one");
    *ret = roles[0].role_id;
    return ERR_OK;
}

enum err api_conversation_create_write(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    struct str title = str_trim(json_get_str(c->body, "title"));
    int64_t now = clock_wall_ms();
    struct conversation v = {
        .conversation_id = uuid_new(),
        .user_id = c->user.user_id,
        .created_at = now,
        .last_updated_at = now,
        .status = CONVERSATION_ACTIVE,
        .title = title.n ? title : STR(""),
        .title_is_users = title.n > 0,
        .summary = STR(""),
    };
    bool named = json_get_str(c->body, "assistant_role_id").p != NULL;
    enum err e = named ? body_role(c, tx, &v.assistant_role_id, ei)
                       : first_role(c, tx, &v.assistant_role_id, ei);
    if (!e)
        e = conversation_create(tx, &v, ei);
    if (!e)
        entity_conversation(&c->out, &v, NULL);
    return e;
}

static enum err get(struct call *c, struct store_tx *tx, struct conversation *ret,
                    struct errinfo *ei) {
    enum err e = conversation_get(tx, &c->user.user_id, &c->id, c->arena, ret);
    return e ? not_found(ei, e, "conversation") : ERR_OK;
}

enum err api_conversation_read(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    struct conversation v;
    enum err e = get(c, tx, &v, ei);
    if (!e)
        entity_conversation(&c->out, &v, NULL);
    return e;
}

/* Switching branches: any message of the conversation. The newest leaf below it is for the client
 * to choose. */
static enum err apply_current(struct call *c, struct store_tx *tx, struct conversation *v,
                              struct errinfo *ei) {
    struct str text = json_get_str(c->body, "current_message_id");
    struct message m;
    struct uuid id;
    if (!text.p)
        return ERR_OK;
    (void)uuid_parse(text, &id);
    enum err e = message_get(tx, &c->user.user_id, &id, c->arena, &m);
    if (e && e != ERR_NOT_FOUND)
        return err_set(ei, e, NULL);
    if (e || !uuid_eq(&m.conversation_id, &v->conversation_id))
        return err_param(ei, ERR_INVALID, "current_message_id",
                         "this message is not in the conversation");
    v->current_message_id = id;
    return ERR_OK;
}

/* None of these is a new message, so the list's order stays: last_updated_at is not touched. */
enum err api_conversation_patch_write(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    struct conversation v;
    struct str title = json_get_str(c->body, "title"), status = json_get_str(c->body, "status");
    enum err e = get(c, tx, &v, ei);
    if (e)
        return e;
    if (title.p) {
        v.title = str_trim(title);
        v.title_is_users = true;
        if (v.title.n == 0)
            return err_param(ei, ERR_INVALID, "title", "title must have letters");
    }
    if (status.p)
        v.status = (enum conversation_status)conversation_status_from_name(status);
    if (json_get(c->body, "assistant_role_id") && (e = body_role(c, tx, &v.assistant_role_id, ei)))
        return e;
    if ((e = apply_current(c, tx, &v, ei)))
        return e;
    if ((e = conversation_update(tx, &c->user.user_id, &v, false, ei)))
        return e;
    return api_conversation_read(c, tx, ei);
}

enum err api_conversation_delete_write(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    enum err e = conversation_delete(tx, &c->user.user_id, &c->id);
    return e ? not_found(ei, e, "conversation") : ERR_OK;
}

/* ---- messages ---- */

static const struct feedback *feedback_on(const struct feedback *list, size_t n,
                                          const struct uuid *message) {
    for (size_t i = 0; i < n; i++)
        if (uuid_eq(&list[i].message_id, message))
            return &list[i];
    return NULL;
}

enum err api_messages_list(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    struct conversation v;
    struct message *m;
    struct feedback *f;
    size_t n, nf;
    enum err e = get(c, tx, &v, ei);
    if (e)
        return e;
    e = message_list(tx, &c->id, c->arena, &m, &n);
    if (!e)
        e = feedback_of_conversation(tx, &c->user.user_id, &c->id, c->arena, &f, &nf);
    if (e)
        return err_set(ei, e, NULL);
    out_open(&c->out, NULL, '{');
    out_open(&c->out, "data", '[');
    for (size_t i = 0; i < n; i++) {
        out_item(&c->out);
        message_to_json(&c->out, &m[i], feedback_on(f, nf, &m[i].message_id));
    }
    out_close(&c->out, ']');
    out_id(&c->out, "current_message_id", &v.current_message_id);
    out_close(&c->out, '}');
    return ERR_OK;
}

enum err api_message_read(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    struct message m;
    struct feedback f;
    enum err e = message_get(tx, &c->user.user_id, &c->id, c->arena, &m);
    if (e)
        return not_found(ei, e, "message");
    e = feedback_get(tx, &c->user.user_id, &c->id, c->arena, &f);
    if (e && e != ERR_NOT_FOUND)
        return err_set(ei, e, NULL);
    message_to_json(&c->out, &m, e ? NULL : &f);
    return ERR_OK;
}
