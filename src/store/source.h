/* Sources: places that documents come from by themselves. Verbs run inside a transaction, as
 * store.h says. What the kinds mean and how they are fetched is in src/ingest. */
#pragma once

#include "store/store.h"

enum source_kind { SOURCE_FOLDER, SOURCE_URL, SOURCE_SITEMAP, SOURCE_FEED, SOURCE_SEARCH };
#define SOURCE_KINDS 5
const char *source_kind_name(enum source_kind k);
int source_kind_from_name(struct str s); /* -1 */

#define SOURCES_PER_USER 100

struct source {
    struct uuid source_id;
    struct uuid user_id; /* whose documents it brings */
    struct str name;
    enum source_kind kind;
    struct str location;       /* an absolute path or a URL */
    struct uuid collection_id; /* not set: the owner's private one, or the shared one */
    bool shared;
    int interval_minutes; /* 0 = only when it is asked for */
    bool allow_private;   /* addresses that are not of the open internet may be reached */
    bool enabled;
    struct str settings; /* a JSON object */
    int64_t created_at;
    int64_t next_at;             /* when it is due; 0 = not by itself */
    int64_t last_at;             /* when its last run ended; 0 = never */
    struct str last_error;       /* "" = it went well */
    int64_t last_new, last_seen; /* of the last run: documents new or changed; things looked at */
    bool running;
};

enum err source_create(struct store_tx *tx, const struct source *s,
                       struct errinfo *ei) ERR_CHECK; /* ERR_CONFLICT past SOURCES_PER_USER */
/* user_id not set: anybody's (administrators). ERR_NOT_FOUND. */
enum err source_get(struct store_tx *tx, const struct uuid *user_id, const struct uuid *id,
                    struct arena *a, struct source *ret) ERR_CHECK;
enum err source_list(struct store_tx *tx, const struct uuid *user_id, const struct page *p,
                     struct arena *a, struct source **ret, size_t *ret_n) ERR_CHECK;
/* What people set: name, location, collection, shared, interval, allow_private, enabled, settings,
 * next_at. */
enum err source_update(struct store_tx *tx, const struct source *s) ERR_CHECK;
/* with_documents: what it brought is deleted, too. */
enum err source_delete(struct store_tx *tx, const struct uuid *id, bool with_documents) ERR_CHECK;

/* The one that is due longest. ERR_NOT_FOUND; *ret_next_at is then when the next will be, or 0. */
enum err source_next(struct store_tx *tx, int64_t now, struct arena *a, struct source *ret,
                     int64_t *ret_next_at) ERR_CHECK;
enum err source_set_running(struct store_tx *tx, const struct uuid *id, bool running) ERR_CHECK;
/* At start: none is running, and folders are due: nobody watched them meanwhile. */
enum err source_recover(struct store_tx *tx) ERR_CHECK;
/* A run ended: last_at, last_error, last_new, last_seen, next_at of s; not running any more. */
enum err source_finish(struct store_tx *tx, const struct source *s) ERR_CHECK;
/* Folders that are watched. */
enum err source_folders(struct store_tx *tx, struct arena *a, struct source **ret,
                        size_t *ret_n) ERR_CHECK;

/* Searches that may be asked. */
enum err source_searches(struct store_tx *tx, struct arena *a, struct source **ret,
                         size_t *ret_n) ERR_CHECK;

struct source_item { /* one thing of a source, by its address */
    struct uuid source_id;
    struct str uri;
    struct uuid doc_id; /* not set: it never became a document */
    struct str etag, last_modified, stamp, error;
    int64_t run;
};
enum err source_item_get(struct store_tx *tx, const struct uuid *source_id, struct str uri,
                         struct arena *a, struct source_item *ret) ERR_CHECK; /* ERR_NOT_FOUND */
enum err source_item_put(struct store_tx *tx, const struct source_item *i) ERR_CHECK;
/* Removes an item with its document. */
enum err source_item_drop(struct store_tx *tx, const struct uuid *source_id,
                          struct str uri) ERR_CHECK;
/* Removes the items that the run did not see, with their documents; *ret_n is how many. */
enum err source_item_sweep(struct store_tx *tx, const struct uuid *source_id, int64_t run,
                           int64_t *ret_n) ERR_CHECK;
