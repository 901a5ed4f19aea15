/* Files that are handed over in the terminal: they become the person's own documents, and the next
 * message names them. */
#pragma once

#include "base/uuid.h"
#include "cli/chat_client.h"

#define CHAT_GIVEN_MAX 16

struct chat_given {
    struct uuid docs[CHAT_GIVEN_MAX];
    size_t n;
};

/* Sends the file and waits until it has been read; Ctrl-C ends the waiting (ERR_CANCELLED). */
enum err chat_attach(struct chat_client *c, const char *path, struct chat_given *g,
                     struct errinfo *ei) ERR_CHECK;
