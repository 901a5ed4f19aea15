/* What the files of turn/ share.
 *
 * Threads. A struct turn and a struct turn_loop belong to one loop; only functions that run inside
 * the store touch a turn elsewhere, and while one does the loop keeps its hands off what it uses. A
 * struct stream is shared: its fields are under its lock unless said otherwise. Locks are taken in
 * the order hub, stream, and none is held while a callback runs. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "base/buf.h"
#include "prompt/count_cache.h"
#include "prompt/prompt.h"
#include "retrieval/support.h"
#include "safety/stream.h"
#include "store/mark.h"
#include "turn/guard_ask.h"
#include "turn/guard_gate.h"
#include "turn/pace.h"
#include "turn/tails.h"
#include "turn/trace.h"
#include "turn/turn.h"

#define TURN_LOOPS_MAX 256
#define TURN_BUCKETS   4096
#define TURN_ANSWER_MAX                                                                            \
    ((size_t)1 << 20)       /* bytes of one answer; past it the answer ends as "length" */
#define TURN_KEPT_MAX  2048 /* streams that are over; of older ones the store tells */
#define TURN_RING_MAX  ((size_t)256 << 10) /* bytes of a stream's kept events */
#define TURN_ARENA_MAX ((size_t)256 << 20)
#define TITLE_MAX      60 /* characters */
#define TITLE_SIZE     (TITLE_MAX * 4 + 4)

struct turn;
struct turn_loop;
struct task;
struct checkpoint_group;

/* ---- hub.c: streams by message id, and who is attached ---- */

struct event { /* immutable but for refs */
    atomic_int refs;
    int64_t id;
    enum stream_kind kind;
    size_t n;
    char data[];
};

struct stopper { /* who waits for a turn to have ended */
    struct stopper *next;
    struct loop *loop;
    store_done done;
    void *ctx;
};

/* Event ids grow, and say where in the answer they stand, so that who comes back is served by any
 * process that has the text, also by one that was started after the first died:
 *
 *   bits 31…52 generation · 10…30 bytes of text published · 0…9 how many events without text since
 *
 * The generation grows when a part of the text may have been replaced: the turn was taken up again
 * by another process from a checkpoint, or begun anew by a server that cannot continue. Up to
 * `base` bytes the text is the former generation's. */
#define EVENT_TEXT_SHIFT       10
#define EVENT_GENERATION_SHIFT 31
#define EVENT_GENERATIONS_MAX  ((int64_t)1 << 21)
#define EVENT_ORDER_MAX        ((int64_t)1 << EVENT_TEXT_SHIFT)

struct generation { /* zero: nothing was ever taken up again */
    int64_t n;
    size_t base_first, base_last; /* of generation 1 and of the newest; bases never shrink */
};

struct stream {
    atomic_int refs; /* the hub, the turn and each subscription hold one */
    struct turns *owner;
    struct uuid message_id, user_id; /* never change */
    struct stream *next;             /* in its bucket (the hub's lock) */
    struct stream *next_ended;       /* the hub's lock */
    int64_t ended_ns;                /* the hub's lock */
    struct loop *loop;               /* the turn's; NULL for answers read from the store */
    struct turn *turn;               /* the turn's loop only; NULL once it is over */

    pthread_mutex_t lock;
    struct event **events; /* owned */
    size_t n_events, size_events, bytes;
    int64_t last_id;      /* events[n_events - 1]->id, if there are any */
    int64_t forgotten_id; /* of the newest event that is not kept any more; 0 = all are kept */
    struct generation generation;
    struct event *reserve; /* the last event, should memory be out then; owned */
    struct buf text;       /* all of the answer so far; appended by the turn's loop only */
    size_t published;      /* how much of it went out in token events */
    bool ended;            /* the last event is there */
    bool waiting;          /* its turn is still to be taken up (recover.c) */
    bool stop_wanted;      /* while it waited */
    bool failed;           /* no event ever came and none will: ei */
    struct errinfo ei;
    struct subscription *subs;
    struct stopper *stoppers;
};

