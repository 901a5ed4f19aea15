/* Replacing personal data and putting it back. See pii.h. */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "safety/pii.h"

#define HITS 256 /* that are looked for at once */

struct kept {
    enum pii_kind kind;
    int number; /* within its kind, from 1 */
    char *value;
    size_t n;
};

struct pii_vault {
    atomic_int refs;
    struct kept list[PII_VAULT_MAX];
    size_t n;
    int counts[PII_KINDS];
};

struct pii_vault *pii_vault_new(void) {
    struct pii_vault *v = calloc(1, sizeof *v);
    if (v)
        atomic_init(&v->refs, 1);
    return v;
}

struct pii_vault *pii_vault_ref(struct pii_vault *v) {
    if (v)
        atomic_fetch_add(&v->refs, 1);
    return v;
}

void pii_vault_free(struct pii_vault *v) {
    if (!v || atomic_fetch_sub(&v->refs, 1) != 1)
        return;
    for (size_t i = 0; i < v->n; i++) {
        explicit_bzero(v->list[i].value, v->list[i].n);
        free(v->list[i].value);
    }
    free(v);
}

size_t pii_vault_count(const struct pii_vault *v) {
    return v->n;
}

/* The number of this value, or 0 when the vault is full. */
static enum err keep(struct pii_vault *v, enum pii_kind kind, struct str s, int *ret) {
    *ret = 0;
    for (size_t i = 0; i < v->n; i++)
        if (v->list[i].kind == kind && str_eq((struct str){v->list[i].value, v->list[i].n}, s)) {
            *ret = v->list[i].number;
            return ERR_OK;
        }
    if (v->n == PII_VAULT_MAX)
        return ERR_OK;
    char *copy = malloc(s.n + 1);
    if (!copy)
        return ERR_NOMEM;
    memcpy(copy, s.p, s.n);
    *ret = ++v->counts[kind];
    v->list[v->n++] = (struct kept){kind, *ret, copy, s.n};
    return ERR_OK;
}

enum err pii_redact(struct pii_vault *v, struct str text, const struct pii_hit *hits, size_t n,
                    struct buf *out) {
    size_t at = 0;
    for (size_t i = 0; i < n; i++) {
        int number;
        if (hits[i].from < at || hits[i].to > text.n)
            continue;
        enum err e =
            keep(v, hits[i].kind, str_sub(text, hits[i].from, hits[i].to - hits[i].from), &number);
        if (e)
            return e;
        buf_add(out, text.p + at, hits[i].from - at);
        if (number)
            buf_addf(out, "[%s_%d]", pii_label(hits[i].kind), number);
        else
            buf_addf(out, "[%s]", pii_label(hits[i].kind));
        at = hits[i].to;
    }
    buf_add(out, text.p + at, text.n - at);
    return buf_err(out);
}

enum err pii_redact_all(struct pii_vault *v, struct str text, const bool kinds[PII_KINDS],
                        struct buf *out, size_t *ret_n) {
    struct pii_hit hits[HITS];
    size_t total = 0;
    for (size_t at = 0, end; at < text.n; at = end) {
        size_t n = pii_scan_from(text, at, hits, HITS), m = 0;
        end = pii_next(text, hits, n, HITS);
        for (size_t i = 0; i < n; i++)
            if (kinds[hits[i].kind])
                hits[m++] = (struct pii_hit){hits[i].kind, hits[i].detail, hits[i].from - at,
                                             hits[i].to - at};
        enum err e = pii_redact(v, str_sub(text, at, end - at), hits, m, out);
        if (e)
            return e;
        total += m;
    }
    *ret_n = total;
    return buf_err(out);
}

/* The value whose placeholder, "[LABEL_N]", stands at the start of s, and the placeholder's length.
 */
static const struct kept *placeholder(const struct pii_vault *v, struct str s, size_t *ret_n) {
    size_t i = 1, label = 0;
    int number = 0;
    while (i < s.n && i < PII_PLACEHOLDER_MAX && s.p[i] >= 'A' && s.p[i] <= 'Z')
        i++;
    label = i - 1;
    if (i == s.n || s.p[i++] != '_')
        return NULL;
    size_t digits = i;
    for (; i < s.n && i < digits + 6 && s.p[i] >= '0' && s.p[i] <= '9'; i++)
        number = number * 10 + s.p[i] - '0';
    if (i == digits || i == s.n || s.p[i] != ']' || s.p[digits] == '0')
        return NULL;
    *ret_n = i + 1;
    for (size_t k = 0; k < v->n; k++)
        if (v->list[k].number == number &&
            str_eq(str_from(pii_label(v->list[k].kind)), str_sub(s, 1, label)))
            return &v->list[k];
    *ret_n = 1;
    return NULL;
}

enum err pii_restore(const struct pii_vault *v, struct str text, struct buf *out) {
    size_t at = 0;
    for (size_t i = 0; i < text.n && v->n > 0;) {
        size_t n = 1;
        const struct kept *k =
            text.p[i] == '[' ? placeholder(v, str_sub(text, i, text.n), &n) : NULL;
        if (k) {
            buf_add(out, text.p + at, i - at);
            buf_add(out, k->value, k->n);
            at = i + n;
        }
        i += n;
    }
    buf_add(out, text.p + at, text.n - at);
    return buf_err(out);
}
