/* Migration 17: SQLite builds a table of a list of three and more for each row that it checks
 * against it, and throws it away: twice in each turn. Compared one by one the same names cost
 * nothing. Only the words of the schema change, as SQLite's own procedure for constraints says
 * (lang_altertable, "Making Other Kinds Of Table Schema Changes"); the table that comes and goes
 * tells other connections to read them again. */
#include "store/migrations.h"

const char sql_checks[] =
    "PRAGMA writable_schema = ON;"
    "UPDATE sqlite_schema SET sql = replace(sql,"
    " 'CHECK (status IN (''complete'', ''streaming'', ''stopped'', ''failed'', ''interrupted''))',"
    " 'CHECK (status = ''complete'' OR status = ''streaming'' OR status = ''stopped''"
    " OR status = ''failed'' OR status = ''interrupted'')')"
    " WHERE type = 'table' AND name = 'messages';"
    "PRAGMA writable_schema = RESET;"
    "CREATE TABLE schema_changed (one INTEGER) STRICT;"
    "DROP TABLE schema_changed;";
