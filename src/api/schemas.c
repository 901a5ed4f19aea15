/* What requests may hold and what answers hold: one table of fields each. docs/api.md says the same
 * in prose. */
#include "api/schemas_define.h"

#include <stddef.h>

static const char *const ratings[] = {"thumbs_up", "thumbs_down", "neutral", NULL};
static const char *const conversation_states[] = {"active", "archived", NULL};
static const char *const conversation_filters[] = {"active", "archived", "any", NULL};
static const char *const senders[] = {"user", "assistant", NULL};
static const char *const message_states[] = {"complete", "streaming",   "stopped",
                                             "failed",   "interrupted", NULL};
static const char *const source_kinds[] = {"folder", "url", "sitemap", "feed", "search", NULL};
static const char *const document_states[] = {"pending", "indexed", "failed", NULL};
static const char *const chat_roles[] = {"system", "developer", "user", "assistant",
                                         "tool",   "function",  NULL};
static const char *const encodings[] = {"float", "base64", NULL};
static const char *const signup_states[] = {"open", "closed", NULL};

/* ---- requests: accounts ---- */

#define USERNAME TEXT, .format = FORMAT_USERNAME, .min = 2, .max = 64
#define EMAIL    TEXT, .format = FORMAT_EMAIL, .min = 3, .max = 254
#define PASSWORD TEXT, .format = FORMAT_PASSWORD, .min = 8, .max = 1024

SCHEMA(setup_request, "SetupRequest", false, "Makes the first account, an administrator.",
       {"token", TEXT, REQ, .min = 1, .max = 200,
        .about = "the one-time token that the program printed"},
       {"username", USERNAME, REQ}, {"email", EMAIL, REQ}, {"password", PASSWORD, REQ});
SCHEMA(user_create_request, "UserCreateRequest", false, NULL, {"username", USERNAME, REQ},
       {"email", EMAIL, REQ}, {"password", PASSWORD, REQ},
       {"is_admin", BOOL, .about = "only administrators may set it"});
SCHEMA(sign_in_request, "SignInRequest", false, NULL,
       {"username", TEXT, REQ, .min = 1, .max = 254, .about = "user name or e-mail address"},
       {"password", TEXT, REQ, .min = 1, .max = 1024});
SCHEMA(me_patch, "MePatch", false, NULL, {"username", USERNAME}, {"email", EMAIL},
       {"preferences", OBJ, .about = "any JSON object of up to 16 KiB; replaces the old one"},
       {"password", PASSWORD,
        .about = "needs current_password; other sessions end, other keys are revoked"},
       {"current_password", TEXT, .min = 1, .max = 1024});
SCHEMA(user_patch, "UserPatch", false, NULL, {"username", USERNAME}, {"email", EMAIL},
       {"is_admin", BOOL},
       {"disabled", BOOL, .about = "cannot sign in; sessions and keys stop working"},
       {"password", PASSWORD});
SCHEMA(key_create_request, "KeyCreateRequest", false, NULL,
       {"name", TEXT, REQ, .min = 1, .max = 100, .about = "what the key is for"});

/* ---- requests: roles, conversations, messages ---- */

#define ROLE_FIELDS(prompt_flags)                                                                  \
    {"name", TEXT, prompt_flags, .min = 1, .max = 80}, {"description", TEXT, .max = 1000},         \
        {"system_prompt", TEXT, prompt_flags, .min = 1, .max = 32000},                             \
        {"model", TEXT, NULLS, .max = 200, .about = "null = the default model"},                   \
        {"temperature", NUM, NULLS, .min = 0, .max = 2},                                           \
        {"top_p", NUM, NULLS, .min = 0, .max = 1},                                                 \
        {"max_tokens", INT, NULLS, .min = 1, .max = 1000000},                                      \
        {"stop", LIST, .item = F_STRING, .max = 4, .item_max = 100}, {                             \
        "starter_questions", LIST, .item = F_STRING, .max = 10, .item_max = 300                    \
    }

SCHEMA(role_create_request, "RoleCreateRequest", false, NULL, ROLE_FIELDS(REQ));
SCHEMA(role_patch, "RolePatch", false,
       "A change of prompt, model or parameters makes a new version.", ROLE_FIELDS(.flags = 0),
       {"retired", BOOL, .about = "true retires, false restores"});
