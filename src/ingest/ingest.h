/* Sources at work: a thread of the background that looks after folders, pages, sitemaps and feeds
 * and gives what is new to the store as documents that wait to be indexed.
 *
 *   due (schedule, a changed file, somebody's wish) → run: list what there is → for each thing that
 *   changed: fetch or read → document_submit() → indexed in the background
 *
 * One source runs at a time, one request at a time, so no host is asked by us twice at once. A run
 * that fails says why in plain words and is tried again at its next time; what it brought before
 * stays. After a crash the next run goes on: things are remembered one by one.
 *
 * The thread waits for the store and the network; it is not a loop's. */
#pragma once

#include "base/err.h"
#include "store/chunk.h"
#include "store/source.h"

struct ingest;

struct ingest_options {
    struct store *store; /* borrowed, outlives the ingest */
    int delay_ms;     /* between two requests to a host, 0 = 1,000; robots.txt may ask for more */
    size_t max_bytes; /* of one document, 0 = 32 MiB */
    struct document_quota quota;
    void (*poke)(void *ctx); /* there are documents to index; may be NULL; called on the thread */
    void *poke_ctx;
};

enum err ingest_start(const struct ingest_options *o, struct ingest **ret,
                      struct errinfo *ei) ERR_CHECK;
void ingest_stop(struct ingest *g); /* waits for the thread, seconds at most; NULL is fine */
void ingest_poke(struct ingest *g); /* a source was made, changed or asked for. Any thread */

/* Whether a source of that kind may have this location; ei says what is wrong with it ("location").
 */
enum err ingest_check_location(enum source_kind kind, struct str location,
                               struct errinfo *ei) ERR_CHECK;
