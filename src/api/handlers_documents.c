/* Documents: one's own and shared ones, as text or as files. Files are stored as they are and read
 * in the background: the answer says "pending". */
#include "api/entities.h"
#include "api/handlers.h"
#include "api/schemas.h"
#include "base/clock.h"
#include "base/crypto.h"
#include "net/multipart.h"
#include "retrieval/retrieval.h"
#include "store/chunk.h"

#define METADATA_MAX 65536

static enum err not_found(struct errinfo *ei, enum err e) {
    return err_set(ei, e, e == ERR_NOT_FOUND ? "there is no such document" : NULL);
}

/* The document as its readers may rely on it: what is said to be indexed is found by a search. */
static void write_document(struct call *c, struct document *d) {
    struct retrieval *r = c->api->o.retrieval;
    enum retrieval_entering is = r ? retrieval_entering(r, &d->doc_id) : ENTERING_NOT;
    if (is == ENTERING_VERSION) {
        d->updating = true;
    } else if (is == ENTERING_NEW) {
        d->status = DOCUMENT_PENDING;
        d->indexed_at = 0;
        d->chunk_count = 0;
    }
    entity_document(&c->out, d);
}

enum err api_documents_list(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    struct document *d;
    size_t n;
    enum err e = document_list(tx, &c->user.user_id, &c->page, c->arena, &d, &n);
    if (e)
        return err_set(ei, e, NULL);
    entity_list_open(&c->out);
    for (size_t i = 0; i < n; i++)
        write_document(c, &d[i]);
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

/* ---- a file ---- */

struct upload {
    struct document d; /* strings in the call's arena */
    struct str bytes;
    char hash[SHA256_HEX_LEN + 1];
};

static enum err take_metadata(struct call *c, struct str text, struct document *d,
                              struct errinfo *ei) {
    yyjson_doc *doc;
    enum err e = json_parse(text, &doc, ei);
    if (e)
        return e;
    e = yyjson_is_obj(yyjson_doc_get_root(doc))
            ? schema_check(&schema_document_metadata, yyjson_doc_get_root(doc), ei)
            : err_param(ei, ERR_INVALID, "metadata", "metadata must be a JSON object");
    if (!e)
        d->metadata = arena_str(c->arena, text);
    yyjson_doc_free(doc);
    return e;
}

/* A field of the query or of the form; both have the same names. */
static enum err take_field(struct call *c, struct upload *u, struct str name, struct str value,
                           struct errinfo *ei) {
    for (const struct field *f = query_document_create.fields; f->name; f++) {
        if (!str_eqz(name, f->name))
            continue;
        enum err e = schema_check_text(f, value, ei);
        if (e)
            return e;
        if (str_eqz(name, "source_name"))
            u->d.source_name = value;
        else if (str_eqz(name, "shared"))
            u->d.shared = str_eqz(value, "true");
        else if (str_eqz(name, "collection_id"))
            (void)uuid_parse(value, &u->d.collection_id);
        else if (str_eqz(name, "uri"))
            u->d.uri = value;
        else
            return take_metadata(c, value, &u->d, ei);
        return ERR_OK;
    }
    return err_param(ei, ERR_UNKNOWN_FIELD, "form",
                     "the form has a field that is not known: "
                     "source_name, shared, collection_id, uri, metadata and one file are");
}

/* Browsers send the last part of a path, other clients the whole. */
static struct str base_name(struct str path) {
    for (size_t i = path.n; i > 0; i--)
        if (path.p[i - 1] == '/' || path.p[i - 1] == '\\')
            return str_sub(path, i, path.n);
    return path;
}

static enum err take_form(struct call *c, struct upload *u, struct errinfo *ei) {
    struct multipart m;
    struct multipart_part p;
    bool found = false;
    enum err e = multipart_begin(&m, c->file_type, c->file);
    while (!e && (e = multipart_next(&m, &p)) == ERR_OK) {
        if (!p.filename.p) {
            e = take_field(c, u, p.name, p.bytes, ei);
            if (e)
                return e;
            continue;
        }
        if (found)
            return err_param(ei, ERR_INVALID, "form", "send one file with each request");
        found = true;
        u->bytes = p.bytes;
        u->d.media_type = p.type;
        if (!u->d.source_name.n)
            u->d.source_name = base_name(p.filename);
    }
    if (e != ERR_NOT_FOUND)
        return err_param(ei, ERR_INVALID, "form", "the form (multipart/form-data) is damaged");
    return found ? ERR_OK : err_param(ei, ERR_INVALID, "form", "the form holds no file");
}

static bool is_clean(struct str s) {
    return utf8_valid(s) && (s.n == 0 || !memchr(s.p, 0, s.n));
}

enum err api_document_file_job(struct call *c, struct errinfo *ei) {
    struct str type = c->file_type;
    enum err e = idempotency_hash_rest(c, ei);
    if (e || !c->file.p)
        return e;
    struct upload *u = arena_alloc(c->arena, sizeof *u);
    if (!u)
        return err_set(ei, ERR_NOMEM, NULL);
    c->state = u;
    u->d.media_type = c->file_type;
    u->bytes = c->file;
    for (size_t i = 0; i < c->n_query && !e; i++)
        e = take_field(c, u, str_from(c->query[i].name), c->query[i].value, ei);
    if (!e && str_eq_nocase(str_trim(str_cut(&type, ';')), STR("multipart/form-data")))
        e = take_form(c, u, ei);
    if (e)
        return e;
    if (!u->d.source_name.n || u->d.source_name.n > 2000 || !is_clean(u->d.source_name))
        return err_param(ei, ERR_INVALID, "source_name",
                         "a file needs its name: ?source_name=report.pdf");
    if (!u->bytes.n)
        return err_param(ei, ERR_INVALID, "source_name", "the file is empty");
    if (!is_clean(u->d.media_type))
        u->d.media_type = STR("application/octet-stream");
    sha256_hex(u->bytes, u->hash);
    u->d.content_hash = (struct str){u->hash, SHA256_HEX_LEN};
    return ERR_OK;
}

enum err api_may_add_to(struct call *c, struct store_tx *tx, bool shared,
                        const struct uuid *collection_id, struct errinfo *ei) {
    struct collection col;
    if (shared && !c->user.is_admin)
        return err_param(ei, ERR_FORBIDDEN, "shared", "only an administrator shares documents");
    if (!uuid_is_set(collection_id))
        return ERR_OK;
    enum err e = collection_get(tx, &c->user.user_id, collection_id, c->arena, &col);
    if (e)
        return err_param(ei, e, "collection_id",
                         e == ERR_NOT_FOUND ? "there is no such collection" : NULL);
    if (col.kind != COLLECTION_PRIVATE && !c->user.is_admin)
        return err_param(ei, ERR_FORBIDDEN, "collection_id",
                         "only an administrator adds to collections of others");
    return ERR_OK;
}

static enum err upload_write(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    struct upload *u = c->state;
    struct document d = u->d;
    struct uuid id;
    bool unchanged = false;
    d.user_id = c->user.user_id;
    d.created_at = clock_wall_ms();
    enum err e = api_may_add_to(c, tx, d.shared, &d.collection_id, ei);
    if (e)
        return e;
    e = document_submit(tx, &d, u->bytes, &id, &unchanged, ei);
    if (!e && !unchanged)
        e = document_check_quota(tx, &c->user.user_id, &c->api->o.quota, ei);
    if (!e)
        e = document_get(tx, &c->user.user_id, &id, c->arena, &d);
    if (e)
        return e == ERR_NOT_FOUND ? not_found(ei, e) : e;
    d.content = STR_NULL;
    c->status = unchanged ? 200 : 201;
    write_document(c, &d);
    return ERR_OK;
}

enum err api_document_create_write(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    struct str content = json_get_str(c->body, "content");
    if (c->file.p)
        return upload_write(c, tx, ei);
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
    if (!e && !d.shared)
        e = document_check_quota(tx, &c->user.user_id, &c->api->o.quota, ei);
    if (!e)
        write_document(c, &d);
    return e;
}

/* It is indexed now rather than at the indexer's next look. */
void api_document_created(struct call *c) {
    if (c->api->o.retrieval)
        retrieval_poke(c->api->o.retrieval);
    api_call_next(c);
}

/* What a search finds may be read, also as the role that was asked finds it. */
static enum err read_as_found(struct call *c, struct store_tx *tx, struct document *ret) {
    struct uuid role = {0}, scope[COLLECTIONS_MAX];
    struct role r;
    size_t n;
    struct str id = api_call_query(c, "role_id");
    if (id.n && !uuid_parse(id, &role))
        return ERR_NOT_FOUND;
    enum err e = id.n ? role_get(tx, &role, c->arena, &r) : ERR_OK;
    if (!e)
        e = collection_scope(tx, &c->user.user_id, &role, scope, &n);
    return e ? e : document_get_within(tx, scope, n, &c->id, c->arena, ret);
}

enum err api_document_read(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    struct document d;
    enum err e = document_get(tx, &c->user.user_id, &c->id, c->arena, &d);
    if (e == ERR_NOT_FOUND)
        e = read_as_found(c, tx, &d);
    if (e)
        return not_found(ei, e);
    write_document(c, &d);
    return ERR_OK;
}

enum err api_document_delete_write(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    enum err e = document_delete(tx, &c->user.user_id, c->user.is_admin, &c->id);
    return e ? not_found(ei, e) : ERR_OK;
}
