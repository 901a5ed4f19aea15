/* See openai_parts.h. */
#include "api/openai_parts.h"

#include <string.h>

#define OPAQUE_MAX   ((size_t)16 << 10)
#define OPAQUE_DEPTH 8

const char *const openai_answer_members[] = {
    "id",           "object",  "created", "model",  "system_fingerprint",
    "service_tier", "choices", "usage",   "parley", "timings",
    "error",        NULL};
const char *const openai_choice_members[] = {"index", "message", "finish_reason", "logprobs", NULL};
const char *const openai_chunk_choice_members[] = {"index", "delta", "finish_reason", NULL};
const char *const openai_audio_members[] = {"id", "data", "expires_at", NULL};

static int place_of(const char *const *names, yyjson_mut_val *key) {
    for (int i = 0; names[i]; i++)
        if (yyjson_mut_equals_str(key, names[i]))
            return i;
    return -1;
}

bool openai_keep_known(yyjson_mut_val *obj, const char *const *names) {
    yyjson_mut_obj_iter it = yyjson_mut_obj_iter_with(obj);
    bool removed = false;
    unsigned seen = 0;
    for (yyjson_mut_val *key; (key = yyjson_mut_obj_iter_next(&it));) {
        yyjson_mut_val *v = yyjson_mut_obj_iter_get_val(key);
        int at = place_of(names, key);
        bool plain = yyjson_mut_is_null(v) || yyjson_mut_is_bool(v) || yyjson_mut_is_num(v);
        bool keeps = at < 0 ? plain : !(seen >> at & 1);
        seen |= at < 0 ? 0 : 1u << at;
        if (!keeps)
            yyjson_mut_obj_iter_remove(&it);
        removed = removed || !keeps;
    }
    return removed;
}

bool openai_is_label(yyjson_mut_val *v) {
    const char *s = yyjson_mut_get_str(v);
    size_t n = yyjson_mut_get_len(v);
    for (size_t i = 0; s && i < n; i++)
        if (s[i] <= ' ' || s[i] >= 127)
            return false;
    return s && n > 0 && n <= OPENAI_LABEL_MAX;
}

bool openai_keep_label(yyjson_mut_val *obj, const char *key) {
    yyjson_mut_val *v = yyjson_mut_obj_get(obj, key);
    if (v && !openai_is_label(v))
        yyjson_mut_obj_remove_key(obj, key);
    return v && openai_is_label(v);
}

static bool is_sealed(const char *s, size_t n, size_t *room) {
    for (size_t i = 0; i < n; i++) {
        char lower = (char)(s[i] | 0x20);
        if (!((lower >= 'a' && lower <= 'z') || (s[i] >= '0' && s[i] <= '9') ||
              memchr("+/=_-.", s[i], 6)))
            return false;
    }
    if (n > *room)
        return false;
    *room -= n;
    return true;
}

static bool is_opaque(yyjson_mut_val *v, int depth, size_t *room) {
    bool opaque = depth < OPAQUE_DEPTH;
    if (yyjson_mut_is_str(v))
        return is_sealed(yyjson_mut_get_str(v), yyjson_mut_get_len(v), room);
    if (yyjson_mut_is_obj(v)) {
        yyjson_mut_obj_iter it = yyjson_mut_obj_iter_with(v);
        for (yyjson_mut_val *k; opaque && (k = yyjson_mut_obj_iter_next(&it));)
            opaque = is_sealed(yyjson_mut_get_str(k), yyjson_mut_get_len(k), room) &&
                     is_opaque(yyjson_mut_obj_iter_get_val(k), depth + 1, room);
    } else if (yyjson_mut_is_arr(v)) {
        yyjson_mut_arr_iter it = yyjson_mut_arr_iter_with(v);
        for (yyjson_mut_val *i; opaque && (i = yyjson_mut_arr_iter_next(&it));)
            opaque = is_opaque(i, depth + 1, room);
    }
    return opaque;
}

bool openai_is_opaque(yyjson_mut_val *v) {
    size_t room = OPAQUE_MAX;
    return is_opaque(v, 0, &room);
}

static bool names_it(json_val *list, const char *inner, struct str name) {
    size_t i, n;
    json_val *v;
    yyjson_arr_foreach(list, i, n, v) {
        if (str_eq(json_get_str(inner ? json_get(v, inner) : v, "name"), name))
            return true;
    }
    return false;
}

bool openai_is_tool(const json_val *body, struct str name) {
    json_val *tools = json_get(body, "tools");
    return name.n > 0 && (names_it(tools, "function", name) || names_it(tools, "custom", name) ||
                          names_it(json_get(body, "functions"), NULL, name));
}
