/* Learning for administrators: switches, the pass, what feedback changed, candidates, variants of
 * roles and approved answers. Signals and records are everybody's for their own messages. */
#include "api/entities.h"
#include "api/handlers.h"
#include "api/schemas.h"
#include "base/clock.h"
#include "learn/learn.h"
#include "learn/rollout.h"
#include "learn/stats.h"

static enum err missing(struct errinfo *ei, enum err e, const char *what) {
    return e == ERR_NOT_FOUND ? err_set(ei, e, "there is no such %s", what) : err_set(ei, e, NULL);
}

/* ---- everybody ---- */

enum err api_signal_write(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    char kind[16] = {0};
    struct str s = json_get_str(c->body, "kind");
    memcpy(kind, s.p, s.n < sizeof kind ? s.n : sizeof kind - 1);
    enum err e = turn_signal_put(tx, &c->user.user_id, &c->id, kind, clock_wall_ms());
    return e ? missing(ei, e, "answer") : ERR_OK;
}

enum err api_record_read(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    struct turn_record r;
    enum err e = turn_record_get(tx, &c->user.user_id, &c->id, c->arena, &r);
    if (e)
        return missing(ei, e, "record");
    out_open(&c->out, NULL, '{');
    out_id(&c->out, "message_id", &r.message_id);
    out_id(&c->out, "variant_id", &r.arm_id);
    out_num(&c->out, "variant_chance", r.arm_chance);
    out_id(&c->out, "candidate_id", &r.candidate_id);
    out_bool(&c->out, "ranked", r.ranked);
    out_id(&c->out, "examples_id", &r.examples_id);
    out_bool(&c->out, "exampled", r.exampled);
    out_num(&c->out, "examples_chance", r.examples_chance);
    out_id(&c->out, "answer_id", &r.answer_id);
    out_int(&c->out, "role_version", r.role_version);
    out_str(&c->out, "model", r.model);
    if (r.ttft_ms >= 0)
        out_int(&c->out, "ttft_ms", r.ttft_ms);
    else
        out_null(&c->out, "ttft_ms");
    if (r.latency_ms >= 0)
        out_int(&c->out, "latency_ms", r.latency_ms);
    else
        out_null(&c->out, "latency_ms");
    out_raw(&c->out, "record", r.record);
    out_close(&c->out, '}');
    return ERR_OK;
}

/* ---- state, switches, the pass ---- */

static enum err write_state(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    struct candidate active = {0};
    enum err e = candidate_active(tx, "ranker", c->arena, &active);
    if (e && e != ERR_NOT_FOUND)
        return err_set(ei, e, NULL);
    int state = active.state.n ? rollout_from_name(active.state.p, active.state.n) : -1;
    out_open(&c->out, NULL, '{');
    for (size_t i = 0; learn_learner(i); i++) {
        bool off = false;
        if ((e = learn_is_off(tx, learn_learner(i), &off)))
            return err_set(ei, e, NULL);
        out_bool(&c->out, learn_learner(i), !off);
    }
    int days = 0;
    if ((e = learn_answer_days(tx, &days)))
        return err_set(ei, e, NULL);
    out_int(&c->out, "answer_days", days);
    out_id(&c->out, "candidate_id", &active.candidate_id);
    out_num(&c->out, "share", state < 0 ? 0 : rollout_share((enum rollout)state));
    out_open(&c->out, "learners", '[');
    for (size_t i = 0; learn_learner(i); i++)
        out_strz(&c->out, NULL, learn_learner(i));
    out_close(&c->out, ']');
    out_close(&c->out, '}');
    return ERR_OK;
}

enum err api_learning_read(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    return write_state(c, tx, ei);
}

enum err api_learning_patch_write(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    for (size_t i = 0; learn_learner(i); i++) {
        json_val *v = json_get(c->body, learn_learner(i));
        enum err e = v ? learn_switch(tx, learn_learner(i), yyjson_get_bool(v), ei) : ERR_OK;
        if (e)
            return e;
    }
    int64_t days = json_get_int(c->body, "answer_days", -1);
    enum err e = days >= 0 ? learn_set_answer_days(tx, (int)days) : ERR_OK;
    return e ? err_set(ei, e, NULL) : write_state(c, tx, ei);
}

