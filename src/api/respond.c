/* The shape of errors, the headers of every answer, and the page. */
#include <stdio.h>

#include "api/assets.h"
#include "api/call.h"

#define RETRY_DEFAULT_S 2

void respond_error_json(struct buf *b, enum err e, const struct errinfo *ei) {
    bool told = ei && ei->message[0];
    out_open(b, NULL, '{');
    out_open(b, "error", '{');
    out_strz(b, "message", told ? ei->message : err_text(e));
    out_strz(b, "type", err_type(e));
    out_text_or_null(b, "param", told ? str_from(ei->param) : STR_NULL);
    out_strz(b, "code", err_code(e));
    out_close(b, '}');
    out_close(b, '}');
}

void api_error_body(struct buf *out, enum err e, const char *message, const char *request_id) {
    struct errinfo ei = {.code = e};
    (void)request_id; /* the header x-request-id has it */
    snprintf(ei.message, sizeof ei.message, "%s", message ? message : err_text(e));
    respond_error_json(out, e, &ei);
}

void respond_api_headers(struct http_request *r) {
    http_set_header(r, "Cache-Control", "no-store");
    http_set_header(r, "X-Content-Type-Options", "nosniff");
    http_set_header(r, "Referrer-Policy", "no-referrer");
}

void respond_retry_after(struct http_request *r, uint32_t ms) {
    uint32_t seconds = ms ? ms / 1000 + (ms % 1000 != 0) : RETRY_DEFAULT_S;
    char text[16];
    snprintf(text, sizeof text, "%u", seconds);
    http_set_header(r, "Retry-After", text);
}

void respond_error(struct http_request *r, enum err e, const struct errinfo *ei) {
    struct buf b;
    buf_init(&b, 8192);
    respond_error_json(&b, e, ei);
    respond_api_headers(r);
    if (err_http_status(e) == 429 || err_http_status(e) == 503)
        respond_retry_after(r, ei ? ei->retry_after_ms : 0);
    http_reply(r, err_http_status(e), "application/json", buf_str(&b));
    buf_deinit(&b);
}

enum err respond_err_from_code(struct str code) {
    for (int e = ERR_OK + 1; e < ERR_COUNT; e++)
        if (str_eqz(code, err_code((enum err)e)))
            return (enum err)e;
    return ERR_INTERNAL;
}

/* ---- the page ---- */

static bool accepts_gzip(struct str accept) {
    while (accept.n) {
        struct str item = str_trim(str_cut(&accept, ','));
        struct str name = str_trim(str_cut(&item, ';'));
        item = str_trim(item);
        if (!str_eq_nocase(name, STR("gzip")) && !str_eq(name, STR("*")))
            continue;
        double q = 1;
        if (str_starts(item, STR("q=")) && !str_to_double(str_sub(item, 2, item.n), &q))
            q = 0;
        return q > 0;
    }
    return false;
}

void respond_page(struct http_request *r) {
    const struct asset *a = asset_find(http_path(r));
    if (!a) {
        struct errinfo ei;
        respond_error(r, err_set(&ei, ERR_NOT_FOUND, "there is nothing at this address"), &ei);
        return;
    }
    bool gzip = a->gzip.n && accepts_gzip(http_header(r, "Accept-Encoding"));
    http_set_header(r, "Content-Security-Policy", ASSET_CSP);
    http_set_header(r, "X-Content-Type-Options", "nosniff");
    http_set_header(r, "Referrer-Policy", "no-referrer");
    http_set_header(r, "Cross-Origin-Opener-Policy", "same-origin");
    http_set_header(r, "Vary", "Accept-Encoding");
    http_set_header(r, "ETag", a->etag);
    http_set_header(r, "Cache-Control",
                    a->immutable ? "public, max-age=31536000, immutable" : "no-cache");
    if (asset_etag_matches(a, http_header(r, "If-None-Match"))) {
        http_reply(r, 304, a->content_type, STR_NULL);
        return;
    }
    if (gzip)
        http_set_header(r, "Content-Encoding", "gzip");
    http_reply(r, 200, a->content_type, gzip ? a->gzip : a->body);
}
