#include "engine/request.h"

#include <stddef.h>
#include <stdio.h>

#include "base/json.h"
#include "base/layers_of.h"

#define DEADLINE_MAX_MS 86400000

/* A field's value; NULL for absent and for null. */
static json_val *field(const json_val *obj, const char *name) {
    json_val *v = json_get(obj, name);
    return v && !yyjson_is_null(v) ? v : NULL;
}

static enum err parse_object(struct str body, yyjson_doc **ret, struct errinfo *ei) {
    yyjson_doc *doc;
    enum err e = json_parse(body, &doc, ei);
    if (e)
        return e;
    if (!yyjson_is_obj(yyjson_doc_get_root(doc))) {
        yyjson_doc_free(doc);
        return err_set(ei, ERR_INVALID, "the body must be a JSON object");
    }
    *ret = doc;
    return ERR_OK;
}

static enum err copy_str(struct arena *a, json_val *v, struct str *ret, struct errinfo *ei) {
    struct str s = arena_str(a, json_str(v));
    if (!s.p)
        return err_set(ei, ERR_TOO_LARGE, NULL);
    *ret = s;
    return ERR_OK;
}

static enum err get_string(const json_val *obj, const char *name, struct arena *a, struct str *ret,
                           struct errinfo *ei) {
    json_val *v = field(obj, name);
    if (!v)
        return ERR_OK;
    if (!yyjson_is_str(v))
        return err_param(ei, ERR_INVALID, name, "\"%s\" must be a string", name);
    return copy_str(a, v, ret, ei);
}

static enum err get_bool(const json_val *obj, const char *name, bool *ret, struct errinfo *ei) {
    json_val *v = field(obj, name);
    if (v && !yyjson_is_bool(v))
        return err_param(ei, ERR_INVALID, name, "\"%s\" must be true or false", name);
    if (v)
        *ret = yyjson_get_bool(v);
    return ERR_OK;
}

static enum err get_int(const json_val *obj, const char *name, int64_t min, int64_t max, int *ret,
                        struct errinfo *ei) {
    json_val *v = field(obj, name);
    if (!v)
        return ERR_OK;
    if (!yyjson_is_int(v) || (yyjson_is_uint(v) && yyjson_get_uint(v) > INT64_MAX) ||
        yyjson_get_sint(v) < min || yyjson_get_sint(v) > max)
        return min == max ? err_param(ei, ERR_INVALID, name, "\"%s\" can only be %lld here", name,
                                      (long long)min)
                          : err_param(ei, ERR_INVALID, name,
                                      "\"%s\" must be a whole number from %lld to %lld", name,
                                      (long long)min, (long long)max);
    *ret = (int)yyjson_get_sint(v);
    return ERR_OK;
}

/* ---- chat ---- */

static const struct {
    const char *name;
    float min, max;
    size_t offset;
} number_fields[] = {
    {"temperature", 0, 2, offsetof(struct sampler_params, temperature)},
    {"top_p", 0, 1, offsetof(struct sampler_params, top_p)},
    {"min_p", 0, 1, offsetof(struct sampler_params, min_p)},
    {"presence_penalty", -2, 2, offsetof(struct sampler_params, presence)},
    {"frequency_penalty", -2, 2, offsetof(struct sampler_params, frequency)},
    {"repetition_penalty", 0.01f, 10, offsetof(struct sampler_params, repetition)},
    {"repeat_penalty", 0.01f, 10, offsetof(struct sampler_params, repetition)},
};

static enum err get_logit_bias(const json_val *root, struct sampler_params *p, struct errinfo *ei) {
    json_val *v = field(root, "logit_bias"), *key, *value;
    yyjson_obj_iter it;
    if (!v)
        return ERR_OK;
    if (!yyjson_is_obj(v) || yyjson_obj_size(v) > SAMPLER_BIASES)
        return err_param(ei, ERR_INVALID, "logit_bias",
                         "\"logit_bias\" must be an object of at most %d token numbers",
                         SAMPLER_BIASES);
    yyjson_obj_iter_init(v, &it);
    while ((key = yyjson_obj_iter_next(&it)) != NULL) {
        uint64_t token;
        value = yyjson_obj_iter_get_val(key);
        double bias = yyjson_get_num(value);
        if (!str_to_u64(json_str(key), &token) || token > INT32_MAX || !yyjson_is_num(value) ||
            bias < -100 || bias > 100)
            return err_param(ei, ERR_INVALID, "logit_bias",
                             "\"logit_bias\" maps token numbers to values from -100 to 100");
        p->biases[p->n_biases++] = (struct sampler_bias){(int32_t)token, (float)bias};
    }
    return ERR_OK;
}