/* What was written is in use from now on, not only after the next look. */
enum err api_learning_refresh_job(struct call *c, struct errinfo *ei) {
    return c->api->o.learn ? learn_refresh(c->api->o.learn, ei) : ERR_OK;
}

/* A run that was carried out under this key is not made again; what it said is told by the WRITE.
 */
enum err api_learning_run_read(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    return idempotency_look(c, tx, &c->skip_job, ei);
}

enum err api_learning_run_job(struct call *c, struct errinfo *ei) {
    struct learn_report *r = arena_alloc(c->arena, sizeof *r);
    enum err e = r ? learn_run(c->api->o.store, true, r, ei) : err_set(ei, ERR_NOMEM, NULL);
    c->state = r;
    return e ? e : api_learning_refresh_job(c, ei);
}

enum err api_learning_run_write(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    const struct learn_report *r = c->state;
    (void)tx;
    if (!r) /* the key was forgotten between the two stages */
        return err_set(ei, ERR_UNAVAILABLE, NULL);
    out_open(&c->out, NULL, '{');
    out_int(&c->out, "ratings", (int64_t)r->ratings);
    out_int(&c->out, "questions", (int64_t)r->questions);
    out_bool(&c->out, "candidate", r->made);
    out_bool(&c->out, "proved", r->proved);
    out_int(&c->out, "variants_stopped", r->arms_stopped);
    out_int(&c->out, "answers_proposed", r->proposed);
    out_int(&c->out, "answers_stale", r->stale);
    out_strz(&c->out, "words", r->words);
    out_close(&c->out, '}');
    return ERR_OK;
}

/* ---- events, candidates ---- */

enum err api_learn_events_list(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    struct learn_event *v;
    size_t n;
    enum err e = learn_event_list(tx, &c->page, c->arena, &v, &n);
    if (e)
        return err_set(ei, e, NULL);
    entity_list_open(&c->out);
    for (size_t i = 0; i < n; i++) {
        out_open(&c->out, NULL, '{');
        out_id(&c->out, "event_id", &v[i].event_id);
        out_time(&c->out, "at", v[i].at);
        out_str(&c->out, "kind", v[i].kind);
        out_id(&c->out, "subject_id", &v[i].subject_id);
        out_str(&c->out, "words", v[i].words);
        out_close(&c->out, '}');
    }
    struct uuid next = entity_next(&c->page, n, n ? &v[n - 1].event_id : NULL);
    entity_list_close(&c->out, &next);
    return ERR_OK;
}

static void entity_candidate(struct buf *b, const struct candidate *v) {
    out_open(b, NULL, '{');
    out_id(b, "candidate_id", &v->candidate_id);
    out_str(b, "kind", v->kind);
    out_str(b, "state", v->state);
    out_time(b, "created_at", v->created_at);
    out_time(b, "changed_at", v->changed_at);
    out_int(b, "ratings", v->ratings);
    out_raw(b, "proof", v->proof);
    out_str(b, "words", v->words);
    out_bool(b, "usable", v->has_body || str_eqz(v->kind, "examples"));
    out_close(b, '}');
}

enum err api_candidates_list(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    struct candidate *v;
    size_t n;
    enum err e = candidate_list(tx, &c->page, c->arena, &v, &n);
    if (e)
        return err_set(ei, e, NULL);
    entity_list_open(&c->out);
    for (size_t i = 0; i < n; i++)
        entity_candidate(&c->out, &v[i]);
    struct uuid next = entity_next(&c->page, n, n ? &v[n - 1].candidate_id : NULL);
    entity_list_close(&c->out, &next);
    return ERR_OK;
}

enum err api_candidate_patch_write(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    struct candidate v;
    enum err e = learn_set_candidate(tx, &c->id, json_get_bool(c->body, "in_use", false), ei);
    if (!e && (e = candidate_get(tx, &c->id, c->arena, &v)))
        err_set(ei, e, NULL);
    if (!e)
        entity_candidate(&c->out, &v);
    return e;
}

