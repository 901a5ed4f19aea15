/* The schemas that the route table names. Requests first, then queries, then answers. */
#pragma once

#include "api/schema.h"

#define SCHEMAS(X)                                                                                 \
    X(setup_request)                                                                               \
    X(user_create_request)                                                                         \
    X(reason_request)                                                                              \
    X(policy_create_request)                                                                       \
    X(policy_compare_request)                                                                      \
    X(safety_try_request)                                                                          \
    X(case_decide_request)                                                                         \
    X(moderation_request)                                                                          \
    X(moderation_answer)                                                                           \
    X(case_opened)                                                                                 \
    X(policy_entity)                                                                               \
    X(policy_list_answer)                                                                          \
    X(policy_comparison)                                                                           \
    X(verdict_entity)                                                                              \
    X(case_entity)                                                                                 \
    X(case_list_answer)                                                                            \
    X(audit_entity)                                                                                \
    X(audit_list_answer)                                                                           \
    X(sign_in_request)                                                                             \
    X(me_patch)                                                                                    \
    X(user_patch)                                                                                  \
    X(key_create_request)                                                                          \
    X(role_create_request)                                                                         \
    X(role_patch)                                                                                  \
    X(conversation_create_request)                                                                 \
    X(conversation_patch)                                                                          \
    X(message_create_request)                                                                      \
    X(empty_request)                                                                               \
    X(slo_window)                                                                                  \
    X(slo_entity)                                                                                  \
    X(slo_list_answer)                                                                             \
    X(store_answer)                                                                                \
    X(upstream_patch)                                                                              \
    X(upstream_entity)                                                                             \
    X(upstream_list_answer)                                                                        \
    X(feedback_put_request)                                                                        \
    X(document_metadata)                                                                           \
    X(document_create_request)                                                                     \
    X(source_create_request)                                                                       \
    X(search_request)                                                                              \
    X(search_hit)                                                                                  \
    X(search_answer)                                                                               \
    X(collection_request)                                                                          \
    X(collection_entity)                                                                           \
    X(collection_list_answer)                                                                      \
    X(role_documents)                                                                              \
    X(source_search_request)                                                                       \
    X(source_patch)                                                                                \
    X(chat_message_param)                                                                          \
    X(chat_completion_request)                                                                     \
    X(response_request)                                                                            \
    X(response_answer)                                                                             \
    X(response_deleted)                                                                            \
    X(embedding_request)                                                                           \
    X(error_object)                                                                                \
    X(error_answer)                                                                                \
    X(status_answer)                                                                               \
    X(health_answer)                                                                               \
    X(ready_answer)                                                                                \
    X(user_entity)                                                                                 \
    X(user_list_answer)                                                                            \
    X(key_entity)                                                                                  \
    X(key_created)                                                                                 \
    X(key_list_answer)                                                                             \
    X(role_entity)                                                                                 \
    X(role_list_answer)                                                                            \
    X(conversation_entity)                                                                         \
    X(conversation_list_answer)                                                                    \
    X(usage_object)                                                                                \
    X(feedback_entity)                                                                             \
    X(message_entity)                                                                              \
    X(message_list_answer)                                                                         \
    X(turn_answer)                                                                                 \
    X(feedback_row_entity)                                                                         \
    X(feedback_list_answer)                                                                        \
    X(document_finding)                                                                            \
    X(document_safety)                                                                             \
    X(document_entity)                                                                             \
    X(document_list_answer)                                                                        \
    X(source_entity)                                                                               \
    X(web_hit_entity)                                                                              \
    X(web_hits_answer)                                                                             \
    X(source_list_answer)                                                                          \
    X(model_entity)                                                                                \
    X(model_list_answer)                                                                           \
    X(chat_completion_answer)                                                                      \
    X(embedding_answer)                                                                            \
    X(openapi_answer)                                                                              \
    X(signal_request)                                                                              \
    X(feedback_source)                                                                             \
    X(learning_patch)                                                                              \
    X(candidate_patch)                                                                             \
    X(variant_create_request)                                                                      \
    X(variant_patch)                                                                               \
    X(answer_create_request)                                                                       \
    X(answer_patch)                                                                                \
    X(flag_request)                                                                                \
    X(learning_answer)                                                                             \
    X(learning_run_answer)                                                                         \
    X(learn_event_entity)                                                                          \
    X(learn_event_list_answer)                                                                     \
    X(candidate_entity)                                                                            \
    X(candidate_list_answer)                                                                       \
    X(variant_entity)                                                                              \
    X(variant_list_answer)                                                                         \
    X(approved_entity)                                                                             \
    X(approved_list_answer)                                                                        \
    X(theme_entity)                                                                                \
    X(theme_list_answer)                                                                           \
    X(analytics_entity)                                                                            \
    X(analytics_answer)                                                                            \
    X(analytics_turn_entity)                                                                       \
    X(analytics_turn_list_answer)                                                                  \
    X(analytics_document_entity)                                                                   \
    X(analytics_document_list_answer)                                                              \
    X(turn_record_answer)

#define X(name) extern const struct schema schema_##name;
SCHEMAS(X)
#undef X

/* Queries are no components: their fields become parameters. */
extern const struct schema query_page, query_whole, query_roles, query_conversations,
    query_feedback, query_rating, query_events, query_response, query_document,
    query_document_create, query_sources, query_source_delete, query_cases, query_audit;

extern const struct schema query_answers, query_variants, query_training_export, query_analytics,
    query_analytics_turns, query_analytics_documents, query_complaints; /* schemas_learning.c */

/* All components, NULL-terminated. */
extern const struct schema *const schemas_all[];
