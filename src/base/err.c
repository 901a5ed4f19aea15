/* The error table's look-ups and the filling of struct errinfo. Never logs. */
#include "base/err.h"

#include <stdio.h>
#include <string.h>

#include "base/str.h"

static const struct {
    int status;
    const char *name, *type, *code, *text;
} table[] = {
#define X(name, status, type, code, text) [name] = {status, #name, type, code, text},
    ERR_TABLE(X)
#undef X
};

/* A value from outside the enum (from the wire, say) reads as an internal error. */
static size_t row(enum err e) {
    return (unsigned)e < ERR_COUNT ? (size_t)e : (size_t)ERR_INTERNAL;
}

int err_http_status(enum err e) {
    return table[row(e)].status;
}

const char *err_name(enum err e) {
    return table[row(e)].name;
}

const char *err_type(enum err e) {
    return table[row(e)].type;
}

const char *err_code(enum err e) {
    return table[row(e)].code;
}

const char *err_text(enum err e) {
    return table[row(e)].text;
}

/* Formats into dst; what vsnprintf cut in the middle of a UTF-8 sequence is cut before it. */
static void format(char *dst, size_t size, const char *fmt, va_list ap) {
    int n = vsnprintf(dst, size, fmt, ap);
    if (n < 0)
        dst[0] = 0;
    else if ((size_t)n >= size)
        dst[utf8_complete((struct str){dst, size - 1})] = 0;
}

static void fill(struct errinfo *ei, enum err e, const char *param, const char *fmt, va_list ap) {
    if (!ei)
        return;
    ei->code = e;
    ei->retry_after_ms = 0;
    size_t n = strlen(param);
    n = utf8_cut((struct str){param, n}, sizeof ei->param - 1);
    memcpy(ei->param, param, n);
    ei->param[n] = 0;
    if (fmt)
        format(ei->message, sizeof ei->message, fmt, ap);
    else
        snprintf(ei->message, sizeof ei->message, "%s", err_text(e));
}

enum err err_set(struct errinfo *ei, enum err e, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    fill(ei, e, "", fmt, ap);
    va_end(ap);
    return e;
}

enum err err_param(struct errinfo *ei, enum err e, const char *param, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    fill(ei, e, param ? param : "", fmt, ap);
    va_end(ap);
    return e;
}