/* ---- variants ---- */

static void out_num_or_null(struct buf *b, const char *key, double v, bool is_null) {
    if (is_null)
        out_null(b, key);
    else
        out_num(b, key, v);
}

static void entity_variant(struct buf *b, const struct arm *a, const struct arm_totals *t,
                           size_t n) {
    struct arm_totals own = {.turns = 0};
    for (size_t i = 0; i < n; i++)
        if (uuid_eq(&t[i].role_id, &a->role_id) &&
            uuid_is_set(&t[i].arm_id) == uuid_is_set(&a->arm_id) &&
            (!uuid_is_set(&a->arm_id) || uuid_eq(&t[i].arm_id, &a->arm_id)))
            own = t[i];
    double rated = own.good + own.bad;
    struct interval s = interval_of_share(own.good, rated);
    out_open(b, NULL, '{');
    out_id(b, "variant_id", &a->arm_id);
    out_id(b, "role_id", &a->role_id);
    out_str(b, "name", a->name);
    out_str(b, "system_prompt", a->system_prompt);
    out_str(b, "model", a->model);
    out_num_or_null(b, "temperature", a->temperature, a->temperature < 0);
    out_num_or_null(b, "top_p", a->top_p, a->top_p < 0);
    if (a->passages > 0)
        out_int(b, "passages", a->passages);
    else
        out_null(b, "passages");
    out_str(b, "state", a->state);
    out_text_or_null(b, "why", a->why);
    out_time(b, "created_at", a->created_at);
    out_int(b, "turns", (int64_t)own.turns);
    out_num(b, "rated", rated);
    out_num_or_null(b, "satisfaction", s.mean, rated <= 0);
    out_num_or_null(b, "low", s.low, rated <= 0);
    out_num_or_null(b, "high", s.high, rated <= 0);
    out_close(b, '}');
}

/* Before a role's first variant stands the role as it is. */
static bool is_first_of_role(const struct arm *list, size_t i) {
    for (size_t k = 0; k < i; k++)
        if (uuid_eq(&list[k].role_id, &list[i].role_id))
            return false;
    return true;
}

enum err api_variants_list(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    struct arm *list;
    struct arm_totals *t;
    struct uuid role = {{0}};
    size_t n, n_t;
    struct str wanted = api_call_query(c, "role_id");
    if (wanted.p && !uuid_parse(wanted, &role))
        return err_param(ei, ERR_INVALID, "role_id", NULL);
    enum err e = arm_list(tx, &role, c->arena, &list, &n);
    if (!e)
        e = arm_totals_list(tx, 0, c->arena, &t, &n_t);
    if (e)
        return err_set(ei, e, NULL);
    out_open(&c->out, NULL, '{');
    out_open(&c->out, "data", '[');
    for (size_t i = 0; i < n; i++) {
        if (is_first_of_role(list, i)) {
            struct arm own = {.role_id = list[i].role_id,
                              .name = STR("as it is"),
                              .temperature = -1,
                              .top_p = -1,
                              .state = STR("running"),
                              .why = STR("")};
            entity_variant(&c->out, &own, t, n_t);
        }
        entity_variant(&c->out, &list[i], t, n_t);
    }
    out_close(&c->out, ']');
    out_close(&c->out, '}');
    return ERR_OK;
}

enum err api_variant_create_write(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    struct arm a = {.arm_id = uuid_new(),
                    .name = json_get_str(c->body, "name"),
                    .system_prompt = json_get_str(c->body, "system_prompt"),
                    .model = json_get_str(c->body, "model"),
                    .temperature = json_get_num(c->body, "temperature", -1),
                    .top_p = json_get_num(c->body, "top_p", -1),
                    .passages = (int)json_get_int(c->body, "passages", 0)};
    uuid_parse(json_get_str(c->body, "role_id"), &a.role_id);
    if (!a.system_prompt.n && !a.model.n && a.temperature < 0 && a.top_p < 0 && !a.passages)
        return err_set(ei, ERR_INVALID, "a variant must differ from its role in something");
    enum err e = arm_create(tx, &a, ei);
    if (!e && (e = arm_get(tx, &a.arm_id, c->arena, &a)))
        err_set(ei, e, NULL);
    if (!e)
        entity_variant(&c->out, &a, NULL, 0);
    return e;
}

