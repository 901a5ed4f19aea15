/* What retrieval keeps in the store: collections, document versions on their way, chunks, vectors,
 * and the log that the search index follows. Verbs run inside a transaction, as store.h says.
 *
 *   document_submit ─→ upload (pending) ─→ document_next … ─→ document_commit   searchable, or
 *                                                         └─→ document_fail      refused, or later
 *
 * A commit replaces a document's text, chunks and state in one transaction: a version is there
 * completely or not at all, and the one before is served until then. */
#pragma once

#include "store/store.h"

/* ---- collections: who may search what ---- */
enum collection_kind {
    COLLECTION_PRIVATE, /* its owner */
    COLLECTION_SHARED,  /* everybody */
    COLLECTION_ROLE,    /* conversations with a role that it is bound to */
};
#define COLLECTION_SHARED_ID "00000000-0000-7000-8000-000000000001"
#define COLLECTIONS_MAX      64 /* of one role, and in one search */

struct collection {
    struct uuid collection_id; /* a user's first private one has the user's id */
    struct str name;
    enum collection_kind kind;
    struct uuid user_id; /* the owner of a private one */
    int64_t created_at;
    int64_t documents; /* lists: how many there are */
};
const char *collection_kind_name(enum collection_kind k);
int collection_kind_from_name(struct str s); /* -1 */

enum err collection_create(struct store_tx *tx, const struct collection *c,
                           struct errinfo *ei) ERR_CHECK;
/* Visible to the user: their own, shared ones, and ones of roles. ERR_NOT_FOUND otherwise. */
enum err collection_get(struct store_tx *tx, const struct uuid *user_id, const struct uuid *id,
                        struct arena *a, struct collection *ret) ERR_CHECK;
enum err collection_list(struct store_tx *tx, const struct uuid *user_id, struct arena *a,
                         struct collection **ret, size_t *ret_n) ERR_CHECK;
/* With its documents. ERR_CONFLICT for the shared one and for a user's first. */
enum err collection_delete(struct store_tx *tx, const struct uuid *id,
                           struct errinfo *ei) ERR_CHECK;

/* What a role asks of retrieval. */
struct role_retrieval {
    bool enabled;             /* documents are looked into (the default) */
    bool grounded_only;       /* without a passage the assistant says that it found nothing */
    struct uuid *collections; /* arena; bound to the role */
    size_t n;
};
enum err role_retrieval_get(struct store_tx *tx, const struct uuid *role_id, struct arena *a,
                            struct role_retrieval *ret) ERR_CHECK;
enum err role_retrieval_set(struct store_tx *tx, const struct uuid *role_id,
                            const struct role_retrieval *r, struct errinfo *ei) ERR_CHECK;

/* The collections that a search for this user and role may read: the user's private ones, shared
 * ones, and those bound to the role (role_id not set: none of them). At most COLLECTIONS_MAX. */
enum err collection_scope(struct store_tx *tx, const struct uuid *user_id,
                          const struct uuid *role_id, struct uuid ret[COLLECTIONS_MAX],
                          size_t *ret_n) ERR_CHECK;
/* A document with its text, when it is in one of these. */
enum err document_get_within(struct store_tx *tx, const struct uuid *collections, size_t n,
                             const struct uuid *id, struct arena *a,
                             struct document *ret) ERR_CHECK;
/* Whether it may be given to a question: it is in one of these and can be read from. Its name.
 * ERR_INVALID with the parameter `attachments` when it is none of these, or was refused;
 * ERR_CONFLICT while it is still being read. */
enum err document_attach(struct store_tx *tx, const struct uuid *collections, size_t n,
                         const struct uuid *id, struct arena *a, struct str *ret_name,
                         struct errinfo *ei) ERR_CHECK;

/* What a user keeps for himself: documents of private collections. Shared ones and those of roles
 * are administrators' doing and do not count. */
struct document_usage {
    int64_t documents, chunks;
    int64_t bytes; /* of their texts, or of the file that waits when that is larger */
};
enum err document_usage(struct store_tx *tx, const struct uuid *user_id,
                        struct document_usage *ret) ERR_CHECK;
struct document_quota { /* of one user; 0 = none */
    int64_t documents, bytes;
};
/* After something was given, in its transaction, which then fails with ERR_QUOTA and what there
 * may be. */
enum err document_check_quota(struct store_tx *tx, const struct uuid *user_id,
                              const struct document_quota *quota, struct errinfo *ei) ERR_CHECK;

/* ---- versions ---- */

/* A new document, or a new version of the one with d->doc_id, or with d->uri in its collection:
 * bytes wait to be indexed. d->content_hash names them: when the served or the waiting version has
 * the same, nothing is done and *ret_unchanged is set. d->source_name, media_type, metadata, title
 * are taken for a new document; of an existing one they change with the commit. *ret_id is the
 * document's. ERR_NOT_FOUND: doc_id is another user's. */
enum err document_submit(struct store_tx *tx, const struct document *d, struct str bytes,
                         struct uuid *ret_id, bool *ret_unchanged, struct errinfo *ei) ERR_CHECK;

struct document_work { /* a version to be indexed */
    struct document d; /* as it is served now */
    bool has_bytes;    /* false: content of d is the text itself */
    struct str bytes, media_type, hash;
    int attempts;
};
/* The one that waits longest and is due. ERR_NOT_FOUND: none. */
enum err document_next(struct store_tx *tx, int64_t now, struct arena *a,
                       struct document_work *ret) ERR_CHECK;
/* When the next one is due; 0 = none waits. */
enum err document_next_due(struct store_tx *tx, int64_t *ret_at, int64_t *ret_waiting) ERR_CHECK;

