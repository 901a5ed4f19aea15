/* Schemas of learning and analytics; see schemas.c. */
#include "api/schemas_define.h"
#include "learn/learn.h"

static const char *const signal_kinds[] = {"copied", NULL};
static const char *const arm_states[] = {"running", "stopped", "kept", NULL};
static const char *const arm_changes[] = {"stopped", "kept", NULL};
static const char *const answer_states[] = {"proposed", "approved", "stale", "retired", NULL};
static const char *const answer_changes[] = {"approved", "retired", NULL};
static const char *const export_forms[] = {"sft", "kto", "dpo", NULL};
static const char *const analytics_keys[] = {"role", "model",   "version", "document",
                                             "day",  "variant", "reason",  NULL};
static const char *const day_keys[] = {"role", "model", "version", "document", "variant", NULL};
static const char *const formats[] = {"json", "csv", NULL};
static const char *const turn_kinds[] = {"worst", "unanswered", NULL};
static const char *const document_kinds[] = {"unused", "disliked", NULL};

/* ---- requests ---- */

SCHEMA(signal_request, "SignalRequest", false, "What was done with an answer, without rating it.",
       {"kind", TEXT, REQ, .values = signal_kinds});
SCHEMA(feedback_source, "FeedbackSource", false, "Whether a source of the answer helped.",
       {"key", TEXT, REQ, .min = 16, .max = 16,
        .about = "of the passage, as retrieved_docs has it"},
       {"helpful", BOOL, REQ});
SCHEMA(
    learning_patch, "LearningPatch", false, "Switches of the learners.",
    {"ranker", BOOL, .about = "the order of passages"},
    {"approved", BOOL, .about = "approved answers are served"},
    {"variants", BOOL, .about = "variants of roles are tried"},
    {"examples", BOOL, .about = "approved answers to like questions are shown to the model"},
    {"explore", BOOL,
     .about = "one answer in ten shows the second best passage where there is room for one"},
    {"answer_days", INT, .min = 0, .max = LEARN_ANSWER_DAYS_MAX,
     .about = "an approved answer that nobody looked at for so long is not served; 0 = for ever"});
SCHEMA(candidate_patch, "CandidatePatch", false, NULL,
       {"in_use", BOOL, REQ, .about = "false takes it out of use, true puts it to use for all"});
SCHEMA(variant_create_request, "VariantCreateRequest", false,
       "A variant of a role: what is absent is as the role has it.", {"role_id", ID, REQ},
       {"name", TEXT, REQ, .min = 1, .max = 80}, {"system_prompt", TEXT, NULLS, .max = 32000},
       {"model", TEXT, NULLS, .max = 200}, {"temperature", NUM, NULLS, .min = 0, .max = 2},
       {"top_p", NUM, NULLS, .min = 0, .max = 1},
       {"passages", INT, NULLS, .min = 1, .max = 20, .about = "of documents, for each answer"});
SCHEMA(variant_patch, "VariantPatch", false,
       "Stopping takes it out; keeping makes the role like it, as a new version.",
       {"state", TEXT, REQ, .values = arm_changes});
SCHEMA(answer_create_request, "AnswerCreateRequest", false, "An answer that a person vouches for.",
       {"role_id", ID, REQ}, {"question", TEXT, REQ, .min = 1, .max = 4000},
       {"answer", TEXT, REQ, .min = 1, .max = 32000},
       {"doc_ids", LIST, .item = F_STRING, .max = 20, .item_max = 36,
        .about = "documents that it rests on: when one changes it is no longer served"});
SCHEMA(answer_patch, "AnswerPatch", false, NULL, {"state", TEXT, .values = answer_changes},
       {"question", TEXT, .min = 1, .max = 4000}, {"answer", TEXT, .min = 1, .max = 32000});
SCHEMA(flag_request, "FlagRequest", false, "Flagged people's ratings count for nothing.",
       {"flagged", BOOL, REQ});

/* ---- queries ---- */

