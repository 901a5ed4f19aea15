/* Migration 7: texts that an embedding model refuses for good, with the reason, so that it is not
 * asked for them without end. */
#include "store/migrations.h"

const char sql_refusals[] =
    "CREATE TABLE chunk_refusals ("
    " model_id INTEGER NOT NULL REFERENCES embedding_models ON DELETE CASCADE,"
    " hash BLOB NOT NULL," /* of what would be embedded, as in chunks */
    " reason TEXT NOT NULL,"
    " at INTEGER NOT NULL,"
    " PRIMARY KEY (model_id, hash)"
    ") STRICT, WITHOUT ROWID;";
