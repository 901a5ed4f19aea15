/* Text as it is: plain, Markdown, source code, CSV, JSON. */
#include "extract/formats.h"

#include "base/json.h"

enum extract_fault read_decoded(struct reading *r, struct str bytes, struct str hint,
                                struct str *ret) {
    struct buf b;
    buf_init(&b, 4 * EXTRACT_TEXT_MAX);
    enum err e = charset_to_utf8(bytes, hint, &b, r->charset);
    if (!e) {
        *ret = arena_str(r->arena, buf_str(&b));
        e = ret->p ? ERR_OK : ERR_NOMEM;
    }
    buf_deinit(&b);
    return !e                   ? EXTRACT_OK
           : e == ERR_NOMEM     ? EXTRACT_MEMORY
           : e == ERR_TOO_LARGE ? EXTRACT_TOO_LARGE
                                : EXTRACT_DAMAGED;
}

static enum extract_fault decode(struct reading *r, struct str bytes, struct str *ret) {
    return read_decoded(r, bytes, media_type_param(r->type, "charset", r->arena), ret);
}

/* A form feed begins a page. */
enum extract_fault read_plain(struct reading *r, struct str bytes) {
    struct str text, page;
    enum extract_fault f = decode(r, bytes, &text);
    bool paged = !f && memchr(text.p, '\f', text.n);
    int n = 0;
    if (!paged && !f)
        build_raw(&r->b, text);
    while (paged && text.n && !build_is_full(&r->b)) {
        page = str_cut(&text, '\f');
        build_page(&r->b, ++n);
        build_raw(&r->b, page);
    }
    return f;
}

enum extract_fault read_markdown(struct reading *r, struct str bytes) {
    struct str text;
    struct doc_mark *marks;
    size_t n;
    enum extract_fault f = decode(r, bytes, &text);
    if (f)
        return f;
    for (size_t i = 0; i < text.n; i++)
        if (text.p[i] == '\f')
            ((char *)text.p)[i] = '\n'; /* the arena's copy */
    if (doc_marks_of_markdown(text, r->arena, &marks, &n))
        return EXTRACT_MEMORY;
    build_raw(&r->b, text);
    for (size_t i = 0; i < n; i++) {
        build_mark(&r->b, marks[i].kind, marks[i].value, marks[i].from, marks[i].to);
        if (marks[i].kind == DOC_HEADING && marks[i].value == 1)
            build_title(&r->b, str_sub(text, marks[i].from, marks[i].to - marks[i].from));
    }
    return EXTRACT_OK;
}

enum extract_fault read_code(struct reading *r, struct str bytes) {
    struct str text;
    enum extract_fault f = decode(r, bytes, &text);
    if (f)
        return f;
    build_begin(&r->b, DOC_CODE, 0);
    build_raw(&r->b, text);
    build_end(&r->b, DOC_CODE);
    return EXTRACT_OK;
}

/* ---- CSV (RFC 4180), with the separator that its first lines have most of ---- */

static char separator_of(struct str text) {
    static const char candidates[] = {',', ';', '\t', '|'};
    size_t counts[4] = {0}, best = 0, lines = 0;
    bool quoted = false;
    for (size_t i = 0; i < text.n && lines < 5; i++) {
        quoted ^= text.p[i] == '"';
        if (quoted)
            continue;
        lines += text.p[i] == '\n';
        for (size_t k = 0; k < 4; k++)
            counts[k] += text.p[i] == candidates[k];
    }
    for (size_t k = 1; k < 4; k++)
        if (counts[k] > counts[best])
            best = k;
    return candidates[best];
}

/* One field from *at on; *ret_end: the row ends with it. */
static void read_field(struct builder *b, struct str t, size_t *at, char separator, bool *ret_end) {
    size_t i = *at;
    if (i < t.n && t.p[i] == '"') {
        for (i++; i < t.n; i++) {
            if (t.p[i] != '"') {
                size_t from = i;
                while (i + 1 < t.n && t.p[i + 1] != '"')
                    i++;
                build_text(b, str_sub(t, from, i + 1 - from));
            } else if (i + 1 < t.n && t.p[i + 1] == '"') {
                build_text(b, STR("\""));
                i++;
            } else {
                i++;
                break;
            }
        }
    }
    size_t from = i;
    while (i < t.n && t.p[i] != separator && t.p[i] != '\n')
        i++;
    build_text(b, str_sub(t, from, i - from));
    *ret_end = i >= t.n || t.p[i] == '\n';
    *at = i + 1;
}

