/* Fetches what strangers name: one document by http(s), blocking, for threads of the background.
 *
 * Nothing that is not of the open internet is connected to (net/address.h) unless `allow_private`:
 * the address is checked when its socket is made, after names are resolved, for each redirect anew.
 * No proxy is used, for behind one the address would not be ours to see. No cookie is kept, no
 * credential sent. Time, redirects (5) and bytes are limited. */
#pragma once

#include <stdatomic.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

struct fetch {
    const char *url;
    bool allow_private;
    size_t max_bytes;          /* of the body; more is ERR_TOO_LARGE */
    int total_ms;              /* of everything, 0 = 30,000 */
    const char *etag;          /* for If-None-Match; "" or NULL = none */
    const char *last_modified; /* for If-Modified-Since; "" or NULL = none */
    const char *accept;        /* NULL = anything */
    const atomic_bool *stop;   /* set: give up; may be NULL */
};

struct fetched {
    int status;             /* 200, 304, 404 … */
    char url[2048];         /* after redirects */
    char content_type[200]; /* "" = not said */
    char etag[256], last_modified[64];
    int64_t retry_after_ms; /* -1 = not said */
    struct buf body;        /* owned: fetched_free() */
};

/* ERR_OK for every complete answer. Else ei says in a sentence for people what went wrong:
 * ERR_FORBIDDEN (an address that may not be reached), ERR_INVALID (no http URL), ERR_TIMEOUT,
 * ERR_TOO_LARGE, ERR_UNAVAILABLE (cannot be reached), ERR_UPSTREAM, ERR_CANCELLED, ERR_NOMEM. */
enum err fetch_run(const struct fetch *f, struct fetched *ret, struct errinfo *ei) ERR_CHECK;
void fetched_free(struct fetched *r);

/* The host of a URL with its port ("example.org:443"), lower case; false when it is no http URL.
 * origin (may be NULL) gets "https://example.org:443". */
bool fetch_host(const char *url, char *host, size_t size, char *origin, size_t origin_size);
/* A reference as it stands in a document at base, made absolute, without its fragment. */
bool fetch_resolve(const char *base, const char *reference, char *out, size_t size);
