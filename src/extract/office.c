/* Office Open XML (ECMA-376): DOCX, PPTX, XLSX. Only what carries text is looked at. */
#include <stdio.h>
#include <stdlib.h>

#include "extract/formats.h"

static bool full(void *ctx) {
    return build_is_full(&((struct reading *)ctx)->b);
}

/* ---- docProps/core.xml: the title ---- */

struct core {
    struct reading *r;
    bool in_title;
    struct buf title;
};

static void core_begin(void *ctx, const char *name, const struct xml_attr *attrs, size_t n) {
    (void)attrs, (void)n;
    ((struct core *)ctx)->in_title = strcmp(name, "title") == 0;
}

static void core_text(void *ctx, struct str s) {
    struct core *c = ctx;
    if (c->in_title)
        buf_adds(&c->title, s);
}

static void core_end(void *ctx, const char *name) {
    (void)name;
    ((struct core *)ctx)->in_title = false;
}

static void read_core(struct reading *r, struct str xml) {
    static const struct xml_handler h = {core_begin, core_end, core_text, NULL};
    struct core c = {.r = r};
    buf_init(&c.title, 4096);
    if (xml.n && !xml_walk(xml, &h, &c))
        build_title(&r->b, buf_str(&c.title));
    buf_deinit(&c.title);
}

/* ---- DOCX ---- */

#define STYLES_MAX 500
struct style {
    struct str id; /* in the arena */
    int level;     /* of a heading; 0 = none */
};

struct docx {
    struct reading *r;
    struct style styles[STYLES_MAX];
    size_t n_styles;
    struct style *open; /* while styles.xml is read */
    int level;          /* of the paragraph */
    bool in_text, in_table;
    bool heading_open;
    int table_depth;
    int page; /* 0 until a page break is seen */
};

static int heading_level(struct str style_name) {
    uint64_t n;
    if (str_eq_nocase(style_name, STR("title")))
        return 1;
    if (style_name.n > 8 && str_eq_nocase(str_sub(style_name, 0, 8), STR("heading ")) &&
        str_to_u64(str_sub(style_name, 8, style_name.n), &n) && n >= 1)
        return n > 6 ? 6 : (int)n;
    return 0;
}

static void styles_begin(void *ctx, const char *name, const struct xml_attr *attrs, size_t n) {
    struct docx *d = ctx;
    struct str v = xml_attr(attrs, n, "val");
    uint64_t level;
    if (strcmp(name, "style") == 0) {
        d->open = NULL;
        if (d->n_styles < STYLES_MAX) {
            d->open = &d->styles[d->n_styles++];
            d->open->id = arena_str(d->r->arena, xml_attr(attrs, n, "styleId"));
        }
    } else if (d->open && strcmp(name, "name") == 0) {
        d->open->level = heading_level(v);
    } else if (d->open && strcmp(name, "outlineLvl") == 0 && str_to_u64(v, &level) && level < 6) {
        d->open->level = (int)level + 1;
    }
}

static int style_level(const struct docx *d, struct str id) {
    for (size_t i = 0; i < d->n_styles; i++)
        if (str_eq(d->styles[i].id, id))
            return d->styles[i].level;
    if (str_starts(id, STR("Heading")) && id.n == 8 && id.p[7] >= '1' && id.p[7] <= '6')
        return id.p[7] - '0';
    return str_eqz(id, "Title") ? 1 : 0;
}

static void docx_page(struct docx *d) {
    if (d->page == 0) {
        d->page = 1; /* the text until now was page 1 */
        d->r->b.page = 1;
        d->r->b.page_from = 0;
        d->r->b.pages = 1;
    }
    if (!d->in_table && !d->heading_open)
        build_page(&d->r->b, ++d->page);
}