#define CHUNK_HASH_LEN   16
#define CHUNK_FLAG_TABLE 1
#define CHUNK_FLAG_CODE  2
#define CHUNK_FLAG_GUARD 4 /* the guard found something in it when it came in */

struct chunk_row {
    int64_t chunk_id; /* never used again; 0 before it is stored */
    struct uuid doc_id;
    int n;                                          /* in the document, from 0 */
    int64_t byte_from, byte_to, char_from, char_to; /* in the document's text */
    int page_from, page_to;                         /* 0 = no pages */
    int flags;
    unsigned char hash[CHUNK_HASH_LEN]; /* of what is embedded */
    struct str heading, lead, text;
    struct str vector; /* reads: of the model asked for, STR_NULL = none yet */
};

/* The version becomes the document: content, title, media_type, metadata, safety and its stamp of d
 * are written, its chunks replaced. hash is that of the version (document_work.hash); an upload
 * that came meanwhile stays waiting. ERR_NOT_FOUND: the document is gone. */
enum err document_commit(struct store_tx *tx, const struct document *d, struct str hash,
                         const struct chunk_row *rows, size_t n, struct errinfo *ei) ERR_CHECK;
/* retry_at 0: never again (the upload is dropped; what was served goes on). */
enum err document_fail(struct store_tx *tx, const struct uuid *id, struct str hash,
                       struct str error, int64_t retry_at) ERR_CHECK;

/* ---- vectors: int8 rows behind a float scale; by model and hash of the text ---- */
enum err embedding_model_id(struct store_tx *tx, struct str name, int dimensions,
                            int64_t *ret) ERR_CHECK; /* made when it is new (in a write) */
enum err embedding_model_find(struct store_tx *tx, struct str name, int64_t *ret,
                              int *ret_dimensions) ERR_CHECK; /* ERR_NOT_FOUND */
/* The model with the most vectors: what was in use. ERR_NOT_FOUND: none. */
enum err embedding_model_in_use(struct store_tx *tx, struct arena *a, struct str *ret_name,
                                int64_t *ret_id, int *ret_dimensions) ERR_CHECK;
enum err embedding_model_forget_others(struct store_tx *tx, int64_t keep) ERR_CHECK;
enum err chunk_vector_get(struct store_tx *tx, int64_t model,
                          const unsigned char hash[CHUNK_HASH_LEN], struct arena *a,
                          struct str *ret) ERR_CHECK; /* ERR_NOT_FOUND */
enum err chunk_vector_put(struct store_tx *tx, int64_t model,
                          const unsigned char hash[CHUNK_HASH_LEN], struct str vector) ERR_CHECK;
/* A text that the model refuses for good: it counts as no longer missing, and the documents that
 * have it say why (document.error). */
enum err chunk_refuse(struct store_tx *tx, int64_t model, const unsigned char hash[CHUNK_HASH_LEN],
                      struct str reason) ERR_CHECK;
enum err chunk_refused(struct store_tx *tx, int64_t model,
                       const unsigned char hash[CHUNK_HASH_LEN]) ERR_CHECK; /* ERR_NOT_FOUND */
/* Those marked before a time (Unix milliseconds) are missing again. ERR_NOT_FOUND: there are none.
 */
enum err chunk_refusal_purge(struct store_tx *tx, int64_t before) ERR_CHECK;
/* After a commit: what of the document's text was refused before. */
enum err document_note_refusals(struct store_tx *tx, const struct uuid *doc_id,
                                int64_t model) ERR_CHECK;
/* Vectors that no chunk has: of versions that never came to their commit. */
enum err chunk_vector_purge(struct store_tx *tx) ERR_CHECK;
/* Chunks after `after` whose text has no vector of the model and was not refused: at most max, in
 * order. */
enum err chunk_without_vector(struct store_tx *tx, int64_t model, int64_t after, size_t max,
                              struct arena *a, struct chunk_row **ret, size_t *ret_n) ERR_CHECK;

/* ---- reading for the index ---- */

/* Indexed documents after `after` in the order of their ids, without content. */
enum err document_scan(struct store_tx *tx, const struct uuid *after, int limit, struct arena *a,
                       struct document **ret, size_t *ret_n) ERR_CHECK;
/* ERR_NOT_FOUND: there is no such indexed document. */
enum err document_indexed(struct store_tx *tx, const struct uuid *id, struct arena *a,
                          struct document *ret) ERR_CHECK;
/* A document's chunks with their vectors of the model (0 = none). */
enum err chunk_list(struct store_tx *tx, const struct uuid *doc_id, int64_t model, struct arena *a,
                    struct chunk_row **ret, size_t *ret_n) ERR_CHECK;

struct chunk_hit { /* a chunk with its document */
    struct chunk_row c;
    struct uuid doc_id, collection_id;
    struct str source_name, title, uri, metadata, safety_stamp;
    int64_t updated_at;
};
/* ERR_NOT_FOUND when the chunk is gone or its document is in none of the collections. */
enum err chunk_get(struct store_tx *tx, int64_t chunk_id, const struct uuid *collections, size_t n,
                   struct arena *a, struct chunk_hit *ret) ERR_CHECK;
/* A document's first passages, at most max, when it is in one of the collections; none otherwise.
 */
enum err chunk_begin(struct store_tx *tx, const struct uuid *doc_id, const struct uuid *collections,
                     size_t n, size_t max, struct arena *a, struct chunk_hit **ret,
                     size_t *ret_n) ERR_CHECK;

struct index_change {
    int64_t seq;
    struct uuid doc_id;
};
enum err index_change_last(struct store_tx *tx, int64_t *ret_first, int64_t *ret_last) ERR_CHECK;
enum err index_change_list(struct store_tx *tx, int64_t after, int limit, struct arena *a,
                           struct index_change **ret, size_t *ret_n) ERR_CHECK;
