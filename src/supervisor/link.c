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
}

void supervisor_link_ready(struct supervisor_link *l) {
    if (l->status_fd < 0)
        return;
    ssize_t unused = write(l->status_fd, "R", 1); /* a supervisor that is gone is seen elsewhere */
    (void)unused;
    close(l->status_fd);
    l->status_fd = -1;
}
