/* From a policy's JSON to struct policy. Every field is checked and unknown ones are refused, so
 * that a mistyped threshold does not silently leave a gap. See policy.h. */
#include <stdio.h>

#include "base/json.h"
#include "safety/literals.h"
#include "safety/normalise.h"
#include "safety/policy_internal.h"
#include "safety/words.h"

#define TEXT_MAX      4000
#define PATTERN_MAX   2000
#define PATH_SIZE     128
#define PATTERNS_MAX  500 /* of one rule */
#define COUNTRIES_MAX 300

struct reading {
    struct policy_data *d;
    struct errinfo *ei;
    char path[PATH_SIZE]; /* of the value at hand */
};

static enum err bad(struct reading *r, const char *what) {
    return err_param(r->ei, ERR_INVALID, r->path, "the policy's %s: %s", r->path, what);
}

static void set_path(struct reading *r, const char *a, const char *b, const char *c) {
    snprintf(r->path, sizeof r->path, "%s%s%s%s%s", a, *b ? "." : "", b, *c ? "." : "", c);
    r->path[utf8_cut(str_from(r->path), sizeof r->path - 1)] = 0;
}

static enum err take_text(struct reading *r, json_val *v, size_t max, struct str *ret) {
    struct str s = json_str(v);
    if (!s.p || s.n > max || memchr(s.p, 0, s.n))
        return bad(r, "must be a string without NUL, of reasonable length");
    *ret = arena_str(r->d->arena, s);
    return ret->p ? ERR_OK : ERR_NOMEM;
}

static enum err take_number(struct reading *r, json_val *v, double min, double max, double *ret) {
    if (!yyjson_is_num(v) || yyjson_get_num(v) < min || yyjson_get_num(v) > max) {
        char what[64];
        snprintf(what, sizeof what, "must be a number from %g to %g", min, max);
        return bad(r, what);
    }
    *ret = yyjson_get_num(v);
    return ERR_OK;
}

static enum err take_bool(struct reading *r, json_val *v, bool *ret) {
    if (!yyjson_is_bool(v))
        return bad(r, "must be true or false");
    *ret = yyjson_get_bool(v);
    return ERR_OK;
}

/* Calls fn for each member of an object. */
typedef enum err (*member_fn)(struct reading *r, struct str key, json_val *v, void *arg);
static enum err each_member(struct reading *r, json_val *obj, const char *where, member_fn fn,
                            void *arg) {
    size_t i, n;
    json_val *key, *v;
    if (!yyjson_is_obj(obj))
        return bad(r, "must be an object");
    yyjson_obj_foreach(obj, i, n, key, v) {
        struct str k = json_str(key);
        char name[64];
        snprintf(name, sizeof name, "%.*s", (int)utf8_cut(k, 60), k.p);
        set_path(r, where, name, "");
        enum err e = fn(r, k, v, arg);
        if (e)
            return e;
    }
    return ERR_OK;
}

/* ---- categories ---- */

static const char *const directions[] = {"input", "output", "passage"};

static int direction_of(struct str s) {
    for (int i = 0; i < POLICY_DIRECTIONS; i++)
        if (str_eqz(s, directions[i]))
            return i;
    return -1;
}

struct limits_target {
    struct policy_limits *limits; /* of POLICY_DIRECTIONS */
    int direction;                /* < 0 = all */
    char where[PATH_SIZE];
};

static enum err limits_member(struct reading *r, struct str key, json_val *v, void *arg) {
    struct limits_target *t = arg;
    int direction = direction_of(key);
    double x;
    if (direction >= 0 && t->direction < 0) {
        struct limits_target one = {t->limits, direction, ""};
        snprintf(one.where, sizeof one.where, "%s", r->path);
        return each_member(r, v, one.where, limits_member, &one);
    }
    size_t at = str_eqz(key, "annotate") ? offsetof(struct policy_limits, annotate)
                : str_eqz(key, "warn")   ? offsetof(struct policy_limits, warn)
                : str_eqz(key, "block")  ? offsetof(struct policy_limits, block)
                                         : SIZE_MAX;
    if (at == SIZE_MAX)
        return bad(r, "is not known; annotate, warn, block, input, output and passage are");
    x = 2;
    enum err e = yyjson_is_null(v) ? ERR_OK : take_number(r, v, 0, 1, &x);
    for (int d = 0; d < POLICY_DIRECTIONS && !e; d++)
        if (t->direction < 0 || t->direction == d)
            *(float *)((char *)&t->limits[d] + at) = (float)x;
    return e;
}

