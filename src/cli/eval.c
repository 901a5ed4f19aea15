/* parley eval safety|injection: how well the guard, as it is installed, does on a labelled file. It
 * prints counts, measures and times, never a text. */
#include "cli/eval.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/out.h"
#include "base/clock.h"
#include "cli/cli.h"
#include "cli/embedder.h"
#include "cli/eval_measure.h"
#include "cli/eval_rows.h"
#include "safety/classifier.h"
#include "safety/guard.h"
#include "safety/views.h"

#define CHUNK          256 /* texts embedded together */
#define DOCUMENT_BYTES 200 /* an injection row as long as this is judged as a passage as well */

struct eval {
    const struct args *args;
    struct config *config;
    struct classifier *classifier;
    struct safety_scorer scorer;
    struct safety *guard;
    struct embedder *embedder; /* NULL: without */
    struct eval_rows rows;
    struct eval_outcome *outcome;
    struct eval_outcome *by[SAFETY_CATEGORIES]; /* of rows that name categories */
    size_t n, skipped, n_by, warned_harmful, warned_benign;
    double *us; /* of judging, without the embedding */
    size_t n_us, texts;
    int64_t embed_ns;
    bool injection;
    FILE *verdicts; /* NULL: not wanted */
};

/* ---- opening ---- */

static enum err open_policy(struct eval *v, struct buf *policy, struct errinfo *ei) {
    const char *path = args_get(v->args, "policy");
    buf_init(policy, POLICY_BYTES_MAX);
    if (!path)
        return ERR_OK;
    FILE *f = fopen(path, "rb");
    if (!f)
        return err_set(ei, ERR_NOT_FOUND, "cannot open the policy %s", path);
    char part[4096];
    for (size_t n; (n = fread(part, 1, sizeof part, f)) > 0;)
        buf_add(policy, part, n);
    fclose(f);
    return buf_err(policy) ? err_set(ei, buf_err(policy), "%s is too large", path) : ERR_OK;
}

static enum err open_guard(struct eval *v, struct errinfo *ei) {
    const char *model = args_get(v->args, "model");
    struct buf policy;
    enum err e = model ? classifier_open(model, &v->classifier, ei)
                       : classifier_open_builtin(&v->classifier, ei);
    if (e)
        return e;
    v->scorer = classifier_scorer(v->classifier);
    if (!(e = open_policy(v, &policy, ei))) {
        struct safety_options o = {.policy = policy.n ? buf_str(&policy) : STR_NULL,
                                   .scorer = &v->scorer};
        e = safety_new(&o, &v->guard, ei);
    }
    buf_deinit(&policy);
    if (!e && !args_has(v->args, "no-embedding"))
        e = embedder_open(v->config, &v->embedder, ei);
    return e;
}

static enum err make_room(struct eval *v, struct errinfo *ei) {
    v->outcome = calloc(v->rows.n, sizeof *v->outcome);
    v->us = calloc(v->rows.n * 3, sizeof *v->us);
    bool ok = v->outcome && v->us;
    for (int c = 0; c < SAFETY_CATEGORIES; c++) {
        v->by[c] = calloc(v->rows.n, sizeof *v->by[c]);
        ok = ok && v->by[c];
    }
    return ok ? ERR_OK : err_set(ei, ERR_NOMEM, NULL);
}

static enum err open_verdicts(struct eval *v, struct errinfo *ei) {
    const char *path = args_get(v->args, "verdicts");
    if (path && !(v->verdicts = fopen(path, "w")))
        return err_set(ei, ERR_IO, "cannot write %s", path);
    return ERR_OK;
}

/* False: the disk is full, or the like. */
static bool close_verdicts(struct eval *v) {
    FILE *f = v->verdicts;
    v->verdicts = NULL;
    if (!f)
        return true;
    bool ok = !ferror(f);
    return fclose(f) == 0 && ok;
}

static void close_eval(struct eval *v) {
    (void)close_verdicts(v);
    for (int c = 0; c < SAFETY_CATEGORIES; c++)
        free(v->by[c]);
    free(v->outcome);
    free(v->us);
    eval_rows_deinit(&v->rows);
    embedder_close(v->embedder);
    safety_free(v->guard);
    classifier_free(v->classifier);
    config_free(v->config);
}

