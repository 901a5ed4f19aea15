/* EPUB 2 and 3: the package names the chapters and their order; each is XHTML. Its encryption (DRM)
 * hides the chapters, not the list. */
#include "extract/formats.h"

#define CHAPTERS_MAX 5000

struct package {
    struct arena *arena;
    struct str root; /* container.xml: where the package is */
    struct {
        struct str id, href;
    } items[CHAPTERS_MAX];
    size_t n_items;
    struct str spine[CHAPTERS_MAX]; /* ids in order */
    size_t n_spine;
    struct buf title;
    bool in_title;
};

static void container_begin(void *ctx, const char *name, const struct xml_attr *attrs, size_t n) {
    struct package *p = ctx;
    if (strcmp(name, "rootfile") == 0 && !p->root.n)
        p->root = arena_str(p->arena, xml_attr(attrs, n, "full-path"));
}

static void package_begin(void *ctx, const char *name, const struct xml_attr *attrs, size_t n) {
    struct package *p = ctx;
    p->in_title = strcmp(name, "title") == 0 && !p->title.n;
    if (strcmp(name, "item") == 0 && p->n_items < CHAPTERS_MAX) {
        p->items[p->n_items].id = arena_str(p->arena, xml_attr(attrs, n, "id"));
        p->items[p->n_items++].href = arena_str(p->arena, xml_attr(attrs, n, "href"));
    } else if (strcmp(name, "itemref") == 0 && p->n_spine < CHAPTERS_MAX) {
        p->spine[p->n_spine++] = arena_str(p->arena, xml_attr(attrs, n, "idref"));
    }
}

static void package_end(void *ctx, const char *name) {
    (void)name;
    ((struct package *)ctx)->in_title = false;
}

static void package_text(void *ctx, struct str s) {
    struct package *p = ctx;
    if (p->in_title)
        buf_adds(&p->title, s);
}

static int hex(char c) {
    return c >= '0' && c <= '9'                     ? c - '0'
           : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (c | 0x20) - 'a' + 10
                                                    : -1;
}

/* A relative reference in the package, without fragment and percent signs, beside `root`. */
static struct str member_name(struct arena *a, struct str root, struct str href) {
    struct buf b;
    size_t slash = root.n;
    buf_init(&b, 4096);
    while (slash > 0 && root.p[slash - 1] != '/')
        slash--;
    buf_add(&b, root.p, slash);
    for (size_t i = 0; i < href.n && href.p[i] != '#'; i++) {
        bool coded = href.p[i] == '%' && i + 2 < href.n && hex(href.p[i + 1]) >= 0 &&
                     hex(href.p[i + 2]) >= 0;
        if (coded) {
            buf_addc(&b, (char)(hex(href.p[i + 1]) * 16 + hex(href.p[i + 2])));
            i += 2;
        } else {
            buf_addc(&b, href.p[i]);
        }
    }
    struct str s = arena_str(a, buf_str(&b));
    buf_deinit(&b);
    return s;
}

static bool epub_wants(struct str name) {
    static const char *const ends[] = {".xhtml", ".html", ".htm", ".opf", ".xml"};
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++)
        if (name.n > 4 && str_ends(name, str_from(ends[i])))
            return true;
    return false;
}

static enum extract_fault read_chapters(struct reading *r, struct package *p, const struct zip *z) {
    enum extract_fault f = EXTRACT_OK;
    for (size_t i = 0; i < p->n_spine && !f; i++)
        for (size_t k = 0; k < p->n_items; k++) {
            if (!str_eq(p->items[k].id, p->spine[i]))
                continue;
            struct str name = member_name(r->arena, p->root, p->items[k].href), text;
            struct str bytes = zip_find(z, name);
            build_break(&r->b);
            if (bytes.n && !(f = read_decoded(r, bytes, STR("utf-8"), &text)))
                f = read_html_text(r, text);
            break;
        }
    return f;
}

enum extract_fault read_epub(struct reading *r, struct str bytes) {
    static const struct xml_handler container = {container_begin, NULL, NULL, NULL};
    static const struct xml_handler opf = {package_begin, package_end, package_text, NULL};
    struct zip z;
    enum extract_fault f = zip_read(bytes, epub_wants, r->arena, &z);
    struct package *p = f ? NULL : arena_alloc(r->arena, sizeof *p);
    if (!p)
        return f ? f : EXTRACT_MEMORY;
    p->arena = r->arena;
    buf_init(&p->title, 4096);
    struct str xml = zip_find(&z, STR("META-INF/container.xml"));
    f = xml.n ? xml_walk(xml, &container, p) : EXTRACT_DAMAGED;
    if (!f) {
        xml = zip_find(&z, p->root);
        f = p->root.n && xml.n ? xml_walk(xml, &opf, p) : EXTRACT_DAMAGED;
    }
    if (!f)
        build_title(&r->b, buf_str(&p->title));
    if (!f)
        f = read_chapters(r, p, &z);
    buf_deinit(&p->title);
    if (!f && zip_find(&z, STR("META-INF/encryption.xml")).n && r->b.text.n < 200)
        return EXTRACT_ENCRYPTED;
    return f;
}
