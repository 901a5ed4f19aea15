/* Checksums of numbers that identify people, accounts and cards. Inside src/safety only. */
#pragma once

#include "base/str.h"

bool number_luhn(const char *digits, size_t n);    /* ISO/IEC 7812-1, annex B */
bool number_is_card(const char *digits, size_t n); /* a network's prefix and length, and Luhn */
bool number_is_iban(const char *alnum, size_t n);  /* ISO 13616: length by country, mod 97 */

/* A national number: `token` is its digits and letters (upper case) without separators; `raw` as it
 * stood. The name, or NULL. has_word(ctx, words): one of the words, parted by '|', stands nearby.
 */
const char *number_national(struct str token, struct str raw,
                            bool (*has_word)(const void *ctx, const char *words), const void *ctx);
