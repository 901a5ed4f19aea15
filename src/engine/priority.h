/* Who has a core first when more threads than cores want one: the engine before other programs, and
 * its event loop, which works for some ten microseconds at a time, before its compute threads,
 * which use all they get. docs/scheduler.md says why.
 *
 * Each call is about the calling thread (and, by inheritance, those that it starts). What the
 * system does not allow or know is left as it is: nothing depends on it. */
#pragma once

/* Before other programs; needs root or CAP_SYS_NICE. */
void priority_before_others(void);
/* A core at once when there is something to do, for as long as the thread takes no more than its
 * share: a time slice much shorter than that of others (sched_setattr(2), Linux 6.12 and later; no
 * privilege is needed), and a larger share where that is allowed. */
void priority_at_once(void);
