/* The schema, as numbered migrations. Each runs once, in a transaction of its own, with its row in
 * schema_migrations. To change the schema append a migration; never edit one that was released.
 *
 * min_compatible is the lowest schema number that a program may know and still work beside this
 * one: a migration that only adds (a table, a column with a default, an index) keeps its
 * predecessor's, so that N-1 runs on N's database during an upgrade; one that breaks older programs
 * sets its own number.
 *
 * readable_without: what this program reads is there without the migration as well, because tables
 * and views have the columns that they had (an index, a constraint, another way to store the same).
 * On a disk that takes nothing a database that lacks only such ones is read as it is, and brought
 * up to date when the disk takes writing. */
#include "store/store_internal.h"

#include "base/clock.h"
#include "store/migrations.h"

struct migration {
    int version;
    int min_compatible;
    bool readable_without;
    const char *name;
    const char *sql[4]; /* run in order; parts only because a literal's length is limited */
};

static const char sql_accounts[] =
    "CREATE TABLE users ("
    " user_id TEXT PRIMARY KEY NOT NULL,"
    " username TEXT NOT NULL COLLATE NOCASE UNIQUE,"
    " email TEXT NOT NULL COLLATE NOCASE,"
    " created_at INTEGER NOT NULL,"
    " last_login_at INTEGER NOT NULL DEFAULT 0,"
    " preferences TEXT NOT NULL DEFAULT '{}',"
    " is_admin INTEGER NOT NULL DEFAULT 0 CHECK (is_admin IN (0, 1)),"
    " disabled INTEGER NOT NULL DEFAULT 0 CHECK (disabled IN (0, 1)),"
    " password_hash TEXT NOT NULL"
    ") STRICT, WITHOUT ROWID;"
    "CREATE UNIQUE INDEX users_email ON users (email) WHERE email <> '';"
    "CREATE TABLE sessions ("
    " token_hash TEXT PRIMARY KEY NOT NULL,"
    " user_id TEXT NOT NULL REFERENCES users ON DELETE CASCADE,"
    " created_at INTEGER NOT NULL,"
    " expires_at INTEGER NOT NULL"
    ") STRICT, WITHOUT ROWID;"
    "CREATE INDEX sessions_user ON sessions (user_id);"
    "CREATE INDEX sessions_expiry ON sessions (expires_at);"
    "CREATE TABLE api_keys ("
    " key_id TEXT PRIMARY KEY NOT NULL,"
    " user_id TEXT NOT NULL REFERENCES users ON DELETE CASCADE,"
    " name TEXT NOT NULL,"
    " prefix TEXT NOT NULL,"
    " hash TEXT NOT NULL UNIQUE,"
    " created_at INTEGER NOT NULL,"
    " last_used_at INTEGER NOT NULL DEFAULT 0,"
    " revoked_at INTEGER NOT NULL DEFAULT 0"
    ") STRICT, WITHOUT ROWID;"
    "CREATE INDEX api_keys_user ON api_keys (user_id);"
    "CREATE TABLE settings (name TEXT PRIMARY KEY NOT NULL, value TEXT NOT NULL) STRICT, WITHOUT "
    "ROWID;";