SCHEMA(conversation_create_request, "ConversationCreateRequest", false, NULL,
       {"assistant_role_id", ID, NULLS, .about = "absent or null: the first role"},
       {"title", TEXT, .max = 200, .about = "empty: made from the first turn"});
SCHEMA(conversation_patch, "ConversationPatch", false, NULL, {"title", TEXT, .min = 1, .max = 200},
       {"status", TEXT, .values = conversation_states}, {"assistant_role_id", ID},
       {"current_message_id", ID, .about = "the leaf of the branch to show"});
SCHEMA(message_create_request, "MessageCreateRequest", false, NULL,
       {"content", TEXT, REQ, .min = 1, .max = 131072},
       {"parent_id", ID, NULLS,
        .about = "the message that this one follows: absent, the current one; null, a new root"},
       {"attachments", LIST, .item = F_STRING, .max = 16, .item_max = 36,
        .about = "doc_ids of documents that came with it: the conversation looks into them first"});
static const struct field fields_empty_request[] = {END};
const struct schema schema_empty_request = {"EmptyRequest", fields_empty_request, false,
                                            "Nothing to say; the body may be absent."};
SCHEMA(upstream_patch, "UpstreamPatch", false, NULL,
       {"enabled", BOOL, .about = "false: it gets no new requests; those under way go on"},
       {"weight", INT, .min = 1, .max = 1000}, {"max_concurrent", INT, .min = 0, .max = 1000000},
       {"key", TEXT, .min = 1, .max = 4000, .about = "replaces all of its keys"});
SCHEMA(feedback_put_request, "FeedbackPutRequest", false, NULL,
       {"rating", TEXT, REQ, .values = ratings}, {"comment", TEXT, NULLS, .max = 4000},
       {"reasons", LIST, .item = F_STRING, .max = 7, .item_max = 20,
        .about = "of: wrong, not_helpful, wrong_source, unsafe, too_long, too_slow, other"},
       {"sources", LIST, .item = F_OBJECT, .max = 32, .ref = &schema_feedback_source,
        .about = "passages that helped or did not"});
SCHEMA(document_metadata, "DocumentMetadata", true,
       "Whatever is worth keeping; these have a meaning.", {"date", TEXT, NULLS, .max = 64},
       {"tags", LIST, NULLS, .item = F_STRING, .max = 100, .item_max = 100},
       {"type", TEXT, NULLS, .max = 100});
SCHEMA(document_create_request, "DocumentCreateRequest", false, NULL,
       {"source_name", TEXT, REQ, .min = 1, .max = 500}, {"content", TEXT, REQ, .min = 1},
       {"metadata", OBJ, .ref = &schema_document_metadata},
       {"shared", BOOL, .about = "everybody may read it; needs an administrator"});

#define SOURCE_SETTABLE                                                                            \
    {"collection_id", ID, NULLS, .about = "where its documents belong, if not to one's private"},  \
        {"shared", BOOL, .about = "everybody may read them; needs an administrator"},              \
        {"interval_minutes", INT, .min = 0, .max = 525600,                                         \
         .about = "how often it is looked at; 0 = when it is asked for (folders: when they "       \
                  "change)"},                                                                      \
        {"allow_private", BOOL,                                                                    \
         .about = "addresses that are not of the open internet may be reached; needs an "          \
                  "administrator"},                                                                \
        {"enabled", BOOL}, {                                                                       \
        "settings", OBJ,                                                                           \
            .about = "max_documents (200); all_files, for folders; where things stand in a "       \
                     "search's answers; see docs/ingest.md"                                        \
    }
SCHEMA(source_create_request, "SourceCreateRequest", false, NULL,
       {"kind", TEXT, REQ, .values = source_kinds,
        .about = "folders and searches need an administrator"},
       {"location", TEXT, REQ, .min = 1, .max = 2000, .about = "an address, or a folder's path"},
       {"name", TEXT, .min = 1, .max = 200}, SOURCE_SETTABLE);
SCHEMA(source_search_request, "SourceSearchRequest", false, NULL,
       {"query", TEXT, REQ, .min = 1, .max = 400});
