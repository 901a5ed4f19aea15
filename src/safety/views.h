/* Other ways to look at a person's message, beside the whole: what it quotes or introduces with a
 * colon, so that a frame around a request ("let's write a play: …") does not dilute it, and the
 * last turns together with it, so that harm spread over several messages is seen. The classifier
 * scores each (guard.c). Pure functions; nothing is kept. */
#pragma once

#include "base/buf.h"
#include "base/str.h"

/* The request inside a frame: the longest quoted part, else what follows a colon, that asks for
 * something (a question word, an imperative, a question mark), has at least three words and is not
 * nearly all of text. A text that ends in a colon wants to be continued: in it every quoted part
 * may be the request. Borrowed from text; .n = 0: there is none. */
struct str safety_view_core(struct str text);
/* The same; *looked: bytes that were looked at for what follows a colon, linear in the text. */
struct str safety_view_core_counted(struct str text, size_t *looked);

/* Bytes and turns of the earlier messages that are read with the new one. */
#define SAFETY_TALK_BYTES ((size_t)480)
#define SAFETY_TALK_TURNS 3

/* The part of context (messages parted by newlines, newest last) that is read with a new message:
 * at most SAFETY_TALK_TURNS lines and SAFETY_TALK_BYTES, cut at a line's or a word's beginning.
 * Borrowed. */
struct str safety_view_earlier(struct str context);

/* What a long conversation does not change: longer messages speak for themselves. */
#define SAFETY_TALK_MESSAGE_MAX ((size_t)1000)
