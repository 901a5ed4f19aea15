/* Metrics in Prometheus' text format 0.0.4. The table is the list: to add a metric, add a row.
 * Updating is a relaxed atomic add: any thread, no lock. Histograms have fixed buckets in seconds.
 */
#pragma once

#include <stdint.h>

#include "base/buf.h"

/* clang-format off */
/*    id                          kind       name                                     help */
#define METRICS_TABLE(X)                                                                            \
    X(M_HTTP_REQUESTS,            COUNTER,   "parley_http_requests_total",            "HTTP requests answered") \
    X(M_HTTP_ERRORS,              COUNTER,   "parley_http_errors_total",              "HTTP requests answered with a status of 500 or more") \
    X(M_HTTP_SECONDS,             HISTOGRAM, "parley_http_request_seconds",           "time from a request's last byte to its answer's first") \
    X(M_STREAMS_OPEN,             GAUGE,     "parley_streams_open",                   "event streams attached now") \
    X(M_STREAMS_DROPPED,          COUNTER,   "parley_streams_dropped_total",          "event streams dropped because the reader was too slow") \
    X(M_TURNS,                    COUNTER,   "parley_turns_total",                    "turns finished") \
    X(M_TURNS_FAILED,             COUNTER,   "parley_turns_failed_total",             "turns that ended in an error") \
    X(M_TURNS_RUNNING,            GAUGE,     "parley_turns_running",                  "turns in progress") \
    X(M_TURNS_CONTINUED,          COUNTER,   "parley_turns_continued_total",          "answers gone on with after the model server or connection broke off") \
    X(M_TURNS_RECOVERED,          COUNTER,   "parley_turns_recovered_total",          "answers of a former process taken up again") \
    X(M_TURNS_REMEMBERED,         COUNTER,   "parley_turns_remembered_total",         "turns whose conversation was still in memory and needed no read") \
    X(M_TURNS_HELD,               COUNTER,   "parley_turns_held_total",               "new turns that waited for a busy loop's running answers") \
    X(M_TURNS_DEGRADED,           COUNTER,   "parley_turns_degraded_total",           "answers for which something was left out under load") \
    X(M_DEGRADED,                 GAUGE,     "parley_degraded_level",                 "what is left out under load: 1 background work, 2 passages, 3 the large model, 4 what nobody approved") \
    X(M_TTFT_SECONDS,             HISTOGRAM, "parley_ttft_seconds",                   "time from a request's last byte to the first content event") \
    X(M_TURN_SECONDS,             HISTOGRAM, "parley_turn_seconds",                   "time from a request's last byte to the end of the answer") \
    X(M_TOKENS_OUT,               COUNTER,   "parley_completion_tokens_total",        "tokens generated, as the upstream counts them") \
    X(M_TOKENS_IN,                COUNTER,   "parley_prompt_tokens_total",            "prompt tokens, as the upstream counts them") \
    X(M_STORE_COMMITS,            COUNTER,   "parley_store_commits_total",            "group commits") \
    X(M_STORE_WRITES,             COUNTER,   "parley_store_writes_total",             "write operations committed") \
    X(M_STORE_COMMIT_SECONDS,     HISTOGRAM, "parley_store_commit_seconds",           "time of one group commit") \
    X(M_STORE_ERRORS,             COUNTER,   "parley_store_errors_total",             "store operations that failed for want of disk, lock or memory") \
    X(M_TRACES_LOST,              COUNTER,   "parley_traces_lost_total",              "traces that the collector did not take") \
    X(M_BACKUPS,                  COUNTER,   "parley_backups_total",                  "backups made and restored for a trial") \
    X(M_BACKUPS_FAILED,           COUNTER,   "parley_backups_failed_total",           "backups that could not be made or restored") \
    X(M_UPSTREAM_REQUESTS,        COUNTER,   "parley_upstream_requests_total",        "requests sent to a model server") \
    X(M_UPSTREAM_ERRORS,          COUNTER,   "parley_upstream_errors_total",          "requests to a model server that failed") \
    X(M_UPSTREAM_FAILOVERS,       COUNTER,   "parley_upstream_failovers_total",       "requests sent to another model server because one failed") \
    X(M_UPSTREAM_HEDGES,          COUNTER,   "parley_upstream_hedges_total",          "requests sent to a second model server because the first was slow") \
    X(M_SIGN_INS,                 COUNTER,   "parley_sign_ins_total",                 "successful sign-ins") \
    X(M_SIGN_INS_REFUSED,         COUNTER,   "parley_sign_ins_refused_total",         "sign-ins with a wrong name or password") \
    X(M_APPROVED_SERVED,          COUNTER,   "parley_approved_answers_total",         "questions that an approved answer was served for") \
    X(M_SEARCH_SECONDS,           HISTOGRAM, "parley_search_seconds",                 "time of one search of the documents, with its question's vector") \
    X(M_SEARCHES_PARTIAL,         COUNTER,   "parley_searches_partial_total",         "searches that left a part out for want of time or of a model") \
    X(M_DOCUMENTS_INDEXED,        COUNTER,   "parley_documents_indexed_total",        "versions of documents made searchable") \
    X(M_DOCUMENTS_FAILED,         COUNTER,   "parley_documents_failed_total",         "versions of documents that were refused") \
    X(M_CHUNKS_EMBEDDED,          COUNTER,   "parley_chunks_embedded_total",          "passages embedded") \
    X(M_FEEDBACK,                 COUNTER,   "parley_feedback_total",                 "ratings given or changed") \
    X(M_GUARD_JUDGED,             COUNTER,   "parley_guard_judged_total",             "messages and answers judged by the guard") \
    X(M_GUARD_BLOCKED,            COUNTER,   "parley_guard_blocked_total",            "messages and answers blocked by the guard") \
    X(M_GUARD_REDACTED,           COUNTER,   "parley_guard_redacted_total",           "messages in which something was replaced before the model read them") \
    X(M_GUARD_SENTENCES_CUT,      COUNTER,   "parley_guard_sentences_cut_total",      "sentences of passages left out of prompts") \
    X(M_GUARD_DOCUMENTS,          COUNTER,   "parley_guard_documents_total",          "documents in which the guard found something when they came in") \
    X(M_GUARD_FALLBACKS,          COUNTER,   "parley_guard_fallbacks_total",          "guard model requests that failed or were too slow") \
    X(M_GUARD_ASKED,              COUNTER,   "parley_guard_asked_total",              "requests to the guard model") \
    X(M_GUARD_ASKS,               GAUGE,     "parley_guard_asks",                     "of them, those under way now") \
    X(M_GUARD_ASKS_OVER,          COUNTER,   "parley_guard_asks_over_total",          "requests to the guard model that were not made, being too many at once; they count as fallbacks, too") \
    X(M_GUARD_CIRCUIT,            GAUGE,     "parley_guard_circuit_open",             "1 while the guard model is not asked because it did not answer several times in a row") \
    X(M_GUARD_CIRCUITS,           COUNTER,   "parley_guard_circuit_opened_total",     "times that this began") \
    X(M_GUARD_INPUT_SECONDS,      HISTOGRAM, "parley_guard_input_seconds",            "time that the guard took for a message") \
    X(M_GUARD_HELD_SECONDS,       HISTOGRAM, "parley_guard_held_seconds",             "time that a window of an answer was held back, from its first byte to its release") \
    X(M_ENGINE_STEPS,             COUNTER,   "parley_engine_steps_total",             "compute steps") \
    X(M_ENGINE_PREFILL_TOKENS,    COUNTER,   "parley_engine_prefill_tokens_total",    "prompt tokens computed") \
    X(M_ENGINE_REUSED_TOKENS,     COUNTER,   "parley_engine_reused_tokens_total",     "prompt tokens taken from a kept prefix") \
    X(M_ENGINE_DECODE_TOKENS,     COUNTER,   "parley_engine_decode_tokens_total",     "tokens generated") \
    X(M_ENGINE_RUNNING,           GAUGE,     "parley_engine_sequences_running",       "sequences that generate now") \
    X(M_ENGINE_QUEUED,            GAUGE,     "parley_engine_requests_queued",         "requests that wait for a slot") \
    X(M_ENGINE_REFUSED,           COUNTER,   "parley_engine_refused_total",           "requests refused because they would have waited too long") \
    X(M_ENGINE_LATE,              COUNTER,   "parley_engine_late_total",              "of the refused, those that were let in and missed their deadline") \
    X(M_ENGINE_QUEUE_SECONDS,     HISTOGRAM, "parley_engine_queue_seconds",           "time that a request waited for a slot") \
    X(M_ENGINE_TOKEN_SECONDS,     HISTOGRAM, "parley_engine_token_seconds",           "time between the tokens of an answer") \
    X(M_ENGINE_SLOTS,             GAUGE,     "parley_engine_slots",                   "sequences that can generate at once") \
    X(M_ENGINE_STEP_SEQUENCES,    COUNTER,   "parley_engine_step_sequences_total",    "sequences that took part in steps; by steps_total: how full they are") \
    X(M_ENGINE_KV_TOKENS,         GAUGE,     "parley_engine_kv_tokens",               "tokens whose keys and values are kept; shared ones count for each") \
    X(M_ENGINE_KV_CELLS,          GAUGE,     "parley_engine_kv_cells",                "tokens that there is room for") \
    X(M_ENGINE_PREFIX_HITS,       COUNTER,   "parley_engine_prefix_hits_total",       "requests that began from a kept prefix") \
    X(M_ENGINE_SHELF_HITS,        COUNTER,   "parley_engine_shelf_hits_total",        "of these, from one that had been put into RAM") \
    X(M_ENGINE_EVICTIONS,         COUNTER,   "parley_engine_evictions_total",         "conversations that had to leave their slot") \
    X(M_ENGINE_SHELVED,           COUNTER,   "parley_engine_shelved_total",           "of these, those that were put into RAM") \
    X(M_ENGINE_MOVE_SECONDS,      HISTOGRAM, "parley_engine_move_seconds",            "time of moving conversations into and out of slots at once, while nothing is computed") \
    X(M_ENGINE_SWAP_SECONDS,      HISTOGRAM, "parley_engine_swap_seconds",            "time of exchanging two conversations' places before a step, while nothing is computed") \
    X(M_ENGINE_KEEP_SECONDS,      HISTOGRAM, "parley_engine_keep_seconds",            "time of keeping a conversation for the engine that comes after this one, while nothing is computed") \
    X(M_ENGINE_KEPT,              COUNTER,   "parley_engine_kept_total",              "states of conversations kept for the engine that comes after this one") \
    X(M_ENGINE_RESTORED_TOKENS,   GAUGE,     "parley_engine_restored_tokens",         "tokens that this engine took over from the one before it") \
    X(M_ENGINE_SHELF_BYTES,       GAUGE,     "parley_engine_shelf_bytes",             "RAM that these take") \
    X(M_ENGINE_GUESSED_TOKENS,    COUNTER,   "parley_engine_guessed_tokens_total",    "tokens guessed from the prompt and computed on trust") \
    X(M_ENGINE_RIGHT_TOKENS,      COUNTER,   "parley_engine_guessed_right_total",     "of these, the right ones") \
    X(M_ENGINE_BACKGROUND_BATCHES, COUNTER,  "parley_engine_background_batches_total", "batches of documents' texts that were embedded") \
    X(M_ENGINE_CALLED_OFF,        COUNTER,   "parley_engine_called_off_total",        "batches of documents' texts that made way for somebody who came and are done again; not among those above") \
    X(M_ENGINE_TTFT_SECONDS,      HISTOGRAM, "parley_engine_ttft_seconds",            "time from a request's arrival to its first token") \
    X(M_ENGINE_THREADS,           GAUGE,     "parley_engine_threads",                 "threads that decoding steps run on") \
    X(M_ENGINE_STEP_SECONDS,      HISTOGRAM, "parley_engine_step_seconds",            "time of one compute step")
/* clang-format on */

enum metric {
#define X(id, kind, name, help) id,
    METRICS_TABLE(X)
#undef X
        M_COUNT
};

void metric_add(enum metric m, int64_t n);            /* counters and gauges */
void metric_set(enum metric m, int64_t v);            /* gauges */
void metric_observe(enum metric m, double seconds);   /* histograms */
int64_t metric_within(enum metric m, double seconds); /* observations up to a bucket's bound */
double metric_mean(enum metric m); /* of a histogram, in seconds; 0 = nothing was observed */
int64_t metric_get(enum metric m); /* counters and gauges; a histogram's count */

/* Renders every metric of the table. Start and resident size of the process are added. */
void metrics_render(struct buf *b);
/* The same without those whose names begin with prefix: another process counts them. */
void metrics_render_without(struct buf *b, const char *prefix);
/* Appends the lines of another process's rendering that are about such metrics. */
void metrics_add_lines(struct buf *b, struct str text, const char *prefix);
