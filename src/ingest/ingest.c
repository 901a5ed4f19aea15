/* The thread and the runs' bookkeeping; see ingest.h. */
#include "ingest/ingest.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/crypto.h"
#include "base/json.h"
#include "base/log.h"
#include "ingest/run.h"
#include "store/chunk.h"

#define ARENA_MAX        ((size_t)256 << 20)
#define LOOK_MS          60000 /* at the latest */
#define STORE_AGAIN_MS   5000
#define QUIET_MS         700 /* after the last change in a folder */
#define CHANGED_MAX      64
#define DOCUMENTS_MAX    5000
#define DOCUMENTS_NORMAL 200

struct ingest_thread {
    struct ingest g;
    pthread_t thread;
};

/* ---- waiting ---- */

static void drain(int fd) {
    uint64_t n;
    if (read(fd, &n, sizeof n) < 0)
        return; /* it was drained already */
}

bool ingest_wait(struct ingest *g, int64_t ms) {
    int64_t end = clock_mono_ns() + ms * 1000000;
    while (!atomic_load(&g->stop)) {
        int64_t left = (end - clock_mono_ns()) / 1000000;
        struct pollfd p = {.fd = g->wake_fd, .events = POLLIN};
        if (left <= 0)
            return true;
        /* a wish of somebody's does not make a host answer sooner: only stopping ends the wait */
        if (poll(&p, 1, (int)(left < 200 ? left : 200)) < 0 && errno != EINTR)
            return false;
    }
    return false;
}

/* ---- the store ---- */

struct read_item {
    struct run *r;
    struct str uri;
    struct source_item *ret;
};

static enum err read_item(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct read_item *q = arg;
    (void)ei;
    enum err e = source_item_get(tx, &q->r->s.source_id, q->uri, q->r->arena, q->ret);
    return e == ERR_NOT_FOUND ? ERR_OK : e;
}

enum err run_item(struct run *r, struct str uri, struct source_item *ret) {
    struct errinfo ei;
    struct read_item q = {r, uri, ret};
    *ret = (struct source_item){
        .etag = STR(""), .last_modified = STR(""), .stamp = STR(""), .error = STR("")};
    enum err e = store_read_wait(r->g->o.store, read_item, &q, &ei);
    ret->source_id = r->s.source_id;
    ret->uri = uri;
    if (e)
        run_failed(r, e, &ei);
    return e;
}

static enum err keep_item(struct store_tx *tx, void *arg, struct errinfo *ei) {
    (void)ei;
    return source_item_put(tx, arg);
}

enum err run_keep_item(struct run *r, const struct source_item *i) {
    struct errinfo ei;
    struct source_item kept = *i;
    kept.run = r->run;
    enum err e = store_write_wait(r->g->o.store, keep_item, &kept, &ei);
    if (e)
        run_failed(r, e, &ei);
    return e;
}

struct drop_item {
    struct uuid source_id;
    struct str uri;
};

static enum err drop_item(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct drop_item *d = arg;
    (void)ei;
    return source_item_drop(tx, &d->source_id, d->uri);
}

enum err run_drop_item(struct run *r, struct str uri) {
    struct errinfo ei;
    struct drop_item d = {r->s.source_id, uri};
    enum err e = store_write_wait(r->g->o.store, drop_item, &d, &ei);
    if (e)
        run_failed(r, e, &ei);
    return e;
}

struct submit {
    struct run *r;
    struct source_item item;
    struct document d;
    struct str bytes;
    char hash[SHA256_HEX_LEN + 1];
    bool unchanged;
};

static enum err submit(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct submit *s = arg;
    struct document there;
    struct uuid id;
    enum err e = ERR_OK;
    s->unchanged = true;
    if (uuid_is_set(&s->item.doc_id))
        e = document_get(tx, &s->d.user_id, &s->item.doc_id, s->r->arena, &there);
    if (e == ERR_NOT_FOUND)
        return source_item_put(tx, &s->item); /* somebody does not want it */
    if (!e)
        e = document_submit(tx, &s->d, s->bytes, &id, &s->unchanged, ei);
    if (!e && !s->unchanged)
        e = document_check_quota(tx, &s->d.user_id, &s->r->g->o.quota, ei);
    if (e)
        return e;
    s->item.doc_id = id;
    return source_item_put(tx, &s->item);
}

enum err run_submit(struct run *r, const struct source_item *i, struct str name, struct str type,
                    struct str bytes, struct errinfo *ei) {
    struct submit s = {.r = r, .item = *i, .bytes = bytes};
    s.item.run = r->run;
    sha256_hex(bytes, s.hash);
    s.d = (struct document){.user_id = r->s.user_id,
                            .shared = r->s.shared,
                            .collection_id = r->s.collection_id,
                            .source_name = name,
                            .media_type = type,
                            .content_hash = {s.hash, SHA256_HEX_LEN},
                            .uri = i->uri,
                            .created_at = clock_wall_ms()};
    enum err e = store_write_wait(r->g->o.store, submit, &s, ei);
    if (!e && !s.unchanged) {
        r->fresh++;
        if (r->g->o.poke)
            r->g->o.poke(r->g->o.poke_ctx);
    }
    return e;
}

