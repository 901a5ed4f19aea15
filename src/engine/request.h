/* Reads the bodies of the engine's API: types and ranges are checked, explicit nulls count as
 * absent, unknown fields are ignored. Strings are copied into the arena. Errors are ERR_JSON and
 * ERR_INVALID with the field's name. */
#pragma once

#include "base/arena.h"
#include "engine/model.h"
#include "engine/sampler.h"
#include "engine/text_stream.h"

#define REQUEST_MESSAGES_MAX 2048
#define REQUEST_TEXTS_MAX    2048
#define REQUEST_SCHEMA_MAX   (64 << 10)

enum request_format { FORMAT_TEXT, FORMAT_OBJECT, FORMAT_SCHEMA };

struct chat_request {
    struct str model; /* STR_NULL = not given */
    struct model_message *messages;
    int n_messages;
    bool stream, include_usage;
    bool proceed;    /* the last message is a partial answer to be continued */
    bool wait;       /* in the queue rather than being refused */
    bool background; /* behind everybody else */
    int wait_ms;     /* at most so long, as predicted; 0 = however long */
    int deadline_ms; /* for the first token; 0 = none, -1 = the usual one */
    int max_tokens;  /* 0 = as many as the window holds */
    struct sampler_params sampling;
    bool seeded;
    struct str stops[TEXT_STOPS_MAX];
    int n_stops;
    enum request_format format;
    struct str schema;           /* of FORMAT_SCHEMA, as JSON text */
    uint64_t conversation, user; /* keys, 0 = none */
};
enum err chat_request_parse(struct str body, struct arena *a, struct chat_request *ret,
                            struct errinfo *ei) ERR_CHECK;

struct embed_input { /* a text or its tokens */
    struct str text;
    int32_t *tokens; /* NULL = text */
    int n_tokens;
};
struct embed_request {
    struct str model;
    struct embed_input *inputs;
    int n_inputs;
    bool base64;
    int dimensions;  /* 0 = all */
    bool background; /* "parley": {"background": true} */
    /* "parley": {"layers_of": LAYERS_OF}: those of model_info.layer_numbers, too. Another name asks
     * for what is not here, and nothing is added. */
    bool layers;
};
enum err embed_request_parse(struct str body, struct arena *a, struct embed_request *ret,
                             struct errinfo *ei) ERR_CHECK;

struct count_request {
    struct str model;
    struct str *texts;
    int n_texts;
};
enum err count_request_parse(struct str body, struct arena *a, struct count_request *ret,
                             struct errinfo *ei) ERR_CHECK;
