/* Documents: one's own and shared ones. Searching them comes with retrieval. */
#include "api/entities.h"
#include "api/handlers.h"
#include "base/clock.h"

#define METADATA_MAX 65536

static enum err not_found(struct errinfo *ei, enum err e) {
    return err_set(ei, e, e == ERR_NOT_FOUND ? "there is no such document" : NULL);
}

enum err api_documents_list(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    struct document *d;
    size_t n;
    enum err e = document_list(tx, &c->user.user_id, &c->page, c->arena, &d, &n);
    if (e)
        return err_set(ei, e, NULL);
    entity_list_open(&c->out);
    for (size_t i = 0; i < n; i++)
        entity_document(&c->out, &d[i]);
    struct uuid next = entity_next(&c->page, n, n ? &d[n - 1].doc_id : NULL);
    entity_list_close(&c->out, &next);
    return ERR_OK;
}

static enum err metadata_text(struct call *c, struct str *ret, struct errinfo *ei) {
    json_val *v = json_get(c->body, "metadata");
    struct buf b;
    *ret = STR("{}");
    if (!v)
        return ERR_OK;
    buf_init(&b, METADATA_MAX);
    json_write(&b, v);
    enum err e = buf_err(&b);
    if (!e)
        *ret = arena_str(c->arena, buf_str(&b));
    buf_deinit(&b);
    if (e == ERR_TOO_LARGE)
        return err_param(ei, e, "metadata", "metadata may have at most %d bytes", METADATA_MAX);
    return e || !ret->p ? err_set(ei, ERR_NOMEM, NULL) : ERR_OK;
}

enum err api_document_create_write(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    struct str content = json_get_str(c->body, "content");
    struct document d = {
        .doc_id = uuid_new(),
        .user_id = c->user.user_id,
        .shared = json_get_bool(c->body, "shared", false),
        .source_name = json_get_str(c->body, "source_name"),
        .content = content,
        .content_bytes = content.n,
        .created_at = clock_wall_ms(),
    };
    if (d.shared && !c->user.is_admin)
        return err_param(ei, ERR_FORBIDDEN, "shared", "only an administrator shares documents");
    enum err e = metadata_text(c, &d.metadata, ei);
    if (!e)
        e = document_create(tx, &d, ei);
    if (!e)
        entity_document(&c->out, &d);
    return e;
}

enum err api_document_read(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    struct document d;
    enum err e = document_get(tx, &c->user.user_id, &c->id, c->arena, &d);
    if (e)
        return not_found(ei, e);
    entity_document(&c->out, &d);
    return ERR_OK;
}

enum err api_document_delete_write(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    enum err e = document_delete(tx, &c->user.user_id, c->user.is_admin, &c->id);
    return e ? not_found(ei, e) : ERR_OK;
}
