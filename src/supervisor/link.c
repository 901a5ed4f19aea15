/* The child's end of what binds it to its supervisor: descriptors whose numbers come by the
 * environment. */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/str.h"
#include "supervisor/link.h"
#include "supervisor/supervisor.h"

static int take_number(const char *name, int otherwise) {
    const char *text = getenv(name);
    uint64_t n;
    if (text && str_to_u64(str_from(text), &n) && n <= INT32_MAX)
        otherwise = (int)n;
    unsetenv(name);
    return otherwise;
}

static int take_fd(const char *name) {
    int fd = take_number(name, -1);
    if (fd >= 0 && fcntl(fd, F_SETFD, FD_CLOEXEC) != 0)
        return -1;
    return fd;
}

void supervisor_link_get(struct supervisor_link *ret) {
    ret->lifeline_fd = take_fd(LINK_ENV_LIFELINE);
    ret->status_fd = take_fd(LINK_ENV_STATUS);
    ret->start = take_number(LINK_ENV_START, 1);
    ret->before_pid = take_number(LINK_ENV_BEFORE, 0);
    ret->told_ready = false;
}

/* A supervisor that is gone is seen by the lifeline; one that does not read has other troubles. */
static void tell(const struct supervisor_link *l, char what) {
    if (l->status_fd < 0)
        return;
    ssize_t unused = write(l->status_fd, &what, 1);
    (void)unused;
}

void supervisor_link_ready(struct supervisor_link *l) {
    if (!l->told_ready)
        tell(l, 'R');
    l->told_ready = true;
}

void supervisor_link_beat(const struct supervisor_link *l) {
    tell(l, '.');
}
