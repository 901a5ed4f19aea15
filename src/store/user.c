/* Users, and the rule that an installation never loses its last administrator. */
#include "store/store_internal.h"

void user_read(struct query *q, int col, struct arena *a, struct user *ret) {
    *ret = (struct user){
        .user_id = query_id(q, col),
        .username = query_str(q, col + 1, a),
        .email = query_str(q, col + 2, a),
        .created_at = query_int(q, col + 3),
        .last_login_at = query_int(q, col + 4),
        .preferences = query_str(q, col + 5, a),
        .is_admin = query_int(q, col + 6) != 0,
        .disabled = query_int(q, col + 7) != 0,
        .password_hash = query_str(q, col + 8, a),
    };
}

static enum err read_one(struct query *q, struct arena *a, struct user *ret) {
    struct user u = {0};
    bool found = query_next(q);
    if (found)
        user_read(q, 0, a, &u);
    enum err e = query_end_one(q, found);
    if (!e)
        *ret = u;
    return e;
}

/* Says which of the two names is taken; the indexes would only say that one is. */
static enum err check_free(struct store_tx *tx, const struct user *u, struct errinfo *ei) {
    struct query q;
    query_begin(&q, tx,
                "SELECT username = ?1 COLLATE NOCASE FROM users"
                " WHERE user_id <> ?3 AND (username = ?1 OR (email = ?2 AND ?2 <> ''))"
                " ORDER BY 1 DESC LIMIT 1");
    query_bind_str(&q, u->username);
    query_bind_str(&q, u->email);
    query_bind_id(&q, &u->user_id);
    bool taken = query_next(&q);
    bool name = taken && query_int(&q, 0);
    enum err e = query_end(&q);
    if (e || !taken)
        return e;
    return name
               ? err_param(ei, ERR_CONFLICT, "username", "that user name is taken; choose another")
               : err_param(ei, ERR_CONFLICT, "email", "an account with that e-mail address exists");
}

enum err user_create(struct store_tx *tx, const struct user *u, struct errinfo *ei) {
    if (!uuid_is_set(&u->user_id) || !u->username.n)
        return err_param(ei, ERR_INVALID, "username", "a user needs an id and a name");
    enum err e = check_free(tx, u, ei);
    if (e)
        return e;
    struct query q;
    query_begin(
        &q, tx,
        "INSERT INTO users (user_id, username, email, created_at, last_login_at, preferences,"
        " is_admin, disabled, password_hash) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)");
    query_bind_id(&q, &u->user_id);
    query_bind_str(&q, u->username);
    query_bind_str(&q, u->email);
    query_bind_int(&q, u->created_at);
    query_bind_int(&q, u->last_login_at);
    query_bind_str(&q, u->preferences.n ? u->preferences : STR("{}"));
    query_bind_int(&q, u->is_admin);
    query_bind_int(&q, u->disabled);
    query_bind_str(&q, u->password_hash);
    return query_run(&q);
}

enum err user_get(struct store_tx *tx, const struct uuid *id, struct arena *a, struct user *ret) {
    struct query q;
    query_begin(&q, tx, "SELECT " USER_COLUMNS " FROM users u WHERE u.user_id = ?");
    query_bind_id(&q, id);
    return read_one(&q, a, ret);
}

enum err user_find(struct store_tx *tx, struct str username_or_email, struct arena *a,
                   struct user *ret) {
    struct query q;
    query_begin(&q, tx,
                "SELECT " USER_COLUMNS " FROM users u"
                " WHERE u.username = ?1 OR (u.email = ?1 AND u.email <> '')"
                " ORDER BY u.username = ?1 COLLATE NOCASE DESC LIMIT 1");
    query_bind_str(&q, username_or_email);
    return read_one(&q, a, ret);
}

enum err user_list(struct store_tx *tx, const struct page *p, struct arena *a, struct user **ret,
                   size_t *ret_n) {
    enum err e = page_check(p);
    if (e)
        return e;
    struct query q;
    struct rows rows = {0};
    query_begin(&q, tx,
                "SELECT " USER_COLUMNS " FROM users u WHERE u.user_id < coalesce(?, 'g')"
                " ORDER BY u.user_id DESC LIMIT ?");
    query_bind_id(&q, &p->after);
    query_bind_int(&q, p->limit);
    while (query_next(&q)) {
        struct user *u = rows_add(&rows, a, sizeof *u, &q);
        if (u)
            user_read(&q, 0, a, u);
    }
    if ((e = query_end(&q)))
        return e;
    *ret = rows.p;
    *ret_n = rows.n;
    return ERR_OK;
}

/* Would nobody be left who can administer, if this user could not? */
static enum err check_not_last_admin(struct store_tx *tx, const struct uuid *id,
                                     struct errinfo *ei) {
    struct query q;
    query_begin(
        &q, tx,
        "SELECT 1 FROM users WHERE user_id = ?1 AND is_admin = 1 AND disabled = 0 AND NOT EXISTS"
        " (SELECT 1 FROM users WHERE user_id <> ?1 AND is_admin = 1 AND disabled = 0)");
    query_bind_id(&q, id);
    bool last = query_next(&q);
    enum err e = query_end(&q);
    if (e || !last)
        return e;
    return err_param(ei, ERR_CONFLICT, "is_admin",
                     "this is the last enabled administrator: make another one first");
}

enum err user_update(struct store_tx *tx, const struct user *u, struct errinfo *ei) {
    if (!u->username.n)
        return err_param(ei, ERR_INVALID, "username", "a user needs a name");
    enum err e = check_free(tx, u, ei);
    if (!e && (!u->is_admin || u->disabled))
        e = check_not_last_admin(tx, &u->user_id, ei);
    if (e)
        return e;
    tx->conn->accounts_changed = true;
    struct query q;
    query_begin(
        &q, tx,
        "UPDATE users SET username = ?, email = ?, preferences = ?, is_admin = ?, disabled = ?,"
        " password_hash = ? WHERE user_id = ?");
    query_bind_str(&q, u->username);
    query_bind_str(&q, u->email);
    query_bind_str(&q, u->preferences.n ? u->preferences : STR("{}"));
    query_bind_int(&q, u->is_admin);
    query_bind_int(&q, u->disabled);
    query_bind_str(&q, u->password_hash);
    query_bind_id(&q, &u->user_id);
    return query_run_one(&q);
}

enum err user_set_last_login(struct store_tx *tx, const struct uuid *id, int64_t at) {
    struct query q;
    query_begin(&q, tx, "UPDATE users SET last_login_at = ? WHERE user_id = ?");
    query_bind_int(&q, at);
    query_bind_id(&q, id);
    return query_run_one(&q);
}

enum err user_delete(struct store_tx *tx, const struct uuid *id, struct errinfo *ei) {
    enum err e = check_not_last_admin(tx, id, ei);
    if (e)
        return e;
    struct query q;
    query_begin(&q, tx, "DELETE FROM users WHERE user_id = ?");
    tx->conn->accounts_changed = true;
    query_bind_id(&q, id);
    return query_run_one(&q);
}

enum err user_count(struct store_tx *tx, int64_t *ret_users, int64_t *ret_admins) {
    struct query q;
    int64_t users = 0, admins = 0;
    query_begin(
        &q, tx,
        "SELECT count(*), count(*) FILTER (WHERE is_admin = 1 AND disabled = 0) FROM users");
    if (query_next(&q)) {
        users = query_int(&q, 0);
        admins = query_int(&q, 1);
    }
    enum err e = query_end(&q);
    if (e)
        return e;
    *ret_users = users;
    *ret_admins = admins;
    return ERR_OK;
}