SCHEMA(source_patch, "SourcePatch", false, NULL, {"location", TEXT, .min = 1, .max = 2000},
       {"name", TEXT, .min = 1, .max = 200}, SOURCE_SETTABLE);

/* ---- requests: OpenAI's. Open, nulls allowed; what is checked is what would otherwise fail
 * obscurely ---- */

SCHEMA(chat_message_param, "ChatMessageParam", true, NULL,
       {"role", TEXT, REQ, .values = chat_roles},
       {"content", ANY, NULLS, .about = "text, or a list of {type: \"text\", text}"});
SCHEMA(chat_completion_request, "ChatCompletionRequest", true,
       "As OpenAI has it. Members that are not listed are handed on to the model server.",
       {"model", TEXT, REQ, .min = 1, .max = 200, .about = "a model's name, or the slug of a role"},
       {"messages", LIST, REQ, .item = F_OBJECT, .min = 1, .max = 4096,
        .ref = &schema_chat_message_param},
       {"stream", BOOL, NULLS}, {"stream_options", OBJ, NULLS},
       {"temperature", NUM, NULLS, .min = 0, .max = 2}, {"top_p", NUM, NULLS, .min = 0, .max = 1},
       {"max_tokens", INT, NULLS, .min = 1, .max = 1000000},
       {"max_completion_tokens", INT, NULLS, .min = 1, .max = 1000000},
       {"n", INT, NULLS, .min = 1, .max = 128},
       {"stop", ANY, NULLS, .about = "a string or a list of up to 4"},
       {"presence_penalty", NUM, NULLS, .min = -2, .max = 2},
       {"frequency_penalty", NUM, NULLS, .min = -2, .max = 2}, {"seed", INT, NULLS},
       {"response_format", OBJ, NULLS,
        .about = "{type: \"text\"}, {type: \"json_object\"} or {type: \"json_schema\", "
                 "json_schema: {name, schema}}"},
       {"user", TEXT, NULLS, .max = 1000});
SCHEMA(response_request, "ResponseRequest", true, "As OpenAI has it, over roles.",
       {"model", TEXT, NULLS, .max = 200, .about = "a role's slug, or a model that a role uses"},
       {"input", ANY, REQ, .about = "a text, or a list of messages whose last one is the user's"},
       {"previous_response_id", TEXT, NULLS, .max = 64}, {"stream", BOOL, NULLS},
       {"background", BOOL, NULLS}, {"store", BOOL, NULLS});
SCHEMA(embedding_request, "EmbeddingRequest", true, "As OpenAI has it.",
       {"model", TEXT, REQ, .min = 1, .max = 200},
       {"input", ANY, REQ, .about = "a string, a list of strings, or lists of tokens"},
       {"encoding_format", TEXT, NULLS, .values = encodings},
       {"dimensions", INT, NULLS, .min = 1, .max = 100000}, {"user", TEXT, NULLS, .max = 1000});

/* ---- queries ---- */

QUERY(page, PAGE_FIELDS);
QUERY(whole, WHOLE_FIELD);
QUERY(roles, WHOLE_FIELD,
      {"retired", BOOL, .about = "adds the retired ones; needs an administrator"});
QUERY(conversations, LIMIT_FIELD, {"after", TEXT, .min = 1, .max = 64, .about = AFTER_ABOUT},
      {"status", TEXT, .values = conversation_filters, .about = "active if absent"},
      {"q", TEXT, .max = 200, .about = "words that a title or a message must hold"});
QUERY(sources, PAGE_FIELDS, {"all", BOOL, .about = "everybody's; needs an administrator"});
QUERY(source_delete, {"documents", BOOL, .about = "the documents that it brought go, too"});
QUERY(document, {"role_id", ID, .about = "also what is bound to this role"});
QUERY(document_create,
      {"source_name", TEXT, .min = 1, .max = 500,
       .about = "the file's name; the body is the file then, whatever its type"},
      {"shared", BOOL, .about = "everybody may read it; needs an administrator"},
      {"collection_id", ID, .about = "where it belongs, if not to one's private documents"},
      {"uri", TEXT, .min = 1, .max = 2000,
       .about = "where it comes from: a file with the same one is its new version"},
      {"metadata", TEXT, .max = 16384, .about = "a JSON object as text"});