struct hub {
    pthread_mutex_t lock;
    struct stream *buckets[TURN_BUCKETS];
    struct stream *ended, **ended_tail; /* in the order of ending */
    int n_ended;
    struct user_slot *users[TURN_BUCKETS];
    int running;
};

void hub_init(struct hub *h);
void hub_deinit(struct hub *h); /* frees streams and subscriptions; the loops have ended */
/* A slot for a turn of that user, given back with hub_leave(). ERR_OVERLOADED, ERR_RATE. */
enum err hub_enter(struct hub *h, const struct uuid *user, int max, int max_per_user,
                   struct errinfo *ei) ERR_CHECK;
void hub_enter_always(struct hub *h, const struct uuid *user); /* what runs already is let in */
void hub_leave(struct hub *h, const struct uuid *user);
void hub_sweep(struct hub *h, int64_t older_than_ns); /* forgets streams that ended before */

struct stream *stream_new(struct turns *t, const struct uuid *user, const struct uuid *message,
                          struct loop *l);   /* one ref; NULL when out of memory */
struct stream *stream_ref(struct stream *s); /* s */
void stream_unref(struct stream *s);
/* The turn begins; true when somebody wanted it stopped while it waited. */
bool stream_begin(struct stream *s, struct loop *l);
void hub_add(struct hub *h, struct stream *s);
struct stream *hub_find(struct hub *h, const struct uuid *message); /* a ref, or NULL */
/* DONE and ERROR end the stream. Failing to get memory for a token is made good by a reset. */
void stream_publish(struct stream *s, enum stream_kind kind, struct str data);
/* The stream of an answer that is already partly there: who comes back to it goes on in the text.
 */
enum err stream_restore(struct stream *s, struct str text, const struct generation *g) ERR_CHECK;
/* Takes back the text from byte `keep` on: those who have seen more get a reset. */
void stream_take_back(struct stream *s, size_t keep);
/* The same where the turn goes on in the order of its events: true when more was published than is
 * kept, so that a RESET is to be published now. */
bool stream_cut(struct stream *s, size_t keep);
/* What of the text did not go out yet. at_once: a reader on the stream's loop is served inside the
 * call, which is not made from a callback of a reader then. */
void stream_publish_text(struct stream *s, bool at_once);
void stream_fail(struct stream *s, const struct errinfo *ei);
void stream_ended(struct hub *h,
                  struct stream *s); /* tells the stoppers, starts the keeping time */
enum err stream_subscribe(struct stream *s, struct loop *l, int64_t after,
                          const struct stream_sink *sink, void *ctx,
                          struct subscription **ret) ERR_CHECK;

/* ---- turns.c ---- */
struct turn_loop {
    struct turns *t;
    struct loop *loop;
    struct upstream_client *client;
    struct upstream_client *guard_client; /* owned; NULL = there is no guard model */
    struct timer *sweep;
    struct turn *turns; /* running here */
    int n_turns;
    struct tracer *tracer;  /* NULL: traces go nowhere */
    struct guard_ask *asks; /* guard_ask.c: under way here */
    int resuming;           /* of them, taken up from a process that died */
    bool detached;
    /* pace.c */
    struct timer *pulse;
    int64_t pulse_ns;  /* when it was started; 0 = no turn runs */
    atomic_int lag_ms; /* by how much the loop is late */
    int apart_ms;      /* so long after the last one a piece of an answer goes out */
    struct turn *due;  /* whose text goes out when the loop has read what there is to read */
    int64_t cpu_ns, counted_ns, flushes; /* of the loop's thread, when counting began; since then */
    double flush_us;                     /* CPU time of the loop for a piece, all in all */
    struct turn *held;                   /* new turns that wait for it, oldest first */
    struct turn *held_last;
    int64_t answer_ns; /* whole.c: how long answers took of late; 0 = none came yet */
    /* checkpoint.c */
    struct timer *tick;
    bool ticking;
    struct checkpoint_group *groups;
    /* background.c */
    struct task *tasks; /* waiting, oldest first */
    int n_tasks;
    struct task *task; /* the one that runs */
    struct timer *task_timer;
};

