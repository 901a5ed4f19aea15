#include "cli/eval_rows.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

enum err eval_rows_read(const char *path, struct eval_rows *ret, struct errinfo *ei) {
    gzFile f = strcmp(path, "-") == 0 ? gzdopen(dup(STDIN_FILENO), "rb") : gzopen(path, "rb");
    if (!f)
        return err_set(ei, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, "cannot open %s: %s", path,
                       strerror(errno));
    struct buf b;
    char part[1 << 16];
    int n;
    enum err e = ERR_OK;
    buf_init(&b, EVAL_FILE_MAX);
    while ((n = gzread(f, part, sizeof part)) > 0 && !buf_err(&b))
        buf_add(&b, part, (size_t)n);
    if (n < 0)
        e = err_set(ei, ERR_IO, "cannot read %s: it is damaged, or no file", path);
    else if (buf_err(&b))
        e = err_set(ei, buf_err(&b), "%s is larger than %zu MB unpacked", path,
                    EVAL_FILE_MAX >> 20);
    if (gzclose(f) != Z_OK && !e)
        e = err_set(ei, ERR_IO, "%s ends too early", path);
    if (e) {
        buf_deinit(&b);
        return e;
    }
    size_t size = b.n;
    struct errinfo why = {0};
    e = eval_rows_parse(buf_take(&b, &size), size, ret, &why);
    return e ? err_set(ei, e, "%s: %s", path, why.message) : ERR_OK;
}

static enum err add_row(struct eval_rows *r, json_val *v, size_t *room, size_t line,
                        struct errinfo *ei) {
    if (!yyjson_is_obj(v))
        return err_set(ei, ERR_JSON, "row %zu is no JSON object", line);
    if (r->n == EVAL_ROWS_MAX)
        return err_set(ei, ERR_TOO_LARGE, "more than %d rows", EVAL_ROWS_MAX);
    if (r->n == *room) {
        *room = *room ? *room * 2 : 256;
        json_val **more = realloc(r->row, *room * sizeof *more);
        if (!more)
            return err_set(ei, ERR_NOMEM, NULL);
        r->row = more;
    }
    r->row[r->n++] = v;
    return ERR_OK;
}

static enum err add_doc(struct eval_rows *r, struct str text, size_t *room, size_t line,
                        yyjson_doc **ret, struct errinfo *ei) {
    struct errinfo why = {0};
    if (r->n_docs == *room) {
        *room = *room ? *room * 2 : 256;
        yyjson_doc **more = realloc(r->doc, *room * sizeof *more);
        if (!more)
            return err_set(ei, ERR_NOMEM, NULL);
        r->doc = more;
    }
    if (json_parse(text, ret, &why))
        return err_set(ei, ERR_JSON, "line %zu: %s", line, why.message);
    r->doc[r->n_docs++] = *ret;
    return ERR_OK;
}

static enum err parse_lines(struct eval_rows *r, struct str rest, struct errinfo *ei) {
    size_t docs = 0, rows = 0;
    for (size_t line = 1; rest.n; line++) {
        struct str one = str_trim(str_cut(&rest, '\n'));
        yyjson_doc *doc;
        enum err e = ERR_OK;
        if (!one.n)
            continue;
        if ((e = add_doc(r, one, &docs, line, &doc, ei)) ||
            (e = add_row(r, yyjson_doc_get_root(doc), &rows, line, ei)))
            return e;
    }
    return ERR_OK;
}

static enum err parse_array(struct eval_rows *r, struct str text, struct errinfo *ei) {
    size_t docs = 0, rows = 0, i, max;
    yyjson_doc *doc;
    json_val *v;
    enum err e = add_doc(r, text, &docs, 1, &doc, ei);
    if (e)
        return e;
    yyjson_arr_foreach(yyjson_doc_get_root(doc), i, max, v) {
        if ((e = add_row(r, v, &rows, i + 1, ei)))
            return e;
    }
    return ERR_OK;
}

enum err eval_rows_parse(char *text, size_t n, struct eval_rows *ret, struct errinfo *ei) {
    struct eval_rows r = {.text = text};
    struct str s = str_trim((struct str){text, n});
    enum err e = s.n && s.p[0] == '[' ? parse_array(&r, s, ei) : parse_lines(&r, s, ei);
    if (!e && r.n == 0)
        e = err_set(ei, ERR_INVALID, "the file has no rows");
    if (e)
        eval_rows_deinit(&r);
    else
        *ret = r;
    return e;
}

void eval_rows_deinit(struct eval_rows *r) {
    for (size_t i = 0; i < r->n_docs; i++)
        yyjson_doc_free(r->doc[i]);
    free(r->doc);
    free(r->row);
    free(r->text);
    *r = (struct eval_rows){0};
}

int eval_label(const json_val *row, const char *field) {
    json_val *v = json_get(row, field);
    if (yyjson_is_bool(v))
        return yyjson_get_bool(v);
    if (yyjson_is_int(v) && (yyjson_get_int(v) == 0 || yyjson_get_int(v) == 1))
        return (int)yyjson_get_int(v);
    return -1;
}
