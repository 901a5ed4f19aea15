/* PDF by poppler's C interface (poppler-glib 22, soname 8), loaded when the first PDF comes: only
 * the sandboxed child ever has that library. Its few functions and structures are declared here, as
 * its header and GLib's have them, so that building needs none of its packages.
 *
 * A page's text comes in reading order, a line a line. Headings are found by their letters' size;
 * words cut at a line's end are joined; a line that ends early ends a paragraph. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

#include "extract/formats.h"

#define PAGES_MAX     20000
#define HEADING_CHARS 200

typedef struct {
    void *data;
    void *next, *prev;
} glist;
typedef struct {
    uint32_t domain;
    int code; /* 1 = encrypted, 5 = damaged (PopplerError) */
    char *message;
} gerror;
typedef struct {
    char *font_name;
    double font_size;
    int is_underlined;
    uint16_t color[3];
    int start_index, end_index; /* characters of the page's text, both included */
} text_attributes;

static struct {
    void *library, *glib;
    void *(*document_new)(void *bytes, const char *password, gerror **error);
    int (*n_pages)(void *document);
    void *(*page)(void *document, int i);
    char *(*text)(void *page);
    glist *(*attributes)(void *page);
    void (*free_attributes)(glist *list);
    char *(*title)(void *document);
    void *(*bytes_new)(const void *p, size_t n);
    void (*bytes_unref)(void *bytes);
    void (*object_unref)(void *object);
    void (*g_free)(void *p);
    void (*error_free)(gerror *e);
} poppler;

static bool find(void *library, const char *name, void *ret) {
    void *p = dlsym(library, name);
    memcpy(ret, &p, sizeof p);
    return p != NULL;
}

bool pdf_prepare(void) {
    if (poppler.library)
        return true;
    void *p = dlopen("libpoppler-glib.so.8", RTLD_NOW | RTLD_LOCAL);
    void *g = p ? dlopen("libgobject-2.0.so.0", RTLD_NOW | RTLD_LOCAL) : NULL;
    void *glib = g ? dlopen("libglib-2.0.so.0", RTLD_NOW | RTLD_LOCAL) : NULL;
    if (!glib)
        return false;
    bool all = find(p, "poppler_document_new_from_bytes", &poppler.document_new) &&
               find(p, "poppler_document_get_n_pages", &poppler.n_pages) &&
               find(p, "poppler_document_get_page", &poppler.page) &&
               find(p, "poppler_page_get_text", &poppler.text) &&
               find(p, "poppler_page_get_text_attributes", &poppler.attributes) &&
               find(p, "poppler_page_free_text_attributes", &poppler.free_attributes) &&
               find(p, "poppler_document_get_title", &poppler.title) &&
               find(g, "g_object_unref", &poppler.object_unref) &&
               find(glib, "g_bytes_new_static", &poppler.bytes_new) &&
               find(glib, "g_bytes_unref", &poppler.bytes_unref) &&
               find(glib, "g_free", &poppler.g_free) &&
               find(glib, "g_error_free", &poppler.error_free);
    if (all)
        poppler.library = p;
    return all;
}

struct pdf_page {
    struct str text;
    unsigned char *size; /* by character: half points of its letters; NULL = not known */
    size_t characters;
};

struct pdf {
    struct reading *r;
    void *document;
    int n_pages;
    size_t by_size[256]; /* letters of each size, in half points */
    int body;            /* the size most letters have */
    int heading_sizes[6];
    int n_heading_sizes;
    bool pictures; /* a page without text was seen */
};

static unsigned char size_of(double points) {
    double half = points * 2 + 0.5;
    return half < 1 ? 1 : half > 254 ? 254 : (unsigned char)half;
}

/* Each character's size from the page's runs of equal ones. */
static void read_sizes(void *page, struct pdf_page *p) {
    glist *list = poppler.attributes(page);
    p->characters = doc_characters(p->text);
    p->size = calloc(p->characters + 1, 1);
    for (glist *i = list; i && p->size; i = i->next) {
        const text_attributes *t = i->data;
        for (int k = t->start_index < 0 ? 0 : t->start_index;
             k <= t->end_index && (size_t)k < p->characters; k++)
            p->size[k] = size_of(t->font_size);
    }
    poppler.free_attributes(list);
}

/* The size of a line: that of its first letter with one; its characters are at `first`. */
static int line_size(const struct pdf_page *p, struct str line, size_t first) {
    size_t at = first;
    for (size_t i = 0; p->size && i < line.n; i++) {
        if (((unsigned char)line.p[i] & 0xc0) == 0x80)
            continue;
        if (line.p[i] != ' ' && at < p->characters && p->size[at])
            return p->size[at];
        at++;
    }
    return 0;
}

static void count_sizes(struct pdf *d, const struct pdf_page *p) {
    for (size_t i = 0; p->size && i < p->characters; i++)
        d->by_size[p->size[i]]++;
}

static bool load_page(struct pdf *d, int i, struct pdf_page *ret) {
    void *page = poppler.page(d->document, i);
    if (!page)
        return false;
    char *text = poppler.text(page);
    struct str s = str_from(text);
    *ret = (struct pdf_page){.text = utf8_valid(s) ? s : STR_NULL};
    if (ret->text.n)
        read_sizes(page, ret);
    poppler.object_unref(page);
    if (!ret->text.n)
        poppler.g_free(text);
    return ret->text.n > 0;
}

