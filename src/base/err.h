/* Errors: one table gives each error its name, HTTP status, API type and code.
 *
 * Fallible functions return enum err (0 = ok). Results leave through trailing ret_ pointers, which
 * are untouched on failure. The sentence for people goes into a struct errinfo that the caller
 * owns; code matches on the enum and never on the text. The layer that decides logs, once. */
#pragma once

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

/* clang-format off */
/*    name              HTTP  API error type             API error code           default text */
#define ERR_TABLE(X)                                                                                \
    X(ERR_OK,           200, "",                       "",                       "ok")              \
    X(ERR_INVALID,      400, "invalid_request_error",  "invalid_value",          "the request is not valid") \
    X(ERR_JSON,         400, "invalid_request_error",  "invalid_json",           "the body is not valid JSON") \
    X(ERR_UNKNOWN_FIELD,400, "invalid_request_error",  "unknown_field",          "a field is not known here") \
    X(ERR_CONTEXT,      400, "invalid_request_error",  "context_length_exceeded","the prompt is longer than the model's window") \
    X(ERR_UNAUTHORIZED, 401, "authentication_error",   "unauthorized",           "sign in, or send an API key") \
    X(ERR_BAD_KEY,      401, "authentication_error",   "invalid_api_key",        "the API key is unknown or was revoked") \
    X(ERR_FORBIDDEN,    403, "permission_error",       "forbidden",              "this needs an administrator") \
    X(ERR_QUOTA,        403, "permission_error",       "quota_exceeded",         "this is more than one user may keep here") \
    X(ERR_NOT_FOUND,    404, "not_found_error",        "not_found",              "there is no such thing") \
    X(ERR_NO_MODEL,     404, "invalid_request_error",  "model_not_found",        "there is no such model or role") \
    X(ERR_METHOD,       405, "invalid_request_error",  "method_not_allowed",     "this address does not take that method") \
    X(ERR_CONFLICT,     409, "invalid_request_error",  "conflict",               "this is in conflict with what exists") \
    X(ERR_TOO_LARGE,    413, "invalid_request_error",  "too_large",              "the request is too large") \
    X(ERR_MEDIA_TYPE,   415, "invalid_request_error",  "unsupported_media_type", "send Content-Type: application/json") \
    X(ERR_RATE,         429, "rate_limit_error",       "rate_limited",           "too many requests; try again later") \
    X(ERR_OVERLOADED,   429, "overloaded_error",       "overloaded",             "the model is busy; try again later") \
    X(ERR_CANCELLED,    499, "cancelled",              "cancelled",              "the request was stopped") \
    X(ERR_INTERNAL,     500, "server_error",           "internal_error",         "something went wrong inside Parley") \
    X(ERR_NOMEM,        500, "server_error",           "out_of_memory",          "out of memory") \
    X(ERR_IO,           500, "server_error",           "io_error",               "reading or writing failed") \
    X(ERR_CORRUPT,      500, "server_error",           "corrupt",                "stored data is damaged") \
    X(ERR_UPSTREAM,     502, "upstream_error",         "upstream_error",         "the model server failed") \
    X(ERR_UNAVAILABLE,  503, "server_error",           "unavailable",            "not available just now; try again") \
    X(ERR_LOADING,      503, "server_error",           "loading",                "the model is being loaded; try again in a moment") \
    X(ERR_STORE_BUSY,   503, "server_error",           "store_busy",             "the database is locked; try again") \
    X(ERR_READ_ONLY,    503, "server_error",           "read_only",              "the disk takes no writing just now: what is there can be read, nothing new can be kept; try again later") \
    X(ERR_TIMEOUT,      504, "server_error",           "timeout",                "this took too long") \
    X(ERR_DISK_FULL,    507, "server_error",           "disk_full",              "the disk is full; free some space")
/* clang-format on */

enum err {
#define X(name, status, type, code, text) name,
    ERR_TABLE(X)
#undef X
        ERR_COUNT
};

#define ERR_CHECK __attribute__((warn_unused_result))

struct errinfo {
    enum err code;
    uint32_t retry_after_ms; /* 0 = not stated */
    char param[64];          /* the field or option at fault, "" = none */
    char message[512];       /* what is wrong and what to do, UTF-8, NUL-terminated */
};

int err_http_status(enum err e);
const char *err_name(enum err e);
const char *err_type(enum err e);
const char *err_code(enum err e);
const char *err_text(enum err e);

/* Fills *ei (which may be NULL) and returns e, so that a failing function can end with
 * `return err_set(ei, ERR_X, "…")`. A NULL fmt takes the table's text. Cuts at a UTF-8 boundary. */
enum err err_set(struct errinfo *ei, enum err e, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* The same with the field that is at fault. */
enum err err_param(struct errinfo *ei, enum err e, const char *param, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