/* ---- one row ---- */

/* What is judged of a row, up to two readings; the worst counts. */
struct reading {
    struct str text, context;
    enum safety_direction direction;
};
#define READINGS 2

static size_t read_row(const struct eval *v, const json_val *row, struct reading out[READINGS]) {
    struct str prompt = json_get_str(row, "prompt"), response = json_get_str(row, "response");
    struct str text = json_get_str(row, "text");
    memset(out, 0, READINGS * sizeof *out);
    if (prompt.p && response.p) { /* an answer is judged by itself, as the server does */
        if (response.n > EVAL_TEXT_MAX || response.n == 0)
            return 0;
        out[0] = (struct reading){response, prompt, SAFETY_OUTPUT};
        return 1;
    }
    if (!text.p)
        text = prompt;
    if (!text.p || text.n > EVAL_TEXT_MAX)
        return 0;
    out[0] = (struct reading){text, json_get_str(row, "context"), SAFETY_INPUT};
    /* Long texts may be documents: they are read as what a document says, too. */
    if (!v->injection || text.n < DOCUMENT_BYTES)
        return 1;
    out[1] = (struct reading){text, STR_NULL, SAFETY_PASSAGE};
    return 2;
}

static void raise_to(struct safety_verdict *worst, const struct safety_verdict *v) {
    for (int c = 0; c < SAFETY_CATEGORIES; c++)
        if (v->scores[c] > worst->scores[c])
            worst->scores[c] = v->scores[c];
    if (v->action > worst->action)
        worst->action = v->action;
}

/* Leaves the strongest action of a finding in one of the judged categories: redacted personal data
 * are not what is measured here. */
static enum safety_action harm_action(const struct eval *v, const struct safety_verdict *verdict) {
    enum safety_action a = SAFETY_ALLOW;
    for (size_t i = 0; i < verdict->n; i++) {
        const struct safety_finding *f = &verdict->findings[i];
        bool attack = f->category >= SAFETY_PROMPT_INJECTION;
        if (f->action > a && f->action != SAFETY_REDACT && (!v->injection || attack))
            a = f->action;
    }
    return a;
}

/* Where in the vectors of a row that of the request in a frame and that of the talk stand, behind
 * those of the readings; 0 = there is none. */
struct places {
    size_t core, talk;
};

/* row: its number, from 1 on. */
static enum err write_verdict(struct eval *v, size_t row, int label,
                              const struct safety_verdict *verdict) {
    struct buf b;
    if (!v->verdicts)
        return ERR_OK;
    buf_init(&b, 1 << 16);
    buf_addf(&b, "{\"row\":%zu,\"%s\":%d,\"verdict\":", row, v->injection ? "injection" : "harmful",
             label);
    safety_verdict_json(verdict, &b);
    buf_addz(&b, "}\n");
    enum err e = buf_err(&b);
    if (!e)
        fwrite(b.p, 1, b.n, v->verdicts); /* close_verdicts() tells whether that went well */
    buf_deinit(&b);
    return e;
}

/* vectors: a row for each reading and place; NULL = without. */
static enum err judge_row(struct eval *v, size_t row, int label, const struct reading *r, size_t n,
                          const float *vectors, size_t wide, struct places at,
                          struct safety_verdict *worst) {
    memset(worst, 0, sizeof *worst);
    for (size_t i = 0; i < n; i++) {
        struct safety_verdict one;
        struct safety_request q = {.text = r[i].text,
                                   .context = r[i].context,
                                   .direction = r[i].direction,
                                   .embedding = vectors ? vectors + i * wide : NULL};
        if (vectors && at.core)
            q.core_embedding = vectors + at.core * wide;
        if (vectors && at.talk)
            q.talk_embedding = vectors + at.talk * wide;
        int64_t start = clock_mono_ns();
        enum err e = safety_judge(v->guard, &q, &one);
        if (e)
            return e;
        v->us[v->n_us++] = (double)(clock_mono_ns() - start) / 1e3;
        if ((e = write_verdict(v, row, label, &one)))
            return e;
        one.action = harm_action(v, &one);
        raise_to(worst, &one);
    }
    return ERR_OK;
}

