#include "engine/priority.h"

#include <stdint.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NICE      -5
#define NICE_LOOP -10
#define SLICE_NS  100000 /* the least that the kernel takes */

/* struct sched_attr of linux/sched/types.h in its first version, which all kernels take. */
struct attributes {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime, deadline, period;
};

void priority_before_others(void) {
    (void)setpriority(PRIO_PROCESS, 0, NICE);
}

/* The scheduler (EEVDF) lets a thread that wakes run before one that runs only when its slice is
 * shorter; else it waits for the other's slice to end, which is looked at every few milliseconds.
 */
void priority_at_once(void) {
    struct attributes a;
    (void)setpriority(PRIO_PROCESS, 0, NICE_LOOP); /* so that its share covers a burst */
    if (syscall(SYS_sched_getattr, 0, &a, sizeof a, 0) != 0)
        return;
    a.size = sizeof a;
    a.runtime = SLICE_NS;
    (void)syscall(SYS_sched_setattr, 0, &a, 0);
}
