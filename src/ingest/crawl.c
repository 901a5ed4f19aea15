/* Pages, sitemaps and feeds: politely, one request after the other. */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "extract/extract.h"
#include "ingest/run.h"

#define ROBOTS_KEPT_NS   ((int64_t)3600 * 1000000000)
#define LIST_BYTES_MAX   ((size_t)50 << 20) /* of a sitemap, by its protocol */
#define SITEMAPS_MAX     50                 /* in a sitemap of sitemaps */
#define REFUSED_PAUSE_MS 600000             /* when a host says 429 or 503 and not for how long */

/* ---- hosts ---- */

static struct host *host_find(struct ingest *g, const char *name) {
    struct host *oldest = &g->hosts[0];
    for (size_t i = 0; i < HOSTS_MAX; i++) {
        if (strcmp(g->hosts[i].name, name) == 0)
            return &g->hosts[i];
        if (g->hosts[i].next_ns < oldest->next_ns)
            oldest = &g->hosts[i];
    }
    free(oldest->robots);
    *oldest = (struct host){0};
    snprintf(oldest->name, sizeof oldest->name, "%s", name);
    return oldest;
}

/* Waits until the host may be asked again. */
static bool wait_turn(struct ingest *g, struct host *h) {
    int64_t pause = h->delay_ms > g->o.delay_ms ? h->delay_ms : g->o.delay_ms;
    int64_t wait = (h->next_ns - clock_mono_ns()) / 1000000;
    if (wait > 0 && !ingest_wait(g, wait))
        return false;
    h->next_ns = clock_mono_ns() + pause * 1000000;
    return !atomic_load(&g->stop);
}

/* No file means no rules; a host that cannot say is left alone (RFC 9309, 2.3.1). */
static void read_robots(struct run *r, struct host *h, const char *origin) {
    char url[600];
    struct fetched got;
    struct errinfo ei;
    snprintf(url, sizeof url, "%s/robots.txt", origin);
    struct fetch f = {.url = url,
                      .allow_private = r->s.allow_private,
                      .max_bytes = ROBOTS_BYTES_MAX,
                      .total_ms = 10000,
                      .stop = &r->g->stop};
    free(h->robots);
    h->robots = NULL;
    h->delay_ms = 0;
    if (!wait_turn(r->g, h))
        return;
    enum err e = fetch_run(&f, &got, &ei);
    h->read_ns = clock_mono_ns();
    h->unreachable = (e && e != ERR_TOO_LARGE) || got.status >= 500;
    if (!h->unreachable && got.status >= 200 && got.status < 300) {
        struct str text = buf_str(&got.body);
        h->robots = calloc(1, text.n + 1);
        if (h->robots && text.n)
            memcpy(h->robots, text.p, text.n);
        h->delay_ms = robots_delay_ms(text);
    }
    if (h->unreachable) /* asked again with the next page: it may be back, or allowed */
        h->read_ns = 0;
    if (h->unreachable && e)
        run_failed(r, e, &ei);
    fetched_free(&got);
}

/* Path and query of a URL. */
static struct str path_of(const char *url) {
    const char *at = strstr(url, "://");
    at = at ? at + 3 : url;
    at += strcspn(at, "/?");
    return at[0] == '/' ? str_from(at) : STR("/");
}

static bool may_fetch(struct run *r, const char *url, struct errinfo *ei) {
    char name[256], origin[300];
    if (!fetch_host(url, name, sizeof name, origin, sizeof origin)) {
        err_set(ei, ERR_INVALID, "this is no address of a page");
        return false;
    }
    struct host *h = host_find(r->g, name);
    if (!h->read_ns || clock_mono_ns() - h->read_ns > ROBOTS_KEPT_NS)
        read_robots(r, h, origin);
    if (h->unreachable) {
        err_set(ei, ERR_UNAVAILABLE, "%s does not say what robots may read (robots.txt fails)",
                name);
        return false;
    }
    if (h->robots && !robots_allow(str_from(h->robots), path_of(url))) {
        err_set(ei, ERR_FORBIDDEN, "%s does not want robots to read this page (robots.txt)", name);
        return false;
    }
    return wait_turn(r->g, h);
}

/* ---- one page ---- */

