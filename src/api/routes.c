/* The one table of routes. A route needs a signed-in user unless its row says otherwise by
 * name. To add one: a row here, its schemas in schemas.c, its stages in a handlers file. */
#include "api/handlers.h"
#include "api/schemas.h"

#define V1     "/api/v1"
#define USER   V1 "/users/{user_id}"
#define ROLE   V1 "/roles/{role_id}"
#define CONV   V1 "/conversations/{conversation_id}"
#define MSG    V1 "/messages/{message_id}"
#define SOURCE V1 "/sources/{source_id}"
#define POLICY V1 "/safety/policies/{policy_id}"
#define EVENTS "text/event-stream"

#define Q(name)         .query = &query_##name
#define IN(name)        .body = &schema_##name
#define OUT(code, name) .status = (code), .answer = &schema_##name
#define NONE204         .status = 204
#define DO(...)         .stages = {__VA_ARGS__}
#define PUBLIC          .auth = ROUTE_PUBLIC
#define ADMIN           .auth = ROUTE_ADMIN

/* clang-format off */
const struct route api_routes[] = {
    {HTTP_GET, V1 "/status", "getStatus", "What a page must know before sign-in", PUBLIC, OUT(200, status_answer), DO(READ(api_status_read))},
    {HTTP_POST, V1 "/setup", "setUp", "Makes the first account, an administrator", PUBLIC, IN(setup_request), OUT(201, user_entity), DO(READ(api_setup_read), JOB(api_user_create_job), WRITE(api_setup_write))},

    {HTTP_POST, V1 "/users", "createUser", "Makes an account", .auth = ROUTE_SIGNUP, IN(user_create_request), OUT(201, user_entity), DO(READ(api_user_create_read), JOB(api_user_create_job), WRITE(api_user_create_write))},
    {HTTP_GET, V1 "/users", "listUsers", "All users, newest first", ADMIN, Q(page), OUT(200, user_list_answer), DO(READ(api_users_list))},
    {HTTP_GET, V1 "/users/me", "getMe", "The user who asks", OUT(200, user_entity), DO(READ(api_me_read))},
    {HTTP_PATCH, V1 "/users/me", "updateMe", "Changes name, address, preferences or password", IN(me_patch), OUT(200, user_entity), DO(READ(api_me_patch_read), JOB(api_me_patch_job), WRITE(api_me_patch_write))},
    {HTTP_GET, USER, "getUser", "One user", ADMIN, OUT(200, user_entity), DO(READ(api_user_read))},
    {HTTP_PATCH, USER, "updateUser", "Changes a user", ADMIN, IN(user_patch), OUT(200, user_entity), DO(READ(api_user_patch_read), JOB(api_user_hash_job), WRITE(api_user_patch_write))},
    {HTTP_DELETE, USER, "deleteUser", "Deletes a user and all that is theirs", ADMIN, NONE204, DO(WRITE(api_user_delete_write))},

    {HTTP_POST, V1 "/sessions", "signIn", "Signs in", PUBLIC, IN(sign_in_request), OUT(201, user_entity), DO(READ(api_sign_in_read), JOB(api_sign_in_job), WRITE(api_sign_in_write), LOOP(api_sign_in_done))},
    {HTTP_DELETE, V1 "/sessions/current", "signOut", "Signs out", NONE204, DO(WRITE(api_sign_out_write))},
    {HTTP_GET, V1 "/keys", "listKeys", "One's API keys", Q(whole), OUT(200, key_list_answer), DO(READ(api_keys_list))},
    {HTTP_POST, V1 "/keys", "createKey", "Makes an API key; it is shown once", .flags = ROUTE_SECRET, IN(key_create_request), OUT(201, key_created), DO(WRITE(api_key_create_write))},
    {HTTP_DELETE, V1 "/keys/{key_id}", "revokeKey", "Revokes an API key", NONE204, DO(WRITE(api_key_revoke_write))},

    {HTTP_GET, V1 "/roles", "listRoles", "Assistant roles, oldest first", Q(roles), OUT(200, role_list_answer), DO(READ(api_roles_list))},
    {HTTP_POST, V1 "/roles", "createRole", "Adds a role", ADMIN, IN(role_create_request), OUT(201, role_entity), DO(WRITE(api_role_create_write))},
    {HTTP_GET, ROLE, "getRole", "One role", OUT(200, role_entity), DO(READ(api_role_read_one))},
    {HTTP_PATCH, ROLE, "updateRole", "Changes, retires or restores a role", ADMIN, IN(role_patch), OUT(200, role_entity), DO(WRITE(api_role_patch_write))},
    {HTTP_DELETE, ROLE, "retireRole", "Retires a role", ADMIN, NONE204, DO(WRITE(api_role_retire_write))},
    {HTTP_GET, ROLE "/versions", "listRoleVersions", "Every version of a role, newest first", ADMIN, Q(whole), OUT(200, role_list_answer), DO(READ(api_role_versions_list))},

    {HTTP_GET, V1 "/conversations", "listConversations", "One's conversations, newest first; searches", Q(conversations), OUT(200, conversation_list_answer), DO(READ(api_conversations_list))},
    {HTTP_POST, V1 "/conversations", "createConversation", "Begins a conversation", IN(conversation_create_request), OUT(201, conversation_entity), DO(WRITE_AGAIN(api_conversation_create_write))},
    {HTTP_GET, CONV, "getConversation", "One conversation", OUT(200, conversation_entity), DO(READ(api_conversation_read))},
    {HTTP_PATCH, CONV, "updateConversation", "Renames, archives, restores, changes role or branch", IN(conversation_patch), OUT(200, conversation_entity), DO(WRITE(api_conversation_patch_write))},
    {HTTP_DELETE, CONV, "deleteConversation", "Deletes a conversation", NONE204, DO(WRITE(api_conversation_delete_write))},
    {HTTP_GET, CONV "/messages", "listMessages", "The whole tree of messages, oldest first", Q(whole), OUT(200, message_list_answer), DO(READ(api_messages_list))},
    {HTTP_POST, CONV "/messages", "createMessage", "A turn: stores the message and streams the answer", .flags = ROUTE_STREAMS, IN(message_create_request), OUT(201, turn_answer), .media = EVENTS, DO(READ_OR(api_turn_replay_read, api_turn_replay_known), LOOP(api_message_post))},

    {HTTP_GET, MSG, "getMessage", "One message", OUT(200, message_entity), DO(READ(api_message_read))},
    {HTTP_GET, MSG "/events", "attachEvents", "Attaches to an answer's stream again", .flags = ROUTE_STREAMS | ROUTE_NO_HEAD, Q(events), .status = 200, .media = EVENTS, DO(LOOP(api_message_events))},
    {HTTP_POST, MSG "/regenerate", "regenerateMessage", "Another answer beside this one", .flags = ROUTE_STREAMS, IN(empty_request), OUT(201, turn_answer), .media = EVENTS, DO(READ_OR(api_turn_replay_read, api_turn_replay_known), LOOP(api_message_regenerate))},
    {HTTP_POST, MSG "/stop", "stopMessage", "Ends a running answer and keeps its text", IN(empty_request), OUT(200, message_entity), DO(LOOP(api_message_stop), READ(api_message_read))},
    {HTTP_PUT, MSG "/feedback", "putFeedback", "Rates an answer, or changes the rating", IN(feedback_put_request), OUT(200, feedback_entity), DO(WRITE(api_feedback_put_write))},
    {HTTP_DELETE, MSG "/feedback", "deleteFeedback", "Withdraws a rating", NONE204, DO(WRITE(api_feedback_delete_write))},

    {HTTP_POST, MSG "/signals", "putSignal", "Says what was done with an answer", IN(signal_request), NONE204, DO(WRITE(api_signal_write))},
    {HTTP_GET, MSG "/record", "getRecord", "How an answer came about", OUT(200, turn_record_answer), DO(READ(api_record_read))},
    {HTTP_PUT, USER "/flag", "flagUser", "Whether a user's ratings count for nothing", ADMIN, IN(flag_request), NONE204, DO(WRITE(api_user_flag_write))},

    {HTTP_GET, V1 "/learning", "getLearning", "Switches of the learners and what is in use", ADMIN, OUT(200, learning_answer), DO(READ(api_learning_read))},
    {HTTP_PATCH, V1 "/learning", "updateLearning", "Switches learners on or off", ADMIN, IN(learning_patch), OUT(200, learning_answer), DO(WRITE(api_learning_patch_write), JOB(api_learning_refresh_job))},
    {HTTP_POST, V1 "/learning/run", "runLearning", "Makes and proves a candidate now", ADMIN, IN(empty_request), OUT(200, learning_run_answer), DO(READ(api_learning_run_read), JOB(api_learning_run_job), WRITE(api_learning_run_write))},
    {HTTP_GET, V1 "/learning/events", "listLearnEvents", "What feedback changed, newest first", ADMIN, Q(page), OUT(200, learn_event_list_answer), DO(READ(api_learn_events_list))},
    {HTTP_GET, V1 "/learning/candidates", "listCandidates", "Candidates with their proofs, newest first", ADMIN, Q(page), OUT(200, candidate_list_answer), DO(READ(api_candidates_list))},
    {HTTP_PATCH, V1 "/learning/candidates/{candidate_id}", "updateCandidate", "Puts a candidate to use or takes it out", ADMIN, IN(candidate_patch), OUT(200, candidate_entity), DO(WRITE(api_candidate_patch_write), JOB(api_learning_refresh_job))},
    {HTTP_GET, V1 "/learning/variants", "listVariants", "Variants of roles with what people think of them", ADMIN, Q(variants), OUT(200, variant_list_answer), DO(READ(api_variants_list))},
    {HTTP_POST, V1 "/learning/variants", "createVariant", "Tries a variant of a role", ADMIN, IN(variant_create_request), OUT(201, variant_entity), DO(WRITE(api_variant_create_write), JOB(api_learning_refresh_job))},
    {HTTP_PATCH, V1 "/learning/variants/{variant_id}", "updateVariant", "Stops or keeps a variant", ADMIN, IN(variant_patch), OUT(200, variant_entity), DO(WRITE(api_variant_patch_write), JOB(api_learning_refresh_job))},
    {HTTP_GET, V1 "/learning/answers", "listAnswers", "Answers that may be served again, newest first", ADMIN, Q(answers), OUT(200, approved_list_answer), DO(READ(api_answers_list))},
    {HTTP_POST, V1 "/learning/answers", "createAnswer", "Adds an approved answer", ADMIN, IN(answer_create_request), OUT(201, approved_entity), DO(WRITE(api_answer_create_write), JOB(api_learning_refresh_job))},
    {HTTP_PATCH, V1 "/learning/answers/{answer_id}", "updateAnswer", "Approves, retires or rewrites an answer", ADMIN, IN(answer_patch), OUT(200, approved_entity), DO(WRITE(api_answer_patch_write), JOB(api_learning_refresh_job))},
    {HTTP_DELETE, V1 "/learning/answers/{answer_id}", "deleteAnswer", "Deletes an approved answer", ADMIN, NONE204, DO(WRITE(api_answer_delete_write), JOB(api_learning_refresh_job))},
    {HTTP_GET, V1 "/learning/complaints", "listComplaints", "What people complain about, as themes", ADMIN, Q(complaints), OUT(200, theme_list_answer), DO(READ(api_complaints_read), LOOP(api_complaints_embed), JOB(api_complaints_job))},
    {HTTP_GET, V1 "/learning/export", "exportTraining", "Rated answers of those who agreed, for trainers", ADMIN, Q(training_export), .status = 200, .media = "application/x-ndjson", DO(READ(api_training_read), JOB(api_training_job), LOOP(api_training_next))},

    {HTTP_GET, V1 "/analytics", "getAnalytics", "Satisfaction with intervals; also as CSV", ADMIN, Q(analytics), OUT(200, analytics_answer), DO(READ(api_analytics_read))},
    {HTTP_GET, V1 "/analytics/turns", "getAnalyticsTurns", "Worst answers, unanswered questions", ADMIN, Q(analytics_turns), OUT(200, analytics_turn_list_answer), DO(READ(api_analytics_turns_read))},
    {HTTP_GET, V1 "/analytics/documents", "getAnalyticsDocuments", "Documents never used or often disliked", ADMIN, Q(analytics_documents), OUT(200, analytics_document_list_answer), DO(READ(api_analytics_documents_read))},
    {HTTP_POST, MSG "/report", "reportMessage", "Asks for a person to look at an answer", IN(reason_request), OUT(201, case_opened), DO(WRITE(api_message_report_write))},
    {HTTP_POST, MSG "/appeal", "appealMessage", "Asks for a person to look at what the guard blocked", IN(reason_request), OUT(201, case_opened), DO(WRITE(api_message_appeal_write))},

    {HTTP_GET, V1 "/safety/policies", "listPolicies", "The guard's policies, newest first, and the one in force", ADMIN, Q(whole), OUT(200, policy_list_answer), DO(READ(api_policies_list))},
    {HTTP_POST, V1 "/safety/policies", "createPolicy", "Checks and keeps a draft of a policy", ADMIN, IN(policy_create_request), OUT(201, policy_entity), DO(JOB(api_policy_check_job), WRITE(api_policy_create_write))},
    {HTTP_GET, POLICY, "getPolicy", "One policy with its text", ADMIN, OUT(200, policy_entity), DO(READ(api_policy_read))},
    {HTTP_POST, POLICY "/compare", "comparePolicy", "What the policy would have changed on recent texts", ADMIN, IN(policy_compare_request), OUT(200, policy_comparison), DO(READ(api_policy_compare_read), LOOP(api_policy_compare))},
    {HTTP_POST, POLICY "/publish", "publishPolicy", "Puts a policy in force, also an older one again", ADMIN, IN(empty_request), OUT(200, policy_entity), DO(READ(api_policy_load), JOB(api_policy_check_job), WRITE(api_policy_publish_write), LOOP(api_policy_publish_done))},
    {HTTP_POST, V1 "/safety/try", "tryText", "Judges a text under the policy in force, a stored or a new one", ADMIN, IN(safety_try_request), OUT(200, verdict_entity), DO(READ(api_safety_try_read), LOOP(api_safety_try))},
    {HTTP_GET, V1 "/safety/cases", "listCases", "Blocked and reported messages and appeals, newest first", ADMIN, Q(cases), OUT(200, case_list_answer), DO(READ(api_cases_list))},
    {HTTP_PATCH, V1 "/safety/cases/{case_id}", "decideCase", "Decides a case: was the guard right", ADMIN, IN(case_decide_request), OUT(200, case_entity), DO(WRITE(api_case_decide_write))},
    {HTTP_GET, V1 "/safety/examples", "exportExamples", "Decided cases as labelled JSON lines", ADMIN, .status = 200, .media = "application/x-ndjson", DO(READ(api_examples_read))},
    {HTTP_GET, V1 "/safety/audit", "listAudit", "The audit log, newest first", ADMIN, Q(audit), OUT(200, audit_list_answer), DO(READ(api_audit_list))},

    {HTTP_GET, V1 "/feedback", "listFeedback", "Ratings with what they speak about, newest first", ADMIN, Q(feedback), OUT(200, feedback_list_answer), DO(READ(api_feedback_list_read))},
    {HTTP_GET, V1 "/feedback/export", "exportFeedback", "The same as JSON lines", ADMIN, Q(rating), .flags = ROUTE_STREAMS, .status = 200, .media = "application/x-ndjson", DO(LOOP(api_feedback_export))},

    {HTTP_GET, V1 "/documents", "listDocuments", "One's own and shared documents", Q(page), OUT(200, document_list_answer), DO(READ(api_documents_list))},
    {HTTP_POST, V1 "/documents", "createDocument", "Adds a document: its text as JSON, or a file", .flags = ROUTE_LARGE_BODY | ROUTE_FILES, Q(document_create), IN(document_create_request), OUT(201, document_entity), DO(JOB(api_document_file_job), WRITE(api_document_create_write), LOOP(api_document_created))},
    {HTTP_GET, V1 "/documents/{doc_id}", "getDocument", "One document with its text", Q(document), OUT(200, document_entity), DO(READ(api_document_read))},
    {HTTP_DELETE, V1 "/documents/{doc_id}", "deleteDocument", "Deletes a document", NONE204, DO(WRITE(api_document_delete_write))},

    {HTTP_GET, V1 "/slo", "getObjectives", "Service level objectives and how much of what may fail has failed", ADMIN, Q(whole), OUT(200, slo_list_answer), DO(READ(api_slo_read))},
    {HTTP_GET, V1 "/store", "getStore", "Whether the database can be written, its checks and backups", ADMIN, OUT(200, store_answer), DO(READ(api_store_read))},
    {HTTP_POST, V1 "/store/check", "checkStore", "Has the database checked in full", ADMIN, IN(empty_request), OUT(202, store_answer), DO(READ(api_store_check))},
    {HTTP_POST, V1 "/store/backup", "backUpStore", "Has a backup made and restored for a trial", ADMIN, IN(empty_request), OUT(202, store_answer), DO(READ(api_store_backup))},
    {HTTP_GET, V1 "/upstreams", "listUpstreams", "The model servers and how they are", ADMIN, Q(whole), OUT(200, upstream_list_answer), DO(READ(api_upstreams_list))},
    {HTTP_PATCH, V1 "/upstreams/{name*}", "updateUpstream", "Changes a model server, also for later starts: takes it out, weight, limit; a key until Parley ends", ADMIN, IN(upstream_patch), OUT(200, upstream_entity), DO(LOOP(api_upstream_patch))},

    {HTTP_POST, V1 "/search", "searchDocuments", "Passages of the documents that one may read, with each score", IN(search_request), OUT(200, search_answer), DO(READ(api_search_read), LOOP(api_search_run))},
    {HTTP_GET, V1 "/collections", "listCollections", "One's collections, shared ones and those of roles", Q(whole), OUT(200, collection_list_answer), DO(READ(api_collections_list))},
    {HTTP_POST, V1 "/collections", "createCollection", "Makes a collection of documents", IN(collection_request), OUT(201, collection_entity), DO(WRITE(api_collection_create_write))},
    {HTTP_DELETE, V1 "/collections/{collection_id}", "deleteCollection", "Deletes a collection with its documents", NONE204, DO(WRITE(api_collection_delete_write))},
    {HTTP_GET, ROLE "/documents", "getRoleDocuments", "What a role asks of documents", OUT(200, role_documents), DO(READ(api_role_documents_read))},
    {HTTP_PATCH, ROLE "/documents", "updateRoleDocuments", "Grounded answers only, and the collections bound to the role", ADMIN, IN(role_documents), OUT(200, role_documents), DO(WRITE(api_role_documents_write))},

    {HTTP_GET, V1 "/sources", "listSources", "Where documents come from by themselves", Q(sources), OUT(200, source_list_answer), DO(READ(api_sources_list))},
    {HTTP_POST, V1 "/sources", "createSource", "Adds a source; it runs at once", IN(source_create_request), OUT(201, source_entity), DO(WRITE(api_source_create_write), LOOP(api_source_changed))},
    {HTTP_GET, SOURCE, "getSource", "One source", OUT(200, source_entity), DO(READ(api_source_read_one))},
    {HTTP_PATCH, SOURCE, "updateSource", "Changes a source", IN(source_patch), OUT(200, source_entity), DO(WRITE(api_source_patch_write), LOOP(api_source_changed))},
    {HTTP_DELETE, SOURCE, "deleteSource", "Deletes a source, and what it brought if asked for", Q(source_delete), NONE204, DO(WRITE(api_source_delete_write), LOOP(api_source_changed))},
    {HTTP_POST, SOURCE "/run", "runSource", "Looks at a source now", IN(empty_request), OUT(202, source_entity), DO(WRITE(api_source_run_write), LOOP(api_source_changed))},
    {HTTP_POST, SOURCE "/search", "askSource", "Asks a search service, as a question would", IN(source_search_request), OUT(200, web_hits_answer), DO(READ(api_source_search_read), LOOP(api_source_search))},

    {HTTP_POST, "/v1/chat/completions", "createChatCompletion", "OpenAI's chat completions", .flags = ROUTE_STREAMS | ROUTE_BARE, IN(chat_completion_request), OUT(200, chat_completion_answer), .media = EVENTS, DO(READ_OR(api_openai_chat_read, api_openai_chat_known), LOOP(api_openai_chat_forward))},
    {HTTP_POST, "/v1/responses", "createResponse", "OpenAI's responses, kept as a conversation", .flags = ROUTE_STREAMS | ROUTE_BARE | ROUTE_TURN, IN(response_request), OUT(200, response_answer), .media = EVENTS, DO(READ(api_response_replay_read), JOB(api_response_judge), WRITE(api_response_write), LOOP(api_response_start))},
    {HTTP_GET, "/v1/responses/{response_id*}", "getResponse", "A response, or its events again (?stream=true&starting_after=N)", .flags = ROUTE_STREAMS | ROUTE_BARE | ROUTE_NO_HEAD, Q(response), OUT(200, response_answer), .media = EVENTS, DO(READ(api_response_read), LOOP(api_response_answer))},
    {HTTP_POST, "/v1/responses/{response_id*}/cancel", "cancelResponse", "Ends a running response", .flags = ROUTE_BARE, OUT(200, response_answer), DO(READ(api_response_cancel_read), LOOP(api_response_cancel), READ(api_response_cancelled), LOOP(api_response_reply))},
    {HTTP_DELETE, "/v1/responses/{response_id*}", "deleteResponse", "Deletes a response that nothing stands on", .flags = ROUTE_BARE, OUT(200, response_deleted), DO(WRITE(api_response_delete_write))},
    {HTTP_POST, "/v1/embeddings", "createEmbeddings", "OpenAI's embeddings", .flags = ROUTE_BARE, IN(embedding_request), OUT(200, embedding_answer), DO(READ(api_openai_embeddings_read), LOOP(api_openai_embeddings_forward))},
    {HTTP_POST, "/v1/moderations", "createModeration", "OpenAI's moderations, judged here", .flags = ROUTE_BARE, IN(moderation_request), OUT(200, moderation_answer), DO(LOOP(api_moderations))},
    {HTTP_GET, "/v1/models", "listModels", "Models and roles", .flags = ROUTE_BARE, OUT(200, model_list_answer), DO(READ(api_openai_models_list))},
    {HTTP_GET, "/v1/models/{model*}", "getModel", "One model or role", .flags = ROUTE_BARE, OUT(200, model_entity), DO(READ(api_openai_model_read))},

    {HTTP_GET, "/healthz", "getHealth", "The process lives", PUBLIC, .flags = ROUTE_BARE, OUT(200, health_answer), DO(LOOP(api_health_answer))},
    {HTTP_GET, "/readyz", "getReadiness", "Store and model answer; 503 with the reasons until they do", PUBLIC, .flags = ROUTE_BARE, OUT(200, ready_answer), DO(LOOP(api_ready_answer))},
    {HTTP_GET, "/metrics", "getMetrics", "Prometheus metrics", .auth = ROUTE_METRICS, .flags = ROUTE_BARE, .status = 200, .media = "text/plain; version=0.0.4; charset=utf-8", DO(LOOP(api_metrics_answer))},
    {HTTP_GET, "/openapi.json", "getOpenApi", "This description", PUBLIC, .flags = ROUTE_BARE, OUT(200, openapi_answer), DO(LOOP(api_openapi_answer))},
};
/* clang-format on */
const size_t api_routes_count = sizeof api_routes / sizeof api_routes[0];
