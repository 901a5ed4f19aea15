/* What is stored of a response before its turn begins (the conversation, earlier items of the
 * input): it is there before the turn can be refused, and before the row by which the turn itself
 * is known again. So it has a row of its own under the request's key, and goes when nothing came of
 * it. */
#include "api/responses.h"

#include "base/clock.h"
#include "base/crypto.h"

#define STATUS_BEGUN 202

/* The request's key as it names what was begun for it. */
static struct str begun_key(struct call *c) {
    char hex[SHA256_HEX_LEN + 1];
    char *text = arena_printf(c->arena, "begun %.*s", STR_ARG(c->key_hash));
    if (!text)
        return STR_NULL;
    sha256_hex(str_from(text), hex);
    return arena_str(c->arena, str_from(hex));
}

enum err response_begun_find(struct call *c, struct store_tx *tx, struct turn_input *in,
                             bool *ret_found, struct errinfo *ei) {
    struct idempotency i;
    struct conversation v;
    struct str key = c->key_hash.n ? begun_key(c) : STR_NULL;
    *ret_found = false;
    if (!c->key_hash.n)
        return ERR_OK;
    enum err e = key.p ? idempotency_find(tx, &c->user.user_id, key, c->arena, &i) : ERR_NOMEM;
    if (e == ERR_NOT_FOUND)
        return ERR_OK;
    if (!e && !str_eq(i.request_hash, c->request_hash))
        return err_param(ei, ERR_CONFLICT, "Idempotency-Key",
                         "this key was used for another request; take a new one");
    struct str rest = i.reply, conversation = str_cut(&rest, ' ');
    if (!e && !uuid_parse(conversation, &in->conversation_id))
        e = ERR_CORRUPT;
    if (!e)
        e = conversation_get(tx, &c->user.user_id, &in->conversation_id, c->arena, &v);
    if (e == ERR_NOT_FOUND) { /* deleted meanwhile: it is begun anew */
        e = idempotency_drop(tx, &c->user.user_id, key);
        return e ? err_set(ei, e, NULL) : ERR_OK;
    }
    if (e)
        return err_set(ei, e, NULL);
    if (uuid_parse(rest, &in->parent_id))
        in->parent_kind = PARENT_GIVEN;
    *ret_found = true;
    return ERR_OK;
}

enum err response_begun_note(struct call *c, struct store_tx *tx, const struct turn_input *in,
                             struct errinfo *ei) {
    if (!c->key_hash.n)
        return ERR_OK;
    char *reply = arena_printf(c->arena, "%s %s", in->conversation_id.s, in->parent_id.s);
    struct idempotency i = {
        .user_id = c->user.user_id,
        .key_hash = begun_key(c),
        .request_hash = c->request_hash,
        .created_at = clock_wall_ms(),
        .status = STATUS_BEGUN,
    };
    if (!reply || !i.key_hash.p)
        return err_set(ei, ERR_NOMEM, NULL);
    i.reply = str_from(reply);
    enum err e = idempotency_put(tx, &i);
    return e ? err_set(ei, e, NULL) : ERR_OK;
}

enum err response_begun_undo(struct call *c, struct store_tx *tx, const struct turn_input *in,
                             struct errinfo *ei) {
    const struct uuid *user = &c->user.user_id;
    enum err e = conversation_delete_unused(tx, user, &in->conversation_id, &in->parent_id);
    if (e == ERR_NOT_FOUND)
        return ERR_OK;
    struct str key = !e && c->key_hash.n ? begun_key(c) : STR_NULL;
    if (!e && c->key_hash.n)
        e = key.p ? idempotency_drop(tx, user, key) : ERR_NOMEM;
    return e ? err_set(ei, e, NULL) : ERR_OK;
}
