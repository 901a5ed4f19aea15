/* parley eval pii: the detectors of personal data against marked spans (Presidio's form). A span is
 * found when a hit of its kind covers half of the two together (intersection over union). Types
 * that no detector looks for (names, places) are counted and listed, but nothing is claimed for
 * them. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "api/out.h"
#include "base/clock.h"
#include "cli/cli.h"
#include "cli/eval.h"
#include "cli/eval_measure.h"
#include "cli/eval_rows.h"
#include "safety/pii.h"

#define SPANS_MAX 256
#define TYPES_MAX 64
#define TYPE_LEN  40

static const struct {
    const char *type;
    enum pii_kind kind;
} known_types[] = {
    {"EMAIL_ADDRESS", PII_EMAIL},
    {"EMAIL", PII_EMAIL},
    {"PHONE_NUMBER", PII_PHONE},
    {"PHONE", PII_PHONE},
    {"CREDIT_CARD", PII_CARD},
    {"IBAN_CODE", PII_IBAN},
    {"IBAN", PII_IBAN},
    {"US_SSN", PII_SSN},
    {"SSN", PII_SSN},
    {"NATIONAL_ID", PII_NATIONAL},
    {"UK_NHS", PII_NATIONAL},
    {"ES_NIF", PII_NATIONAL},
    {"US_DRIVER_LICENSE", PII_LICENCE},
    {"IP_ADDRESS", PII_IP},
    {"IP", PII_IP},
    {"DOMAIN_NAME", PII_DOMAIN},
    {"URL", PII_DOMAIN},
    {"SECRET", PII_SECRET},
    {"API_KEY", PII_SECRET},
};

struct span {
    size_t from, to; /* bytes */
    int kind;        /* -1 = no detector */
    bool found;
};

struct tally {
    size_t tp, fp, fn;
};

struct pii_eval {
    struct tally kinds[PII_KINDS];
    char other[TYPES_MAX][TYPE_LEN]; /* types without a detector */
    size_t other_n[TYPES_MAX], n_other;
    size_t rows, skipped;
    double *us;
};

static int kind_of(struct str type) {
    for (size_t i = 0; i < sizeof known_types / sizeof *known_types; i++)
        if (str_eqz(type, known_types[i].type))
            return (int)known_types[i].kind;
    return pii_from_name(type);
}

static void count_other(struct pii_eval *v, struct str type) {
    size_t i = 0;
    while (i < v->n_other && !str_eqz(type, v->other[i]))
        i++;
    if (i == TYPES_MAX || type.n >= TYPE_LEN)
        return;
    if (i == v->n_other)
        snprintf(v->other[v->n_other++], TYPE_LEN, "%.*s", STR_ARG(type));
    v->other_n[i]++;
}

/* The byte at which the code point number `at` begins, at most the text's end. */
static size_t byte_of(struct str s, int64_t at) {
    size_t i = 0;
    for (; i < s.n; i++)
        if (((unsigned char)s.p[i] & 0xC0) != 0x80 && at-- <= 0)
            return i;
    return s.n;
}

static size_t read_spans(struct pii_eval *v, const json_val *row, struct str text,
                         struct span out[SPANS_MAX]) {
    json_val *list = json_get(row, "spans"), *one;
    size_t i, max, n = 0;
    yyjson_arr_foreach(list, i, max, one) {
        struct str type = json_get_str(one, "entity_type");
        int kind = kind_of(type);
        if (n == SPANS_MAX)
            break;
        out[n++] = (struct span){byte_of(text, json_get_int(one, "start_position", 0)),
                                 byte_of(text, json_get_int(one, "end_position", 0)), kind, false};
        if (kind < 0)
            count_other(v, type);
    }
    return n;
}

static bool fits(const struct span *s, const struct pii_hit *h) {
    size_t from = s->from > h->from ? s->from : h->from, to = s->to < h->to ? s->to : h->to;
    size_t first = s->from < h->from ? s->from : h->from, last = s->to > h->to ? s->to : h->to;
    return to > from && 2 * (to - from) >= last - first;
}

static bool inside_other(const struct span *spans, size_t n, const struct pii_hit *h) {
    for (size_t k = 0; k < n; k++)
        if (spans[k].kind < 0 && spans[k].from < h->to && h->from < spans[k].to)
            return true;
    return false;
}