static enum err category_member(struct reading *r, struct str key, json_val *v, void *arg) {
    struct policy_role *role = arg;
    int c = safety_category_from_name(key);
    if (c < 0)
        return bad(r, "is no category");
    struct limits_target t = {role->limits[c], -1, ""};
    snprintf(t.where, sizeof t.where, "%s", r->path);
    return each_member(r, v, t.where, limits_member, &t);
}

/* ---- personal data ---- */

static enum err take_action(struct reading *r, json_val *v, enum safety_action *ret) {
    int a = safety_action_from_name(json_str(v));
    if (a < 0)
        return bad(r, "must be allow, annotate, redact, warn or block");
    *ret = (enum safety_action)a;
    return ERR_OK;
}

static enum err pii_direction_member(struct reading *r, struct str key, json_val *v, void *arg) {
    enum safety_action *actions = arg;
    int d = direction_of(key);
    return d < 0 ? bad(r, "is not known; input, output and passage are")
                 : take_action(r, v, &actions[d]);
}

static enum err pii_member(struct reading *r, struct str key, json_val *v, void *arg) {
    struct policy_role *role = arg;
    int k = pii_from_name(key);
    enum safety_action a = SAFETY_ALLOW;
    if (k < 0)
        return bad(r, "is no kind of personal data");
    if (yyjson_is_obj(v)) {
        char where[PATH_SIZE];
        snprintf(where, sizeof where, "%s", r->path);
        return each_member(r, v, where, pii_direction_member, role->pii[k]);
    }
    enum err e = take_action(r, v, &a);
    for (int d = 0; d < POLICY_DIRECTIONS && !e; d++)
        role->pii[k][d] = a;
    return e;
}

/* ---- words for people ---- */

static enum err refusal_member(struct reading *r, struct str key, json_val *v, void *arg) {
    struct policy_role *role = arg;
    int c = safety_category_from_name(key);
    if (str_eqz(key, "default"))
        return take_text(r, v, TEXT_MAX, &role->refusal);
    return c < 0 ? bad(r, "is no category") : take_text(r, v, TEXT_MAX, &role->refusals[c]);
}

static enum err resource_member(struct reading *r, struct str key, json_val *v, void *arg) {
    struct policy_data *d = arg;
    if (d->n_resources == COUNTRIES_MAX)
        return bad(r, "there are too many countries");
    if (!d->resources &&
        !(d->resources = arena_array(d->arena, COUNTRIES_MAX, sizeof *d->resources)))
        return ERR_NOMEM;
    struct resource *one = &d->resources[d->n_resources];
    one->country = arena_str(d->arena, key);
    enum err e = take_text(r, v, TEXT_MAX, &one->text);
    d->n_resources += !e;
    return one->country.p ? e : ERR_NOMEM;
}

/* What the base and each role may say. */
static enum err common_member(struct reading *r, struct str key, json_val *v,
                              struct policy_role *role) {
    char where[PATH_SIZE];
    snprintf(where, sizeof where, "%s", r->path);
    if (str_eqz(key, "categories"))
        return each_member(r, v, where, category_member, role);
    if (str_eqz(key, "pii"))
        return each_member(r, v, where, pii_member, role);
    if (str_eqz(key, "refusals"))
        return each_member(r, v, where, refusal_member, role);
    if (str_eqz(key, "warning"))
        return take_text(r, v, TEXT_MAX, &role->warning);
    if (str_eqz(key, "notice"))
        return take_text(r, v, TEXT_MAX, &role->notice);
    if (str_eqz(key, "country"))
        return take_text(r, v, 16, &role->country);
    if (str_eqz(key, "restore"))
        return take_bool(r, v, &role->restore);
    if (str_eqz(key, "canary"))
        return take_bool(r, v, &role->canary);
    return bad(r, "is not known here");
}

static enum err role_field_member(struct reading *r, struct str key, json_val *v, void *arg) {
    return common_member(r, key, v, arg);
}

static enum err role_member(struct reading *r, struct str key, json_val *v, void *arg) {
    struct policy_data *d = arg;
    char where[PATH_SIZE];
    if (d->p.n_roles == POLICY_ROLES_MAX)
        return bad(r, "there are too many roles");
    struct policy_role *role = &d->roles[d->p.n_roles++];
    *role = d->p.base;
    if (!(role->slug = arena_str(d->arena, key)).p)
        return ERR_NOMEM;
    snprintf(where, sizeof where, "%s", r->path);
    return each_member(r, v, where, role_field_member, role);
}

