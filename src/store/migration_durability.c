/* Migration 5: what lets answers and requests survive the process that carried them out.
 *
 * answer_progress: answers that were taken up again after a crash; see unfinished.c.
 * idempotency: the replies of requests that create something, by the key that their client gave,
 * for a day; see idempotency.c. */
#include "store/migrations.h"

const char sql_durability[] =
    "CREATE TABLE answer_progress ("
    " message_id TEXT PRIMARY KEY NOT NULL REFERENCES messages (message_id) ON DELETE CASCADE,"
    " generation INTEGER NOT NULL,"
    " base_first INTEGER NOT NULL,"
    " base_last INTEGER NOT NULL"
    ") STRICT, WITHOUT ROWID;"
    "CREATE TABLE idempotency ("
    " user_id TEXT NOT NULL,"
    " key_hash TEXT NOT NULL,"
    " request_hash TEXT NOT NULL,"
    " created_at INTEGER NOT NULL,"
    " status INTEGER NOT NULL,"
    " message_id TEXT,"
    " reply TEXT NOT NULL,"
    " PRIMARY KEY (user_id, key_hash)"
    ") STRICT, WITHOUT ROWID;"
    "CREATE INDEX idempotency_age ON idempotency (created_at);";
