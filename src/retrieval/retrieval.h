/* Retrieval: the passages of the documents that a person may read, for a question.
 *
 *   question ─┬─→ words  ─→ BM25 over the inverted index ─┐
 *             └─→ vector ─→ nearest over int8 vectors ────┴→ fuse → weights → diversity → hits
 *
 * Both run at once on retrieval's own threads; the question's vector comes from the upstream. What
 * is not there within the time budget is left out, and the trace says so. Access is part of the
 * search: it reads the collections of its scope and no others, and each hit is read from the store
 * against that scope again, so that a deleted document is never a hit.
 *
 * The index is in memory, made from the store at start and kept by following the store's log of
 * changes: after a kill at any moment it equals what the store holds. While it is being made,
 * searches find what is there so far and say so. Documents are indexed in the background
 * (retrieval_poke() says that there are new ones). */
#pragma once

#include "base/arena.h"
#include "base/err.h"
#include "retrieval/neighbours.h"
#include "retrieval/question.h"
#include "retrieval/wording.h"
#include "store/chunk.h"
#include "text/doc_text.h"
#include "upstream/upstream.h"

struct retrieval;
struct retrieval_loop;
struct retrieval_call;

/* Bytes of a document as text; blocking, on retrieval's thread. Errors refuse the document (their
 * message is shown to its owner), but ERR_TIMEOUT, ERR_NOMEM, ERR_OVERLOADED, ERR_IO and
 * ERR_UNAVAILABLE are tried again later. `ret` and its strings in the arena. */
typedef enum err (*retrieval_extract)(void *ctx, struct str bytes, struct str media_type,
                                      struct str source_name, struct arena *a, struct doc_text *ret,
                                      struct errinfo *ei);

/* What the guard says of a document on its way in: marks rows in which it found something
 * (CHUNK_FLAG_GUARD), and gives d->safety and d->safety_stamp, in the arena. *ret_orders: it gives
 * orders to a model. Blocking, on retrieval's thread; an error: it is judged before each prompt. */
typedef enum err (*retrieval_judge)(void *ctx, struct document *d, struct chunk_row *rows, size_t n,
                                    struct arena *a, bool *ret_orders);

struct retrieval_options {
    struct store *store;
    struct upstream *upstream;
    retrieval_extract extract; /* NULL: bytes are taken as plain text when they are UTF-8 */
    void *extract_ctx;
    retrieval_judge judge; /* NULL: nobody looks */
    void *judge_ctx;
    int threads;      /* searching, 0 = 2 */
    int budget_ms;    /* of a search, 0 = 250 */
    int max_queued;   /* searches that wait, 0 = 256; past it ERR_OVERLOADED */
    bool no_indexing; /* terminal commands: search only, documents wait for the server */
};
enum err retrieval_new(const struct retrieval_options *o, struct retrieval **ret,
                       struct errinfo *ei) ERR_CHECK;
/* Begins to make the index and to index what waits: on the loop whose client embeds documents. */
enum err retrieval_start(struct retrieval *r, struct loop *l, struct upstream_client *c,
                         struct errinfo *ei) ERR_CHECK;
void retrieval_stop(struct retrieval *r); /* on that loop, before its client goes; no callback of
                                             retrieval's comes to it afterwards */
void retrieval_free(struct retrieval *r); /* before the store is closed */

/* Whether a version of this document is stored as indexed but not in the index yet, which lasts
 * milliseconds: until then it counts as on its way. Any thread. */
enum retrieval_entering { ENTERING_NOT, ENTERING_NEW, ENTERING_VERSION };
enum retrieval_entering retrieval_entering(struct retrieval *r, const struct uuid *doc_id);

/* Something was submitted or deleted: look now rather than within a second. Any thread. */
void retrieval_poke(struct retrieval *r);

struct retrieval_state {
    bool loading;    /* the index is being made from the store */
    bool rebuilding; /* the embedding model changed: new vectors are being made, old ones serve */
    int64_t documents, chunks, vectors, bytes; /* in the index; bytes of memory */
    int64_t waiting;                           /* documents to be indexed */
    int64_t indexed, failed, embedded, reused; /* since the start: documents, chunks */
};
void retrieval_get_state(struct retrieval *r, struct retrieval_state *ret);

