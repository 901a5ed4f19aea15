/* The stages that routes.c names, by entity. Transactions (tx), jobs and loop functions: see call.h
 * for what each may do. */
#pragma once

#include "api/call.h"

#define TX(name)   enum err name(struct call *c, struct store_tx *tx, struct errinfo *ei)
#define WORK(name) enum err name(struct call *c, struct errinfo *ei)
#define ACT(name)  void name(struct call *c)

/* handlers_users.c */
TX(api_setup_read);
TX(api_setup_write);
TX(api_user_create_read);
TX(api_user_create_write);
WORK(api_user_hash_job);
WORK(api_user_create_job);
TX(api_me_read);
TX(api_me_patch_read);
WORK(api_me_patch_job);
TX(api_me_patch_write);
TX(api_users_list);
TX(api_user_read);
TX(api_user_patch_read);
TX(api_user_patch_write);
TX(api_user_delete_write);

/* handlers_sessions.c */
TX(api_sign_in_read);
WORK(api_sign_in_job);
TX(api_sign_in_write);
ACT(api_sign_in_done);
TX(api_sign_out_write);
TX(api_keys_list);
TX(api_key_create_write);
TX(api_key_revoke_write);

/* handlers_roles.c */
TX(api_roles_list);
TX(api_role_create_write);
TX(api_role_read_one);
TX(api_role_patch_write);
TX(api_role_retire_write);
TX(api_role_versions_list);

/* handlers_conversations.c */
TX(api_conversations_list);
TX(api_conversation_create_write);
TX(api_conversation_read);
TX(api_conversation_patch_write);
TX(api_conversation_delete_write);
TX(api_messages_list);
TX(api_message_read);

/* idempotency.c */
TX(api_turn_replay_read);
enum err api_turn_replay_known(struct call *c, bool *ret_done, struct errinfo *ei) ERR_CHECK;

/* handlers_messages.c */
ACT(api_message_post);
ACT(api_message_regenerate);
ACT(api_message_events);
ACT(api_message_stop);

/* handlers_feedback.c */
TX(api_feedback_put_write);
TX(api_feedback_delete_write);
TX(api_feedback_list_read);
ACT(api_feedback_export);

/* handlers_documents.c */
TX(api_documents_list);
WORK(api_document_file_job);
TX(api_document_create_write);
ACT(api_document_created);
TX(api_document_read);
/* Into one's own private collections anybody may put documents, elsewhere administrators. */
enum err api_may_add_to(struct call *c, struct store_tx *tx, bool shared,
                        const struct uuid *collection_id, struct errinfo *ei);
TX(api_document_delete_write);

/* handlers_sources.c */
TX(api_sources_list);
TX(api_source_create_write);
TX(api_source_read_one);
TX(api_source_patch_write);
TX(api_source_delete_write);
TX(api_source_run_write);
ACT(api_source_changed);
TX(api_source_search_read);
ACT(api_source_search);

/* openai_models.c, openai_chat.c, openai_embeddings.c */
TX(api_openai_models_list);
TX(api_openai_model_read);
TX(api_openai_chat_read);
enum err api_openai_chat_known(struct call *c, bool *ret_done, struct errinfo *ei) ERR_CHECK;
ACT(api_openai_chat_forward);
TX(api_openai_embeddings_read);
ACT(api_openai_embeddings_forward);

/* handlers_responses.c */
TX(api_response_replay_read);
WORK(api_response_judge);
TX(api_response_write);
ACT(api_response_start);
TX(api_response_read);
ACT(api_response_answer);
TX(api_response_cancel_read);
ACT(api_response_cancel);
TX(api_response_cancelled);
ACT(api_response_reply);
TX(api_response_delete_write);

/* handlers_store.c */
TX(api_store_read);
TX(api_store_check);
TX(api_store_backup);

/* handlers_upstreams.c */
TX(api_upstreams_list);
ACT(api_upstream_patch);

/* handlers_safety.c */
ACT(api_moderations);
TX(api_policies_list);
TX(api_policy_read);
WORK(api_policy_check_job);
TX(api_policy_create_write);
TX(api_policy_load);
TX(api_policy_publish_write);
ACT(api_policy_publish_done);
TX(api_safety_try_read);
ACT(api_safety_try);
TX(api_policy_compare_read);
ACT(api_policy_compare);
TX(api_cases_list);
TX(api_case_decide_write);
TX(api_examples_read);
TX(api_message_report_write);
TX(api_message_appeal_write);
TX(api_audit_list);

/* ops.c */
TX(api_slo_read);
TX(api_status_read);
ACT(api_health_answer);
ACT(api_ready_answer);
ACT(api_metrics_answer);
ACT(api_openapi_answer);

/* handlers_learning.c */
TX(api_signal_write);
TX(api_record_read);
TX(api_learning_read);
TX(api_learning_patch_write);
WORK(api_learning_refresh_job);
TX(api_learning_run_read);
WORK(api_learning_run_job);
TX(api_learning_run_write);
TX(api_learn_events_list);
TX(api_candidates_list);
TX(api_candidate_patch_write);
TX(api_variants_list);
TX(api_variant_create_write);
TX(api_variant_patch_write);
TX(api_answers_list);
TX(api_answer_create_write);
TX(api_answer_patch_write);
TX(api_answer_delete_write);
TX(api_user_flag_write);

/* handlers_analytics.c */
TX(api_analytics_read);
TX(api_analytics_turns_read);
TX(api_analytics_documents_read);
TX(api_complaints_read);
ACT(api_complaints_embed);
WORK(api_complaints_job);
TX(api_training_read);
WORK(api_training_job);
ACT(api_training_next);

/* handlers_search.c */
TX(api_search_read);
ACT(api_search_run);
TX(api_collections_list);
TX(api_collection_create_write);
TX(api_collection_delete_write);
TX(api_role_documents_read);
TX(api_role_documents_write);

#undef TX
#undef WORK
#undef ACT