static void docx_begin(void *ctx, const char *name, const struct xml_attr *attrs, size_t n) {
    struct docx *d = ctx;
    struct builder *b = &d->r->b;
    uint64_t level;
    if (strcmp(name, "p") == 0) {
        d->level = 0;
        build_break(b);
    } else if (strcmp(name, "pStyle") == 0) {
        d->level = style_level(d, xml_attr(attrs, n, "val"));
    } else if (strcmp(name, "outlineLvl") == 0 && !d->open) {
        d->level =
            str_to_u64(xml_attr(attrs, n, "val"), &level) && level < 6 ? (int)level + 1 : d->level;
    } else if (strcmp(name, "r") == 0 && d->level && !d->heading_open && !d->in_table) {
        build_begin(b, DOC_HEADING, d->level);
        d->heading_open = true;
    } else if (strcmp(name, "t") == 0) {
        d->in_text = true;
    } else if (strcmp(name, "tab") == 0) {
        build_text(b, STR(" "));
    } else if (strcmp(name, "br") == 0 && str_eqz(xml_attr(attrs, n, "type"), "page")) {
        docx_page(d);
    } else if (strcmp(name, "lastRenderedPageBreak") == 0) {
        docx_page(d);
    } else if (strcmp(name, "br") == 0 || strcmp(name, "cr") == 0) {
        build_line(b);
    } else if (strcmp(name, "tbl") == 0) {
        build_begin(b, DOC_TABLE, 1);
        d->in_table = ++d->table_depth > 0;
    } else if (strcmp(name, "tr") == 0) {
        build_row(b);
    } else if (strcmp(name, "tc") == 0) {
        build_cell(b);
    }
}

static void docx_end(void *ctx, const char *name) {
    struct docx *d = ctx;
    struct builder *b = &d->r->b;
    if (strcmp(name, "t") == 0)
        d->in_text = false;
    else if (strcmp(name, "p") == 0) {
        if (d->heading_open)
            build_end(b, DOC_HEADING);
        d->heading_open = false;
        build_break(b);
    } else if (strcmp(name, "tc") == 0)
        build_cell_end(b);
    else if (strcmp(name, "tbl") == 0) {
        build_end(b, DOC_TABLE);
        d->in_table = --d->table_depth > 0;
    }
}

static void docx_text(void *ctx, struct str s) {
    struct docx *d = ctx;
    if (d->in_text)
        build_text(&d->r->b, s);
}

static bool docx_full(void *ctx) {
    return full(((struct docx *)ctx)->r);
}

static bool docx_wants(struct str name) {
    return str_eqz(name, "word/document.xml") || str_eqz(name, "word/styles.xml") ||
           str_eqz(name, "word/footnotes.xml") || str_eqz(name, "docProps/core.xml");
}

enum extract_fault read_docx(struct reading *r, struct str bytes) {
    static const struct xml_handler styles = {styles_begin, NULL, NULL, NULL};
    static const struct xml_handler document = {docx_begin, docx_end, docx_text, docx_full};
    struct zip z;
    enum extract_fault f = zip_read(bytes, docx_wants, r->arena, &z);
    if (f)
        return f;
    struct docx *d = arena_alloc(r->arena, sizeof *d);
    if (!d)
        return EXTRACT_MEMORY;
    d->r = r;
    read_core(r, zip_find(&z, STR("docProps/core.xml")));
    struct str xml = zip_find(&z, STR("word/styles.xml"));
    if (xml.n && xml_walk(xml, &styles, d))
        d->n_styles = 0; /* the standard names are tried then */
    d->open = NULL;
    xml = zip_find(&z, STR("word/document.xml"));
    if (!xml.p)
        return EXTRACT_DAMAGED;
    f = xml_walk(xml, &document, d);
    xml = zip_find(&z, STR("word/footnotes.xml"));
    if (!f && xml.n)
        f = xml_walk(xml, &document, d);
    return f;
}

/* ---- PPTX: a slide is a page, its title a heading ---- */

struct pptx {
    struct reading *r;
    bool in_text, is_title, heading_open;
};

