/* A text that grows, judged as it grows. Each byte is read once:
 *
 *   added ─→ folded ─┬→ words ─→ the rules' automaton goes on where it stopped
 *                    ├→ signs of a disguise ─→ while there are some: what is new, behind the
 *                    │                         FLOW_WINDOW bytes before it, is normalised and
 *                    │                         scanned as a whole (guard.h)
 *                    ├→ the classifier's sums go on; a score costs the network alone
 *                    └→ where personal data may stand ─→ scanned once, when it has ended
 *
 * The verdict after each piece is that of safety_judge() on the text so far, but for this: an
 * exception of a rule holds when it came before the rule's match; the classifier sees the last 160
 * to 640 bytes, as a window that begins anew at 640; what disguises is undone within FLOW_WINDOW
 * bytes, however much comes at once. What might still become something is not yet safe to hand on:
 * the last word when it would complete a rule or has the classifier block, the beginning of a fixed
 * string or a placeholder, and personal data that the policy redacts or blocks.
 *
 * CPU work of some microseconds for a token; one thread at a time. */
#pragma once

#include "safety/guard.h"
#include "safety/text_then.h"

#define FLOW_WINDOW    400
#define FLOW_SEGMENT   640   /* bytes that the classifier sees at most */
#define FLOW_KEPT      160   /* of them, what the next window begins with */
#define FLOW_HELD_MAX  512   /* of one candidate for personal data … */
#define FLOW_KEY_MAX   16384 /* … and of a private key */
#define FLOW_INPUT_MAX ((size_t)8 << 20)

struct safety_flow;

struct safety_flow_options { /* borrowed for the call; the policy: a reference is taken */
    struct safety *safety;
    struct policy *policy;
    struct str role, canary;
    enum safety_direction direction;
    struct str before; /* the text so far, judged already */
    bool placeholders; /* "[…]" is kept whole */
};
enum err safety_flow_new(const struct safety_flow_options *o, struct safety_flow **ret) ERR_CHECK;
void safety_flow_free(struct safety_flow *f); /* NULL is fine */

/* Judges what is added (whole characters). Where it pauses, all is safe but for the beginning of a
 * placeholder, and the open word and number are judged again with what follows. *ret holds what was
 * found since the last call, with places in the whole text, `before` included. ERR_NOMEM,
 * ERR_TOO_LARGE: there is no verdict, nothing more may go out. */
enum err safety_flow_add(struct safety_flow *f, struct str text, enum text_then then,
                         struct safety_verdict *ret) ERR_CHECK;

size_t safety_flow_end(const struct safety_flow *f);  /* bytes of the whole text */
size_t safety_flow_safe(const struct safety_flow *f); /* of them, what may be handed on */
/* Where the sentence with that byte begins, as far back as is remembered. */
size_t safety_flow_sentence(const struct safety_flow *f, size_t at);
/* Appends text[from, to) with what is redacted replaced, and forgets what lies FLOW_WINDOW before
 * `to`. from: the last call's to, or later. */
enum err safety_flow_take(struct safety_flow *f, size_t from, size_t to, struct buf *out) ERR_CHECK;
/* The end of the text, from byte `from` on or as far back as is remembered. Borrowed. */
struct str safety_flow_tail(const struct safety_flow *f, size_t from);
