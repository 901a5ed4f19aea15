/* Personal data and secrets in a text, by their form and their checksums; no lists of names, no
 * model. A number that many other things could be (nine digits, say) counts only when its checksum
 * is right and a word nearby says what it is. Pure functions, linear in the text, any thread. */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

/* The names stand in policies and in "pii:<name>"; the labels in placeholders ("[EMAIL_1]"). */
/* clang-format off */
#define PII_TABLE(X)                                        \
    X(PII_EMAIL,    "email",          "EMAIL")              \
    X(PII_PHONE,    "phone",          "PHONE")              \
    X(PII_CARD,     "credit_card",    "CARD")               \
    X(PII_IBAN,     "iban",           "IBAN")               \
    X(PII_SSN,      "us_ssn",         "SSN")                \
    X(PII_NATIONAL, "national_id",    "ID")                 \
    X(PII_LICENCE,  "driver_license", "LICENSE")            \
    X(PII_IP,       "ip_address",     "IP")                 \
    X(PII_DOMAIN,   "domain",         "URL")                \
    X(PII_SECRET,   "secret",         "SECRET")
/* clang-format on */

enum pii_kind {
#define X(id, name, label) id,
    PII_TABLE(X)
#undef X
        PII_KINDS
};
const char *pii_name(enum pii_kind k);
const char *pii_label(enum pii_kind k);
int pii_from_name(struct str s); /* -1 = none */

struct pii_hit {
    enum pii_kind kind;
    const char *detail; /* "github_token", "es_dni"; static */
    size_t from, to;    /* bytes */
};

/* False: nothing in the text can be personal data of any kind; told much faster than found. */
bool pii_may_hold(struct str text);
/* Writes up to max hits, in order, none overlapping, and returns how many there are. */
size_t pii_scan(struct str text, struct pii_hit *ret, size_t max);
/* The hits behind one that ends at `from`: a text that holds more than fit is looked through in
 * parts, each with all that stands before it in sight. pii_next() is where the next part begins;
 * text.n: there is none. */
size_t pii_scan_from(struct str text, size_t from, struct pii_hit *ret, size_t max);
static inline size_t pii_next(struct str text, const struct pii_hit *hits, size_t n, size_t max) {
    return n < max ? text.n : hits[n - 1].to;
}

/* ---- redaction ----
 * A vault numbers what it replaces, so that the same value has the same placeholder in all the
 * texts of a conversation, and puts the values back into an answer. One thread at a time. */
#define PII_VAULT_MAX 256 /* values; later ones become "[EMAIL]" and cannot be put back */

struct pii_vault;
struct pii_vault *pii_vault_new(void);
struct pii_vault *pii_vault_ref(struct pii_vault *v); /* v; NULL is fine. One more to free. */
void pii_vault_free(struct pii_vault *v);             /* the last one wipes the values */
/* Appends text with the hits' spans replaced. hits are in order. */
enum err pii_redact(struct pii_vault *v, struct str text, const struct pii_hit *hits, size_t n,
                    struct buf *out) ERR_CHECK;
/* The same with all that is found of the kinds that are true, however much it is. *ret_n: how many.
 */
enum err pii_redact_all(struct pii_vault *v, struct str text, const bool kinds[PII_KINDS],
                        struct buf *out, size_t *ret_n) ERR_CHECK;
/* Appends text with placeholders of the vault replaced by their values. */
enum err pii_restore(const struct pii_vault *v, struct str text, struct buf *out) ERR_CHECK;
size_t pii_vault_count(const struct pii_vault *v);
#define PII_PLACEHOLDER_MAX 24 /* bytes of the longest placeholder */
