/* Decides what the compute thread does next: continuous batching over all sequences.
 *
 * Each round of the compute thread:
 *   1. end what was cancelled, and what has missed its deadline
 *   2. one embedding batch, if any waits (they are short and a chat turn waits for them), unless
 *      running answers are still to get as much time as the last one took (a single text waits so
 *      after single texts only). Background ones leave them nine times as much, and have none, for
 *      two seconds at most, while a first word is awaited
 *   3. give waiting requests a slot: people before the background, then those of the user who was
 *      served least
 *   4. one step: a token for every running answer (and guesses of the next ones where that pays),
 *      or, where a prompt is a pass over the weights of its own (info.rows), a piece of a prompt;
 *      elsewhere both together. Prompts get as much as keeps the answers' pace, by the order of
 *      forecast.h
 *   5. sample, and tell each request's owner
 *
 * A request:  waiting ─▶ prefilling ─▶ generating ─▶ done
 *                └───────────┴────────────┴──▶ done (cancelled, failed, late)
 *
 * A request that has a deadline is let in only when its first token is predicted to come before it
 * (forecast.h), and ended when it has not: nothing is late in silence. One that waits is told how
 * many are before it.
 *
 * Threads: submit, cancel and stop from any thread; whether a request is let in is said at once,
 * also in the middle of a step. sched_run() or sched_round() on the one compute thread, where also
 * the callbacks run: they must be short and must not call back into the scheduler (but cancel). */
#pragma once

#include "base/err.h"
#include "engine/grammar.h"
#include "engine/keep.h"
#include "engine/model.h"
#include "engine/sampler.h"

#define SCHED_FORCED_MAX 128
#define SCHED_PATIENT    16

struct sched;

struct sched_options {
    int slots;          /* sequences that answer at once */
    int prefixes;       /* system prompts kept */
    int prefix_tokens;  /* tokens of them together */
    int cells;          /* tokens that the slots hold together */
    size_t shelf_bytes; /* RAM for conversations without a slot */
    int max_queued;     /* chat requests that wait */
    int deadline_ms;    /* for the first token of those that state none, 0 = none */
    bool no_guesses;    /* never guess tokens that may follow */
    int hold_ms; /* after somebody's text was embedded, that of the background waits: most often a
                    question follows, which would wait for it; 0 = it does not */
    struct keep *keep; /* for the process that comes after this one; borrowed, NULL = none */
    /* What a step costs as far as it is known: see forecast.h. 0 = not known. */
    double base_ns, answer_ns, prompt_ns;
};

enum sched_end { SCHED_STOP, SCHED_LENGTH, SCHED_CANCELLED, SCHED_FAILED };

struct sched_event {
    bool done;   /* the last event; token is then not set */
    bool queued; /* it waits: position others are before it; nothing else is set */
    int position;
    struct sampled token; /* borrowed for the call */
    int forced;           /* the first bytes of the token's text that were sched_chat.forced */
    enum sched_end end;
    const struct errinfo *ei; /* of SCHED_FAILED */
    int prompt_tokens, cached_tokens, answer_tokens;
};

struct sched_chat { /* a request; submit moves prompt and grammar out of it and copies the rest */
    struct tokens prompt;
    int prefix;     /* its first tokens that others of the same role share, 0 = none */
    int max_tokens; /* of the answer */
    struct sampler_params sampling;
    int partial; /* the prompt's last tokens that belong to the answer already */
    /* Computed as it always is, to the last bit where the model allows it (info.rows): nothing is
     * guessed, and a partial answer is computed again as it was said, token by token. */
    bool exact;
    /* The answer must begin with these bytes: the end of a partial answer whose last token was
     * perhaps cut in two. Their tokens are chosen among those that fit, and come as events like
     * all. */
    char forced[SCHED_FORCED_MAX];
    int n_forced;
    int adapter;             /* of the prompt's tokens, and so of the answer's; see model.h */
    struct grammar *grammar; /* what the answer must follow, NULL = anything; moved by submit */
    struct str followed;     /* the part of it that is there already; borrowed for submit */
    bool wait; /* rather than being refused: SCHED_PATIENT times as many such requests may queue */
    int64_t wait_ms;     /* with wait: as long as that at most, as predicted; 0 = however long */
    int64_t deadline_ms; /* from arrived_ns to the first token; 0 = none, -1 = the usual one */
    bool background;     /* behind everybody else */
    uint64_t conversation, user; /* keys, 0 = none */
    uint64_t place;              /* that sched_chat_glance() gave, 0 = none */
    int64_t arrived_ns;
    void (*on_event)(void *ctx, const struct sched_event *e); /* a done event comes exactly once */
    void *ctx;
};

