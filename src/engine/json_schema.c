#include "engine/json_schema.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "engine/json_pattern.h"
#include "engine/json_rules.h"

#define ARENA_MAX      (4u << 20)
#define SCHEMAS_MAX    1024
#define PROPERTIES_MAX 512
#define ENUM_MAX       2048
#define COUNT_MAX      100000 /* of items and characters */

struct place { /* a schema that has a rule */
    const json_val *schema;
    const char *path; /* in arena */
    int rule;
};

struct compiler {
    struct grammar *g;
    struct arena *arena;
    const json_val *root;
    const char *name;
    struct place places[SCHEMAS_MAX];
    int n_places;
    struct errinfo *ei;
};

static enum err refuse(struct compiler *c, const char *path, const char *what) {
    return err_set(c->ei, ERR_INVALID, "\"%.200s\": %s", path, what);
}

static json_val *get(const json_val *schema, const char *key) {
    return json_get(schema, key);
}

/* The rule of a schema; its code is made later. -1 = too many schemas. */
static int rule_of(struct compiler *c, const json_val *schema, const char *path) {
    if (yyjson_is_true((json_val *)schema) ||
        (yyjson_is_obj((json_val *)schema) && yyjson_obj_size((json_val *)schema) == 0))
        return JSON_RULE_VALUE;
    for (int i = 0; i < c->n_places; i++)
        if (c->places[i].schema == schema)
            return c->places[i].rule;
    if (c->n_places == SCHEMAS_MAX || !path)
        return -1;
    int rule = c->n_places ? grammar_rule_new(c->g) : JSON_RULE_ROOT;
    c->places[c->n_places++] = (struct place){schema, path, rule};
    return rule;
}

static enum err call(struct compiler *c, const json_val *schema, const char *path) {
    int rule = rule_of(c, schema, path);
    if (rule < 0)
        return err_set(c->ei, ERR_TOO_LARGE, "\"%.100s\" has more than %d schemas", c->name,
                       SCHEMAS_MAX);
    json_call(c->g, rule);
    return ERR_OK;
}

/* ---- keywords ---- */

/* A count that is not given stays as it is. */
static enum err get_count(struct compiler *c, const json_val *s, const char *path, const char *key,
                          uint32_t *ret) {
    json_val *v = get(s, key);
    double n = v ? yyjson_get_num(v) : 0;
    if (!v)
        return ERR_OK;
    if (!yyjson_is_num(v) || !(n >= 0) || n != floor(n))
        return refuse(c, arena_printf(c->arena, "%s.%s", path, key), "must be a whole number");
    if (n > COUNT_MAX)
        return refuse(c, arena_printf(c->arena, "%s.%s", path, key), "must be at most 100000");
    *ret = (uint32_t)n;
    return ERR_OK;
}

static enum err get_number(struct compiler *c, const json_val *s, const char *path, const char *key,
                           bool *ret_given, double *ret) {
    json_val *v = get(s, key);
    *ret_given = v != NULL;
    if (v && !yyjson_is_num(v))
        return refuse(c, arena_printf(c->arena, "%s.%s", path, key), "must be a number");
    if (v)
        *ret = yyjson_get_num(v);
    return ERR_OK;
}

