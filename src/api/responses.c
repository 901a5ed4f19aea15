/* The objects and events of the Responses API as JSON: see responses.h. */
#include "api/responses.h"

#include <stdlib.h>
#include <string.h>

#include "net/sse.h"

#define PREFIX     "resp_"
#define EVENT_MAX  ((size_t)16 << 20)
#define TIME_CHARS 12 /* of a UUIDv7: the milliseconds in hex, with the dash between */

bool response_id_parse(struct str s, struct uuid *ret) {
    return str_starts(s, STR(PREFIX)) && uuid_parse(str_sub(s, sizeof PREFIX - 1, SIZE_MAX), ret);
}

static void add_id(struct buf *b, const char *key, const char *prefix, const struct uuid *id) {
    char text[8 + UUID_LEN + 1];
    size_t n = strlen(prefix);
    memcpy(text, prefix, n);
    memcpy(text + n, id->s, UUID_LEN);
    out_str(b, key, (struct str){text, n + UUID_LEN});
}

static int64_t seconds_of(const struct uuid *id) {
    char hex[TIME_CHARS + 1];
    memcpy(hex, id->s, 8);
    memcpy(hex + 8, id->s + 9, 4);
    hex[TIME_CHARS] = 0;
    return (int64_t)(strtoull(hex, NULL, 16) / 1000);
}

static const char *status_of(const struct response *r) {
    struct str s = json_get_str(r->message, "status");
    struct str reason = json_get_str(r->message, "finish_reason");
    if (str_eqz(s, "complete"))
        return str_eqz(reason, "length") || str_eqz(reason, "content_filter") ? "incomplete"
                                                                              : "completed";
    if (str_eqz(s, "stopped"))
        return "cancelled";
    return str_eqz(s, "streaming") ? "in_progress" : "failed";
}

static void write_part(struct buf *b, const char *key, struct str text) {
    out_open(b, key, '{');
    out_strz(b, "type", "output_text");
    out_str(b, "text", text);
    out_open(b, "annotations", '[');
    out_close(b, ']');
    out_open(b, "logprobs", '[');
    out_close(b, ']');
    out_close(b, '}');
}

static void write_item(struct buf *b, const char *key, const struct response *r, bool over) {
    out_open(b, key, '{');
    add_id(b, "id", "msg_", &r->id);
    out_strz(b, "type", "message");
    out_strz(b, "status",
             !over                                    ? "in_progress"
             : strcmp(status_of(r), "completed") == 0 ? "completed"
                                                      : "incomplete");
    out_strz(b, "role", "assistant");
    out_open(b, "content", '[');
    if (over)
        write_part(b, NULL, json_get_str(r->message, "content"));
    out_close(b, ']');
    out_close(b, '}');
}

static void write_usage(struct buf *b, const json_val *usage) {
    int64_t in = json_get_int(usage, "prompt_tokens", 0);
    int64_t out = json_get_int(usage, "completion_tokens", 0);
    if (!usage || yyjson_is_null((json_val *)usage)) {
        out_null(b, "usage");
        return;
    }
    out_open(b, "usage", '{');
    out_int(b, "input_tokens", in);
    out_raw(b, "input_tokens_details", STR("{\"cached_tokens\":0}"));
    out_int(b, "output_tokens", out);
    out_raw(b, "output_tokens_details", STR("{\"reasoning_tokens\":0}"));
    out_int(b, "total_tokens", in + out);
    out_close(b, '}');
}

static void write_errors(struct buf *b, const struct response *r, const char *status) {
    if (strcmp(status, "failed") == 0) {
        struct str why = json_get_str(r->message, "error");
        out_open(b, "error", '{');
        out_strz(b, "code", "server_error");
        out_str(b, "message", why.n ? why : STR("the answer broke off"));
        out_close(b, '}');
    } else {
        out_null(b, "error");
    }
    bool filtered = str_eqz(json_get_str(r->message, "finish_reason"), "content_filter");
    out_raw(b, "incomplete_details",
            strcmp(status, "incomplete") != 0 ? STR("null")
            : filtered                        ? STR("{\"reason\":\"content_filter\"}")
                                              : STR("{\"reason\":\"max_output_tokens\"}"));
}

