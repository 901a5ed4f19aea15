#include "engine/render.h"

#include <math.h>

void render_error(struct buf *out, enum err e, const struct errinfo *ei) {
    const char *message = ei && ei->message[0] ? ei->message : err_text(e);
    buf_addz(out, "{\"error\":{\"message\":\"");
    buf_add_json(out, str_from(message));
    buf_addf(out, "\",\"type\":\"%s\",\"param\":", err_type(e));
    if (ei && ei->param[0]) {
        buf_addc(out, '"');
        buf_add_json(out, str_from(ei->param));
        buf_addc(out, '"');
    } else {
        buf_addz(out, "null");
    }
    buf_addf(out, ",\"code\":\"%s\"}}", err_code(e));
}

static void add_head(struct buf *out, const struct render_answer *a, const char *object) {
    buf_addf(out, "{\"id\":\"%s\",\"object\":\"%s\",\"created\":%lld,\"model\":\"", a->id, object,
             (long long)a->created);
    buf_add_json(out, str_from(a->model));
    buf_addz(out, "\",\"choices\":[");
}

static void add_tail_of_choice(struct buf *out, const struct buf *logprobs, const char *finish) {
    buf_addz(out, ",\"logprobs\":");
    if (logprobs && logprobs->n) {
        buf_addz(out, "{\"content\":[");
        buf_adds(out, buf_str(logprobs));
        buf_addz(out, "],\"refusal\":null}");
    } else {
        buf_addz(out, "null");
    }
    if (finish)
        buf_addf(out, ",\"finish_reason\":\"%s\"}", finish);
    else
        buf_addz(out, ",\"finish_reason\":null}");
}

static void add_usage(struct buf *out, const struct render_usage *u) {
    buf_addf(out,
             "\"usage\":{\"prompt_tokens\":%d,\"completion_tokens\":%d,\"total_tokens\":%d,"
             "\"prompt_tokens_details\":{\"cached_tokens\":%d}}",
             u->prompt_tokens, u->completion_tokens, u->prompt_tokens + u->completion_tokens,
             u->cached_tokens);
}

void render_chunk(struct buf *out, const struct render_answer *a, bool role, struct str content,
                  const struct buf *logprobs, const char *finish) {
    add_head(out, a, "chat.completion.chunk");
    buf_addz(out, "{\"index\":0,\"delta\":{");
    if (role)
        buf_addz(out, "\"role\":\"assistant\",\"content\":\"\"");
    if (!role && !finish) {
        buf_addz(out, "\"content\":\"");
        buf_add_json(out, content);
        buf_addc(out, '"');
    }
    buf_addc(out, '}');
    add_tail_of_choice(out, logprobs, finish);
    buf_addz(out, a->usage ? "],\"usage\":null}" : "]}");
}

void render_usage_chunk(struct buf *out, const struct render_answer *a,
                        const struct render_usage *u) {
    add_head(out, a, "chat.completion.chunk");
    buf_addz(out, "],");
    add_usage(out, u);
    buf_addc(out, '}');
}

void render_completion(struct buf *out, const struct render_answer *a, struct str content,
                       const struct buf *logprobs, const char *finish,
                       const struct render_usage *u) {
    add_head(out, a, "chat.completion");
    buf_addz(out, "{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"");
    buf_add_json(out, content);
    buf_addz(out, "\",\"refusal\":null}");
    add_tail_of_choice(out, logprobs, finish);
    buf_addz(out, "],");
    add_usage(out, u);
    buf_addc(out, '}');
}

/* A token's text may be part of a character: the bytes are always given, the text only when it is
 * valid. */
static void add_token(struct buf *out, const struct model *m, int32_t token, float logprob) {
    char piece[256];
    int n = m->ops->piece(m, token, piece, sizeof(piece));
    struct str s = {piece, (size_t)n};
    buf_addz(out, "{\"token\":\"");
    if (utf8_valid(s))
        buf_add_json(out, s);
    buf_addf(out, "\",\"logprob\":%.6g,\"bytes\":[", isfinite(logprob) ? (double)logprob : -9999.0);
    for (int i = 0; i < n; i++)
        buf_addf(out, i ? ",%u" : "%u", (unsigned char)piece[i]);
    buf_addc(out, ']');
}

void render_logprob(struct buf *list, const struct model *m, const struct sampled *s) {
    if (list->n)
        buf_addc(list, ',');
    add_token(list, m, s->token, s->logprob);
    buf_addz(list, ",\"top_logprobs\":[");
    for (int i = 0; i < s->n_top; i++) {
        if (i)
            buf_addc(list, ',');
        add_token(list, m, s->top[i].token, s->top[i].logprob);
        buf_addc(list, '}');
    }
    buf_addz(list, "]}");
}