static bool names_category(const json_val *row, enum safety_category c) {
    json_val *list = json_get(row, "categories"), *one;
    size_t i, max;
    yyjson_arr_foreach(list, i, max, one) {
        if (str_eqz(json_str(one), safety_category_name(c)))
            return true;
    }
    return false;
}

static void note_outcome(struct eval *v, const json_val *row, int label,
                         const struct safety_verdict *worst) {
    const int from = v->injection ? SAFETY_PROMPT_INJECTION : 0;
    const int to = v->injection ? SAFETY_CATEGORIES : SAFETY_PROMPT_INJECTION;
    struct eval_outcome o = {.positive = label};
    for (int c = from; c < to; c++)
        if (worst->scores[c] > o.score)
            o.score = worst->scores[c];
    /* A document is not blocked: what gives orders in it is left out, which a warning stands for.
     */
    o.flagged = worst->action >= (v->injection ? SAFETY_WARN : SAFETY_BLOCK);
    *(label ? &v->warned_harmful : &v->warned_benign) += worst->action == SAFETY_WARN;
    v->outcome[v->n++] = o;
    if (v->injection || !yyjson_is_arr(json_get(row, "categories")) ||
        (label && yyjson_arr_size(json_get(row, "categories")) == 0))
        return;
    for (int c = 0; c < SAFETY_CATEGORIES; c++)
        v->by[c][v->n_by] =
            (struct eval_outcome){worst->scores[c], names_category(row, (enum safety_category)c),
                                  worst->scores[c] >= 0.5f};
    v->n_by++;
}

/* ---- all rows ---- */

/* The rows that are embedded together. */
struct chunk {
    struct reading r[CHUNK][READINGS];
    size_t n[CHUNK], first[CHUNK]; /* readings of a row; their first text */
    struct places at[CHUNK];
    struct buf talk[CHUNK]; /* its text; .n = 0: none */
    struct str texts[CHUNK * (READINGS + 2)];
    size_t rows, n_texts;
};

/* The request in a frame is embedded by itself, and of a talk the last messages with the new one,
 * as the server does it. */
static enum err read_chunk(struct eval *v, size_t from, struct chunk *c) {
    enum err e = ERR_OK;
    c->n_texts = 0;
    for (size_t i = 0; i < c->rows; i++) {
        const struct reading *r = c->r[i];
        c->n[i] = read_row(v, v->rows.row[from + i], c->r[i]);
        c->first[i] = c->n_texts;
        for (size_t k = 0; k < c->n[i]; k++)
            c->texts[c->n_texts++] = r[k].text;
        buf_init(&c->talk[i], EVAL_TEXT_MAX);
        c->at[i] = (struct places){0, 0};
        struct str core = c->n[i] && r->direction == SAFETY_INPUT && utf8_valid(r->text)
                              ? safety_view_core(r->text)
                              : STR_NULL;
        if (core.n) {
            c->at[i].core = c->n_texts - c->first[i];
            c->texts[c->n_texts++] = core;
        }
        if (e || !c->n[i] || !v->embedder)
            continue;
        struct safety_request q = {
            .text = r->text, .context = r->context, .direction = r->direction};
        e = safety_join_suspect_talk(v->guard, &q, &c->talk[i]);
        if (c->talk[i].n) {
            c->at[i].talk = c->n_texts - c->first[i];
            c->texts[c->n_texts++] = buf_str(&c->talk[i]);
        }
    }
    return e;
}

