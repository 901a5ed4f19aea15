/* HTTP client, the way for any URL: libcurl's multi interface, told of sockets and times by the
 * loop's event base. libcurl calls on_header and on_body from inside curl_multi_socket_action(),
 * where no handle may be added or removed: see http_client_internal.h. */
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "net/http_client_internal.h"
#include "net/net_internal.h"

#define POOL_MAX       64    /* easy handles kept for the next calls */
#define RECEIVE_BUFFER 8192L /* for each running answer */

struct curl_way {
    struct http_client *client;
    CURLM *multi;
    struct event timer;
    struct sock *reading; /* libcurl is at work on it; NULL: it has let go of it */
    CURL *pool[POOL_MAX];
    int npool;
};

struct curl_call {
    CURL *easy;
    struct curl_slist *headers;
    curl_off_t gone; /* bytes of the body */
    bool added;      /* to the multi handle */
};

_Static_assert(sizeof(((struct http_call *)0)->error) >= CURL_ERROR_SIZE, "libcurl's words fit");

static void easy_give_back(struct curl_way *w, CURL *easy) {
    if (!easy)
        return;
    if (w->npool < POOL_MAX) {
        curl_easy_reset(easy); /* keeps its connections and caches */
        w->pool[w->npool++] = easy;
    } else {
        curl_easy_cleanup(easy);
    }
}

void curl_end(struct http_call *call) {
    struct curl_way *w = call->client->curl;
    struct curl_call *k = call->curl;
    if (k->added)
        curl_multi_remove_handle(w->multi, k->easy); /* closes it if the answer is not complete */
    if (call->sock)
        call->sock->call = NULL;
    curl_slist_free_all(k->headers);
    easy_give_back(w, k->easy);
    free(k);
    call->curl = NULL;
}

static enum err error_of(CURLcode code) {
    switch (code) {
    case CURLE_OK:
        return ERR_OK;
    case CURLE_OPERATION_TIMEDOUT:
        return ERR_TIMEOUT;
    case CURLE_OUT_OF_MEMORY:
        return ERR_NOMEM;
    case CURLE_COULDNT_CONNECT:
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
        return ERR_UNAVAILABLE;
    default:
        return ERR_UPSTREAM;
    }
}

/* ---- driving libcurl ---- */

static struct http_call *call_of(CURL *easy) {
    char *private = NULL;
    curl_easy_getinfo(easy, CURLINFO_PRIVATE, &private);
    return (struct http_call *)(void *)private;
}

static void collect_done(struct curl_way *w) {
    CURLMsg *m;
    int left;
    while ((m = curl_multi_info_read(w->multi, &left))) {
        if (m->msg != CURLMSG_DONE)
            continue;
        struct http_call *call = call_of(m->easy_handle);
        call->nameless = m->data.result == CURLE_COULDNT_RESOLVE_HOST;
        call_finish(call, error_of(m->data.result));
        call_settle_later(call);
    }
}

static void act(struct curl_way *w, curl_socket_t fd, int what) {
    int running;
    curl_multi_socket_action(w->multi, fd, what, &running);
    client_give_gathered(w->client);
    collect_done(w);
}

static struct sock *act_on(struct sock *s, short what) {
    struct curl_way *w = s->client->curl;
    w->reading = s;
    act(w, s->fd,
        (what & EV_READ ? CURL_CSELECT_IN : 0) | (what & EV_WRITE ? CURL_CSELECT_OUT : 0));
    s = w->reading;
    w->reading = NULL;
    return s;
}

enum err curl_begin(struct http_call *call) {
    struct curl_way *w = call->client->curl;
    call->curl->added = curl_multi_add_handle(w->multi, call->curl->easy) == CURLM_OK;
    return call->curl->added ? ERR_OK : ERR_NOMEM;
}

/* ---- libcurl's sockets and times ---- */

static void on_timer(evutil_socket_t fd, short what, void *arg) {
    (void)fd, (void)what;
    act(arg, CURL_SOCKET_TIMEOUT, 0);
}

static void sock_free(struct sock *s) {
    struct curl_way *w = s->client->curl;
    if (w->reading == s)
        w->reading = NULL;
    sock_forget(s);
    free(s);
}

/* Which call's it is now: a kept connection has one after the other. */
static void set_call(struct sock *s, struct http_call *call) {
    if (s->call)
        s->call->sock = NULL;
    if (call && call->sock)
        call->sock->call = NULL;
    s->call = call;
    if (call)
        call->sock = s;
}

/* A socket that cannot be watched ends its call alone: an error from socket_cb() would end all. */
static int without_memory(struct http_call *call) {
    if (!call)
        return 0;
    call_finish(call, ERR_NOMEM);
    call_settle_later(call);
    return 0;
}