static enum err check_keywords(struct compiler *c, const json_val *s, const char *path) {
    static const char *const refused[] = {
        "not",
        "if",
        "then",
        "else",
        "dependentRequired",
        "dependentSchemas",
        "dependencies",
        "patternProperties",
        "propertyNames",
        "unevaluatedProperties",
        "unevaluatedItems",
        "contains",
        "minContains",
        "maxContains",
        "uniqueItems",
        "multipleOf",
        "minProperties",
        "additionalItems",
        "$dynamicRef",
        "$recursiveRef",
    };
    static const char *const whole[] = {"$ref", "const", "enum", "anyOf", "oneOf", "allOf"};
    static const char *const asserting[] = {
        "type",      "properties",       "required",         "additionalProperties",
        "items",     "prefixItems",      "minItems",         "maxItems",
        "minLength", "maxLength",        "pattern",          "minimum",
        "maximum",   "exclusiveMinimum", "exclusiveMaximum", "maxProperties",
    };
    const char *first = NULL;
    for (size_t i = 0; i < sizeof(refused) / sizeof(*refused); i++) {
        json_val *v = get(s, refused[i]);
        if (v && !yyjson_is_false(v))
            return refuse(c, arena_printf(c->arena, "%s.%s", path, refused[i]),
                          "this keyword is not supported");
    }
    for (size_t i = 0; i < sizeof(whole) / sizeof(*whole); i++) {
        if (!get(s, whole[i]))
            continue;
        if (first)
            return refuse(
                c, path,
                arena_printf(c->arena, "\"%s\" beside \"%s\" is not supported", whole[i], first));
        first = whole[i];
    }
    /* "type" beside "enum" and "const" only chooses among the values. */
    bool values = first && (strcmp(first, "enum") == 0 || strcmp(first, "const") == 0);
    for (size_t i = values ? 1 : 0; first && i < sizeof(asserting) / sizeof(*asserting); i++)
        if (get(s, asserting[i]))
            return refuse(c, path,
                          arena_printf(c->arena, "\"%s\" beside \"%s\" is not supported",
                                       asserting[i], first));
    return ERR_OK;
}

/* ---- values ---- */

static bool has_type(const json_val *v, struct str type) {
    json_val *m = (json_val *)v;
    if (str_eqz(type, "integer"))
        return yyjson_is_int(m) ||
               (yyjson_is_real(m) && yyjson_get_real(m) == floor(yyjson_get_real(m)));
    return (str_eqz(type, "null") && yyjson_is_null(m)) ||
           (str_eqz(type, "boolean") && yyjson_is_bool(m)) ||
           (str_eqz(type, "string") && yyjson_is_str(m)) ||
           (str_eqz(type, "number") && yyjson_is_num(m)) ||
           (str_eqz(type, "array") && yyjson_is_arr(m)) ||
           (str_eqz(type, "object") && yyjson_is_obj(m));
}

static bool type_allows(const json_val *types, const json_val *v) {
    size_t i, max;
    json_val *t;
    if (!types)
        return true;
    if (yyjson_is_str((json_val *)types))
        return has_type(v, json_str(types));
    yyjson_arr_foreach((json_val *)types, i, max, t) if (has_type(v, json_str(t))) return true;
    return false;
}

