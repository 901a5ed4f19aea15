/* The page's files, embedded in the binary.
 *
 * cmake/embed-page.cmake makes the table from web/dist; nothing here reads a file. All strings are
 * static and live as long as the program. Any thread may call.
 *
 * How a row is to be served:
 *   - the body as it is, or `gzip` with `Content-Encoding: gzip` when the client accepts that and
 *     gzip.n is not 0; either way `Vary: Accept-Encoding`;
 *   - `ETag` as it stands (quotes included); asset_etag_matches() says whether to answer 304;
 *   - `Cache-Control: public, max-age=31536000, immutable` for immutable rows (their content's hash
 *     is in the name), `no-cache` for the others;
 *   - with ASSET_CSP and `X-Content-Type-Options: nosniff`, `Referrer-Policy: no-referrer`. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/str.h"

/* What the page may do: nothing but talk to the server it came from. */
#define ASSET_CSP                                                                                  \
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "              \
    "connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'self'; "                   \
    "frame-ancestors 'none'"

struct asset {
    struct str path;          /* "/assets/main-3f2a.js"; the first bytes are always '/' */
    const char *content_type; /* with charset */
    const char *etag;         /* strong, with its quotes */
    struct str body;
    struct str gzip; /* n is 0 when compression gains nothing */
    bool immutable;
};

/* The file at a request's path. "/" and every unknown path are the page itself (/index.html): it
 * routes by itself, so that a reload at /c/… works. NULL for what is not the page's to answer:
 * unknown paths below /api/, /v1/ and /assets/, and unknown names with an extension at the top
 * (/robots.txt). */
const struct asset *asset_find(struct str path);

/* True when an If-None-Match header (may be empty) names this asset's ETag, weak or strong, or "*".
 */
bool asset_etag_matches(const struct asset *a, struct str if_none_match);

/* The table, sorted by path bytewise; made at build time. */
extern const struct asset asset_table[];
extern const size_t asset_table_count;
