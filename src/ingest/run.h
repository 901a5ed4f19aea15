/* One run of a source. Inside src/ingest only, on its thread. */
#pragma once

#include <stdatomic.h>

#include "ingest/ingest.h"
#include "ingest/robots.h"
#include "net/fetch.h"

#define HOSTS_MAX     64
#define URL_MAX_BYTES 2048
#define FAILURES_MAX  5 /* one after the other end a run */

struct host {         /* what a host asks of us */
    char name[256];   /* "example.org:443"; "" = free */
    int64_t next_ns;  /* when it may be asked again */
    int64_t read_ns;  /* when its robots.txt was read; 0 = not yet */
    char *robots;     /* owned; NULL = everything is allowed */
    bool unreachable; /* it could not be read: nothing is allowed for now */
    int64_t delay_ms;
};

struct ingest {
    struct ingest_options o;
    atomic_bool stop;
    int wake_fd;    /* eventfd: look again */
    int inotify_fd; /* folders' changes; < 0 = there is none */
    struct watches *watches;
    struct host hosts[HOSTS_MAX];
};

struct run {
    struct ingest *g;
    struct source s; /* in the arena */
    struct arena *arena;
    int64_t run; /* when it began, in ms: what it has seen is marked with it */
    int64_t seen, fresh;
    int failures; /* one after the other */
    int64_t max_documents;
    bool all_files;
    bool incomplete;        /* not all was looked at: nothing may be swept away */
    int64_t retry_after_ms; /* a host asked for that; 0 = nothing */
    struct errinfo first;   /* the first thing that went wrong */
};

/* ---- ingest.c ---- */
bool run_is_over(const struct run *r); /* stopped, or too much went wrong */
void run_failed(struct run *r, enum err e, const struct errinfo *ei);
bool ingest_wait(struct ingest *g, int64_t ms); /* false: it is to stop */
/* What is known of a thing; everything empty when nothing is. */
enum err run_item(struct run *r, struct str uri, struct source_item *ret);
enum err run_keep_item(struct run *r, const struct source_item *i);
enum err run_drop_item(struct run *r, struct str uri);
/* A document of these bytes, and the item with it, in one transaction. A document that somebody
 * deleted by hand does not come back. */
enum err run_submit(struct run *r, const struct source_item *i, struct str name, struct str type,
                    struct str bytes, struct errinfo *ei);

/* ---- crawl.c ---- */
void crawl_url(struct run *r);
void crawl_links(struct run *r); /* sitemaps and feeds */

/* ---- folder.c ---- */
void folder_run(struct run *r);
struct watches *watches_new(int fd);
void watches_free(struct watches *w);
/* Watches the folders of these sources, and no others. True when they are watched anew: what
 * happened meanwhile nobody has told, so they are to be walked. */
bool watches_set(struct watches *w, const struct source *s, size_t n);
/* Reads what happened; the ids of the sources that it concerns, at most max. */
size_t watches_read(struct watches *w, struct uuid *ids, size_t max);
