/* Files and folders for the model commands; see models_internal.h. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/crypto.h"
#include "cli/models_internal.h"

#define HASH_CHUNK     (1 << 20)
#define PROGRESS_EVERY (16 << 20) /* bytes between two calls of progress while hashing */

enum err path_join(char out[PATH_MAX], const char *a, const char *b, struct errinfo *ei) {
    int n = snprintf(out, PATH_MAX, "%s/%s", a, b);
    if (n < 0 || n >= PATH_MAX)
        return err_set(ei, ERR_INVALID, "the path %.100s… is too long", a);
    return ERR_OK;
}

enum err path_incoming(char out[PATH_MAX], const char *dir, const struct model *model,
                       const char *file, struct errinfo *ei) {
    int n = snprintf(out, PATH_MAX, "%s/incoming/%s%s%s", dir, model->name, file ? "/" : "",
                     file ? file : "");
    if (n < 0 || n >= PATH_MAX)
        return err_set(ei, ERR_INVALID, "the path %.100s… is too long", dir);
    return ERR_OK;
}

enum err file_errno(struct errinfo *ei, const char *doing, const char *path) {
    if (errno == ENOSPC || errno == EDQUOT)
        return err_set(ei, ERR_DISK_FULL,
                       "the disk is full: cannot %s %s. Free some space and run this again.", doing,
                       path);
    return err_set(ei, ERR_IO, "cannot %s %s: %s", doing, path, strerror(errno));
}

enum err folder_make(const char *path, struct errinfo *ei) {
    char work[PATH_MAX];
    if (strlen(path) >= sizeof work)
        return err_set(ei, ERR_INVALID, "the path %.100s… is too long", path);
    strcpy(work, path);
    for (char *p = work + 1;; p++) {
        if (*p != '/' && *p != 0)
            continue;
        char kept = *p;
        *p = 0;
        if (mkdir(work, 0755) != 0 && errno != EEXIST)
            return file_errno(ei, "make the folder", work);
        *p = kept;
        if (!kept)
            return ERR_OK;
    }
}

/* Calls itself for folders below; depth bounds it against loops that symbolic links cannot make
 * here. */
static int64_t folder_walk(const char *path, bool removing, int depth) {
    DIR *d = depth > 0 ? opendir(path) : NULL;
    if (!d)
        return 0;
    int64_t bytes = 0;
    for (const struct dirent *entry; (entry = readdir(d));) {
        char inner[PATH_MAX];
        struct stat st;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
            path_join(inner, path, entry->d_name, NULL) || lstat(inner, &st) != 0)
            continue;
        if (S_ISDIR(st.st_mode))
            bytes += folder_walk(inner, removing, depth - 1);
        else
            bytes += st.st_size;
        if (removing)
            (void)remove(inner);
    }
    closedir(d);
    return bytes;
}

int64_t folder_bytes(const char *path) {
    return folder_walk(path, false, 8);
}

void folder_remove(const char *path) {
    folder_walk(path, true, 8);
    (void)rmdir(path);
}

int64_t file_bytes(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode) ? st.st_size : -1;
}

enum err file_read_text(const char *path, size_t cap, struct buf *b, struct errinfo *ei) {
    char chunk[4096];
    FILE *f = fopen(path, "re");
    if (!f)
        return errno == ENOENT ? err_set(ei, ERR_NOT_FOUND, "%s is not there", path)
                               : file_errno(ei, "read", path);
    buf_init(b, cap);
    for (size_t n; (n = fread(chunk, 1, sizeof chunk, f)) > 0;)
        buf_add(b, chunk, n);
    bool failed = ferror(f) || buf_err(b);
    fclose(f);
    if (failed) {
        buf_deinit(b);
        return err_set(ei, ERR_IO, "cannot read %s", path);
    }
    return ERR_OK;
}