struct degrade { /* degrade.c */
    pthread_mutex_t lock;
    enum degrade_level level;
    int64_t changed_ns, window_ns;
    int64_t first_words, in_time; /* when the window began */
    double slow;                  /* in the window before */
};

struct turns {
    struct turns_options o;
    struct degrade degrade;
    struct count_cache *counts;
    struct tails *tails;             /* owned; NULL = none */
    struct guard_known *guard_known; /* owned, like the gate; NULL = there is no guard model */
    struct guard_gate *guard_gate;
    struct talks *talks; /* owned */
    struct hub hub;
    pthread_mutex_t lock; /* of loops and n_loops */
    struct turn_loop *loops[TURN_LOOPS_MAX];
    int n_loops;
    struct resume *resumes;  /* recover.c: those that wait to be taken up, oldest first (lock) */
    atomic_bool recovered;   /* turns_recover() has done its work: their streams are there */
    atomic_int running;      /* turns of people */
    atomic_int tasks_active; /* background work that runs */
};

struct turn_loop *turn_loop_of(struct turns *t, struct loop *l); /* NULL if not attached */
/* stream: of an answer that is there already, else NULL. */
enum err turn_make(struct turn_loop *tl, const struct turn_input *in, struct stream *stream,
                   struct turn **ret) ERR_CHECK;
void turn_enlist(struct turn *turn); /* among the running ones of its loop */

/* ---- turn.c ---- */
#define MS 1000000ll

/* Who writes an answer's row as it will stay: mostly `finish`, after the row that `append` made.
 *
 *   NONE ─ append ─→ QUEUED ─ the store begins ─→ TAKEN
 *                      └ all of the answer is there ─→ WHOLE ─ the store begins ─→ TAKEN_WHOLE
 *
 * A loop and the store's thread change it: WHOLE says that turn.whole is the store's to read. */
enum append_state {
    APPEND_NONE,
    APPEND_QUEUED,
    APPEND_WHOLE,
    APPEND_TAKEN,
    APPEND_TAKEN_WHOLE /* question and answer were stored at once: `finish` has nothing to do */
};

struct turn {
    struct turns *t;
    struct turn_loop *tl;
    struct turn *prev, *next; /* of its loop */
    bool enlisted;            /* there */
    struct arena *arena;
    struct stream *stream; /* a ref */
    struct turn_input in;  /* content in the arena */
    int step;
    struct turn *held_next;   /* pace.c */
    int64_t hold_until_ns;    /* 0 = it is not held */
    enum degrade_level level; /* when it began */
    unsigned left_out;        /* of what a turn has otherwise: LEFT_OUT_… */
    int store_ops;            /* functions of this turn that are in the store */
    int64_t started_wall_ms;

    /* loaded (load.c) */
    struct conversation conversation;
    struct role role;
    struct message *branch; /* the prompt's messages, the new one last */
    size_t n_branch;
    int64_t wait_until_ms; /* the guard has the user wait; in the past: no more */
    /* The same as the store has it, for the next turn (talks.c): the conversation, which nothing
     * changes here, and */
    struct role role_loaded;
    struct message *loaded; /* the branch without the new one */
    size_t n_loaded;
    struct store_mark mark;
    struct talk *talk; /* owned; what of it was kept; NULL: it was read */

    struct str model; /* the role's own, else the default's name; may be empty */

    /* What learning says (recall.c), and what the record of the turn gets (record.c); arena. */
    struct turn_arm arm;
    struct uuid approved_id;
    struct str approved; /* an answer that is served instead of the model's; empty = none */
    struct turn_examples examples;
    int examples_n;  /* tokens of those that the prompt shows, about */
    uint64_t plan;   /* of upstream_plan_chat() */
    struct str pair; /* of two passages of which one was drawn to be shown, JSON; empty = none */
    struct str recorded_passages, recorded_guard;      /* JSON lists; empty = none */
    struct str question_vector, question_vector_model; /* floats as bytes; empty = none */
    bool unsafe;                                       /* the guard stopped or changed the answer */