static void write_as(struct buf *b, const char *key, const struct response *r, bool over) {
    const char *status = over ? status_of(r) : "in_progress";
    out_open(b, key, '{');
    add_id(b, "id", PREFIX, &r->id);
    out_strz(b, "object", "response");
    out_int(b, "created_at", seconds_of(&r->id));
    out_strz(b, "status", status);
    write_errors(b, r, status);
    out_null(b, "instructions");
    out_null(b, "max_output_tokens");
    out_str(b, "model", json_get_str(r->message, "model"));
    out_open(b, "output", '[');
    if (over)
        write_item(b, NULL, r, true);
    out_close(b, ']');
    out_bool(b, "parallel_tool_calls", true);
    if (uuid_is_set(&r->previous))
        add_id(b, "previous_response_id", PREFIX, &r->previous);
    else
        out_null(b, "previous_response_id");
    out_bool(b, "store", true);
    out_null(b, "temperature");
    out_null(b, "top_p");
    out_raw(b, "text", STR("{\"format\":{\"type\":\"text\"}}"));
    out_strz(b, "tool_choice", "auto");
    out_raw(b, "tools", STR("[]"));
    out_strz(b, "truncation", "auto");
    write_usage(b, over ? json_get(r->message, "usage") : NULL);
    out_raw(b, "metadata", STR("{}"));
    out_close(b, '}');
}

void response_write(struct buf *b, const struct response *r) {
    write_as(b, NULL, r, !str_eqz(json_get_str(r->message, "status"), "streaming"));
}

/* ---- events ---- */

static void open_event(struct buf *json, const char *type, int64_t sequence) {
    buf_init(json, EVENT_MAX);
    out_open(json, NULL, '{');
    out_strz(json, "type", type);
    out_int(json, "sequence_number", sequence);
}

static void close_event(struct buf *b, struct buf *json, const char *type) {
    out_close(json, '}');
    if (buf_err(json))
        b->err = buf_err(json);
    else
        sse_write(b, -1, type, buf_str(json));
    buf_deinit(json);
}

static void whole_event(struct buf *b, const struct response *r, const char *type, int64_t sequence,
                        bool over) {
    struct buf json;
    open_event(&json, type, sequence);
    write_as(&json, "response", r, over);
    close_event(b, &json, type);
}

static void item_event(struct buf *b, const struct response *r, const char *type, int64_t sequence,
                       bool over) {
    struct buf json;
    open_event(&json, type, sequence);
    out_int(&json, "output_index", 0);
    write_item(&json, "item", r, over);
    close_event(b, &json, type);
}

static void text_event(struct buf *b, const struct response *r, const char *type, int64_t sequence,
                       const char *key, struct str text) {
    struct buf json;
    open_event(&json, type, sequence);
    add_id(&json, "item_id", "msg_", &r->id);
    out_int(&json, "output_index", 0);
    out_int(&json, "content_index", 0);
    if (strcmp(key, "part") == 0) {
        write_part(&json, key, text);
    } else {
        out_str(&json, key, text);
        out_raw(&json, "logprobs", STR("[]"));
    }
    close_event(b, &json, type);
}

void response_write_beginning(struct buf *b, const struct response *r, int64_t after) {
    if (after < 0)
        whole_event(b, r, "response.created", 0, false);
    if (after < 1)
        whole_event(b, r, "response.in_progress", 1, false);
    if (after < 2)
        item_event(b, r, "response.output_item.added", 2, false);
    if (after < 3)
        text_event(b, r, "response.content_part.added", 3, "part", STR(""));
}

void response_write_delta(struct buf *b, const struct response *r, int64_t sequence,
                          struct str text) {
    text_event(b, r, "response.output_text.delta", sequence, "delta", text);
}

void response_write_end(struct buf *b, const struct response *r, int64_t sequence, int64_t after) {
    struct str text = json_get_str(r->message, "content");
    const char *status = status_of(r);
    const char *type = strcmp(status, "completed") == 0   ? "response.completed"
                       : strcmp(status, "failed") == 0    ? "response.failed"
                       : strcmp(status, "cancelled") == 0 ? "response.cancelled"
                                                          : "response.incomplete";
    if (after < sequence)
        text_event(b, r, "response.output_text.done", sequence, "text", text);
    if (after < sequence + 1)
        text_event(b, r, "response.content_part.done", sequence + 1, "part", text);
    if (after < sequence + 2)
        item_event(b, r, "response.output_item.done", sequence + 2, true);
    whole_event(b, r, type, sequence + 3, true);
}
