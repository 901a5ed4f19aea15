/* Checking values against tables of fields, and writing the tables as JSON Schema. */
#include "api/schema.h"

#include <math.h>
#include <stdio.h>

#include "api/out.h"
#include "auth/auth.h"
#include "base/uuid.h"

#define PATH_MAX_LEN 64

static const char *const type_names[] = {
    [F_ANY] = "any value",   [F_STRING] = "a string",       [F_INTEGER] = "an integer",
    [F_NUMBER] = "a number", [F_BOOLEAN] = "true or false", [F_OBJECT] = "an object",
    [F_ARRAY] = "an array",
};

static const char *value_kind(const json_val *v) {
    switch (yyjson_get_type((yyjson_val *)v)) {
    case YYJSON_TYPE_NULL:
        return "null";
    case YYJSON_TYPE_BOOL:
        return "a boolean";
    case YYJSON_TYPE_NUM:
        return "a number";
    case YYJSON_TYPE_STR:
        return "a string";
    case YYJSON_TYPE_ARR:
        return "an array";
    default:
        return "an object";
    }
}

static bool is_whole(double d) {
    return d == floor(d) && fabs(d) <= 9007199254740992.0;
}

static bool type_matches(enum field_type t, const json_val *cv) {
    yyjson_val *v = (yyjson_val *)cv;
    switch (t) {
    case F_STRING:
        return yyjson_is_str(v);
    case F_INTEGER:
        return yyjson_is_int(v) || (yyjson_is_real(v) && is_whole(yyjson_get_real(v)));
    case F_NUMBER:
        return yyjson_is_num(v);
    case F_BOOLEAN:
        return yyjson_is_bool(v);
    case F_OBJECT:
        return yyjson_is_obj(v);
    case F_ARRAY:
        return yyjson_is_arr(v);
    case F_ANY:
        break;
    }
    return true;
}

static size_t characters(struct str s) {
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++)
        n += ((unsigned char)s.p[i] & 0xc0) != 0x80;
    return n;
}

/* "from 1 to 200", "at least 1", "at most 64" */
static enum err range_error(struct errinfo *ei, const char *path, double min, double max,
                            const char *unit) {
    if (min != 0 && max != 0)
        return err_param(ei, ERR_INVALID, path, "%s must have from %g to %.15g%s", path, min, max,
                         unit);
    if (max != 0)
        return err_param(ei, ERR_INVALID, path, "%s must have at most %.15g%s", path, max, unit);
    if (min == 1)
        return err_param(ei, ERR_INVALID, path, "%s may not be empty", path);
    return err_param(ei, ERR_INVALID, path, "%s must have at least %g%s", path, min, unit);
}

static bool in_range(double v, double min, double max) {
    return (min == 0 && max == 0) || (v >= min && (max == 0 || v <= max));
}

static enum err check_number(const struct field *f, double v, const char *path,
                             struct errinfo *ei) {
    if (in_range(v, f->min, f->max))
        return ERR_OK;
    if (f->max != 0)
        return err_param(ei, ERR_INVALID, path, "%s must be from %g to %.15g", path, f->min,
                         f->max);
    return err_param(ei, ERR_INVALID, path, "%s must be at least %g", path, f->min);
}

static enum err check_values(const struct field *f, struct str s, const char *path,
                             struct errinfo *ei) {
    char allowed[256];
    size_t n = 0;
    for (const char *const *p = f->values; *p; p++) {
        if (str_eqz(s, *p))
            return ERR_OK;
        int k = snprintf(allowed + n, sizeof allowed - n, "%s%s", n ? ", " : "", *p);
        if (k > 0 && n + (size_t)k < sizeof allowed)
            n += (size_t)k;
    }
    allowed[n] = 0;
    return err_param(ei, ERR_INVALID, path, "%s must be one of: %s", path, allowed);
}