/* ---- rules ---- */

/* A pattern in double quotes is a fixed string; other patterns are of words. */
static enum err add_pattern(struct reading *r, struct str s, uint32_t id, struct safety_normal *n) {
    struct policy_data *d = r->d;
    struct errinfo why = {0};
    enum err e;
    if (!s.p || s.n == 0 || s.n > PATTERN_MAX)
        return bad(r, "must be a string of up to 2,000 bytes");
    if (s.n > 2 && s.p[0] == '"' && s.p[s.n - 1] == '"') {
        if ((e = safety_normalise(n, str_sub(s, 1, s.n - 2))))
            return e;
        e = literals_add(d->p.literals, str_sub(buf_str(&n->text), 0, n->decoded_from), id, &why);
    } else {
        e = words_add(d->p.words, s, id, &why);
    }
    return e == ERR_INVALID || e == ERR_TOO_LARGE ? bad(r, why.message) : e;
}

static enum err add_patterns(struct reading *r, json_val *list, const char *where, uint32_t id,
                             struct safety_normal *n) {
    size_t i, count;
    json_val *v;
    snprintf(r->path, sizeof r->path, "%s", where);
    if (!yyjson_is_arr(list) || yyjson_arr_size(list) == 0 || yyjson_arr_size(list) > PATTERNS_MAX)
        return bad(r, "must be a list of 1 to 500 patterns");
    yyjson_arr_foreach(list, i, count, v) {
        snprintf(r->path, sizeof r->path, "%s[%zu]", where, i);
        enum err e = add_pattern(r, json_str(v), id, n);
        if (e)
            return e;
    }
    return ERR_OK;
}

static enum err take_directions(struct reading *r, json_val *list, struct policy_rule *rule) {
    size_t i, n;
    json_val *v;
    if (!yyjson_is_arr(list) || yyjson_arr_size(list) == 0)
        return bad(r, "must be a list of input, output and passage");
    memset(rule->on, 0, sizeof rule->on);
    yyjson_arr_foreach(list, i, n, v) {
        int d = direction_of(json_str(v));
        if (d < 0)
            return bad(r, "must be a list of input, output and passage");
        rule->on[d] = true;
    }
    return ERR_OK;
}

struct rule_target {
    struct policy_rule *rule;
    uint32_t number;
    bool has_match, has_category;
    struct safety_normal *n;
};

static enum err rule_member(struct reading *r, struct str key, json_val *v, void *arg) {
    struct rule_target *t = arg;
    char where[PATH_SIZE];
    double x = 0;
    enum err e;
    snprintf(where, sizeof where, "%s", r->path);
    if (str_eqz(key, "id"))
        return take_text(r, v, 50, &t->rule->id);
    if (str_eqz(key, "category")) {
        int c = safety_category_from_name(json_str(v));
        t->has_category = c >= 0;
        t->rule->category = (enum safety_category)(c < 0 ? 0 : c);
        return c < 0 ? bad(r, "is no category") : ERR_OK;
    }
    if (str_eqz(key, "score")) {
        e = take_number(r, v, 0, 1, &x);
        t->rule->score = (float)x;
        return e;
    }
    if (str_eqz(key, "on"))
        return take_directions(r, v, t->rule);
    if (str_eqz(key, "match")) {
        t->has_match = true;
        return add_patterns(r, v, where, t->number * 2, t->n);
    }
    if (str_eqz(key, "unless")) {
        t->rule->has_unless = true;
        return add_patterns(r, v, where, t->number * 2 + 1, t->n);
    }
    return str_eqz(key, "about") ? ERR_OK : bad(r, "is not known in a rule");
}