static void free_page(struct pdf_page *p) {
    poppler.g_free((char *)p->text.p);
    free(p->size);
}

/* From the first pages: the body's size, and up to six larger ones, largest first. */
static void learn_sizes(struct pdf *d) {
    size_t most = 0;
    for (int i = 0; i < d->n_pages && i < 30; i++) {
        struct pdf_page p;
        if (!load_page(d, i, &p))
            continue;
        count_sizes(d, &p);
        free_page(&p);
    }
    for (int i = 1; i < 256; i++)
        if (d->by_size[i] > most) {
            most = d->by_size[i];
            d->body = i;
        }
    for (int i = 255; i > d->body + d->body / 8 && d->n_heading_sizes < 6; i--)
        if (d->by_size[i] > 0 && d->by_size[i] < most / 3)
            d->heading_sizes[d->n_heading_sizes++] = i;
}

static int heading_level(const struct pdf *d, int size, struct str line) {
    if (line.n < 2 || line.n > HEADING_CHARS || !d->body)
        return 0;
    for (int i = 0; i < d->n_heading_sizes; i++)
        if (d->heading_sizes[i] == size)
            return i + 1;
    return 0;
}

/* "exam-" and "ple" are one word; "Ost-" and "West" are two. */
static bool joins(struct str line, struct str next) {
    return line.n > 2 && line.p[line.n - 1] == '-' && line.p[line.n - 2] >= 'a' &&
           line.p[line.n - 2] <= 'z' && next.n && next.p[0] >= 'a' && next.p[0] <= 'z';
}

static void add_line(struct builder *b, struct str line, struct str next, size_t usual) {
    bool joined = joins(line, next);
    build_text(b, joined ? str_sub(line, 0, line.n - 1) : line);
    if (joined)
        return;
    char last = line.n ? line.p[line.n - 1] : 0;
    if (line.n * 4 < usual * 3 && (last == '.' || last == '!' || last == '?' || last == ':'))
        build_break(b);
    else
        build_line(b);
}

static size_t usual_length(struct str text) {
    size_t longest = 0;
    while (text.n) {
        struct str line = str_trim(str_cut(&text, '\n'));
        longest = line.n > longest && line.n < 200 ? line.n : longest;
    }
    return longest;
}

static void add_page(struct pdf *d, const struct pdf_page *p) {
    struct builder *b = &d->r->b;
    struct str rest = p->text;
    size_t usual = usual_length(rest), at = 0;
    int open = 0; /* level of the heading that may go on in the next line */
    while (rest.n) {
        struct str raw = str_cut(&rest, '\n'), line = str_trim(raw), after = rest;
        int level = heading_level(d, line_size(p, raw, at), line);
        at += doc_characters(raw) + 1;
        if (open && open != level) {
            build_end(b, DOC_HEADING);
            open = 0;
        }
        if (line.n == 0) {
            build_break(b);
        } else if (level) {
            if (!open)
                build_begin(b, DOC_HEADING, level);
            open = level;
            build_text(b, line);
            build_text(b, STR(" "));
        } else {
            add_line(b, line, str_trim(str_cut(&after, '\n')), usual);
        }
    }
    if (open)
        build_end(b, DOC_HEADING);
}

static enum extract_fault read_pages(struct pdf *d) {
    learn_sizes(d);
    for (int i = 0; i < d->n_pages && !build_is_full(&d->r->b); i++) {
        struct pdf_page p;
        build_page(&d->r->b, i + 1);
        if (!load_page(d, i, &p)) {
            d->pictures = true;
            continue;
        }
        add_page(d, &p);
        free_page(&p);
    }
    d->r->b.pages = d->n_pages;
    return d->pictures && d->r->b.text.n < (size_t)d->n_pages * 3 ? EXTRACT_SCANNED : EXTRACT_OK;
}

enum extract_fault read_pdf(struct reading *r, struct str bytes) {
    gerror *error = NULL;
    if (!pdf_prepare())
        return EXTRACT_NO_READER;
    void *shared = poppler.bytes_new(bytes.p, bytes.n);
    struct pdf d = {.r = r, .document = poppler.document_new(shared, NULL, &error)};
    enum extract_fault f = d.document                  ? EXTRACT_OK
                           : error && error->code == 1 ? EXTRACT_ENCRYPTED
                                                       : EXTRACT_DAMAGED;
    if (error)
        poppler.error_free(error);
    if (!f) {
        d.n_pages = poppler.n_pages(d.document);
        char *title = poppler.title(d.document);
        if (title && utf8_valid(str_from(title)))
            build_title(&r->b, str_from(title));
        poppler.g_free(title);
        f = d.n_pages > PAGES_MAX ? EXTRACT_TOO_LARGE
            : d.n_pages < 1       ? EXTRACT_DAMAGED
                                  : read_pages(&d);
        poppler.object_unref(d.document);
    }
    poppler.bytes_unref(shared);
    return f;
}