static void pptx_begin(void *ctx, const char *name, const struct xml_attr *attrs, size_t n) {
    struct pptx *d = ctx;
    struct builder *b = &d->r->b;
    if (strcmp(name, "sp") == 0) {
        d->is_title = false;
        build_break(b);
    } else if (strcmp(name, "ph") == 0) {
        struct str type = xml_attr(attrs, n, "type");
        d->is_title = str_eqz(type, "title") || str_eqz(type, "ctrTitle");
    } else if (strcmp(name, "p") == 0 && d->is_title && !d->heading_open) {
        build_begin(b, DOC_HEADING, 1);
        d->heading_open = true;
    } else if (strcmp(name, "p") == 0 || strcmp(name, "br") == 0) {
        build_line(b);
    } else if (strcmp(name, "t") == 0) {
        d->in_text = true;
    } else if (strcmp(name, "tbl") == 0) {
        build_begin(b, DOC_TABLE, 1);
    } else if (strcmp(name, "tr") == 0) {
        build_row(b);
    } else if (strcmp(name, "tc") == 0) {
        build_cell(b);
    }
}

static void pptx_end(void *ctx, const char *name) {
    struct pptx *d = ctx;
    struct builder *b = &d->r->b;
    if (strcmp(name, "t") == 0)
        d->in_text = false;
    else if (strcmp(name, "p") == 0)
        build_line(b);
    else if (strcmp(name, "sp") == 0) {
        if (d->heading_open)
            build_end(b, DOC_HEADING);
        d->heading_open = d->is_title = false;
        build_break(b);
    } else if (strcmp(name, "tc") == 0)
        build_cell_end(b);
    else if (strcmp(name, "tbl") == 0)
        build_end(b, DOC_TABLE);
}

static void pptx_text(void *ctx, struct str s) {
    struct pptx *d = ctx;
    if (d->in_text)
        build_text(&d->r->b, s);
}

static bool pptx_full(void *ctx) {
    return full(((struct pptx *)ctx)->r);
}

#define SLIDE "ppt/slides/slide"
static bool pptx_wants(struct str name) {
    return zip_number(name, SLIDE, ".xml") || str_eqz(name, "docProps/core.xml");
}

enum extract_fault read_pptx(struct reading *r, struct str bytes) {
    static const struct xml_handler slide = {pptx_begin, pptx_end, pptx_text, pptx_full};
    struct zip z;
    enum extract_fault f = zip_read(bytes, pptx_wants, r->arena, &z);
    if (f)
        return f;
    read_core(r, zip_find(&z, STR("docProps/core.xml")));
    zip_sort_by_number(&z, SLIDE, ".xml");
    int page = 0;
    for (size_t i = 0; i < z.n && !f; i++) {
        struct pptx d = {.r = r};
        if (!zip_number(z.members[i].name, SLIDE, ".xml"))
            continue;
        build_page(&r->b, ++page);
        f = xml_walk(z.members[i].bytes, &slide, &d);
    }
    return f ? f : page ? EXTRACT_OK : EXTRACT_DAMAGED;
}

/* ---- XLSX: a sheet is a page and a table ---- */

#define SHEETS_MAX 1000
struct xlsx {
    struct reading *r;
    struct str sheets[SHEETS_MAX]; /* names */
    size_t n_sheets;
    struct str *strings; /* shared ones, in the arena */
    size_t n_strings, strings_size;
    unsigned char *dates; /* by cell format: 1 = a date */
    size_t n_dates;
    unsigned char custom[1024]; /* number formats from 164 on that are dates */
    bool in_formats, in_value, phonetic;
    struct str type; /* of the open cell */
    size_t format;
    int column; /* the next one's number */
    struct buf value;
};

static void book_begin(void *ctx, const char *name, const struct xml_attr *attrs, size_t n) {
    struct xlsx *x = ctx;
    if (strcmp(name, "sheet") == 0 && x->n_sheets < SHEETS_MAX)
        x->sheets[x->n_sheets++] = arena_str(x->r->arena, xml_attr(attrs, n, "name"));
}

static bool is_date_code(struct str code) {
    bool quoted = false;
    for (size_t i = 0; i < code.n; i++) {
        char c = code.p[i];
        quoted ^= c == '"';
        if (!quoted && c == '[')
            return false; /* colours and elapsed times */
        if (!quoted && strchr("yYdD", c))
            return true;
    }
    return false;
}

