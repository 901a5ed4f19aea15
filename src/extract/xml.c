/* libxml2 as a stream of elements. Nothing is loaded, no entity is expanded, no tree is made. */
#include <libxml/parser.h>
#include <libxml/parserInternals.h>
#include <libxml/xmlerror.h>

#include "extract/formats.h"

#define ATTRS_MAX 64
#define DEPTH_MAX 256

struct walk {
    const struct xml_handler *h;
    void *ctx;
    xmlParserCtxtPtr parser;
    int depth;
    bool too_deep, stopped;
};

struct str xml_attr(const struct xml_attr *attrs, size_t n, const char *name) {
    for (size_t i = 0; i < n; i++)
        if (strcmp(attrs[i].name, name) == 0)
            return attrs[i].value;
    return STR_NULL;
}

static void stop(struct walk *w) {
    w->stopped = true;
    xmlStopParser(w->parser);
}

static void on_begin(void *ctx, const xmlChar *name, const xmlChar *prefix, const xmlChar *uri,
                     int n_ns, const xmlChar **ns, int n_attrs, int n_defaults,
                     const xmlChar **attrs) {
    (void)prefix, (void)uri, (void)n_ns, (void)ns, (void)n_defaults;
    struct walk *w = ctx;
    struct xml_attr list[ATTRS_MAX];
    size_t n = 0;
    if (w->stopped)
        return;
    if (++w->depth > DEPTH_MAX) {
        w->too_deep = true;
        stop(w);
        return;
    }
    for (int i = 0; i < n_attrs && n < ATTRS_MAX; i++, n++) {
        const char *from = (const char *)attrs[5 * i + 3], *to = (const char *)attrs[5 * i + 4];
        list[n] = (struct xml_attr){(const char *)attrs[5 * i], {from, (size_t)(to - from)}};
    }
    if (w->h->begin)
        w->h->begin(w->ctx, (const char *)name, list, n);
    if (w->h->full && w->h->full(w->ctx))
        stop(w);
}

static void on_end(void *ctx, const xmlChar *name, const xmlChar *prefix, const xmlChar *uri) {
    (void)prefix, (void)uri;
    struct walk *w = ctx;
    w->depth--;
    if (!w->stopped && w->h->end)
        w->h->end(w->ctx, (const char *)name);
}

static void on_text(void *ctx, const xmlChar *s, int n) {
    struct walk *w = ctx;
    if (!w->stopped && w->h->text && n > 0)
        w->h->text(w->ctx, (struct str){(const char *)s, (size_t)n});
}

static xmlEntityPtr no_entity(void *ctx, const xmlChar *name) {
    (void)ctx;
    return xmlGetPredefinedEntity(name);
}

static void be_silent(void *ctx, const char *msg, ...) {
    (void)ctx, (void)msg;
}

enum extract_fault xml_walk(struct str bytes, const struct xml_handler *h, void *ctx) {
    xmlSAXHandler sax = {.initialized = XML_SAX2_MAGIC,
                         .startElementNs = on_begin,
                         .endElementNs = on_end,
                         .characters = on_text,
                         .cdataBlock = on_text,
                         .getEntity = no_entity,
                         .warning = be_silent,
                         .error = be_silent};
    struct walk w = {.h = h, .ctx = ctx};
    if (bytes.n > INT32_MAX)
        return EXTRACT_TOO_LARGE;
    w.parser = xmlCreatePushParserCtxt(&sax, &w, NULL, 0, NULL);
    if (!w.parser)
        return EXTRACT_MEMORY;
    xmlCtxtUseOptions(w.parser, XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING |
                                    XML_PARSE_COMPACT | XML_PARSE_RECOVER);
    for (size_t at = 0; at < bytes.n && !w.stopped; at += 65536) {
        struct str piece = str_sub(bytes, at, 65536);
        xmlParseChunk(w.parser, piece.p, (int)piece.n, at + piece.n >= bytes.n);
    }
    int code = w.parser->errNo;
    bool good = w.parser->wellFormed;
    xmlFreeParserCtxt(w.parser);
    if (w.too_deep)
        return EXTRACT_TOO_DEEP;
    if (code == XML_ERR_NO_MEMORY)
        return EXTRACT_MEMORY;
    return good || w.stopped || code == XML_ERR_UNDECLARED_ENTITY ||
                   code == XML_NS_ERR_UNDEFINED_NAMESPACE
               ? EXTRACT_OK
               : EXTRACT_DAMAGED;
}