/* The role becomes what the variant is, as a new version; the variant's trial is over. */
static enum err keep_variant(struct call *c, struct store_tx *tx, const struct arm *a,
                             struct errinfo *ei) {
    struct role r;
    char words[300];
    enum err e = role_get(tx, &a->role_id, c->arena, &r);
    if (e)
        return missing(ei, e, "role");
    if (a->system_prompt.n)
        r.system_prompt = a->system_prompt;
    if (a->model.n)
        r.model = a->model;
    if (a->temperature >= 0)
        r.temperature = a->temperature;
    if (a->top_p >= 0)
        r.top_p = a->top_p;
    r.updated_at = clock_wall_ms();
    snprintf(words, sizeof words, "The variant \"%.*s\" was kept: \"%.*s\" is like it from now on.",
             STR_ARG(a->name), STR_ARG(r.name));
    e = role_update(tx, &r, NULL, ei);
    return e ? e : learn_event_add(tx, "variant_kept", &a->arm_id, str_from(words));
}

enum err api_variant_patch_write(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    struct arm a;
    bool keep = str_eqz(json_get_str(c->body, "state"), "kept");
    enum err e = arm_get(tx, &c->id, c->arena, &a);
    if (e)
        return missing(ei, e, "variant");
    if (!str_eqz(a.state, "running"))
        return err_set(ei, ERR_CONFLICT, "this variant's trial is over");
    if (keep && (e = keep_variant(c, tx, &a, ei)))
        return e;
    e = arm_set_state(tx, &c->id, keep ? "kept" : "stopped",
                      keep ? STR("by an administrator") : STR("by an administrator"));
    if (!e)
        e = arm_get(tx, &c->id, c->arena, &a);
    if (e)
        return err_set(ei, e, NULL);
    entity_variant(&c->out, &a, NULL, 0);
    return ERR_OK;
}

/* ---- approved answers ---- */

/* rated: what people think of it; NULL = nobody said. */
static void entity_approved(struct buf *b, const struct approved_answer *p,
                            const struct approved_rating *rated) {
    double people = rated ? (double)rated->people : 0;
    struct interval s = interval_of_share(rated ? rated->liked : 0, people);
    out_open(b, NULL, '{');
    out_id(b, "answer_id", &p->answer_id);
    out_id(b, "role_id", &p->role_id);
    out_str(b, "question", p->question);
    out_str(b, "answer", p->answer);
    out_raw(b, "sources", p->sources);
    out_str(b, "state", p->state);
    out_id(b, "message_id", &p->message_id);
    out_id(b, "made_by", &p->made_by);
    out_time(b, "created_at", p->created_at);
    out_time(b, "changed_at", p->changed_at);
    out_int(b, "served", p->served);
    out_text_or_null(b, "why", p->why);
    out_int(b, "rated", (int64_t)people);
    out_num_or_null(b, "satisfaction", s.mean, people <= 0);
    out_num_or_null(b, "low", s.low, people <= 0);
    out_num_or_null(b, "high", s.high, people <= 0);
    out_close(b, '}');
}

static const struct approved_rating *rating_of(const struct approved_rating *r, size_t n,
                                               const struct uuid *id) {
    for (size_t i = 0; i < n; i++)
        if (uuid_eq(&r[i].answer_id, id))
            return &r[i];
    return NULL;
}

enum err api_answers_list(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    struct approved_answer *p;
    struct approved_rating *rated;
    char state[16] = {0};
    size_t n, n_rated;
    struct str s = api_call_query(c, "state");
    if (s.p)
        memcpy(state, s.p, s.n < sizeof state ? s.n : sizeof state - 1);
    enum err e = approved_list(tx, s.p ? state : NULL, &c->page, c->arena, &p, &n);
    if (!e)
        e = approved_ratings(tx, c->arena, &rated, &n_rated);
    if (e)
        return err_set(ei, e, NULL);
    entity_list_open(&c->out);
    for (size_t i = 0; i < n; i++)
        entity_approved(&c->out, &p[i], rating_of(rated, n_rated, &p[i].answer_id));
    struct uuid next = entity_next(&c->page, n, n ? &p[n - 1].answer_id : NULL);
    entity_list_close(&c->out, &next);
    return ERR_OK;
}

