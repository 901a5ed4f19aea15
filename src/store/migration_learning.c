/* Migration 4: what learning needs. A turn's record says how an answer came about, enough to replay
 * it; ratings get reasons and say which sources helped; signals are what people do without rating.
 * Arms are what is tried, candidates what was learnt, events what happened to both, in words.
 *
 * Whatever takes ratings away (withdrawing one, deleting a person, a conversation) leaves the mark
 * learn.unlearn: the learner then makes anew what is in use, from what is left. */
#include "store/migrations.h"

const char sql_turn_records[] =
    "CREATE TABLE turn_records ("
    " message_id TEXT PRIMARY KEY NOT NULL REFERENCES messages (message_id) ON DELETE CASCADE,"
    " user_id TEXT NOT NULL REFERENCES users ON DELETE CASCADE,"
    " role_id TEXT NOT NULL,"
    " role_version INTEGER NOT NULL,"
    " model TEXT NOT NULL,"
    " at INTEGER NOT NULL,"
    " arm_id TEXT,"              /* NULL = the role as it is */
    " arm_chance REAL NOT NULL," /* with which that was drawn */
    " candidate_id TEXT,"        /* the ranker that was on trial or in use; NULL = none */
    " ranked INTEGER NOT NULL,"  /* this turn had it */
    " ranked_chance REAL NOT NULL,"
    " ttft_ms INTEGER NOT NULL,"
    " latency_ms INTEGER NOT NULL,"
    " status TEXT NOT NULL,"
    " unsafe INTEGER NOT NULL,"
    " answer_id TEXT," /* the approved answer that was served */
    " passages INTEGER NOT NULL,"
    " vector_model TEXT NOT NULL," /* of the question's vector; '' = there is none */
    " vector BLOB,"
    " record TEXT NOT NULL"
    ") STRICT, WITHOUT ROWID;"
    "CREATE INDEX turn_records_role ON turn_records (role_id, at);"
    "CREATE INDEX turn_records_at ON turn_records (at);"
    "CREATE INDEX turn_records_user ON turn_records (user_id);"
    "CREATE TABLE turn_signals ("
    " message_id TEXT NOT NULL REFERENCES messages (message_id) ON DELETE CASCADE,"
    " kind TEXT NOT NULL CHECK (kind IN ('copied', 'regenerated', 'edited', 'stopped')),"
    " at INTEGER NOT NULL,"
    " PRIMARY KEY (message_id, kind)"
    ") STRICT, WITHOUT ROWID;"
    "ALTER TABLE feedback ADD COLUMN reasons TEXT NOT NULL DEFAULT '[]';"
    "ALTER TABLE feedback ADD COLUMN sources TEXT NOT NULL DEFAULT '[]';"
    "CREATE INDEX feedback_updated ON feedback (updated_at);"
    "CREATE TABLE flagged_users ("
    " user_id TEXT PRIMARY KEY NOT NULL REFERENCES users ON DELETE CASCADE,"
    " at INTEGER NOT NULL"
    ") STRICT, WITHOUT ROWID;"
    "CREATE TRIGGER feedback_unlearn AFTER DELETE ON feedback BEGIN"
    " INSERT INTO settings VALUES ('learn.unlearn', 'feedback')"
    "  ON CONFLICT (name) DO UPDATE SET value = excluded.value; END;"
    "CREATE TRIGGER feedback_changed AFTER UPDATE OF rating, sources ON feedback BEGIN"
    " INSERT INTO settings VALUES ('learn.unlearn', 'feedback')"
    "  ON CONFLICT (name) DO UPDATE SET value = excluded.value; END;"
    "CREATE TRIGGER records_unlearn AFTER DELETE ON turn_records BEGIN"
    " INSERT INTO settings VALUES ('learn.unlearn', 'record')"
    "  ON CONFLICT (name) DO UPDATE SET value = excluded.value; END;"
    "CREATE TRIGGER flagged_unlearn AFTER INSERT ON flagged_users BEGIN"
    " INSERT INTO settings VALUES ('learn.unlearn', 'flag')"
    "  ON CONFLICT (name) DO UPDATE SET value = excluded.value; END;";

