/* Verdicts of texts in which nothing was found a moment ago. Clients of the compatible API send the
 * system prompt and the earlier messages of a chat with every request, and each would be judged
 * again. Texts are not kept: their keyed hash is (SipHash-2-4, 128 bits, a random key for each
 * process), so that nobody can make two texts that are one here. Thread-safe. */
#pragma once

#include "safety/guard.h"

struct memo;
struct memo_key {
    unsigned char hash[16];
};

struct memo *memo_new(void); /* NULL: out of memory */
void memo_free(struct memo *m);

/* What a verdict on r under p follows from, whoever asks. False: not of this request (it has
 * embeddings, or is long). */
bool memo_key(const struct memo *m, const struct policy *p, const struct safety_request *r,
              struct memo_key *ret);
bool memo_find(struct memo *m, const struct memo_key *k, struct safety_verdict *ret);
/* Kept only if nothing was found and nothing was missing. */
void memo_put(struct memo *m, const struct memo_key *k, const struct safety_verdict *v);

/* The same of texts that hold no personal data of any kind, whatever a policy says of it: the
 * messages of a chat are looked through again with each that follows. False: too long to be kept.
 */
bool memo_text_key(const struct memo *m, struct str text, struct memo_key *ret);
bool memo_is_clean(struct memo *m, const struct memo_key *k);
void memo_set_clean(struct memo *m, const struct memo_key *k);
