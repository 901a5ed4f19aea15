/* OpenDocument (ODF 1.3): text, spreadsheets, presentations; one walk for all of them. */
#include "extract/formats.h"

struct odf {
    struct reading *r;
    int table_depth, page;
    int deleted; /* inside of tracked changes and notes of the author */
    int repeat;  /* of an empty cell */
    bool sheets;
    size_t cell_from;
};

static bool is_left_out(const char *name) {
    return strcmp(name, "tracked-changes") == 0 || strcmp(name, "annotation") == 0 ||
           strcmp(name, "forms") == 0 || strcmp(name, "desc") == 0;
}

static void begin_table(struct odf *d, const struct xml_attr *attrs, size_t n) {
    struct builder *b = &d->r->b;
    struct str name = xml_attr(attrs, n, "name");
    if (d->sheets && d->table_depth == 0) {
        build_page(b, ++d->page);
        build_begin(b, DOC_HEADING, 1);
        build_text(b, name);
        build_end(b, DOC_HEADING);
    }
    d->table_depth++;
    build_begin(b, DOC_TABLE, 1);
}

static void begin_cell(struct odf *d, const struct xml_attr *attrs, size_t n) {
    uint64_t repeat = 1;
    (void)str_to_u64(xml_attr(attrs, n, "number-columns-repeated"), &repeat);
    d->repeat = repeat > 32 ? 1 : (int)repeat;
    build_cell(&d->r->b);
    d->cell_from = d->r->b.text.n;
}

static void odf_begin(void *ctx, const char *name, const struct xml_attr *attrs, size_t n) {
    struct odf *d = ctx;
    struct builder *b = &d->r->b;
    uint64_t level = 1;
    if (is_left_out(name))
        d->deleted++;
    if (d->deleted)
        return;
    if (strcmp(name, "spreadsheet") == 0) {
        d->sheets = true;
    } else if (strcmp(name, "h") == 0) {
        (void)str_to_u64(xml_attr(attrs, n, "outline-level"), &level);
        build_begin(b, DOC_HEADING, level < 1 ? 1 : level > 6 ? 6 : (int)level);
    } else if (strcmp(name, "p") == 0) {
        build_break(b);
    } else if (strcmp(name, "list-item") == 0) {
        build_line(b);
    } else if (strcmp(name, "s") == 0 || strcmp(name, "tab") == 0) {
        build_text(b, STR(" "));
    } else if (strcmp(name, "line-break") == 0) {
        build_line(b);
    } else if (strcmp(name, "page") == 0) {
        build_page(b, ++d->page);
    } else if (strcmp(name, "table") == 0) {
        begin_table(d, attrs, n);
    } else if (strcmp(name, "table-row") == 0) {
        build_row(b);
    } else if (strcmp(name, "table-cell") == 0) {
        begin_cell(d, attrs, n);
    }
}

static void end_cell(struct odf *d) {
    struct builder *b = &d->r->b;
    bool empty = b->text.n == d->cell_from;
    build_cell_end(b);
    for (int i = 1; i < d->repeat && empty; i++) {
        build_cell(b);
        build_cell_end(b);
    }
}

static void odf_end(void *ctx, const char *name) {
    struct odf *d = ctx;
    struct builder *b = &d->r->b;
    if (is_left_out(name)) {
        d->deleted--;
        return;
    }
    if (d->deleted)
        return;
    if (strcmp(name, "h") == 0)
        build_end(b, DOC_HEADING);
    else if (strcmp(name, "p") == 0)
        build_break(b);
    else if (strcmp(name, "table-cell") == 0)
        end_cell(d);
    else if (strcmp(name, "table") == 0) {
        d->table_depth--;
        build_end(b, DOC_TABLE);
    }
}

static void odf_text(void *ctx, struct str s) {
    struct odf *d = ctx;
    if (!d->deleted)
        build_text(&d->r->b, s);
}

static bool odf_full(void *ctx) {
    return build_is_full(&((struct odf *)ctx)->r->b);
}

struct meta {
    struct buf title;
    bool in_title;
};

static void meta_begin(void *ctx, const char *name, const struct xml_attr *attrs, size_t n) {
    (void)attrs, (void)n;
    ((struct meta *)ctx)->in_title = strcmp(name, "title") == 0;
}

static void meta_end(void *ctx, const char *name) {
    (void)name;
    ((struct meta *)ctx)->in_title = false;
}

static void meta_text(void *ctx, struct str s) {
    struct meta *m = ctx;
    if (m->in_title)
        buf_adds(&m->title, s);
}

static bool odf_wants(struct str name) {
    return str_eqz(name, "content.xml") || str_eqz(name, "meta.xml") ||
           str_eqz(name, "META-INF/manifest.xml");
}

enum extract_fault read_odf(struct reading *r, struct str bytes) {
    static const struct xml_handler content = {odf_begin, odf_end, odf_text, odf_full};
    static const struct xml_handler about = {meta_begin, meta_end, meta_text, NULL};
    struct zip z;
    enum extract_fault f = zip_read(bytes, odf_wants, r->arena, &z);
    if (f)
        return f;
    if (str_find(zip_find(&z, STR("META-INF/manifest.xml")), STR("encryption-data")) != SIZE_MAX)
        return EXTRACT_ENCRYPTED;
    struct meta m = {0};
    buf_init(&m.title, 4096);
    struct str xml = zip_find(&z, STR("meta.xml"));
    if (xml.n && !xml_walk(xml, &about, &m))
        build_title(&r->b, buf_str(&m.title));
    buf_deinit(&m.title);
    xml = zip_find(&z, STR("content.xml"));
    struct odf d = {.r = r};
    return xml.p ? xml_walk(xml, &content, &d) : EXTRACT_DAMAGED;
}