static void xstyles_begin(void *ctx, const char *name, const struct xml_attr *attrs, size_t n) {
    struct xlsx *x = ctx;
    uint64_t id;
    if (strcmp(name, "numFmt") == 0 && str_to_u64(xml_attr(attrs, n, "numFmtId"), &id) &&
        id < sizeof x->custom)
        x->custom[id] = is_date_code(xml_attr(attrs, n, "formatCode"));
    if (strcmp(name, "cellXfs") == 0)
        x->in_formats = true;
    if (strcmp(name, "xf") == 0 && x->in_formats && x->n_dates < 65536 &&
        str_to_u64(xml_attr(attrs, n, "numFmtId"), &id))
        x->dates[x->n_dates++] =
            (id >= 14 && id <= 17) || id == 22 || (id < sizeof x->custom && x->custom[id]);
}

static void xstyles_end(void *ctx, const char *name) {
    if (strcmp(name, "cellXfs") == 0)
        ((struct xlsx *)ctx)->in_formats = false;
}

static void strings_begin(void *ctx, const char *name, const struct xml_attr *attrs, size_t n) {
    struct xlsx *x = ctx;
    (void)attrs, (void)n;
    if (strcmp(name, "si") == 0)
        buf_clear(&x->value);
    if (strcmp(name, "rPh") == 0)
        x->phonetic = true;
    x->in_value = strcmp(name, "t") == 0 && !x->phonetic;
}

static void strings_end(void *ctx, const char *name) {
    struct xlsx *x = ctx;
    x->in_value = false;
    if (strcmp(name, "rPh") == 0)
        x->phonetic = false;
    if (strcmp(name, "si") != 0)
        return;
    if (x->n_strings == x->strings_size) {
        size_t size = x->strings_size ? 2 * x->strings_size : 256;
        struct str *p = realloc(x->strings, size * sizeof *p);
        if (!p) {
            x->r->b.nomem = true;
            return;
        }
        x->strings = p;
        x->strings_size = size;
    }
    x->strings[x->n_strings++] = arena_str(x->r->arena, buf_str(&x->value));
}

static void xlsx_text(void *ctx, struct str s) {
    struct xlsx *x = ctx;
    if (x->in_value)
        buf_adds(&x->value, s);
}

/* "BC7" → 54; columns count from 0. */
static int column_of(struct str ref) {
    int n = 0;
    for (size_t i = 0; i < ref.n && i < 3 && ref.p[i] >= 'A' && ref.p[i] <= 'Z'; i++)
        n = n * 26 + (ref.p[i] - 'A' + 1);
    return n - 1;
}

static void sheet_begin(void *ctx, const char *name, const struct xml_attr *attrs, size_t n) {
    struct xlsx *x = ctx;
    uint64_t format;
    if (strcmp(name, "row") == 0) {
        build_row(&x->r->b);
        x->column = 0;
    } else if (strcmp(name, "c") == 0) {
        int column = column_of(xml_attr(attrs, n, "r"));
        for (; x->column < column && x->column < 256; x->column++)
            build_cell(&x->r->b); /* empty ones keep the others in their columns */
        build_cell(&x->r->b);
        x->column = column >= 0 ? column + 1 : x->column + 1;
        x->type = arena_str(x->r->arena, xml_attr(attrs, n, "t"));
        x->format = str_to_u64(xml_attr(attrs, n, "s"), &format) ? (size_t)format : 0;
        buf_clear(&x->value);
    }
    x->in_value = strcmp(name, "v") == 0 || strcmp(name, "t") == 0;
}

/* Days since 1899-12-30 as a date (civil_from_days, Hinnant). */
static void add_date(struct builder *b, double serial) {
    char out[40];
    int64_t z = (int64_t)serial - 25569 + 719468;
    int64_t era = z / 146097, doe = z - era * 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100), mp = (5 * doy + 2) / 153;
    int64_t month = mp < 10 ? mp + 3 : mp - 9;
    int64_t year = yoe + era * 400 + (month <= 2);
    int minutes = (int)((serial - (double)(int64_t)serial) * 1440 + 0.5);
    int n = snprintf(out, sizeof out, "%04lld-%02lld-%02lld", (long long)year, (long long)month,
                     (long long)(doy - (153 * mp + 2) / 5 + 1));
    if (minutes > 0 && minutes < 1440)
        snprintf(out + n, sizeof out - (size_t)n, " %02d:%02d", minutes / 60, minutes % 60);
    build_text(b, str_from(out));
}

