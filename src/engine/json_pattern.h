/* A regular expression ("pattern" of JSON Schema: ECMA-262) as rules for what stands between the
 * quotes of a JSON string.
 *
 * Read are: literals, ".", classes with ranges and negation, \d \w \s \D \W \S and escaped
 * characters, groups (also (?:…)), |, * + ? {m} {m,} {m,n}, and ^ and $ at the ends. Where ^ or $
 * is missing, any text may stand there, as the standard has it. Characters in the answer are
 * written as JSON writes them (a quote as \"). */
#pragma once

#include "engine/grammar.h"

/* Emits the rules at the grammar's present place. any_char is the rule for one character of a JSON
 * string. ERR_INVALID: ei says what is wrong or not supported. */
enum err json_pattern_emit(struct grammar *g, struct str pattern, int any_char,
                           struct errinfo *ei) ERR_CHECK;