/* [{"doc_id":…,"indexed_at":…}]; a private document would show in other people's answers. */
static enum err sources_of(struct call *c, struct store_tx *tx, struct str *ret,
                           struct errinfo *ei) {
    json_val *list = json_get(c->body, "doc_ids"), *v;
    size_t i, n;
    bool public = true;
    struct buf b;
    enum err e = ERR_OK;
    buf_init(&b, 4096);
    buf_addc(&b, '[');
    if (yyjson_is_arr(list))
        yyjson_arr_foreach(list, i, n, v) {
            struct uuid id;
            int64_t at = 0;
            e = uuid_parse(json_str(v), &id) ? document_indexed_at(tx, &id, &at) : ERR_NOT_FOUND;
            if (e)
                break;
            buf_addf(&b, "%s{\"doc_id\":\"%s\",\"indexed_at\":%lld}", i ? "," : "", id.s,
                     (long long)at);
        }
    buf_addc(&b, ']');
    if (!e)
        e = sources_are_public(tx, buf_str(&b), &public);
    *ret = arena_str(c->arena, buf_str(&b));
    buf_deinit(&b);
    if (e == ERR_NOT_FOUND || !public)
        return err_param(ei, ERR_INVALID, "doc_ids",
                         "an answer may rest only on documents that everybody may read");
    return e ? err_set(ei, e, NULL) : ret->p ? ERR_OK : err_set(ei, ERR_NOMEM, NULL);
}

enum err api_answer_create_write(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    struct role role;
    int64_t now = clock_wall_ms();
    struct approved_answer p = {.answer_id = uuid_new(),
                                .question = json_get_str(c->body, "question"),
                                .answer = json_get_str(c->body, "answer"),
                                .state = STR("approved"),
                                .made_by = c->user.user_id,
                                .created_at = now,
                                .changed_at = now};
    uuid_parse(json_get_str(c->body, "role_id"), &p.role_id);
    enum err e = role_get(tx, &p.role_id, c->arena, &role);
    if (e)
        return missing(ei, e, "role");
    if ((e = sources_of(c, tx, &p.sources, ei)))
        return e;
    if ((e = approved_put(tx, &p)))
        return err_set(ei, e, NULL);
    entity_approved(&c->out, &p, NULL);
    return ERR_OK;
}

enum err api_answer_patch_write(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    struct approved_answer p;
    struct str s;
    enum err e = approved_get(tx, &c->id, c->arena, &p);
    if (e)
        return missing(ei, e, "answer");
    if ((s = json_get_str(c->body, "question")).p)
        p.question = s;
    if ((s = json_get_str(c->body, "answer")).p)
        p.answer = s;
    bool renewed = str_eqz(p.state, "stale");
    if ((s = json_get_str(c->body, "state")).p) {
        p.state = s;
        p.why = STR("");
    }
    renewed = renewed && str_eqz(p.state, "approved");
    p.changed_at = clock_wall_ms();
    e = approved_put(tx, &p);
    if (!e && renewed)
        e = approved_renew_sources(tx, &p.answer_id);
    if (!e && renewed)
        e = approved_get(tx, &c->id, c->arena, &p);
    if (e)
        return err_set(ei, e, NULL);
    entity_approved(&c->out, &p, NULL);
    return ERR_OK;
}

enum err api_answer_delete_write(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    enum err e = approved_delete(tx, &c->id);
    return e ? missing(ei, e, "answer") : ERR_OK;
}

enum err api_user_flag_write(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    enum err e = user_flag(tx, &c->id, json_get_bool(c->body, "flagged", false));
    return e ? missing(ei, e, "user") : ERR_OK;
}