/* ---- searching ---- */

struct retrieval_scope { /* collection_scope() fills it, inside the caller's read */
    struct uuid collections[COLLECTIONS_MAX];
    size_t n;
};

struct retrieval_filter {   /* borrowed; nothing set = everything */
    struct str source;      /* part of the source's name or address, without regard to ASCII case */
    const struct str *tags; /* all of them */
    size_t n_tags;
    struct str type;         /* metadata's type */
    int64_t from, to;        /* metadata's date, else when it was last changed; 0 = open */
    const struct uuid *docs; /* only these documents */
    size_t n_docs;
};

enum retrieval_need {
    NEED_DECIDE, /* "thanks!" needs none */
    NEED_ALWAYS,
};

struct retrieval_request { /* borrowed for the call; copied */
    struct str query;
    /* What was said before, oldest first: a follow-up ("and in winter?") is searched with it. */
    const struct str *history;
    size_t n_history;
    const struct retrieval_scope *scope;
    struct retrieval_filter filter;
    struct uuid role_id; /* whose weights count; not set = none */
    /* Documents that came with the conversation, and what the question has to do with them: which
     * is searched, and in what order, is in attached.h. */
    const struct uuid *attached;
    size_t n_attached, n_meant; /* the first n_meant: those that a question about them means */
    enum question_about about;  /* counts only where there are some */
    enum retrieval_need need;
    const float *vector; /* of the query, when the caller has it; NULL = it is asked for */
    int dimensions;
    struct str vector_model; /* who made it */
    int k;                   /* hits at most, 0 = 8, at most 200 */
    int budget_ms;           /* 0 = the options' */
    double recency_days;     /* the age at which a document counts half; 0 = age does not count */
    bool no_lexical, no_vector, reciprocal; /* reciprocal: fuse by ranks (fuse.h) */
    bool keep_duplicates, exact;
    bool unranked; /* without what ratings taught */
    /* The hits are learnt from: their signals say how they stand to the others that were found,
     * for which some 40 are read. Where what ratings taught orders them they do so anyway. */
    bool learns;
    /* Without hits that do not speak of it themselves and are far worse than the best, where what
     * ratings taught does not order them. */
    bool near_only;
    /* Where max_tokens leaves room for one hit only and the second is nearly as good, the result
     * says so (`other`), and with `swaps` the second is given instead of the first. */
    bool pairs, swaps;
    int max_tokens; /* of all hits' texts and names together, about (text/tokens.h); 0 = any: when
                       they are more, the best sentences of them are given, at least the best one */
};

enum retrieval_signal { /* of a hit, for the re-ranker; each about 0 to 1, the last ones around 0 */
                        SIGNAL_FUSED,
                        SIGNAL_LEXICAL,   /* BM25, by the best hit's */
                        SIGNAL_VECTOR,    /* cosine */
                        SIGNAL_RANK_BOTH, /* found by both */
                        SIGNAL_TITLE,     /* share of the question's words in title and heading */
                        SIGNAL_COVERAGE,  /* share of the question's words in the text */
                        SIGNAL_RECENCY,
                        SIGNAL_LENGTH,
                        SIGNAL_WORDING, /* and behind it: enum wording_signal */
                        SIGNAL_NEIGHBOURS =
                            SIGNAL_WORDING + WORDING_SIGNALS, /* and neighbour_signal */
                        SIGNAL_COUNT = SIGNAL_NEIGHBOURS + NEIGHBOUR_SIGNALS
};

struct retrieval_hit {
    struct uuid doc_id;
    int64_t chunk_id; /* this version's */
    uint64_t key;     /* of the passage: the same in each version that has its text */
    int n;            /* the chunk's place in its document */
    struct str source_name, title, uri, heading, text;
    struct str judged; /* the stamp of the guard that found it clean when it came in; "" = none */
    size_t char_from, char_to;     /* in the document's text */
    int page_from, page_to;        /* 0 = no pages */
    int rank;                      /* from 1 */
    int lexical_rank, vector_rank; /* 0 = not found by it */
    double lexical, vector;        /* BM25; cosine */
    double fused;                  /* 0 to 1 */
    double weight;                 /* of the feedback; 1 = none */
    double score;                  /* what ranks it */
    bool begins;                   /* not found: a given document's beginning; no signals */
    double signals[SIGNAL_COUNT];
};

