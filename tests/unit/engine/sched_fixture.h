/* A scheduler over a scripted model, and requests to it. For the tests of the scheduler's parts. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/metrics.h"
#include "engine/scheduler.h"
#include "unit/engine/scripted_model.c"

struct caller { /* of one request */
    char text[512];
    int n, dones;
    enum sched_end end;
    enum err err;
    uint32_t retry_after_ms;
    int position, told; /* in the queue, last; how often it was told */
};

struct fixture {
    struct scripted_model m;
    struct sched *s;
};

static void on_event(void *ctx, const struct sched_event *e) {
    struct caller *c = ctx;
    assert_int_equal(c->dones, 0);
    if (e->queued) {
        c->position = e->position;
        c->told++;
    } else if (e->done) {
        c->dones++;
        c->end = e->end;
        c->err = e->ei ? e->ei->code : ERR_OK;
        c->retry_after_ms = e->ei ? e->ei->retry_after_ms : 0;
    } else if (c->n < (int)sizeof(c->text) - 1) {
        c->text[c->n++] = (char)e->token.token;
    }
}

/* A base step of 10 ms, 1 ms for each token, and a clock that the test moves. */
static inline void fixture_init(struct fixture *f, int slots) {
    const struct sched_options o = {.slots = slots,
                                    .prefixes = 2,
                                    .prefix_tokens = 128,
                                    .cells = slots * SCRIPTED_WINDOW,
                                    .max_queued = 2000,
                                    .deadline_ms = 1000,
                                    .base_ns = 10e6,
                                    .answer_ns = 1e6,
                                    .prompt_ns = 1e6};
    memset(f, 0, sizeof(*f));
    scripted_init(&f->m);
    clock_test_set(1000000000000, 1000);
    assert_int_equal(sched_new(&f->m.base, &f->m.base, &o, &f->s), ERR_OK);
}

static inline void fixture_deinit(struct fixture *f) {
    sched_free(f->s);
    scripted_deinit(&f->m);
    clock_test_end();
}

static struct sched_chat request(struct fixture *f, struct caller *c, const char *prompt, int max) {
    struct sched_chat chat = {.max_tokens = max,
                              .deadline_ms = -1,
                              .arrived_ns = clock_mono_ns(),
                              .on_event = on_event,
                              .ctx = c};
    sampler_params_init(&chat.sampling);
    chat.sampling.temperature = 0;
    assert_int_equal(f->m.base.ops->tokenize(&f->m.base, str_from(prompt), false, &chat.prompt), 0);
    return chat;
}

static inline enum err submit(struct fixture *f, struct sched_chat *chat, uint64_t *ret_id,
                              struct errinfo *ei) {
    uint64_t id = 0;
    memset(ei, 0, sizeof(*ei));
    enum err e = sched_chat_submit(f->s, chat, &id, ei);
    tokens_deinit(&chat->prompt);
    if (ret_id)
        *ret_id = id;
    return e;
}

static inline void run_all(struct fixture *f) {
    while (sched_round(f->s))
        ;
}
