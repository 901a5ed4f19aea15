/* See openai_redact.h. */
#include "api/openai_redact.h"

#include "safety/json_text.h"

#define TEXT_CAP ((size_t)16 << 20)

bool openai_is_control(struct str key) {
    static const char *const keys[] = {"model", "messages", "parley", "user", "stream"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (str_eqz(key, keys[i]))
            return true;
    return false;
}

/* In a message, a tool, a schema. */
static bool is_word(struct str key) {
    static const char *const keys[] = {"type",   "role",   "id",      "tool_call_id", "url", "data",
                                       "format", "detail", "file_id", "file_data",    "$ref"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (str_eqz(key, keys[i]))
            return true;
    return false;
}

void openai_add_texts(json_val *v, struct buf *b) {
    size_t i, n;
    json_val *k, *x;
    if (yyjson_is_str(v) && yyjson_get_len(v) > 0) {
        buf_adds(b, json_str(v));
        buf_addc(b, '\n');
    }
    if (yyjson_is_arr(v)) {
        yyjson_arr_foreach(v, i, n, x) openai_add_texts(x, b);
    }
    if (yyjson_is_obj(v)) {
        yyjson_obj_foreach(v, i, n, k, x) {
            if (!is_word(json_str(k)))
                openai_add_texts(x, b);
        }
    }
}

/* ---- one text ---- */

/* Appends it with what is to be replaced; nothing when there is nothing of it. */
static enum err redact_text(struct openai_redaction *r, struct str text, struct buf *out) {
    return safety_redact(r->safety, r->role, r->direction, text, r->vault, out);
}

struct arguments {
    struct openai_redaction *r;
    struct str text;
    struct buf hits; /* struct pii_hit, in order */
};

static enum err find_hits(struct arguments *a) {
    struct pii_hit hits[64];
    for (size_t at = 0, n; at < a->text.n; at = pii_next(a->text, hits, n, 64)) {
        n = pii_scan_from(a->text, at, hits, 64);
        for (size_t i = 0; i < n; i++)
            if (a->r->role->pii[hits[i].kind][a->r->direction] == SAFETY_REDACT)
                buf_add(&a->hits, &hits[i], sizeof hits[i]);
    }
    return buf_err(&a->hits);
}

/* Part of the text; of what stands in two parts each has the whole placeholder. */
static enum err write_part(void *ctx, size_t from, size_t to, struct buf *out) {
    const struct arguments *a = ctx;
    const struct pii_hit *hits = (const struct pii_hit *)a->hits.p;
    size_t at = from, n = a->hits.n / sizeof *hits, low = 0, high = n;
    while (low < high) { /* the first that ends behind `from` */
        size_t middle = (low + high) / 2;
        if (hits[middle].to > from)
            high = middle;
        else
            low = middle + 1;
    }
    for (size_t i = low; i < n && hits[i].from < to; i++) {
        if (hits[i].from > at)
            buf_adds(out, str_sub(a->text, at, hits[i].from - at));
        struct str value = str_sub(a->text, hits[i].from, hits[i].to - hits[i].from);
        struct pii_hit whole = {hits[i].kind, hits[i].detail, 0, value.n};
        enum err e = pii_redact(*a->r->vault, value, &whole, 1, out);
        if (e)
            return e;
        at = hits[i].to < to ? hits[i].to : to;
    }
    buf_adds(out, str_sub(a->text, at, to - at));
    return buf_err(out);
}

/* The same of JSON in a string. */
static enum err redact_arguments(struct openai_redaction *r, struct str json, struct buf *out) {
    struct json_text j;
    struct buf text;
    struct arguments a = {.r = r};
    json_text_init(&j, json.n);
    buf_init(&text, TEXT_CAP);
    buf_init(&a.hits, TEXT_CAP);
    enum err e = json_text_read(&j, json, TEXT_ENDS, &text);
    a.text = buf_str(&text);
    if (!e)
        e = find_hits(&a);
    if (!e && a.hits.n && !*r->vault && !(*r->vault = pii_vault_new()))
        e = ERR_NOMEM;
    if (!e && a.hits.n)
        e = json_text_write(&j, text.n, true, write_part, &a, out);
    buf_deinit(&a.hits);
    buf_deinit(&text);
    json_text_deinit(&j);
    return e;
}

static enum err redact_member(struct openai_redaction *r, struct str key, struct str text,
                              struct buf *out) {
    return str_eqz(key, "arguments") ? redact_arguments(r, text, out) : redact_text(r, text, out);
}

/* ---- all of them ---- */

static enum err needs(struct openai_redaction *r, struct str key, json_val *v, bool *ret) {
    size_t i, n;
    json_val *k, *x;
    enum err e = ERR_OK;
    if (yyjson_is_str(v)) {
        struct buf b;
        buf_init(&b, TEXT_CAP);
        e = redact_member(r, key, json_str(v), &b);
        *ret = *ret || b.n > 0;
        buf_deinit(&b);
    } else if (yyjson_is_arr(v)) {
        yyjson_arr_foreach(v, i, n, x) {
            if (!e && !*ret)
                e = needs(r, key, x, ret);
        }
    } else if (yyjson_is_obj(v)) {
        yyjson_obj_foreach(v, i, n, k, x) {
            if (!e && !*ret && !is_word(json_str(k)))
                e = needs(r, json_str(k), x, ret);
        }
    }
    return e;
}

enum err openai_needs_redaction(struct openai_redaction *r, json_val *root, bool *ret) {
    size_t i, n;
    json_val *k, *v;
    enum err e = ERR_OK;
    *ret = false;
    yyjson_obj_foreach(root, i, n, k, v) {
        struct str key = json_str(k);
        if (!e && !*ret && (!openai_is_control(key) || str_eqz(key, "messages")))
            e = needs(r, key, v, ret);
    }
    return e;
}

static struct str mut_str(yyjson_mut_val *v) {
    return (struct str){yyjson_mut_get_str(v), yyjson_mut_get_len(v)};
}

static enum err replace(struct openai_redaction *r, struct str key, yyjson_mut_val *v) {
    enum err e = ERR_OK;
    if (yyjson_mut_is_str(v)) {
        struct buf b;
        buf_init(&b, TEXT_CAP);
        e = redact_member(r, key, mut_str(v), &b);
        struct str s = !e && b.n ? arena_str(r->arena, buf_str(&b)) : STR("");
        if (!e && b.n && (!s.p || !yyjson_mut_set_strn(v, s.p, s.n)))
            e = ERR_NOMEM;
        buf_deinit(&b);
    } else if (yyjson_mut_is_arr(v)) {
        yyjson_mut_arr_iter it = yyjson_mut_arr_iter_with(v);
        for (yyjson_mut_val *x; !e && (x = yyjson_mut_arr_iter_next(&it));)
            e = replace(r, key, x);
    } else if (yyjson_mut_is_obj(v)) {
        yyjson_mut_obj_iter it = yyjson_mut_obj_iter_with(v);
        for (yyjson_mut_val *k; !e && (k = yyjson_mut_obj_iter_next(&it));)
            if (!is_word(mut_str(k)))
                e = replace(r, mut_str(k), yyjson_mut_obj_iter_get_val(k));
    }
    return e;
}

enum err openai_redact(struct openai_redaction *r, yyjson_mut_val *root) {
    yyjson_mut_obj_iter it = yyjson_mut_obj_iter_with(root);
    enum err e = ERR_OK;
    for (yyjson_mut_val *k; !e && (k = yyjson_mut_obj_iter_next(&it));)
        if (!openai_is_control(mut_str(k)) || str_eqz(mut_str(k), "messages"))
            e = replace(r, mut_str(k), yyjson_mut_obj_iter_get_val(k));
    return e;
}
