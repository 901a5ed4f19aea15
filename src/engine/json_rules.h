/* Rules for JSON itself (RFC 8259) and for ranges of numbers; json_schema.h builds on them.
 *
 * White space may stand behind { [ , : and before } ]: nothing, one space, or a line break with up
 * to 20 spaces or tabs. It is bounded so that a small model cannot get lost in it. */
#pragma once

#include "engine/grammar.h"

enum {                 /* rules of every grammar made here */
       JSON_RULE_ROOT, /* its code is the caller's */
       JSON_RULE_SPACE,
       JSON_RULE_CHAR, /* one character of a string */
       JSON_RULE_STRING,
       JSON_RULE_NUMBER,
       JSON_RULE_INTEGER,
       JSON_RULE_VALUE,
       JSON_RULE_OBJECT,
       JSON_RULE_ARRAY,
       JSON_RULE_COUNT
};

#define JSON_INTEGER_MOST 999999999999999 /* 15 digits: exact as a double */

void json_rules_emit(struct grammar *g); /* all but the root's, into an empty grammar */
/* Whole numbers from lo to hi; false when there are none. Both at most ± JSON_INTEGER_MOST. */
bool json_integers_emit(struct grammar *g, int64_t lo, int64_t hi);
/* Numbers from lo to hi (bounds themselves excluded when said so), with up to 15 places. */
bool json_numbers_emit(struct grammar *g, double lo, bool lo_excluded, double hi, bool hi_excluded);
void json_call(struct grammar *g, int rule);