static enum err check_format(enum field_format format, struct str s, const char *path,
                             struct errinfo *ei) {
    struct uuid id;
    switch (format) {
    case FORMAT_UUID:
        if (!uuid_parse(s, &id))
            return err_param(ei, ERR_INVALID, path, "%s must be a UUID", path);
        return ERR_OK;
    case FORMAT_USERNAME:
        return auth_check_username(s, ei);
    case FORMAT_EMAIL:
        return auth_check_email(s, ei);
    case FORMAT_PASSWORD:
        return auth_check_password(s, ei);
    case FORMAT_TIME:
    case FORMAT_NONE:
        break;
    }
    return ERR_OK;
}

static bool has_nul(struct str s) {
    return s.n && memchr(s.p, 0, s.n);
}

static enum err nul_error(const char *path, struct errinfo *ei) {
    return err_param(ei, ERR_INVALID, path, "%s may not contain NUL", path);
}

/* In a value without a table of its own; the parser has bounded its depth. */
static bool has_nul_inside(yyjson_val *v) {
    size_t i, n;
    yyjson_val *key, *x;
    bool found = yyjson_is_str(v) && has_nul(json_str(v));
    if (yyjson_is_arr(v))
        yyjson_arr_foreach(v, i, n, x) found = found || has_nul_inside(x);
    else if (yyjson_is_obj(v))
        yyjson_obj_foreach(v, i, n, key, x) {
            found = found || has_nul(json_str(key)) || has_nul_inside(x);
        }
    return found;
}

static enum err check_string(const struct field *f, struct str s, const char *path,
                             struct errinfo *ei) {
    if (has_nul(s))
        return nul_error(path, ei);
    if (f->values)
        return check_values(f, s, path, ei);
    if (!in_range((double)characters(s), f->min, f->max))
        return range_error(ei, path, f->min, f->max, " characters");
    return check_format(f->format, s, path, ei);
}

static enum err check_object(const struct schema *s, const json_val *v, const char *prefix,
                             struct errinfo *ei);

static enum err check_value(const struct field *f, const json_val *v, const char *path,
                            struct errinfo *ei);

static enum err check_array(const struct field *f, const json_val *v, const char *path,
                            struct errinfo *ei) {
    char at[PATH_MAX_LEN];
    struct field item = {.name = f->name, .type = f->item, .max = f->item_max, .ref = f->ref};
    size_t i, n;
    yyjson_val *x;
    if (!in_range((double)yyjson_arr_size((yyjson_val *)v), f->min, f->max))
        return range_error(ei, path, f->min, f->max, " items");
    yyjson_arr_foreach((yyjson_val *)v, i, n, x) {
        snprintf(at, sizeof at, "%s[%zu]", path, i);
        enum err e = check_value(&item, x, at, ei);
        if (e)
            return e;
    }
    return ERR_OK;
}

static enum err check_value(const struct field *f, const json_val *v, const char *path,
                            struct errinfo *ei) {
    if (yyjson_is_null((yyjson_val *)v) && (f->flags & FIELD_NULLABLE))
        return ERR_OK;
    if (!type_matches(f->type, v))
        return err_param(ei, ERR_INVALID, path, "%s must be %s%s, not %s", path,
                         type_names[f->type], f->flags & FIELD_NULLABLE ? " or null" : "",
                         value_kind(v));
    switch (f->type) {
    case F_STRING:
        return check_string(f, json_str(v), path, ei);
    case F_INTEGER:
    case F_NUMBER:
        return check_number(f, yyjson_get_num((yyjson_val *)v), path, ei);
    case F_OBJECT:
        return f->ref                            ? check_object(f->ref, v, path, ei)
               : has_nul_inside((yyjson_val *)v) ? nul_error(path, ei)
                                                 : ERR_OK;
    case F_ARRAY:
        return check_array(f, v, path, ei);
    case F_ANY:
        return has_nul_inside((yyjson_val *)v) ? nul_error(path, ei) : ERR_OK;
    case F_BOOLEAN:
        break;
    }
    return ERR_OK;
}

