/* Strict reading of JSON on yyjson. yyjson's reader does not recurse, so a deep text cannot
 * overflow the stack; the depth is checked on the flat array of values before anybody walks the
 * tree. Of equal keys in one object the first wins everywhere (yyjson_obj_get). */
#include "base/json.h"

#include <math.h>
#include <stdlib.h>

/* A document's values lie in one array in document order, a container before its items and with the
 * distance to what follows it. `ends` holds where the containers that are open at v end. */
static bool depth_is_fine(yyjson_doc *doc) {
    yyjson_val *ends[JSON_MAX_DEPTH];
    size_t depth = 0;
    yyjson_val *v = yyjson_doc_get_root(doc);
    yyjson_val *end = v + yyjson_doc_get_val_count(doc);
    for (; v < end; v++) {
        while (depth && v >= ends[depth - 1])
            depth--;
        if (!unsafe_yyjson_is_ctn(v))
            continue;
        if (depth == JSON_MAX_DEPTH)
            return false;
        ends[depth++] = unsafe_yyjson_get_next(v);
    }
    return true;
}

static enum err syntax_error(struct str text, const yyjson_read_err *e, struct errinfo *ei) {
    size_t line = 0, column = 0, character = 0;
    if (e->code == YYJSON_READ_ERROR_MEMORY_ALLOCATION)
        return err_set(ei, ERR_NOMEM, NULL);
    if (text.n == 0 || !yyjson_locate_pos(text.p, text.n, e->pos, &line, &column, &character))
        return err_set(ei, ERR_JSON, "not valid JSON: %s", e->msg);
    return err_set(ei, ERR_JSON, "not valid JSON: %s (line %zu, column %zu)", e->msg, line, column);
}

enum err json_parse(struct str text, yyjson_doc **ret_doc, struct errinfo *ei) {
    yyjson_read_err e = {0};
    if (text.n == 0)
        return err_set(ei, ERR_JSON, "not valid JSON: nothing was sent");
    /* Without YYJSON_READ_INSITU the text is only read. */
    yyjson_doc *doc = yyjson_read_opts((char *)text.p, text.n, YYJSON_READ_NOFLAG, NULL, &e);
    if (!doc)
        return syntax_error(text, &e, ei);
    if (!depth_is_fine(doc)) {
        yyjson_doc_free(doc);
        return err_set(ei, ERR_JSON, "not valid JSON here: nested deeper than %d", JSON_MAX_DEPTH);
    }
    *ret_doc = doc;
    return ERR_OK;
}

struct str json_get_str(const json_val *obj, const char *key) {
    return json_str(json_get(obj, key));
}

int64_t json_get_int(const json_val *obj, const char *key, int64_t otherwise) {
    json_val *v = json_get(obj, key);
    if (yyjson_is_sint(v))
        return yyjson_get_sint(v);
    if (yyjson_is_uint(v) && yyjson_get_uint(v) <= INT64_MAX)
        return (int64_t)yyjson_get_uint(v);
    if (yyjson_is_real(v)) { /* 5.0 is an integer in JSON */
        double d = yyjson_get_real(v);
        if (d == floor(d) && d >= -9007199254740992.0 && d <= 9007199254740992.0)
            return (int64_t)d;
    }
    return otherwise;
}

double json_get_num(const json_val *obj, const char *key, double otherwise) {
    json_val *v = json_get(obj, key);
    return yyjson_is_num(v) ? yyjson_get_num(v) : otherwise;
}

bool json_get_bool(const json_val *obj, const char *key, bool otherwise) {
    json_val *v = json_get(obj, key);
    return yyjson_is_bool(v) ? yyjson_get_bool(v) : otherwise;
}

/* Where the string that begins at `at` is over. */
static size_t skip_string(struct str s, size_t at) {
    at++;
    while (at < s.n && s.p[at] != '"')
        at += s.p[at] == '\\' ? 2 : 1;
    return at < s.n ? at + 1 : s.n;
}

/* Where the value that begins at `at` is over. */
static size_t skip_value(struct str s, size_t at) {
    int depth = 0;
    while (at < s.n) {
        char c = s.p[at];
        if (depth == 0 && (c == ',' || c == '}' || c == ']'))
            return at;
        if (c == '"') {
            at = skip_string(s, at);
            continue;
        }
        depth += (c == '{' || c == '[') - (c == '}' || c == ']');
        at++;
    }
    return at;
}

struct str json_member(struct str object, const char *key) {
    size_t at = 1; /* behind the brace */
    while (at < object.n && object.p[at] == '"') {
        size_t colon = skip_string(object, at), value = colon + 1;
        size_t end = skip_value(object, value);
        if (str_eqz(str_sub(object, at + 1, colon - at - 2), key))
            return str_sub(object, value, end - value);
        at = end + 1;
    }
    return STR_NULL;
}

static void add_written(struct buf *b, char *text, size_t n) {
    if (text)
        buf_add(b, text, n);
    else if (!b->err)
        b->err = ERR_NOMEM;
    free(text);
}

void json_write(struct buf *b, const json_val *v) {
    size_t n = 0;
    char *text = yyjson_val_write(v, YYJSON_WRITE_NOFLAG, &n);
    add_written(b, text, n);
}

void json_write_mut(struct buf *b, const yyjson_mut_doc *doc) {
    size_t n = 0;
    char *text = yyjson_mut_write(doc, YYJSON_WRITE_NOFLAG, &n);
    add_written(b, text, n);
}

void json_add_raw(yyjson_mut_doc *doc, yyjson_mut_val *obj, const char *key, struct str text) {
    yyjson_doc *from = NULL;
    yyjson_mut_val *v = NULL;
    if (str_eq(text, STR("[]"))) /* what most lists are: not worth parsing */
        v = yyjson_mut_arr(doc);
    else if (json_parse(text, &from, NULL) == ERR_OK)
        v = yyjson_val_mut_copy(doc, yyjson_doc_get_root(from));
    yyjson_doc_free(from);
    if (!v)
        v = yyjson_mut_null(doc);
    yyjson_mut_obj_add(obj, yyjson_mut_strcpy(doc, key), v);
}