/* ---- a run ---- */

bool run_is_over(const struct run *r) {
    return atomic_load(&r->g->stop) || r->failures >= FAILURES_MAX || r->retry_after_ms > 0;
}

void run_failed(struct run *r, enum err e, const struct errinfo *ei) {
    r->failures++;
    r->incomplete = true;
    if (r->first.code)
        return;
    r->first = *ei;
    r->first.code = e;
    if (!r->first.message[0])
        err_set(&r->first, e, NULL);
}

static void read_settings(struct run *r) {
    struct errinfo ei;
    yyjson_doc *doc;
    r->max_documents = DOCUMENTS_NORMAL;
    if (!r->s.settings.n || json_parse(r->s.settings, &doc, &ei))
        return;
    const json_val *root = yyjson_doc_get_root(doc);
    int64_t n = json_get_int(root, "max_documents", DOCUMENTS_NORMAL);
    r->max_documents = n < 1 ? 1 : n > DOCUMENTS_MAX ? DOCUMENTS_MAX : n;
    r->all_files = json_get_bool(root, "all_files", false);
    yyjson_doc_free(doc);
}

struct mark {
    struct uuid id;
    bool running;
};

static enum err mark_running(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct mark *m = arg;
    (void)ei;
    return source_set_running(tx, &m->id, m->running);
}

static enum err finish(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct run *r = arg;
    int64_t swept = 0;
    bool sweeps = (r->s.kind != SOURCE_FEED) && !r->incomplete;
    enum err e = sweeps ? source_item_sweep(tx, &r->s.source_id, r->run, &swept) : ERR_OK;
    (void)ei;
    return e ? e : source_finish(tx, &r->s);
}

/* The next time by its interval, later when the host asked for it. */
static void set_result(struct run *r) {
    int64_t now = clock_wall_ms(), pause = (int64_t)r->s.interval_minutes * 60000;
    bool stopped = atomic_load(&r->g->stop);
    r->s.last_at = now;
    r->s.last_error = str_from(r->first.code ? r->first.message : "");
    r->s.last_new = r->fresh;
    r->s.last_seen = r->seen;
    if (pause && r->retry_after_ms > pause)
        pause = r->retry_after_ms;
    r->s.next_at = stopped ? now : pause ? now + pause : 0;
}

/* False: the store takes nothing now; it was not begun. */
static bool run_source(struct ingest *g, const struct source *s, struct arena *a) {
    struct run r = {.g = g, .s = *s, .arena = a, .run = clock_wall_ms()};
    struct mark m = {s->source_id, true};
    struct errinfo ei;
    if (store_write_wait(g->o.store, mark_running, &m, &ei))
        return false;
    read_settings(&r);
    if (s->kind == SOURCE_FOLDER)
        folder_run(&r);
    else if (s->kind == SOURCE_URL)
        crawl_url(&r);
    else if (s->kind == SOURCE_SITEMAP || s->kind == SOURCE_FEED)
        crawl_links(&r);
    if (atomic_load(&g->stop))
        r.incomplete = true;
    set_result(&r);
    enum err e = store_write_wait(g->o.store, finish, &r, &ei);
    log_event(r.first.code ? LOG_WARN : LOG_INFO, "source.ran", LF_ID("source", &s->source_id),
              LF_Z("kind", source_kind_name(s->kind)), LF_INT("seen", r.seen),
              LF_INT("new", r.fresh), LF_Z("code", err_name(r.first.code)),
              LF_Z("stored", err_name(e)));
    return e != ERR_DISK_FULL && e != ERR_READ_ONLY;
}

/* ---- the thread ---- */

struct look {
    struct arena *arena;
    struct source due;
    struct source *folders;
    size_t n_folders;
    int64_t next_at;
    bool found;
};

static enum err look(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct look *l = arg;
    (void)ei;
    enum err e = source_next(tx, clock_wall_ms(), l->arena, &l->due, &l->next_at);
    l->found = e == ERR_OK;
    if (e && e != ERR_NOT_FOUND)
        return e;
    return source_folders(tx, l->arena, &l->folders, &l->n_folders);
}

static enum err recover(struct store_tx *tx, void *arg, struct errinfo *ei) {
    (void)arg, (void)ei;
    return source_recover(tx);
}

/* Folders with changes are due once they are quiet. */
static void run_changed(struct ingest *g, const struct look *l) {
    struct uuid ids[CHANGED_MAX];
    size_t n = watches_read(g->watches, ids, CHANGED_MAX);
    while (n > 0 && n < CHANGED_MAX) {
        struct pollfd p = {.fd = g->inotify_fd, .events = POLLIN};
        if (atomic_load(&g->stop))
            return;
        if (poll(&p, 1, QUIET_MS) <= 0)
            break;
        n += watches_read(g->watches, ids + n, CHANGED_MAX - n);
    }
    for (size_t i = 0; i < l->n_folders; i++)
        for (size_t k = 0; k < n; k++)
            if (uuid_eq(&ids[k], &l->folders[i].source_id)) {
                run_source(g, &l->folders[i], l->arena);
                break;
            }
}

