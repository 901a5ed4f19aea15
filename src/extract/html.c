/* HTML as libxml2 recovers it from whatever stands there. What a browser would not show (scripts,
 * styles, hidden elements) is no text of the document: instructions to a model like to hide there.
 * Navigation is left out, too. */
#include <libxml/HTMLparser.h>
#include <libxml/parserInternals.h>

#include "extract/formats.h"

#define DEPTH_MAX 512

enum element_kind {
    INLINE,
    BLOCK,
    LINE,    /* br */
    ITEM,    /* li */
    HEADING, /* h1 … h6 */
    CODE,    /* pre */
    TABLE,
    ROW,
    CELL,
    HIDDEN,
    TITLE,
    IMAGE,
};

static const struct {
    const char *name;
    enum element_kind kind;
} elements[] = {
    {"p", BLOCK},         {"div", BLOCK},        {"section", BLOCK},  {"article", BLOCK},
    {"main", BLOCK},      {"header", BLOCK},     {"footer", BLOCK},   {"aside", BLOCK},
    {"ul", BLOCK},        {"ol", BLOCK},         {"dl", BLOCK},       {"dt", BLOCK},
    {"dd", BLOCK},        {"blockquote", BLOCK}, {"figure", BLOCK},   {"figcaption", BLOCK},
    {"address", BLOCK},   {"form", BLOCK},       {"fieldset", BLOCK}, {"hr", BLOCK},
    {"body", BLOCK},      {"caption", BLOCK},    {"details", BLOCK},  {"summary", BLOCK},
    {"br", LINE},         {"li", ITEM},          {"h1", HEADING},     {"h2", HEADING},
    {"h3", HEADING},      {"h4", HEADING},       {"h5", HEADING},     {"h6", HEADING},
    {"pre", CODE},        {"textarea", HIDDEN},  {"table", TABLE},    {"tr", ROW},
    {"td", CELL},         {"th", CELL},          {"script", HIDDEN},  {"style", HIDDEN},
    {"noscript", HIDDEN}, {"template", HIDDEN},  {"svg", HIDDEN},     {"math", INLINE},
    {"iframe", HIDDEN},   {"nav", HIDDEN},       {"object", HIDDEN},  {"select", HIDDEN},
    {"button", HIDDEN},   {"dialog", HIDDEN},    {"title", TITLE},    {"img", IMAGE},
};

struct page {
    struct reading *r;
    htmlParserCtxtPtr parser;
    int depth;
    int hidden_at; /* depth of the outermost hidden element; 0 = none */
    bool in_title, stopped, too_deep;
    struct buf title;
};

static enum element_kind kind_of(const char *name) {
    for (size_t i = 0; i < sizeof elements / sizeof elements[0]; i++)
        if (strcmp(elements[i].name, name) == 0)
            return elements[i].kind;
    return INLINE;
}

static const char *attribute(const xmlChar **attrs, const char *name) {
    for (size_t i = 0; attrs && attrs[i]; i += 2)
        if (strcmp((const char *)attrs[i], name) == 0)
            return attrs[i + 1] ? (const char *)attrs[i + 1] : "";
    return NULL;
}

/* "display: none" and the like, blanks aside. */
static bool style_hides(const char *style) {
    static const char *const hiding[] = {"display:none", "visibility:hidden", "font-size:0",
                                         "opacity:0;", NULL};
    char flat[512];
    size_t n = 0;
    for (; *style && n < sizeof flat - 2; style++)
        if (*style != ' ' && *style != '\t' && *style != '\n')
            flat[n++] = (char)(*style >= 'A' && *style <= 'Z' ? *style + 32 : *style);
    flat[n++] = ';';
    flat[n] = 0;
    for (size_t i = 0; hiding[i]; i++) {
        const char *at = strstr(flat, hiding[i]);
        /* "font-size:0.9em" is not hidden */
        if (at && (strcmp(hiding[i], "font-size:0") != 0 || at[11] == ';' || at[11] == 'p'))
            return true;
    }
    return false;
}

static bool is_hidden(enum element_kind kind, const xmlChar **attrs) {
    const char *aria = attribute(attrs, "aria-hidden"), *style = attribute(attrs, "style");
    return kind == HIDDEN || attribute(attrs, "hidden") || (aria && strcmp(aria, "true") == 0) ||
           (style && style_hides(style));
}

static void begin_shown(struct page *p, const char *name, enum element_kind kind,
                        const xmlChar **attrs) {
    struct builder *b = &p->r->b;
    const char *alt;
    switch (kind) {
    case BLOCK:
        build_break(b);
        break;
    case LINE:
        build_line(b);
        break;
    case ITEM:
        build_line(b);
        build_text(b, STR("- "));
        break;
    case HEADING:
        build_begin(b, DOC_HEADING, name[1] - '0');
        break;
    case CODE:
        build_begin(b, DOC_CODE, 0);
        break;
    case TABLE:
        build_begin(b, DOC_TABLE, 1);
        break;
    case ROW:
        build_row(b);
        break;
    case CELL:
        build_cell(b);
        break;
    case IMAGE:
        if ((alt = attribute(attrs, "alt")))
            build_text(b, str_from(alt));
        break;
    case TITLE:
        p->in_title = true;
        break;
    case INLINE:
    case HIDDEN:
        break;
    }
}