static enum err take_rules(struct reading *r, json_val *list) {
    struct policy_data *d = r->d;
    struct safety_normal n;
    size_t i, count;
    json_val *v;
    enum err e = ERR_OK;
    if (!yyjson_is_arr(list) || yyjson_arr_size(list) > POLICY_RULES_MAX)
        return bad(r, "must be a list of up to 4,000 rules");
    d->rules = arena_array(d->arena, yyjson_arr_size(list) + 1, sizeof *d->rules);
    if (!d->rules)
        return ERR_NOMEM;
    safety_normal_init(&n);
    yyjson_arr_foreach(list, i, count, v) {
        struct policy_rule *rule = &d->rules[i];
        struct rule_target t = {rule, (uint32_t)i, false, false, &n};
        char where[32];
        snprintf(where, sizeof where, "rules[%zu]", i);
        *rule = (struct policy_rule){.score = 1, .on = {true, true, false}};
        e = each_member(r, v, where, rule_member, &t);
        snprintf(r->path, sizeof r->path, "%s", where);
        if (!e && (!rule->id.n || !t.has_category || !t.has_match))
            e = bad(r, "needs id, category and match");
        if (e)
            break;
        d->p.n_rules++;
    }
    safety_normal_deinit(&n);
    return e;
}

/* ---- the rest ---- */

static enum err step_member(struct reading *r, struct str key, json_val *v, void *arg) {
    struct policy_step *s = arg;
    int *to = str_eqz(key, "blocks")            ? &s->blocks
              : str_eqz(key, "minutes")         ? &s->minutes
              : str_eqz(key, "wait_seconds")    ? &s->wait_seconds
              : str_eqz(key, "suspend_minutes") ? &s->suspend_minutes
                                                : NULL;
    double x = 0;
    if (!to)
        return bad(r, "is not known; blocks, minutes, wait_seconds and suspend_minutes are");
    enum err e = take_number(r, v, 1, 1000000, &x);
    *to = (int)x;
    return e;
}

static enum err take_steps(struct reading *r, json_val *list) {
    size_t i, n;
    json_val *v;
    if (!yyjson_is_arr(list) || yyjson_arr_size(list) > POLICY_STEPS_MAX)
        return bad(r, "must be a list of up to 8 steps");
    yyjson_arr_foreach(list, i, n, v) {
        struct policy_step s = {0};
        char where[32];
        snprintf(where, sizeof where, "abuse[%zu]", i);
        enum err e = each_member(r, v, where, step_member, &s);
        snprintf(r->path, sizeof r->path, "%s", where);
        if (!e && (!s.blocks || !s.minutes || !s.wait_seconds == !s.suspend_minutes))
            e = bad(r, "needs blocks, minutes, and one of wait_seconds and suspend_minutes");
        if (e)
            return e;
        r->d->p.steps[r->d->p.n_steps++] = s;
    }
    return ERR_OK;
}

static enum err band_member(struct reading *r, struct str key, json_val *v, void *arg) {
    struct policy *p = arg;
    double x = 0;
    float *to = str_eqz(key, "from") ? &p->band_from : str_eqz(key, "to") ? &p->band_to : NULL;
    if (!to)
        return bad(r, "is not known; from and to are");
    enum err e = take_number(r, v, 0, 1, &x);
    *to = (float)x;
    return e;
}

static enum err root_member(struct reading *r, struct str key, json_val *v, void *arg) {
    struct policy_data *d = arg;
    double x = 0;
    enum err e;
    snprintf(r->path, sizeof r->path, "%.*s", (int)utf8_cut(key, 60), key.p);
    if (str_eqz(key, "about") || str_eqz(key, "roles"))
        return ERR_OK; /* roles: when the base is complete */
    if (str_eqz(key, "rules"))
        return take_rules(r, v);
    if (str_eqz(key, "resources"))
        return each_member(r, v, "resources", resource_member, d);
    if (str_eqz(key, "abuse"))
        return take_steps(r, v);
    if (str_eqz(key, "uncertain"))
        return each_member(r, v, "uncertain", band_member, &d->p);
    if (str_eqz(key, "context_turns")) {
        e = take_number(r, v, 0, 16, &x);
        d->p.context_turns = (int)x;
        return e;
    }
    return common_member(r, key, v, &d->p.base);
}

enum err policy_read(struct policy_data *d, const json_val *root, struct errinfo *ei) {
    struct reading r = {.d = d, .ei = ei, .path = "text"};
    enum err e = each_member(&r, (json_val *)root, "", root_member, d);
    json_val *roles = json_get(root, "roles");
    if (!e && roles) {
        d->roles = arena_array(d->arena, POLICY_ROLES_MAX, sizeof *d->roles);
        snprintf(r.path, sizeof r.path, "roles");
        e = d->roles ? each_member(&r, roles, "roles", role_member, d) : ERR_NOMEM;
    }
    if (!e)
        e = words_build(d->p.words);
    if (!e)
        e = literals_build(d->p.literals);
    return e;
}
