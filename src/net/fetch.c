/* See fetch.h. libcurl follows the redirects; its hook for making sockets is where addresses are
 * judged, because there is no later place. */
#include "net/fetch.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/address.h"

#define TOTAL_DEFAULT 30000L
#define CONNECT_MS    10000L
#define REDIRECTS_MAX 5L
#define AGENT         "parley/" PARLEY_VERSION ""

struct transfer {
    const struct fetch *f;
    struct fetched *out;
    bool refused, too_large;
    long status; /* of the answer whose headers come */
};

static curl_socket_t open_socket(void *ctx, curlsocktype purpose, struct curl_sockaddr *a) {
    struct transfer *t = ctx;
    if (purpose != CURLSOCKTYPE_IPCXN || (!t->f->allow_private && !address_is_public(&a->addr))) {
        t->refused = true;
        return CURL_SOCKET_BAD;
    }
    return socket(a->family, a->socktype | SOCK_CLOEXEC, a->protocol);
}

static size_t on_body(char *p, size_t size, size_t n, void *ctx) {
    struct transfer *t = ctx;
    (void)size;
    buf_add(&t->out->body, p, n);
    t->too_large = t->out->body.err == ERR_TOO_LARGE;
    return t->out->body.err ? 0 : n;
}

static void keep(char *out, size_t size, struct str value) {
    if (value.n < size && utf8_valid(value))
        snprintf(out, size, "%.*s", STR_ARG(value));
}

static size_t on_header(char *p, size_t size, size_t n, void *ctx) {
    struct transfer *t = ctx;
    struct str value = str_trim((struct str){p, n}), name;
    uint64_t seconds;
    (void)size;
    if (str_starts(value, STR("HTTP/"))) { /* of this answer, not of the redirect before */
        t->out->content_type[0] = t->out->etag[0] = t->out->last_modified[0] = 0;
        t->out->retry_after_ms = -1;
        buf_clear(&t->out->body);
        return n;
    }
    name = str_cut(&value, ':');
    value = str_trim(value);
    if (str_eq_nocase(name, STR("content-type")))
        keep(t->out->content_type, sizeof t->out->content_type, value);
    else if (str_eq_nocase(name, STR("etag")))
        keep(t->out->etag, sizeof t->out->etag, value);
    else if (str_eq_nocase(name, STR("last-modified")))
        keep(t->out->last_modified, sizeof t->out->last_modified, value);
    else if (str_eq_nocase(name, STR("retry-after")) && str_to_u64(value, &seconds))
        t->out->retry_after_ms = seconds > 604800 ? 604800000 : (int64_t)seconds * 1000;
    return n;
}

static int on_progress(void *ctx, curl_off_t dl_total, curl_off_t dl, curl_off_t ul_total,
                       curl_off_t ul) {
    struct transfer *t = ctx;
    (void)dl_total, (void)dl, (void)ul_total, (void)ul;
    return t->f->stop && atomic_load(t->f->stop);
}

static struct curl_slist *headers_of(const struct fetch *f) {
    struct curl_slist *list = NULL;
    char line[512];
    snprintf(line, sizeof line, "Accept: %s", f->accept ? f->accept : "*/*");
    list = curl_slist_append(list, line);
    if (f->etag && f->etag[0] && !strpbrk(f->etag, "\r\n")) {
        snprintf(line, sizeof line, "If-None-Match: %s", f->etag);
        list = curl_slist_append(list, line);
    }
    if (f->last_modified && f->last_modified[0] && !strpbrk(f->last_modified, "\r\n")) {
        snprintf(line, sizeof line, "If-Modified-Since: %s", f->last_modified);
        list = curl_slist_append(list, line);
    }
    return list;
}

