/* libsodium behind our names. */
#include "base/crypto.h"

#include <assert.h>
#include <pthread.h>
#include <sodium.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(PASSWORD_HASH_LEN >= crypto_pwhash_STRBYTES, "a password hash must fit");
_Static_assert(SHA256_LEN == crypto_hash_sha256_BYTES, "SHA-256 is 32 bytes");

#define FETCHED 1024 /* bytes for names that a thread fetches at once */

static atomic_uint forks; /* of this process and those before it */
static _Thread_local struct {
    unsigned char bytes[FETCHED];
    size_t left;
    unsigned forks; /* as they were when the bytes were fetched */
} fetched;

static void in_child(void) {
    atomic_fetch_add(&forks, 1);
}

static void watch_forks(void) {
    (void)pthread_atfork(NULL, NULL, in_child);
}

enum err crypto_init(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, watch_forks);
    return sodium_init() < 0 ? ERR_INTERNAL : ERR_OK;
}

void crypto_random(void *p, size_t n) {
    randombytes_buf(p, n);
}

/* What was fetched before a fork is the parent's: both would give the same names. */
void crypto_random_name(void *p, size_t n) {
    unsigned now = atomic_load_explicit(&forks, memory_order_relaxed);
    assert(n <= CRYPTO_NAME_MAX);
    if (fetched.left < n || fetched.forks != now) {
        randombytes_buf(fetched.bytes, sizeof fetched.bytes);
        fetched.left = sizeof fetched.bytes;
        fetched.forks = now;
    }
    fetched.left -= n;
    memcpy(p, fetched.bytes + fetched.left, n);
}

bool crypto_equal(const void *a, const void *b, size_t n) {
    return sodium_memcmp(a, b, n) == 0;
}

static void to_letters(char *out, size_t len) {
    static const char letters[33] =
        "0123456789abcdefghjkmnpqrstvwxyz"; /* Crockford's, 5 bits each */
    for (size_t i = 0; i < len; i++)
        out[i] = letters[(unsigned char)out[i] & 31];
    out[len] = 0;
}

void crypto_token(char *out, size_t len) {
    randombytes_buf(out, len);
    to_letters(out, len);
}

void crypto_token_of(const unsigned char key[CRYPTO_KEY_LEN], struct str data, char *out,
                     size_t len) {
    unsigned char bytes[crypto_generichash_BYTES_MAX];
    assert(len <= sizeof bytes);
    (void)crypto_generichash(bytes, sizeof bytes, (const unsigned char *)data.p, data.n, key,
                             CRYPTO_KEY_LEN);
    memcpy(out, bytes, len);
    to_letters(out, len);
}

void crypto_name(char *out, size_t len) {
    crypto_random_name(out, len);
    to_letters(out, len);
}

void crypto_short_hash(const unsigned char key[16], struct str data, unsigned char out[16]) {
    (void)crypto_shorthash_siphashx24(out, (const unsigned char *)data.p, data.n, key);
}

/* ---- SHA-256 ---- */

struct sha256 {
    crypto_hash_sha256_state state;
};

struct sha256 *sha256_new(void) {
    struct sha256 *s = malloc(sizeof *s);
    if (s)
        crypto_hash_sha256_init(&s->state);
    return s;
}

void sha256_update(struct sha256 *s, const void *p, size_t n) {
    crypto_hash_sha256_update(&s->state, p, n);
}

void sha256_final(struct sha256 *s, char hex[SHA256_HEX_LEN + 1]) {
    unsigned char digest[SHA256_LEN];
    crypto_hash_sha256_final(&s->state, digest);
    sodium_bin2hex(hex, SHA256_HEX_LEN + 1, digest, sizeof digest);
    free(s);
}

void sha256_free(struct sha256 *s) {
    free(s);
}

void sha256_hex(struct str data, char hex[SHA256_HEX_LEN + 1]) {
    unsigned char digest[SHA256_LEN];
    crypto_hash_sha256(digest, (const unsigned char *)data.p, data.n);
    sodium_bin2hex(hex, SHA256_HEX_LEN + 1, digest, sizeof digest);
}

/* ---- passwords ---- */

/* OWASP's Password Storage Cheat Sheet: argon2id with 19 MiB and 2 passes. libsodium's own
 * interactive profile takes 64 MiB for each sign-in, which a small server cannot spare. */
static const struct {
    unsigned long long ops;
    size_t mem;
} profiles[] = {
    [PASSWORD_INTERACTIVE] = {2, 19u << 20},
    [PASSWORD_TEST] = {crypto_pwhash_OPSLIMIT_MIN, crypto_pwhash_MEMLIMIT_MIN},
};
static atomic_int profile = PASSWORD_INTERACTIVE;

void password_set_profile(enum password_profile p) {
    atomic_store(&profile, (int)p);
}

enum err password_hash(struct str password, char out[PASSWORD_HASH_LEN]) {
    char hash[crypto_pwhash_STRBYTES];
    int p = atomic_load(&profile);
    if (crypto_pwhash_str(hash, password.p ? password.p : "", password.n, profiles[p].ops,
                          profiles[p].mem) != 0)
        return ERR_NOMEM;
    memcpy(out, hash, strlen(hash) + 1);
    return ERR_OK;
}

bool password_verify(struct str password, const char *hash) {
    char padded[crypto_pwhash_STRBYTES] = {0}; /* libsodium may look at all of its fixed size */
    size_t n = strlen(hash);
    if (n >= sizeof padded)
        return false;
    memcpy(padded, hash, n);
    return crypto_pwhash_str_verify(padded, password.p ? password.p : "", password.n) == 0;
}

void base64_add(struct buf *b, const void *p, size_t n) {
    const unsigned char *from = p;
    const int variant = sodium_base64_VARIANT_ORIGINAL;
    char text[sodium_base64_ENCODED_LEN(3 * 64, sodium_base64_VARIANT_ORIGINAL)];
    while (n) { /* whole groups of three bytes need no padding, so pieces join to one text */
        size_t k = n < 3 * 64 ? n : 3 * 64;
        sodium_bin2base64(text, sizeof text, from, k, variant);
        buf_addz(b, text);
        from += k;
        n -= k;
    }
}

bool base64_read(struct str text, void *out, size_t size, size_t *ret_n) {
    return text.n && sodium_base642bin(out, size, text.p, text.n, NULL, ret_n, NULL,
                                       sodium_base64_VARIANT_ORIGINAL) == 0;
}