struct retrieval_trace { /* what was done, for people */
    bool searched;       /* false: it was decided that none is needed, or nothing may be read */
    const char *why;     /* "smalltalk", "no documents", "follow-up", … static */
    bool lexical_done, vector_done; /* false: left out, for want of time or of a model */
    bool loading;
    bool words_left_out; /* common words of a long question did not count */
    bool exact;          /* every vector was compared */
    int64_t embed_us, lexical_us, vector_us, fuse_us, total_us;
    int64_t candidates;
    int follow_up; /* messages of the history that were searched with */
};

struct retrieval_result {
    enum err err; /* ERR_OK also when nothing was found */
    const struct errinfo *ei;
    const struct retrieval_hit *hits; /* borrowed for the call, best first */
    size_t n;
    struct retrieval_trace trace;
    const struct retrieval_hit *other; /* which was not given, though nearly as good; NULL */
    bool swapped;                      /* it is the best one */
    /* Whether the best hit speaks of what was asked: similar enough, or most of its words. */
    bool relevant;
    const float *query_vector; /* borrowed, NULL = there is none */
    int dimensions;
};

/* Whether anything could be found there now. Any thread. */
bool retrieval_has_chunks(struct retrieval *r, const struct retrieval_scope *scope);
/* Whether a search for it would use the query's own vector: there is something to be searched, and
 * the query is searched by itself. Any thread. */
bool retrieval_wants_vector(struct retrieval *r, const struct retrieval_request *q);
/* On a loop; done runs on it, once, never inside the call. */
enum err retrieval_search(struct retrieval *r, struct loop *l, struct upstream_client *c,
                          const struct retrieval_request *q,
                          void (*done)(void *ctx, const struct retrieval_result *res), void *ctx,
                          struct retrieval_call **ret, struct errinfo *ei) ERR_CHECK;
void retrieval_cancel(struct retrieval_call *call); /* on its loop; done is not called */

/* ---- what ratings teach (filled by learning) ---- */

extern const char *const retrieval_signal_names[SIGNAL_COUNT];

struct chunk_factor {
    uint64_t key;  /* retrieval_hit.key */
    double factor; /* of the score, clamped to 0.1 … 10 */
};
struct role_factors {
    struct uuid role_id;          /* not set: for every role */
    struct chunk_factor *factors; /* sorted by key, each once */
    size_t n;
};
struct retrieval_scoring { /* the passages of one search, best first by `fused`; borrowed */
    struct str query;
    struct uuid role_id;
    const float *vector; /* of the query, of length 1; NULL = there is none */
    int dimensions;
    size_t n;
    const uint64_t *keys;
    const struct uuid *docs;
    const double (*signals)[SIGNAL_COUNT];
    const float *const *vectors; /* of each passage, of length 1; NULL = it has none */
};
/* Immutable once it was given; retrieval frees it with `free` when the last search lets go. */
struct retrieval_weights {
    const struct role_factors *roles;
    size_t n_roles;
    bool rerank; /* score = bias + Σ w·signal instead of the fused score */
    double bias, signal[SIGNAL_COUNT];
    /* Instead of that sum; NULL = none. On retrieval's threads, several at once. */
    void (*score)(void *ctx, const struct retrieval_scoring *s, double *ret);
    void *ctx;
    void (*free)(struct retrieval_weights *w);
};
/* Takes w (NULL = none); searches that run go on with what they had. Any thread. */
void retrieval_set_weights(struct retrieval *r, struct retrieval_weights *w);
/* "2026-03-01", with whatever behind it, as the beginning of that day (UTC, Unix milliseconds). */
bool retrieval_day_read(struct str text, int64_t *ret);
#define RETRIEVAL_DAY_MS (86400 * (int64_t)1000)
/* The passage's key, for those who count by it. */
uint64_t retrieval_key(const struct uuid *doc_id, const unsigned char hash[CHUNK_HASH_LEN]);