static int compare_texts(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Sorted texts as a tree of their bytes: however many there are, few ways are open at a time. */
static void emit_tree(struct grammar *g, char **texts, size_t n, size_t at) {
    struct grammar_alternatives alt = GRAMMAR_ALTERNATIVES_INIT;
    while (n == 1 && texts[0][at])
        grammar_emit(g, GRAMMAR_BYTE, (unsigned char)texts[0][at++], 0);
    if (n == 1)
        return;
    for (size_t i = 0, end; i < n; i = end) {
        char byte = texts[i][at];
        for (end = i + 1; end < n && texts[end][at] == byte;)
            end++;
        if (byte == 0 && i == 0 && end == n)
            return;
        bool fork = i > 0 || end < n;
        if (fork)
            grammar_or(g, &alt);
        if (byte) {
            grammar_emit(g, GRAMMAR_BYTE, (unsigned char)byte, 0);
            emit_tree(g, texts + i, end - i, at + 1);
        }
        if (fork && end == n)
            grammar_or_end(g, &alt);
    }
}

static enum err emit_values(struct compiler *c, const json_val *s, const char *path) {
    json_val *list = get(s, "enum"), *one = get(s, "const"), *types = get(s, "type"), *v;
    size_t i, max, n = 0, room = one ? 1 : yyjson_arr_size(list);
    if (!one && (!yyjson_is_arr(list) || room > ENUM_MAX))
        return refuse(c, path, "\"enum\" must be a list of at most 2048 values");
    char **texts = arena_array(c->arena, room + 1, sizeof(*texts));
    struct buf text;
    if (!texts)
        return err_set(c->ei, ERR_TOO_LARGE, NULL);
    buf_init(&text, 65536);
    for (i = 0, max = room; i < max; i++) {
        v = one ? one : yyjson_arr_get(list, i);
        if (!type_allows(types, v))
            continue;
        buf_clear(&text);
        json_write(&text, v);
        texts[n++] = buf_err(&text) ? NULL : arena_strz(c->arena, buf_str(&text));
        if (!texts[n - 1]) {
            buf_deinit(&text);
            return err_set(c->ei, ERR_TOO_LARGE, "\"%.200s\": its values are too long", path);
        }
    }
    buf_deinit(&text);
    if (n == 0)
        return refuse(c, path,
                      types ? "no value of \"enum\" has this \"type\", so nothing can meet it"
                            : "\"enum\" is empty, so nothing can meet it");
    qsort(texts, n, sizeof(*texts), compare_texts);
    emit_tree(c->g, texts, n, 0);
    return ERR_OK;
}

/* ---- strings and numbers ---- */

static bool emit_format(struct grammar *g, struct str format, int any_char) {
    static const struct {
        const char *name, *pattern;
    } formats[] = {
        {"date", "^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])$"},
        {"time",
         "^([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,6})?(Z|[+-]([01][0-9]|2[0-3]):"
         "[0-5][0-9])$"},
        {"date-time",
         "^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]"
         "(\\.[0-9]{1,6})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$"},
        {"uuid", "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"},
    };
    for (size_t i = 0; i < sizeof(formats) / sizeof(*formats); i++)
        if (str_eqz(format, formats[i].name))
            return json_pattern_emit(g, str_from(formats[i].pattern), any_char, NULL) == ERR_OK;
    return false;
}

static enum err emit_string(struct compiler *c, const json_val *s, const char *path) {
    json_val *pattern = get(s, "pattern");
    uint32_t min = 0, max = GRAMMAR_MANY;
    struct errinfo why;
    enum err e = get_count(c, s, path, "minLength", &min);
    e = e ? e : get_count(c, s, path, "maxLength", &max);
    if (e)
        return e;
    if (min > max)
        return refuse(c, path, "minLength is above maxLength, so nothing can meet it");
    bool length = min > 0 || max != GRAMMAR_MANY;
    if (pattern && !yyjson_is_str(pattern))
        return refuse(c, path, "\"pattern\" must be a string");
    if (pattern && length)
        return refuse(c, path,
                      "\"pattern\" beside a length is not supported; put it into the pattern");
    grammar_text(c->g, STR("\""));
    if (pattern) {
        e = json_pattern_emit(c->g, json_str(pattern), JSON_RULE_CHAR, &why);
        if (e)
            return refuse(c, path, why.message);
    } else if (length || !emit_format(c->g, json_get_str(s, "format"), JSON_RULE_CHAR)) {
        int begin = grammar_repeat_begin(c->g, min, max);
        json_call(c->g, JSON_RULE_CHAR);
        grammar_repeat_end(c->g, begin);
    }
    grammar_text(c->g, STR("\""));
    return ERR_OK;
}

static enum err emit_number(struct compiler *c, const json_val *s, const char *path, bool whole) {
    const double most = (double)JSON_INTEGER_MOST;
    double lo = -most, hi = most, above = 0, below = 0;
    bool has_lo, has_hi, has_above, has_below;
    enum err e = get_number(c, s, path, "minimum", &has_lo, &lo);
    e = e ? e : get_number(c, s, path, "maximum", &has_hi, &hi);
    e = e ? e : get_number(c, s, path, "exclusiveMinimum", &has_above, &above);
    e = e ? e : get_number(c, s, path, "exclusiveMaximum", &has_below, &below);
    if (e)
        return e;
    if (!has_lo && !has_hi && !has_above && !has_below) {
        json_call(c->g, whole ? JSON_RULE_INTEGER : JSON_RULE_NUMBER);
        return ERR_OK;
    }
    bool lo_out = has_above && above >= lo, hi_out = has_below && below <= hi;
    lo = lo_out ? above : lo;
    hi = hi_out ? below : hi;
    if (!(lo <= hi) || (lo == hi && (lo_out || hi_out)) || lo > most || hi < -most)
        return refuse(c, path, "no number is in this range, so nothing can meet it");
    lo = lo < -most ? -most : lo;
    hi = hi > most ? most : hi;
    bool any = whole ? json_integers_emit(c->g, (int64_t)(lo_out ? floor(lo) + 1 : ceil(lo)),
                                          (int64_t)(hi_out ? ceil(hi) - 1 : floor(hi)))
                     : json_numbers_emit(c->g, lo, lo_out, hi, hi_out);
    return any ? ERR_OK
               : refuse(c, path,
                        whole ? "no whole number is in this range, so nothing can meet it"
                              : "a range without a whole number is not supported");
}

/* ---- arrays ---- */

static enum err emit_tuple(struct compiler *c, const json_val *s, const char *path, uint32_t min,
                           uint32_t max) {
    json_val *list = get(s, "prefixItems"), *v;
    size_t i, n = yyjson_arr_size(list);
    if (!yyjson_is_arr(list))
        return refuse(c, path, "\"prefixItems\" must be a list");
    if (n < min || n > max)
        return refuse(c, path,
                      "only arrays with one item for each of \"prefixItems\" are supported");
    grammar_text(c->g, STR("["));
    json_call(c->g, JSON_RULE_SPACE);
    yyjson_arr_foreach(list, i, n, v) {
        if (i) {
            grammar_text(c->g, STR(","));
            json_call(c->g, JSON_RULE_SPACE);
        }
        enum err e = call(c, v, arena_printf(c->arena, "%s.prefixItems[%zu]", path, i));
        if (e)
            return e;
    }
    json_call(c->g, JSON_RULE_SPACE);
    grammar_text(c->g, STR("]"));
    return ERR_OK;
}

static enum err emit_array(struct compiler *c, const json_val *s, const char *path) {
    json_val *items = get(s, "items");
    struct grammar_alternatives alt = GRAMMAR_ALTERNATIVES_INIT;
    const char *below = arena_printf(c->arena, "%s.items", path);
    uint32_t min = 0, max = GRAMMAR_MANY;
    enum err e = get_count(c, s, path, "minItems", &min);
    e = e ? e : get_count(c, s, path, "maxItems", &max);
    if (e)
        return e;
    if (min > max)
        return refuse(c, path, "minItems is above maxItems, so nothing can meet it");
    if (get(s, "prefixItems"))
        return emit_tuple(c, s, path, min, max);
    bool none = max == 0 || yyjson_is_false(items);
    if (none && min > 0)
        return refuse(c, path,
                      "no items are allowed and minItems asks for some, so nothing can meet it");
    int rule = none || !items ? JSON_RULE_VALUE : rule_of(c, items, below);
    if (rule < 0)
        return err_set(c->ei, ERR_TOO_LARGE, NULL);
    grammar_text(c->g, STR("["));
    json_call(c->g, JSON_RULE_SPACE);
    if (min == 0)
        grammar_or(c->g, &alt);
    if (!none) {
        grammar_or(c->g, &alt);
        json_call(c->g, rule);
        int begin =
            grammar_repeat_begin(c->g, min ? min - 1 : 0, max == GRAMMAR_MANY ? max : max - 1);
        grammar_text(c->g, STR(","));
        json_call(c->g, JSON_RULE_SPACE);
        json_call(c->g, rule);
        grammar_repeat_end(c->g, begin);
        json_call(c->g, JSON_RULE_SPACE);
    }
    grammar_or_end(c->g, &alt);
    grammar_text(c->g, STR("]"));
    return ERR_OK;
}

/* ---- objects ---- */

struct property {
    struct str key;        /* as JSON text, with its quotes */
    const json_val *value; /* NULL = anything */
    const char *path;
    bool required;
};

static bool is_required(const json_val *required, struct str key) {
    size_t i, max;
    json_val *v;
    yyjson_arr_foreach((json_val *)required, i, max, v) if (str_eq(json_str(v), key)) return true;
    return false;
}

static enum err add_property(struct compiler *c, const json_val *key, const json_val *value,
                             const char *path, bool required, struct property *to) {
    struct buf text;
    buf_init(&text, 4096);
    json_write(&text, key);
    *to = (struct property){
        arena_str(c->arena, buf_str(&text)), value,
        arena_printf(c->arena, "%s.%.*s", path, STR_ARG(str_sub(json_str(key), 0, 60))), required};
    bool failed = buf_err(&text) || !to->key.p || !to->path;
    buf_deinit(&text);
    return failed ? err_set(c->ei, ERR_TOO_LARGE, "\"%.200s\": a property's name is too long", path)
                  : ERR_OK;
}

/* Declared properties in their order, then those that are only required. */
static enum err get_properties(struct compiler *c, const json_val *s, const char *path,
                               struct property *list, int *ret_n) {
    json_val *declared = get(s, "properties"), *required = get(s, "required");
    json_val *others = get(s, "additionalProperties"), *key, *v;
    const char *below = arena_printf(c->arena, "%s.properties", path);
    size_t i, max;
    int n = 0;
    if ((declared && !yyjson_is_obj(declared)) || (required && !yyjson_is_arr(required)))
        return refuse(c, path, "\"properties\" must be an object and \"required\" a list");
    if (yyjson_obj_size(declared) + yyjson_arr_size(required) > PROPERTIES_MAX)
        return refuse(c, path, "more than 512 properties");
    yyjson_obj_foreach(declared, i, max, key, v) {
        bool must = is_required(required, json_str(key));
        enum err e = add_property(c, key, v, below, must, &list[n]);
        if (e)
            return e;
        if (yyjson_is_false(v) && must)
            return refuse(c, list[n].path, "it is required and nothing can meet false");
        n += !yyjson_is_false(v);
    }
    yyjson_arr_foreach(required, i, max, v) {
        if (!yyjson_is_str(v))
            return refuse(c, path, "\"required\" must be a list of names");
        if (yyjson_obj_getn(declared, yyjson_get_str(v), yyjson_get_len(v)))
            continue;
        if (yyjson_is_false(others))
            return refuse(c, path,
                          arena_printf(c->arena,
                                       "\"%.60s\" is required, but not among its properties, and "
                                       "others are not allowed, so nothing can meet it",
                                       yyjson_get_str(v)));
        enum err e =
            add_property(c, v, yyjson_is_obj(others) ? others : NULL, below, true, &list[n++]);
        if (e)
            return e;
    }
    *ret_n = n;
    return ERR_OK;
}

static enum err emit_property(struct compiler *c, const struct property *p, bool comma) {
    if (comma) {
        grammar_text(c->g, STR(","));
        json_call(c->g, JSON_RULE_SPACE);
    }
    grammar_text(c->g, p->key);
    grammar_text(c->g, STR(":"));
    json_call(c->g, JSON_RULE_SPACE);
    if (p->value)
        return call(c, p->value, p->path);
    json_call(c->g, JSON_RULE_VALUE);
    return ERR_OK;
}

/* While nothing was written no comma is due, so each property that may be the first has a way of
 * its own, from which it goes on among those that come with a comma: p0 -> R1 | p1 -> R2 | …up to
 * the first that is required | nothing -> end R1: [, p1]  R2: [, p2]  …  end: } */
static enum err emit_properties(struct compiler *c, const struct property *list, int n) {
    int jumps[PROPERTIES_MAX], firsts = 0, nothing = -1;
    for (int i = 0; i < n; i++) {
        int split = list[i].required ? -1 : grammar_emit(c->g, GRAMMAR_SPLIT, 0, 0);
        if (split >= 0)
            grammar_target(c->g, split, false, grammar_here(c->g));
        enum err e = emit_property(c, &list[i], false);
        if (e)
            return e;
        jumps[firsts++] = grammar_emit(c->g, GRAMMAR_JUMP, 0, 0);
        if (list[i].required)
            break;
        grammar_target(c->g, split, true, grammar_here(c->g));
    }
    if (n == 0 || !list[firsts - 1].required)
        nothing = grammar_emit(c->g, GRAMMAR_JUMP, 0, 0);
    for (int i = 1; i <= n; i++) {
        if (i <= firsts)
            grammar_target(c->g, jumps[i - 1], false, grammar_here(c->g));
        if (i == n)
            break;
        int begin = list[i].required ? -1 : grammar_repeat_begin(c->g, 0, 1);
        enum err e = emit_property(c, &list[i], true);
        if (e)
            return e;
        if (begin >= 0)
            grammar_repeat_end(c->g, begin);
    }
    if (nothing >= 0)
        grammar_target(c->g, nothing, false, grammar_here(c->g));
    return ERR_OK;
}

/* An object without declared properties: any names, values by additionalProperties. */
static enum err emit_map(struct compiler *c, const json_val *s, const char *path, uint32_t max) {
    json_val *values = get(s, "additionalProperties");
    struct grammar_alternatives alt = GRAMMAR_ALTERNATIVES_INIT;
    int rule = values ? rule_of(c, values, arena_printf(c->arena, "%s.additionalProperties", path))
                      : JSON_RULE_VALUE;
    if (rule < 0)
        return err_set(c->ei, ERR_TOO_LARGE, NULL);
    grammar_or(c->g, &alt);
    if (max > 0) {
        grammar_or(c->g, &alt);
        for (int i = 0, begin = -1; i < 2; i++) {
            if (i == 1) {
                begin = grammar_repeat_begin(c->g, 0, max == GRAMMAR_MANY ? max : max - 1);
                grammar_text(c->g, STR(","));
                json_call(c->g, JSON_RULE_SPACE);
            }
            json_call(c->g, JSON_RULE_STRING);
            grammar_text(c->g, STR(":"));
            json_call(c->g, JSON_RULE_SPACE);
            json_call(c->g, rule);
            if (i == 1)
                grammar_repeat_end(c->g, begin);
        }
    }
    grammar_or_end(c->g, &alt);
    return ERR_OK;
}

static enum err emit_object(struct compiler *c, const json_val *s, const char *path) {
    struct property *list = arena_array(c->arena, PROPERTIES_MAX, sizeof(*list));
    uint32_t max = GRAMMAR_MANY, required = 0;
    int n = 0;
    if (!list)
        return err_set(c->ei, ERR_TOO_LARGE, NULL);
    enum err e = get_count(c, s, path, "maxProperties", &max);
    e = e ? e : get_properties(c, s, path, list, &n);
    if (e)
        return e;
    for (int i = 0; i < n; i++)
        required += list[i].required;
    if (required > max)
        return refuse(
            c, path,
            "more properties are required than maxProperties allows, so nothing can meet it");
    if (n > 0 && (uint32_t)n > max)
        return refuse(c, path, "\"maxProperties\" below the number of properties is not supported");
    bool map = n == 0 && !get(s, "properties") && !yyjson_is_false(get(s, "additionalProperties"));
    grammar_text(c->g, STR("{"));
    json_call(c->g, JSON_RULE_SPACE);
    e = map ? emit_map(c, s, path, max) : emit_properties(c, list, n);
    if (e)
        return e;
    json_call(c->g, JSON_RULE_SPACE);
    grammar_text(c->g, STR("}"));
    return ERR_OK;
}

/* ---- schemas ---- */

static enum err emit_ways(struct compiler *c, const json_val *s, const char *path,
                          const char *key) {
    struct grammar_alternatives alt = GRAMMAR_ALTERNATIVES_INIT;
    json_val *list = get(s, key), *v;
    size_t i, max, n = yyjson_arr_size(list);
    if (!yyjson_is_arr(list) || n == 0)
        return refuse(c, arena_printf(c->arena, "%s.%s", path, key), "must be a list of schemas");
    if (strcmp(key, "allOf") == 0 && n > 1)
        return refuse(c, arena_printf(c->arena, "%s.allOf", path),
                      "more than one schema is not supported here; write them as one");
    yyjson_arr_foreach(list, i, max, v) {
        grammar_or(c->g, &alt);
        enum err e = call(c, v, arena_printf(c->arena, "%s.%s[%zu]", path, key, i));
        if (e)
            return e;
    }
    grammar_or_end(c->g, &alt);
    return ERR_OK;
}

static enum err emit_ref(struct compiler *c, const json_val *s, const char *path) {
    struct str ref = json_get_str(s, "$ref");
    if (!str_starts(ref, STR("#")))
        return refuse(c, arena_printf(c->arena, "%s.$ref", path),
                      "only references within the schema (#/$defs/…) are supported");
    const json_val *target =
        ref.n == 1 ? c->root : yyjson_ptr_getn((yyjson_val *)c->root, ref.p + 1, ref.n - 1);
    if (!target)
        return refuse(c, arena_printf(c->arena, "%s.$ref", path), "there is no such schema");
    return call(c, target, arena_printf(c->arena, "%.*s", STR_ARG(str_sub(ref, 0, 150))));
}

static enum err emit_type(struct compiler *c, const json_val *s, const char *path,
                          struct str type) {
    if (str_eqz(type, "object"))
        return emit_object(c, s, path);
    if (str_eqz(type, "array"))
        return emit_array(c, s, path);
    if (str_eqz(type, "string"))
        return emit_string(c, s, path);
    if (str_eqz(type, "number") || str_eqz(type, "integer"))
        return emit_number(c, s, path, str_eqz(type, "integer"));
    if (str_eqz(type, "null")) {
        grammar_text(c->g, STR("null"));
        return ERR_OK;
    }
    if (str_eqz(type, "boolean")) {
        struct grammar_alternatives alt = GRAMMAR_ALTERNATIVES_INIT;
        grammar_or(c->g, &alt);
        grammar_text(c->g, STR("true"));
        grammar_or(c->g, &alt);
        grammar_text(c->g, STR("false"));
        grammar_or_end(c->g, &alt);
        return ERR_OK;
    }
    return refuse(
        c, arena_printf(c->arena, "%s.type", path),
        "must be object, array, string, number, integer, boolean or null, or a list of them");
}

/* What the other keywords are about, when there is no "type". */
static struct str implied_type(const json_val *s) {
    static const struct {
        const char *key;
        struct str type;
    } keys[] = {
        {"properties", {"object", 6}},
        {"required", {"object", 6}},
        {"additionalProperties", {"object", 6}},
        {"maxProperties", {"object", 6}},
        {"items", {"array", 5}},
        {"prefixItems", {"array", 5}},
        {"minItems", {"array", 5}},
        {"maxItems", {"array", 5}},
        {"minLength", {"string", 6}},
        {"maxLength", {"string", 6}},
        {"pattern", {"string", 6}},
        {"format", {"string", 6}},
        {"minimum", {"number", 6}},
        {"maximum", {"number", 6}},
        {"exclusiveMinimum", {"number", 6}},
        {"exclusiveMaximum", {"number", 6}},
    };
    for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++)
        if (get(s, keys[i].key))
            return keys[i].type;
    return STR_NULL;
}

