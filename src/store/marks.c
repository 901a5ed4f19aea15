/* See mark.h. What the writer's thread notes while a group runs becomes true for others when the
 * group has been committed (marks_end()).
 *
 * The header of the log's index is 12 words of 4 bytes, twice; a commit writes the second one first
 * and adds one to word 2 (https://sqlite.org/walformat.html#the_wal_index_header). Who holds the
 * write lock, from BEGIN IMMEDIATE to the end of COMMIT, sees it stand still. */
#include <pthread.h>
#include <stdlib.h>

#include "store/mark.h"
#include "store/store_internal.h"
#include "store/store_threads.h"

#define PLACES       16384 /* of conversations by their ids; two in one place fall together */
#define TOUCHED_MAX  4096  /* conversations that a group changes; past it all marks fall */
#define INDEX_BYTES  32768 /* what SQLite maps of the log's index at first */
#define HEADER_WORDS 12
#define CHANGE_WORD  2

struct marks {
    pthread_mutex_t lock; /* of what stands here */
    uint64_t all;         /* grows with what concerns everybody */
    uint64_t places[PLACES];
    const volatile uint32_t *index;   /* borrowed from SQLite; NULL: nothing can be told */
    uint32_t committed[HEADER_WORDS]; /* as this process's last commit left it */
    bool known;                       /* that is so */

    /* the writer's */
    uint64_t op;              /* the one that runs */
    uint64_t touched[PLACES]; /* the last one that changed something there */
    uint16_t list[TOUCHED_MAX];
    size_t n_list;
    bool begun;      /* a group runs */
    uint32_t change; /* the change word when it began */
    bool fall;       /* it changed what concerns everybody, or something unnamed */
};

struct marks *marks_new(void) {
    struct marks *m = calloc(1, sizeof *m);
    if (!m)
        return NULL;
    pthread_mutex_init(&m->lock, NULL);
    m->all = 1;
    return m;
}

void marks_free(struct marks *m) {
    if (!m)
        return;
    pthread_mutex_destroy(&m->lock);
    free(m);
}

/* The last bits of a version 7 id are random. */
static size_t place_of(const struct uuid *id) {
    uint32_t h = 2166136261u;
    for (size_t i = UUID_LEN - 12; i < UUID_LEN; i++)
        h = (h ^ (unsigned char)id->s[i]) * 16777619u;
    return (h ^ h >> 16) % PLACES;
}

/* Another process may write it meanwhile: what is read then is not what was committed here. */
__attribute__((no_sanitize("thread"))) static void read_header(const volatile uint32_t *index,
                                                               uint32_t ret[HEADER_WORDS]) {
    for (size_t i = 0; i < HEADER_WORDS; i++)
        ret[i] = index[i];
}

static bool is_committed(const struct marks *m) {
    uint32_t now[HEADER_WORDS];
    if (!m->index || !m->known)
        return false;
    read_header(m->index, now);
    return memcmp(now, m->committed, sizeof now) == 0;
}

/* ---- the writer ---- */

void marks_open(struct marks *m, struct conn *c) {
    sqlite3_file *f = NULL;
    void volatile *index = NULL;
    if (sqlite3_file_control(c->db, "main", SQLITE_FCNTL_FILE_POINTER, &f) != SQLITE_OK || !f ||
        !f->pMethods || f->pMethods->iVersion < 2 ||
        f->pMethods->xShmMap(f, 0, INDEX_BYTES, 0, &index) != SQLITE_OK)
        index = NULL;
    pthread_mutex_lock(&m->lock);
    m->index = index;
    m->known = false;
    m->all++;
    pthread_mutex_unlock(&m->lock);
    c->marks = m;
}

void marks_close(struct marks *m) {
    pthread_mutex_lock(&m->lock);
    m->index = NULL;
    pthread_mutex_unlock(&m->lock);
}

void marks_begin(struct conn *c) {
    struct marks *m = c->marks;
    uint32_t now[HEADER_WORDS];
    if (!m->index)
        return;
    pthread_mutex_lock(&m->lock);
    if (!is_committed(m)) { /* another process wrote */
        m->all++;
        m->known = false;
    }
    pthread_mutex_unlock(&m->lock);
    read_header(m->index, now);
    m->change = now[CHANGE_WORD];
    m->begun = true;
    c->committed = false;
}

