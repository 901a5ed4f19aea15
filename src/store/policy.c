/* Policies of the guard: versions, and which is in force. */
#include "store/safety.h"
#include "store/store_internal.h"

#define COLUMNS "policy_id, version, author, note, created_at, published_at"

static void policy_read(struct query *q, struct arena *a, bool body, struct stored_policy *ret) {
    *ret = (struct stored_policy){
        .policy_id = query_id(q, 0),
        .version = (int)query_int(q, 1),
        .author = query_str(q, 2, a),
        .note = query_str(q, 3, a),
        .created_at = query_int(q, 4),
        .published_at = query_int(q, 5),
    };
    if (body)
        ret->body = query_str(q, 6, a);
}

static enum err read_one(struct query *q, struct arena *a, struct stored_policy *ret) {
    struct stored_policy p = {0};
    bool found = query_next(q);
    if (found)
        policy_read(q, a, true, &p);
    enum err e = query_end_one(q, found);
    if (!e)
        *ret = p;
    return e;
}

enum err stored_policy_create(struct store_tx *tx, const struct stored_policy *p, struct arena *a,
                              struct stored_policy *ret) {
    struct query q;
    query_begin(&q, tx,
                "INSERT INTO safety_policies (version, policy_id, author, note, created_at, body)"
                " VALUES ((SELECT coalesce(max(version), 0) + 1 FROM safety_policies), ?, ?, ?, ?,"
                " ?)");
    query_bind_id(&q, &p->policy_id);
    query_bind_str(&q, p->author);
    query_bind_str(&q, p->note);
    query_bind_int(&q, p->created_at);
    query_bind_str(&q, p->body);
    enum err e = query_run(&q);
    return e ? e : stored_policy_get(tx, &p->policy_id, a, ret);
}

enum err stored_policy_get(struct store_tx *tx, const struct uuid *id, struct arena *a,
                           struct stored_policy *ret) {
    struct query q;
    query_begin(&q, tx, "SELECT " COLUMNS ", body FROM safety_policies WHERE policy_id = ?");
    query_bind_id(&q, id);
    return read_one(&q, a, ret);
}

enum err stored_policy_live(struct store_tx *tx, struct arena *a, struct stored_policy *ret) {
    struct query q;
    query_begin(&q, tx,
                "SELECT " COLUMNS ", body FROM safety_policies WHERE published_at > 0"
                " ORDER BY published_at DESC, version DESC LIMIT 1");
    return read_one(&q, a, ret);
}

enum err stored_policy_list(struct store_tx *tx, struct arena *a, struct stored_policy **ret,
                            size_t *ret_n) {
    struct query q;
    struct rows rows = {0};
    query_begin(&q, tx, "SELECT " COLUMNS " FROM safety_policies ORDER BY version DESC LIMIT 200");
    while (query_next(&q)) {
        struct stored_policy *p = rows_add(&rows, a, sizeof *p, &q);
        if (p)
            policy_read(&q, a, false, p);
    }
    enum err e = query_end(&q);
    if (e)
        return e;
    *ret = rows.p;
    *ret_n = rows.n;
    return ERR_OK;
}

enum err stored_policy_publish(struct store_tx *tx, const struct uuid *id, int64_t at) {
    struct query q; /* later than any before, also when the clock went back */
    query_begin(&q, tx,
                "UPDATE safety_policies SET published_at ="
                " max(?, 1 + (SELECT max(published_at) FROM safety_policies)) WHERE policy_id = ?");
    query_bind_int(&q, at);
    query_bind_id(&q, id);
    return query_run_one(&q);
}
