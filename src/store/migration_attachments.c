/* Migration 16: which documents came with a message. A JSON list of {doc_id, source_name}: the name
 * stays when the document is gone. */
#include "store/migrations.h"

const char sql_attachments[] =
    "ALTER TABLE messages ADD COLUMN attachments TEXT NOT NULL DEFAULT '[]';";