void marks_op(struct conn *c) {
    c->marks->op++;
}

/* Our commit has added one; who came behind it has added another, or is about to, which shows in
 * the second copy. */
static void note_header(struct marks *m, bool committed) {
    uint32_t first[HEADER_WORDS], second[HEADER_WORDS];
    read_header(m->index, first);
    read_header(m->index + HEADER_WORDS, second);
    m->known = memcmp(first, second, sizeof first) == 0 &&
               first[CHANGE_WORD] == m->change + (committed ? 1 : 0);
    memcpy(m->committed, first, sizeof first);
}

void marks_end(struct conn *c) {
    struct marks *m = c->marks;
    pthread_mutex_lock(&m->lock);
    for (size_t i = 0; i < m->n_list; i++)
        m->places[m->list[i]] = m->touched[m->list[i]];
    if (m->fall || c->schema_changed)
        m->all++;
    if (m->begun)
        note_header(m, c->committed);
    pthread_mutex_unlock(&m->lock);
    m->n_list = 0;
    m->fall = m->begun = false;
}

static void touch(struct marks *m, const struct uuid *conversation) {
    size_t at = place_of(conversation);
    if (m->touched[at] == m->op)
        return; /* it is in the list */
    m->touched[at] = m->op;
    if (m->n_list < TOUCHED_MAX)
        m->list[m->n_list++] = (uint16_t)at;
    else
        m->fall = true;
}

/* ---- statements ---- */

int marks_authorize(void *conn, int action, const char *table, const char *column,
                    const char *database, const char *trigger) {
    static const struct {
        const char *name;
        unsigned char writes;
    } tables[] = {
        {"conversations", WRITES_TALK},  {"messages", WRITES_TALK},
        {"assistant_roles", WRITES_ALL}, {"role_versions", WRITES_ALL},
        {"role_retrieval", WRITES_ALL},  {"role_collections", WRITES_ALL},
        {"collections", WRITES_ALL},     {"safety_users", WRITES_ALL},
    };
    struct conn *c = conn;
    (void)column, (void)database;
    /* The collection of an account that is only being made: nobody has read anything of it. */
    if (action == SQLITE_INSERT && trigger && strcmp(trigger, "users_collection") == 0)
        return SQLITE_OK;
    if (action != SQLITE_INSERT && action != SQLITE_UPDATE && action != SQLITE_DELETE)
        return SQLITE_OK;
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
        if (strcmp(table, tables[i].name) != 0)
            continue;
        c->writes |= tables[i].writes;
        if (!c->preparing && c->marks) /* SQLite prepares a statement anew by itself */
            c->schema_changed = true;
    }
    return SQLITE_OK;
}

void query_within(struct query *q, const struct uuid *conversation) {
    struct marks *m = q->tx->conn->marks;
    if (!(q->writes & WRITES_TALK) || (conversation && !uuid_is_set(conversation)))
        return;
    q->writes &= (unsigned char)~WRITES_TALK;
    if (m && conversation)
        touch(m, conversation);
}

void marks_fall(struct query *q) {
    if (q->tx->conn->marks)
        q->tx->conn->marks->fall = true;
    q->writes = 0;
}

/* ---- those who keep something ---- */

void store_mark_take(struct store *s, const struct uuid *conversation, struct store_mark *ret) {
    struct marks *m = s->marks;
    pthread_mutex_lock(&m->lock);
    *ret = (struct store_mark){m->all, m->places[place_of(conversation)]};
    pthread_mutex_unlock(&m->lock);
}

bool store_mark_holds(struct store *s, const struct uuid *conversation,
                      const struct store_mark *mark) {
    struct marks *m = s->marks;
    pthread_mutex_lock(&m->lock);
    bool holds =
        mark->all == m->all && mark->place == m->places[place_of(conversation)] && is_committed(m);
    pthread_mutex_unlock(&m->lock);
    return holds;
}

void store_mark_follow(struct store_tx *tx, const struct uuid *conversation,
                       struct store_mark *mark) {
    struct marks *m = tx->conn->marks;
    if (m && m->touched[place_of(conversation)] == mark->place)
        mark->place = m->op;
    else
        mark->all = 0;
}
