/* `parley ingest PATH…`: files become documents. They are put into the store as they are; the
 * server reads and indexes them. A document's address is its file's path, so a second run brings
 * only what has changed, and a run that was interrupted goes on. */
#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/crypto.h"
#include "cli/desk.h"
#include "extract/extract.h"
#include "store/chunk.h"

#define FILES_MAX  200000
#define BAR_WIDTH  30
#define LOOK_US    300000
#define NO_MOVE_MS 120000 /* nothing was indexed for so long: whoever waits is let go */

struct file {
    char *path; /* owned, absolute */
    off_t size;
};

struct ingest {
    struct desk desk;
    struct file *files; /* owned */
    size_t n, size;
    int64_t bytes, bytes_done;
    struct user user;
    struct collection collection;
    bool has_collection;
    size_t added, unchanged, refused;
    bool bar; /* stderr is a terminal */
    /* of the file that goes in now */
    const struct file *now;
    struct str content;
    char hash[SHA256_HEX_LEN + 1];
    bool was_unchanged;
    int64_t waiting;
};

/* ---- what there is to bring in ---- */

static int add_file(struct ingest *g, const char *path, off_t size) {
    char real[PATH_MAX];
    if (!realpath(path, real))
        return cli_say(CLI_NOT_FOUND, "%s: %s", path, strerror(errno));
    if (g->n == FILES_MAX)
        return cli_say(CLI_FAILED, "more than %d files; bring them in by smaller folders",
                       FILES_MAX);
    if (g->n == g->size) {
        size_t size_new = g->size ? 2 * g->size : 256;
        struct file *p = realloc(g->files, size_new * sizeof *p);
        if (!p)
            return cli_say(CLI_FAILED, "out of memory");
        g->files = p;
        g->size = size_new;
    }
    g->files[g->n] = (struct file){strdup(real), size};
    if (!g->files[g->n].path)
        return cli_say(CLI_FAILED, "out of memory");
    g->n++;
    g->bytes += size;
    return CLI_OK;
}

static int by_name(const FTSENT **a, const FTSENT **b) {
    return strcmp((*a)->fts_name, (*b)->fts_name);
}

/* Hidden files and folders are passed over, and links. */
static int walk(struct ingest *g, const char *path) {
    char *const roots[] = {(char *)path, NULL};
    bool all = args_has(g->desk.args, "all-files");
    FTS *fts = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR, by_name);
    int status = fts ? CLI_OK : cli_say(CLI_FAILED, "%s: %s", path, strerror(errno));
    FTSENT *e;
    while (!status && (e = fts_read(fts))) {
        bool hidden = e->fts_level > 0 && e->fts_name[0] == '.';
        if (hidden && e->fts_info == FTS_D)
            fts_set(fts, e, FTS_SKIP);
        else if (e->fts_info == FTS_NS && e->fts_level == 0)
            status = cli_say(CLI_NOT_FOUND, "%s: %s", e->fts_path, strerror(e->fts_errno));
        else if (e->fts_info == FTS_DNR || e->fts_info == FTS_ERR || e->fts_info == FTS_NS)
            cli_say(0, "%s: %s", e->fts_path, strerror(e->fts_errno));
        else if (e->fts_info == FTS_F && !hidden &&
                 (all || e->fts_level == 0 || extract_name_is_known(str_from(e->fts_name))))
            status = add_file(g, e->fts_path, e->fts_statp->st_size);
    }
    if (fts)
        fts_close(fts);
    return status;
}

/* ---- where it belongs ---- */

static enum err find_place(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct ingest *g = arg;
    struct collection *list;
    size_t n;
    const char *name = args_get(g->desk.args, "collection");
    enum err e = desk_find_user(tx, g->desk.arena, args_get(g->desk.args, "user"), &g->user, ei);
    if (e || !name)
        return e;
    e = collection_list(tx, &g->user.user_id, g->desk.arena, &list, &n);
    for (size_t i = 0; i < n && !e; i++)
        if (str_eq_nocase(list[i].name, str_from(name))) {
            g->collection = list[i];
            g->has_collection = true;
            return ERR_OK;
        }
    return e ? e
             : err_set(ei, ERR_NOT_FOUND, "%.*s has no collection \"%s\"",
                       STR_ARG(g->user.username), name);
}

static enum err submit(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct ingest *g = arg;
    const char *slash = strrchr(g->now->path, '/');
    struct str path = str_from(g->now->path);
    struct uuid id;
    struct document d = {.user_id = g->user.user_id,
                         .shared = args_has(g->desk.args, "shared"),
                         .source_name = str_from(slash ? slash + 1 : g->now->path),
                         .media_type = STR("application/octet-stream"),
                         .content_hash = {g->hash, SHA256_HEX_LEN},
                         .uri = str_from(arena_printf(g->desk.arena, "file://%s", path.p)),
                         .created_at = clock_wall_ms()};
    if (g->has_collection)
        d.collection_id = g->collection.collection_id;
    if (!utf8_valid(path))
        return err_set(ei, ERR_INVALID, "its name is not UTF-8");
    const struct document_quota quota = {g->desk.config->max_user_documents,
                                         g->desk.config->max_user_document_bytes};
    enum err e = document_submit(tx, &d, g->content, &id, &g->was_unchanged, ei);
    return e || g->was_unchanged ? e : document_check_quota(tx, &d.user_id, &quota, ei);
}

