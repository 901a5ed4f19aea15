/* What stands before the guard model: how many may be asked at once, by everybody and by one
 * person, and whether it is asked at all (a circuit breaker).
 *
 *   ASKED ─→ GATE_FAILURES in a row ─→ LEFT ALONE for GATE_OPEN_MS, doubled each time, at most
 *     ↑                                    │    ↑    GATE_OPEN_MAX_MS
 *     │                     that is over ←─┘    └── it failed ──┐
 *     └── it answered ─────────── TRIED: one asks, nobody else ─┘
 *
 * Any thread. The time is passed in. */
#pragma once

#include "base/uuid.h"

#define GATE_ASKS_MAX      64 /* under way at once, of the whole process … */
#define GATE_ASKS_USER_MAX 16 /* … and of one person */
#define GATE_FAILURES      4
#define GATE_OPEN_MS       5000
#define GATE_OPEN_MAX_MS   60000

enum gate_answer {
    GATE_GO,        /* ask, then gate_leave() */
    GATE_BUSY,      /* too many are under way */
    GATE_LEFT_ALONE /* it has not answered for a while and is left alone */
};

/* What became of it. NEITHER: called off, or what went wrong says nothing of the server. */
enum gate_outcome { GATE_ANSWERED, GATE_FAILED, GATE_NEITHER };

struct guard_gate;

struct guard_gate *guard_gate_new(void); /* NULL: out of memory */
void guard_gate_free(struct guard_gate *g);

/* user: all zeros = nobody's; such count for the process alone. */
enum gate_answer guard_gate_enter(struct guard_gate *g, const struct uuid *user, int64_t now_ns);
void guard_gate_leave(struct guard_gate *g, const struct uuid *user, enum gate_outcome o,
                      int64_t now_ns);
