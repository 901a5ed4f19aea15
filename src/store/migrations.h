/* The SQL of each migration that has a file of its own; migrate.c lists them in order. */
#pragma once

extern const char sql_documents[];        /* migration_documents.c: collections, versions */
extern const char sql_chunks[];           /* chunks and their vectors */
extern const char sql_index_changes[];    /* what the search index follows */
extern const char sql_sources[];          /* migration_sources.c: what documents come from */
extern const char sql_safety[];           /* migration_safety.c: verdicts, policies, cases */
extern const char sql_audit[];            /* the audit log */
extern const char sql_turn_records[];     /* migration_learning.c: records, signals, reasons */
extern const char sql_learning[];         /* arms, candidates, approved answers */
extern const char sql_candidates_made[];  /* when a candidate's ranker was trained */
extern const char sql_feedback_changed[]; /* which changes of ratings are unlearnt */
extern const char sql_examples[];         /* which turns had approved answers as examples */
extern const char sql_answers_why[];      /* why an approved answer is stale */
extern const char sql_fewer_indexes[];    /* what a turn need not write */
extern const char sql_durability[];       /* migration_durability.c: answers and requests */
extern const char sql_refusals[];         /* migration_refusals.c: texts that a model refuses */
extern const char sql_judged[];           /* migration_judged.c: what is found in documents */
extern const char sql_scope[];            /* which collections a turn may search */
extern const char sql_index_by_place[];   /* … and without a note for each */
extern const char sql_index_later[];      /* migration_search.c: messages found a moment later */
extern const char sql_attachments[];      /* migration_attachments.c: what came with a message */
extern const char sql_checks[]; /* migration_checks.c: a status is checked without a list */