enum err file_write_text(const char *path, struct str text, struct errinfo *ei) {
    char temporary[PATH_MAX];
    int n = snprintf(temporary, sizeof temporary, "%s.new", path);
    if (n < 0 || n >= PATH_MAX)
        return err_set(ei, ERR_INVALID, "the path %.100s… is too long", path);
    int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0)
        return file_errno(ei, "write", temporary);
    bool fine = write(fd, text.p, text.n) == (ssize_t)text.n && fsync(fd) == 0;
    int kept = errno;
    close(fd);
    errno = kept;
    if (!fine || rename(temporary, path) != 0) {
        enum err e = file_errno(ei, "write", path);
        (void)unlink(temporary);
        return e;
    }
    return ERR_OK;
}

static enum err copy_descriptor(int in, int out, const char *from, const char *to,
                                struct errinfo *ei) {
    char block[1 << 16];
    for (;;) {
        ssize_t n = read(in, block, sizeof block);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return file_errno(ei, "read", from);
        if (n == 0)
            return fsync(out) == 0 ? ERR_OK : file_errno(ei, "write", to);
        for (ssize_t at = 0, put; at < n; at += put) {
            put = write(out, block + at, (size_t)(n - at));
            if (put < 0 && errno == EINTR)
                put = 0;
            else if (put < 0)
                return file_errno(ei, "write", to);
        }
    }
}

enum err file_copy(const char *from, const char *to, struct errinfo *ei) {
    (void)unlink(to);
    if (link(from, to) == 0)
        return ERR_OK;
    int in = open(from, O_RDONLY | O_CLOEXEC);
    if (in < 0)
        return file_errno(ei, "open", from);
    int out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    enum err e = out < 0 ? file_errno(ei, "create", to) : copy_descriptor(in, out, from, to, ei);
    close(in);
    if (out >= 0)
        close(out);
    if (e && out >= 0)
        (void)unlink(to);
    return e;
}

static enum err hash_descriptor(const struct models *m, int fd, const char *path, char hex[65],
                                struct errinfo *ei) {
    const char *slash = strrchr(path, '/');
    char label[160];
    snprintf(label, sizeof label, "checking %s", slash ? slash + 1 : path);
    int64_t total = file_bytes(path), done = 0, shown = 0;
    char *chunk = malloc(HASH_CHUNK);
    struct sha256 *state = chunk ? sha256_new() : NULL;
    if (!state) {
        free(chunk);
        return err_set(ei, ERR_NOMEM, NULL);
    }
    ssize_t n;
    while ((n = read(fd, chunk, HASH_CHUNK)) > 0) {
        sha256_update(state, chunk, (size_t)n);
        done += n;
        if (done - shown >= PROGRESS_EVERY) {
            models_progress(m, label, done, total);
            shown = done;
        }
    }
    free(chunk);
    if (n < 0) {
        sha256_free(state);
        return file_errno(ei, "read", path);
    }
    sha256_final(state, hex);
    return ERR_OK;
}

enum err file_sha256(const struct models *m, const char *path, char hex[65], struct errinfo *ei) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return file_errno(ei, "read", path);
    enum err e = hash_descriptor(m, fd, path, hex, ei);
    close(fd);
    return e;
}

void models_note(const struct models *m, const char *fmt, ...) {
    char text[1024];
    va_list args;
    if (!m->note)
        return;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    m->note(m->ctx, text);
}

void models_progress(const struct models *m, const char *label, int64_t done, int64_t total) {
    if (m->progress)
        m->progress(m->ctx, label, done, total);
}

void models_cache_dir(char out[PATH_MAX]) {
    const char *cache = getenv("PARLEY_CACHE"), *xdg = getenv("XDG_CACHE_HOME"),
               *home = getenv("HOME");
    if (cache && *cache)
        snprintf(out, PATH_MAX, "%s", cache);
    else if (xdg && *xdg)
        snprintf(out, PATH_MAX, "%s/parley", xdg);
    else
        snprintf(out, PATH_MAX, "%s/.cache/parley", home && *home ? home : ".");
}