QUERY(feedback, PAGE_FIELDS, {"rating", TEXT, .values = ratings});
static const char *const case_states[] = {"open", "right", "wrong", NULL};
QUERY(cases, PAGE_FIELDS, {"state", TEXT, .values = case_states});
QUERY(audit, {"limit", INT, .min = 1, .max = 200},
      {"before", INT, .min = 1, .max = 9007199254740991, .about = "rows older than this one"});
QUERY(rating, {"rating", TEXT, .values = ratings});
QUERY(response, {"stream", BOOL}, {"starting_after", INT, .max = 9007199254740991});
QUERY(events,
      {"after", INT, .about = "the id of the last event seen; the header Last-Event-ID wins",
       .max = 9007199254740991});

/* ---- answers ---- */

SCHEMA(error_object, "ErrorObject", true, NULL,
       {"message", TEXT, REQ, .about = "what is wrong and what to do"}, {"type", TEXT, REQNULL},
       {"param", TEXT, NULLS, .about = "the field at fault"}, {"code", ANY});
SCHEMA(error_answer, "Error", true, NULL, {"error", OBJ, REQ, .ref = &schema_error_object});
SCHEMA(status_answer, "Status", false, "What a page must know before anybody has signed in.",
       {"version", TEXT, REQ}, {"setup_required", BOOL, REQ},
       {"signup", TEXT, REQ, .values = signup_states}, {"ready", BOOL, REQ},
       {"model", TEXT, REQ, .about = "the default model; empty while it is not known"},
       {"notice", TEXT, REQNULL});
SCHEMA(response_answer, "Response", true, "As OpenAI has it.", {"id", TEXT, REQ},
       {"object", TEXT, REQ}, {"created_at", INT, REQ}, {"status", TEXT, REQ},
       {"output", LIST, REQ, .item = F_OBJECT}, {"usage", OBJ, REQNULL});
SCHEMA(response_deleted, "ResponseDeleted", false, NULL, {"id", TEXT, REQ}, {"object", TEXT, REQ},
       {"deleted", BOOL, REQ});
SCHEMA(slo_window, "ObjectiveWindow", false, NULL, {"total", INT, REQ}, {"bad", INT, REQ},
       {"good_ratio", NUM, REQ},
       {"budget_burned", NUM, REQ, .about = "1 = all that may fail has failed"});
static const char *const objective_names[] = {"answers", "requests", "ttft", NULL};
SCHEMA(slo_entity, "Objective", false, NULL,
       {"objective", TEXT, REQ, .values = objective_names,
        .about = "answers without an error, requests without a 5xx, first words within a second"},
       {"target", NUM, REQ}, {"hour", OBJ, REQ, .ref = &schema_slo_window},
       {"day", OBJ, REQ, .ref = &schema_slo_window},
       {"since_start", OBJ, REQ, .ref = &schema_slo_window});
LIST_OF(slo_list_answer, "ObjectiveList", schema_slo_entity);
SCHEMA(store_answer, "Store", false, NULL, {"writable", BOOL, REQ}, {"reason", TEXT, REQNULL},
       {"running", BOOL, REQ, .about = "a check or backup is under way"},
       {"checked_at", TIME, REQNULL}, {"check_error", TEXT, REQNULL},
       {"backed_up_at", TIME, REQNULL}, {"backup_error", TEXT, REQNULL},
       {"backup_path", TEXT, REQNULL, .about = "the newest that was restored for a trial"});
SCHEMA(health_answer, "Health", false, NULL, {"status", TEXT, REQ}, {"version", TEXT, REQ});
SCHEMA(ready_answer, "Ready", false, NULL, {"ready", BOOL, REQ},
       {"reasons", LIST, REQ, .item = F_STRING, .about = "what is missing"});
SCHEMA(user_entity, "User", false, NULL, {"user_id", ID, REQ}, {"username", TEXT, REQ},
       {"email", TEXT, REQ}, {"created_at", TIME, REQ}, {"last_login_at", TIME, REQNULL},
       {"preferences", OBJ, REQ}, {"is_admin", BOOL, REQ}, {"disabled", BOOL, REQ});