/* *ret_vectors: rows of *ret_row numbers as the scorer reads them, to be freed. */
static enum err embed_chunk(struct eval *v, const struct chunk *c, float **ret_vectors,
                            size_t *ret_row, struct errinfo *ei) {
    struct embedded had = {0};
    int64_t start = clock_mono_ns();
    enum err e = ERR_OK;
    if (v->embedder && c->n_texts)
        e = embedder_run(v->embedder, c->texts, c->n_texts, UPSTREAM_EMBED_LAYERS, &had, ei);
    v->embed_ns += clock_mono_ns() - start;
    v->texts += c->n_texts;
    if (!e && had.vectors && (size_t)had.dimensions != v->scorer.embedding_dims)
        e = err_set(ei, ERR_INVALID,
                    "the embedding model has %d numbers, the classifier wants %zu; "
                    "use all-minilm-l6-v2, or --no-embedding",
                    had.dimensions, v->scorer.embedding_dims);
    *ret_row = safety_scorer_row(&v->scorer);
    if (!e && had.vectors && !(*ret_vectors = calloc(c->n_texts, *ret_row * sizeof(float))))
        e = err_set(ei, ERR_NOMEM, NULL);
    if (!e && had.vectors)
        safety_scorer_rows(&v->scorer, c->n_texts, had.vectors, had.layers,
                           (size_t)had.layer_numbers, *ret_vectors);
    embedded_deinit(&had);
    return e;
}

static enum err judge_chunk(struct eval *v, size_t from, size_t to, struct errinfo *ei) {
    struct chunk c = {.rows = to - from};
    float *vectors = NULL;
    size_t wide = 0;
    enum err e = read_chunk(v, from, &c);
    if (e)
        err_set(ei, e, NULL);
    else
        e = embed_chunk(v, &c, &vectors, &wide, ei);
    for (size_t i = 0; i < c.rows && !e; i++) {
        json_val *row = v->rows.row[from + i];
        int label = eval_label(row, v->injection ? "injection" : "harmful");
        struct safety_verdict worst;
        if (c.n[i] == 0 || label < 0)
            v->skipped++;
        else if (!(e = judge_row(v, from + i + 1, label, c.r[i], c.n[i],
                                 vectors ? vectors + c.first[i] * wide : NULL, wide, c.at[i],
                                 &worst)))
            note_outcome(v, row, label, &worst);
        else
            err_set(ei, e, "row %zu could not be judged: %s", from + i + 1, err_text(e));
    }
    for (size_t i = 0; i < c.rows; i++)
        buf_deinit(&c.talk[i]);
    free(vectors);
    return e;
}

/* ---- the result ---- */

static void print_json(struct eval *v, const struct eval_measures *m, double p50, double p99,
                       double embed_ms) {
    struct buf b;
    buf_init(&b, 1 << 16);
    out_open(&b, NULL, '{');
    out_strz(&b, "eval", v->injection ? "injection" : "safety");
    out_strz(&b, "classifier", v->scorer.name);
    out_int(&b, "rows", (int64_t)m->n);
    out_int(&b, "positives", (int64_t)m->positives);
    out_int(&b, "skipped", (int64_t)v->skipped);
    out_num(&b, "auprc", m->auprc);
    out_num(&b, "auroc", m->auroc);
    out_num(&b, "f1", m->f1);
    out_num(&b, "precision", m->precision);
    out_num(&b, "recall", m->recall);
    out_num(&b, "false_positive_rate", m->false_positive_rate);
    out_num(&b, "best_f1", m->best_f1);
    out_num(&b, "best_f1_at", m->best_at);
    out_num(&b, "judge_us_p50", p50);
    out_num(&b, "judge_us_p99", p99);
    out_num(&b, "embed_ms_mean", embed_ms);
    if (v->n_by) {
        out_open(&b, "categories", '{');
        for (int c = 0; c < SAFETY_PROMPT_INJECTION; c++) {
            struct eval_measures k = eval_measure(v->by[c], v->n_by);
            out_open(&b, safety_category_name((enum safety_category)c), '{');
            out_int(&b, "positives", (int64_t)k.positives);
            out_num(&b, "auprc", k.auprc);
            out_num(&b, "recall", k.recall);
            out_num(&b, "false_positive_rate", k.false_positive_rate);
            out_close(&b, '}');
        }
        out_close(&b, '}');
    }
    out_close(&b, '}');
    if (!buf_err(&b))
        printf("%.*s\n", STR_ARG(buf_str(&b)));
    buf_deinit(&b);
}