static enum err get_sampling(const json_val *root, struct chat_request *r, struct errinfo *ei) {
    struct sampler_params *p = &r->sampling;
    sampler_params_init(p);
    for (size_t i = 0; i < sizeof(number_fields) / sizeof(*number_fields); i++) {
        json_val *v = field(root, number_fields[i].name);
        double x = v ? yyjson_get_num(v) : 0;
        if (!v)
            continue;
        if (!yyjson_is_num(v) || !(x >= (double)number_fields[i].min) ||
            !(x <= (double)number_fields[i].max))
            return err_param(ei, ERR_INVALID, number_fields[i].name,
                             "\"%s\" must be a number from %g to %g", number_fields[i].name,
                             (double)number_fields[i].min, (double)number_fields[i].max);
        *(float *)((char *)p + number_fields[i].offset) = (float)x;
    }
    enum err e = get_int(root, "top_k", 0, 1 << 20, &p->top_k, ei);
    json_val *seed = field(root, "seed");
    if (!e && seed) {
        if (!yyjson_is_int(seed))
            return err_param(ei, ERR_INVALID, "seed", "\"seed\" must be a whole number");
        p->seed = yyjson_get_uint(seed); /* a negative one by its bits */
        r->seeded = true;
    }
    bool logprobs = false;
    int top = 0;
    if (!e)
        e = get_bool(root, "logprobs", &logprobs, ei);
    if (!e)
        e = get_int(root, "top_logprobs", 0, SAMPLER_TOP, &top, ei);
    if (!e && top && !logprobs)
        e = err_param(ei, ERR_INVALID, "top_logprobs", "\"top_logprobs\" needs \"logprobs\": true");
    if (logprobs)
        p->logprobs = top;
    return e ? e : get_logit_bias(root, p, ei);
}

/* A string, or a list of {"type":"text","text":…}, joined. */
static enum err get_content(json_val *v, struct arena *a, int at, struct str *ret,
                            struct errinfo *ei) {
    char name[64];
    size_t i, max, total = 0;
    json_val *part;
    snprintf(name, sizeof(name), "messages[%d].content", at);
    if (yyjson_is_str(v))
        return copy_str(a, v, ret, ei);
    if (!yyjson_is_arr(v))
        return err_param(ei, ERR_INVALID, name, "\"%s\" must be a string or a list of text parts",
                         name);
    yyjson_arr_foreach(v, i, max, part) {
        if (!str_eqz(json_get_str(part, "type"), "text") || !json_get_str(part, "text").p)
            return err_param(ei, ERR_INVALID, name,
                             "this model reads text only: each part of \"%s\" must be "
                             "{\"type\": \"text\", \"text\": …}",
                             name);
        total += json_get_str(part, "text").n;
    }
    char *text = arena_alloc(a, total + 1);
    if (!text)
        return err_set(ei, ERR_TOO_LARGE, NULL);
    *ret = (struct str){text, total};
    yyjson_arr_foreach(v, i, max, part) {
        struct str s = json_get_str(part, "text");
        if (s.n)
            memcpy(text, s.p, s.n);
        text += s.n;
    }
    return ERR_OK;
}

static enum err get_message(const json_val *v, struct arena *a, int at, struct model_message *ret,
                            struct errinfo *ei) {
    static const struct {
        const char *name;
        struct str role;
    } roles[] = {
        {"system", {"system", 6}},
        {"developer", {"system", 6}},
        {"user", {"user", 4}},
        {"assistant", {"assistant", 9}},
    };
    char name[64];
    struct str role = json_get_str(v, "role");
    snprintf(name, sizeof(name), "messages[%d].role", at);
    ret->role = STR_NULL;
    for (size_t i = 0; role.p && i < sizeof(roles) / sizeof(*roles); i++)
        if (str_eqz(role, roles[i].name))
            ret->role = roles[i].role;
    if (!ret->role.p)
        return err_param(ei, ERR_INVALID, name,
                         "\"%s\" must be system, developer, user or assistant", name);
    json_val *content = field(v, "content");
    ret->content = STR("");
    if (!content && str_eqz(ret->role, "assistant"))
        return ERR_OK;
    return get_content(content, a, at, &ret->content, ei);
}