const char sql_learning[] =
    "CREATE TABLE arms ("
    " arm_id TEXT PRIMARY KEY NOT NULL,"
    " role_id TEXT NOT NULL REFERENCES assistant_roles ON DELETE CASCADE,"
    " name TEXT NOT NULL,"
    " system_prompt TEXT," /* NULL in any of these: as the role says */
    " model TEXT,"
    " temperature REAL,"
    " top_p REAL,"
    " passages INTEGER,"
    " state TEXT NOT NULL CHECK (state IN ('running', 'stopped', 'kept')),"
    " why TEXT NOT NULL DEFAULT '',"
    " created_at INTEGER NOT NULL,"
    " changed_at INTEGER NOT NULL"
    ") STRICT, WITHOUT ROWID;"
    "CREATE INDEX arms_role ON arms (role_id);"
    "CREATE TABLE candidates ("
    " candidate_id TEXT PRIMARY KEY NOT NULL,"
    " kind TEXT NOT NULL,"
    " state TEXT NOT NULL CHECK (state IN ('refused', 'trial', 'half', 'all', 'replaced',"
    "  'rolled_back')),"
    " created_at INTEGER NOT NULL,"
    " changed_at INTEGER NOT NULL,"
    " ratings INTEGER NOT NULL,"
    " proof TEXT NOT NULL," /* JSON: what the replay found */
    " words TEXT NOT NULL,"
    " body BLOB" /* NULL for what was refused, replaced or rolled back long ago */
    ") STRICT, WITHOUT ROWID;"
    "CREATE INDEX candidates_state ON candidates (state);"
    "CREATE TABLE learn_events ("
    " event_id TEXT PRIMARY KEY NOT NULL,"
    " at INTEGER NOT NULL,"
    " kind TEXT NOT NULL,"
    " subject_id TEXT,"
    " words TEXT NOT NULL"
    ") STRICT, WITHOUT ROWID;"
    "CREATE TABLE approved_answers ("
    " answer_id TEXT PRIMARY KEY NOT NULL,"
    " role_id TEXT NOT NULL REFERENCES assistant_roles ON DELETE CASCADE,"
    " question TEXT NOT NULL,"
    " answer TEXT NOT NULL,"
    " sources TEXT NOT NULL," /* JSON: [{doc_id, indexed_at}] that it rests on */
    " state TEXT NOT NULL CHECK (state IN ('proposed', 'approved', 'stale', 'retired')),"
    " message_id TEXT REFERENCES messages (message_id) ON DELETE CASCADE,"
    " made_by TEXT REFERENCES users (user_id) ON DELETE SET NULL,"
    " created_at INTEGER NOT NULL,"
    " changed_at INTEGER NOT NULL,"
    " served INTEGER NOT NULL DEFAULT 0,"
    " vector_model TEXT NOT NULL DEFAULT '',"
    " vector BLOB"
    ") STRICT, WITHOUT ROWID;"
    "CREATE UNIQUE INDEX approved_answers_message ON approved_answers (message_id)"
    " WHERE message_id IS NOT NULL;"
    "CREATE INDEX approved_answers_role ON approved_answers (role_id, state);"
    "CREATE INDEX approved_answers_made_by ON approved_answers (made_by);"
    "CREATE INDEX messages_user_seq ON messages (user_id, seq);";

/* Migration 6: when a candidate's ranker was trained, apart from when its state changed: one that
 * is made anew without a rating that was taken back stays on trial with what it was seen to do. A
 * document that goes leaves the mark as well. */
const char sql_candidates_made[] =
    "ALTER TABLE candidates ADD COLUMN made_at INTEGER NOT NULL DEFAULT 0;"
    "CREATE TRIGGER documents_unlearn AFTER DELETE ON documents WHEN EXISTS (SELECT 1 FROM"
    " collections WHERE collection_id = old.collection_id AND kind <> 'private') BEGIN"
    " INSERT INTO settings VALUES ('learn.unlearn', 'document')"
    "  ON CONFLICT (name) DO UPDATE SET value = excluded.value; END;";

/* Migration 10: approved answers in the prompt are drawn by chance, too: which trial, whether this
 * turn had them, and with which chance. NULL where there were none to show. */
const char sql_examples[] =
    "ALTER TABLE turn_records ADD COLUMN examples_id TEXT;"
    "ALTER TABLE turn_records ADD COLUMN exampled INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE turn_records ADD COLUMN examples_chance REAL NOT NULL DEFAULT 1;";

/* Migration 9: giving a rating sets its sources after the row is there, which takes nothing back.
 */
const char sql_feedback_changed[] =
    "DROP TRIGGER feedback_changed;"
    "CREATE TRIGGER feedback_changed AFTER UPDATE OF rating, sources ON feedback"
    " WHEN old.rating <> new.rating OR (old.sources <> '[]' AND old.sources <> new.sources) BEGIN"
    " INSERT INTO settings VALUES ('learn.unlearn', 'feedback')"
    "  ON CONFLICT (name) DO UPDATE SET value = excluded.value; END;";

/* Migration 13: why an approved answer is stale; and the answers that served one, whose ratings say
 * what people think of it. */
const char sql_answers_why[] =
    "ALTER TABLE approved_answers ADD COLUMN why TEXT NOT NULL DEFAULT '';"
    "UPDATE approved_answers SET why = 'changed' WHERE state = 'stale';"
    "CREATE INDEX turn_records_answer ON turn_records (answer_id) WHERE answer_id IS NOT NULL;";

/* Migration 14: every index is paid for by each turn, most of all one that is ordered by user,
 * since each turn of a group then changes a page of its own. No statement reads messages_user_seq.
 * Records are asked for by user only when an account goes: that reads the one by time from its
 * beginning to its end, which has the user now. */
const char sql_fewer_indexes[] = "DROP INDEX messages_user_seq;"
                                 "DROP INDEX turn_records_user;"
                                 "DROP INDEX turn_records_at;"
                                 "CREATE INDEX turn_records_at ON turn_records (at, user_id);";
