/* Assistant roles. The row is the newest version; every version that ever answered is kept beside
 * it, because messages name the version that wrote them. */
#include "store/store_internal.h"

#include "base/clock.h"

#define SHAPE_COLUMNS "system_prompt, model, temperature, top_p, max_tokens, stop"
#define ROLE_COLUMNS                                                                               \
    "role_id, name, description, version, starter_questions, " SHAPE_COLUMNS                       \
    ", created_at, updated_at, retired_at"
/* A version in the same order; when it was made stands for updated_at. */
#define VERSION_COLUMNS                                                                            \
    "v.role_id, v.name, v.description, v.version, v.starter_questions, v.system_prompt, v.model, " \
    "v.temperature, v.top_p, v.max_tokens, v.stop, r.created_at, v.made_at, r.retired_at"

size_t role_slug(struct str name, char *out, size_t size) {
    size_t n = 0;
    bool gap = false;
    for (size_t i = 0; i < name.n && n + 2 < size; i++) {
        unsigned char c = (unsigned char)name.p[i];
        if (c >= 'A' && c <= 'Z')
            c = (unsigned char)(c + 'a' - 'A');
        bool word = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c >= 0x80;
        if (word && gap && n)
            out[n++] = '-';
        gap = !word;
        if (word)
            out[n++] = (char)c;
    }
    n = utf8_complete((struct str){out, n});
    out[n] = 0;
    return n;
}

static void role_read(struct query *q, struct arena *a, struct role *ret) {
    *ret = (struct role){
        .role_id = query_id(q, 0),
        .name = query_str(q, 1, a),
        .description = query_str(q, 2, a),
        .version = (int)query_int(q, 3),
        .starter_questions = query_str(q, 4, a),
        .system_prompt = query_str(q, 5, a),
        .model = query_str(q, 6, a),
        .temperature = query_num(q, 7),
        .top_p = query_num(q, 8),
        .max_tokens = (int)query_int(q, 9),
        .stop = query_str(q, 10, a),
        .created_at = query_int(q, 11),
        .updated_at = query_int(q, 12),
        .retired_at = query_int(q, 13),
    };
}

static enum err read_one(struct query *q, struct arena *a, struct role *ret) {
    struct role r = {0};
    bool found = query_next(q);
    if (found)
        role_read(q, a, &r);
    enum err e = query_end_one(q, found);
    if (!e)
        *ret = r;
    return e;
}

static enum err read_all(struct query *q, struct arena *a, struct role **ret, size_t *ret_n) {
    struct rows rows = {0};
    while (query_next(q)) {
        struct role *r = rows_add(&rows, a, sizeof *r, q);
        if (r)
            role_read(q, a, r);
    }
    enum err e = query_end(q);
    if (e)
        return e;
    *ret = rows.p;
    *ret_n = rows.n;
    return ERR_OK;
}

/* Two names with one slug would be one model name in the OpenAI-compatible API. */
static enum err check_name(struct store_tx *tx, const struct role *r, char slug[ROLE_SLUG_SIZE],
                           struct errinfo *ei) {
    if (!uuid_is_set(&r->role_id) || r->name.n > ROLE_NAME_MAX ||
        !role_slug(r->name, slug, ROLE_SLUG_SIZE))
        return err_param(ei, ERR_INVALID, "name",
                         "a role needs a name with a letter or digit, of at most %d bytes",
                         ROLE_NAME_MAX);
    if (r->retired_at)
        return ERR_OK;
    struct query q;
    query_begin(&q, tx,
                "SELECT 1 FROM assistant_roles WHERE slug = ? AND retired_at = 0 AND role_id <> ?");
    query_bind_str(&q, str_from(slug));
    query_bind_id(&q, &r->role_id);
    bool taken = query_next(&q);
    enum err e = query_end(&q);
    if (e || !taken)
        return e;
    return err_param(ei, ERR_CONFLICT, "name", "there is a role with that name; choose another");
}

static void bind_shape(struct query *q, const struct role *r) {
    query_bind_str(q, r->system_prompt);
    query_bind_str(q, r->model);
    query_bind_num(q, r->temperature);
    query_bind_num(q, r->top_p);
    query_bind_int(q, r->max_tokens);
    query_bind_str(q, r->stop.n ? r->stop : STR("[]"));
}

static struct str starters(const struct role *r) {
    return r->starter_questions.n ? r->starter_questions : STR("[]");
}