static enum err emit_types(struct compiler *c, const json_val *s, const char *path) {
    struct grammar_alternatives alt = GRAMMAR_ALTERNATIVES_INIT;
    json_val *type = get(s, "type"), *v;
    size_t i, max;
    if (!type) {
        struct str implied = implied_type(s);
        if (implied.p)
            return emit_type(c, s, path, implied);
        json_call(c->g, JSON_RULE_VALUE);
        return ERR_OK;
    }
    if (!yyjson_is_arr(type))
        return emit_type(c, s, path, json_str(type));
    if (yyjson_arr_size(type) == 0 || yyjson_arr_size(type) > 7)
        return refuse(c, arena_printf(c->arena, "%s.type", path), "must name at least one type");
    yyjson_arr_foreach(type, i, max, v) {
        grammar_or(c->g, &alt);
        enum err e = emit_type(c, s, path, json_str(v));
        if (e)
            return e;
    }
    grammar_or_end(c->g, &alt);
    return ERR_OK;
}

static enum err emit_schema(struct compiler *c, const json_val *s, const char *path) {
    if (yyjson_is_false((json_val *)s))
        return refuse(c, path, "nothing can meet false");
    if (yyjson_is_true((json_val *)s)) {
        json_call(c->g, JSON_RULE_VALUE);
        return ERR_OK;
    }
    if (!yyjson_is_obj((json_val *)s))
        return refuse(c, path, "a schema must be an object, true or false");
    enum err e = check_keywords(c, s, path);
    if (e)
        return e;
    if (get(s, "$ref"))
        return emit_ref(c, s, path);
    if (get(s, "const") || get(s, "enum"))
        return emit_values(c, s, path);
    static const char *const ways[] = {"anyOf", "oneOf", "allOf"};
    for (size_t i = 0; i < sizeof(ways) / sizeof(*ways); i++)
        if (get(s, ways[i]))
            return emit_ways(c, s, path, ways[i]);
    return emit_types(c, s, path);
}

