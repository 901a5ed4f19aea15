/* The words in which schemas are written: only for the files that define them (schemas*.c). */
#pragma once

#include "api/schemas.h"

#define REQ     .flags = FIELD_REQUIRED
#define REQNULL .flags = FIELD_REQUIRED | FIELD_NULLABLE
#define NULLS   .flags = FIELD_NULLABLE
#define ID      .type = F_STRING, .format = FORMAT_UUID
#define TIME    .type = F_STRING, .format = FORMAT_TIME
#define TEXT    .type = F_STRING
#define INT     .type = F_INTEGER
#define NUM     .type = F_NUMBER
#define BOOL    .type = F_BOOLEAN
#define OBJ     .type = F_OBJECT
#define LIST    .type = F_ARRAY
#define ANY     .type = F_ANY
#define END                                                                                        \
    { .name = NULL }

#define SCHEMA(id, title, is_open, text, ...)                                                      \
    static const struct field fields_##id[] = {__VA_ARGS__, END};                                  \
    const struct schema schema_##id = {title, fields_##id, is_open, text}

#define LIMIT_FIELD                                                                                \
    { "limit", INT, .min = 1, .max = 200, .about = "items of a page, 50 if absent" }
#define AFTER_ABOUT "`next` of the page before"
/* Clients go through every list alike. */
#define WHOLE_FIELD                                                                                \
    { "limit", INT, .min = 1, .max = 200, .about = "makes no difference: this list comes whole" }
#define PAGE_FIELDS                                                                                \
    LIMIT_FIELD, {                                                                                 \
        "after", ID, .about = AFTER_ABOUT                                                          \
    }
#define QUERY(id, ...)                                                                             \
    static const struct field qfields_##id[] = {__VA_ARGS__, END};                                 \
    const struct schema query_##id = {.name = #id, .fields = qfields_##id}

#define LIST_OF(id, title, entity)                                                                 \
    SCHEMA(id, title, false, NULL, {"data", LIST, REQ, .item = F_OBJECT, .ref = &entity},          \
           {"next", TEXT, REQNULL, .about = "`after` of the next page; null = this was the last"})