static enum err keep_version(struct store_tx *tx, const struct role *r, int version, int64_t at) {
    struct query q;
    query_begin(&q, tx,
                "INSERT INTO role_versions (role_id, version, name, description, starter_questions,"
                " made_at, " SHAPE_COLUMNS ") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
    query_bind_id(&q, &r->role_id);
    query_bind_int(&q, version);
    query_bind_str(&q, r->name);
    query_bind_str(&q, r->description);
    query_bind_str(&q, starters(r));
    query_bind_int(&q, at);
    bind_shape(&q, r);
    return query_run(&q);
}

enum err role_create(struct store_tx *tx, const struct role *r, struct errinfo *ei) {
    char slug[ROLE_SLUG_SIZE];
    enum err e = check_name(tx, r, slug, ei);
    if (e)
        return e;
    int64_t at = r->created_at ? r->created_at : clock_wall_ms();
    struct query q;
    query_begin(&q, tx,
                "INSERT INTO assistant_roles (role_id, name, slug, description, version,"
                " starter_questions, created_at, updated_at, retired_at, " SHAPE_COLUMNS
                ") VALUES (?, ?, ?, ?, 1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
    query_bind_id(&q, &r->role_id);
    query_bind_str(&q, r->name);
    query_bind_str(&q, str_from(slug));
    query_bind_str(&q, r->description);
    query_bind_str(&q, starters(r));
    query_bind_int(&q, at);
    query_bind_int(&q, at);
    query_bind_int(&q, r->retired_at);
    bind_shape(&q, r);
    e = query_run(&q);
    return e ? e : keep_version(tx, r, 1, at);
}

enum err role_get(struct store_tx *tx, const struct uuid *id, struct arena *a, struct role *ret) {
    struct query q;
    query_begin(&q, tx, "SELECT " ROLE_COLUMNS " FROM assistant_roles WHERE role_id = ?");
    query_bind_id(&q, id);
    return read_one(&q, a, ret);
}

enum err role_find(struct store_tx *tx, struct str name, struct arena *a, struct role *ret) {
    char slug[ROLE_SLUG_SIZE];
    /* A slug is its own slug, so that one look-up serves both. */
    if (name.n > ROLE_NAME_MAX || !role_slug(name, slug, sizeof slug))
        return ERR_NOT_FOUND;
    struct query q;
    query_begin(&q, tx,
                "SELECT " ROLE_COLUMNS " FROM assistant_roles WHERE slug = ? AND retired_at = 0");
    query_bind_str(&q, str_from(slug));
    return read_one(&q, a, ret);
}

enum err role_list(struct store_tx *tx, bool with_retired, struct arena *a, struct role **ret,
                   size_t *ret_n) {
    struct query q;
    query_begin(&q, tx,
                "SELECT " ROLE_COLUMNS " FROM assistant_roles WHERE ? OR retired_at = 0"
                " ORDER BY role_id");
    query_bind_int(&q, with_retired);
    return read_all(&q, a, ret, ret_n);
}

/* The version after this change: one more when what shapes answers differs. ERR_NOT_FOUND: no such
 * role. */
static enum err next_version(struct store_tx *tx, const struct role *r, int *ret_version,
                             bool *ret_new) {
    struct query q;
    query_begin(&q, tx,
                "SELECT version, (" SHAPE_COLUMNS ") = (?, ?, ?, ?, ?, ?)"
                " FROM assistant_roles WHERE role_id = ?");
    bind_shape(&q, r);
    query_bind_id(&q, &r->role_id);
    bool found = query_next(&q), same = found && query_int(&q, 1);
    int version = found ? (int)query_int(&q, 0) : 0;
    enum err e = query_end(&q);
    if (e)
        return e;
    if (!found)
        return ERR_NOT_FOUND;
    *ret_version = same ? version : version + 1;
    *ret_new = !same;
    return ERR_OK;
}

enum err role_update(struct store_tx *tx, const struct role *r, int *ret_version,
                     struct errinfo *ei) {
    char slug[ROLE_SLUG_SIZE];
    int version = 0;
    bool is_new = false;
    int64_t now = clock_wall_ms();
    enum err e = check_name(tx, r, slug, ei);
    if (!e)
        e = next_version(tx, r, &version, &is_new);
    if (e)
        return e;
    struct query q;
    query_begin(&q, tx,
                "UPDATE assistant_roles SET name = ?, slug = ?, description = ?, version = ?,"
                " starter_questions = ?, updated_at = ?, retired_at = ?,"
                " (" SHAPE_COLUMNS ") = (?, ?, ?, ?, ?, ?) WHERE role_id = ?");
    query_bind_str(&q, r->name);
    query_bind_str(&q, str_from(slug));
    query_bind_str(&q, r->description);
    query_bind_int(&q, version);
    query_bind_str(&q, starters(r));
    query_bind_int(&q, now);
    query_bind_int(&q, r->retired_at);
    bind_shape(&q, r);
    query_bind_id(&q, &r->role_id);
    e = query_run_one(&q);
    if (!e && is_new)
        e = keep_version(tx, r, version, now);
    if (!e && ret_version)
        *ret_version = version;
    return e;
}

enum err role_versions(struct store_tx *tx, const struct uuid *id, struct arena *a,
                       struct role **ret, size_t *ret_n) {
    struct query q;
    query_begin(&q, tx,
                "SELECT " VERSION_COLUMNS
                " FROM role_versions v JOIN assistant_roles r USING (role_id)"
                " WHERE v.role_id = ? ORDER BY v.version DESC");
    query_bind_id(&q, id);
    struct role *list = NULL;
    size_t n = 0;
    enum err e = read_all(&q, a, &list, &n);
    if (e)
        return e;
    if (!n)
        return ERR_NOT_FOUND;
    *ret = list;
    *ret_n = n;
    return ERR_OK;
}

enum err role_version_get(struct store_tx *tx, const struct uuid *id, int version, struct arena *a,
                          struct role *ret) {
    struct query q;
    query_begin(&q, tx,
                "SELECT " VERSION_COLUMNS
                " FROM role_versions v JOIN assistant_roles r USING (role_id)"
                " WHERE v.role_id = ? AND v.version = ?");
    query_bind_id(&q, id);
    query_bind_int(&q, version);
    return read_one(&q, a, ret);
}
