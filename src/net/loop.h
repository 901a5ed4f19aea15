/* An event loop: one thread, one libevent base. Everything that is made on a loop (timers, servers,
 * HTTP connections and calls) is used on the loop's thread only; loop_post() is the one way in. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct loop;
struct timer;

enum err net_init(
    struct errinfo *ei) ERR_CHECK; /* once per process, before the first loop; ignores SIGPIPE */
enum err loop_new(struct loop **ret, struct errinfo *ei) ERR_CHECK;
void loop_free(struct loop *l); /* after loop_run() returned; pending posts are dropped */
void loop_run(struct loop *l);  /* until loop_stop() */
void loop_stop(struct loop *l); /* any thread; on the loop itself nothing more is run. Before
                                   loop_run() it counts, too */
bool loop_is_current(const struct loop *l);

typedef void (*loop_fn)(void *arg);

/* Runs fn(arg) on the loop's thread, in the order of posting. Any thread. Never runs it inside the
 * call. Fails only when memory is out. Wakes the loop once for many posts. */
enum err loop_post(struct loop *l, loop_fn fn, void *arg);

/* One-shot or repeating timer, on the loop's thread. timer_free(NULL) is fine; a timer may free
 * itself inside its own callback. */
struct timer *timer_new(struct loop *l, loop_fn fn, void *arg);
void timer_start(struct timer *t, int64_t ms, bool repeat);
void timer_stop(struct timer *t);
void timer_free(struct timer *t);

/* Watches a signal or a descriptor (readable) until the loop is freed. Signals: on one loop of the
 * process only. */
enum err loop_on_signal(struct loop *l, int signo, loop_fn fn, void *arg);
enum err loop_on_readable(struct loop *l, int fd, loop_fn fn, void *arg);