static void sheet_end(void *ctx, const char *name) {
    struct xlsx *x = ctx;
    struct builder *b = &x->r->b;
    struct str v = buf_str(&x->value);
    uint64_t i;
    double serial;
    x->in_value = false;
    if (strcmp(name, "c") != 0)
        return;
    if (str_eqz(x->type, "s")) {
        if (str_to_u64(str_trim(v), &i) && i < x->n_strings)
            build_text(b, x->strings[i]);
    } else if (str_eqz(x->type, "b")) {
        build_text(b, str_eqz(v, "1") ? STR("TRUE") : STR("FALSE"));
    } else if (!x->type.n && x->format < x->n_dates && x->dates[x->format] &&
               str_to_double(v, &serial) && serial > 0 && serial < 2958466) {
        add_date(b, serial);
    } else {
        build_text(b, v);
    }
    build_cell_end(b);
}

static bool xlsx_full(void *ctx) {
    return full(((struct xlsx *)ctx)->r);
}

#define SHEET "xl/worksheets/sheet"
static bool xlsx_wants(struct str name) {
    return zip_number(name, SHEET, ".xml") || str_eqz(name, "xl/workbook.xml") ||
           str_eqz(name, "xl/sharedStrings.xml") || str_eqz(name, "xl/styles.xml") ||
           str_eqz(name, "docProps/core.xml");
}

static enum extract_fault read_sheets(struct xlsx *x, const struct zip *z) {
    static const struct xml_handler sheet = {sheet_begin, sheet_end, xlsx_text, xlsx_full};
    struct builder *b = &x->r->b;
    enum extract_fault f = EXTRACT_OK;
    int page = 0;
    for (size_t i = 0; i < z->n && !f; i++) {
        int number = zip_number(z->members[i].name, SHEET, ".xml");
        if (!number)
            continue;
        build_page(b, ++page);
        if ((size_t)number <= x->n_sheets) {
            build_begin(b, DOC_HEADING, 1);
            build_text(b, x->sheets[number - 1]);
            build_end(b, DOC_HEADING);
        }
        build_begin(b, DOC_TABLE, 1);
        f = xml_walk(z->members[i].bytes, &sheet, x);
        build_end(b, DOC_TABLE);
    }
    return f ? f : page ? EXTRACT_OK : EXTRACT_DAMAGED;
}

enum extract_fault read_xlsx(struct reading *r, struct str bytes) {
    static const struct xml_handler book = {book_begin, NULL, NULL, NULL};
    static const struct xml_handler formats = {xstyles_begin, xstyles_end, NULL, NULL};
    static const struct xml_handler strings = {strings_begin, strings_end, xlsx_text, xlsx_full};
    struct zip z;
    enum extract_fault f = zip_read(bytes, xlsx_wants, r->arena, &z);
    if (f)
        return f;
    struct xlsx *x = arena_alloc(r->arena, sizeof *x);
    if (!x || !(x->dates = arena_alloc(r->arena, 65536)))
        return EXTRACT_MEMORY;
    x->r = r;
    buf_init(&x->value, 1 << 20);
    zip_sort_by_number(&z, SHEET, ".xml");
    read_core(r, zip_find(&z, STR("docProps/core.xml")));
    struct str xml = zip_find(&z, STR("xl/workbook.xml"));
    if (xml.n)
        f = xml_walk(xml, &book, x);
    if (!f && (xml = zip_find(&z, STR("xl/styles.xml"))).n && xml_walk(xml, &formats, x))
        x->n_dates = 0; /* dates stay numbers then */
    if (!f && (xml = zip_find(&z, STR("xl/sharedStrings.xml"))).n)
        f = xml_walk(xml, &strings, x);
    if (!f)
        f = read_sheets(x, &z);
    buf_deinit(&x->value);
    free(x->strings);
    return f;
}
