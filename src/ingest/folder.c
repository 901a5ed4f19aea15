/* Folders: a walk compares each file's size and time with what is known; inotify tells when to walk
 * again. Links and hidden files are passed over; a file that went takes its document along. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "extract/extract.h"
#include "ingest/run.h"

#define WATCHES_MAX 8192
#define EVENTS      (IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_CREATE | IN_ONLYDIR)

/* ---- one walk ---- */

static enum err read_file(const char *path, struct buf *b, struct errinfo *ei) {
    char piece[65536];
    ssize_t n = -1;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK);
    if (fd < 0)
        return err_set(ei, ERR_IO, "%s: %s", path, strerror(errno));
    while ((n = read(fd, piece, sizeof piece)) > 0 && !b->err)
        buf_add(b, piece, (size_t)n);
    int error = errno;
    close(fd);
    if (b->err)
        return err_set(ei, b->err,
                       b->err == ERR_TOO_LARGE ? "%s: larger than a document may be"
                                               : "%s: out of memory",
                       path);
    return n < 0 ? err_set(ei, ERR_IO, "%s: %s", path, strerror(error)) : ERR_OK;
}

static void bring_in(struct run *r, const char *path, const char *name, struct source_item *i) {
    struct errinfo ei = {0};
    struct buf b;
    buf_init(&b, r->g->o.max_bytes);
    enum err e = read_file(path, &b, &ei);
    i->error = STR("");
    if (!e && b.n > 0) {
        e = run_submit(r, i, str_from(name), STR("application/octet-stream"), buf_str(&b), &ei);
        if (!e)
            r->failures = 0;
    } else { /* remembered with its stamp: it is not tried again until it changes */
        i->error = str_from(e ? ei.message : "the file is empty");
        (void)run_keep_item(r, i);
        if (!r->first.code && e) {
            r->first = ei;
            r->first.code = e;
        }
        e = ERR_OK;
    }
    if (e)
        run_failed(r, e, &ei);
    buf_deinit(&b);
}

static void look_at(struct run *r, const char *path, const char *name, const struct stat *st) {
    struct source_item i;
    char uri[URL_MAX_BYTES + 8], stamp[80];
    snprintf(uri, sizeof uri, "file://%s", path);
    snprintf(stamp, sizeof stamp, "%lld:%lld.%09ld", (long long)st->st_size,
             (long long)st->st_mtim.tv_sec, st->st_mtim.tv_nsec);
    if (strlen(path) >= URL_MAX_BYTES || !utf8_valid(str_from(path)))
        return;
    r->seen++;
    struct str kept = arena_str(r->arena, str_from(uri));
    if (!kept.p || run_item(r, kept, &i))
        return;
    bool same = str_eqz(i.stamp, stamp);
    i.stamp = str_from(stamp);
    if (same)
        (void)run_keep_item(r, &i);
    else
        bring_in(r, path, name, &i);
}

static int by_name(const FTSENT **a, const FTSENT **b) {
    return strcmp((*a)->fts_name, (*b)->fts_name);
}

void folder_run(struct run *r) {
    struct errinfo ei;
    char root[URL_MAX_BYTES];
    snprintf(root, sizeof root, "%.*s", STR_ARG(r->s.location));
    char *const roots[] = {root, NULL};
    FTS *fts = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR, by_name);
    FTSENT *e;
    if (!fts) {
        run_failed(r, ERR_IO, (err_set(&ei, ERR_IO, "%s: %s", root, strerror(errno)), &ei));
        return;
    }
    while (!run_is_over(r) && (e = fts_read(fts))) {
        bool hidden = e->fts_level > 0 && e->fts_name[0] == '.';
        if (hidden && e->fts_info == FTS_D) {
            fts_set(fts, e, FTS_SKIP);
        } else if (e->fts_info == FTS_NS || e->fts_info == FTS_DNR || e->fts_info == FTS_ERR) {
            run_failed(r, ERR_IO,
                       (err_set(&ei, ERR_IO, "%s: %s", e->fts_path, strerror(e->fts_errno)), &ei));
        } else if (e->fts_info == FTS_F && !hidden &&
                   (r->all_files || extract_name_is_known(str_from(e->fts_name)))) {
            if (r->seen >= r->max_documents) {
                err_set(&ei, ERR_TOO_LARGE,
                        "the folder has more than the %lld files that this source may bring; "
                        "raise max_documents",
                        (long long)r->max_documents);
                run_failed(r, ERR_TOO_LARGE, &ei);
                break;
            }
            look_at(r, e->fts_path, e->fts_name, e->fts_statp);
        }
    }
    if (run_is_over(r))
        r->incomplete = true;
    fts_close(fts);
}