static enum err unknown(const struct schema *s, const char *what, struct str key, const char *path,
                        struct errinfo *ei) {
    char allowed[300];
    size_t n = 0;
    for (const struct field *f = s ? s->fields : NULL; f && f->name; f++) {
        int k = snprintf(allowed + n, sizeof allowed - n, "%s%s", n ? ", " : "", f->name);
        if (k > 0 && n + (size_t)k < sizeof allowed)
            n += (size_t)k;
    }
    allowed[n] = 0;
    return err_param(ei, ERR_UNKNOWN_FIELD, path, "the %s \"%.*s\" is not known here; %s%s", what,
                     (int)utf8_cut(key, 60), key.p, n ? "known are: " : "none are taken", allowed);
}

static enum err unknown_field(const struct schema *s, struct str key, const char *path,
                              struct errinfo *ei) {
    return unknown(s, "field", key, path, ei);
}

static void path_join(char out[PATH_MAX_LEN], const char *prefix, struct str key) {
    snprintf(out, PATH_MAX_LEN, "%s%s%.*s", prefix, *prefix ? "." : "", (int)utf8_cut(key, 40),
             key.p ? key.p : "");
}

static const struct field *field_find(const struct schema *s, struct str key) {
    for (const struct field *f = s->fields; f->name; f++)
        if (str_eqz(key, f->name))
            return f;
    return NULL;
}

enum err schema_check_query_name(const struct schema *s, struct str name, size_t *ret_field,
                                 struct errinfo *ei) {
    const struct field *f = s ? field_find(s, name) : NULL;
    if (f) {
        *ret_field = (size_t)(f - s->fields);
        return ERR_OK;
    }
    char param[PATH_MAX_LEN];
    path_join(param, "", name);
    return unknown(s, "query parameter", name, *param ? param : "query", ei);
}

static enum err check_object(const struct schema *s, const json_val *v, const char *prefix,
                             struct errinfo *ei) {
    char path[PATH_MAX_LEN];
    size_t i, n;
    yyjson_val *key, *member;
    yyjson_obj_foreach((yyjson_val *)v, i, n, key, member) {
        const struct field *f = field_find(s, json_str(key));
        enum err e = ERR_OK;
        path_join(path, prefix, json_str(key));
        if (f)
            e = check_value(f, member, path, ei);
        else if (!s->open)
            e = unknown_field(s, json_str(key), path, ei);
        if (e)
            return e;
    }
    for (const struct field *f = s->fields; f->name; f++) {
        if (!(f->flags & FIELD_REQUIRED) || json_get(v, f->name))
            continue;
        path_join(path, prefix, str_from(f->name));
        return err_param(ei, ERR_INVALID, path, "%s is missing; it must be %s", path,
                         f->type == F_ANY && f->about ? f->about : type_names[f->type]);
    }
    return ERR_OK;
}

enum err schema_check(const struct schema *s, const json_val *v, struct errinfo *ei) {
    if (!yyjson_is_obj((yyjson_val *)v))
        return err_set(ei, ERR_INVALID, "the body must be a JSON object, not %s", value_kind(v));
    return check_object(s, v, "", ei);
}

enum err schema_check_text(const struct field *f, struct str text, struct errinfo *ei) {
    int64_t n = 0;
    switch (f->type) {
    case F_INTEGER:
        if (!str_to_i64(text, &n))
            return err_param(ei, ERR_INVALID, f->name, "%s must be an integer", f->name);
        return check_number(f, (double)n, f->name, ei);
    case F_BOOLEAN:
        if (!str_eq(text, STR("true")) && !str_eq(text, STR("false")))
            return err_param(ei, ERR_INVALID, f->name, "%s must be true or false", f->name);
        return ERR_OK;
    default:
        return check_string(f, text, f->name, ei);
    }
}

/* ---- as JSON Schema ---- */

static const char *const schema_types[] = {
    [F_STRING] = "string",   [F_INTEGER] = "integer", [F_NUMBER] = "number",
    [F_BOOLEAN] = "boolean", [F_OBJECT] = "object",   [F_ARRAY] = "array",
};

