/* What a search service answers, as hits; see web_search.h. The bytes are a stranger's. */
#include <stdio.h>

#include "base/json.h"
#include "retrieval/web_search.h"

#define TEXT_MAX  2000
#define TITLE_MAX 300
#define URL_MAX   2048
#define HITS_MAX  20

static void take_name(const json_val *v, const char *key, char *out, size_t size) {
    struct str s = json_get_str(v, key);
    if (s.n > 0 && s.n < size && !memchr(s.p, 0, s.n))
        snprintf(out, size, "%.*s", STR_ARG(s));
}

static int take_number(const json_val *v, const char *key, int64_t min, int64_t max, int standard) {
    int64_t n = json_get_int(v, key, standard);
    return (int)(n < min ? min : n > max ? max : n);
}

void web_map_read(struct str settings, struct web_map *ret) {
    struct errinfo ei;
    yyjson_doc *doc = NULL;
    *ret = (struct web_map){.results = "results",
                            .title = "title",
                            .url = "url",
                            .text = "content",
                            .max = 5,
                            .timeout_ms = 1500,
                            .cache_minutes = 60};
    if (!settings.n || json_parse(settings, &doc, &ei))
        return;
    const json_val *v = yyjson_doc_get_root(doc);
    take_name(v, "results", ret->results, sizeof ret->results);
    take_name(v, "title", ret->title, sizeof ret->title);
    take_name(v, "url", ret->url, sizeof ret->url);
    take_name(v, "text", ret->text, sizeof ret->text);
    ret->max = take_number(v, "max", 1, HITS_MAX, 5);
    ret->timeout_ms = take_number(v, "timeout_ms", 100, 30000, 1500);
    ret->cache_minutes = take_number(v, "cache_minutes", 0, 10080, 60);
    yyjson_doc_free(doc);
}

/* "a.b.c" from v on; NULL when there is none. */
static json_val *at_path(json_val *v, const char *path) {
    struct str rest = str_from(path);
    while (v && rest.n) {
        struct str key = str_cut(&rest, '.');
        v = yyjson_obj_getn(v, key.p, key.n);
    }
    return v;
}

/* Plain and on one line: tags are left out, white space is one blank. */
static struct str clean(struct str s, size_t max, struct arena *a) {
    char *out = arena_alloc(a, s.n + 1);
    size_t n = 0;
    bool tag = false;
    for (size_t i = 0; out && i < s.n; i++) {
        char c = s.p[i];
        bool begins = c == '<' && i + 1 < s.n && (s.p[i + 1] == '/' || (s.p[i + 1] | 0x20) >= 'a');
        if (tag || begins) {
            tag = c != '>';
            continue;
        }
        bool white = (unsigned char)c <= ' ' || c == 0x7f;
        if (!white)
            out[n++] = c;
        else if (n > 0 && out[n - 1] != ' ')
            out[n++] = ' ';
    }
    struct str r = {out, out ? n : 0};
    return str_trim(str_sub(r, 0, utf8_cut(r, max)));
}

static bool is_web(struct str url) {
    return (str_starts(url, STR("http://")) || str_starts(url, STR("https://"))) && url.n < URL_MAX;
}

enum err web_hits_read(struct str json, const struct web_map *m, struct str source_name,
                       struct arena *a, struct web_hit **ret, size_t *ret_n, struct errinfo *ei) {
    yyjson_doc *doc;
    size_t n = 0;
    enum err e = json_parse(json, &doc, ei);
    if (e)
        return e;
    json_val *list = at_path(yyjson_doc_get_root(doc), m->results);
    struct web_hit *hits = arena_array(a, HITS_MAX, sizeof *hits);
    if (!yyjson_is_arr(list))
        e = err_set(ei, ERR_INVALID, "the answer has no list \"%s\"", m->results);
    else if (!hits)
        e = err_set(ei, ERR_NOMEM, NULL);
    yyjson_arr_iter it = yyjson_arr_iter_with(list);
    json_val *item;
    while (!e && n < (size_t)m->max && (item = yyjson_arr_iter_next(&it))) {
        struct str url = json_str(at_path(item, m->url));
        struct web_hit h = {.source_name = source_name,
                            .title = clean(json_str(at_path(item, m->title)), TITLE_MAX, a),
                            .url = is_web(url) ? clean(url, URL_MAX, a) : STR(""),
                            .text = clean(json_str(at_path(item, m->text)), TEXT_MAX, a),
                            .rank = (int)n + 1};
        if (h.text.n || h.title.n)
            hits[n++] = h;
    }
    yyjson_doc_free(doc);
    if (e)
        return e;
    *ret = hits;
    *ret_n = n;
    return ERR_OK;
}

char *web_url(struct str location, struct str query, struct arena *a) {
    static const char hex[] = "0123456789ABCDEF";
    struct buf b;
    size_t at = str_find(location, STR("{query}"));
    query = str_sub(query, 0, utf8_cut(query, 400));
    if (at == SIZE_MAX)
        return NULL;
    buf_init(&b, URL_MAX);
    buf_add(&b, location.p, at);
    for (size_t i = 0; i < query.n; i++) {
        unsigned char c = (unsigned char)query.p[i];
        bool plain = (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') ||
                     strchr("-_.~", c) != NULL;
        if (plain && c) {
            buf_addc(&b, (char)c);
        } else {
            buf_addc(&b, '%');
            buf_addc(&b, hex[c >> 4]);
            buf_addc(&b, hex[c & 15]);
        }
    }
    buf_adds(&b, str_sub(location, at + 7, location.n));
    char *url = buf_err(&b) ? NULL : arena_strz(a, buf_str(&b));
    buf_deinit(&b);
    return url;
}
