#include "engine/chat_prompt.h"

#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "engine/json_schema.h"
#include "text/tokens.h"

#define GLANCE_BYTES    (64u << 10) /* are looked at: a tenth of a millisecond */
#define BYTES_PER_TOKEN 4           /* of most texts */
#define BYTES_LEAST     3           /* of all but a few */

#define PIECE_BYTES  (8u << 10)
#define PIECE_SLACK  2 /* tokens that a piece has more than it would have within its text */
#define WINDOW_BYTES 8 /* of each of a window's tokens: shorter messages are read at once */

/* The first bytes of a long text, up to the end of a word. */
static struct str piece_of(struct str text) {
    size_t n = text.n > PIECE_BYTES ? utf8_cut(text, PIECE_BYTES) : text.n;
    size_t word = n;
    while (n < text.n && word > n / 2 && text.p[word] != ' ' && text.p[word] != '\n')
        word--;
    return str_sub(text, 0, word > n / 2 ? word : n);
}

/* Reads a text until no more than `room` tokens are left of the window. */
static enum err count_until_full(const struct model *m, struct str text, int *room,
                                 size_t *ret_read) {
    size_t at = 0;
    while (at < text.n && *room >= 0) {
        struct tokens t = {0};
        struct str piece = piece_of(str_sub(text, at, text.n));
        enum err e = m->ops->tokenize(m, piece, false, &t);
        *room -= t.n > PIECE_SLACK ? t.n - PIECE_SLACK : 0;
        tokens_deinit(&t);
        if (e)
            return e;
        at += piece.n;
    }
    *ret_read += at;
    return ERR_OK;
}

/* Messages that are far longer than the window are seen to be so from their beginning, or some of
 * them would keep the reading threads from everybody's prompts for seconds. */
static enum err refuse_too_long(const struct model *m, const struct chat_request *r,
                                struct errinfo *ei) {
    size_t bytes = 0, seen = 0;
    int window = m->info.window, room = window;
    for (int i = 0; i < r->n_messages; i++)
        bytes += r->messages[i].content.n;
    if (bytes / WINDOW_BYTES <= (size_t)window)
        return ERR_OK;
    for (int i = 0; i < r->n_messages && room >= 0; i++) {
        enum err e = count_until_full(m, r->messages[i].content, &room, &seen);
        if (e)
            return err_set(ei, e, NULL);
    }
    if (room >= 0)
        return ERR_OK;
    return sched_too_long(m, (int)((double)(window - room) / (double)seen * (double)bytes), true,
                          ei);
}

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
    enum err e = refuse_too_long(m, r, ei);
    e = e ? e : make_prompt(m, o, r, job, ei);
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

/* About how many tokens a message has; of a long one by its bytes. */
static size_t tokens_of(struct str text) {
    return text.n > GLANCE_BYTES ? text.n / BYTES_PER_TOKEN : (size_t)text_tokens(text);
}

static size_t least(size_t a, size_t b) {
    return a < b ? a : b;
}

/* What is new is the last message; what a role's requests share is held when others of it came
 * lately. The count is a tenth off where it knows the kind of text, and may be further where it
 * does not: the least and the most go by the bytes, too. */
struct sched_glance chat_prompt_glance(struct openings *o, const struct chat_request *r,
                                       int around) {
    bool known =
        has_role(r, 0, "system") && openings_has(o, r->messages[0].content, has_role(r, 1, "user"));
    struct str last = r->messages[r->n_messages - 1].content;
    size_t bytes = 0, tokens = 0, of_last = tokens_of(last);
    for (int i = known; i < r->n_messages; i++) {
        bytes += r->messages[i].content.n;
        tokens += bytes > GLANCE_BYTES ? r->messages[i].content.n / BYTES_PER_TOKEN
                                       : tokens_of(r->messages[i].content);
    }
    size_t most =
        tokens + tokens / 4 > bytes / BYTES_LEAST ? tokens + tokens / 4 : bytes / BYTES_LEAST;
    struct sched_glance g = {
        .least = (int)least(of_last - of_last / 10, last.n / BYTES_PER_TOKEN),
        .likely = (int)(known ? of_last : tokens) + around,
        .most = (int)most + 1,
    };
    g.least = g.least > 0 ? g.least : 1;
    if (bytes > GLANCE_BYTES || r->proceed) /* most of it may be held */
        g.least = 0;
    return g;
}