static const char sql_roles[] =
    "CREATE TABLE assistant_roles ("
    " role_id TEXT PRIMARY KEY NOT NULL,"
    " name TEXT NOT NULL,"
    " slug TEXT NOT NULL,"
    " description TEXT NOT NULL,"
    " system_prompt TEXT NOT NULL,"
    " version INTEGER NOT NULL,"
    " model TEXT NOT NULL,"
    " temperature REAL NOT NULL,"
    " top_p REAL NOT NULL,"
    " max_tokens INTEGER NOT NULL,"
    " stop TEXT NOT NULL,"
    " starter_questions TEXT NOT NULL,"
    " created_at INTEGER NOT NULL,"
    " updated_at INTEGER NOT NULL,"
    " retired_at INTEGER NOT NULL DEFAULT 0"
    ") STRICT;"
    "CREATE UNIQUE INDEX assistant_roles_slug ON assistant_roles (slug) WHERE retired_at = 0;"
    "CREATE TABLE role_versions ("
    " role_id TEXT NOT NULL REFERENCES assistant_roles ON DELETE CASCADE,"
    " version INTEGER NOT NULL,"
    " name TEXT NOT NULL,"
    " description TEXT NOT NULL,"
    " system_prompt TEXT NOT NULL,"
    " model TEXT NOT NULL,"
    " temperature REAL NOT NULL,"
    " top_p REAL NOT NULL,"
    " max_tokens INTEGER NOT NULL,"
    " stop TEXT NOT NULL,"
    " starter_questions TEXT NOT NULL,"
    " made_at INTEGER NOT NULL,"
    " PRIMARY KEY (role_id, version)"
    ") STRICT, WITHOUT ROWID;";

/* seq is an INTEGER PRIMARY KEY because the search tables refer to it: a bare rowid may change in a
 * VACUUM. Long texts stand last in their rows, so that reading the other columns does not walk
 * through them. messages.user_id repeats the conversation's: the search index needs it when a
 * message goes away after its conversation did. */
static const char sql_conversations[] =
    "CREATE TABLE conversations ("
    " seq INTEGER PRIMARY KEY,"
    " conversation_id TEXT NOT NULL UNIQUE,"
    " user_id TEXT NOT NULL REFERENCES users ON DELETE CASCADE,"
    " created_at INTEGER NOT NULL,"
    " last_updated_at INTEGER NOT NULL,"
    " assistant_role_id TEXT NOT NULL REFERENCES assistant_roles,"
    " status TEXT NOT NULL CHECK (status IN ('active', 'archived')),"
    " title TEXT NOT NULL DEFAULT '',"
    " title_is_users INTEGER NOT NULL DEFAULT 0,"
    " current_message_id TEXT,"
    " summary_until TEXT,"
    " summary TEXT NOT NULL DEFAULT ''"
    ") STRICT;"
    "CREATE INDEX conversations_user ON conversations (user_id, last_updated_at, conversation_id, "
    "status);"
    "CREATE TABLE messages ("
    " seq INTEGER PRIMARY KEY,"
    " message_id TEXT NOT NULL UNIQUE,"
    " conversation_id TEXT NOT NULL REFERENCES conversations (conversation_id) ON DELETE CASCADE,"
    " user_id TEXT NOT NULL,"
    " parent_id TEXT,"
    " sender TEXT NOT NULL CHECK (sender IN ('user', 'assistant')),"
    " timestamp INTEGER NOT NULL,"
    " response_latency_ms INTEGER NOT NULL,"
    " status TEXT NOT NULL"
    "  CHECK (status IN ('complete', 'streaming', 'stopped', 'failed', 'interrupted')),"
    " ttft_ms INTEGER NOT NULL,"
    " role_id TEXT,"
    " role_version INTEGER NOT NULL,"
    " model TEXT NOT NULL,"
    " finish_reason TEXT NOT NULL,"
    " error TEXT NOT NULL,"
    " prompt_tokens INTEGER NOT NULL,"
    " completion_tokens INTEGER NOT NULL,"
    " indexed INTEGER NOT NULL,"
    " retrieved_docs TEXT NOT NULL,"
    " content TEXT NOT NULL"
    ") STRICT;"
    "CREATE INDEX messages_conversation ON messages (conversation_id);"
    "CREATE INDEX messages_streaming ON messages (seq) WHERE status = 'streaming';"
    "CREATE TABLE feedback ("
    " feedback_id TEXT PRIMARY KEY NOT NULL,"
    " message_id TEXT NOT NULL REFERENCES messages (message_id) ON DELETE CASCADE,"
    " user_id TEXT NOT NULL REFERENCES users ON DELETE CASCADE,"
    " rating TEXT NOT NULL CHECK (rating IN ('thumbs_up', 'thumbs_down', 'neutral')),"
    " comment TEXT NOT NULL,"
    " created_at INTEGER NOT NULL,"
    " updated_at INTEGER NOT NULL,"
    " UNIQUE (message_id, user_id)"
    ") STRICT, WITHOUT ROWID;"
    "CREATE INDEX feedback_user ON feedback (user_id);"
    "CREATE TABLE documents ("
    " doc_id TEXT PRIMARY KEY NOT NULL,"
    " user_id TEXT NOT NULL REFERENCES users ON DELETE CASCADE,"
    " shared INTEGER NOT NULL,"
    " source_name TEXT NOT NULL,"
    " content_bytes INTEGER NOT NULL,"
    " metadata TEXT NOT NULL,"
    " created_at INTEGER NOT NULL,"
    " indexed_at INTEGER NOT NULL DEFAULT 0,"
    " content TEXT NOT NULL"
    ") STRICT;"
    "CREATE INDEX documents_user ON documents (user_id, doc_id);"
    "CREATE INDEX documents_shared ON documents (doc_id) WHERE shared = 1;";

