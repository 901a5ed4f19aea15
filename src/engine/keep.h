/* What was computed of conversations, kept outside the process: a killed engine's successor goes on
 * where it was, without computing prompts again.
 *
 * It lies in a file in memory (/dev/shm) that bears the name of the data directory. One process has
 * it at a time, under a lock that ends with the process. What is being written counts only when it
 * is whole, so that a process may die at any moment. Nothing of it reaches a disk; the supervisor
 * removes the file at its orderly end.
 *
 *   file    header, then for each record a region of REGION bytes, of which only what is written
 *           takes memory:
 *   header  magic, key of the model, how often it was opened without success, the records
 *   record  order (0: not in use; greater is newer), conversation, tokens n, bytes of the state
 *   region  n tokens (int32), padding to 64 bytes, the state as the model gives it (seq_save)
 *
 * Compute thread only, but for keep_file_remove(). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct keep;
struct model;

/* The file for this data directory, locked. A process that still has it is waited for, some seconds
 * at most; then, or with `fresh`, there is a new one in its place. -1: there can be none. */
int keep_file_open(const char *data_dir, bool fresh);
void keep_file_remove(const char *data_dir); /* any process's; who has it keeps what is there */

/* Takes the descriptor over. The key says which model computes, and how; states of another are
 * dropped. limit: bytes of memory at most. NULL: the file cannot be used. */
struct keep *keep_new(int fd, uint64_t key, size_t limit);
void keep_free(struct keep *k);

struct kept { /* of the file, borrowed until the next keep_put() */
    uint64_t conversation;
    const int32_t *tokens;
    int n;
    const void *state;
    size_t size;
};
/* The states, newest first: i from 0; false: there are no more. */
bool keep_get(struct keep *k, int i, struct kept *ret);
/* How many of these tokens, from the first on, a state holds that holds nothing else. */
int keep_held(const struct keep *k, const int32_t *tokens, int n);
/* Keeps the sequence's state, which holds these tokens, in place of what it held before; the oldest
 * ones make room. False: there is no room for it. */
bool keep_put(struct keep *k, struct model *m, int seq, uint64_t conversation,
              const int32_t *tokens, int n);
/* The process has computed with what it found here: the next one may trust it, too. */
void keep_good(struct keep *k);