/* ---- watching ---- */

struct watches {
    int fd;
    struct {
        int wd; /* 0 = free */
        struct uuid source;
    } list[WATCHES_MAX];
    size_t n;
    char *key;  /* owned: the folders that are watched, to see when they change */
    bool dirty; /* a folder was made inside: watch anew */
};

struct watches *watches_new(int fd) {
    struct watches *w = calloc(1, sizeof *w);
    if (w)
        w->fd = fd;
    return w;
}

void watches_free(struct watches *w) {
    if (!w)
        return;
    free(w->key);
    free(w);
}

static char *key_of(const struct source *s, size_t n) {
    struct buf b;
    buf_init(&b, (size_t)1 << 20);
    for (size_t i = 0; i < n; i++)
        buf_addf(&b, "%s %.*s\n", s[i].source_id.s, STR_ARG(s[i].location));
    size_t len;
    buf_addc(&b, 0);
    return buf_take(&b, &len);
}

static void watch_tree(struct watches *w, const struct source *s) {
    char root[URL_MAX_BYTES];
    snprintf(root, sizeof root, "%.*s", STR_ARG(s->location));
    char *const roots[] = {root, NULL};
    FTS *fts = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR | FTS_NOSTAT, NULL);
    FTSENT *e;
    while (fts && w->n < WATCHES_MAX && (e = fts_read(fts))) {
        if (e->fts_info != FTS_D)
            continue;
        if (e->fts_level > 0 && e->fts_name[0] == '.') {
            fts_set(fts, e, FTS_SKIP);
            continue;
        }
        int wd = inotify_add_watch(w->fd, e->fts_path, EVENTS);
        if (wd > 0) {
            w->list[w->n].wd = wd;
            w->list[w->n++].source = s->source_id;
        }
    }
    if (fts)
        fts_close(fts);
}

bool watches_set(struct watches *w, const struct source *s, size_t n) {
    char *key = key_of(s, n);
    if (!key || (w->key && !w->dirty && strcmp(key, w->key) == 0)) {
        free(key);
        return false;
    }
    for (size_t i = 0; i < w->n; i++)
        inotify_rm_watch(w->fd, w->list[i].wd);
    w->n = 0;
    w->dirty = false;
    for (size_t i = 0; i < n; i++)
        watch_tree(w, &s[i]);
    free(w->key);
    w->key = key;
    return true;
}

static void add_id(const struct watches *w, int wd, struct uuid *ids, size_t *n, size_t max) {
    for (size_t i = 0; i < w->n && *n < max; i++) {
        if (wd >= 0 && w->list[i].wd != wd)
            continue; /* wd < 0: events were lost, all are concerned */
        bool known = false;
        for (size_t k = 0; k < *n; k++)
            known = known || uuid_eq(&ids[k], &w->list[i].source);
        if (!known)
            ids[(*n)++] = w->list[i].source;
    }
}

size_t watches_read(struct watches *w, struct uuid *ids, size_t max) {
    _Alignas(struct inotify_event) char events[16384];
    size_t n = 0;
    ssize_t got;
    while (w && (got = read(w->fd, events, sizeof events)) > 0)
        for (char *p = events; p < events + got;) {
            const struct inotify_event *e = (const struct inotify_event *)(void *)p;
            bool is_dir = (e->mask & IN_ISDIR) != 0;
            w->dirty = w->dirty || (is_dir && e->mask & (IN_CREATE | IN_MOVED_TO));
            /* a file that was made is told of again when it is closed */
            if (e->mask & IN_Q_OVERFLOW)
                add_id(w, -1, ids, &n, max);
            else if (is_dir || e->mask & (IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE))
                add_id(w, e->wd, ids, &n, max);
            p += sizeof *e + e->len;
        }
    return n;
}
