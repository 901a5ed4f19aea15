/* About how many tokens a chat model makes of a text, where asking it would take longer than the
 * answer is worth. Byte-pair vocabularies have a token for most words, a few for a long word or a
 * name, and one for each digit; so a line of numbers is twice as long in tokens as prose is.
 *
 * Against SmolLM2's own count: prose of Cranfield and PubMedQA 1.01 and 1.03, sentences with times
 * and prices 0.93, CACM's entries (mostly numbers) 0.94; bytes ÷ 3.6 gives 1.43, 1.43, 0.81 and
 * 0.54 of it. */
#pragma once

#include "base/str.h"

int text_tokens(struct str s); /* INT_MAX at most */
/* The first bytes of s that make at most max tokens, up to the end of a word; of a first word that
 * is longer a part. */
size_t text_tokens_cut(struct str s, int max);
