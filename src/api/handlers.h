/* The stages that routes.c names, by entity. Transactions (tx), jobs and loop functions: see call.h
 * for what each may do. */
#pragma once

#include "api/call.h"

#define TX(name)   enum err name(struct call *c, struct store_tx *tx, struct errinfo *ei)
#define WORK(name) enum err name(struct call *c, struct errinfo *ei)
#define ACT(name)  void name(struct call *c)

/* handlers_users.c */
TX(setup_read);
TX(setup_write);
TX(user_create_read);
TX(user_create_write);
WORK(user_hash_job);
TX(me_read);
TX(me_patch_read);
WORK(me_patch_job);
TX(me_patch_write);
TX(users_list);
TX(user_read);
TX(user_patch_read);
TX(user_patch_write);
TX(user_delete_write);

/* handlers_sessions.c */
TX(sign_in_read);
WORK(sign_in_job);
TX(sign_in_write);
TX(sign_out_write);
TX(keys_list);
TX(key_create_write);
TX(key_revoke_write);

/* handlers_roles.c */
TX(roles_list);
TX(role_create_write);
TX(role_read_one);
TX(role_patch_write);
TX(role_retire_write);
TX(role_versions_list);

/* handlers_conversations.c */
TX(conversations_list);
TX(conversation_create_write);
TX(conversation_read);
TX(conversation_patch_write);
TX(conversation_delete_write);
TX(messages_list);
TX(message_read);

/* handlers_messages.c */
ACT(message_post);
ACT(message_regenerate);
ACT(message_events);
ACT(message_stop);

/* handlers_feedback.c */
TX(feedback_put_write);
TX(feedback_delete_write);
TX(feedback_list_read);
ACT(feedback_export);

/* handlers_documents.c */
TX(documents_list);
TX(document_create_write);
TX(document_read);
TX(document_delete_write);

/* openai_models.c, openai_chat.c, openai_embeddings.c */
TX(openai_models_list);
TX(openai_model_read);
TX(openai_chat_read);
ACT(openai_chat_forward);
TX(openai_embeddings_read);
ACT(openai_embeddings_forward);

/* ops.c */
TX(status_read);
ACT(health_answer);
ACT(ready_answer);
ACT(metrics_answer);
ACT(openapi_answer);

#undef TX
#undef WORK
#undef ACT