LIST_OF(user_list_answer, "UserList", schema_user_entity);
#define KEY_FIELDS                                                                                 \
    {"key_id", ID, REQ}, {"name", TEXT, REQ}, {"prefix", TEXT, REQ}, {"created_at", TIME, REQ},    \
        {"last_used_at", TIME, REQNULL, .about = "to the minute"}, {                               \
        "revoked_at", TIME, REQNULL                                                                \
    }
SCHEMA(key_entity, "ApiKey", false, NULL, KEY_FIELDS);
SCHEMA(key_created, "ApiKeyCreated", false, NULL, KEY_FIELDS,
       {"key", TEXT, REQ, .about = "shown this once"});
LIST_OF(key_list_answer, "ApiKeyList", schema_key_entity);
SCHEMA(role_entity, "Role", false, NULL, {"role_id", ID, REQ}, {"name", TEXT, REQ},
       {"slug", TEXT, REQ, .about = "the role's name as a model of the compatible API"},
       {"description", TEXT, REQ}, {"system_prompt", TEXT, REQ}, {"version", INT, REQ},
       {"model", TEXT, REQNULL}, {"temperature", NUM, REQNULL}, {"top_p", NUM, REQNULL},
       {"max_tokens", INT, REQNULL}, {"stop", LIST, REQ, .item = F_STRING},
       {"starter_questions", LIST, REQ, .item = F_STRING}, {"created_at", TIME, REQ},
       {"updated_at", TIME, REQ}, {"retired_at", TIME, REQNULL});
LIST_OF(role_list_answer, "RoleList", schema_role_entity);
static const char *const breaker_states[] = {"closed", "open", "half_open", NULL};
SCHEMA(upstream_entity, "Upstream", false, NULL, {"name", TEXT, REQ}, {"url", TEXT, REQ},
       {"enabled", BOOL, REQ}, {"ready", BOOL, REQ}, {"reason", TEXT, REQNULL},
       {"breaker", TEXT, REQ, .values = breaker_states}, {"weight", INT, REQ},
       {"max_concurrent", INT, REQ, .about = "0 = no limit"}, {"in_flight", INT, REQ},
       {"models", INT, REQ}, {"keys", INT, REQ}, {"keys_rotated", INT, REQ}, {"requests", INT, REQ},
       {"failures", INT, REQ}, {"hedges_won", INT, REQ},
       {"first_byte_ms", NUM, REQ, .about = "moving average"});
LIST_OF(upstream_list_answer, "UpstreamList", schema_upstream_entity);
SCHEMA(conversation_entity, "Conversation", false, NULL, {"conversation_id", ID, REQ},
       {"user_id", ID, REQ}, {"created_at", TIME, REQ}, {"last_updated_at", TIME, REQ},
       {"assistant_role_id", ID, REQNULL}, {"status", TEXT, REQ, .values = conversation_states},
       {"title", TEXT, REQ}, {"current_message_id", ID, REQNULL},
       {"summary", TEXT, REQ, .about = "of what has fallen out of the model's window"},
       {"snippet", TEXT, NULLS,
        .about = "searching: the text that matched, matches between U+0002 and U+0003"},
       {"snippet_message_id", ID, NULLS});
LIST_OF(conversation_list_answer, "ConversationList", schema_conversation_entity);
SCHEMA(usage_object, "Usage", false, NULL, {"prompt_tokens", INT, REQNULL},
       {"completion_tokens", INT, REQNULL});
#define FEEDBACK_FIELDS                                                                            \
    {"feedback_id", ID, REQ}, {"message_id", ID, REQ}, {"user_id", ID, REQ},                       \
        {"rating", TEXT, REQ, .values = ratings}, {"comment", TEXT, REQNULL},                      \
        {"reasons", LIST, REQ, .item = F_STRING}, {"created_at", TIME, REQ}, {                     \
        "updated_at", TIME, REQ                                                                    \
    }