static void judge(struct pii_eval *v, const json_val *row) {
    struct span spans[SPANS_MAX];
    struct pii_hit hits[SPANS_MAX];
    struct str text = json_get_str(row, "full_text");
    if (!text.p)
        text = json_get_str(row, "text");
    if (!text.p || !yyjson_is_arr(json_get(row, "spans"))) {
        v->skipped++;
        return;
    }
    size_t n = read_spans(v, row, text, spans);
    int64_t start = clock_mono_ns();
    size_t m = pii_scan(text, hits, SPANS_MAX);
    v->us[v->rows++] = (double)(clock_mono_ns() - start) / 1e3;
    for (size_t i = 0; i < m && i < SPANS_MAX; i++) {
        size_t k = 0;
        while (k < n &&
               (spans[k].kind != (int)hits[i].kind || spans[k].found || !fits(&spans[k], &hits[i])))
            k++;
        if (k < n) {
            spans[k].found = true;
            v->kinds[hits[i].kind].tp++;
        } else if (!inside_other(spans, n, &hits[i]))
            v->kinds[hits[i].kind].fp++;
    }
    for (size_t k = 0; k < n; k++)
        if (spans[k].kind >= 0 && !spans[k].found)
            v->kinds[spans[k].kind].fn++;
}

static void print_kind(const char *name, struct tally t, struct buf *json) {
    double p = t.tp + t.fp ? (double)t.tp / (double)(t.tp + t.fp) : NAN;
    double r = t.tp + t.fn ? (double)t.tp / (double)(t.tp + t.fn) : NAN;
    double f1 = eval_f(t.tp, t.fp, t.fn, 1), f2 = eval_f(t.tp, t.fp, t.fn, 2);
    if (json) {
        out_open(json, name, '{');
        out_int(json, "spans", (int64_t)(t.tp + t.fn));
        out_num(json, "precision", p);
        out_num(json, "recall", r);
        out_num(json, "f1", f1);
        out_num(json, "f2", f2);
        out_close(json, '}');
    } else if (t.tp + t.fp + t.fn)
        printf("%-20s %6zu  %9.3f  %6.3f  %5.3f  %5.3f\n", name, t.tp + t.fn, p, r, f1, f2);
}

static void print(struct pii_eval *v, bool as_json) {
    struct buf b, *json = as_json ? &b : NULL;
    struct tally all = {0};
    buf_init(&b, 1 << 16);
    if (json) {
        out_open(&b, NULL, '{');
        out_strz(&b, "eval", "pii");
        out_int(&b, "rows", (int64_t)v->rows);
        out_int(&b, "skipped", (int64_t)v->skipped);
        out_open(&b, "kinds", '{');
    } else {
        printf("%zu rows", v->rows);
        if (v->skipped)
            printf("; %zu skipped (no text, or no spans)", v->skipped);
        printf("\n%-20s %6s  %9s  %6s  %5s  %5s\n", "", "spans", "precision", "recall", "F1", "F2");
    }
    for (int k = 0; k < PII_KINDS; k++) {
        print_kind(pii_name((enum pii_kind)k), v->kinds[k], json);
        all.tp += v->kinds[k].tp;
        all.fp += v->kinds[k].fp;
        all.fn += v->kinds[k].fn;
    }
    print_kind("in all", all, json);
    if (json)
        out_close(&b, '}');
    if (json)
        out_open(&b, "not_looked_for", '{');
    else if (v->n_other)
        printf("not looked for:");
    for (size_t i = 0; i < v->n_other; i++) {
        if (json)
            out_int(&b, v->other[i], (int64_t)v->other_n[i]);
        else
            printf(" %s %zu%s", v->other[i], v->other_n[i], i + 1 < v->n_other ? "," : "\n");
    }
    double p50 = v->rows ? eval_quantile(v->us, v->rows, 0.5) : NAN;
    double p99 = v->rows ? eval_quantile(v->us, v->rows, 0.99) : NAN;
    if (json) {
        out_close(&b, '}');
        out_num(&b, "scan_us_p50", p50);
        out_num(&b, "scan_us_p99", p99);
        out_close(&b, '}');
        printf("%.*s\n", STR_ARG(buf_str(&b)));
    } else
        printf("scanning a text: p50 %.1f µs, p99 %.1f µs\n", p50, p99);
    buf_deinit(&b);
}

int cmd_eval_pii(const struct args *a) {
    struct pii_eval v = {0};
    struct eval_rows rows = {0};
    struct errinfo ei = {0};
    int status = CLI_OK;
    enum err e = eval_rows_read(a->operands[0], &rows, &ei);
    if (!e && !(v.us = calloc(rows.n, sizeof *v.us)))
        e = err_set(&ei, ERR_NOMEM, NULL);
    for (size_t i = 0; i < rows.n && !e; i++)
        judge(&v, rows.row[i]);
    if (!e && v.rows == 0)
        e = err_set(&ei, ERR_INVALID, "no row has a text and \"spans\"");
    if (!e)
        print(&v, args_has(a, "json"));
    else
        status = cli_fail(e, &ei);
    free(v.us);
    eval_rows_deinit(&rows);
    return status;
}
