/* What is made of a chat request before the scheduler takes it: the prompt by the model's template,
 * its tokens, and what the answer must follow. That takes a millisecond for most and seconds for
 * the longest, so it is done on the engine's reading threads, while the loop answers others.
 *
 * Any thread: of model and request only what does not change is read. */
#pragma once

#include "engine/openings.h"
#include "engine/request.h"
#include "engine/scheduler.h"

/* Fills the job's prompt (each token with the adapter), prefix, partial, forced, grammar and
 * followed, which is borrowed from the request. What is filled is to be freed with
 * chat_prompt_drop(), also on failure. */
enum err chat_prompt_make(const struct model *m, struct openings *o, const struct chat_request *r,
                          int adapter, struct sched_chat *job, struct errinfo *ei) ERR_CHECK;
void chat_prompt_drop(struct sched_chat *job);

/* What the bytes say of the tokens that are to be computed. around: tokens that the template puts
 * around a message and before the answer. */
struct sched_glance chat_prompt_glance(struct openings *o, const struct chat_request *r,
                                       int around);