    /* The documents (retrieve.c, passages.c). */
    struct retrieval_scope scope;
    struct role_retrieval documents;
    struct str attachments; /* of the question that is posted, as they are stored; arena */
    struct retrieval_call *searching;
    enum err retrieve_err;          /* of the documents' search, when it has ended */
    bool looked;                    /* there was something to look for */
    size_t n_found;                 /* passages of documents */
    struct web_search_call *asking; /* search services (web.c); both run at once */
    struct web_hit *web_hits;
    size_t n_web;
    int web_budget; /* tokens of all passages */
    struct support_call *checking;
    bool checked;

    struct prompt prompt;
    /* What is stored; the store reads them while appending and finishing, so that nothing else
     * changes them then. */
    struct message question, answer; /* question.message_id not set: regenerating */
    char title[TITLE_SIZE];          /* of a conversation that has none yet, else "" */
    _Atomic enum append_state append;
    struct message begun;   /* the answer's row as it is appended otherwise */
    struct message whole;   /* the answer's final row, from WHOLE on */
    int64_t whole_until_ns; /* until then `append` waits for all of the answer (whole.c); 0 = not */
    bool whole_waits;       /* it does */

    struct trace trace;
    int64_t asked_ns, told_ns; /* when the model was asked, and had said all; 0 = not yet */

    struct upstream_call *counting, *call;
    bool open;     /* durable, and events go out */
    bool answered; /* the upstream is through with it, one way or another */
    bool stopping, detached;
    int queued_position; /* -1 = none to be told */
    char finish_reason[32];
    int prompt_tokens, completion_tokens; /* as the model server told; -1 = not */
    struct errinfo failure; /* of the upstream or the finishing write; code ERR_OK = none */

    /* ask.c: going on with an answer that broke off */
    struct timer *pause;
    int breaks, breaks_idle;
    int tokens_before;         /* of the text that the running request was given to go on with */
    struct unfinished resumed; /* TURN_RESUME: what is noted of it */

    /* guard.c; while the guard judges the question, its job owns this, the arena and the branch */
    struct {
        struct policy *policy; /* a reference; NULL = no guard */
        struct str asked;      /* the question as it was written */
        float *embedding; /* of it, as the scorer reads it, the vector first; owned; NULL = none was
                             had (yet) */
        int dimensions;
        char embedding_model[128];
        struct upstream_call *embedding_call;
        struct timer *embedding_patience;
        int64_t embedding_until_ns; /* clock_mono_ns(); for it and the talk's; 0 = not asked yet */
        bool has_core; /* behind it stands that of the request in its frame (safety/views.h) */
        float *talk_embedding; /* of the last turns with the question; owned; NULL = none was had */
        bool talk_looked_at;   /* whether it is worth asking for */
        bool embedding_asked, embedded; /* embedded: it is there, or there will be none */
        bool waits;                     /* the guard for the embedding */
        bool step_waits;                /* a later step for it (turn_guard_vector) */
        bool with_embedding, is_last;   /* of the judgement that runs */
        bool early; /* the model is asked before the last verdict, which waits for the embedding */
        bool begun; /* the step `verdict` */
        bool settled; /* the verdict on the question is final */
        enum err late_error;
        struct late_judgement *late; /* that last one, while it is made */
        struct pii_vault *vault;
        struct safety_stream *stream; /* what the answer passes through */
        struct safety_verdict in, out;
        struct str context, words; /* earlier messages; the refusal or the warning */
        struct str blocked;        /* what of the answer was not let through */
        char country[8];
        char canary[SAFETY_CANARY_SIZE];
        int64_t began_ns;
        enum err error;
        size_t left_out;          /* sentences of passages */
        uint64_t clean;           /* passages that need not be judged (passages_clean) */
        struct guard_ask *asking; /* the guard model */
        void (*then)(struct turn *t, enum err e);
        struct errinfo broken; /* of an answer that broke off, until what was held is judged */
        bool refused;          /* the question: the model is not asked */
        bool cut_off;          /* the answer was blocked in its middle */
        bool out_told;         /* answer.safety is what was found in the answer */
        bool announced;        /* and that was said */
    } guard;

