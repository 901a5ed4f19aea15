/* parley conversation …: what users have talked about, directly on the store. Who can read the data
 * directory can read all of it anyway. */
#include <stdio.h>
#include <string.h>

#include "api/out.h"
#include "cli/desk.h"
#include "cli/plain.h"
#include "turn/turn.h"

#define LIMIT_DEFAULT 50
#define LIMIT_MAX     100000
#define PAGE          200

static enum err owner(struct store_tx *tx, struct desk *d, struct user *ret, struct errinfo *ei) {
    return desk_find_user(tx, d->arena, args_get(d->args, "user"), ret, ei);
}

/* ---- list ---- */

static void add_conversation(struct desk *d, const struct conversation *c, struct table *t,
                             struct buf *json) {
    if (t) {
        table_add(t, uuid_str(&c->conversation_id));
        table_add(t, desk_time(d->arena, c->last_updated_at));
        table_add(t, str_from(conversation_status_name(c->status)));
        table_add(t, c->title.n ? c->title : STR("(no title yet)"));
        return;
    }
    out_open(json, NULL, '{');
    out_id(json, "conversation_id", &c->conversation_id);
    out_id(json, "user_id", &c->user_id);
    out_time(json, "created_at", c->created_at);
    out_time(json, "last_updated_at", c->last_updated_at);
    out_id(json, "assistant_role_id", &c->assistant_role_id);
    out_strz(json, "status", conversation_status_name(c->status));
    out_str(json, "title", c->title);
    out_close(json, '}');
}

static enum err list_conversations(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct desk *d = arg;
    struct user u;
    const char *limit_text = args_get(d->args, "limit"), *search = args_get(d->args, "search");
    uint64_t left = LIMIT_DEFAULT;
    if (limit_text && (!str_to_u64(str_from(limit_text), &left) || !left || left > LIMIT_MAX))
        return err_set(ei, ERR_INVALID, "--limit is a number from 1 to %d", LIMIT_MAX);
    enum err e = owner(tx, d, &u, ei);
    if (e)
        return e;
    struct buf json;
    buf_init(&json, DESK_JSON_MAX);
    struct table *t = NULL;
    if (args_has(d->args, "json"))
        out_open(&json, NULL, '[');
    else
        t = table_new(d->arena, (const char *const[]){"ID", "CHANGED", "STATUS", "TITLE", NULL});
    struct page page = {0};
    while (left > 0) {
        struct conversation_hit *hits;
        size_t n;
        page.limit = left < PAGE ? (int)left : PAGE;
        e = conversation_list(tx, &u.user_id, -1, str_from(search), &page, d->arena, &hits, &n);
        if (e)
            break;
        for (size_t i = 0; i < n; i++)
            add_conversation(d, &hits[i].c, t, &json);
        left -= n;
        if (n < (size_t)page.limit)
            break;
        page.after = hits[n - 1].c.conversation_id;
    }
    if (!e && t)
        table_print(t);
    if (!e && !t) {
        out_close(&json, ']');
        desk_print_json(&json);
    }
    buf_deinit(&json);
    return e;
}

/* ---- show ---- */

static enum err given_conversation(struct store_tx *tx, struct desk *d, struct user *ret_user,
                                   struct conversation *ret, struct errinfo *ei) {
    struct uuid id;
    if (!uuid_parse(str_from(d->args->operands[0]), &id))
        return err_set(ei, ERR_INVALID,
                       "\"%s\" is no conversation's id; `parley conversation list` shows them",
                       d->args->operands[0]);
    enum err e = owner(tx, d, ret_user, ei);
    if (!e)
        e = conversation_get(tx, &ret_user->user_id, &id, d->arena, ret);
    if (e == ERR_NOT_FOUND && !ei->message[0])
        return err_set(ei, e, "%.*s has no such conversation; --user NAME says whose it is",
                       STR_ARG(ret_user->username));
    return e;
}

static void print_text(struct str s) {
    plain_print(s, true);
    putchar('\n');
}

static enum err export_one(struct store_tx *tx, struct arena *a, const struct conversation *c,
                           struct buf *b) {
    struct message *messages;
    size_t n;
    enum err e = message_list(tx, &c->conversation_id, a, &messages, &n);
    if (e)
        return e;
    out_open(b, NULL, '{');
    out_id(b, "conversation_id", &c->conversation_id);
    out_id(b, "user_id", &c->user_id);
    out_id(b, "assistant_role_id", &c->assistant_role_id);
    out_time(b, "created_at", c->created_at);
    out_time(b, "last_updated_at", c->last_updated_at);
    out_strz(b, "status", conversation_status_name(c->status));
    out_str(b, "title", c->title);
    out_id(b, "current_message_id", &c->current_message_id);
    out_open(b, "messages", '[');
    for (size_t i = 0; i < n; i++) {
        out_item(b);
        message_to_json(b, &messages[i], NULL);
    }
    out_close(b, ']');
    out_close(b, '}');
    return buf_err(b);
}

