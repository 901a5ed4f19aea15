/* Migration 2: what retrieval needs. Collections say who may search a document; an upload is a
 * version that is not indexed yet, beside the one that is served; chunks are what is found; vectors
 * are kept by the hash of what was embedded, so that the same text is never embedded twice.
 *
 * Each user has a private collection whose id is the user's; one collection is shared with all. */
#include "store/migrations.h"

const char sql_documents[] =
    "CREATE TABLE collections ("
    " collection_id TEXT PRIMARY KEY NOT NULL,"
    " name TEXT NOT NULL,"
    " kind TEXT NOT NULL CHECK (kind IN ('private', 'shared', 'role')),"
    " user_id TEXT REFERENCES users ON DELETE CASCADE," /* the owner of a private one, else NULL */
    " created_at INTEGER NOT NULL"
    ") STRICT, WITHOUT ROWID;"
    "CREATE INDEX collections_user ON collections (user_id);"
    "CREATE TABLE role_collections ("
    " role_id TEXT NOT NULL REFERENCES assistant_roles ON DELETE CASCADE,"
    " collection_id TEXT NOT NULL REFERENCES collections ON DELETE CASCADE,"
    " PRIMARY KEY (role_id, collection_id)"
    ") STRICT, WITHOUT ROWID;"
    "CREATE INDEX role_collections_collection ON role_collections (collection_id);"
    "CREATE TABLE role_retrieval ("
    " role_id TEXT PRIMARY KEY NOT NULL REFERENCES assistant_roles ON DELETE CASCADE,"
    " enabled INTEGER NOT NULL DEFAULT 1,"
    " grounded_only INTEGER NOT NULL DEFAULT 0"
    ") STRICT, WITHOUT ROWID;"
    "INSERT INTO collections VALUES"
    " ('00000000-0000-7000-8000-000000000001', 'Shared', 'shared', NULL, 0);"
    "INSERT INTO collections SELECT user_id, 'Private', 'private', user_id, created_at FROM users;"
    "CREATE TRIGGER users_collection AFTER INSERT ON users BEGIN"
    " INSERT INTO collections VALUES (new.user_id, 'Private', 'private', new.user_id,"
    "  new.created_at); END;"
    "ALTER TABLE messages ADD COLUMN support TEXT NOT NULL DEFAULT '[]';"
    "ALTER TABLE documents ADD COLUMN collection_id TEXT NOT NULL DEFAULT '';"
    "ALTER TABLE documents ADD COLUMN status TEXT NOT NULL DEFAULT 'pending'"
    " CHECK (status IN ('pending', 'indexed', 'failed'));"
    "ALTER TABLE documents ADD COLUMN error TEXT NOT NULL DEFAULT '';"
    "ALTER TABLE documents ADD COLUMN title TEXT NOT NULL DEFAULT '';"
    "ALTER TABLE documents ADD COLUMN media_type TEXT NOT NULL DEFAULT 'text/plain';"
    "ALTER TABLE documents ADD COLUMN content_hash TEXT NOT NULL DEFAULT '';"
    "ALTER TABLE documents ADD COLUMN uri TEXT NOT NULL DEFAULT '';"
    "ALTER TABLE documents ADD COLUMN updated_at INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE documents ADD COLUMN chunk_count INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE documents ADD COLUMN attempts INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE documents ADD COLUMN not_before INTEGER NOT NULL DEFAULT 0;"
    "UPDATE documents SET updated_at = created_at, collection_id ="
    " CASE shared WHEN 1 THEN '00000000-0000-7000-8000-000000000001' ELSE user_id END;"
    "CREATE TRIGGER documents_collection AFTER INSERT ON documents"
    " WHEN new.collection_id = '' BEGIN"
    " UPDATE documents SET updated_at = new.created_at, collection_id = CASE new.shared"
    "  WHEN 1 THEN '00000000-0000-7000-8000-000000000001' ELSE new.user_id END"
    "  WHERE doc_id = new.doc_id; END;"
    "CREATE TRIGGER collections_emptied BEFORE DELETE ON collections BEGIN"
    " DELETE FROM documents WHERE collection_id = old.collection_id; END;"
    "CREATE INDEX documents_collection_id ON documents (collection_id, doc_id);"
    "CREATE UNIQUE INDEX documents_uri ON documents (collection_id, uri) WHERE uri <> '';"
    "CREATE INDEX documents_waiting ON documents (not_before) WHERE status = 'pending';";