/* A name for people: a feed's title, else the last part of the address. */
static struct str name_of(struct run *r, const char *url, struct str title) {
    struct str path = path_of(url), name;
    if (title.n)
        return str_sub(title, 0, utf8_cut(title, 300));
    path = str_cut(&path, '?');
    while (path.n > 1 && path.p[path.n - 1] == '/')
        path.n--;
    size_t slash = path.n;
    while (slash > 0 && path.p[slash - 1] != '/')
        slash--;
    name = str_sub(path, slash, path.n);
    if (name.n == 0) {
        struct str rest = str_from(strstr(url, "://") ? strstr(url, "://") + 3 : url);
        name = str_cut(&rest, '/');
    }
    return arena_str(r->arena, str_sub(name, 0, utf8_cut(name, 300)));
}

static void keep_error(struct run *r, struct source_item *i, enum err e, struct errinfo *ei) {
    i->error = str_from(ei->message);
    run_failed(r, e, ei);
    (void)run_keep_item(r, i);
}

static void host_refuses(struct run *r, const struct fetched *got, struct errinfo *ei) {
    r->retry_after_ms = got->retry_after_ms > 0 ? got->retry_after_ms : REFUSED_PAUSE_MS;
    err_set(ei, ERR_UPSTREAM, "the host asks to come back later (HTTP %d)", got->status);
}

static void take_answer(struct run *r, struct source_item *i, struct fetched *got,
                        struct str title) {
    struct errinfo ei = {0};
    if (got->status == 304) {
        r->failures = 0;
        (void)run_keep_item(r, i);
    } else if (got->status == 404 || got->status == 410) {
        (void)run_drop_item(r, i->uri);
        err_set(&ei, ERR_NOT_FOUND, "%.*s is gone (HTTP %d)", (int)utf8_cut(i->uri, 200), i->uri.p,
                got->status);
        run_failed(r, ERR_NOT_FOUND, &ei);
        r->failures = 0; /* a page, not the host */
    } else if (got->status < 200 || got->status > 299) {
        if (got->status == 429 || got->status == 503)
            host_refuses(r, got, &ei);
        else
            err_set(&ei, ERR_UPSTREAM, "%.*s: HTTP %d", (int)utf8_cut(i->uri, 200), i->uri.p,
                    got->status);
        keep_error(r, i, ERR_UPSTREAM, &ei);
    } else {
        char *url = arena_strz(r->arena, i->uri);
        i->etag = str_from(got->etag);
        i->last_modified = str_from(got->last_modified);
        i->error = STR("");
        struct str type = str_from(got->content_type[0] ? got->content_type : "text/html");
        enum err e = url && got->body.n
                         ? run_submit(r, i, name_of(r, url, title), type, buf_str(&got->body), &ei)
                         : err_set(&ei, ERR_INVALID, "the page is empty");
        if (e)
            keep_error(r, i, e, &ei);
        else
            r->failures = 0;
    }
}

/* stamp: the date that a list gives; the same one as before means unchanged. */
static void crawl_page(struct run *r, const char *url, struct str title, struct str stamp) {
    struct source_item i;
    struct errinfo ei = {0};
    struct fetched got;
    struct str uri = arena_str(r->arena, str_from(url));
    r->seen++;
    if (!uri.p || run_item(r, uri, &i))
        return;
    if (stamp.n && str_eq(stamp, i.stamp) && !i.error.n) {
        (void)run_keep_item(r, &i);
        return;
    }
    i.stamp = stamp;
    if (!may_fetch(r, url, &ei)) {
        if (!atomic_load(&r->g->stop))
            keep_error(r, &i, ei.code ? ei.code : ERR_FORBIDDEN, &ei);
        return;
    }
    char *etag = arena_strz(r->arena, i.etag), *modified = arena_strz(r->arena, i.last_modified);
    bool whole = i.error.n > 0; /* what failed is fetched anew */
    struct fetch f = {.url = url,
                      .allow_private = r->s.allow_private,
                      .max_bytes = r->g->o.max_bytes,
                      .etag = whole ? NULL : etag,
                      .last_modified = whole ? NULL : modified,
                      .stop = &r->g->stop};
    enum err e = fetch_run(&f, &got, &ei);
    if (!e)
        take_answer(r, &i, &got, title);
    else if (e != ERR_CANCELLED)
        keep_error(r, &i, e, &ei);
    fetched_free(&got);
}