static void wait_for_work(struct ingest *g, const struct look *l, bool store_failed) {
    int64_t ms = l->next_at ? l->next_at - clock_wall_ms() : LOOK_MS;
    struct pollfd p[2] = {{.fd = g->wake_fd, .events = POLLIN},
                          {.fd = g->inotify_fd, .events = POLLIN}};
    ms = store_failed ? STORE_AGAIN_MS : ms < 0 ? 0 : ms > LOOK_MS ? LOOK_MS : ms;
    if (poll(p, 2, (int)ms) <= 0)
        return;
    if (p[0].revents)
        drain(g->wake_fd);
    if (p[1].revents)
        run_changed(g, l);
}

static void *work(void *arg) {
    struct ingest *g = &((struct ingest_thread *)arg)->g;
    struct errinfo ei;
    prctl(PR_SET_NAME, "ingest");
    bool recovered = false;
    while (!atomic_load(&g->stop)) {
        recovered = recovered || store_write_wait(g->o.store, recover, NULL, &ei) == ERR_OK;
        struct look l = {.arena = arena_new(ARENA_MAX)};
        enum err e = l.arena ? store_read_wait(g->o.store, look, &l, &ei) : ERR_NOMEM;
        bool anew = !e && g->watches && watches_set(g->watches, l.folders, l.n_folders);
        bool kept = !e;
        for (size_t i = 0; anew && kept && i < l.n_folders && !atomic_load(&g->stop); i++)
            kept = run_source(g, &l.folders[i], l.arena);
        if (kept && l.found && !anew) /* else what is due is read again */
            kept = run_source(g, &l.due, l.arena);
        if (!kept || (!anew && !l.found))
            wait_for_work(g, &l, !kept);
        arena_free(l.arena);
    }
    return NULL;
}

enum err ingest_start(const struct ingest_options *o, struct ingest **ret, struct errinfo *ei) {
    struct ingest_thread *t = calloc(1, sizeof *t);
    sigset_t all, before;
    if (!t)
        return err_set(ei, ERR_NOMEM, NULL);
    t->g.o = *o;
    if (!t->g.o.delay_ms)
        t->g.o.delay_ms = 1000;
    if (!t->g.o.max_bytes)
        t->g.o.max_bytes = (size_t)32 << 20;
    t->g.wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    t->g.inotify_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    t->g.watches = t->g.inotify_fd >= 0 ? watches_new(t->g.inotify_fd) : NULL;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = t->g.wake_fd < 0 ? EMFILE : pthread_create(&t->thread, NULL, work, t);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed) {
        if (t->g.wake_fd >= 0)
            close(t->g.wake_fd);
        if (t->g.inotify_fd >= 0)
            close(t->g.inotify_fd);
        watches_free(t->g.watches);
        free(t);
        return err_set(ei, ERR_NOMEM, "the thread for sources cannot be started");
    }
    *ret = &t->g;
    return ERR_OK;
}

void ingest_poke(struct ingest *g) {
    uint64_t one = 1;
    if (g && write(g->wake_fd, &one, sizeof one) < 0)
        return; /* it is awake as it is */
}

void ingest_stop(struct ingest *g) {
    if (!g)
        return;
    struct ingest_thread *t = (struct ingest_thread *)g; /* its first member */
    atomic_store(&g->stop, true);
    ingest_poke(g);
    pthread_join(t->thread, NULL);
    close(g->wake_fd);
    if (g->inotify_fd >= 0)
        close(g->inotify_fd);
    watches_free(g->watches);
    for (size_t i = 0; i < HOSTS_MAX; i++)
        free(g->hosts[i].robots);
    free(t);
}

enum err ingest_check_location(enum source_kind kind, struct str location, struct errinfo *ei) {
    char text[URL_MAX_BYTES], host[300];
    if (location.n >= sizeof text || location.n == 0 || memchr(location.p, 0, location.n))
        return err_param(ei, ERR_INVALID, "location", "location must have 1 to %d bytes",
                         URL_MAX_BYTES - 1);
    snprintf(text, sizeof text, "%.*s", STR_ARG(location));
    if (kind == SOURCE_FOLDER)
        return text[0] == '/' ? ERR_OK
                              : err_param(ei, ERR_INVALID, "location",
                                          "a folder's location is its whole path, /srv/docs");
    if (!fetch_host(text, host, sizeof host, NULL, 0))
        return err_param(ei, ERR_INVALID, "location",
                         "location must be an address that begins with http:// or https://");
    if (kind == SOURCE_SEARCH && !strstr(text, "{query}"))
        return err_param(ei, ERR_INVALID, "location",
                         "a search's location must have {query} where the words go");
    return ERR_OK;
}