/* A version on its way: raw bytes until they are indexed or refused. It is kept out of documents,
 * so that what is served is not touched. */
const char sql_chunks[] =
    "CREATE TABLE document_uploads ("
    " doc_id TEXT PRIMARY KEY NOT NULL REFERENCES documents ON DELETE CASCADE,"
    " hash TEXT NOT NULL,"
    " media_type TEXT NOT NULL,"
    " queued_at INTEGER NOT NULL,"
    " attempts INTEGER NOT NULL DEFAULT 0,"
    " not_before INTEGER NOT NULL DEFAULT 0,"
    " bytes BLOB NOT NULL"
    ") STRICT;"
    "CREATE INDEX document_uploads_due ON document_uploads (not_before, queued_at);"
    "CREATE TABLE chunks ("
    " chunk_id INTEGER PRIMARY KEY AUTOINCREMENT,"
    " doc_id TEXT NOT NULL REFERENCES documents ON DELETE CASCADE,"
    " n INTEGER NOT NULL," /* in the document, from 0 */
    " byte_from INTEGER NOT NULL, byte_to INTEGER NOT NULL,"
    " char_from INTEGER NOT NULL, char_to INTEGER NOT NULL,"
    " page_from INTEGER NOT NULL, page_to INTEGER NOT NULL,"
    " flags INTEGER NOT NULL,"
    " hash BLOB NOT NULL,"
    " heading TEXT NOT NULL,"
    " lead TEXT NOT NULL,"
    " text TEXT NOT NULL"
    ") STRICT;"
    "CREATE UNIQUE INDEX chunks_doc ON chunks (doc_id, n);"
    "CREATE INDEX chunks_hash ON chunks (hash);"
    "CREATE TABLE embedding_models ("
    " model_id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, dimensions INTEGER NOT NULL"
    ") STRICT;"
    "CREATE TABLE chunk_vectors ("
    " model_id INTEGER NOT NULL REFERENCES embedding_models ON DELETE CASCADE,"
    " hash BLOB NOT NULL,"
    " vector BLOB NOT NULL,"
    " PRIMARY KEY (model_id, hash)"
    ") STRICT, WITHOUT ROWID;"
    /* The last user of a text takes its vectors along. */
    "CREATE TRIGGER chunks_removed AFTER DELETE ON chunks"
    " WHEN NOT EXISTS (SELECT 1 FROM chunks WHERE hash = old.hash) BEGIN"
    " DELETE FROM chunk_vectors WHERE hash = old.hash"
    "  AND model_id IN (SELECT model_id FROM embedding_models); END;";

/* A log of what changed, whoever did it: the index reads on from where it stands. A reader that has
 * fallen behind its start builds anew. */
const char sql_index_changes[] =
    "CREATE TABLE index_changes ("
    " seq INTEGER PRIMARY KEY AUTOINCREMENT, doc_id TEXT NOT NULL) STRICT;"
    "CREATE TRIGGER index_changes_kept AFTER INSERT ON index_changes WHEN new.seq % 1000 = 0 BEGIN"
    " DELETE FROM index_changes WHERE seq <= new.seq - 100000; END;"
    "CREATE TRIGGER documents_removed AFTER DELETE ON documents BEGIN"
    " INSERT INTO index_changes (doc_id) VALUES (old.doc_id); END;"
    "CREATE TRIGGER documents_changed AFTER UPDATE OF indexed_at, collection_id, metadata,"
    " source_name, title ON documents WHEN new.status = 'indexed' OR old.status = 'indexed' BEGIN"
    " INSERT INTO index_changes (doc_id) VALUES (new.doc_id); END;";

/* Every turn asks which collections are shared; everybody has a private one. */
const char sql_scope[] =
    "CREATE INDEX collections_shared ON collections (collection_id) WHERE kind = 'shared';";
