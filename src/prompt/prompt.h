/* What the model is given: the role's system prompt, a note of what has fallen out, and as much of
 * the conversation as the model's window holds.
 *
 *   system prompt [+ note: summary of what fell out]   never cut
 *   turn · turn · turn …                               cut from the front, at turn boundaries
 *   latest message                                     never cut
 *
 * A turn is a user message with the answers after it. Everything is pure calculation: loading,
 * counting tokens and storing are the caller's. Steps:
 *
 *   prompt_open → prompt_fits_by_bytes? ─yes→ done
 *                        └─no→ prompt_uncounted → (count) → prompt_set_counts → prompt_cut
 *
 * Counting is rarely needed: a token covers at least one byte of text, so a prompt whose bytes fit
 * needs no counts. The cut has hysteresis: when the window overflows, turns are dropped until 60 %
 * is left, and that cut stays (it is stored as summary_until) until the window overflows again. So
 * the prompt only grows at its end from turn to turn, and the engine finds what it has computed
 * before. */
#pragma once

#include "base/arena.h"
#include "base/err.h"
#include "store/store.h"

#define PROMPT_BYTES_PER_TOKEN 3 /* where the model server counts no tokens: on the safe side */

struct count_cache;

struct prompt_input {             /* borrowed; must live as long as the prompt */
    struct str system_prompt;     /* may be empty */
    struct str summary;           /* of what fell out up to summary_until, may be empty */
    struct uuid summary_until;    /* not set = nothing fell out */
    const struct message *branch; /* root first; its last one is the message to be answered */
    size_t n;
    struct str model; /* whose tokens are meant */
    int window;       /* tokens */
    int max_tokens;   /* wanted for the answer */
    int overhead;     /* tokens around each message */
};

struct prompt_item {
    struct uuid message_id;
    enum message_sender sender;
    struct str content; /* borrowed */
    int tokens;         /* -1 = not counted */
};

struct prompt {
    struct prompt_input in;
    struct prompt_item *items; /* arena: what is after the remembered cut and has text */
    size_t n;
    struct prompt_item fixed[2]; /* the system prompt and the note, to be counted like the rest */

    /* the result */
    size_t first;      /* the first item that is given to the model */
    struct str system; /* arena: system prompt and note; empty = none */
    int tokens;        /* of the whole prompt, an upper bound when nothing was counted */
    int max_tokens;    /* for the answer: what is wanted, or what is left */

    /* when this turn cut: to be stored with conversation_set_summary() */
    bool was_cut;
    struct str new_summary; /* arena */
    struct uuid cut_until;  /* the last message that fell out */
};

enum err prompt_open(const struct prompt_input *in, struct arena *a, struct prompt *ret) ERR_CHECK;

/* True: all of it fits, the result is set. */
bool prompt_fits_by_bytes(struct prompt *p);

/* Takes known counts from the cache; lists the texts that are to be counted (at most all). */
enum err prompt_uncounted(struct prompt *p, struct count_cache *cache, struct arena *a,
                          struct str **ret_texts, size_t *ret_n) ERR_CHECK;
/* counts in the order of that list, kept in the cache; NULL estimates them. */
void prompt_set_counts(struct prompt *p, struct count_cache *cache, const int *counts);

/* Fits the prompt into the window. ERR_CONTEXT says both numbers and what to do. */
enum err prompt_cut(struct prompt *p, struct arena *a, struct errinfo *ei) ERR_CHECK;

/* The request with which a model is asked for a summary of what this turn's cut dropped: one text
 * of at most max_bytes, in the arena. */
enum err prompt_summary_request(const struct prompt *p, size_t max_bytes, struct arena *a,
                                struct str *ret) ERR_CHECK;
/* A summary's bytes at most, for a window of so many tokens. */
size_t prompt_summary_cap(int window);
