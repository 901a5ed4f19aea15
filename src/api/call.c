/* The pipeline of a request: see call.h. */
#include "api/call.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"

struct http_request *api_call_request(struct call *c) {
    return c->guard ? http_guard_get(c->guard) : NULL;
}

struct str api_call_query(const struct call *c, const char *name) {
    for (size_t i = 0; i < c->n_query; i++)
        if (strcmp(c->query[i].name, name) == 0)
            return c->query[i].value;
    return STR_NULL;
}

void api_call_free(struct call *c) {
    if (!c)
        return;
    http_guard_free(c->guard);
    if (c->state_free)
        c->state_free(c->state);
    yyjson_doc_free(c->doc);
    buf_deinit(&c->out);
    arena_free(c->arena);
}

void api_call_reply(struct call *c) {
    struct http_request *r = api_call_request(c);
    if (r && buf_err(&c->out)) {
        api_call_fail(c, buf_err(&c->out), NULL);
        return;
    }
    if (r) {
        respond_api_headers(r);
        if (c->cookie[0])
            http_set_header(r, "Set-Cookie", c->cookie);
        if (c->status == 503 || c->status == 429)
            respond_retry_after(r, c->retry_after_ms);
        http_reply(r, c->status, c->content_type, buf_str(&c->out));
    }
    api_call_free(c);
}

void api_call_fail(struct call *c, enum err e, const struct errinfo *ei) {
    struct http_request *r = api_call_request(c);
    struct errinfo plain;
    if (!ei || ei->code != e || !ei->message[0]) {
        err_set(&plain, e, NULL);
        ei = &plain;
    }
    if (err_http_status(e) >= 500)
        log_event(LOG_WARN, "api.failed", LF_Z("route", c->route->id), LF_Z("code", err_code(e)),
                  LF_ERR(ei), LF_Z("request", r ? http_request_id(r) : "gone"));
    if (r)
        respond_error(r, e, ei);
    api_call_free(c);
}

/* ---- who is asking ---- */

static enum err authenticate(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    enum err e = auth_find_user(tx, &c->credential, c->arena, &c->user, &c->key_id, ei);
    /* A browser sends an old cookie along when its owner makes a new account. */
    bool anybody = c->route->auth == ROUTE_SIGNUP && c->api->o.signup_open &&
                   c->credential.kind == AUTH_SESSION;
    if (anybody && (e == ERR_UNAUTHORIZED || (e == ERR_OK && !c->user.is_admin))) {
        c->user = (struct user){0};
        return ERR_OK;
    }
    if (e)
        return e;
    if (c->route->auth != ROUTE_USER && !c->user.is_admin)
        return err_set(ei, ERR_FORBIDDEN, NULL);
    return ERR_OK;
}

static enum err key_use_write(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct key_use *slot = arg;
    pthread_mutex_lock(&slot->api->lock);
    struct key_use u = *slot;
    pthread_mutex_unlock(&slot->api->lock);
    (void)ei;
    return api_key_set_used(tx, &u.key, u.minute * 60000);
}

/* Writes down that a key was used, once a minute for each. The table has a slot for a key, which
 * another one may take: that costs a write or loses a minute, and last_used_at is a hint. Nobody
 * waits for the write. */
static void key_used(struct call *c) {
    struct api *a = c->api;
    int64_t minute = clock_wall_ms() / 60000;
    size_t at = 0;
    for (size_t i = UUID_LEN - 8; i < UUID_LEN; i++) /* the end of a UUIDv7 is random */
        at = at * 31 + (unsigned char)c->key_id.s[i];
    struct key_use *slot = &a->key_uses[at % (sizeof a->key_uses / sizeof a->key_uses[0])];
    pthread_mutex_lock(&a->lock);
    bool known = slot->minute == minute && uuid_eq(&slot->key, &c->key_id);
    if (!slot->api) /* once: the writer reads it before it has the lock */
        slot->api = a;
    slot->key = c->key_id;
    slot->minute = minute;
    pthread_mutex_unlock(&a->lock);
    if (!known && store_write_again(a->o.store, key_use_write, slot, c->loop, NULL)) {
        pthread_mutex_lock(&a->lock);
        slot->minute = 0; /* the next use tries again */
        pthread_mutex_unlock(&a->lock);
    }
}

