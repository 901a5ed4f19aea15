/* What stands before the guard model: how many may be asked at once, by everybody and by one
 * person, and whether it is asked at all (a circuit breaker).
 *
 *   ASKED ─→ GATE_FAILURES in a row ─→ LEFT ALONE for GATE_OPEN_MS, doubled each time, at most
 *     ↑                                    │    ↑    GATE_OPEN_MAX_MS
 *     │                     that is over ←─┘    └── it failed ──┐
 *     └── it answered ─────────── TRIED: one asks, nobody else ─┘
 *
 * Nobody puts it out of reach for others: that it is late or too busy counts only when it was asked
 * about little, by a person who asks nothing else meanwhile, and when that happened to two persons.
 * That it cannot be reached is nobody's doing and counts always. One who asks about much tries only
 * when for as long again nobody did who asks about little.
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

/* What became of it. UNREACHABLE: nobody is there. FAILED: late, too busy, or an error, which may
 * be the doing of who asks. NEITHER: called off, or what went wrong says nothing of the server. */
enum gate_outcome { GATE_ANSWERED, GATE_UNREACHABLE, GATE_FAILED, GATE_NEITHER };

struct guard_gate;

/* One who asks. */
struct gate_pass {
    struct uuid user; /* all zeros = nobody's; such count for the process alone */
    bool is_short;    /* it asks about little: any server that is up is in time with that */
    bool trial;       /* set by guard_gate_enter(): it tries whether it answers again */
};

struct guard_gate *guard_gate_new(void); /* NULL: out of memory */
void guard_gate_free(struct guard_gate *g);

enum gate_answer guard_gate_enter(struct guard_gate *g, struct gate_pass *p, int64_t now_ns);
void guard_gate_leave(struct guard_gate *g, const struct gate_pass *p, enum gate_outcome o,
                      int64_t now_ns);
