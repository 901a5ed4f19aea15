/* What memory is left for the model. Linux only; any thread. */
#pragma once

#include <stdint.h>

/* Bytes that this process may still take: what the machine and, if there is one, its memory group
 * leave. Cached files count as free, because the kernel gives them up: in a group they are most of
 * what seems used after a download. Never negative. root: "" or, in tests, a folder that has proc
 * and sys. */
int64_t memory_available(const char *root);