    struct timer *flush, *retry;
    bool flushing; /* flush is set */
    bool due;      /* in the loop's list */
    struct turn *due_prev, *due_next;
    int64_t flushed_ns;
    size_t checkpointed;       /* bytes of the text that are stored */
    int64_t checkpoint_due_ns; /* when it is stored next; 0 = not any more, or not yet */
    int checkpoint_ms;         /* the pause before that */
    bool checkpointing;        /* it is in a group that the store has */
    int finish_tries;
    bool late; /* told as failed because the store failed; its row is still tried */
    enum message_status late_status;
};

enum step_result { STEP_DONE, STEP_WAIT, STEP_FAIL };

void turn_run(struct turn *t);      /* from its current step on; the turn may be gone afterwards */
void turn_continue(struct turn *t); /* what the current step waited for is there */
/* Before `open` only: nothing is stored. The turn is gone afterwards. */
void turn_fail(struct turn *t, const struct errinfo *ei);
bool turn_is_at(const struct turn *t, enum step_result (*run)(struct turn *, struct errinfo *));
bool turn_is_over(const struct turn *t);
enum err turn_take(struct turn *t, struct str text) ERR_CHECK; /* a piece through the sinks */
void turn_release(struct turn *t); /* timers, calls, its place among the running */
void turn_free(struct turn *t);
struct errinfo turn_explain(enum err e, const struct errinfo *ei); /* ei's words if they are of e */
void turn_on_stored(void *arg, enum err e, const struct errinfo *ei); /* of load and append */

/* ---- pace.c ---- */
enum step_result turn_step_hold(struct turn *t, struct errinfo *ei);
void pace_begin(struct turn_loop *tl); /* a turn runs */
void pace_end(struct turn_loop *tl);
void pace_forget(struct turn *t);       /* it is not held any more */
int pace_most_late_ms(struct turns *t); /* any thread */

/* ---- degrade.c ---- */
#define LEFT_OUT_PASSAGES   1u
#define LEFT_OUT_MODEL      2u
#define LEFT_OUT_UNAPPROVED 4u
#define LEAST_PASSAGES      2
enum degrade_level degrade_now(struct turns *t);   /* any thread */
int degrade_passages(const struct turn *t, int k); /* how many of k are looked for */
void degrade_found(struct turn *t, size_t n);      /* so many were there */
void degrade_web(struct turn *t);                  /* search services are not asked */
void degrade_model(struct turn *t);                /* into the turn's role */
enum step_result turn_step_spare(struct turn *t, struct errinfo *ei);
void degrade_tell(struct turn *t);
void degrade_add_json(struct buf *b, unsigned left_out); /* a list of names */

/* ---- talks.h ---- */
struct talk;
struct talks;

/* ---- prepare.c ---- */
enum step_result turn_step_load(struct turn *t, struct errinfo *ei);
enum step_result turn_step_check(struct turn *t, struct errinfo *ei);
/* ---- retrieve.c: passages for the question, and whether the answer stands in them ---- */
enum step_result turn_step_retrieve(struct turn *t, struct errinfo *ei);
enum step_result turn_step_cite(struct turn *t, struct errinfo *ei);
void turn_retrieve_stop(struct turn *t);   /* what runs is called off */
void turn_retrieve_settle(struct turn *t); /* goes on once both searches have ended */

/* ---- given.c: documents that came with messages ---- */
#define TURN_GIVEN_MAX 16 /* documents that a search has in mind, newest first */
enum err turn_given_load(struct store_tx *tx, struct turn *t, struct errinfo *ei) ERR_CHECK;
/* Those of the branch, and what the question has to do with them, into q. */
enum err turn_given_take(struct turn *t, struct retrieval_request *q) ERR_CHECK;

/* ---- web.c ---- */
void turn_web_ask(struct turn *t, const struct retrieval_request *asked);
void turn_web_stop(struct turn *t);
enum err turn_web_keep(struct turn *t, size_t n_documents); /* into retrieved_docs */
enum step_result turn_step_fit(struct turn *t, struct errinfo *ei);