static enum err compile_all(struct compiler *c, const json_val *schema) {
    c->places[c->n_places++] = (struct place){schema, c->name, JSON_RULE_ROOT};
    for (int i = 0; i < c->n_places; i++) {
        grammar_rule_begin(c->g, c->places[i].rule);
        enum err e = emit_schema(c, c->places[i].schema, c->places[i].path);
        if (e)
            return e;
        grammar_rule_end(c->g);
    }
    return ERR_OK;
}

static enum err finish(struct compiler *c) {
    int rule = 0;
    enum err e = grammar_finish(c->g, &rule);
    if (e == ERR_TOO_LARGE)
        return err_set(c->ei, ERR_INVALID, "\"%.100s\" is too large or too intricate", c->name);
    if (e != ERR_INVALID)
        return e ? err_set(c->ei, e, NULL) : ERR_OK;
    for (int i = 0; i < c->n_places; i++)
        if (c->places[i].rule == rule)
            return refuse(c, c->places[i].path,
                          "it refers to itself without an end, so nothing can meet it");
    return err_set(c->ei, ERR_INTERNAL, NULL);
}

enum err json_schema_compile(const json_val *schema, const char *name, struct grammar **ret,
                             struct errinfo *ei) {
    struct compiler *c = calloc(1, sizeof(*c));
    if (!c)
        return err_set(ei, ERR_NOMEM, NULL);
    *c = (struct compiler){
        .g = grammar_new(), .arena = arena_new(ARENA_MAX), .root = schema, .name = name, .ei = ei};
    enum err e = c->g && c->arena ? ERR_OK : err_set(ei, ERR_NOMEM, NULL);
    if (!e) {
        json_rules_emit(c->g);
        e = compile_all(c, schema);
    }
    e = e ? e : finish(c);
    if (e)
        grammar_free(c->g);
    else
        *ret = c->g;
    arena_free(c->arena);
    free(c);
    return e;
}

enum err json_object_compile(struct grammar **ret, struct errinfo *ei) {
    struct grammar *g = grammar_new();
    int rule;
    if (!g)
        return err_set(ei, ERR_NOMEM, NULL);
    json_rules_emit(g);
    grammar_rule_begin(g, JSON_RULE_ROOT);
    json_call(g, JSON_RULE_OBJECT);
    grammar_rule_end(g);
    enum err e = grammar_finish(g, &rule);
    if (e) {
        grammar_free(g);
        return err_set(ei, e, NULL);
    }
    *ret = g;
    return ERR_OK;
}