static enum err print_one(struct store_tx *tx, const struct conversation *c) {
    struct arena *a = arena_new(DESK_JSON_MAX);
    struct buf b;
    buf_init(&b, DESK_JSON_MAX);
    enum err e = a ? export_one(tx, a, c, &b) : ERR_NOMEM;
    if (!e)
        desk_print_json(&b);
    buf_deinit(&b);
    arena_free(a);
    return e;
}

static enum err show_conversation(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct desk *d = arg;
    struct user u;
    struct conversation c;
    struct message *branch = NULL;
    size_t n = 0;
    enum err e = given_conversation(tx, d, &u, &c, ei);
    if (e)
        return e;
    if (args_has(d->args, "json"))
        return print_one(tx, &c);
    if (uuid_is_set(&c.current_message_id))
        e = message_branch(tx, &c.current_message_id, 1000000, d->arena, &branch, &n);
    if (e)
        return e;
    print_text(c.title.n ? c.title : STR("(no title yet)"));
    for (size_t i = 0; i < n; i++) {
        bool answer = branch[i].sender == SENDER_ASSISTANT;
        printf("\n%s, %.*s%s%s\n", answer ? "Assistant" : "User",
               STR_ARG(desk_time(d->arena, branch[i].timestamp)),
               branch[i].status == MESSAGE_COMPLETE ? "" : ", ",
               branch[i].status == MESSAGE_COMPLETE ? "" : message_status_name(branch[i].status));
        print_text(branch[i].content);
    }
    return ERR_OK;
}

/* ---- export ---- */

static enum err export_all(struct store_tx *tx, const struct user *u) {
    struct page page = {.limit = PAGE};
    for (;;) {
        struct conversation_hit *hits;
        size_t n = 0;
        struct arena *a = arena_new(DESK_JSON_MAX);
        enum err e =
            a ? conversation_list(tx, &u->user_id, -1, STR_NULL, &page, a, &hits, &n) : ERR_NOMEM;
        for (size_t i = 0; i < n && !e; i++)
            e = print_one(tx, &hits[i].c);
        if (!e && n == PAGE)
            page.after = hits[n - 1].c.conversation_id;
        arena_free(a); /* of this page alone: an export may be larger than memory */
        if (e || n < PAGE)
            return e;
    }
}

static enum err export_conversations(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct desk *d = arg;
    struct user u;
    struct conversation c;
    if (d->args->n_operands == 0) {
        enum err e = owner(tx, d, &u, ei);
        return e ? e : export_all(tx, &u);
    }
    enum err e = given_conversation(tx, d, &u, &c, ei);
    return e ? e : print_one(tx, &c);
}

/* ---- the commands ---- */

static int on_store(const struct args *a, store_fn fn) {
    struct desk d;
    int status = desk_open(&d, a, DESK_EXISTING);
    if (!status)
        status = desk_read(&d, fn, &d);
    desk_close(&d);
    return status;
}

int cmd_conversation_list(const struct args *a) {
    return on_store(a, list_conversations);
}

int cmd_conversation_show(const struct args *a) {
    return on_store(a, show_conversation);
}

int cmd_conversation_export(const struct args *a) {
    return on_store(a, export_conversations);
}

static enum err find_only(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct user u;
    struct conversation c;
    return given_conversation(tx, arg, &u, &c, ei);
}

static enum err delete_conversation(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct user u;
    struct conversation c;
    enum err e = given_conversation(tx, arg, &u, &c, ei);
    return e ? e : conversation_delete(tx, &u.user_id, &c.conversation_id);
}

int cmd_conversation_delete(const struct args *a) {
    struct desk d;
    int status = desk_open(&d, a, DESK_EXISTING);
    if (!status)
        status = desk_read(&d, find_only, &d);
    if (!status && !desk_confirmed(&d, "This removes the conversation for good."))
        status = CLI_FAILED;
    if (!status)
        status = desk_write(&d, delete_conversation, &d);
    if (!status)
        printf("It is gone.\n");
    desk_close(&d);
    return status;
}
