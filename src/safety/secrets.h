/* Keys and tokens of well-known services, by the forms that their makers publish, and passwords
 * that are assigned ("api_key = …"). Inside src/safety only. */
#pragma once

#include "safety/pii.h"

#define SECRET_RUN_MIN 16 /* letters, digits and -_+/= in a row that every key of a form has */

/* Tries the place `at` of the text, where a word begins. */
bool secret_find(struct str text, size_t at, struct pii_hit *ret);
bool secret_find_telegram(struct str s, size_t at, struct pii_hit *ret); /* s begins at `at` */
/* Whether a word that is still coming may become a key: some form begins so, or it begins like one.
 */
bool secret_may_begin(struct str word);
/* Whether the text ends with a name that values are assigned to: "password", "api_key", …. */
bool secret_is_named(struct str text);
/* Bytes at the text's end of what stands around a value and is no part of it, beyond ASCII (quotes,
 * CJK punctuation and script, wide forms), and of what assigns (":", "=", and their wide forms). 0:
 * it does not end so. */
size_t secret_mark_before(struct str text);
size_t secret_assigns(struct str text);
