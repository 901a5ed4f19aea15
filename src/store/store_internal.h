/* What the files of the store share: a connection with its cached statements, the transaction that
 * verbs receive, and the small query helper in which every verb is written. sqlite3.h stays here.
 *
 * Invariants: a connection belongs to one thread; every statement text is a string literal or
 * another string of static life (the cache is keyed by its address); a verb leaves no statement
 * open. */
#pragma once

#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>

#include "store/store.h"

#define CONN_STMTS                                                                                 \
    256 /* slots of the statement cache; a power of two, more than there are statements */

struct conn_stmt {
    const char *sql; /* borrowed, static; the key */
    sqlite3_stmt *stmt;
    unsigned char writes; /* WRITES_… */
};

/* What a statement can change, as far as somebody keeps it in memory (mark.h). */
#define WRITES_TALK 1u /* conversations and messages */
#define WRITES_ALL  2u /* what concerns everybody */

struct conn {
    sqlite3 *db;
    struct conn_stmt stmts[CONN_STMTS];
    size_t n_stmts;
    fts5_tokenizer tokenizer; /* unicode61, as the search tables use it */
    Fts5Tokenizer *words;     /* its instance; NULL until a query was built */
    int wal_pages;            /* frames in the log after the newest commit (writer) */
    bool accounts_changed;    /* by the group that runs (writer): see store_accounts_version() */
    struct marks *marks;      /* borrowed; the store's writer alone has some */
    bool committed;           /* by the group that runs (writer): something was written */
    bool preparing;           /* a statement for the cache */
    bool schema_changed;      /* after statements were prepared (writer) */
    unsigned char writes;     /* what the statement that is being prepared can change */
    char detail[256];         /* what SQLite said about the newest failure */
};

struct store_tx {
    struct conn *conn;
    enum err
        hard; /* the first failure of disk, lock or memory: the operation cannot succeed any more */
};

/* ---- log_vfs.c: the VFS of who writes; NULL = the default one ---- */
const char *log_vfs(void);
/* Around a commit: its frames go out together. Its writer alone. */
void log_gather(struct conn *c, bool on);

/* ---- db.c: connections ---- */
enum conn_mode {
    CONN_WRITE,
    CONN_READ,
    CONN_PLAIN, /* tools: no pragmas but the busy timeout */
    CONN_VIEW,  /* reads a database that nobody can write, on a disk that takes nothing; what is
                   written there all the same, once it can be, is not seen reliably: close it first
                 */
};

enum err conn_open(const char *path, enum conn_mode mode, int busy_timeout_ms, struct conn **ret,
                   struct errinfo *ei) ERR_CHECK;
void conn_close(struct conn *c);
enum err conn_err(struct conn *c,
                  int rc); /* maps SQLite's result and notes its text in c->detail */
enum err conn_exec(struct conn *c, const char *sql) ERR_CHECK; /* any number of statements */
enum err conn_int(struct conn *c, const char *sql,
                  int64_t *ret) ERR_CHECK; /* 0 when there is no row */
/* Cached; NULL with *ret_err. Good until the next one is prepared. */
const struct conn_stmt *conn_prepare(struct conn *c, const char *sql, enum err *ret_err);
bool err_is_hard(enum err e);
/* ei for a failure of the database at path: what it is and what to do. Returns e. */
enum err conn_explain(const struct conn *c, const char *path, enum err e, struct errinfo *ei);
/* The directory is there and can be written; path is no directory. ERR_READ_ONLY: its disk is
 * mounted so. */
enum err path_check(const char *path, struct errinfo *ei) ERR_CHECK;

/* ---- migrate.c ---- */
#define PARLEY_APPLICATION_ID 0x50524c59 /* "PRLY" in the file's header */
enum err migrate(struct conn *c, const char *path, struct errinfo *ei) ERR_CHECK;
/* ERR_CORRUPT: no Parley database. ERR_CONFLICT: its schema is too new for this program. */
enum err migrate_check(struct conn *c, const char *path, struct errinfo *ei) ERR_CHECK;
/* The same as far as that schema, for tests. */
enum err migrate_until(struct conn *c, const char *path, int until, struct errinfo *ei) ERR_CHECK;
/* Whether this program can read it as it is, which has that schema: no migration is due that
 * changes what is read. ERR_CONFLICT otherwise. */
enum err migrate_is_readable(struct conn *c, const char *path, int *ret_version,
                             struct errinfo *ei) ERR_CHECK;
int migrate_readable_from(void); /* the oldest such schema */
int migrate_newest(void);
int migrate_count(void); /* numbers may have gaps */

/* ---- stmt.c: one statement's life inside a verb. The first failure sticks in err; what follows
 * does nothing, so a verb binds, steps and reads and checks once, in query_end(). ---- */