static bool is_void(const char *name) {
    return strcmp(name, "img") == 0 || strcmp(name, "br") == 0 || strcmp(name, "hr") == 0 ||
           strcmp(name, "input") == 0;
}

static void on_begin(void *ctx, const xmlChar *tag, const xmlChar **attrs) {
    struct page *p = ctx;
    const char *name = (const char *)tag;
    enum element_kind kind = kind_of(name);
    if (p->stopped)
        return;
    if (++p->depth > DEPTH_MAX || build_is_full(&p->r->b)) {
        p->too_deep = p->depth > DEPTH_MAX;
        p->stopped = true;
        xmlStopParser(p->parser);
        return;
    }
    if (p->hidden_at)
        return;
    if (is_hidden(kind, attrs) && !is_void(name)) {
        p->hidden_at = p->depth;
        return;
    }
    begin_shown(p, name, kind, attrs);
}

static void on_end(void *ctx, const xmlChar *tag) {
    struct page *p = ctx;
    struct builder *b = &p->r->b;
    int depth = p->depth--;
    if (p->stopped)
        return;
    if (p->hidden_at) {
        if (depth <= p->hidden_at)
            p->hidden_at = 0;
        return;
    }
    switch (kind_of((const char *)tag)) {
    case BLOCK:
        build_break(b);
        break;
    case ITEM:
        build_line(b);
        break;
    case HEADING:
        build_end(b, DOC_HEADING);
        break;
    case CODE:
        build_end(b, DOC_CODE);
        break;
    case TABLE:
        build_end(b, DOC_TABLE);
        break;
    case CELL:
        build_cell_end(b);
        break;
    case TITLE:
        p->in_title = false;
        build_title(b, buf_str(&p->title));
        break;
    default:
        break;
    }
}

static void on_text(void *ctx, const xmlChar *s, int n) {
    struct page *p = ctx;
    struct str text = {(const char *)s, n > 0 ? (size_t)n : 0};
    if (p->stopped || p->hidden_at)
        return;
    if (p->in_title)
        buf_adds(&p->title, text);
    else if (p->r->b.is_open && p->r->b.open_kind == DOC_CODE)
        build_raw(&p->r->b, text);
    else
        build_text(&p->r->b, text);
}

static void be_silent(void *ctx, const char *msg, ...) {
    (void)ctx, (void)msg;
}

enum extract_fault read_html_text(struct reading *r, struct str utf8) {
    htmlSAXHandler sax = {.startElement = on_begin,
                          .endElement = on_end,
                          .characters = on_text,
                          .cdataBlock = NULL,
                          .ignorableWhitespace = on_text,
                          .warning = be_silent,
                          .error = be_silent};
    struct page p = {.r = r};
    buf_init(&p.title, 4096);
    p.parser = htmlCreatePushParserCtxt(&sax, &p, NULL, 0, NULL, XML_CHAR_ENCODING_UTF8);
    if (!p.parser) {
        buf_deinit(&p.title);
        return EXTRACT_MEMORY;
    }
    htmlCtxtUseOptions(p.parser, HTML_PARSE_RECOVER | HTML_PARSE_NOERROR | HTML_PARSE_NOWARNING |
                                     HTML_PARSE_NONET | HTML_PARSE_IGNORE_ENC);
    for (size_t at = 0; at < utf8.n && !p.stopped;) {
        size_t n = utf8_cut(str_sub(utf8, at, utf8.n), 32768);
        htmlParseChunk(p.parser, utf8.p + at, (int)n, 0);
        at += n;
    }
    if (!p.stopped)
        htmlParseChunk(p.parser, "", 0, 1);
    htmlFreeParserCtxt(p.parser);
    buf_deinit(&p.title);
    return p.too_deep ? EXTRACT_TOO_DEEP : EXTRACT_OK;
}

/* <meta charset=x> or <meta … content="…; charset=x">, in the first 2 KiB (HTML 13.2.3.2). */
static struct str meta_charset(struct str bytes) {
    struct str head = str_sub(bytes, 0, 2048);
    size_t at = 0;
    while (at + 8 < head.n) {
        if (!str_eq_nocase(str_sub(head, at, 7), STR("charset"))) {
            at++;
            continue;
        }
        struct str v = str_trim(str_sub(head, at + 7, head.n));
        at += 7;
        if (v.n == 0 || v.p[0] != '=')
            continue;
        v = str_trim(str_sub(v, 1, v.n));
        while (v.n && (v.p[0] == '"' || v.p[0] == '\''))
            v = str_sub(v, 1, v.n);
        size_t n = 0;
        while (n < v.n && !strchr(" \t\r\n\"'>;/", v.p[n]))
            n++;
        return str_sub(v, 0, n);
    }
    return STR_NULL;
}

enum extract_fault read_html(struct reading *r, struct str bytes) {
    struct str hint = media_type_param(r->type, "charset", r->arena), text;
    enum extract_fault f = read_decoded(r, bytes, hint.n ? hint : meta_charset(bytes), &text);
    return f ? f : read_html_text(r, text);
}