/* Search. The owner is a word of the index, so that one person's search does not read through
 * everyone's messages. An answer enters the index when it is finished (indexed = 1), never while it
 * streams. Every savepoint flushes a segment of the index: merging 16 of them at a time, not 4,
 * makes appending a third faster. */
static const char sql_search[] =
    "CREATE VIEW message_text AS SELECT seq, replace(user_id, '-', '') AS owner, content"
    " FROM messages WHERE indexed = 1;"
    "CREATE VIEW conversation_text AS SELECT seq, replace(user_id, '-', '') AS owner, title"
    " FROM conversations WHERE title <> '';"
    "CREATE VIRTUAL TABLE messages_fts USING fts5 (owner, content, content = 'message_text',"
    " content_rowid = 'seq', tokenize = 'unicode61 remove_diacritics 2');"
    "CREATE VIRTUAL TABLE conversations_fts USING fts5 (owner, title, content = "
    "'conversation_text',"
    " content_rowid = 'seq', tokenize = 'unicode61 remove_diacritics 2');"
    "INSERT INTO messages_fts (messages_fts, rank) VALUES ('automerge', 16);"
    "CREATE TRIGGER messages_added AFTER INSERT ON messages WHEN new.indexed = 1 BEGIN"
    " INSERT INTO messages_fts (rowid, owner, content)"
    "  VALUES (new.seq, replace(new.user_id, '-', ''), new.content); END;"
    "CREATE TRIGGER messages_removed AFTER DELETE ON messages WHEN old.indexed = 1 BEGIN"
    " INSERT INTO messages_fts (messages_fts, rowid, owner, content)"
    "  VALUES ('delete', old.seq, replace(old.user_id, '-', ''), old.content); END;"
    "CREATE TRIGGER messages_changed AFTER UPDATE OF content, indexed ON messages"
    " WHEN old.indexed = 1 OR new.indexed = 1 BEGIN"
    " INSERT INTO messages_fts (messages_fts, rowid, owner, content)"
    "  SELECT 'delete', old.seq, replace(old.user_id, '-', ''), old.content WHERE old.indexed = 1;"
    " INSERT INTO messages_fts (rowid, owner, content)"
    "  SELECT new.seq, replace(new.user_id, '-', ''), new.content WHERE new.indexed = 1; END;"
    "CREATE TRIGGER conversations_added AFTER INSERT ON conversations WHEN new.title <> '' BEGIN"
    " INSERT INTO conversations_fts (rowid, owner, title)"
    "  VALUES (new.seq, replace(new.user_id, '-', ''), new.title); END;"
    "CREATE TRIGGER conversations_removed AFTER DELETE ON conversations WHEN old.title <> '' BEGIN"
    " INSERT INTO conversations_fts (conversations_fts, rowid, owner, title)"
    "  VALUES ('delete', old.seq, replace(old.user_id, '-', ''), old.title); END;"
    "CREATE TRIGGER conversations_changed AFTER UPDATE OF title ON conversations"
    " WHEN old.title <> new.title BEGIN"
    " INSERT INTO conversations_fts (conversations_fts, rowid, owner, title)"
    "  SELECT 'delete', old.seq, replace(old.user_id, '-', ''), old.title WHERE old.title <> '';"
    " INSERT INTO conversations_fts (rowid, owner, title)"
    "  SELECT new.seq, replace(new.user_id, '-', ''), new.title WHERE new.title <> ''; END;";