struct query {
    struct store_tx *tx;
    sqlite3_stmt *stmt;
    enum err err;
    int bound;            /* parameters bound so far */
    unsigned char writes; /* what of it nobody has accounted for: WRITES_… */
};
void query_begin(struct query *q, struct store_tx *tx, const char *sql);
/* What the statement changes of messages and conversations is in this conversation; NULL: it is of
 * answers that are being written, which nobody keeps. Where nothing is said all marks fall. */
void query_within(struct query *q, const struct uuid *conversation);
void query_bind_str(struct query *q, struct str s); /* ERR_INVALID for NUL or bad UTF-8 */
void query_bind_blob(struct query *q, struct str bytes);
void query_bind_id(struct query *q, const struct uuid *id); /* NULL when not set */
void query_bind_int(struct query *q, int64_t v);
void query_bind_num(struct query *q, double v);
bool query_next(struct query *q);              /* true: a row is there */
enum err query_end(struct query *q) ERR_CHECK; /* always called; closes the statement */
/* The same for one row that was asked for; ERR_NOT_FOUND when there was none. */
enum err query_end_one(struct query *q, bool found) ERR_CHECK;
enum err query_run(struct query *q) ERR_CHECK; /* next and end of a statement without rows */
enum err conn_step(struct conn *c, const char *sql) ERR_CHECK; /* one without parameters, cached */
/* The same as query_run(); ERR_NOT_FOUND when no row was changed. */
enum err query_run_one(struct query *q) ERR_CHECK;

int64_t query_int(struct query *q, int col);
double query_num(struct query *q, int col);
struct uuid query_id(struct query *q, int col); /* not set for NULL */
struct str query_peek(struct query *q,
                      int col); /* borrowed until the next row; STR_NULL for NULL */
struct str query_str(struct query *q, int col, struct arena *a);  /* a copy; STR_NULL for NULL */
struct str query_blob(struct query *q, int col, struct arena *a); /* the same */

/* A list that grows in an arena while rows arrive. */
struct rows {
    void *p;
    size_t n, size;
};
void *rows_add(struct rows *r, struct arena *a, size_t item,
               struct query *q); /* NULL: q->err is set */

/* ---- search.c: what a person typed as an FTS5 query ---- */
/* "owner : o AND content : (…)" for column `column`. *ret_empty: no word in it, so that nothing
 * matches. */
enum err fts_query(struct conn *c, struct str typed, const struct uuid *owner, const char *column,
                   struct arena *a, struct str *ret, bool *ret_empty) ERR_CHECK;

/* ---- message_index.c: for message_finish() ---- */
enum err message_index_mark(struct store_tx *tx) ERR_CHECK; /* whatever is whole by now */
enum err message_index_finished(struct store_tx *tx, const struct uuid *id) ERR_CHECK;
/* Before the words of one that may be in the index change; message_index_finished() goes behind. */
enum err message_index_take_out(struct store_tx *tx, const struct uuid *id) ERR_CHECK;

/* ---- marks.c: see mark.h ---- */
struct marks;
struct marks *marks_new(void); /* NULL: no memory */
void marks_free(struct marks *m);
void marks_open(struct marks *m, struct conn *c); /* the writer's connection from now on */
void marks_close(struct marks *m);                /* before that is closed */
void marks_begin(struct conn *c);                 /* behind BEGIN IMMEDIATE */
void marks_op(struct conn *c);                    /* another operation begins */
void marks_end(struct conn *c);   /* behind COMMIT or ROLLBACK, before anybody is told */
void marks_fall(struct query *q); /* what q->writes says is about to be changed */
int marks_authorize(void *conn, int action, const char *table, const char *column,
                    const char *database, const char *trigger);

/* ---- shared by verbs ---- */
enum err page_check(const struct page *p) ERR_CHECK;
#define USER_COLUMNS                                                                               \
    "u.user_id, u.username, u.email, u.created_at, u.last_login_at, u.preferences, u.is_admin, "   \
    "u.disabled, u.password_hash"
#define USER_COLUMNS_N 9
/* Of "turn_records t": a turn that had less than usual (turn/degrade.c) was no fair trial. */
#define NOT_DEGRADED " AND instr(t.record, '\"degraded\":[') = 0"
/* Of "documents d". */
#define DOCUMENT_COLUMNS                                                                           \
    "d.doc_id, d.user_id, d.shared, d.source_name, d.content_bytes, d.metadata, d.created_at,"     \
    " d.indexed_at, d.collection_id, d.status, d.error, d.title, d.media_type, d.content_hash,"    \
    " d.uri, d.updated_at, d.chunk_count,"                                                         \
    " EXISTS (SELECT 1 FROM document_uploads u WHERE u.doc_id = d.doc_id), d.safety,"              \
    " d.safety_stamp"
#define DOCUMENT_COLUMNS_N 20
void document_read(struct query *q, struct arena *a, struct document *ret);
void user_read(struct query *q, int col, struct arena *a, struct user *ret);
int message_sender_from_name(struct str s);
int message_status_from_name(struct str s);
