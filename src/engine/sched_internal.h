/* What the scheduler's files share: scheduler.c (rounds, and what other threads ask for),
 * sched_admit.c (who may come in, who is next), sched_step.c (what a step computes and what comes
 * of it), sched_embed.c (batches of texts), sched_keep.c (what outlives the process).
 *
 * Two locks. `state` is held by the compute thread but while the model computes, states are copied
 * and tokens are chosen, and by who submits: the lists, slots and the forecast are read for an
 * answer at once, in a step's middle. Others only append to `waiting`, `coming` and `embeds` and
 * take from `coming`; everything else changes on the compute thread alone. `lock` is held for
 * moments only and never while `state` is waited for. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "engine/fairness.h"
#include "engine/forecast.h"
#include "engine/guide.h"
#include "engine/lookup.h"
#include "engine/scheduler.h"
#include "engine/slots.h"

#define PACE 2 /* small prompts go one after another as long as so many plain steps */
#define QUICK_NS                                                                                   \
    (700 * MS) /* a prompt that takes no longer can have its first word in time: of a turn, mostly \
                */
#define QUICK_PIECE_NS                                                                             \
    (300 * MS) /* and its chunks may take so long: a longer gap in running answers, once, costs    \
                  less than a late first word */
#define FIRST_WORDS 4 /* times that of an answer's next token counts the wait for a first word */
#define SMOOTH      0.1
#define MS          1000000ll

struct job {
    struct job *next;
    uint64_t id;
    struct sched_chat chat;
    struct sampler *sampler;
    struct guide *guide; /* of chat.grammar, NULL = none */
    struct slot *slot;   /* NULL while waiting */
    struct account *account;
    int rank;        /* requests of the same user that came before it and have not ended */
    int64_t turn;    /* order in which requests came to be their user's first; 0 = it is not */
    int64_t settled; /* what its user had been served then, in steps of SETTLED tokens */
    int64_t submitted_ns;
    int64_t started_ns;  /* when it first got a slot, 0 = not yet */
    double order_ns;     /* for sorting: see forecast_order_ns() */
    int64_t token_ns;    /* when it got its last token */
    int64_t deadline_ns; /* without a first token then it is refused; 0 = none */
    double predicted_ns; /* from submission to the first token */
    bool at_once;        /* a slot was free for it when it came */
    int fresh;           /* tokens of the prompt that had to be computed when it came */
    int told;            /* the position it was last told, -1 = none */
    int64_t told_ns;
    int prompt_tokens, cached_tokens, answer_tokens;
    double read_ns;  /* a token of its prompt, as predicted when it got its slot: whether a prompt
                        is a long one does not change while it is read */
    double piece_ns; /* that its part of the step is to take, when that is a step of its own */
    double depth_ns; /* that a token of its last pieces took, the rest of a pass apart; 0 = not
                        known. The later in a prompt, the longer */
    int item;        /* the step's first item whose logits are its own, -1 = none */
    int computed_after; /* slot->computed when the step has succeeded */
    bool unsettled;     /* bytes still move for its slot: it takes part in no step */
    bool prefix_kept;
    int kept; /* tokens that the next process will find (keep.h), as last looked; 0 = not looked */
    int forced_done; /* bytes of chat.forced that were said */
    struct lookup lookup;
    int32_t draft[LOOKUP_MAX]; /* tokens that are computed in this step on trust */
    int n_draft;
};

struct embed_job {
    struct embed_job *next;
    uint64_t id;
    struct sched_embed e;
    int tokens; /* of all texts */
    float *vectors;
    int done;
    int64_t served_ns; /* when it came or had its last batch */
};

struct sched {
    struct model *model, *embedding;
    struct sched_options o;
    struct vocabulary *vocabulary; /* of model; does not change */

    pthread_mutex_t state; /* guards down to embed_queued */
    struct slots *slots;
    struct fairness *fairness;
    struct forecast forecast;
    struct job *waiting, *running; /* in order of arrival */
    struct job *coming; /* let in, as far as could be told; their prompts are being read. Also in
                           order of arrival */
    struct embed_job *embeds;
    int n_waiting, n_coming;
    int embed_queued;     /* tokens of embedding requests that have not ended */
    double embed_ns;      /* of one such token, smoothed */
    double request_ns;    /* from slot to end, smoothed */
    int64_t step_ends_ns; /* when the running step should end, 0 = none runs */
    bool yields;          /* the running step, or batch of texts, is the background's alone */
    int64_t turns;        /* given so far */
    int64_t retry_ns;     /* when the last one that was refused may come back */
    int64_t told_ns;      /* when positions were last told */
    int64_t text_ns;   /* when somebody's text was embedded whose question has not come, 0 = none */
    double follows;    /* the share of such texts that a question followed at once, smoothed */
    double follow_ns;  /* after so long, smoothed */
    double prefill_ns; /* of prompts since running answers last had a step, with the running one;
                          with rows */

