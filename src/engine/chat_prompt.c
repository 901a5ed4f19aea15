#include "engine/chat_prompt.h"

#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "engine/json_schema.h"

#define GLANCE_BYTES    (64u << 10)
#define BYTES_PER_TOKEN 4 /* of most texts */
#define BYTES_LEAST     3 /* of all but a few */

/* A partial answer may end within what was one token. Its last word is taken out of the prompt
 * again and becomes bytes with which the answer must begin: so the model says it in the tokens that
 * it would have used. */
static void force_last_word(const struct model *m, struct sched_chat *job, struct str partial) {
    int n = 0, tokens = 0;
    while (tokens < job->partial) {
        char piece[SCHED_FORCED_MAX];
        int32_t t = job->prompt.p[job->prompt.n - 1 - tokens];
        int more = m->ops->piece(m, t, piece, sizeof(piece));
        if (more <= 0 || n + more > SCHED_FORCED_MAX || (size_t)(n + more) > partial.n ||
            memcmp(partial.p + partial.n - (size_t)(n + more), piece, (size_t)more) != 0)
            break;
        n += more;
        tokens++;
        if (piece[0] == ' ' || piece[0] == '\n')
            break;
    }
    memcpy(job->forced, partial.p + partial.n - (size_t)n, (size_t)n);
    job->n_forced = n;
    job->prompt.n -= tokens;
    job->partial -= tokens;
}

static bool has_role(const struct chat_request *r, int i, const char *role) {
    return r->n_messages > i && str_eqz(r->messages[i].role, role);
}

/* How many of the prompt's tokens others of the role share: those of the system message, and of the
 * opening of what the user says. */
static enum err shared_tokens(const struct model *m, struct openings *o,
                              const struct chat_request *r, const struct tokens *prompt, int *ret) {
    const struct model_message other[2] = {r->messages[0], {STR("user"), STR("~")}};
    bool with_user = has_role(r, 1, "user");
    struct tokens head = {0};
    struct errinfo ei;
    int n = openings_shared(o, other[0].content, with_user, prompt);
    if (n < 0) {
        enum err e = m->ops->prompt(m, other, 1 + with_user, false, STR_NULL, &head, &ei);
        if (!e) {
            openings_keep(o, other[0].content, with_user, &head);
            n = tokens_common(&head, head.n, prompt, prompt->n);
        }
        tokens_deinit(&head);
        if (e)
            return e;
    }
    *ret = n;
    return ERR_OK;
}

/* The prompt's tokens, and how many of them others of the role share. */
static enum err make_prompt(const struct model *m, struct openings *o, const struct chat_request *r,
                            struct sched_chat *job, struct errinfo *ei) {
    struct str partial = r->proceed ? r->messages[r->n_messages - 1].content : STR_NULL;
    int n = r->n_messages - (r->proceed ? 1 : 0);
    struct tokens head = {0};
    enum err e = m->ops->prompt(m, r->messages, n, true, partial, &job->prompt, ei);
    if (!e && partial.n) {
        e = m->ops->prompt(m, r->messages, n, true, STR_NULL, &head, ei);
        job->partial = e ? 0 : job->prompt.n - head.n;
        tokens_deinit(&head);
    }
    if (!e && partial.n)
        force_last_word(m, job, partial);
    if (e || !has_role(r, 0, "system"))
        return e;
    e = shared_tokens(m, o, r, &job->prompt, &job->prefix);
    return e ? err_set(ei, e, NULL) : e;
}

/* What the answer must follow, and how much of that a partial answer has. */
static enum err set_format(const struct chat_request *r, struct sched_chat *job,
                           struct errinfo *ei) {
    yyjson_doc *doc;
    if (r->format == FORMAT_TEXT)
        return ERR_OK;
    if (r->proceed) {
        job->followed = r->messages[r->n_messages - 1].content;
        job->followed.n -= (size_t)job->n_forced;
    }
    if (r->format == FORMAT_OBJECT)
        return json_object_compile(&job->grammar, ei);
    enum err e = json_parse(r->schema, &doc, ei);
    if (e)
        return e;
    e = json_schema_compile(yyjson_doc_get_root(doc), "response_format.json_schema.schema",
                            &job->grammar, ei);
    if (e && ei)
        snprintf(ei->param, sizeof(ei->param), "response_format");
    yyjson_doc_free(doc);
    return e;
}

enum err chat_prompt_make(const struct model *m, struct openings *o, const struct chat_request *r,
                          int adapter, struct sched_chat *job, struct errinfo *ei) {
    enum err e = make_prompt(m, o, r, job, ei);
    e = e ? e : set_format(r, job, ei);
    job->adapter = adapter;
    for (int i = 0; i < job->prompt.n; i++)
        job->prompt.p[i] = model_token_with(job->prompt.p[i], adapter);
    return e;
}

void chat_prompt_drop(struct sched_chat *job) {
    tokens_deinit(&job->prompt);
    grammar_free(job->grammar);
    job->grammar = NULL;
}

/* What is new is the last message; what a role's requests share is held when others of it came
 * lately. */
struct sched_glance chat_prompt_glance(struct openings *o, const struct chat_request *r,
                                       int around) {
    bool known =
        has_role(r, 0, "system") && openings_has(o, r->messages[0].content, has_role(r, 1, "user"));
    size_t bytes = 0, last = r->messages[r->n_messages - 1].content.n;
    for (int i = known; i < r->n_messages; i++)
        bytes += r->messages[i].content.n;
    struct sched_glance g = {
        .least = (int)(last / BYTES_PER_TOKEN),
        .likely = (int)((known ? last : bytes) / BYTES_PER_TOKEN) + around,
        .most = (int)(bytes / BYTES_LEAST) + 1,
    };
    g.least = g.least > 0 ? g.least : 1;
    if (bytes > GLANCE_BYTES || r->proceed) /* most of it may be held */
        g.least = 0;
    return g;
}
