/* The items of a response's input. The last one is the question, which the turn judges. Those
 * before it become messages of the conversation and stand in its prompts, so they are judged when
 * they come in: what is refused is kept as a refused question is, out of every prompt; of an answer
 * nothing is kept. A request makes one case, of the worst of them. A client that sends its whole
 * history sends what was refused long ago with each question: it counts against nobody where an
 * answer follows. See responses.h.
 *
 *   READ ─→ JOB: each item before the last ─→ verdicts ─→ WRITE: messages, cases */
#include "api/handlers.h"
#include "api/responses.h"
#include "base/clock.h"
#include "base/metrics.h"
#include "safety/record.h"

#define TEXT_CAP ((size_t)16 << 20)

struct response_items {
    size_t n;
    size_t worst;                     /* the one with the case; n = none */
    size_t answers;                   /* items before here have an answer behind them */
    struct safety_verdict *refused[]; /* of each item; NULL = nothing is to be said */
};

/* STR_NULL: there is none. */
static struct str item_text(struct call *c, const json_val *item) {
    json_val *content = json_get(item, "content"), *part;
    struct buf b;
    size_t i, n;
    if (yyjson_is_str(content))
        return json_str(content);
    buf_init(&b, TEXT_CAP);
    yyjson_arr_foreach(content, i, n, part) {
        struct str text = json_get_str(part, "text");
        if (b.n && text.n)
            buf_addz(&b, "\n");
        buf_adds(&b, text);
    }
    struct str copy = b.n && !buf_err(&b) ? arena_str(c->arena, buf_str(&b)) : STR_NULL;
    buf_deinit(&b);
    return copy;
}

static enum safety_direction direction_of(const json_val *item) {
    return str_eqz(json_get_str(item, "role"), "user") ? SAFETY_INPUT : SAFETY_OUTPUT;
}

enum err api_response_replay_read(struct call *c, struct store_tx *tx, struct errinfo *ei) {
    json_val *input = json_get(c->body, "input");
    enum err e = api_turn_replay_read(c, tx, ei);
    c->skip_job = c->replayed || !c->api->o.safety || yyjson_arr_size(input) < 2;
    return e;
}

static size_t behind_answers(json_val *list, size_t n) {
    while (n > 0 && direction_of(yyjson_arr_get(list, n - 1)) == SAFETY_INPUT)
        n--;
    return n;
}

/* What counts is worse than what does not, whatever their scores. */
static bool is_worse(const struct response_items *items, size_t i) {
    if (items->worst == items->n)
        return true;
    bool counts = i >= items->answers, before = items->worst >= items->answers;
    const struct safety_verdict *a = items->refused[i], *b = items->refused[items->worst];
    return counts != before ? counts : a->scores[a->category] > b->scores[b->category];
}

enum err api_response_judge(struct call *c, struct errinfo *ei) {
    json_val *list = json_get(c->body, "input"), *item;
    size_t i, count, n = yyjson_arr_size(list) - 1;
    struct response_items *items =
        arena_alloc(c->arena, sizeof *items + n * sizeof items->refused[0]);
    enum err e = items ? ERR_OK : ERR_NOMEM;
    if (items) {
        items->n = items->worst = n;
        items->answers = behind_answers(list, n);
    }
    yyjson_arr_foreach(list, i, count, item) {
        struct safety_verdict v;
        struct safety_request r = {.text = item_text(c, item),
                                   .direction = direction_of(item),
                                   .role = json_get_str(c->body, "model")};
        if (e || i == n)
            break;
        items->refused[i] = NULL;
        if (!r.text.n)
            continue;
        r.role = r.role.p ? r.role : STR("");
        e = safety_judge(c->api->o.safety, &r, &v);
        metric_add(M_GUARD_JUDGED, 1);
        if (e || v.action != SAFETY_BLOCK)
            continue;
        metric_add(M_GUARD_BLOCKED, 1);
        if (!(items->refused[i] = arena_alloc(c->arena, sizeof v))) {
            e = ERR_NOMEM;
            break;
        }
        *items->refused[i] = v;
        if (is_worse(items, i))
            items->worst = i;
    }
    c->state = items;
    return e ? err_set(ei, e, NULL) : ERR_OK;
}

/* As a turn keeps it with a message. */
static struct str verdict_json(struct call *c, const struct safety_verdict *v,
                               enum safety_direction d) {
    struct buf b;
    buf_init(&b, (size_t)64 << 10);
    buf_addf(&b, "{\"direction\":\"%s\",", safety_direction_name(d));
    safety_verdict_members(v, &b);
    buf_addz(&b, ",\"message\":null}");
    struct str s = buf_err(&b) ? STR_NULL : arena_str(c->arena, buf_str(&b));
    buf_deinit(&b);
    return s;
}

static enum err record(struct call *c, struct store_tx *tx, const struct message *m,
                       const struct safety_verdict *v, enum safety_direction d, struct str text,
                       bool earlier) {
    struct policy *p = safety_get_policy(c->api->o.safety);
    struct safety_block b = {.user_id = c->user.user_id,
                             .conversation_id = m->conversation_id,
                             .message_id = m->message_id,
                             .path = "openai",
                             .verdict = v,
                             .direction = d,
                             .text = text,
                             .earlier = earlier};
    enum err e = safety_record_block(tx, p, &b);
    policy_unref(p);
    return e;
}

static enum err store_item(struct call *c, struct store_tx *tx, struct turn_input *in,
                           const json_val *item, size_t at, struct str text,
                           const struct response_items *judged, struct errinfo *ei) {
    const struct safety_verdict *v = judged && at < judged->n ? judged->refused[at] : NULL;
    enum safety_direction d = direction_of(item);
    struct message m = {.message_id = uuid_new(),
                        .conversation_id = in->conversation_id,
                        .parent_id = in->parent_id,
                        .sender = d == SAFETY_INPUT ? SENDER_USER : SENDER_ASSISTANT,
                        .content = v && d == SAFETY_OUTPUT ? STR("") : text,
                        .timestamp = clock_wall_ms(),
                        .response_latency_ms = -1,
                        .ttft_ms = -1,
                        .prompt_tokens = -1,
                        .completion_tokens = -1};
    if (v && !(m.safety = verdict_json(c, v, d)).p)
        return err_set(ei, ERR_NOMEM, NULL);
    enum err e = message_append(tx, &m, ei);
    if (!e && v && at == judged->worst)
        e = record(c, tx, &m, v, d, text, at < judged->answers);
    in->parent_id = m.message_id;
    in->parent_kind = PARENT_GIVEN;
    return e;
}

enum err response_items_store(struct call *c, struct store_tx *tx, struct turn_input *in,
                              const struct response_items *judged, bool stored,
                              struct errinfo *ei) {
    json_val *items = json_get(c->body, "input"), *item;
    size_t i, n, count = yyjson_arr_size(items);
    enum err e = ERR_OK;
    yyjson_arr_foreach(items, i, n, item) {
        struct str role = json_get_str(item, "role"), text = item_text(c, item);
        bool user = str_eqz(role, "user"), last = i + 1 == count;
        if (e)
            break;
        if (!text.n || (!user && !str_eqz(role, "assistant")))
            return err_param(ei, ERR_INVALID, "input",
                             "item %zu must be a message of \"user\" or \"assistant\" with text",
                             i);
        if (last && !user)
            return err_param(ei, ERR_INVALID, "input", "the last item must be the user's");
        if (last)
            in->content = text;
        else if (!stored)
            e = store_item(c, tx, in, item, i, text, judged, ei);
    }
    return e;
}