static enum err get_messages(const json_val *root, struct arena *a, struct chat_request *r,
                             struct errinfo *ei) {
    json_val *list = field(root, "messages"), *v;
    size_t i, max, n = yyjson_arr_size(list);
    if (!yyjson_is_arr(list) || n == 0 || n > REQUEST_MESSAGES_MAX)
        return err_param(ei, ERR_INVALID, "messages",
                         "\"messages\" must be a list of 1 to %d messages", REQUEST_MESSAGES_MAX);
    r->messages = arena_array(a, n, sizeof(*r->messages));
    if (!r->messages)
        return err_set(ei, ERR_TOO_LARGE, NULL);
    yyjson_arr_foreach(list, i, max, v) {
        enum err e = get_message(v, a, (int)i, &r->messages[i], ei);
        if (e)
            return e;
    }
    r->n_messages = (int)n;
    return ERR_OK;
}

static enum err add_stop(json_val *v, struct arena *a, struct chat_request *r, struct errinfo *ei) {
    struct str s = json_str(v);
    if (!s.p || s.n == 0 || s.n > TEXT_STOP_BYTES_MAX || r->n_stops == TEXT_STOPS_MAX)
        return err_param(ei, ERR_INVALID, "stop",
                         "\"stop\" must be a string or a list of at most %d strings, none empty or "
                         "longer than %d bytes",
                         TEXT_STOPS_MAX, TEXT_STOP_BYTES_MAX);
    return copy_str(a, v, &r->stops[r->n_stops++], ei);
}

static enum err get_stops(const json_val *root, struct arena *a, struct chat_request *r,
                          struct errinfo *ei) {
    json_val *stop = field(root, "stop"), *v;
    size_t i, max;
    if (!stop)
        return ERR_OK;
    if (!yyjson_is_arr(stop))
        return add_stop(stop, a, r, ei);
    yyjson_arr_foreach(stop, i, max, v) {
        enum err e = add_stop(v, a, r, ei);
        if (e)
            return e;
    }
    return ERR_OK;
}

/* FNV-1a, 64 bits; keys of different kinds cannot meet by accident only, which would cost speed and
 * nothing else. */
static uint64_t key_of(struct str s) {
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < s.n; i++)
        h = (h ^ (unsigned char)s.p[i]) * 0x100000001b3u;
    return s.n ? h | 1 : 0;
}

static enum err get_parley(const json_val *root, struct arena *a, struct chat_request *r,
                           struct errinfo *ei) {
    const json_val *p = field(root, "parley");
    struct str conversation = STR_NULL, user = STR_NULL;
    enum err e = get_string(root, "user", a, &user, ei);
    if (!e && p && !yyjson_is_obj((yyjson_val *)p))
        e = err_param(ei, ERR_INVALID, "parley", "\"parley\" must be an object");
    if (!e && p)
        e = get_string(p, "conversation", a, &conversation, ei);
    if (!e && p)
        e = get_string(p, "user", a, &user, ei);
    if (!e && p)
        e = get_bool(p, "continue", &r->proceed, ei);
    if (!e && p)
        e = get_bool(p, "wait", &r->wait, ei);
    if (!e && p)
        e = get_bool(p, "background", &r->background, ei);
    if (!e && p)
        e = get_int(p, "wait_ms", 0, DEADLINE_MAX_MS, &r->wait_ms, ei);
    if (!e && p)
        e = get_int(p, "deadline_ms", 0, DEADLINE_MAX_MS, &r->deadline_ms, ei);
    r->conversation = key_of(conversation);
    r->user = key_of(user);
    if (!e && r->proceed && !str_eqz(r->messages[r->n_messages - 1].role, "assistant"))
        e = err_param(ei, ERR_INVALID, "parley.continue",
                      "\"continue\" needs the assistant's partial answer as the last message");
    return e;
}