SCHEMA(feedback_entity, "Feedback", false, NULL, FEEDBACK_FIELDS);
SCHEMA(message_entity, "Message", false, NULL, {"message_id", ID, REQ},
       {"conversation_id", ID, REQ}, {"parent_id", ID, REQNULL},
       {"sender", TEXT, REQ, .values = senders}, {"content", TEXT, REQ}, {"timestamp", TIME, REQ},
       {"response_latency_ms", INT, REQNULL},
       {"attachments", LIST, REQ, .about = "of a question: [{doc_id, source_name}]"},
       {"retrieved_docs", LIST, REQ},
       {"support", LIST, REQ,
        .about = "sentences of the answer: char_from, char_to, support (supported, weak, "
                 "unsupported), passage (the n of one of retrieved_docs, or null)"},
       {"status", TEXT, REQ, .values = message_states}, {"ttft_ms", INT, REQNULL},
       {"assistant_role_id", ID, REQNULL}, {"role_version", INT, REQNULL}, {"model", TEXT, REQNULL},
       {"finish_reason", TEXT, REQNULL}, {"error", ANY, REQNULL},
       {"usage", OBJ, REQNULL, .ref = &schema_usage_object},
       {"safety", OBJ, REQNULL, .about = "the guard's verdict; null: nothing was found"},
       {"feedback", OBJ, REQNULL, .ref = &schema_feedback_entity});
SCHEMA(message_list_answer, "MessageTree", false, "All branches, oldest message first.",
       {"data", LIST, REQ, .item = F_OBJECT, .ref = &schema_message_entity},
       {"current_message_id", ID, REQNULL});
SCHEMA(turn_answer, "Turn", true, "A finished turn.",
       {"user_message", OBJ, REQNULL, .ref = &schema_message_entity},
       {"message", OBJ, REQ, .ref = &schema_message_entity},
       {"degraded", LIST, .item = F_STRING,
        .about = "what was left out under load: passages, model, approved_only"});
SCHEMA(feedback_row_entity, "FeedbackRow", false, "A rating with what it speaks about.",
       FEEDBACK_FIELDS, {"username", TEXT, REQ}, {"conversation_id", ID, REQ},
       {"assistant_role_id", ID, REQNULL}, {"role_name", TEXT, REQNULL},
       {"role_version", INT, REQNULL}, {"model", TEXT, REQNULL}, {"question", TEXT, REQ},
       {"answer", TEXT, REQ});
LIST_OF(feedback_list_answer, "FeedbackList", schema_feedback_row_entity);
SCHEMA(document_finding, "DocumentFinding", false, NULL, {"category", TEXT, REQ},
       {"action", TEXT, REQ}, {"score", NUM, REQ},
       {"source", TEXT, REQ, .about = "the rule, detector or model"},
       {"place", TEXT, REQ, .about = "text, title or heading"}, {"char_from", INT, REQNULL},
       {"char_to", INT, REQNULL, .about = "in the document's text"});
SCHEMA(document_safety, "DocumentSafety", false,
       "What the guard found in a document; none of its text.", {"policy_version", INT, REQ},
       {"left_out", INT, REQ,
        .about = "sentences that give orders to a model: no prompt gets them"},
       {"replaced", INT, REQ, .about = "personal data and secrets that prompts do not get"},
       {"pieces", INT, REQ, .about = "in so many of its chunks"},
       {"counts", OBJ, REQ, .about = "findings by category"},
       {"findings", LIST, REQ, .item = F_OBJECT, .ref = &schema_document_finding,
        .about = "the first ones"});
SCHEMA(document_entity, "Document", false, NULL, {"doc_id", ID, REQ}, {"user_id", ID, REQ},
       {"shared", BOOL, REQ}, {"source_name", TEXT, REQ},
       {"content", TEXT, .about = "lists leave it out"}, {"content_bytes", INT, REQ},
       {"metadata", OBJ, REQ}, {"created_at", TIME, REQ}, {"indexed_at", TIME, REQNULL},
       {"collection_id", ID, REQNULL},
       {"status", TEXT, REQ, .values = document_states,
        .about = "pending: not searchable yet; failed: `error` says why"},
       {"error", TEXT, REQNULL,
        .about = "also of a newer version that failed while the older one is served"},
       {"updating", BOOL, REQ, .about = "a newer version waits to be indexed"},
       {"title", TEXT, REQNULL}, {"media_type", TEXT, REQ}, {"uri", TEXT, REQNULL},
       {"updated_at", TIME, REQNULL}, {"chunk_count", INT, REQ},
       {"safety", OBJ, REQNULL, .ref = &schema_document_safety,
        .about = "what the guard found when it came in; null: nothing, or it was not judged"});
