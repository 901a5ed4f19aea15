/* A model's own chat template (Jinja, as its GGUF file carries it), run by llama.cpp's engine for
 * such templates. That engine has no C interface: chat_template.cpp is the shim, and no exception
 * leaves it. Any thread; a template may be rendered by several at once. */
#pragma once

#include "base/err.h"
#include "engine/model.h"

#ifdef __cplusplus
extern "C" {
#endif

struct chat_template;
/* bos, eos: the texts that the template knows as bos_token and eos_token. NULL: it is not
 * understood. */
struct chat_template *chat_template_new(const char *source, const char *bos, const char *eos);
void chat_template_free(struct chat_template *t); /* NULL is fine */

/* Gives the prompt's text in parts; message: the part comes from the messages' contents, so that
 * what looks like a control token in it is none. ERR_INVALID with the reason when the template
 * refuses the messages (a role out of turn, say); parts may have been given then. */
enum err chat_template_render(const struct chat_template *t, const struct model_message *messages,
                              int n, bool answer,
                              void (*part)(void *ctx, const char *text, size_t size, bool message),
                              void *ctx, struct errinfo *ei);

#ifdef __cplusplus
}
#endif