static const struct migration migrations[] = {
    {1,
     1,
     false,
     "the six entities, accounts and search",
     {sql_accounts, sql_roles, sql_conversations, sql_search}},
    {2,
     1,
     false,
     "collections, chunks and vectors",
     {sql_documents, sql_chunks, sql_index_changes, sql_sources}},
    {3, 1, false, "the guard's verdicts, policies, cases and audit log", {sql_safety, sql_audit}},
    {4,
     1,
     false,
     "records of turns and what is learnt from them",
     {sql_turn_records, sql_learning}},
    {5, 1, false, "answers and requests outlive their process", {sql_durability}},
    {6, 1, false, "when a candidate was made", {sql_candidates_made}},
    {7, 1, false, "texts that an embedding model refuses", {sql_refusals}},
    {8, 1, false, "the shared collections are found without looking at everybody's", {sql_scope}},
    {9, 1, false, "what of a rating is unlearnt", {sql_feedback_changed}},
    {10, 1, false, "which turns had approved answers as examples", {sql_examples}},
    {11, 1, false, "what the guard finds in documents", {sql_judged}},
    {12, 1, false, "messages enter the search index a moment later", {sql_index_later}},
    {13, 1, false, "why an approved answer is not served any more", {sql_answers_why}},
    {14, 1, true, "indexes that each turn paid for and nobody asked for", {sql_fewer_indexes}},
    {15, 1, false, "messages enter the search index by their place", {sql_index_by_place}},
    {16, 1, false, "documents that came with a message", {sql_attachments}},
    {17, 1, true, "a message's status is checked without a list", {sql_checks}},
};
#define N_MIGRATIONS (sizeof migrations / sizeof *migrations)

int migrate_count(void) {
    return (int)N_MIGRATIONS;
}

int migrate_newest(void) {
    return migrations[N_MIGRATIONS - 1].version;
}

/* The oldest schema that can be read as it is. */
int migrate_readable_from(void) {
    size_t i = N_MIGRATIONS - 1;
    while (i > 0 && migrations[i].readable_without)
        i--;
    return migrations[i].version;
}

/* 0 for a file without any table. */
static enum err schema_version(struct conn *c, const char *path, int64_t *ret, struct errinfo *ei) {
    int64_t tables = 0, ours = 0, version = 0, min = 0;
    enum err e = conn_int(c, "SELECT count(*) FROM sqlite_master", &tables);
    if (!e)
        e = conn_int(c, "SELECT count(*) FROM sqlite_master WHERE name = 'schema_migrations'",
                     &ours);
    if (!e && ours)
        e = conn_int(c, "SELECT max(version) FROM schema_migrations", &version);
    if (!e && ours)
        e = conn_int(c, "SELECT max(min_compatible) FROM schema_migrations", &min);
    if (e)
        return conn_explain(c, path, e, ei);
    if (tables && !ours)
        return err_set(ei, ERR_CORRUPT,
                       "%s is a database of another program: choose another data directory", path);
    if (min > migrate_newest())
        return err_set(
            ei, ERR_CONFLICT,
            "%s was written by a newer Parley (schema %lld, this program knows %d and the "
            "schema asks for %lld): install the newer program again, or restore a backup "
            "from before the upgrade",
            path, (long long)version, migrate_newest(), (long long)min);
    *ret = version;
    return ERR_OK;
}

