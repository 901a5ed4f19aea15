/* One statement's life inside a verb: take it from the cache, bind, step, read, close. Failures
 * stick, as in base/buf.h, so that verbs read as what they do. */
#include <assert.h>

#include "store/store_internal.h"

static void query_fail(struct query *q, enum err e) {
    if (q->err)
        return;
    q->err = e;
    if (err_is_hard(e) && !q->tx->hard)
        q->tx->hard = e;
}

static void check_rc(struct query *q, int rc) {
    enum err e = conn_err(q->tx->conn, rc);
    if (e)
        query_fail(q, e);
}

void query_begin(struct query *q, struct store_tx *tx, const char *sql) {
    *q = (struct query){.tx = tx};
    enum err e = ERR_OK;
    const struct conn_stmt *s = conn_prepare(tx->conn, sql, &e);
    if (!s) {
        query_fail(q, e);
        return;
    }
    q->stmt = s->stmt;
    q->writes = s->writes;
}

void query_bind_str(struct query *q, struct str s) {
    if (q->err)
        return;
    if (s.n && (memchr(s.p, 0, s.n) || !utf8_valid(s))) {
        q->err = ERR_INVALID;
        return;
    }
    /* SQLITE_STATIC: the caller's bytes outlive the statement's step; query_end() drops the
     * binding. */
    check_rc(q, sqlite3_bind_text64(q->stmt, ++q->bound, s.n ? s.p : "", s.n, SQLITE_STATIC,
                                    SQLITE_UTF8));
}

void query_bind_id(struct query *q, const struct uuid *id) {
    if (q->err)
        return;
    if (!uuid_is_set(id))
        check_rc(q, sqlite3_bind_null(q->stmt, ++q->bound));
    else
        check_rc(q, sqlite3_bind_text(q->stmt, ++q->bound, id->s, UUID_LEN, SQLITE_STATIC));
}

void query_bind_blob(struct query *q, struct str bytes) {
    if (!q->err)
        check_rc(q, sqlite3_bind_blob64(q->stmt, ++q->bound, bytes.n ? bytes.p : "", bytes.n,
                                        SQLITE_STATIC));
}

void query_bind_int(struct query *q, int64_t v) {
    if (!q->err)
        check_rc(q, sqlite3_bind_int64(q->stmt, ++q->bound, v));
}

void query_bind_num(struct query *q, double v) {
    if (!q->err)
        check_rc(q, sqlite3_bind_double(q->stmt, ++q->bound, v));
}

bool query_next(struct query *q) {
    if (q->err)
        return false;
    assert(q->bound == sqlite3_bind_parameter_count(q->stmt));
    if (q->writes)
        marks_fall(q);
    int rc = sqlite3_step(q->stmt);
    check_rc(q, rc);
    return !q->err && rc == SQLITE_ROW;
}

enum err query_end(struct query *q) {
    if (q->stmt) {
        (void)sqlite3_reset(q->stmt);
        (void)sqlite3_clear_bindings(q->stmt);
        q->stmt = NULL;
    }
    return q->err;
}

enum err query_end_one(struct query *q, bool found) {
    enum err e = query_end(q);
    return e ? e : found ? ERR_OK : ERR_NOT_FOUND;
}

enum err query_run(struct query *q) {
    (void)query_next(q);
    return query_end(q);
}

enum err query_run_one(struct query *q) {
    (void)query_next(q);
    enum err e = query_end(q);
    return e ? e : sqlite3_changes(q->tx->conn->db) == 0 ? ERR_NOT_FOUND : ERR_OK;
}

int64_t query_int(struct query *q, int col) {
    return sqlite3_column_int64(q->stmt, col);
}

double query_num(struct query *q, int col) {
    return sqlite3_column_double(q->stmt, col);
}

struct uuid query_id(struct query *q, int col) {
    struct uuid id = {{0}};
    const unsigned char *p = sqlite3_column_text(q->stmt, col);
    if (p && sqlite3_column_bytes(q->stmt, col) == UUID_LEN)
        memcpy(id.s, p, UUID_LEN);
    return id;
}

struct str query_peek(struct query *q, int col) {
    const unsigned char *p = sqlite3_column_text(q->stmt, col);
    return p ? (struct str){(const char *)p, (size_t)sqlite3_column_bytes(q->stmt, col)} : STR_NULL;
}

struct str query_str(struct query *q, int col, struct arena *a) {
    if (q->err || sqlite3_column_type(q->stmt, col) == SQLITE_NULL)
        return STR_NULL;
    const unsigned char *p = sqlite3_column_text(q->stmt, col);
    size_t n = (size_t)sqlite3_column_bytes(q->stmt, col);
    struct str copy = p ? arena_str(a, (struct str){(const char *)p, n}) : STR_NULL;
    if (!copy.p)
        q->err = ERR_NOMEM;
    return copy;
}

struct str query_blob(struct query *q, int col, struct arena *a) {
    if (q->err || sqlite3_column_type(q->stmt, col) == SQLITE_NULL)
        return STR_NULL;
    const void *p = sqlite3_column_blob(q->stmt, col);
    size_t n = (size_t)sqlite3_column_bytes(q->stmt, col);
    struct str copy = arena_str(a, (struct str){p, n});
    if (!copy.p)
        q->err = ERR_NOMEM;
    return copy;
}

void *rows_add(struct rows *r, struct arena *a, size_t item, struct query *q) {
    if (q->err)
        return NULL;
    if (r->n == r->size) {
        size_t size = r->size ? r->size * 2 : 16;
        void *p = arena_array(a, size, item);
        if (!p) {
            q->err = ERR_NOMEM;
            return NULL;
        }
        if (r->n)
            memcpy(p, r->p, r->n * item);
        r->p = p;
        r->size = size;
    }
    return (char *)r->p + item * r->n++;
}

enum err page_check(const struct page *p) {
    return p->limit < 1 || p->limit > 200 ? ERR_INVALID : ERR_OK;
}

enum err conn_step(struct conn *c, const char *sql) {
    struct store_tx tx = {.conn = c};
    struct query q;
    query_begin(&q, &tx, sql);
    return query_run(&q);
}