struct sched_embed {      /* submit moves texts out of it; on_done comes exactly once */
    struct tokens *texts; /* malloc'd array of malloc'd tokens, each at most the window */
    int n;
    bool background; /* documents: only after those for whom somebody waits, in short batches, and
                        beside answers in a tenth of the time */
    void (*on_done)(void *ctx, enum err e, float *vectors /* n rows, to be freed */,
                    const struct errinfo *ei);
    void *ctx;
};

/* Either model may be NULL; requests for it are refused. The models stay the caller's. What `keep`
 * has is taken over into the slots: on the compute thread, then. */
enum err sched_new(struct model *chat, struct model *embedding, const struct sched_options *o,
                   struct sched **ret) ERR_CHECK;
void sched_free(struct sched *s); /* after sched_run() returned; what is left ends as cancelled */

/* ERR_OVERLOADED with a computed retry_after_ms when too many wait or the first token would come
 * too late; ERR_CONTEXT with the numbers when the prompt leaves no room for one token. *ret_id
 * names the request in sched_cancel(). Its place (c->place) is given up, whatever comes of it. */
enum err sched_chat_submit(struct sched *s, struct sched_chat *c, uint64_t *ret_id,
                           struct errinfo *ei) ERR_CHECK;
/* The refusal of a prompt that leaves no room for one token. about: it was not counted to the end.
 */
enum err sched_too_long(const struct model *m, int tokens, bool about,
                        struct errinfo *ei) ERR_CHECK;
struct sched_glance { /* tokens of a prompt that are to be computed, before it is read */
    int least;        /* 0 = that cannot be told: it is not refused yet */
    int likely, most;
};
/* Before the prompt is read, which takes longer than to refuse it: refuses as sched_chat_submit()
 * would, were the prompt ever so short. ERR_OK: c->place stands for the request among those that
 * wait, so that who comes meanwhile is not promised its time, until it is submitted with it or
 * sched_chat_leave() is called. Of c the prompt and what is made of it need not be there; nothing
 * is moved. Any thread, as all of these. */
enum err sched_chat_glance(struct sched *s, struct sched_chat *c, const struct sched_glance *g,
                           struct errinfo *ei) ERR_CHECK;
void sched_chat_leave(struct sched *s, uint64_t place); /* 0 and unknown ones are fine */
/* ERR_OVERLOADED with retry_after_ms when too many tokens of texts wait. *ret_id as above. */
enum err sched_embed_submit(struct sched *s, struct sched_embed *e, uint64_t *ret_id,
                            struct errinfo *ei) ERR_CHECK;
/* Ends a request before the next step, or within this one when nobody else takes part; embeddings
 * after their batch. Unknown ids are fine. */
void sched_cancel(struct sched *s, uint64_t id);

void sched_run(
    struct sched *s); /* rounds until sched_stop(); sleeps while there is nothing to do */
bool sched_round(struct sched *s); /* one round without sleeping; false: there was nothing to do */
void sched_stop(struct sched *s);  /* running answers end as cancelled */
bool sched_should_abort(struct sched *s); /* for the model's abort hook; any thread */
/* What a step costs, as measured before the start or learnt since; false: neither says enough. Any
 * thread. */
bool sched_costs(struct sched *s, double *ret_base_ns, double *ret_answer_ns,
                 double *ret_prompt_ns);
