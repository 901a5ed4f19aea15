/* Between openai_guard_request.c (when a request is judged), openai_guard_in.c (what of it) and
 * openai_guard_whole.c (whole answers). Inside src/api only. */
#pragma once

#include "api/openai.h"
#include "api/openai_guard.h"
#include "store/safety.h"

#define OPENAI_TEXT_CAP    ((size_t)16 << 20)
#define OPENAI_CONTEXT_MAX ((size_t)8 << 10)
#define OPENAI_INLINE_MAX  1024 /* bytes that are judged on the loop: less than a handover costs */

static inline bool openai_has_role(const json_val *message, const char *name) {
    return str_eqz(json_get_str(message, "role"), name);
}

struct openai_guard *openai_guard_of(struct call *c);
/* The job: the body in c->state is judged and written anew with what was taken out; the verdict, or
 * the error, is in the guard. */
void openai_guard_judge(void *call);
/* What the classifier has the talk's embedding as; NULL = none. */
const float *openai_guard_talk(const struct openai_guard *g);
/* In g->refusal, for g->verdict. */
void openai_guard_choose_refusal(struct call *c, struct openai_guard *g);
void openai_guard_fall_back(struct call *c, struct openai_guard *g, enum safety_direction d,
                            struct safety_verdict *v);
/* Kept until the guard model is asked about it; what cannot be goes by the fallback, which is in *v
 * then. at: number of the message or the choice. */
enum err openai_guard_doubt(struct call *c, const struct safety_request *r, bool newest, size_t at,
                            struct safety_verdict *v) ERR_CHECK;
