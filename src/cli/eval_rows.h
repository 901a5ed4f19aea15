/* Rows of an evaluation file: JSON lines or one JSON array of objects, plain or gzip. */
#pragma once

#include "base/err.h"
#include "base/json.h"

#define EVAL_FILE_MAX ((size_t)512 << 20) /* bytes, unpacked */
#define EVAL_ROWS_MAX 1000000
#define EVAL_TEXT_MAX ((size_t)1 << 20) /* bytes of one text */

struct eval_rows {
    char *text;       /* owned: the unpacked file */
    yyjson_doc **doc; /* owned; one for each line, or a single one */
    size_t n_docs;
    json_val **row; /* owned array of borrowed objects */
    size_t n;
};

/* path "-" is stdin. ERR_NOT_FOUND, ERR_IO, ERR_TOO_LARGE; ERR_JSON names the line. */
enum err eval_rows_read(const char *path, struct eval_rows *ret, struct errinfo *ei) ERR_CHECK;
enum err eval_rows_parse(char *text /* taken */, size_t n, struct eval_rows *ret,
                         struct errinfo *ei) ERR_CHECK;
void eval_rows_deinit(struct eval_rows *r);

/* 0, 1, or -1 when the field is neither a boolean nor 0 or 1. */
int eval_label(const json_val *row, const char *field);
