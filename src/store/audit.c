/* The audit log and its chain of hashes. See safety.h for the formula. */
#include <stdio.h>

#include "base/clock.h"
#include "base/crypto.h"
#include "store/safety.h"
#include "store/store_internal.h"

#define VERIFY_PAGE  500
#define VERIFY_ARENA ((size_t)16 << 20)

static void entry_read(struct query *q, struct arena *a, struct audit_entry *ret) {
    *ret = (struct audit_entry){query_int(q, 0),    query_int(q, 1),    query_str(q, 2, a),
                                query_str(q, 3, a), query_str(q, 4, a), query_str(q, 5, a)};
}

static enum err entry_hash(const struct audit_entry *e, struct str before,
                           char hex[SHA256_HEX_LEN + 1]) {
    char numbers[64];
    struct sha256 *h = sha256_new();
    if (!h)
        return ERR_NOMEM;
    int n =
        snprintf(numbers, sizeof numbers, "\n%lld\n%lld\n", (long long)e->seq, (long long)e->at);
    sha256_update(h, before.p, before.n);
    sha256_update(h, numbers, (size_t)n);
    sha256_update(h, e->actor.p, e->actor.n);
    sha256_update(h, "\n", 1);
    sha256_update(h, e->event.p, e->event.n);
    sha256_update(h, "\n", 1);
    sha256_update(h, e->detail.p, e->detail.n);
    sha256_final(h, hex);
    return ERR_OK;
}

enum err audit_append(struct store_tx *tx, struct str actor, const char *event, struct str detail) {
    struct query q;
    struct audit_entry e = {1, clock_wall_ms(), actor, str_from(event), detail, STR("")};
    char before[SHA256_HEX_LEN + 1] = "", hash[SHA256_HEX_LEN + 1];
    struct arena *a = arena_new(4096);
    if (!a)
        return ERR_NOMEM;
    query_begin(&q, tx, "SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1");
    if (query_next(&q)) {
        e.seq = query_int(&q, 0) + 1;
        snprintf(before, sizeof before, "%.*s", STR_ARG(query_str(&q, 1, a)));
    }
    enum err err = query_end(&q);
    arena_free(a);
    if (!err)
        err = entry_hash(&e, str_from(before), hash);
    if (err)
        return err;
    query_begin(
        &q, tx,
        "INSERT INTO audit (seq, at, actor, event, detail, hash) VALUES (?, ?, ?, ?, ?, ?)");
    query_bind_int(&q, e.seq);
    query_bind_int(&q, e.at);
    query_bind_str(&q, e.actor);
    query_bind_str(&q, e.event);
    query_bind_str(&q, e.detail);
    query_bind_str(&q, str_from(hash));
    return query_run(&q);
}

static enum err read_list(struct query *q, struct arena *a, struct audit_entry **ret,
                          size_t *ret_n) {
    struct rows rows = {0};
    while (query_next(q)) {
        struct audit_entry *e = rows_add(&rows, a, sizeof *e, q);
        if (e)
            entry_read(q, a, e);
    }
    enum err e = query_end(q);
    if (e)
        return e;
    *ret = rows.p;
    *ret_n = rows.n;
    return ERR_OK;
}

enum err audit_list(struct store_tx *tx, int64_t before, int limit, struct arena *a,
                    struct audit_entry **ret, size_t *ret_n) {
    struct query q;
    query_begin(&q, tx,
                "SELECT seq, at, actor, event, detail, hash FROM audit WHERE seq < ?"
                " ORDER BY seq DESC LIMIT ?");
    query_bind_int(&q, before > 0 ? before : INT64_MAX);
    query_bind_int(&q, limit);
    return read_list(&q, a, ret, ret_n);
}

static enum err verify_page(struct store_tx *tx, struct arena *a, int64_t *rows, char head[65],
                            bool *ret_more, struct errinfo *ei) {
    struct query q;
    struct audit_entry *list;
    size_t n;
    query_begin(&q, tx,
                "SELECT seq, at, actor, event, detail, hash FROM audit WHERE seq > ?"
                " ORDER BY seq LIMIT ?");
    query_bind_int(&q, *rows);
    query_bind_int(&q, VERIFY_PAGE);
    enum err e = read_list(&q, a, &list, &n);
    for (size_t i = 0; !e && i < n; i++) {
        char hash[SHA256_HEX_LEN + 1];
        if (list[i].seq != *rows + 1)
            return err_set(ei, ERR_CORRUPT, "the audit log lacks row %lld", (long long)*rows + 1);
        if ((e = entry_hash(&list[i], str_from(head), hash)))
            return e;
        if (!str_eqz(list[i].hash, hash))
            return err_set(ei, ERR_CORRUPT,
                           "row %lld of the audit log was changed, or the one before it",
                           (long long)list[i].seq);
        snprintf(head, 65, "%s", hash);
        ++*rows;
    }
    *ret_more = n == VERIFY_PAGE;
    return e;
}

enum err audit_verify(struct store_tx *tx, int64_t *ret_rows, char ret_head[65],
                      struct errinfo *ei) {
    bool more = true;
    int64_t rows = 0;
    char head[65] = "";
    while (more) {
        struct arena *a = arena_new(VERIFY_ARENA);
        enum err e = a ? verify_page(tx, a, &rows, head, &more, ei) : ERR_NOMEM;
        arena_free(a);
        if (e)
            return ei && ei->code == e ? e : err_set(ei, e, NULL);
    }
    *ret_rows = rows;
    memcpy(ret_head, head, sizeof head);
    return ERR_OK;
}
