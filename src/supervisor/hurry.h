/* A child that ended without being asked to has left people waiting: until its successor is back,
 * the session that the supervisor belongs to goes before others. A niceness counts only within the
 * session where the kernel shares the processors among sessions (sched(7), "The autogroup
 * feature"): there, what takes a fifth of a second alone takes several beside four builds. In a
 * control group of its own, as systemd and containers give one, there is no such share, and this
 * changes nothing.
 *
 * Bounded: HURRY_MS after the newest death, in which a successor loads, takes up what was being
 * answered and reads prompts again. Where it is not permitted (CAP_SYS_NICE) nothing happens, nor
 * where the session goes before others already. What is to be given back stands in a file
 * meanwhile, "GROUP NICENESS": a supervisor that was killed has it given back by the next one of
 * the same session. */
#pragma once

#include <stdint.h>

#define HURRY_NICE (-10)
#define HURRY_MS   10000

struct hurry {
    const char *path; /* borrowed; NULL = "/proc/self/autogroup" */
    const char
        *note; /* borrowed: the file; nobody hurries where it cannot be written; NULL = none */
    int64_t until_ns; /* 0 = nobody hurries */
    int usual;        /* the niceness that is given back */
};

void hurry_begin(struct hurry *h, int64_t now_ns);
/* Ends it when it is time. Where the kernel does not take it, it is tried again by a later look. */
void hurry_look(struct hurry *h, int64_t now_ns);
void hurry_end(struct hurry *h); /* may take half a second; what cannot be ended stays noted */
/* Ends what a supervisor before has left, by its note. Before anything else of h. */
void hurry_take_back(struct hurry *h, int64_t now_ns);
