/* Where the keys and values of conversations live, and which of them a new prompt can start from.
 *
 *   slots      sequences that answer or keep a conversation for its next turn
 *   prefixes   sequences that hold the system prompts of roles, to be copied
 *   shelf      states of conversations that had to leave their slot, in RAM, least recently used go
 * first
 *
 * A prompt starts from the longest common prefix found anywhere. It takes over a slot when that
 * slot held the same conversation or nothing is lost; otherwise the prefix is copied to the slot
 * that was used longest ago (where sequences' cells lie apart, of those beside the busy ones).
 *
 * Compute thread only, but for slots_held(): others may call it, under a lock
 * that the compute thread holds, too, and lets go of while states are copied (`away`). */
#pragma once

#include "engine/model.h"

struct slot {
    int sequence;
    struct tokens tokens; /* what the sequence holds or will hold */
    int computed;         /* of them, these have keys and values */
    bool busy;
    int reserved;          /* tokens that it may come to hold, while busy */
    uint64_t conversation; /* key, 0 = none */
    int64_t used;          /* order of last use */
};

struct slots;

#define SLOTS_MAX 128

struct slots_options {
    int slots; /* at most SLOTS_MAX */
    int prefixes;
    int prefix_tokens;  /* tokens of all prefixes together */
    int cells;          /* tokens of all slots together; prefixes come on top */
    size_t shelf_bytes; /* RAM for states, 0 = none */
    /* Called before and after what takes milliseconds and changes nothing that others read; NULL =
     * nobody else reads. */
    void (*away)(void *ctx, bool away);
    void *ctx;
};

/* Where the tokens of a prompt that need not be computed came from. */
enum slots_source { SLOTS_NONE, SLOTS_SAME, SLOTS_COPY, SLOTS_SHELF };

enum err slots_new(struct model *m, const struct slots_options *o, struct slots **ret) ERR_CHECK;
void slots_free(struct slots *s);
int slots_idle(const struct slots *s);

/* Whether a request that may come to hold n tokens can start now: beside what running ones may need
 * at most. */
bool slots_fit(const struct slots *s, int n);

/* Takes an idle slot for the prompt and reserves room for so many tokens (which must fit); the
 * prompt is moved into it (emptied); computed says how many of its tokens are there already, always
 * fewer than all. NULL: none is idle, or no memory.
 *
 * The bytes that move for it, its own and those of whom it pushes out, may come later, in
 * slots_settle(): while slots_moves() the slot is not to be computed on, or all of them are moved
 * first. The same with slots_catch_up() and slots_keep_prefix(). */
struct slot *slots_acquire(struct slots *s, struct tokens *prompt, int reserve,
                           uint64_t conversation, enum slots_source *ret_source);
/* Goes on moving until then by clock_mono_ns(), INT64_MAX = to the end; true: all is there. */
bool slots_settle(struct slots *s, int64_t until_ns);
bool slots_moves(const struct slots *s);
/* Takes over what others have come to hold of the slot's tokens since it was acquired: requests of
 * the same role that come together then compute its prompt once. Returns how many tokens that
 * saves. */
int slots_catch_up(struct slots *s, struct slot *slot);
/* Where sequences' cells lie apart (info.rows), gives these slots numbers that follow each other,
 * by exchanging them with others', so that they are computed in one pass. What cannot be moved is
 * lost: computed is then 0. */
void slots_pack(struct slots *s, struct slot *const *slots, int n);
/* The slot keeps what is computed for a later turn. */
void slots_release(struct slots *s, struct slot *slot);
/* An empty slot takes a conversation that another process computed (keep.h). False: none is empty,
 * or the model does not take it. */
bool slots_restore(struct slots *s, const struct tokens *tokens, uint64_t conversation,
                   const void *state, size_t size);
/* Forgets what the slot holds: its computation failed. */
void slots_clear(struct slots *s, struct slot *slot);
/* Remembers the first n tokens of a slot as a prefix that others may start from. They must be
 * computed. */
void slots_keep_prefix(struct slots *s, const struct slot *slot, int n);
/* When there is time: puts what the next newcomer would push out on the shelf already. False: there
 * was nothing to do. */
bool slots_tidy(struct slots *s);
/* Gives up an idle slot's contents to make room. False: nothing left to give. */
bool slots_evict(struct slots *s);
/* How many of the prompt's tokens need not be computed, as slots_acquire() would find now. */
int slots_held(struct slots *s, const struct tokens *prompt, uint64_t conversation);
size_t slots_shelf_bytes(const struct slots *s);
int slots_tokens(const struct slots *s); /* with keys and values, those of prefixes too */