enum extract_fault read_csv(struct reading *r, struct str bytes) {
    struct builder *b = &r->b;
    struct str t;
    enum extract_fault f = decode(r, bytes, &t);
    if (f)
        return f;
    char separator = separator_of(t);
    build_begin(b, DOC_TABLE, 1);
    for (size_t at = 0; at < t.n && !build_is_full(b);) {
        bool end = false;
        build_row(b);
        while (!end) {
            build_cell(b);
            read_field(b, t, &at, separator, &end);
            build_cell_end(b);
        }
    }
    build_end(b, DOC_TABLE);
    return EXTRACT_OK;
}

/* ---- JSON: "key: value" lines, things of a list apart by an empty line ---- */

static void add_value(struct builder *b, json_val *v, int depth);

static void add_indent(struct builder *b, int depth) {
    build_line(b);
    for (int i = 0; i < depth && i < 16; i++)
        build_raw(b, STR("  "));
}

static bool is_flat(json_val *v) {
    return !yyjson_is_obj(v) && !yyjson_is_arr(v);
}

static void add_scalar(struct builder *b, json_val *v) {
    struct buf text;
    if (yyjson_is_str(v)) {
        build_text(b, json_str(v));
        return;
    }
    buf_init(&text, 1000);
    json_write(&text, v);
    build_text(b, buf_str(&text));
    buf_deinit(&text);
}

static void add_object(struct builder *b, json_val *v, int depth) {
    yyjson_obj_iter it = yyjson_obj_iter_with(v);
    json_val *key;
    while ((key = yyjson_obj_iter_next(&it)) && !build_is_full(b)) {
        json_val *value = yyjson_obj_iter_get_val(key);
        add_indent(b, depth);
        build_text(b, json_str(key));
        build_text(b, STR(": "));
        add_value(b, value, depth + 1);
    }
}

static void add_list(struct builder *b, json_val *v, int depth) {
    yyjson_arr_iter it = yyjson_arr_iter_with(v);
    json_val *item;
    while ((item = yyjson_arr_iter_next(&it)) && !build_is_full(b)) {
        if (is_flat(item)) {
            add_indent(b, depth);
            build_text(b, STR("- "));
        } else if (depth == 0) {
            build_break(b);
        }
        add_value(b, item, depth);
    }
}

static void add_value(struct builder *b, json_val *v, int depth) {
    if (yyjson_is_obj(v))
        add_object(b, v, depth);
    else if (yyjson_is_arr(v))
        add_list(b, v, depth);
    else
        add_scalar(b, v);
}

/* JSON lines: each line a value. *ret: how many were read; what is none ends it. */
static enum extract_fault read_json_lines(struct reading *r, struct str text, size_t *ret) {
    struct errinfo ei;
    *ret = 0;
    while (text.n && !build_is_full(&r->b)) {
        struct str line = str_trim(str_cut(&text, '\n'));
        yyjson_doc *doc;
        if (line.n == 0)
            continue;
        enum err e = json_parse(line, &doc, &ei);
        if (e)
            return e == ERR_NOMEM ? EXTRACT_MEMORY : EXTRACT_DAMAGED;
        build_break(&r->b);
        add_value(&r->b, yyjson_doc_get_root(doc), 0);
        yyjson_doc_free(doc);
        ++*ret;
    }
    return EXTRACT_OK;
}

static bool nested_too_deeply(struct str text) {
    int depth = 0, most = 0;
    bool quoted = false;
    for (size_t i = 0; i < text.n; i++) {
        char c = text.p[i];
        if (quoted && c == '\\')
            i++;
        else if (c == '"')
            quoted = !quoted;
        else if (!quoted && (c == '{' || c == '['))
            most = ++depth > most ? depth : most;
        else if (!quoted && (c == '}' || c == ']'))
            depth--;
    }
    return most > JSON_MAX_DEPTH;
}

enum extract_fault read_json(struct reading *r, struct str bytes) {
    struct str text;
    yyjson_doc *doc;
    struct errinfo ei;
    size_t lines;
    enum extract_fault f = decode(r, bytes, &text);
    if (f)
        return f;
    enum err e = json_parse(text, &doc, &ei);
    if (!e) {
        add_value(&r->b, yyjson_doc_get_root(doc), 0);
        yyjson_doc_free(doc);
        return EXTRACT_OK;
    }
    if (e == ERR_NOMEM)
        return EXTRACT_MEMORY;
    if (nested_too_deeply(text))
        return EXTRACT_TOO_DEEP;
    f = read_json_lines(r, text, &lines);
    if (f != EXTRACT_DAMAGED || lines > 0)
        return f;
    return read_code(r, bytes); /* not JSON, but text it is */
}