static void write_type(struct buf *b, const struct field *f) {
    if (f->type == F_ANY)
        return;
    if (!(f->flags & FIELD_NULLABLE)) {
        out_strz(b, "type", schema_types[f->type]);
        return;
    }
    out_open(b, "type", '[');
    out_strz(b, NULL, schema_types[f->type]);
    out_strz(b, NULL, "null");
    out_close(b, ']');
}

static void write_bounds(struct buf *b, const struct field *f) {
    static const char *const names[][2] = {
        [F_STRING] = {"minLength", "maxLength"},
        [F_INTEGER] = {"minimum", "maximum"},
        [F_NUMBER] = {"minimum", "maximum"},
        [F_ARRAY] = {"minItems", "maxItems"},
    };
    if (f->min == 0 && f->max == 0)
        return;
    if (f->type == F_ANY || f->type == F_BOOLEAN || f->type == F_OBJECT)
        return;
    out_num(b, names[f->type][0], f->min);
    if (f->max != 0)
        out_num(b, names[f->type][1], f->max);
}

static void write_format(struct buf *b, enum field_format format) {
    switch (format) {
    case FORMAT_UUID:
        out_strz(b, "format", "uuid");
        break;
    case FORMAT_TIME:
        out_strz(b, "format", "date-time");
        break;
    case FORMAT_USERNAME:
        out_strz(b, "pattern", "^[A-Za-z0-9._-]{2,64}$");
        break;
    case FORMAT_EMAIL:
        out_strz(b, "format", "email");
        break;
    case FORMAT_PASSWORD:
        out_strz(b, "format", "password");
        break;
    case FORMAT_NONE:
        break;
    }
}

static void write_ref(struct buf *b, const struct schema *s) {
    out_open(b, NULL, '{');
    out_key(b, "$ref");
    buf_addf(b, "\"#/components/schemas/%s\"", s->name);
    out_close(b, '}');
}

static void write_items(struct buf *b, const struct field *f) {
    struct field item = {.type = f->item, .max = f->item_max};
    out_key(b, "items");
    if (f->ref)
        write_ref(b, f->ref);
    else
        schema_write_field(b, &item);
}

void schema_write_field(struct buf *b, const struct field *f) {
    out_open(b, NULL, '{');
    if (f->type == F_OBJECT && f->ref) {
        out_open(b, "anyOf", '[');
        out_item(b);
        write_ref(b, f->ref);
        if (f->flags & FIELD_NULLABLE)
            out_raw(b, NULL, STR("{\"type\":\"null\"}"));
        out_close(b, ']');
    } else {
        write_type(b, f);
        write_bounds(b, f);
        write_format(b, f->format);
    }
    if (f->values) {
        out_open(b, "enum", '[');
        for (const char *const *p = f->values; *p; p++)
            out_strz(b, NULL, *p);
        if (f->flags & FIELD_NULLABLE)
            out_raw(b, NULL, STR("null"));
        out_close(b, ']');
    }
    if (f->type == F_ARRAY)
        write_items(b, f);
    if (f->about)
        out_strz(b, "description", f->about);
    out_close(b, '}');
}

void schema_write(struct buf *b, const struct schema *s) {
    out_open(b, NULL, '{');
    out_strz(b, "type", "object");
    if (s->about)
        out_strz(b, "description", s->about);
    out_open(b, "properties", '{');
    bool any = false;
    for (const struct field *f = s->fields; f->name; f++) {
        out_key(b, f->name);
        schema_write_field(b, f);
        any = any || (f->flags & FIELD_REQUIRED);
    }
    out_close(b, '}');
    if (any) {
        out_open(b, "required", '[');
        for (const struct field *f = s->fields; f->name; f++)
            if (f->flags & FIELD_REQUIRED)
                out_strz(b, NULL, f->name);
        out_close(b, ']');
    }
    if (!s->open)
        out_raw(b, "additionalProperties", STR("false"));
    out_close(b, '}');
}