LIST_OF(document_list_answer, "DocumentList", schema_document_entity);
SCHEMA(source_entity, "Source", false, NULL, {"source_id", ID, REQ}, {"user_id", ID, REQ},
       {"name", TEXT, REQ}, {"kind", TEXT, REQ, .values = source_kinds}, {"location", TEXT, REQ},
       {"collection_id", ID, REQNULL}, {"shared", BOOL, REQ}, {"interval_minutes", INT, REQ},
       {"allow_private", BOOL, REQ}, {"enabled", BOOL, REQ}, {"settings", OBJ, REQ},
       {"created_at", TIME, REQ}, {"next_at", TIME, REQNULL}, {"last_at", TIME, REQNULL},
       {"last_error", TEXT, REQNULL, .about = "what went wrong the last time; null = nothing"},
       {"last_new", INT, REQ, .about = "documents that were new or had changed"},
       {"last_seen", INT, REQ, .about = "things that were looked at"}, {"running", BOOL, REQ});
SCHEMA(web_hit_entity, "WebHit", false, NULL, {"rank", INT, REQ}, {"title", TEXT, REQ},
       {"url", TEXT, REQNULL}, {"text", TEXT, REQ});
SCHEMA(web_hits_answer, "WebHits", false, "What a search service found.",
       {"data", LIST, REQ, .item = F_OBJECT, .ref = &schema_web_hit_entity},
       {"cached", BOOL, REQ, .about = "it was asked the same a short while ago"},
       {"error", TEXT, REQNULL, .about = "why it found nothing"});
LIST_OF(source_list_answer, "SourceList", schema_source_entity);
/* ---- the guard ---- */

static const char *const safety_directions[] = {"input", "output", "passage", NULL};
static const char *const safety_actions[] = {"allow", "annotate", "redact", "warn", "block", NULL};
static const char *const case_decisions[] = {"right", "wrong", NULL};
SCHEMA(reason_request, "ReasonRequest", false, NULL,
       {"reason", TEXT, .max = 2000, .about = "in the person's words"});
SCHEMA(policy_create_request, "PolicyCreateRequest", false, NULL,
       {"text", TEXT, REQ, .min = 2, .max = 2000000, .about = "the policy's JSON (docs/safety.md)"},
       {"note", TEXT, .max = 500, .about = "what it changes"});
SCHEMA(policy_compare_request, "PolicyCompareRequest", false, NULL,
       {"limit", INT, .min = 1, .max = 500, .about = "recent texts; 500 if absent"});
SCHEMA(safety_try_request, "SafetyTryRequest", false, NULL, {"text", TEXT, REQ, .max = 100000},
       {"context", TEXT, .max = 100000, .about = "earlier messages, parted by newlines"},
       {"role", TEXT, .max = 400, .about = "a role's slug"},
       {"direction", TEXT, .values = safety_directions, .about = "input if absent"},
       {"policy_id", ID, .about = "a stored policy"},
       {"policy", TEXT, .max = 2000000, .about = "a policy's JSON; goes before policy_id"});
SCHEMA(case_decide_request, "CaseDecideRequest", false, NULL,
       {"decision", TEXT, REQ, .values = case_decisions, .about = "was the guard right"},
       {"note", TEXT, .max = 2000},
       {"release", BOOL, .about = "true: the person need not wait any longer"});
SCHEMA(moderation_request, "ModerationRequest", true, NULL,
       {"input", ANY, REQ, .about = "a text, texts, or parts of type text"},
       {"model", TEXT, NULLS, .max = 200, .about = "not looked at: the guard answers"});
SCHEMA(moderation_answer, "Moderation", false, NULL, {"id", TEXT, REQ}, {"model", TEXT, REQ},
       {"results", LIST, REQ, .item = F_OBJECT});
