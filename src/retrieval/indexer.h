/* What the files of the indexing thread share: indexer.c (the thread, documents), follow.c (from
 * the store into the index), embedding.c (vectors). All on that thread, but for what says
 * otherwise. */
#pragma once

#include "retrieval/retrieval_internal.h"

#define WORK_CAP ((size_t)2 << 30) /* bytes of one document's text, chunks and tables */
#define BATCH    16 /* texts embedded at once; a person who comes waits for at most one piece */

/* ---- indexer.c ---- */
bool indexer_stopping(struct retrieval *r);
bool indexer_loading(struct retrieval *r);
/* Waits while a person waits for the first word of a model server on this machine: what is done
 * here takes cores that it would have. Of one piece of work at most two seconds in all, which
 * *until_ns (0 at first) keeps account of. */
void indexer_give_way(struct retrieval *r, int64_t *until_ns);
/* Indexes the document that waits longest. only_new: no new version, which would wait for vectors.
 * False: nothing is due, or the store cannot be read or written just now. */
bool indexer_next(struct retrieval *r, bool only_new);

/* ---- follow.c ---- */

/* One at a time follows or builds: the indexing thread, or a search that met what is gone. */
extern pthread_mutex_t index_following;

struct index_read { /* one document, read from the store */
    struct uuid doc_id;
    int64_t model;
    struct arena *arena;
    bool found;
    struct document d;
    struct chunk_row *rows;
    size_t n;
};
enum err index_read_doc(struct store_tx *tx, void *arg, struct errinfo *ei); /* a store_fn */
/* The index's state of a document becomes the store's. */
enum err index_sync_doc(struct retrieval *r, struct index *x, int64_t model,
                        const struct uuid *id) ERR_CHECK;
/* A new index of all that the store holds, with the vectors of a model, in place of the old one.
 * The caller holds index_following. */
enum err index_build(struct retrieval *r, int64_t model, const char *name, int dims) ERR_CHECK;
void index_load(struct retrieval *r); /* the first one, with the model that was in use */

/* ---- embedding.c ---- */

/* Embeds up to BATCH texts and keeps their vectors. Texts that the model refuses for good are
 * marked and count as done. Errors: now is not the time, all of them may be asked for again. */
enum err indexer_embed(struct retrieval *r, const struct str *texts,
                       const struct chunk_row *const *rows, size_t n, struct errinfo *ei) ERR_CHECK;
/* One batch of what has no vector of the target yet. False: none is missing, or it cannot be made
 * now. */
bool indexer_fill_missing(struct retrieval *r);
/* The model that the upstream has now: when it is another one, its vectors are to be made. */
void indexer_look_at_model(struct retrieval *r);
