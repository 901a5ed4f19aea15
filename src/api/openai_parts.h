/* What of a model server's answer is known here, for the guard: members that are not known and
 * could hold a text do not get through. Inside src/api only. */
#pragma once

#include "api/call.h"

#define OPENAI_LABEL_MAX 128

/* Lists of names, NULL at the end. */
extern const char *const openai_answer_members[];       /* of an answer or a chunk of one */
extern const char *const openai_choice_members[];       /* of a choice in a whole answer */
extern const char *const openai_chunk_choice_members[]; /* … and in a chunk: no logprobs */
extern const char *const openai_audio_members[];        /* without its transcript */

/* Removes what is not among the names and could hold a text, and what is there twice. Returns
 * whether anything was removed. obj may be NULL. */
bool openai_keep_known(yyjson_mut_val *obj, const char *const *names);
/* Whether it is a word of the protocol ("assistant", "call_1"), and no text. */
bool openai_is_label(yyjson_mut_val *v);
/* Whether the member is one; else it is removed. */
bool openai_keep_label(yyjson_mut_val *obj, const char *key);
/* Whether all strings in it are as base64 and identifiers are, without blanks, and no more than 16
 * KiB: signatures and sealed thoughts, which the client has to send back. */
bool openai_is_opaque(yyjson_mut_val *v);
/* Whether the client gave a tool or function of that name. body may be NULL. */
bool openai_is_tool(const json_val *body, struct str name);