QUERY(answers, PAGE_FIELDS, {"state", TEXT, .values = answer_states});
QUERY(variants, WHOLE_FIELD, {"role_id", ID});
QUERY(training_export, {"form", TEXT, .values = export_forms, .about = "sft if absent"},
      {"after", ID,
       .about = "header X-Parley-Next of the answer before: it is there when more lines follow"});
#define SINCE                                                                                      \
    { "days", INT, .min = 1, .max = 3650, .about = "how far back, 30 if absent" }
QUERY(analytics, WHOLE_FIELD, {"by", TEXT, .values = analytics_keys, .about = "role if absent"},
      SINCE, {"of", TEXT, .values = day_keys, .about = "with by=day: the days of one of these"},
      {"key", TEXT, .max = 300, .about = "of which one, as the list by that has it"},
      {"format", TEXT, .values = formats});
QUERY(analytics_turns, {"which", TEXT, .values = turn_kinds, .about = "worst if absent"}, SINCE,
      {"limit", INT, .min = 1, .max = 200}, {"format", TEXT, .values = formats});
QUERY(analytics_documents, WHOLE_FIELD,
      {"which", TEXT, .values = document_kinds, .about = "unused if absent"}, SINCE,
      {"format", TEXT, .values = formats});
QUERY(complaints, WHOLE_FIELD, SINCE);

/* ---- answers ---- */

SCHEMA(learning_answer, "Learning", false, "What is learnt and what is in use.",
       {"ranker", BOOL, REQ}, {"approved", BOOL, REQ}, {"variants", BOOL, REQ},
       {"examples", BOOL, REQ}, {"explore", BOOL, REQ}, {"answer_days", INT, REQ},
       {"candidate_id", ID, REQNULL, .about = "of the order of passages in use"},
       {"share", NUM, REQ, .about = "of the conversations that have it"},
       {"learners", LIST, REQ, .item = F_STRING, .about = "the names of the switches"});
SCHEMA(learning_run_answer, "LearningRun", false, NULL, {"ratings", INT, REQ},
       {"questions", INT, REQ}, {"candidate", BOOL, REQ}, {"proved", BOOL, REQ},
       {"variants_stopped", INT, REQ}, {"answers_proposed", INT, REQ}, {"answers_stale", INT, REQ},
       {"words", TEXT, REQ, .about = "what was done and why"});
SCHEMA(learn_event_entity, "LearnEvent", false, "What your feedback changed.",
       {"event_id", ID, REQ}, {"at", TIME, REQ}, {"kind", TEXT, REQ}, {"subject_id", ID, REQNULL},
       {"words", TEXT, REQ});
LIST_OF(learn_event_list_answer, "LearnEventList", schema_learn_event_entity);
SCHEMA(candidate_entity, "Candidate", false, NULL, {"candidate_id", ID, REQ}, {"kind", TEXT, REQ},
       {"state", TEXT, REQ}, {"created_at", TIME, REQ}, {"changed_at", TIME, REQ},
       {"ratings", INT, REQ}, {"proof", OBJ, REQ}, {"words", TEXT, REQ},
       {"usable", BOOL, REQ, .about = "proved, and what it learnt is kept"});
LIST_OF(candidate_list_answer, "CandidateList", schema_candidate_entity);
SCHEMA(variant_entity, "Variant", false, NULL, {"variant_id", ID, REQNULL}, {"role_id", ID, REQ},
       {"name", TEXT, REQ}, {"system_prompt", TEXT, REQNULL}, {"model", TEXT, REQNULL},
       {"temperature", NUM, REQNULL}, {"top_p", NUM, REQNULL}, {"passages", INT, REQNULL},
       {"state", TEXT, REQ, .values = arm_states}, {"why", TEXT, REQNULL},
       {"created_at", TIME, REQNULL}, {"turns", INT, REQ}, {"rated", NUM, REQ},
       {"satisfaction", NUM, REQNULL}, {"low", NUM, REQNULL}, {"high", NUM, REQNULL});