void crawl_url(struct run *r) {
    char url[URL_MAX_BYTES], location[URL_MAX_BYTES];
    snprintf(location, sizeof location, "%.*s", STR_ARG(r->s.location));
    if (fetch_resolve(location, "", url, sizeof url))
        crawl_page(r, url, r->s.name, STR(""));
}

/* ---- lists ---- */

/* Fetches a list and makes lines of its links (extract/links.c). */
static enum err read_list(struct run *r, const char *url, struct str *ret, struct errinfo *ei) {
    struct fetched got;
    struct extracted out;
    if (!may_fetch(r, url, ei))
        return ei->code ? ei->code : ERR_CANCELLED;
    struct fetch f = {.url = url,
                      .allow_private = r->s.allow_private,
                      .max_bytes = LIST_BYTES_MAX,
                      .stop = &r->g->stop};
    static const struct extract_options options = {0};
    enum err e = fetch_run(&f, &got, ei);
    if (!e && (got.status == 429 || got.status == 503)) {
        host_refuses(r, &got, ei);
        e = ERR_UPSTREAM;
    } else if (!e && (got.status < 200 || got.status > 299)) {
        e = err_set(ei, ERR_UPSTREAM, "%s: HTTP %d", url, got.status);
    }
    struct extract_input in = {.fd = -1, .bytes = buf_str(&got.body), .links = true};
    if (!e)
        e = extract_run(&options, &in, r->arena, &out, ei);
    if (!e && out.fault == EXTRACT_NO_TEXT)
        *ret = STR("");
    else if (!e && out.fault)
        e = err_set(ei, ERR_INVALID, "%s is neither a sitemap nor a feed, or it is damaged", url);
    else if (!e)
        *ret = out.doc.text;
    fetched_free(&got);
    return e;
}

static bool same_host(const char *a, const char *b) {
    char x[300], y[300];
    return fetch_host(a, x, sizeof x, NULL, 0) && fetch_host(b, y, sizeof y, NULL, 0) &&
           strcmp(x, y) == 0;
}

struct sitemaps {
    char *urls[SITEMAPS_MAX]; /* in the arena */
    size_t n;
};

static void crawl_lines(struct run *r, const char *base, struct str lines, struct sitemaps *more) {
    bool sitemap = r->s.kind == SOURCE_SITEMAP;
    while (lines.n && !run_is_over(r)) {
        struct str line = str_cut(&lines, '\n');
        bool nested = line.n && line.p[0] == '+';
        struct str rest = nested ? str_sub(line, 1, line.n) : line;
        char *reference = arena_strz(r->arena, str_cut(&rest, '\t')), url[URL_MAX_BYTES];
        struct str date = str_cut(&rest, '\t');
        if (!reference || !fetch_resolve(base, reference, url, sizeof url) ||
            (sitemap && !same_host(base, url)))
            continue; /* a sitemap speaks for its own host only */
        if (nested) {
            char *kept =
                more && more->n < SITEMAPS_MAX ? arena_strz(r->arena, str_from(url)) : NULL;
            if (kept)
                more->urls[more->n++] = kept;
            else
                r->incomplete = true;
            continue;
        }
        if (r->seen >= r->max_documents) {
            r->incomplete = true;
            return;
        }
        crawl_page(r, url, rest, date);
    }
}

void crawl_links(struct run *r) {
    char location[URL_MAX_BYTES];
    struct errinfo ei = {0};
    struct sitemaps more = {.n = 0};
    struct str lines;
    snprintf(location, sizeof location, "%.*s", STR_ARG(r->s.location));
    enum err e = read_list(r, location, &lines, &ei);
    if (!e)
        crawl_lines(r, location, lines, &more);
    for (size_t i = 0; i < more.n && !e && !run_is_over(r); i++) {
        e = read_list(r, more.urls[i], &lines, &ei);
        if (!e)
            crawl_lines(r, more.urls[i], lines, NULL);
    }
    if (e && e != ERR_CANCELLED)
        run_failed(r, e, &ei);
    if (run_is_over(r))
        r->incomplete = true;
}
