/* Work on weight files through llama.cpp: another form, and what a form costs and keeps. The
 * library's log and start are here too. */
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <llama.h>

#include "base/clock.h"
#include "base/log.h"
#include "engine/lazy_buffer.h"
#include "engine/llama_library.h"
#include "engine/model.h"
#include "engine/panel_buffer.h"
#include "engine/weights.h"

/* The library's own messages may quote metadata of the file: they go no further than the debug
 * level. */
static void on_log(enum ggml_log_level level, const char *text, void *ctx) {
    (void)ctx;
    if (log_level() > LOG_DEBUG || level == GGML_LOG_LEVEL_DEBUG || level == GGML_LOG_LEVEL_CONT)
        return;
    log_event(LOG_DEBUG, "engine.library", LF_STR("text", str_trim(str_from(text))));
}

static void start_library(void) {
    llama_backend_init();
    lazy_buffers_init();
    panel_buffer_register();
}

void llama_library_init(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    llama_log_set(on_log, NULL);
    pthread_once(&once, start_library);
}

/* ---- converting ---- */

struct convert_progress {
    void (*fn)(double fraction, void *ctx);
    void *ctx;
};

/* Converting reports its progress in its log only: "[  12/ 290] blk.3…". */
static void on_convert_log(enum ggml_log_level level, const char *text, void *ctx) {
    const struct convert_progress *p = ctx;
    int at, of;
    if (p->fn && sscanf(text, "[%d/%d]", &at, &of) == 2 && of > 0 && at <= of)
        p->fn((double)at / of, p->ctx);
    on_log(level, text, NULL);
}

enum err llama_weights_convert(const char *in, const char *out, const char *form, int threads,
                               void (*progress)(double fraction, void *ctx), void *ctx,
                               struct errinfo *ei) {
    static const struct {
        const char *name;
        enum llama_ftype type;
    } forms[] = {
        {"Q8_0", LLAMA_FTYPE_MOSTLY_Q8_0},     {"Q4_0", LLAMA_FTYPE_MOSTLY_Q4_0},
        {"F16", LLAMA_FTYPE_MOSTLY_F16},       {"Q4_1", LLAMA_FTYPE_MOSTLY_Q4_1},
        {"Q5_0", LLAMA_FTYPE_MOSTLY_Q5_0},     {"Q6_K", LLAMA_FTYPE_MOSTLY_Q6_K},
        {"Q4_K_M", LLAMA_FTYPE_MOSTLY_Q4_K_M}, {"BF16", LLAMA_FTYPE_MOSTLY_BF16},
    };
    struct convert_progress p = {progress, ctx};
    struct llama_model_quantize_params params = llama_model_quantize_default_params();
    size_t i = 0;
    while (i < sizeof(forms) / sizeof(*forms) && strcmp(forms[i].name, form) != 0)
        i++;
    if (i == sizeof(forms) / sizeof(*forms))
        return err_set(ei, ERR_INVALID, "the form %.32s is not known; Q8_0, Q4_0 and F16 are",
                       form);
    params.ftype = forms[i].type;
    params.nthread = threads > 0 ? threads : (int)sysconf(_SC_NPROCESSORS_ONLN);
    params.allow_requantize = true;
    llama_library_init();
    llama_log_set(on_convert_log, &p);
    uint32_t rc = llama_model_quantize(in, out, &params);
    llama_log_set(on_log, NULL);
    if (rc != 0)
        return err_set(ei, ERR_IO, "%s cannot be converted to %s (is the disk full?)", in, form);
    return ERR_OK;
}

/* ---- measuring ---- */

#define WINDOW     512
#define STEP       128 /* tokens of a prefill, and of a step at most */
#define SCORED     320 /* tokens whose perplexity is taken, */
#define SCORE_STEP 64  /* so many at a time: each has logits for the whole vocabulary */
#define DECODES    12
#define REPEATS    2
#define NICE       (-10)

struct measuring {
    struct llama_model *model;
    struct llama_context *context;
    const struct llama_vocab *vocab;
    llama_token tokens[WINDOW];
    int n;
    struct llama_batch batch;
};

static bool step(struct measuring *m, int from, int n, bool all_logits) {
    m->batch.n_tokens = n;
    for (int i = 0; i < n; i++) {
        m->batch.token[i] = m->tokens[from + i];
        m->batch.pos[i] = from + i;
        m->batch.n_seq_id[i] = 1;
        m->batch.seq_id[i][0] = 0;
        m->batch.logits[i] = all_logits || i == n - 1;
    }
    return llama_decode(m->context, m->batch) == 0;
}

static void forget(struct measuring *m) {
    llama_memory_clear(llama_get_memory(m->context), false);
}

/* -log of the probability that the model gives to a token. */
static double surprise(const float *logits, int n, llama_token token) {
    float max = logits[0];
    double sum = 0;
    for (int i = 1; i < n; i++)
        max = logits[i] > max ? logits[i] : max;
    for (int i = 0; i < n; i++)
        sum += (double)expf(logits[i] - max);
    return log(sum) + (double)(max - logits[token]);
}