SCHEMA(case_opened, "CaseOpened", false, NULL, {"case_id", ID, REQ}, {"kind", TEXT, REQ},
       {"state", TEXT, REQ, .values = case_states});
SCHEMA(policy_entity, "Policy", false, NULL, {"policy_id", ID, REQ}, {"version", INT, REQ},
       {"author", TEXT, REQ}, {"note", TEXT, REQ}, {"created_at", TIME, REQ},
       {"published_at", TIME, REQNULL}, {"text", TEXT, .about = "lists leave it out"});
SCHEMA(policy_list_answer, "PolicyList", false, NULL,
       {"data", LIST, REQ, .item = F_OBJECT, .ref = &schema_policy_entity},
       {"live_version", INT, REQ, .about = "0 = the built-in one or the file's"},
       {"live_text", TEXT, REQ});
SCHEMA(policy_comparison, "PolicyComparison", false, NULL, {"compared", INT, REQ},
       {"changes", LIST, REQ, .item = F_OBJECT, .about = "the first hundred"},
       {"stricter", INT, REQ}, {"looser", INT, REQ});
SCHEMA(verdict_entity, "Verdict", true, NULL, {"action", TEXT, REQ, .values = safety_actions},
       {"category", TEXT, REQNULL}, {"scores", OBJ, REQ}, {"findings", LIST, REQ, .item = F_OBJECT},
       {"policy_version", INT, REQ}, {"degraded", BOOL, REQ});
SCHEMA(case_entity, "SafetyCase", false, NULL, {"case_id", ID, REQ}, {"kind", TEXT, REQ},
       {"state", TEXT, REQ, .values = case_states}, {"created_at", TIME, REQ}, {"user_id", ID, REQ},
       {"username", TEXT, REQ}, {"conversation_id", ID, REQNULL}, {"message_id", ID, REQNULL},
       {"path", TEXT, REQ}, {"direction", TEXT, REQ}, {"category", TEXT, REQNULL},
       {"policy_version", INT, REQ}, {"reason", TEXT, REQ}, {"decided_by", TEXT, REQNULL},
       {"decided_at", TIME, REQNULL}, {"note", TEXT, REQ}, {"verdict", OBJ, REQNULL},
       {"text", TEXT, REQ});
LIST_OF(case_list_answer, "SafetyCaseList", schema_case_entity);
SCHEMA(audit_entity, "AuditEntry", false, NULL, {"seq", INT, REQ}, {"at", TIME, REQ},
       {"actor", TEXT, REQ}, {"event", TEXT, REQ}, {"detail", OBJ, REQ}, {"hash", TEXT, REQ});
SCHEMA(audit_list_answer, "AuditList", false, NULL,
       {"data", LIST, REQ, .item = F_OBJECT, .ref = &schema_audit_entity});
SCHEMA(model_entity, "Model", true, NULL, {"id", TEXT, REQ}, {"object", TEXT, REQ},
       {"created", INT, REQ}, {"owned_by", TEXT, REQ});
SCHEMA(model_list_answer, "ModelList", true, NULL, {"object", TEXT, REQ},
       {"data", LIST, REQ, .item = F_OBJECT, .ref = &schema_model_entity});
SCHEMA(chat_completion_answer, "ChatCompletion", true, NULL, {"id", TEXT, REQ},
       {"object", TEXT, REQ}, {"created", INT, REQ}, {"model", TEXT, REQ},
       {"choices", LIST, REQ, .item = F_OBJECT}, {"usage", OBJ, NULLS},
       {"parley", OBJ, .about = "Of a role: {retrieved_docs}, the passages it answered from."});
SCHEMA(embedding_answer, "EmbeddingList", true, NULL, {"object", TEXT, REQ}, {"model", TEXT, REQ},
       {"data", LIST, REQ, .item = F_OBJECT}, {"usage", OBJ, NULLS});
SCHEMA(openapi_answer, "OpenApi", true, "This document.", {"openapi", TEXT, REQ},
       {"info", OBJ, REQ}, {"paths", OBJ, REQ});

const struct schema *const schemas_all[] = {
#define X(name) &schema_##name,
    SCHEMAS(X)
#undef X
        NULL,
};
