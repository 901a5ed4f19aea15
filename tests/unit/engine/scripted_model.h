/* A model without weights behind engine/model.h: bytes are tokens, token 256 ends an answer.
 *
 * What it says next is a function of the whole sequence, so a wrongly reused prefix shows in the
 * answer; or, with a reply, the reply's next byte after the last '>' of the sequence (the opening
 * of the answer in its template:
 * "<role:content>…<assistant:" … '>'). It aborts unless positions follow each other. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "engine/copies.h"
#include "engine/model.h"

#define SCRIPTED_SEQUENCES 32
#define SCRIPTED_WINDOW    256
#define SCRIPTED_ROW       4352 /* tokens that a sequence may hold in any test */
#define SCRIPTED_VOCAB     257
#define SCRIPTED_END       256

struct scripted_model {
    struct model base;
    struct tokens seqs[SCRIPTED_SEQUENCES];
    float logits[256][SCRIPTED_VOCAB];
    const char *reply;   /* NULL = from the sequence */
    bool rounds;         /* what it says depends on which tokens were computed alone, too */
    bool uncut;          /* sequences cannot be cut or copied, as in recurrent models */
    int steps, computed; /* tokens computed */
    int largest;         /* items in one step */
    int fail_at;         /* the step (from 1) that fails, 0 = none */
    int slow_steps;      /* the first so many steps take slow_ms of the test's clock */
    int slow_ms;
    int fail_every; /* each so many-th step fails as internal, 0 = none */
    enum err fail_with;
    int copies, saves, loads, swaps;
    int copied_from; /* by the last copy */
    int fail_swap;   /* the swap (from 1) that fails and clears both, 0 = none */
    int room;        /* tokens of all sequences beyond which none is loaded, 0 = any number */

    /* Copies that are deferred, and how many bytes of them are made in a millisecond of the test's
     * clock; 0 = any number. */
    bool deferring, unsettled[SCRIPTED_SEQUENCES];
    int reading[SCRIPTED_SEQUENCES];
    struct copies begun;
    int bytes_per_ms;
    int forced; /* how often all were made at once as something needed them */

    /* With gate, a step or a batch of texts waits until the test opens it or the abort hook says
     * so. */
    bool gate;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int entered, opened;
    bool (*abort)(void *ctx);
    void *abort_ctx;
};

void scripted_init(struct scripted_model *m);
void scripted_deinit(struct scripted_model *m);
void scripted_open_gate(struct scripted_model *m);               /* lets one more step through */
void scripted_wait_entered(struct scripted_model *m, int steps); /* until so many steps began */
