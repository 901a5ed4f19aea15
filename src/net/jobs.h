/* A pool of threads for what takes CPU or blocks (password hashing, say). A job's work runs on one
 * of them; its done runs on the loop that is given. Jobs of one pool start in order. */
#pragma once

#include "base/err.h"
#include "net/loop.h"

struct jobs;

enum err jobs_new(int threads, size_t max_queued, struct jobs **ret) ERR_CHECK;
/* Waits for running work; what was only queued is dropped, done not called. */
void jobs_free(struct jobs *p);
/* The same, but waits for so long at most. False: some work still runs. Nothing it uses may be
 * freed then, nor p: the process is to end. NULL: true. */
bool jobs_end(struct jobs *p, int ms);

/* ERR_OVERLOADED when max_queued jobs wait. done may be NULL; then loop may be, too. */
enum err jobs_submit(struct jobs *p, loop_fn work, struct loop *loop, loop_fn done,
                     void *arg) ERR_CHECK;
