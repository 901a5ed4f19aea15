/* Downloads one file and goes on where an earlier try stopped. It blocks: for terminal commands
 * only, never on an event loop. What arrived is not trusted here; the caller checks its hash. */
#pragma once

#include "base/err.h"

struct download {
    const char *url;  /* http:// or https://; up to five redirects are followed */
    const char *path; /* appended to; what it holds already is taken as the start of the file */
    int64_t size;     /* the whole file's bytes: more than this is refused */
    void (*progress)(void *ctx, int64_t have); /* may be NULL */
    void *ctx;
};

/* Proxies come from the environment (https_proxy …), certificates from CURL_CA_BUNDLE or
 * SSL_CERT_FILE, else from the system. A connection that breaks is taken up again up to three
 * times. ERR_UPSTREAM when the other side fails or answers with an error, ERR_UNAVAILABLE when it
 * cannot be reached, ERR_DISK_FULL, ERR_IO, ERR_TOO_LARGE; ei names the host. What has arrived
 * stays in path. */
enum err download_file(const struct download *d, struct errinfo *ei) ERR_CHECK;