/* {"type":"text"}, {"type":"json_object"} or {"type":"json_schema","json_schema":{"schema":…}}. The
 * schema itself is read by json_schema.h. */
static enum err get_format(const json_val *root, struct arena *a, struct chat_request *r,
                           struct errinfo *ei) {
    json_val *format = field(root, "response_format"), *schema;
    struct str type = json_get_str(format, "type");
    struct buf text;
    if (!format || str_eqz(type, "text"))
        return ERR_OK;
    r->format = str_eqz(type, "json_object") ? FORMAT_OBJECT : FORMAT_SCHEMA;
    if (r->format == FORMAT_OBJECT)
        return ERR_OK;
    if (!str_eqz(type, "json_schema"))
        return err_param(ei, ERR_INVALID, "response_format",
                         "\"response_format.type\" must be text, json_object or json_schema");
    schema = field(field(format, "json_schema"), "schema");
    if (!yyjson_is_obj(schema) && !yyjson_is_bool(schema))
        return err_param(ei, ERR_INVALID, "response_format",
                         "\"response_format.json_schema.schema\" must be a JSON Schema");
    buf_init(&text, REQUEST_SCHEMA_MAX);
    json_write(&text, schema);
    enum err e = buf_err(&text);
    if (!e)
        r->schema = arena_str(a, buf_str(&text));
    buf_deinit(&text);
    return e || !r->schema.p ? err_param(ei, ERR_TOO_LARGE, "response_format",
                                         "the schema is longer than %d bytes", REQUEST_SCHEMA_MAX)
                             : ERR_OK;
}

static enum err get_rest(const json_val *root, struct arena *a, struct chat_request *r,
                         struct errinfo *ei) {
    int n = 1;
    enum err e = get_bool(root, "stream", &r->stream, ei);
    json_val *options = field(root, "stream_options");
    if (!e && options)
        e = get_bool(options, "include_usage", &r->include_usage, ei);
    if (!e)
        e = get_int(root, "max_tokens", 1, INT32_MAX, &r->max_tokens, ei);
    if (!e)
        e = get_int(root, "max_completion_tokens", 1, INT32_MAX, &r->max_tokens, ei);
    if (!e)
        e = get_int(root, "n", 1, 1, &n, ei);
    if (!e)
        e = get_format(root, a, r, ei);
    return e ? e : get_stops(root, a, r, ei);
}

enum err chat_request_parse(struct str body, struct arena *a, struct chat_request *ret,
                            struct errinfo *ei) {
    struct chat_request *r = arena_alloc(a, sizeof(*r));
    yyjson_doc *doc;
    if (!r)
        return err_set(ei, ERR_NOMEM, NULL);
    enum err e = parse_object(body, &doc, ei);
    if (e)
        return e;
    const json_val *root = yyjson_doc_get_root(doc);
    r->deadline_ms = -1;
    e = get_string(root, "model", a, &r->model, ei);
    if (!e)
        e = get_messages(root, a, r, ei);
    if (!e)
        e = get_sampling(root, r, ei);
    if (!e)
        e = get_rest(root, a, r, ei);
    if (!e)
        e = get_parley(root, a, r, ei);
    if (!e)
        *ret = *r;
    yyjson_doc_free(doc);
    return e;
}

/* ---- embeddings ---- */

static enum err input_error(struct errinfo *ei) {
    return err_param(
        ei, ERR_INVALID, "input",
        "\"input\" must be a string, a list of 1 to %d strings, or one or more lists of "
        "token numbers",
        REQUEST_TEXTS_MAX);
}

static enum err get_tokens(json_val *v, struct arena *a, struct embed_input *ret,
                           struct errinfo *ei) {
    size_t i, max, n = yyjson_arr_size(v);
    json_val *t;
    if (n == 0 || n > 1 << 20)
        return input_error(ei);
    ret->tokens = arena_array(a, n, sizeof(*ret->tokens));
    if (!ret->tokens)
        return err_set(ei, ERR_TOO_LARGE, NULL);
    yyjson_arr_foreach(v, i, max, t) {
        if (!yyjson_is_uint(t) || yyjson_get_uint(t) > INT32_MAX)
            return input_error(ei);
        ret->tokens[i] = (int32_t)yyjson_get_uint(t);
    }
    ret->n_tokens = (int)n;
    return ERR_OK;
}

