/* JSON. yyjson does the work and is included here and nowhere else; what is added are strict
 * reading (with the name of the field at fault) and building in an arena's life.
 *
 * Reading accepts RFC 8259 only: no comments, no trailing commas, no NaN, valid UTF-8, one value.
 * Depth is limited to JSON_MAX_DEPTH. Of equal keys in one object the first is found. Strings may
 * contain "\u0000"; who cannot take NUL must check. */
#pragma once

#include <yyjson.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

#define JSON_MAX_DEPTH 64

typedef yyjson_val json_val;         /* yyjson's own names stay usable by those who include this */
typedef yyjson_mut_val json_mut_val; /* (these two are aliases, they hide nothing) */

/* Parses text. On success *ret_doc is freed with yyjson_doc_free(). ERR_JSON says line and column.
 */
enum err json_parse(struct str text, yyjson_doc **ret_doc, struct errinfo *ei) ERR_CHECK;

static inline struct str json_str(const json_val *v) { /* STR_NULL when v is no string */
    if (!yyjson_is_str((yyjson_val *)v)) /* yyjson_get_len() counts the members of others */
        return STR_NULL;
    return (struct str){yyjson_get_str((yyjson_val *)v), yyjson_get_len((yyjson_val *)v)};
}
static inline json_val *json_get(const json_val *obj, const char *key) { /* NULL if absent */
    return yyjson_obj_get((yyjson_val *)obj, key);
}
struct str json_get_str(const json_val *obj, const char *key); /* STR_NULL if absent or no string */
int64_t json_get_int(const json_val *obj, const char *key, int64_t otherwise);
double json_get_num(const json_val *obj, const char *key, double otherwise);
bool json_get_bool(const json_val *obj, const char *key, bool otherwise);

/* Appends the value's compact text. */
void json_write(struct buf *b, const json_val *v);
void json_write_mut(struct buf *b, const yyjson_mut_doc *doc);

/* Of an object as Parley writes it, valid and without blanks: the text of a member's value, without
 * parsing it. STR_NULL if absent. */
struct str json_member(struct str object, const char *key);

/* yyjson_mut_* helpers with struct str: the bytes are copied into doc. */
static inline void json_add_str(yyjson_mut_doc *doc, yyjson_mut_val *obj, const char *key,
                                struct str s) {
    if (s.p)
        yyjson_mut_obj_add_strncpy(doc, obj, key, s.p, s.n);
    else
        yyjson_mut_obj_add_null(doc, obj, key);
}
/* Adds text, which is JSON already (from the store, say), as a value; null when it does not parse.
 */
void json_add_raw(yyjson_mut_doc *doc, yyjson_mut_val *obj, const char *key, struct str text);
