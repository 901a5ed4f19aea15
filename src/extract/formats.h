/* What the parsers share. Inside src/extract only. A parser takes the bytes of one thing, writes
 * into the builder, and returns what was wrong with it. */
#pragma once

#include "extract/build.h"
#include "extract/extract.h"

#define READ_DEPTH_MAX 8 /* files in files: mails in mails */

struct reading {
    struct builder b;
    struct arena *arena; /* for what is needed until the end; capped */
    struct str name, type;
    int depth;
    char charset[CHARSET_NAME_SIZE];
};

typedef enum extract_fault (*format_fn)(struct reading *r, struct str bytes);

struct format {
    const char *name;
    format_fn read;
};

/* ---- sniff.c: which format the bytes are; NULL and *ret_fault when none ---- */
const struct format *sniff(struct str bytes, struct str name, struct str type,
                           enum extract_fault *ret_fault);
/* The part of a media type before its parameters, and one parameter ("charset"); STR_NULL. */
struct str media_type_name(struct str type);
struct str media_type_param(struct str type, const char *param, struct arena *a);

/* ---- the parsers ---- */
enum extract_fault read_plain(struct reading *r, struct str bytes);
enum extract_fault read_markdown(struct reading *r, struct str bytes);
enum extract_fault read_code(struct reading *r, struct str bytes);
enum extract_fault read_csv(struct reading *r, struct str bytes);
enum extract_fault read_json(struct reading *r, struct str bytes);
enum extract_fault read_html(struct reading *r, struct str bytes);
enum extract_fault read_mail(struct reading *r, struct str bytes);
enum extract_fault read_docx(struct reading *r, struct str bytes);
enum extract_fault read_pptx(struct reading *r, struct str bytes);
enum extract_fault read_xlsx(struct reading *r, struct str bytes);
enum extract_fault read_odf(struct reading *r, struct str bytes);
enum extract_fault read_epub(struct reading *r, struct str bytes);
enum extract_fault read_pdf(struct reading *r, struct str bytes);
enum extract_fault read_links(struct reading *r, struct str bytes); /* sitemaps and feeds */

/* Text bytes as UTF-8 in the arena; notes the encoding's name in r->charset. */
enum extract_fault read_decoded(struct reading *r, struct str bytes, struct str hint,
                                struct str *ret);
/* HTML text that is UTF-8 already. */
enum extract_fault read_html_text(struct reading *r, struct str utf8);
/* PDF's library is loaded before the sandbox closes; false when it is not installed. */
bool pdf_prepare(void);
void formats_prepare(void); /* libraries' first use, before the sandbox closes */

/* ---- xml.c: libxml2's SAX, namespaces left out ---- */
struct xml_attr {
    const char *name; /* local */
    struct str value; /* decoded */
};
struct xml_handler {
    /* Names are local. attrs may be looked up until the call returns. */
    void (*begin)(void *ctx, const char *name, const struct xml_attr *attrs, size_t n);
    void (*end)(void *ctx, const char *name);
    void (*text)(void *ctx, struct str s);
    bool (*full)(void *ctx); /* may be NULL; true ends the walk without a fault */
};
struct str xml_attr(const struct xml_attr *attrs, size_t n, const char *name); /* STR_NULL */
/* EXTRACT_DAMAGED, EXTRACT_TOO_DEEP, EXTRACT_MEMORY. No entity but the five of XML is known, no
 * DTD is read. */
enum extract_fault xml_walk(struct str bytes, const struct xml_handler *h, void *ctx);

/* ---- zip.c ---- */
struct zip_member {
    struct str name, bytes; /* in the arena */
};
struct zip {
    struct zip_member *members; /* in the order of the archive */
    size_t n;
};
/* Unpacks the members that `wanted` says. EXTRACT_BOMB, EXTRACT_ENCRYPTED, EXTRACT_DAMAGED, … */
enum extract_fault zip_read(struct str bytes, bool (*wanted)(struct str name), struct arena *a,
                            struct zip *ret);
struct str zip_find(const struct zip *z, struct str name); /* its bytes; STR_NULL */
/* The number in a member's name between prefix and suffix ("ppt/slides/slide", ".xml"); 0 = other.
 */
int zip_number(struct str name, const char *prefix, const char *suffix);
void zip_sort_by_number(struct zip *z, const char *prefix, const char *suffix);