static void found_out(struct call *c) {
    const struct known_user u = {c->user, c->key_id, c->may_ask};
    c->authenticated = true;
    if (uuid_is_set(&u.user.user_id))
        known_users_put(c->api->known, &c->credential, c->accounts_version, &u);
    if (uuid_is_set(&c->key_id))
        key_used(c);
}

/* Before the store is asked: a user who asked a moment ago is known. */
static void recall(struct call *c) {
    struct known_user u;
    c->accounts_version = store_accounts_version(c->api->o.store);
    if (c->route->auth != ROUTE_USER ||
        !known_users_find(c->api->known, &c->credential, c->accounts_version, c->arena, &u))
        return;
    c->user = u.user;
    c->key_id = u.key_id;
    c->may_ask = u.may_ask;
    c->authenticated = true;
    if (uuid_is_set(&c->key_id))
        key_used(c);
}

/* ---- stages ---- */

static const struct stage *stage_now(const struct call *c) {
    static const struct stage none = {0};
    return c->stage < STAGES_MAX ? &c->route->stages[c->stage] : &none;
}

static enum err run_tx(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct call *c = arg;
    const struct stage *s = stage_now(c);
    buf_clear(&c->out);
    if (c->auth_due) {
        enum err e = authenticate(c, tx, ei);
        if (e)
            return e;
    }
    if (!s->tx)
        return ERR_OK;
    if (s->kind != STAGE_WRITE || c->route->flags & ROUTE_TURN)
        return s->tx(c, tx, ei);
    bool found;
    enum err e = idempotency_look(c, tx, &found, ei);
    if (e || found)
        return e;
    e = s->tx(c, tx, ei);
    return e ? e : idempotency_note(c, tx, &c->user.user_id, ei);
}

static void tx_done(void *arg, enum err err, const struct errinfo *ei) {
    struct call *c = arg;
    if (err) {
        api_call_fail(c, err, ei);
        return;
    }
    if (c->auth_due && !c->authenticated)
        found_out(c);
    if (c->replayed && stage_now(c)->kind == STAGE_WRITE && !(c->route->flags & ROUTE_TURN))
        c->stage = STAGES_MAX; /* what follows was done then */
    else if (stage_now(c)->tx)
        c->stage++;
    api_call_next(c);
}

static void run_job(void *arg) {
    struct call *c = arg;
    struct errinfo ei = {0};
    if (stage_now(c)->job(c, &ei) != ERR_OK)
        c->ei = ei;
}

static void job_done(void *arg) {
    struct call *c = arg;
    if (c->ei.code) {
        api_call_fail(c, c->ei.code, &c->ei);
        return;
    }
    c->stage++;
    api_call_next(c);
}

void api_call_next(struct call *c) {
    const struct stage *s = stage_now(c);
    enum err e = ERR_OK;
    if (!api_call_request(c)) {
        api_call_free(c);
        return;
    }
    if (s->kind == STAGE_JOB && c->skip_job) {
        c->stage++;
        s = stage_now(c);
    }
    if (c->auth_due && !c->authenticated)
        recall(c);
    if (s->kind == STAGE_READ && s->known && c->authenticated) {
        struct errinfo ei = {0};
        bool done = false;
        if ((e = s->known(c, &done, &ei))) {
            api_call_fail(c, e, &ei);
            return;
        }
        if (done) {
            c->stage++;
            s = stage_now(c);
        }
    }
    if (s->kind == STAGE_WRITE && s->again) {
        e = store_write_again(c->api->o.store, run_tx, c, c->loop, tx_done);
    } else if (s->kind == STAGE_WRITE) {
        e = store_write(c->api->o.store, run_tx, c, c->loop, tx_done);
    } else if (s->kind == STAGE_READ || (c->auth_due && !c->authenticated)) {
        e = store_read(c->api->o.store, run_tx, c, c->loop, tx_done);
    } else if (s->kind == STAGE_JOB) {
        e = jobs_submit(c->api->o.jobs, run_job, c->loop, job_done, c);
    } else if (s->kind == STAGE_LOOP && c->head && (c->route->flags & ROUTE_STREAMS)) {
        c->content_type = c->route->media;
        api_call_reply(c);
    } else if (s->kind == STAGE_LOOP) {
        c->stage++;
        s->loop(c);
    } else {
        api_call_reply(c);
    }
    if (e)
        api_call_fail(c, e, NULL);
}