/* ---- guard_question.c: the guard before the model, and beside its first work ---- */
/* Asks for the embedding of the question, once; the sooner the less is waited for. */
void turn_guard_embed(struct turn *t, struct str text);
/* The embedding of the text, where it is the question; *ret NULL: none is to be had. False: it is
 * on its way, and the current step is run again when it is there. */
bool turn_guard_vector(struct turn *t, struct str text, const float **ret, int *ret_dimensions);
enum step_result turn_step_guard(struct turn *t, struct errinfo *ei);
enum step_result turn_step_verdict(struct turn *t, struct errinfo *ei);
void turn_guard_stop_judging(struct turn *t); /* the turn ends */

/* ---- guard.c: the guard and the answer ---- */
const struct policy_role *turn_guard_role(const struct turn *t, struct str *ret_slug);
struct str turn_guard_verdict_json(struct turn *t, const struct safety_verdict *v,
                                   enum safety_direction d, struct str words, struct str notice);
bool turn_guard_is_first(const struct turn *t); /* the conversation's first answer */
/* What preferences say of the country, which chooses the help that is named. */
void turn_guard_take_country(struct turn *t, struct str preferences);
enum err turn_guard_load(struct store_tx *tx, struct turn *t, struct errinfo *ei) ERR_CHECK;
/* With append and finish: the cases for review. */
enum err turn_guard_append(struct store_tx *tx, struct turn *t) ERR_CHECK;
enum err turn_guard_finish(struct store_tx *tx, struct turn *t) ERR_CHECK;
/* A piece of the answer, and its end. False: there is no guard, it goes on directly. */
bool turn_guard_feed(struct turn *t, struct str text);
bool turn_guard_end(struct turn *t);
/* The answer broke off: what is held is judged first, then the rest is asked for. False: nothing is
 * held. */
bool turn_guard_settle(struct turn *t, const struct chat_result *r);
void turn_guard_answer(struct turn *t); /* at the step `answer`: what the guard has to say */
/* Lets go of what of the answer was not judged yet. */
void turn_guard_release(struct turn *t);
void turn_guard_free(struct turn *t);
/* ---- guard_ask.c ---- */
struct guard_known *guard_known_new(void); /* NULL: out of memory */
void guard_known_free(struct guard_known *k);
void guard_asks_end(struct turn_loop *tl); /* the loop goes: what is under way falls back */
/* Asks the guard model, if there is one and the verdict is uncertain; then turn_guard_settled().
 * False: the verdict is final. */
bool turn_guard_ask(struct turn *t);
void turn_guard_ask_stop(struct turn *t);
void turn_guard_settled(struct turn *t); /* the verdict on the question is final */
/* Judges the passages in answer.retrieved_docs, then calls then. False: there is no guard, or it is
 * overloaded and the passages are gone, or all were judged before. */
bool turn_guard_passages(struct turn *t, void (*then)(struct turn *t, enum err e));

/* ---- recall.c ---- */
void turn_choose_arm(struct turn *t); /* and makes the role of the turn what the arm says */
enum step_result turn_step_recall(struct turn *t, struct errinfo *ei);
void turn_serve_approved(struct turn *t);
void turn_tell_learning(const struct turn *t);

/* ---- record.c: inside the store's transaction of the answer's final row ---- */
/* answer: its final row. */
enum err turn_put_record(struct store_tx *tx, const struct turn *t,
                         const struct message *answer) ERR_CHECK;

/* ---- ask.c ---- */
enum step_result turn_step_submit(struct turn *t, struct errinfo *ei);
/* The answer broke off: asks for the rest in a moment. False: that was tried often enough. */
bool turn_ask_again(struct turn *t);
void turn_hang_up(struct turn *t); /* ends what is under way to the model server */