static void set_options(CURL *c, struct transfer *t, struct curl_slist *headers, char *error) {
    curl_easy_setopt(c, CURLOPT_URL, t->f->url);
    curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(c, CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 1L);
    curl_easy_setopt(c, CURLOPT_MAXREDIRS, REDIRECTS_MAX);
    curl_easy_setopt(c, CURLOPT_PROXY, "");
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_USERAGENT, AGENT);
    curl_easy_setopt(c, CURLOPT_ACCEPT_ENCODING, "");
    curl_easy_setopt(c, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_MS);
    curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, t->f->total_ms ? (long)t->f->total_ms : TOTAL_DEFAULT);
    curl_easy_setopt(c, CURLOPT_OPENSOCKETFUNCTION, open_socket);
    curl_easy_setopt(c, CURLOPT_OPENSOCKETDATA, t);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, t);
    curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(c, CURLOPT_HEADERDATA, t);
    curl_easy_setopt(c, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(c, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(c, CURLOPT_XFERINFODATA, t);
    curl_easy_setopt(c, CURLOPT_ERRORBUFFER, error);
}

static enum err explain(const struct transfer *t, CURLcode code, const char *error,
                        struct errinfo *ei) {
    char host[256];
    const char *detail = *error ? error : curl_easy_strerror(code);
    if (!fetch_host(t->f->url, host, sizeof host, NULL, 0))
        return err_set(ei, ERR_INVALID, "this is no address that begins with http:// or https://");
    if (t->refused)
        return err_set(ei, ERR_FORBIDDEN,
                       "%s leads to an address that is not of the open internet; an "
                       "administrator can allow that for a source",
                       host);
    if (t->too_large)
        return err_set(ei, ERR_TOO_LARGE, "%s sends more than the %zu bytes that are taken", host,
                       t->f->max_bytes);
    switch (code) {
    case CURLE_OPERATION_TIMEDOUT:
        return err_set(ei, ERR_TIMEOUT, "%s did not answer in time", host);
    case CURLE_ABORTED_BY_CALLBACK:
        return err_set(ei, ERR_CANCELLED, NULL);
    case CURLE_OUT_OF_MEMORY:
        return err_set(ei, ERR_NOMEM, NULL);
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_CONNECT:
        return err_set(ei, ERR_UNAVAILABLE, "%s cannot be reached: %s", host, detail);
    default:
        return err_set(ei, ERR_UPSTREAM, "%s: %s", host, detail);
    }
}

enum err fetch_run(const struct fetch *f, struct fetched *ret, struct errinfo *ei) {
    char error[CURL_ERROR_SIZE] = "", host[256];
    struct transfer t = {.f = f, .out = ret};
    *ret = (struct fetched){.retry_after_ms = -1};
    buf_init(&ret->body, f->max_bytes);
    if (!fetch_host(f->url, host, sizeof host, NULL, 0))
        return explain(&t, CURLE_OK, error, ei);
    CURL *c = curl_easy_init();
    struct curl_slist *headers = c ? headers_of(f) : NULL;
    if (!headers) {
        curl_easy_cleanup(c);
        return err_set(ei, ERR_NOMEM, NULL);
    }
    set_options(c, &t, headers, error);
    CURLcode code = curl_easy_perform(c);
    long status = 0;
    char *url = NULL;
    curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(c, CURLINFO_EFFECTIVE_URL, &url);
    ret->status = (int)status;
    snprintf(ret->url, sizeof ret->url, "%s", url ? url : f->url);
    enum err e = ret->body.err == ERR_NOMEM ? err_set(ei, ERR_NOMEM, NULL)
                 : code == CURLE_OK         ? ERR_OK
                                            : explain(&t, code, error, ei);
    curl_slist_free_all(headers);
    curl_easy_cleanup(c);
    return e;
}

void fetched_free(struct fetched *r) {
    buf_deinit(&r->body);
}

/* ---- addresses as text ---- */

static bool get_part(CURLU *u, CURLUPart part, unsigned flags, char *out, size_t size) {
    char *p = NULL;
    bool ok = curl_url_get(u, part, &p, flags) == CURLUE_OK && strlen(p) < size;
    if (ok)
        snprintf(out, size, "%s", p);
    curl_free(p);
    return ok;
}

bool fetch_host(const char *url, char *host, size_t size, char *origin, size_t origin_size) {
    char scheme[16], name[256], port[8];
    CURLU *u = curl_url();
    bool ok = u && curl_url_set(u, CURLUPART_URL, url, 0) == CURLUE_OK &&
              get_part(u, CURLUPART_SCHEME, 0, scheme, sizeof scheme) &&
              get_part(u, CURLUPART_HOST, 0, name, sizeof name) &&
              get_part(u, CURLUPART_PORT, CURLU_DEFAULT_PORT, port, sizeof port) &&
              (strcmp(scheme, "http") == 0 || strcmp(scheme, "https") == 0);
    curl_url_cleanup(u);
    if (!ok)
        return false;
    for (char *p = name; *p; p++)
        if (*p >= 'A' && *p <= 'Z')
            *p = (char)(*p + 32);
    int n = snprintf(host, size, "%s:%s", name, port);
    if (n < 0 || (size_t)n >= size)
        return false;
    if (!origin)
        return true;
    n = snprintf(origin, origin_size, "%s://%s", scheme, host);
    return n > 0 && (size_t)n < origin_size;
}

bool fetch_resolve(const char *base, const char *reference, char *out, size_t size) {
    CURLU *u = curl_url();
    bool ok = u && curl_url_set(u, CURLUPART_URL, base, 0) == CURLUE_OK &&
              (!*reference || curl_url_set(u, CURLUPART_URL, reference, 0) == CURLUE_OK) &&
              curl_url_set(u, CURLUPART_FRAGMENT, NULL, 0) == CURLUE_OK &&
              get_part(u, CURLUPART_URL, 0, out, size);
    curl_url_cleanup(u);
    return ok;
}
