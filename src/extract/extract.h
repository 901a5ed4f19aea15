/* Extraction: a file's bytes become a document's text with its structure.
 *
 *   extract_run() on a job thread  ──spawns──→  `parley extract`: limits, sandbox, parser
 *          ↑ text, marks, title by a pipe, checked  ──────────────────┘
 *
 * The parsers read what strangers wrote, with libraries that are large. So they run in a child that
 * is locked in before it looks at the first byte: memory, CPU time and output are limited, no file
 * can be opened, no network reached and no process made (seccomp). A bomb, a crash or a hang costs
 * that child, and its document a reason. What comes back is checked like any input.
 *
 * Formats: plain text, Markdown, HTML, PDF, DOCX, PPTX, XLSX, ODT/ODS/ODP, EPUB, CSV, JSON, e-mail,
 * source code; sitemaps and feeds as lists of links. What a file is its bytes decide; name and
 * media type only where bytes do not tell (text formats). */
#pragma once

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"
#include "text/charset.h"
#include "text/doc_text.h"

/* Why there is no text: name, the code in the API, the sentence for people. */
/* clang-format off */
#define EXTRACT_FAULTS(X) \
    X(EXTRACT_OK,          "ok",           "ok") \
    X(EXTRACT_EMPTY,       "empty",        "the file is empty") \
    X(EXTRACT_NO_TEXT,     "no_text",      "the file holds no text") \
    X(EXTRACT_SCANNED,     "scanned",      "the pages are pictures without text (a scan); run it through text recognition (OCR) first") \
    X(EXTRACT_ENCRYPTED,   "encrypted",    "the file is protected by a password; save it without one") \
    X(EXTRACT_DAMAGED,     "damaged",      "the file is damaged or cut short") \
    X(EXTRACT_UNSUPPORTED, "unsupported",  "this kind of file cannot be read; text, Markdown, HTML, PDF, Office, OpenDocument, EPUB, CSV, JSON, e-mail and source code can") \
    X(EXTRACT_OLD_OFFICE,  "old_office",   "this is an old Office file (.doc, .xls, .ppt); save it in the current format (.docx, .xlsx, .pptx)") \
    X(EXTRACT_PICTURE,     "picture",      "this is a picture, sound or film; only text can be read") \
    X(EXTRACT_TOO_LARGE,   "too_large",    "the file holds more text than one document may have") \
    X(EXTRACT_BOMB,        "bomb",         "the file unpacks to far more than it may") \
    X(EXTRACT_TOO_DEEP,    "too_deep",     "the file is nested too deeply") \
    X(EXTRACT_MEMORY,      "memory",       "reading the file took more memory than one document may have") \
    X(EXTRACT_TIME,        "time",         "reading the file took longer than one document may take") \
    X(EXTRACT_CRASHED,     "crashed",      "the file could not be read: the reader ended on it") \
    X(EXTRACT_NO_READER,   "no_reader",    "PDF files cannot be read here: the library poppler-glib is not installed (package libpoppler-glib8)")
/* clang-format on */
enum extract_fault {
#define X(name, code, text) name,
    EXTRACT_FAULTS(X)
#undef X
        EXTRACT_FAULT_COUNT
};
const char *extract_fault_code(enum extract_fault f);
const char *extract_fault_text(enum extract_fault f);

#define EXTRACT_INPUT_MAX ((size_t)256 << 20) /* bytes of a file */
#define EXTRACT_TEXT_MAX  ((size_t)16 << 20)  /* bytes of its text */
#define EXTRACT_NAME_SIZE 32

struct extracted {
    enum extract_fault fault;        /* EXTRACT_OK, or there is no text */
    char format[EXTRACT_NAME_SIZE];  /* "pdf", "docx", "markdown", "code", … or "" */
    char charset[CHARSET_NAME_SIZE]; /* of text formats; "" else */
    int pages;                       /* 0 = none are known */
    struct doc_text doc;             /* in the arena */
};

struct extract_input {
    int fd;           /* a file open for reading, from its start; < 0 = bytes */
    struct str bytes; /* borrowed */
    struct str name;  /* "report.pdf"; its ending is looked at; may be empty */
    struct str type;  /* media type with its charset, as a server said it; may be empty */
    bool links;       /* the file is to be a sitemap or a feed: text is made of lines
                         "URL\tdate\ttitle" (for sitemaps of sitemaps "+URL") */
};

struct extract_options {
    const char *program; /* the parley binary; NULL = /proc/self/exe */
    int cpu_seconds;     /* 0 = 60 */
    int wall_seconds;    /* 0 = 600: it runs at low priority */
    size_t memory_bytes; /* 0 = 1 GiB */
};

/* Blocks; runs the child and waits for it. A file's own fault is no error: ret->fault says it.
 * Errors are ours: ERR_IO, ERR_NOMEM, ERR_INTERNAL (the child cannot be started), ERR_CORRUPT (it
 * said something that it may not). */
enum err extract_run(const struct extract_options *o, const struct extract_input *in,
                     struct arena *a, struct extracted *ret, struct errinfo *ei) ERR_CHECK;

/* The same in the form that retrieval asks for (retrieval_extract in retrieval/retrieval.h): ctx is
 * a struct extract_options or NULL; a file's own fault is ERR_INVALID with the sentence. Blocks. */
enum err extract_document(void *ctx, struct str bytes, struct str media_type,
                          struct str source_name, struct arena *a, struct doc_text *ret,
                          struct errinfo *ei) ERR_CHECK;

/* Whether a file of this name is worth reading: what walks through folders asks. */
bool extract_name_is_known(struct str name);

/* The child: `parley extract --name N --type T`, file on stdin, result on stdout (wire.h). Returns
 * an exit status. */
struct extract_child {
    struct str name, type;
    bool links;
    int cpu_seconds;
    size_t memory_bytes;
};
int extract_child_main(const struct extract_child *c);

/* The parsers themselves, without a sandbox: for the child and for tests. Never on what a stranger
 * gave in the server's own process. The result is in the arena. */
enum err extract_parse(const struct extract_input *in, struct arena *a,
                       struct extracted *ret) ERR_CHECK;