static int socket_cb(CURL *easy, curl_socket_t fd, int what, void *user, void *socket_user) {
    struct curl_way *w = user;
    struct sock *s = socket_user;
    if (what == CURL_POLL_REMOVE) {
        if (s)
            sock_free(s);
        curl_multi_assign(w->multi, fd, NULL);
        return 0;
    }
    struct http_call *call = call_of(easy);
    if (!s && !(s = calloc(1, sizeof *s)))
        return without_memory(call);
    s->client = w->client;
    s->fd = fd;
    s->act = act_on;
    set_call(s, call);
    curl_multi_assign(w->multi, fd, s);
    short events =
        (short)((what & CURL_POLL_IN ? EV_READ : 0) | (what & CURL_POLL_OUT ? EV_WRITE : 0));
    return sock_watch(s, events) ? 0 : without_memory(call);
}

static int timer_cb(CURLM *multi, long ms, void *user) {
    (void)multi;
    struct curl_way *w = user;
    struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
    if (ms < 0)
        event_del(&w->timer);
    else
        event_add(&w->timer, &tv);
    return 0;
}

/* ---- what libcurl reads ---- */

static size_t on_body(char *p, size_t size, size_t n, void *user) {
    (void)size; /* 1 by definition */
    struct http_call *call = user;
    if (call->cancelled || call->finished)
        return 0;
    call->last_ns = clock_mono_ns();
    call_tell_status(call);
    if (!call_count(call, n) || call->cancelled)
        return 0;
    if (!call->cb.on_data)
        return n;
    if (!call->client->gathering || call->client->gathering == call)
        return call_gather(call, (struct str){p, n}) ? n : 0;
    if (!call->cb.on_data(call->ctx, (struct str){p, n})) {
        call_finish(call, ERR_CANCELLED);
        return 0;
    }
    return call->cancelled ? 0 : n;
}

static size_t on_header(char *p, size_t size, size_t n, void *user) {
    (void)size;
    struct http_call *call = user;
    struct str line = str_trim((struct str){p, n});
    call->last_ns = clock_mono_ns();
    if (str_starts(line, STR("HTTP/"))) {
        long status = 0;
        curl_easy_getinfo(call->curl->easy, CURLINFO_RESPONSE_CODE, &status);
        call->status =
            status >= 200 ? (int)status : 0; /* 100 Continue and the like are no answer */
        call->content_type[0] = 0;
        call->retry_after_ms = -1;
        return n;
    }
    if (line.n == 0) {
        call_tell_status(call);
        return call->cancelled ? 0 : n;
    }
    struct str value = line;
    struct str name = str_cut(&value, ':');
    call_take_field(call, name, str_trim(value));
    return n;
}

static int on_progress(void *user, curl_off_t to_come, curl_off_t came, curl_off_t to_go,
                       curl_off_t gone) {
    struct http_call *call = user;
    (void)to_come, (void)came, (void)to_go;
    if (gone != call->curl->gone)
        call->last_ns = clock_mono_ns();
    call->curl->gone = gone;
    return 0;
}

/* ---- starting ---- */

static bool is_loopback(const char *host) {
    return strcmp(host, "localhost") == 0 || strncmp(host, "127.", 4) == 0 ||
           strcmp(host, "[::1]") == 0;
}

/* Takes the host for messages and checks the scheme before libcurl sees the URL. */
static enum err read_url(struct http_call *call, const char *url, struct errinfo *ei) {
    CURLU *u = curl_url();
    char *scheme = NULL, *host = NULL;
    enum err e = ERR_OK;
    if (!u)
        return err_set(ei, ERR_NOMEM, NULL);
    if (!url || curl_url_set(u, CURLUPART_URL, url, 0) != CURLUE_OK ||
        curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK ||
        curl_url_get(u, CURLUPART_HOST, &host, 0) != CURLUE_OK)
        e = err_set(ei, ERR_INVALID, "this is not a URL of a model server or source");
    else if (strcmp(scheme, "http") != 0 && strcmp(scheme, "https") != 0)
        e = err_set(ei, ERR_INVALID, "a URL must begin with http:// or https://");
    else
        snprintf(call->host, sizeof call->host, "%s", host);
    call->plain = !e && strcmp(scheme, "http") == 0;
    curl_free(scheme);
    curl_free(host);
    curl_url_cleanup(u);
    return e;
}

static enum err add_header(struct http_call *call, const char *line) {
    struct curl_slist *l = curl_slist_append(call->curl->headers, line);
    if (!l)
        return ERR_NOMEM;
    call->curl->headers = l;
    return ERR_OK;
}

