/* One HTTP GET that waits, for the doctor. */
#pragma once

#include "base/err.h"

struct probe_answer {
    enum err err; /* ERR_OK: something answered */
    int status;
    char message[512]; /* what went wrong, or the message of an error body */
};
void probe_get(const char *base, const char *unix_socket, const char *path,
               struct probe_answer *ret);