static enum err get_input(json_val *v, struct arena *a, struct embed_input *ret,
                          struct errinfo *ei) {
    if (yyjson_is_str(v))
        return yyjson_get_len(v) ? copy_str(a, v, &ret->text, ei) : input_error(ei);
    return yyjson_is_arr(v) ? get_tokens(v, a, ret, ei) : input_error(ei);
}

static enum err get_inputs(const json_val *root, struct arena *a, struct embed_request *r,
                           struct errinfo *ei) {
    json_val *input = field(root, "input"), *v;
    size_t i, max;
    bool list = yyjson_is_arr(input) && !yyjson_is_int(yyjson_arr_get_first(input));
    size_t n = list ? yyjson_arr_size(input) : 1;
    if (!input || n == 0 || n > REQUEST_TEXTS_MAX)
        return input_error(ei);
    r->inputs = arena_array(a, n, sizeof(*r->inputs));
    if (!r->inputs)
        return err_set(ei, ERR_TOO_LARGE, NULL);
    r->n_inputs = (int)n;
    if (!list)
        return get_input(input, a, r->inputs, ei);
    yyjson_arr_foreach(input, i, max, v) {
        enum err e = get_input(v, a, &r->inputs[i], ei);
        if (e)
            return e;
    }
    return ERR_OK;
}

enum err embed_request_parse(struct str body, struct arena *a, struct embed_request *ret,
                             struct errinfo *ei) {
    struct embed_request r = {0};
    struct str format = STR_NULL, layers_of = STR_NULL;
    yyjson_doc *doc;
    enum err e = parse_object(body, &doc, ei);
    if (e)
        return e;
    const json_val *root = yyjson_doc_get_root(doc);
    e = get_string(root, "model", a, &r.model, ei);
    if (!e)
        e = get_inputs(root, a, &r, ei);
    if (!e)
        e = get_int(root, "dimensions", 1, 1 << 20, &r.dimensions, ei);
    if (!e)
        e = get_string(root, "encoding_format", a, &format, ei);
    if (!e && format.p && !str_eqz(format, "float") && !str_eqz(format, "base64"))
        e = err_param(ei, ERR_INVALID, "encoding_format",
                      "\"encoding_format\" must be float or base64");
    r.base64 = str_eqz(format, "base64");
    const json_val *parley = field(root, "parley");
    if (!e && parley && !yyjson_is_obj((json_val *)parley))
        e = err_param(ei, ERR_INVALID, "parley", "\"parley\" must be an object");
    if (!e && parley)
        e = get_bool(parley, "background", &r.background, ei);
    if (!e && parley)
        e = get_string(parley, "layers_of", a, &layers_of, ei);
    r.layers = str_eqz(layers_of, LAYERS_OF);
    if (!e)
        *ret = r;
    yyjson_doc_free(doc);
    return e;
}

enum err count_request_parse(struct str body, struct arena *a, struct count_request *ret,
                             struct errinfo *ei) {
    struct count_request r = {0};
    yyjson_doc *doc;
    size_t i, max;
    json_val *v;
    enum err e = parse_object(body, &doc, ei);
    if (e)
        return e;
    const json_val *root = yyjson_doc_get_root(doc);
    json_val *list = field(root, "texts");
    e = get_string(root, "model", a, &r.model, ei);
    if (!e && !yyjson_is_arr(list))
        e = err_param(ei, ERR_INVALID, "texts", "\"texts\" must be a list of strings");
    if (!e) {
        r.n_texts = (int)yyjson_arr_size(list);
        r.texts = arena_array(a, (size_t)r.n_texts + 1, sizeof(*r.texts));
        if (!r.texts)
            e = err_set(ei, ERR_TOO_LARGE, NULL);
    }
    if (!e)
        yyjson_arr_foreach(list, i, max, v) {
            if (!yyjson_is_str(v))
                e = err_param(ei, ERR_INVALID, "texts", "\"texts\" must be a list of strings");
            else
                e = copy_str(a, v, &r.texts[i], ei);
            if (e)
                break;
        }
    if (!e)
        *ret = r;
    yyjson_doc_free(doc);
    return e;
}
