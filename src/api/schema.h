/* Schemas as tables of fields. From the same table come the check of what clients send (with errors
 * that name the field and say what is allowed) and the schemas of /openapi.json.
 *
 * Lengths of strings count Unicode characters, as JSON Schema does. Strings with NUL are refused in
 * all schemas, also inside values that have no table of their own. */
#pragma once

#include "base/json.h"

enum field_type { F_ANY, F_STRING, F_INTEGER, F_NUMBER, F_BOOLEAN, F_OBJECT, F_ARRAY };
enum field_format {
    FORMAT_NONE,
    FORMAT_UUID,
    FORMAT_TIME, /* RFC 3339; only in answers */
    FORMAT_USERNAME,
    FORMAT_EMAIL,
    FORMAT_PASSWORD,
};
#define FIELD_REQUIRED 1u
#define FIELD_NULLABLE 2u

struct schema;
struct field {
    const char *name; /* NULL ends a table */
    enum field_type type;
    unsigned flags;
    double min, max; /* value, characters or items; max 0 = no upper bound, both 0 = none */
    enum field_format format;
    const char *const *values; /* strings: what is allowed, NULL-terminated */
    enum field_type item;      /* arrays: the type of the items (F_ANY = whatever) */
    double item_max;           /* arrays of strings: characters of one */
    const struct schema *ref;  /* objects, and arrays of objects; NULL = any members */
    const char *about;
};

struct schema {
    const char *name; /* of the component in openapi.json */
    const struct field *fields;
    bool open; /* unknown members are accepted */
    const char *about;
};

/* ERR_INVALID or ERR_UNKNOWN_FIELD with the field in ei->param ("messages[0].role"). */
enum err schema_check(const struct schema *s, const json_val *v, struct errinfo *ei) ERR_CHECK;

/* A name in the query of a route with these parameters (NULL: it takes none), and which of the
 * schema's fields it is; ERR_UNKNOWN_FIELD. */
#define SCHEMA_QUERY_FIELDS_MAX 32
enum err schema_check_query_name(const struct schema *s, struct str name, size_t *ret_field,
                                 struct errinfo *ei) ERR_CHECK;
/* The same as schema_check() for one value that came as text (a query parameter). */
enum err schema_check_text(const struct field *f, struct str text, struct errinfo *ei) ERR_CHECK;

/* Appends the schema as JSON Schema 2020-12; schemas that are referred to become
 * {"$ref":"#/components/schemas/NAME"}. */
void schema_write(struct buf *b, const struct schema *s);
void schema_write_field(struct buf *b, const struct field *f);