SCHEMA(variant_list_answer, "VariantList", false, "Each role's variants behind the role as it is.",
       {"data", LIST, REQ, .item = F_OBJECT, .ref = &schema_variant_entity});
SCHEMA(approved_entity, "ApprovedAnswer", false, NULL, {"answer_id", ID, REQ}, {"role_id", ID, REQ},
       {"question", TEXT, REQ}, {"answer", TEXT, REQ}, {"sources", LIST, REQ},
       {"state", TEXT, REQ, .values = answer_states}, {"message_id", ID, REQNULL},
       {"made_by", ID, REQNULL}, {"created_at", TIME, REQ}, {"changed_at", TIME, REQ},
       {"served", INT, REQ},
       {"why", TEXT, REQNULL, .about = "of a stale one: changed (a document), old, disliked"},
       {"rated", INT, REQ,
        .about = "people who rated it where it was served, since it was changed"},
       {"satisfaction", NUM, REQNULL}, {"low", NUM, REQNULL}, {"high", NUM, REQNULL});
LIST_OF(approved_list_answer, "ApprovedAnswerList", schema_approved_entity);
SCHEMA(theme_entity, "Theme", false, "Complaints about one thing.", {"count", INT, REQ},
       {"words", TEXT, REQ}, {"advice", TEXT, REQ}, {"examples", LIST, REQ, .item = F_OBJECT});
SCHEMA(theme_list_answer, "ThemeList", false, NULL,
       {"data", LIST, REQ, .item = F_OBJECT, .ref = &schema_theme_entity});
SCHEMA(analytics_entity, "AnalyticsRow", false, "Satisfaction with its interval (95 %).",
       {"key", TEXT, REQ}, {"label", TEXT, REQ}, {"turns", INT, REQ}, {"rated", INT, REQ},
       {"satisfaction", NUM, REQNULL}, {"low", NUM, REQNULL}, {"high", NUM, REQNULL},
       {"mean_ttft_ms", NUM, REQNULL});
SCHEMA(analytics_answer, "Analytics", false, NULL,
       {"data", LIST, REQ, .item = F_OBJECT, .ref = &schema_analytics_entity});
SCHEMA(analytics_turn_entity, "AnalyticsTurn", false, NULL, {"message_id", ID, REQ},
       {"at", TIME, REQ}, {"role_name", TEXT, REQ}, {"question", TEXT, REQ}, {"answer", TEXT, REQ},
       {"comment", TEXT, REQNULL}, {"reasons", LIST, REQ}, {"rating", TEXT, REQNULL});
SCHEMA(analytics_turn_list_answer, "AnalyticsTurnList", false, NULL,
       {"data", LIST, REQ, .item = F_OBJECT, .ref = &schema_analytics_turn_entity});
SCHEMA(analytics_document_entity, "AnalyticsDocument", false, NULL, {"doc_id", ID, REQ},
       {"source_name", TEXT, REQ}, {"used", INT, REQ}, {"liked", INT, REQ}, {"disliked", INT, REQ});
SCHEMA(analytics_document_list_answer, "AnalyticsDocumentList", false, NULL,
       {"data", LIST, REQ, .item = F_OBJECT, .ref = &schema_analytics_document_entity});
SCHEMA(turn_record_answer, "TurnRecord", true, "How an answer came about.", {"message_id", ID, REQ},
       {"variant_id", ID, REQNULL}, {"variant_chance", NUM, REQ}, {"candidate_id", ID, REQNULL},
       {"ranked", BOOL, REQ},
       {"examples_id", ID, REQNULL,
        .about = "the trial of examples, where there were some to show"},
       {"exampled", BOOL, REQ, .about = "and this answer had them"},
       {"examples_chance", NUM, REQ, .about = "with which it had, or had not"},
       {"answer_id", ID, REQNULL}, {"role_version", INT, REQ}, {"model", TEXT, REQ},
       {"ttft_ms", INT, REQNULL}, {"latency_ms", INT, REQNULL}, {"record", OBJ, REQ});
