/* Sitemaps (sitemaps.org 0.9), RSS 0.9 to 2.0 and Atom (RFC 4287) as lists of links:
 * "URL\tdate\ttitle\n", and "+URL\tdate\t\n" for a sitemap in a sitemap. Dates stand as they were
 * written; control characters in what was written become blanks. */
#include "extract/formats.h"

#define LINKS_MAX 50000 /* what a sitemap may hold */

struct links {
    struct reading *r;
    struct buf *into; /* of the open element, NULL = its text does not matter */
    struct buf url, date, title;
    bool in_entry, nested, is_list;
    size_t n;
};

static bool is_entry(const char *name) {
    return strcmp(name, "url") == 0 || strcmp(name, "sitemap") == 0 || strcmp(name, "item") == 0 ||
           strcmp(name, "entry") == 0;
}

static void links_begin(void *ctx, const char *name, const struct xml_attr *attrs, size_t n) {
    struct links *l = ctx;
    struct str rel = xml_attr(attrs, n, "rel"), href = xml_attr(attrs, n, "href");
    l->into = NULL;
    if (strcmp(name, "urlset") == 0 || strcmp(name, "sitemapindex") == 0 ||
        strcmp(name, "rss") == 0 || strcmp(name, "feed") == 0 || strcmp(name, "RDF") == 0)
        l->is_list = true;
    if (is_entry(name) && !l->in_entry) {
        l->in_entry = true;
        l->nested = strcmp(name, "sitemap") == 0;
        buf_clear(&l->url);
        buf_clear(&l->date);
        buf_clear(&l->title);
    } else if (!l->in_entry) {
        return;
    } else if (strcmp(name, "link") == 0 && href.n) {
        if (!l->url.n && (!rel.n || str_eqz(rel, "alternate")))
            buf_adds(&l->url, href);
    } else if ((strcmp(name, "loc") == 0 || strcmp(name, "link") == 0) && !l->url.n) {
        l->into = &l->url;
    } else if ((strcmp(name, "lastmod") == 0 || strcmp(name, "pubDate") == 0 ||
                strcmp(name, "updated") == 0 || strcmp(name, "date") == 0) &&
               !l->date.n) {
        l->into = &l->date;
    } else if (strcmp(name, "title") == 0 && !l->title.n) {
        l->into = &l->title;
    }
}

static void add_field(struct builder *b, const struct buf *field, char end) {
    struct str s = str_trim(buf_str(field));
    for (size_t i = 0; i < s.n; i++)
        buf_addc(&b->text, (unsigned char)s.p[i] < ' ' ? ' ' : s.p[i]);
    buf_addc(&b->text, end);
}

static void links_end(void *ctx, const char *name) {
    struct links *l = ctx;
    struct builder *b = &l->r->b;
    l->into = NULL;
    if (!l->in_entry || !is_entry(name))
        return;
    l->in_entry = false;
    if (!str_trim(buf_str(&l->url)).n || l->url.err || l->n == LINKS_MAX)
        return;
    l->n++;
    if (l->nested)
        buf_addc(&b->text, '+');
    add_field(b, &l->url, '\t');
    add_field(b, &l->date, '\t');
    add_field(b, &l->title, '\n');
}

static void links_text(void *ctx, struct str s) {
    struct links *l = ctx;
    if (l->into)
        buf_adds(l->into, s);
}

enum extract_fault read_links(struct reading *r, struct str bytes) {
    static const struct xml_handler h = {links_begin, links_end, links_text, NULL};
    struct links l = {.r = r};
    if (bytes.n == 0)
        return EXTRACT_EMPTY;
    buf_init(&l.url, 4096);
    buf_init(&l.date, 100);
    buf_init(&l.title, 2000);
    enum extract_fault f = xml_walk(bytes, &h, &l);
    buf_deinit(&l.url);
    buf_deinit(&l.date);
    buf_deinit(&l.title);
    return f ? f : !l.is_list ? EXTRACT_UNSUPPORTED : !l.n ? EXTRACT_NO_TEXT : EXTRACT_OK;
}