enum err migrate_check(struct conn *c, const char *path, struct errinfo *ei) {
    int64_t version = 0;
    enum err e = schema_version(c, path, &version, ei);
    if (e)
        return e;
    return version ? ERR_OK
                   : err_set(ei, ERR_CORRUPT, "%s is no Parley database: it has no tables", path);
}

enum err migrate_is_readable(struct conn *c, const char *path, int *ret_version,
                             struct errinfo *ei) {
    int64_t version = 0;
    enum err e = schema_version(c, path, &version, ei);
    if (!e && version < migrate_readable_from())
        e = err_set(ei, ERR_CONFLICT,
                    "%s was written by an older Parley and must be brought up to date first, which "
                    "needs a disk that can be written",
                    path);
    if (!e)
        *ret_version = (int)version;
    return e;
}

static enum err note_migration(struct conn *c, const struct migration *m) {
    struct store_tx tx = {.conn = c};
    struct query q;
    query_begin(&q, &tx,
                "INSERT INTO schema_migrations (version, min_compatible, name, applied_at)"
                " VALUES (?, ?, ?, ?)");
    query_bind_int(&q, m->version);
    query_bind_int(&q, m->min_compatible);
    query_bind_str(&q, str_from(m->name));
    query_bind_int(&q, clock_wall_ms());
    return query_run(&q);
}

static enum err apply(struct conn *c, const struct migration *m, bool first) {
    enum err e = ERR_OK;
    if (first)
        e = conn_exec(c, "PRAGMA application_id = 0x50524c59;"
                         "CREATE TABLE schema_migrations (version INTEGER PRIMARY KEY,"
                         " min_compatible INTEGER NOT NULL, name TEXT NOT NULL,"
                         " applied_at INTEGER NOT NULL) STRICT;");
    /* Migration 17 edits sqlite_schema, which a connection refuses otherwise. */
    (void)sqlite3_db_config(c->db, SQLITE_DBCONFIG_DEFENSIVE, 0, NULL);
    for (size_t i = 0; !e && i < sizeof m->sql / sizeof *m->sql && m->sql[i]; i++)
        e = conn_exec(c, m->sql[i]);
    (void)sqlite3_db_config(c->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    return e ? e : note_migration(c, m);
}

/* One step: looks under the write lock, so that two programs that start at once do not both apply
 * it. */
static enum err migrate_one(struct conn *c, const char *path, int until, bool *ret_more,
                            struct errinfo *ei) {
    int64_t version = 0;
    enum err e = conn_exec(c, "BEGIN IMMEDIATE");
    if (e)
        return conn_explain(c, path, e, ei);
    if ((e = schema_version(c, path, &version, ei)))
        goto fail;
    const struct migration *m = NULL;
    for (size_t i = 0; !m && i < N_MIGRATIONS; i++)
        if (migrations[i].version > version && migrations[i].version <= until)
            m = &migrations[i];
    if (m && (e = apply(c, m, version == 0))) {
        conn_explain(c, path, e, ei);
        goto fail;
    }
    if ((e = conn_exec(c, "COMMIT"))) {
        conn_explain(c, path, e, ei);
        goto fail;
    }
    *ret_more = m && m->version < until;
    return ERR_OK;
fail:
    (void)!conn_exec(c, "ROLLBACK");
    return e;
}

enum err migrate_until(struct conn *c, const char *path, int until, struct errinfo *ei) {
    int64_t version = 0;
    enum err e = schema_version(c, path, &version, ei);
    /* Nothing to do is found without the write lock: a start beside a long write does not wait. */
    bool more = !e && version < until;
    while (!e && more)
        e = migrate_one(c, path, until, &more, ei);
    return e;
}

enum err migrate(struct conn *c, const char *path, struct errinfo *ei) {
    return migrate_until(c, path, migrate_newest(), ei);
}