    /* compute thread only */
    struct model_item *items;
    int64_t embed_after_ns; /* until then running answers have the cores, and lists of texts wait */
    int64_t text_after_ns;  /* until then single texts do, too */
    int64_t hold_ns;        /* until then background embeddings wait for a question */
    int64_t background_ns;  /* when they last had a batch, and how long it took */
    int64_t background_took_ns;
    int64_t rest_ns;      /* nothing is to be done until then but for news; 0 = nothing at all */
    bool unsettled;       /* bytes still move; nobody else gets a slot */
    double moved_ns;      /* that took so long since running answers last had a step */
    double between_ns;    /* computed since running answers last had a step */
    int calm;             /* answers in the last step, of only them, if nothing came since; else 0;
                          -1 = bytes were moved */
    int background_steps; /* steps in which background answers stood back */
    int64_t keep_ns;      /* until then nothing is kept */
    double keep_token_ns; /* keeping took so long for each token, smoothed; 0 = not known */

    pthread_mutex_t lock; /* guards down to stop */
    pthread_cond_t wake;
    uint64_t *cancels; /* owned */
    int n_cancels, cancels_size;
    uint64_t *live; /* who takes part in the running step and is not cancelled */
    int n_live;
    uint64_t next_id;
    bool news; /* something was submitted */
    bool stop;

    atomic_bool abort;
};

#define LIST_APPEND(list, entry, type)                                                             \
    do {                                                                                           \
        type **at_ = &(list);                                                                      \
        while (*at_)                                                                               \
            at_ = &(*at_)->next;                                                                   \
        (entry)->next = NULL;                                                                      \
        *at_ = (entry);                                                                            \
    } while (0)

static inline int job_todo(const struct job *j) { /* tokens without keys and values */
    return j->slot->tokens.n - j->slot->computed;
}

static inline bool job_generating(const struct job *j) {
    return j->answer_tokens > 0 && job_todo(j) == 1;
}

/* ---- scheduler.c; all with the state locked ---- */
void sched_unlink(struct job **list, struct job *j);
void sched_end_job(struct sched *s, struct job *j, enum sched_end end, const struct errinfo *ei);
/* A person asked: a step or batch that is the background's alone ends at once and is computed again
 * later. */
void sched_make_haste(struct sched *s);
void sched_end_haste(struct sched *s); /* … and what comes after that is not to end at once */
uint64_t sched_wake(struct sched *s);  /* something was submitted: returns its id */

/* ---- sched_admit.c; all with the state locked ---- */
/* Whether the job may come in, from what is known now: sets its deadline and prediction. */
enum err sched_may_enter(struct sched *s, struct job *j, struct errinfo *ei) ERR_CHECK;
/* The job takes over what was held for it: its id, turn and account. False: nothing was. */
bool sched_take_place(struct sched *s, struct job *j, uint64_t place);
void sched_refuse_late(struct sched *s); /* ends those that cannot make their deadline any more */
/* Ends the job if its deadline has passed; false: it has not. */
bool sched_end_late(struct sched *s, struct job *j, int64_t now);
/* Whether the job was let in by a prediction that may be learnt from. */
bool sched_was_promised(const struct sched *s, const struct job *j);
void sched_admit(struct sched *s); /* gives waiting requests a slot */
/* Goes on moving what their slots are to hold, and what was in them; unlocks meanwhile. Beside
 * running answers no longer than a piece of a long prompt may take. */
void sched_settle(struct sched *s);
/* How much of a piece's time beside so many answers went into moving since they had a step, and how
 * much of it is so much that they are next. */
double sched_moved_share(const struct sched *s, int answers);
#define SCHED_MOVED_MUCH 0.5
void sched_tell_positions(struct sched *s);

/* ---- sched_step.c; with the state locked ---- */
void sched_chat_step(struct sched *s);
/* Tokens of a prompt that are computed at once beside so many answers. */
int sched_chunk(const struct sched *s, int answers, bool quick);

/* ---- sched_keep.c; compute thread, with the state locked ---- */
void sched_restore(struct sched *s); /* what the process before left, into empty slots */
/* After a step that succeeded: one of the running conversations, if due. Unlocks meanwhile. */
void sched_keep(struct sched *s);

/* ---- sched_embed.c; all with the state locked ---- */
bool sched_first_word_is_awaited(const struct sched *s); /* by a person */
/* A person's question came. */
void sched_embed_followed(struct sched *s, int64_t now);
/* Until when the next step is to wait for the question that most often follows a text at once, as
 * it would otherwise wait for that step; 0 = it is not. */
int64_t sched_embed_awaits(struct sched *s, int64_t now);
bool sched_embed_round(struct sched *s); /* false: nothing was due */
void sched_embed_cancel(struct sched *s, uint64_t id);
void sched_embed_end(struct sched *s, struct embed_job *j, enum err err, const struct errinfo *ei);