/* ---- answer.c ---- */
void turn_received(struct turn *t, struct str text); /* a piece that may go out */
enum step_result turn_step_append(struct turn *t, struct errinfo *ei);
enum step_result turn_step_open(struct turn *t, struct errinfo *ei);
enum step_result turn_step_answer(struct turn *t, struct errinfo *ei);
enum err turn_sink_record(struct turn *t, struct str text) ERR_CHECK;
enum err turn_sink_publish(struct turn *t, struct str text) ERR_CHECK;
/* What of the text did not go out yet goes out; at_once as for stream_publish_text(). */
void turn_flush(struct turn *t, bool at_once);
void turn_flush_forget(struct turn *t); /* it is not due any more */
void turn_publish_json(struct turn *t, enum stream_kind kind,
                       void (*fill)(struct buf *b, const struct turn *t));
void turn_queued(struct turn *t, int position);
void turn_end_answer(struct turn *t); /* nothing more comes from the model */
void turn_stop_now(struct turn *t);

/* ---- whole.c: answers that are over at once ---- */
/* The average of late, with one more that took so long. 0: there was none yet. */
int64_t whole_average_ns(int64_t average_ns, int64_t took_ns);
void turn_whole_note(struct turn *t); /* the model has said all */
bool turn_whole_wait(struct turn *t); /* true: `append` waits, and is run again */
/* At `append`, all of the answer is there: it is stored with its question if it still can be. The
 * turn may be gone afterwards. */
void turn_whole_make(struct turn *t);

/* ---- checkpoint.c ---- */
void turn_checkpoint_begin(struct turn *t); /* its text is stored now and then from here on … */
void turn_checkpoint_hurry(struct turn *t); /* … with the next tick … */
void turn_checkpoint_end(struct turn *t);   /* … and not any more */
void checkpoints_end(struct turn_loop *tl);
void checkpoints_free(struct turn_loop *tl); /* the store is done with them */

/* ---- finish.c ---- */
enum err turn_make_timers(struct turn *t) ERR_CHECK;
enum step_result turn_step_finish(struct turn *t, struct errinfo *ei);
enum step_result turn_step_close(struct turn *t, struct errinfo *ei);
void turn_interrupt(struct turn *t); /* its loop goes away */
/* The answer as it would be stored now. Strings are borrowed. */
void turn_describe_answer(const struct turn *t, enum message_status status, struct message *ret);

/* ---- attach.c ---- */
/* ERR_UNAVAILABLE: of a row that is `streaming` and whose stream will be there in a moment. */
enum err turn_taken_over_soon(struct errinfo *ei);

/* ---- recover.c: answers of a process that died ---- */
void recover_begin(struct turn_loop *tl); /* takes up as many as may run at once */
void recover_ended(struct turn *t);       /* a TURN_RESUME is over: the next one's turn */
void recover_free(struct turns *t);

/* ---- load.c: the turn's store functions; arg is the turn ---- */
enum err turn_load_fn(struct store_tx *tx, void *arg, struct errinfo *ei);
enum err turn_append_fn(struct store_tx *tx, void *arg, struct errinfo *ei);
enum err turn_finish_fn(struct store_tx *tx, void *arg, struct errinfo *ei);

/* ---- events.c ---- */
void event_created(struct buf *b, const struct message *question, const struct message *answer);
void event_done(struct buf *b, const struct message *answer, const struct feedback *f);
void event_error(struct buf *b, const struct errinfo *ei, const struct message *answer,
                 const struct feedback *f);
void event_text(struct buf *b, struct str text);

/* ---- title.c ---- */
void title_from_question(struct str question, char out[TITLE_SIZE]);
/* What a model gave as a title, cleaned; false when it is none. */
bool title_clean(struct str answer, char out[TITLE_SIZE]);

/* ---- background.c: titles and summaries, only while no turn runs ---- */
void background_add_title(struct turn_loop *tl, const struct turn *t);
void background_add_summary(struct turn_loop *tl, const struct turn *t);
void background_start(struct turn_loop *tl); /* if there is something to do and nobody is waiting */
void background_yield(struct turns *t);      /* a turn starts: what runs makes room */
void background_clear(struct turn_loop *tl);