static enum err set_headers(struct http_call *call, const struct http_call_spec *spec) {
    bool has_type = false;
    enum err e = add_header(call, "Expect:");
    for (const char *const *h = spec->headers; !e && h && *h; h++) {
        struct str line = str_from(*h);
        if (line.n != strcspn(*h, "\r\n"))
            return ERR_INVALID; /* one line each: a value must not bring headers of its own */
        has_type = has_type || str_eq_nocase(str_sub(line, 0, 13), STR("content-type:"));
        e = add_header(call, *h);
    }
    if (!e && !has_type)
        e = add_header(call, "Content-Type:"); /* else libcurl calls a body a form */
    return e;
}

static enum err set_method(CURL *easy, const struct http_call_spec *spec) {
    bool post = strcmp(spec->method, "POST") == 0;
    if (strcmp(spec->method, "HEAD") == 0) {
        curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
        return ERR_OK;
    }
    if (!post && strcmp(spec->method, "GET") != 0 &&
        curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, spec->method) != CURLE_OK)
        return ERR_NOMEM;
    if (!post && !spec->body.n)
        return ERR_OK;
    curl_easy_setopt(easy, CURLOPT_POST, 1L);
    curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)spec->body.n);
    const char *body = spec->body.n ? spec->body.p : "";
    return curl_easy_setopt(easy, CURLOPT_COPYPOSTFIELDS, body) == CURLE_OK ? ERR_OK : ERR_NOMEM;
}

static enum err set_options(struct http_call *call, const struct http_call_spec *spec) {
    CURL *easy = call->curl->easy;
    long connect_ms = spec->connect_timeout_ms ? spec->connect_timeout_ms : CONNECT_TIMEOUT_MS;
    if (set_method(easy, spec))
        return ERR_NOMEM;
    if (spec->unix_socket)
        curl_easy_setopt(easy, CURLOPT_UNIX_SOCKET_PATH, spec->unix_socket);
    if (spec->unix_socket || is_loopback(call->host))
        curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_TCP_NODELAY, 1L);
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, RECEIVE_BUFFER);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, connect_ms);
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)spec->total_timeout_ms);
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, call->curl->headers);
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, call);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, call);
    curl_easy_setopt(easy, CURLOPT_PRIVATE, call);
    if (spec->idle_timeout_ms && spec->body.n) {
        curl_easy_setopt(easy, CURLOPT_XFERINFOFUNCTION, on_progress);
        curl_easy_setopt(easy, CURLOPT_XFERINFODATA, call);
        curl_easy_setopt(easy, CURLOPT_NOPROGRESS, 0L);
    }
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, call->error);
    return curl_easy_setopt(easy, CURLOPT_URL, spec->url) == CURLE_OK ? ERR_OK : ERR_NOMEM;
}

enum err curl_prepare(struct http_call *call, const struct http_call_spec *spec,
                      struct errinfo *ei) {
    struct curl_way *w = call->client->curl;
    if (!(call->curl = calloc(1, sizeof *call->curl)))
        return err_set(ei, ERR_NOMEM, NULL);
    enum err e = read_url(call, spec->url, ei);
    if (e)
        return e;
    CURL *easy = w->npool ? w->pool[--w->npool] : curl_easy_init();
    call->curl->easy = easy;
    e = easy ? set_headers(call, spec) : ERR_NOMEM;
    if (!e)
        e = set_options(call, spec);
    if (e)
        err_set(ei, e, e == ERR_INVALID ? "a header holds a line break" : NULL);
    return e;
}

/* ---- all of them ---- */

enum err curl_way_new(struct http_client *c, struct errinfo *ei) {
    struct curl_way *w = calloc(1, sizeof *w);
    if (w)
        w->multi = curl_multi_init();
    if (!w || !w->multi) {
        free(w);
        return err_set(ei, ERR_NOMEM, NULL);
    }
    w->client = c;
    event_assign(&w->timer, loop_base(c->loop), -1, 0, on_timer, w);
    curl_multi_setopt(w->multi, CURLMOPT_SOCKETFUNCTION, socket_cb);
    curl_multi_setopt(w->multi, CURLMOPT_SOCKETDATA, w);
    curl_multi_setopt(w->multi, CURLMOPT_TIMERFUNCTION, timer_cb);
    curl_multi_setopt(w->multi, CURLMOPT_TIMERDATA, w);
    curl_multi_setopt(w->multi, CURLMOPT_MAXCONNECTS, (long)MAX_KEPT_CONNECTIONS);
    c->curl = w;
    return ERR_OK;
}

void curl_way_free(struct curl_way *w) {
    if (!w)
        return;
    for (int i = 0; i < w->npool; i++)
        curl_easy_cleanup(w->pool[i]);
    curl_multi_cleanup(w->multi);
    event_del(&w->timer);
    free(w);
}
