/* Part of migration 2: places that documents come from by themselves, and what is known of each
 * thing that a source has brought (its tags for conditional requests, its document). */
#include "store/migrations.h"

const char sql_sources[] =
    "CREATE TABLE sources ("
    " source_id TEXT PRIMARY KEY NOT NULL,"
    " user_id TEXT NOT NULL REFERENCES users ON DELETE CASCADE,"
    " name TEXT NOT NULL,"
    " kind TEXT NOT NULL CHECK (kind IN ('folder', 'url', 'sitemap', 'feed', 'search')),"
    " location TEXT NOT NULL,"
    " collection_id TEXT REFERENCES collections ON DELETE CASCADE,"
    " shared INTEGER NOT NULL,"
    " interval_minutes INTEGER NOT NULL," /* 0 = only when it is asked for */
    " allow_private INTEGER NOT NULL,"
    " enabled INTEGER NOT NULL,"
    " settings TEXT NOT NULL," /* JSON */
    " created_at INTEGER NOT NULL,"
    " next_at INTEGER NOT NULL," /* 0 = not by itself */
    " last_at INTEGER NOT NULL DEFAULT 0,"
    " last_error TEXT NOT NULL DEFAULT '',"
    " last_new INTEGER NOT NULL DEFAULT 0,"
    " last_seen INTEGER NOT NULL DEFAULT 0,"
    " running INTEGER NOT NULL DEFAULT 0"
    ") STRICT, WITHOUT ROWID;"
    "CREATE INDEX sources_user ON sources (user_id, source_id);"
    "CREATE INDEX sources_due ON sources (next_at) WHERE enabled = 1 AND next_at > 0;"
    "CREATE TABLE source_items ("
    " source_id TEXT NOT NULL REFERENCES sources ON DELETE CASCADE,"
    " uri TEXT NOT NULL,"
    " doc_id TEXT," /* not a reference: the document may be deleted by hand, and stays away then */
    " etag TEXT NOT NULL,"
    " last_modified TEXT NOT NULL,"
    " stamp TEXT NOT NULL," /* a sitemap's date, a file's size and time */
    " error TEXT NOT NULL,"
    " run INTEGER NOT NULL," /* when it was seen last: last_at of that run */
    " PRIMARY KEY (source_id, uri)"
    ") STRICT, WITHOUT ROWID;";
