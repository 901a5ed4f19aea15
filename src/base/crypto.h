/* Cryptography: the only includer of libsodium. crypto_init() first, once per process. Thread-safe.
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

enum err crypto_init(void) ERR_CHECK;
void crypto_random(void *p, size_t n);
bool crypto_equal(const void *a, const void *b, size_t n); /* constant time */

/* The same for what names something and keeps no secret: the thread has fetched such bytes from the
 * kernel before, many at a time. n is at most CRYPTO_NAME_MAX. */
#define CRYPTO_NAME_MAX 32
void crypto_random_name(void *p, size_t n);

/* len random bytes as lower-case base32-like text without ambiguous letters; out holds len + 1. */
void crypto_token(char *out, size_t len);
void crypto_name(char *out, size_t len); /* by crypto_random_name() */

/* len letters, 64 at most, that follow from the data for who has the key, and look random to others
 * (BLAKE2b, RFC 7693, with a key). */
#define CRYPTO_KEY_LEN 32
void crypto_token_of(const unsigned char key[CRYPTO_KEY_LEN], struct str data, char *out,
                     size_t len);

#define SHA256_LEN     32
#define SHA256_HEX_LEN 64
struct sha256;                   /* streaming state */
struct sha256 *sha256_new(void); /* NULL when out of memory */
void sha256_update(struct sha256 *s, const void *p, size_t n);
void sha256_final(struct sha256 *s, char hex[SHA256_HEX_LEN + 1]); /* and frees s */
void sha256_free(struct sha256 *s);
void sha256_hex(struct str data, char hex[SHA256_HEX_LEN + 1]);

/* SipHash-2-4 with 128 bits (Aumasson, Bernstein): for tables whose keys others choose. */
void crypto_short_hash(const unsigned char key[16], struct str data, unsigned char out[16]);

/* argon2id (RFC 9106) through crypto_pwhash_str; out is NUL-terminated "$argon2id$…".
 * Takes tens of milliseconds and the memory that the profile says: call it on a job pool. */
#define PASSWORD_HASH_LEN 128
enum password_profile { PASSWORD_INTERACTIVE, PASSWORD_TEST /* cheapest that is allowed */ };
void password_set_profile(enum password_profile p);
enum err password_hash(struct str password, char out[PASSWORD_HASH_LEN]) ERR_CHECK;
bool password_verify(struct str password, const char *hash);

/* base64 (RFC 4648, with padding). */
void base64_add(struct buf *b, const void *p, size_t n);
/* False when text is no base64 or means more than size bytes. */
bool base64_read(struct str text, void *out, size_t size, size_t *ret_n);
