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
