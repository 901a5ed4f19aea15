/* Structured log: one JSON object a line on stderr, {"ts","level","event","pid","proc",…}.
 * Message contents, prompts, passwords and keys are never logged. Thread-safe; a line is one
 * write(). */
#pragma once

#include "base/err.h"
#include "base/str.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

void log_init(const char *proc, enum log_level min); /* proc: "server", "engine", … (borrowed) */
void log_set_text(bool text); /* one plain line for people instead of JSON (terminal commands) */
enum log_level log_level(void);

/* A field of a log line. Made by the macros below; strings are borrowed for the call. */
struct log_field {
    const char *key;
    enum { LOG_F_END, LOG_F_STR, LOG_F_INT, LOG_F_DOUBLE } kind;
    struct str s;
    int64_t i;
    double d;
};
#define LF_STR(k, v) ((struct log_field){.key = (k), .kind = LOG_F_STR, .s = (v)})
#define LF_Z(k, v)   ((struct log_field){.key = (k), .kind = LOG_F_STR, .s = str_from(v)})
#define LF_INT(k, v) ((struct log_field){.key = (k), .kind = LOG_F_INT, .i = (int64_t)(v)})
#define LF_NUM(k, v) ((struct log_field){.key = (k), .kind = LOG_F_DOUBLE, .d = (v)})
#define LF_ERR(ei)   LF_Z("error", (ei)->message)
#define LF_ID(k, u)  LF_STR(k, uuid_str(u))

void log_event_fields(enum log_level level, const char *event, const struct log_field *fields);

/* log_event(LOG_INFO, "server.ready", LF_Z("address", a), LF_INT("ms", ms)); */
#define log_event(level, event, ...)                                                               \
    log_event_fields(level, event,                                                                 \
                     (const struct log_field[]){__VA_ARGS__ __VA_OPT__(, ){.kind = LOG_F_END}})