static void print_percent(const char *name, double x, const char *more) {
    if (isfinite(x))
        printf("%-22s %6.1f %%  %s\n", name, 100 * x, more);
    else
        printf("%-22s      –    no such rows\n", name);
}

static void print_text(struct eval *v, const struct eval_measures *m, double p50, double p99,
                       double embed_ms) {
    const char *what = v->injection ? "injections" : "harmful";
    printf("%-22s %zu: %zu %s, %zu not", "rows", m->n, m->positives, what, m->n - m->positives);
    if (v->skipped)
        printf("; %zu skipped (no text, or no label)", v->skipped);
    printf("\n%-22s %s%s\n", "classifier", v->scorer.name,
           v->embedder ? "" : ", without embeddings");
    if (isfinite(m->auprc) && isfinite(m->auroc))
        printf("%-22s %.4f\n%-22s %.4f\n", "AUPRC", m->auprc, "AUROC", m->auroc);
    printf("at the policy's bounds\n");
    print_percent("  recall", m->recall, v->injection ? "blocked or left out" : "blocked");
    print_percent("  false positives", m->false_positive_rate, "of the rows that are not");
    print_percent("  precision", m->precision, "");
    print_percent("  F1", m->f1, "");
    if (!v->injection)
        printf("  only warned about    %zu %s, %zu not\n", v->warned_harmful, what,
               v->warned_benign);
    if (isfinite(m->auroc))
        printf("best F1 %.1f %% at score %.3f\n", 100 * m->best_f1, m->best_at);
    for (int c = 0; v->n_by && c < SAFETY_PROMPT_INJECTION; c++) {
        struct eval_measures k = eval_measure(v->by[c], v->n_by);
        if (k.positives)
            printf("  %-14s %6zu rows  AUPRC %.3f  recall %5.1f %% and false positives %.2f %% at "
                   "0.5\n",
                   safety_category_name((enum safety_category)c), k.positives, k.auprc,
                   100 * k.recall, 100 * k.false_positive_rate);
    }
    printf("judging a text         p50 %.0f µs, p99 %.0f µs", p50, p99);
    if (v->embedder)
        printf("; its embedding %.1f ms on average", embed_ms);
    printf("\n");
}

static int run(const struct args *a, bool injection) {
    struct eval v = {.args = a, .injection = injection};
    struct errinfo ei = {0};
    int status = cli_config(a, &v.config);
    if (status != CLI_OK)
        return status;
    enum err e = eval_rows_read(a->operands[0], &v.rows, &ei);
    if (!e && !(e = open_guard(&v, &ei)) && !(e = open_verdicts(&v, &ei)))
        e = make_room(&v, &ei);
    for (size_t at = 0; at < v.rows.n && !e; at += CHUNK)
        e = judge_chunk(&v, at, at + CHUNK < v.rows.n ? at + CHUNK : v.rows.n, &ei);
    if (!e && v.n == 0)
        e = err_set(&ei, ERR_INVALID, "no row has %s",
                    injection ? "\"text\" and \"injection\" (0 or 1)"
                              : "\"text\" (or \"prompt\") and \"harmful\" (0 or 1)");
    if (!close_verdicts(&v) && !e)
        e = err_set(&ei, ERR_IO, "the verdicts could not be written");
    if (!e) {
        struct eval_measures m = eval_measure(v.outcome, v.n);
        double p50 = eval_quantile(v.us, v.n_us, 0.5), p99 = eval_quantile(v.us, v.n_us, 0.99);
        double embed_ms = v.embedder ? (double)v.embed_ns / 1e6 / (double)v.texts : NAN;
        (args_has(a, "json") ? print_json : print_text)(&v, &m, p50, p99, embed_ms);
    } else
        status = cli_fail(e, &ei);
    close_eval(&v);
    return status;
}

int cmd_eval_safety(const struct args *a) {
    return run(a, false);
}

int cmd_eval_injection(const struct args *a) {
    return run(a, true);
}