/* One token for each of n sequences that share the prefill; nanoseconds, 0 = failed. */
static double decode_step(struct measuring *m, int n, int position) {
    m->batch.n_tokens = n;
    for (int i = 0; i < n; i++) {
        m->batch.token[i] = m->tokens[position + i];
        m->batch.pos[i] = position;
        m->batch.n_seq_id[i] = 1;
        m->batch.seq_id[i][0] = i;
        m->batch.logits[i] = true;
    }
    int64_t begin = clock_mono_ns();
    return llama_decode(m->context, m->batch) == 0 ? (double)(clock_mono_ns() - begin) : 0;
}

/* The least of several steps: others may be using the cores. */
static bool measure_decode(struct measuring *m, int n, double *least) {
    for (int i = 0; i < DECODES; i++) {
        double took = decode_step(m, n, STEP + i);
        if (took <= 0)
            return false;
        *least = took < *least ? took : *least;
    }
    return true;
}

static bool measure_speed(struct measuring *m, struct weights_speed *ret) {
    double prefill = INFINITY, decode = INFINITY, together = INFINITY;
    llama_memory_t memory = llama_get_memory(m->context);
    for (int r = 0; r <= REPEATS; r++) { /* the first touches the weights and does not count */
        forget(m);
        int64_t begin = clock_mono_ns();
        if (!step(m, 0, STEP, false))
            return false;
        double took = (double)(clock_mono_ns() - begin);
        prefill = r && took < prefill ? took : prefill;
    }
    if (!measure_decode(m, 1, &decode))
        return false;
    llama_memory_seq_rm(memory, 0, STEP, -1);
    for (int i = 1; i < WEIGHTS_TOGETHER; i++)
        llama_memory_seq_cp(memory, 0, i, 0, STEP);
    if (!measure_decode(m, WEIGHTS_TOGETHER, &together))
        return false;
    ret->prefill = STEP / (prefill / 1e9);
    ret->decode = 1 / (decode / 1e9);
    ret->together = WEIGHTS_TOGETHER / (together / 1e9);
    return true;
}

static bool measure_perplexity(struct measuring *m, struct weights_speed *ret) {
    int vocabulary = llama_vocab_n_tokens(m->vocab), counted = 0;
    double sum = 0;
    forget(m);
    for (int at = 0; at + SCORE_STEP <= SCORED; at += SCORE_STEP) {
        if (!step(m, at, SCORE_STEP, true))
            return false;
        for (int i = 0; i < SCORE_STEP; i++, counted++)
            sum += surprise(llama_get_logits_ith(m->context, i), vocabulary, m->tokens[at + i + 1]);
    }
    ret->perplexity = exp(sum / counted);
    return isfinite(ret->perplexity);
}

static enum err open_measuring(struct measuring *m, const char *path, struct str text, int threads,
                               struct errinfo *ei) {
    struct llama_model_params mp = llama_model_default_params();
    m->model = llama_model_load_from_file(path, mp);
    if (!m->model)
        return err_set(ei, ERR_CORRUPT, "%s cannot be loaded: it is damaged or of an unknown kind",
                       path);
    m->vocab = llama_model_get_vocab(m->model);
    struct llama_context_params cp = llama_context_default_params();
    cp.n_ctx = WINDOW;
    cp.n_batch = cp.n_ubatch = STEP;
    cp.n_seq_max = WEIGHTS_TOGETHER;
    cp.n_outputs_max = SCORE_STEP;
    cp.kv_unified = true;
    cp.n_threads = cp.n_threads_batch = threads;
    m->context = llama_init_from_model(m->model, cp);
    m->batch = llama_batch_init(STEP, 0, 1);
    if (!m->context || !m->batch.token)
        return err_set(ei, ERR_NOMEM, "no memory to measure %s", path);
    llama_token *all = calloc(text.n + 8, sizeof(*all));
    m->n = all ? llama_tokenize(m->vocab, text.p, (int32_t)text.n, all, (int32_t)text.n + 8, true,
                                false)
               : 0;
    if (m->n > WINDOW)
        m->n = WINDOW;
    for (int i = 0; i < m->n; i++)
        m->tokens[i] = all[i];
    free(all);
    return m->n > SCORED ? ERR_OK
                         : err_set(ei, ERR_INTERNAL, "the text to measure with is too short");
}

enum err llama_weights_measure(const char *path, struct str text, int threads,
                               struct weights_speed *ret, struct errinfo *ei) {
    struct measuring *m = calloc(1, sizeof(*m));
    struct weights_speed speed = {0};
    if (!m)
        return err_set(ei, ERR_NOMEM, NULL);
    llama_library_init();
    /* The threads of a step wait for each other: others on the cores would be measured too. Where
     * it is allowed, measuring goes first; it lasts a few seconds. */
    int nice = getpriority(PRIO_PROCESS, 0);
    (void)setpriority(PRIO_PROCESS, 0, NICE);
    enum err e = open_measuring(m, path, text,
                                threads > 0 ? threads : (int)sysconf(_SC_NPROCESSORS_ONLN), ei);
    if (!e && (!measure_speed(m, &speed) || !measure_perplexity(m, &speed)))
        e = err_set(ei, ERR_INTERNAL, "%s cannot be measured: the model's computation failed",
                    path);
    if (m->batch.token)
        llama_batch_free(m->batch);
    if (m->context)
        llama_free(m->context);
    llama_model_free(m->model);
    free(m);
    (void)setpriority(PRIO_PROCESS, 0, nice);
    if (!e)
        *ret = speed;
    return e;
}