/* ---- one file ---- */

static bool read_file(const struct file *f, struct buf *b) {
    char piece[65536];
    ssize_t n = -1;
    int fd = open(f->path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return false;
    while ((n = read(fd, piece, sizeof piece)) > 0 && !b->err)
        buf_add(b, piece, (size_t)n);
    close(fd);
    return n == 0 && !b->err;
}

static void refuse(struct ingest *g, const char *why) {
    g->refused++;
    if (g->bar)
        fprintf(stderr, "\r\033[K");
    cli_say(0, "%s: %s", g->now->path, why);
}

static void bring_in(struct ingest *g) {
    size_t max = (size_t)g->desk.config->max_document_bytes;
    struct errinfo ei = {0};
    struct buf b;
    char why[200];
    if ((uint64_t)g->now->size > max) {
        snprintf(why, sizeof why, "it has %lld MB; at most %zu MB are taken (max_document_bytes)",
                 (long long)(g->now->size >> 20), max >> 20);
        refuse(g, why);
        return;
    }
    if (g->now->size == 0) {
        refuse(g, "it is empty");
        return;
    }
    buf_init(&b, max);
    errno = 0;
    if (!read_file(g->now, &b)) {
        refuse(g, errno ? strerror(errno) : "it cannot be read");
        buf_deinit(&b);
        return;
    }
    g->content = buf_str(&b);
    sha256_hex(g->content, g->hash);
    enum err e = store_write_wait(g->desk.store, submit, g, &ei);
    if (e)
        refuse(g, ei.message[0] ? ei.message : err_text(e));
    else if (g->was_unchanged)
        g->unchanged++;
    else
        g->added++;
    buf_deinit(&b);
}

/* ---- progress ---- */

static void show(const struct ingest *g, const char *what, double share, const char *detail) {
    char bar[BAR_WIDTH + 1];
    int full = (int)(share * BAR_WIDTH + 0.5);
    if (!g->bar)
        return;
    for (int i = 0; i < BAR_WIDTH; i++)
        bar[i] = i < full ? '#' : '.';
    bar[BAR_WIDTH] = 0;
    fprintf(stderr, "\r\033[K%s [%s] %3d %% %s", what, bar, (int)(share * 100), detail);
}

static enum err read_waiting(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct ingest *g = arg;
    int64_t at;
    (void)ei;
    return document_next_due(tx, &at, &g->waiting);
}

/* Whether a server holds the database. */
static bool is_served(const struct ingest *g) {
    int fd;
    struct errinfo ei;
    enum err e = store_lock(g->desk.config->db_path, &fd, &ei);
    if (!e)
        close(fd);
    return e == ERR_STORE_BUSY;
}

static void wait_for_index(struct ingest *g) {
    struct errinfo ei;
    int64_t first = -1, moved_at = clock_mono_ns(), before = -1;
    while (!store_read_wait(g->desk.store, read_waiting, g, &ei) && g->waiting > 0 &&
           is_served(g)) {
        char detail[64];
        first = g->waiting > first ? g->waiting : first;
        if (g->waiting != before)
            moved_at = clock_mono_ns();
        before = g->waiting;
        if (clock_mono_ns() - moved_at > (int64_t)NO_MOVE_MS * 1000000)
            break;
        snprintf(detail, sizeof detail, "%lld to go", (long long)g->waiting);
        show(g, "Indexing  ", (double)(first - g->waiting) / (double)first, detail);
        usleep(LOOK_US);
    }
    if (g->bar)
        fprintf(stderr, "\r\033[K");
    if (g->waiting > 0)
        printf("%lld documents wait to be indexed%s.\n", (long long)g->waiting,
               is_served(g) ? "; the server goes on with them" : " by the next `parley serve`");
}

static int bring_all(struct ingest *g) {
    for (size_t i = 0; i < g->n; i++) {
        char detail[64];
        snprintf(detail, sizeof detail, "%zu of %zu files", i, g->n);
        show(g, "Bringing in", g->bytes ? (double)g->bytes_done / (double)g->bytes : 1, detail);
        g->now = &g->files[i];
        bring_in(g);
        g->bytes_done += g->now->size;
    }
    if (g->bar)
        fprintf(stderr, "\r\033[K");
    printf("%zu new or changed, %zu unchanged, %zu refused.\n", g->added, g->unchanged, g->refused);
    if (!args_has(g->desk.args, "no-wait"))
        wait_for_index(g);
    return g->refused && !g->added && !g->unchanged ? CLI_FAILED : CLI_OK;
}

int cmd_ingest(const struct args *a) {
    struct ingest g = {.bar = isatty(STDERR_FILENO)};
    int status = desk_open(&g.desk, a, DESK_EXISTING);
    if (!status)
        status = desk_read(&g.desk, find_place, &g);
    for (int i = 0; i < a->n_operands && !status; i++)
        status = walk(&g, a->operands[i]);
    if (!status && g.n == 0)
        status = cli_say(CLI_NOT_FOUND, "there is no file that can be read; --all-files takes all");
    if (!status)
        status = bring_all(&g);
    for (size_t i = 0; i < g.n; i++)
        free(g.files[i].path);
    free(g.files);
    desk_close(&g.desk);
    return status;
}
