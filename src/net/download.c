/* Blocking download over libcurl's easy interface; see download.h. */
#include "net/download.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <curl/curl.h>

#define TRIES_MAX       4
#define CONNECT_TIMEOUT 20L
#define STALLED_SECONDS 60L

struct transfer {
    const struct download *download;
    int fd;
    int64_t have;       /* bytes in the file */
    enum err write_err; /* why on_data() ended the transfer */
};

static size_t on_data(char *p, size_t size, size_t n, void *ctx) {
    struct transfer *t = ctx;
    size_t total = size * n, done = 0;
    if ((int64_t)total > t->download->size - t->have) {
        t->write_err = ERR_TOO_LARGE;
        return 0;
    }
    while (done < total) {
        ssize_t w = write(t->fd, p + done, total - done);
        if (w < 0 && errno == EINTR)
            continue;
        if (w < 0) {
            t->write_err = errno == ENOSPC || errno == EDQUOT ? ERR_DISK_FULL : ERR_IO;
            return 0;
        }
        done += (size_t)w;
    }
    t->have += (int64_t)total;
    if (t->download->progress)
        t->download->progress(t->download->ctx, t->have);
    return total;
}

/* The library does not read these variables itself, only the curl command does. */
static const char *certificates(void) {
    const char *path = getenv("CURL_CA_BUNDLE");
    if (!path || !*path)
        path = getenv("SSL_CERT_FILE");
    return path && *path ? path : NULL;
}

static CURL *curl_prepare(struct transfer *t, char *error) {
    CURL *c = curl_easy_init();
    if (!c)
        return NULL;
    curl_easy_setopt(c, CURLOPT_URL, t->download->url);
    curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(c, CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 1L);
    curl_easy_setopt(c, CURLOPT_MAXREDIRS, 5L);
    curl_easy_setopt(c, CURLOPT_FAILONERROR, 1L);
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_USERAGENT, "parley/" PARLEY_VERSION);
    curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT, CONNECT_TIMEOUT);
    curl_easy_setopt(c, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(c, CURLOPT_LOW_SPEED_TIME, STALLED_SECONDS);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_data);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, t);
    curl_easy_setopt(c, CURLOPT_ERRORBUFFER, error);
    if (certificates())
        curl_easy_setopt(c, CURLOPT_CAINFO, certificates());
    return c;
}

static bool worth_another_try(CURLcode code) {
    return code == CURLE_RECV_ERROR || code == CURLE_PARTIAL_FILE || code == CURLE_GOT_NOTHING ||
           code == CURLE_SEND_ERROR || code == CURLE_OPERATION_TIMEDOUT ||
           code == CURLE_HTTP2_STREAM || code == CURLE_HTTP2;
}

static enum err explain(const struct transfer *t, CURLcode code, const char *error,
                        struct errinfo *ei) {
    const char *detail = *error ? error : curl_easy_strerror(code);
    if (t->write_err == ERR_DISK_FULL)
        return err_set(ei, ERR_DISK_FULL, NULL);
    if (t->write_err == ERR_TOO_LARGE)
        return err_set(ei, ERR_TOO_LARGE, "%s sends more than the %lld bytes the file has",
                       t->download->url, (long long)t->download->size);
    if (t->write_err)
        return err_set(ei, t->write_err, "cannot write %s: %s", t->download->path, strerror(errno));
    enum err e = code == CURLE_COULDNT_RESOLVE_HOST || code == CURLE_COULDNT_CONNECT ||
                         code == CURLE_COULDNT_RESOLVE_PROXY
                     ? ERR_UNAVAILABLE
                     : ERR_UPSTREAM;
    return err_set(ei, e, "%s: %s", t->download->url, detail);
}

/* A server that cannot resume sends the whole file: what is there has to go first. */
static bool start_over(struct transfer *t) {
    if (t->have == 0 || ftruncate(t->fd, 0) != 0)
        return false;
    t->have = 0;
    return true;
}

static enum err transfer_run(struct transfer *t, struct errinfo *ei) {
    char error[CURL_ERROR_SIZE] = "";
    CURL *c = curl_prepare(t, error);
    if (!c)
        return err_set(ei, ERR_NOMEM, NULL);
    CURLcode code = CURLE_OK;
    for (int try = 0; try < TRIES_MAX; try++) {
        int64_t before = t->have;
        long status = 0;
        *error = 0;
        curl_easy_setopt(c, CURLOPT_RESUME_FROM_LARGE, (curl_off_t)t->have);
        code = curl_easy_perform(c);
        curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &status);
        bool cannot_resume = code == CURLE_RANGE_ERROR || status == 416;
        if (code == CURLE_OK || t->write_err)
            break;
        if (cannot_resume ? !start_over(t) : !worth_another_try(code))
            break;
        if (t->have > before) /* it is getting on: such a break does not use up a try */
            try = 0;
    }
    curl_easy_cleanup(c);
    if (code == CURLE_OK && t->have < t->download->size)
        return err_set(ei, ERR_UPSTREAM, "%s ended after %lld of %lld bytes", t->download->url,
                       (long long)t->have, (long long)t->download->size);
    return code == CURLE_OK ? ERR_OK : explain(t, code, error, ei);
}

enum err download_file(const struct download *d, struct errinfo *ei) {
    struct transfer t = {.download = d};
    struct stat st;
    t.fd = open(d->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (t.fd < 0 || fstat(t.fd, &st) != 0) {
        if (t.fd >= 0)
            close(t.fd);
        return err_set(ei, ERR_IO, "cannot write %s: %s", d->path, strerror(errno));
    }
    t.have = st.st_size;
    enum err e = ERR_OK;
    if (t.have > d->size && !start_over(&t))
        e = err_set(ei, ERR_IO, "cannot write %s: %s", d->path, strerror(errno));
    else if (t.have < d->size)
        e = transfer_run(&t, ei);
    if (close(t.fd) != 0 && e == ERR_OK)
        e = err_set(ei, errno == ENOSPC ? ERR_DISK_FULL : ERR_IO, "cannot write %s: %s", d->path,
                    strerror(errno));
    return e;
}
