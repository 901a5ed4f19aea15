/* What the model_*.c files share; see models.h for the contract of the whole. */
#pragma once

#include <sys/types.h>

#include "base/buf.h"
#include "cli/models.h"

/* ---- model_child.c: a child process that is watched while it works ---- */

struct child {
    char *const *argv;       /* NULL-terminated; looked up in PATH */
    const char *const *env;  /* name, value, name, value, NULL: set over ours; may be NULL */
    int stdout_fd;           /* -1 = to the log */
    const char *log_path;    /* takes stderr; kept when the child fails */
    void (*tick)(void *ctx); /* every 200 ms while it runs; may be NULL */
    void *ctx;
};
/* ERR_UPSTREAM with the last line of its log when it ends with another status than 0. */
enum err child_run(const struct child *c, struct errinfo *ei) ERR_CHECK;
/* The Python with pip and the converter's packages: $PARLEY_PYTHON, the cache's own, else python3.
 */
void child_python(char out[PATH_MAX]);

/* ---- model_files.c: files and folders ---- */

/* "<a>/<b>" or ERR_INVALID when it does not fit. */
enum err path_join(char out[PATH_MAX], const char *a, const char *b, struct errinfo *ei) ERR_CHECK;
enum err path_incoming(char out[PATH_MAX], const char *dir, const struct model *model,
                       const char *file,
                       struct errinfo *ei) ERR_CHECK; /* file may be NULL: the folder */
enum err folder_make(const char *path, struct errinfo *ei) ERR_CHECK; /* with its parents */
void folder_remove(const char *path);                                 /* with what is in it */
int64_t folder_bytes(const char *path);                               /* of all files below */
int64_t file_bytes(const char *path);                                 /* -1 when it is not there */
enum err file_errno(struct errinfo *ei, const char *doing, const char *path); /* from errno */
enum err file_read_text(const char *path, size_t cap, struct buf *b, struct errinfo *ei) ERR_CHECK;
/* Whole or not at all, and on the disk when it returns. */
enum err file_write_text(const char *path, struct str text, struct errinfo *ei) ERR_CHECK;
/* A hard link where that is possible, else a copy. */
enum err file_copy(const char *from, const char *to, struct errinfo *ei) ERR_CHECK;
enum err file_sha256(const struct models *m, const char *path, char hex[65],
                     struct errinfo *ei) ERR_CHECK;

void models_note(const struct models *m, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
void models_progress(const struct models *m, const char *label, int64_t done, int64_t total);
void models_cache_dir(char out[PATH_MAX]); /* $PARLEY_CACHE and its defaults */

/* ---- model_prepare.c ---- */

enum err models_lock(const struct models *m, int *ret_fd,
                     struct errinfo *ei) ERR_CHECK; /* close() unlocks */
/* in's weights in a form, as out: what measuring left in folder, else a copy, else converted. */
enum err weights_in_form(const struct models *m, const char *label, const char *in,
                         const char *folder, const char *form, const char *out,
                         struct errinfo *ei) ERR_CHECK;

struct model_record { /* <name>.json; plain ASCII without quotes */
    const char *name, *form, *file, *sha256, *published_sha256;
    const char
        *added; /* "" = of the catalogue; "chat", "embedding" or "adapter" for what was added */
    int64_t size;
};
enum err model_record(const struct models *m, const struct model_record *r,
                      struct errinfo *ei) ERR_CHECK;
