/* Migration 12: messages enter the search index a moment later, many at a time. A row is noted in
 * messages_to_index with what makes it searchable; message_index() takes it from there. What is in
 * messages_fts is what is indexed = 1 and not noted, and message_text says so. */
#include "store/migrations.h"

const char sql_index_later[] =
    "CREATE TABLE messages_to_index (seq INTEGER PRIMARY KEY) STRICT;"
    "DROP VIEW message_text;"
    "CREATE VIEW message_text AS SELECT seq, replace(user_id, '-', '') AS owner, content"
    " FROM messages WHERE indexed = 1 AND seq NOT IN (SELECT seq FROM messages_to_index);"
    "DROP TRIGGER messages_added;"
    "CREATE TRIGGER messages_added AFTER INSERT ON messages WHEN new.indexed = 1 BEGIN"
    " INSERT INTO messages_to_index VALUES (new.seq); END;"
    "DROP TRIGGER messages_removed;"
    "CREATE TRIGGER messages_removed AFTER DELETE ON messages WHEN old.indexed = 1 BEGIN"
    " INSERT INTO messages_fts (messages_fts, rowid, owner, content)"
    "  SELECT 'delete', old.seq, replace(old.user_id, '-', ''), old.content"
    "  WHERE old.seq NOT IN (SELECT seq FROM messages_to_index);"
    " DELETE FROM messages_to_index WHERE seq = old.seq; END;"
    "DROP TRIGGER messages_changed;"
    "CREATE TRIGGER messages_changed AFTER UPDATE OF content, indexed ON messages"
    " WHEN old.indexed = 1 OR new.indexed = 1 BEGIN"
    " INSERT INTO messages_fts (messages_fts, rowid, owner, content)"
    "  SELECT 'delete', old.seq, replace(old.user_id, '-', ''), old.content WHERE old.indexed = 1"
    "  AND old.seq NOT IN (SELECT seq FROM messages_to_index);"
    " DELETE FROM messages_to_index WHERE seq = old.seq;"
    " INSERT INTO messages_to_index SELECT new.seq WHERE new.indexed = 1; END;";

/* Migration 15: whole messages are found by their place, not by a note for each; see
 * message_index.c. A program of the version before goes on beside this: its questions and answers
 * enter the index with the next that this one enters. messages_to_index stays for it, and empty. */
const char sql_index_by_place[] =
    "INSERT INTO messages_fts (rowid, owner, content)"
    " SELECT m.seq, replace(m.user_id, '-', ''), m.content"
    " FROM messages_to_index w CROSS JOIN messages m ON m.seq = w.seq;"
    "DELETE FROM messages_to_index;"
    "CREATE TABLE messages_indexed (one INTEGER PRIMARY KEY CHECK (one = 1),"
    " until INTEGER NOT NULL) STRICT;"
    "INSERT INTO messages_indexed SELECT 1, coalesce(max(seq), 0) FROM messages;"
    "CREATE TABLE messages_waiting (seq INTEGER PRIMARY KEY, done INTEGER NOT NULL DEFAULT 0)"
    " STRICT;"
    "CREATE INDEX messages_waiting_done ON messages_waiting (seq) WHERE done = 1;"
    "INSERT INTO messages_waiting (seq) SELECT seq FROM messages WHERE status = 'streaming';"
    "DROP VIEW message_text;"
    "CREATE VIEW message_text AS SELECT seq, replace(user_id, '-', '') AS owner, content"
    " FROM messages WHERE seq <= (SELECT until FROM messages_indexed)"
    "  AND seq NOT IN (SELECT seq FROM messages_waiting);"
    "DROP TRIGGER messages_added;"
    "DROP TRIGGER messages_changed;"
    "DROP TRIGGER messages_removed;"
    /* The last one's seq is given away again. */
    "CREATE TRIGGER messages_removed AFTER DELETE ON messages BEGIN"
    " INSERT INTO messages_fts (messages_fts, rowid, owner, content)"
    "  SELECT 'delete', old.seq, replace(old.user_id, '-', ''), old.content"
    "  WHERE old.seq <= (SELECT until FROM messages_indexed)"
    "   AND old.seq NOT IN (SELECT seq FROM messages_waiting);"
    " DELETE FROM messages_waiting WHERE seq = old.seq;"
    " UPDATE messages_indexed SET until = (SELECT coalesce(max(seq), 0) FROM messages)"
    "  WHERE until > (SELECT coalesce(max(seq), 0) FROM messages); END;";
