/* The model that runs weights: llama.cpp behind model.h. tests/check_layers.py says which
 * files may include llama.h and ggml's headers.
 *
 * KV is a row of cells for each slot, or one pool for all when there is not the memory for rows
 * (llama_kv.h; docs/scheduler.md has the measurements). With rows, attention is computed by matrix
 * products: faster here than flash attention, and equal whatever pieces a prompt is computed in, as
 * long as each has two tokens. A single token is rounded otherwise; so those of answers are a pass
 * of their own, however many take part, and each prompt is one. In a pool most cells are others',
 * which only flash attention passes over.
 *
 * The pool is smaller than a window for every slot: the scheduler reserves what each request can
 * need at most before it starts, so a step does not fail for want of cells. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <ggml-cpu.h>
#include <llama.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/layers_of.h"
#include "base/log.h"
#include "base/metrics.h"
#include "engine/chat_template.h"
#include "engine/gguf_header.h"
#include "engine/llama_kv.h"
#include "engine/llama_layers.h"
#include "engine/llama_library.h"
#include "engine/mapped_file.h"
#include "engine/memory.h"
#include "engine/model.h"
#include "engine/pace.h"
#include "engine/q8_panels.h"

#define STEP_TOKENS     256
#define EMBED_TOKENS    512
#define EMBED_SEQUENCES 32
#define PREFIX_CELLS    256 /* for each prefix sequence */
#define WINDOW_DEFAULT  4096
#define SLOTS_USUAL     16
#define SEQUENCES_MAX   256
#define CELLS_DEFAULT   16384 /* of all slots together, when memory allows */
#define TEMPLATE_MAX    (8u << 20)

struct llama_pool {
    struct ggml_threadpool *threads;
    struct ggml_threadpool
        *alone; /* of one thread: in a larger pool the others would spin beside */
    int n;
    int best; /* threads, as the chat model's steps say */
};

struct llama_weights { /* the implementation of struct model */
    struct model base;
    struct llama_model *model;
    struct llama_context *context;
    const struct llama_vocab *vocab;
    const char *chat_template;          /* a known one's text, borrowed from model, or "chatml" */
    struct chat_template *own_template; /* NULL = the model has none that can be run */
    bool control_begins[256];           /* bytes with which control tokens' texts begin */
    struct llama_batch batch;
    struct llama_kv kv;
    struct llama_adapter_lora *adapters[MODEL_ADAPTERS_MAX];
    int adapter;             /* which is set, 0 = none */
    int rows[STEP_TOKENS];   /* where an item's logits are: the library's, or STEP_TOKENS + one of
                                logits */
    int passes[STEP_TOKENS]; /* which of the step's passes over the weights computes an item */
    float *logits;           /* rows kept while a step goes on with another adapter */
    int outputs;             /* items of a step that may have logits */
    struct llama_layers layers;
    struct pace pace;
    struct llama_pool *pool; /* borrowed */
};

static struct llama_weights *weights(struct model *m) {
    return (struct llama_weights *)m;
}

static const struct llama_weights *weights_const(const struct model *m) {
    return (const struct llama_weights *)m;
}

struct llama_pool *llama_pool_new(int threads, int poll) {
    struct llama_pool *p = calloc(1, sizeof(*p));
    if (!p)
        return NULL;
    llama_library_init();
    struct ggml_threadpool_params params = ggml_threadpool_params_default(threads);
    params.poll = (uint32_t)poll;
    p->n = p->best = threads;
    p->threads = ggml_threadpool_new(&params);
    params.n_threads = 1;
    p->alone = ggml_threadpool_new(&params);
    if (!p->threads || !p->alone) {
        llama_pool_free(p);
        return NULL;
    }
    return p;
}

void llama_pool_free(struct llama_pool *p) {
    if (!p)
        return;
    ggml_threadpool_free(p->threads);
    ggml_threadpool_free(p->alone);
    free(p);
}

/* ---- steps ---- */

static void batch_clear(struct llama_weights *w) {
    w->batch.n_tokens = 0;
}

static void batch_add(struct llama_weights *w, int32_t token, int position, int seq, bool output) {
    int i = w->batch.n_tokens++;
    w->batch.token[i] = token;
    w->batch.pos[i] = position;
    w->batch.n_seq_id[i] = 1;
    w->batch.seq_id[i][0] = seq;
    w->batch.logits[i] = output;
}

static void use_adapter(struct llama_weights *w, int adapter) {
    float scale = 1;
    if (adapter == w->adapter)
        return;
    llama_set_adapters_lora(w->context, adapter ? &w->adapters[adapter - 1] : NULL, adapter != 0,
                            &scale);
    w->adapter = adapter;
}

/* The pass's items when all of them want logits, as those of running answers do; else more than are
 * looked at: a prompt's piece says nothing of the pace. */
static int decoding_items(const struct llama_weights *w) {
    int n = w->batch.n_tokens;
    for (int i = 0; i < n; i++)
        if (!w->batch.logits[i])
            return PACE_ITEMS + 1;
    return n;
}

static void use_threads(struct llama_weights *w, int threads) {
    struct ggml_threadpool *pool = threads == 1 ? w->pool->alone : w->pool->threads;
    llama_set_n_threads(w->context, threads, threads);
    llama_attach_threadpool(w->context, pool, pool); /* one that is left sleeps */
}

static enum err decode(struct llama_weights *w, struct errinfo *ei) {
    int items = decoding_items(w), threads = pace_threads(&w->pace, items);
    use_threads(w, threads);
    int64_t begin = clock_mono_ns();
    int rc = llama_decode(w->context, w->batch);
    if (rc == 0) {
        pace_learn(&w->pace, items, threads, (double)(clock_mono_ns() - begin));
        metric_set(M_ENGINE_THREADS, w->pool->best = w->pace.threads);
        return ERR_OK;
    }
    if (rc == 2)
        return err_set(ei, ERR_CANCELLED, NULL);
    if (rc == 1)
        return err_set(ei, ERR_OVERLOADED, "the model's memory for conversations is full");
    return err_set(ei, ERR_INTERNAL, "the model's computation failed (%d)", rc);
}

static int adapter_of(const struct model_item *item) {
    return item->token >> MODEL_ADAPTER_SHIFT;
}

/* Says which pass computes each item, and returns how many there are. The library computes with one
 * adapter at a time; with rows, a sequence with several items has a pass for itself, before those
 * with one. */
static int plan_passes(struct llama_weights *w, const struct model_item *items, int n) {
    int count[SEQUENCES_MAX] = {0}, pass_of[SEQUENCES_MAX], passes = 0;
    for (int i = 0; i < n; i++)
        count[items[i].sequence]++;
    for (int adapter = 0, done = 0; done < n && adapter <= MODEL_ADAPTERS_MAX; adapter++) {
        bool rest = false;
        memset(pass_of, -1, sizeof(pass_of));
        for (int i = 0; i < n; i++)
            if (adapter_of(&items[i]) == adapter) {
                int seq = items[i].sequence;
                bool alone = w->kv.rows && count[seq] > 1;
                if (alone && pass_of[seq] < 0)
                    pass_of[seq] = passes++;
                w->passes[i] = alone ? pass_of[seq] : -1;
                rest |= !alone;
                done++;
            }
        for (int i = 0; rest && i < n; i++)
            if (adapter_of(&items[i]) == adapter && w->passes[i] < 0)
                w->passes[i] = passes;
        passes += rest;
    }
    return passes;
}

/* The items of a pass become the batch, in order of their sequences (the library joins those whose
 * numbers follow each other); returns their adapter. */
static int batch_pass(struct llama_weights *w, const struct model_item *items, int n, int pass) {
    int adapter = 0;
    batch_clear(w);
    for (int seq = 0; seq < w->base.info.sequences; seq++)
        for (int i = 0; i < n; i++)
            if (items[i].sequence == seq && w->passes[i] == pass) {
                adapter = adapter_of(&items[i]);
                w->rows[i] = w->batch.n_tokens;
                batch_add(w, model_token_plain(items[i].token), items[i].position, seq,
                          items[i].logits);
            }
    return adapter;
}

/* Moves the logits of a pass into rows of our own, before the next one overwrites them. */
static bool keep_logits(struct llama_weights *w, const struct model_item *items, int n, int pass,
                        int *used) {
    size_t size = (size_t)w->base.info.vocabulary;
    for (int i = 0; i < n; i++) {
        if (w->passes[i] != pass || !items[i].logits)
            continue;
        if (!w->logits) /* for good: a row for each item that can have one */
            w->logits = malloc((size_t)w->outputs * size * sizeof(float));
        const float *from = llama_get_logits_ith(w->context, w->rows[i]);
        if (!w->logits || *used == w->outputs || !from)
            return false;
        memcpy(w->logits + (size_t)*used * size, from, size * sizeof(float));
        w->rows[i] = STEP_TOKENS + (*used)++;
    }
    return true;
}

static enum err step(struct model *m, const struct model_item *items, int n, struct errinfo *ei) {
    struct llama_weights *w = weights(m);
    int used = 0, passes = plan_passes(w, items, n);
    for (int i = 0; i < n; i++)
        llama_kv_need(&w->kv, items[i].sequence);
    for (int pass = 0; pass < passes; pass++) {
        int adapter = batch_pass(w, items, n, pass);
        if (adapter && !w->adapters[adapter - 1])
            return err_set(ei, ERR_INTERNAL, "there is no adapter of this number");
        use_adapter(w, adapter);
        enum err e = decode(w, ei);
        if (e)
            return e;
        if (pass + 1 < passes && !keep_logits(w, items, n, pass, &used))
            return err_set(ei, ERR_NOMEM, NULL);
    }
    return ERR_OK;
}

static float *logits(struct model *m, int item) {
    struct llama_weights *w = weights(m);
    int row = w->rows[item];
    return row < STEP_TOKENS ? llama_get_logits_ith(w->context, row)
                             : w->logits + (size_t)(row - STEP_TOKENS) * (size_t)m->info.vocabulary;
}

static enum err embed(struct model *m, const struct tokens *texts, int n, float *ret,
                      struct errinfo *ei) {
    struct llama_weights *w = weights(m);
    size_t dims = (size_t)m->info.dimensions, row = model_row(&m->info);
    batch_clear(w);
    for (int i = 0; i < n; i++)
        for (int j = 0; j < texts[i].n; j++)
            batch_add(w, texts[i].p[j], j, i, true);
    llama_memory_t memory = llama_get_memory(w->context);
    if (memory)
        llama_memory_clear(memory, false);
    use_threads(w, w->pool->best);
    if (w->layers.n) {
        w->layers.texts = texts;
        w->layers.n_texts = (size_t)n;
        w->layers.rows = ret + dims;
        w->layers.stride = row;
        w->layers.seen = 0;
    }
    int rc = llama_encode(w->context, w->batch);
    w->layers.texts = NULL;
    if (rc == 2)
        return err_set(ei, ERR_CANCELLED, NULL);
    if (rc == 0 && w->layers.seen != w->layers.n)
        return err_set(ei, ERR_INTERNAL, "the embedding model's layers could not be read");
    if (rc != 0)
        return err_set(ei, ERR_INTERNAL, "the embedding model's computation failed (%d)", rc);
    for (int i = 0; i < n; i++) {
        const float *v = llama_get_embeddings_seq(w->context, i);
        if (!v)
            return err_set(ei, ERR_INTERNAL, "the embedding model gave no vector");
        double sum = 0;
        for (size_t d = 0; d < dims; d++)
            sum += (double)v[d] * (double)v[d];
        float scale = sum > 0 ? (float)(1 / sqrt(sum)) : 0;
        for (size_t d = 0; d < dims; d++)
            ret[(size_t)i * row + d] = v[d] * scale;
    }
    return ERR_OK;
}

static bool seq_trim(struct model *m, int seq, int n) {
    return llama_kv_trim(&weights(m)->kv, seq, n);
}

static bool seq_copy(struct model *m, int from, int to, int n) {
    return llama_kv_copy(&weights(m)->kv, from, to, n);
}

static bool seq_swap(struct model *m, int a, int b) {
    return llama_kv_swap(&weights(m)->kv, a, b);
}

static size_t seq_size(struct model *m, int seq) {
    return llama_kv_size(&weights(m)->kv, seq);
}

static size_t seq_save(struct model *m, int seq, void *to, size_t size) {
    return llama_kv_save(&weights(m)->kv, seq, to, size);
}

static bool seq_load(struct model *m, int seq, const void *from, size_t size) {
    return llama_kv_load(&weights(m)->kv, seq, from, size);
}

static void defer(struct model *m, bool on) {
    llama_kv_defer(&weights(m)->kv, on);
}

static bool settle(struct model *m, int64_t until_ns) {
    return llama_kv_settle(&weights(m)->kv, until_ns);
}

static bool moves(const struct model *m) {
    const struct llama_weights *w = (const struct llama_weights *)m;
    return llama_kv_moves(&w->kv);
}

static void seq_free(struct model *m, void *bytes) {
    llama_kv_free(&weights(m)->kv, bytes);
}

/* ---- text ---- */

static enum err add_text(const struct llama_weights *w, struct str text, bool begin, bool special,
                         struct tokens *out) {
    int32_t room =
        (int32_t)text.n + 8; /* a token is never shorter than a byte, but for special ones */
    if (text.n > INT32_MAX / 8)
        return ERR_TOO_LARGE;
    int at = out->n;
    enum err e = tokens_add(out, NULL, room);
    if (e)
        return e;
    int n = llama_tokenize(w->vocab, text.p ? text.p : "", (int32_t)text.n, out->p + at, room,
                           begin, special);
    if (n < 0 && n != INT32_MIN) { /* the rare text that needs more */
        out->n = at;
        e = tokens_add(out, NULL, -n);
        if (e)
            return e;
        n = llama_tokenize(w->vocab, text.p ? text.p : "", (int32_t)text.n, out->p + at, -n, begin,
                           special);
    }
    out->n = at + (n > 0 ? n : 0);
    return n < 0 ? ERR_INTERNAL : ERR_OK;
}

static enum err tokenize(const struct model *m, struct str text, bool special, struct tokens *out) {
    /* Encoders want their frame ([CLS] … [SEP]) around a text; chat text is counted bare. */
    return add_text(weights_const(m), text, m->info.dimensions > 0 && special, special, out);
}

static int piece(const struct model *m, int32_t token, char *out, int size) {
    if (token < 0 || token >= m->info.vocabulary)
        return 0;
    int n = llama_token_to_piece(weights_const(m)->vocab, token, out, size, 0, false);
    return n > 0 ? n : 0;
}

static bool is_end(const struct model *m, int32_t token) {
    return llama_vocab_is_eog(weights_const(m)->vocab, token);
}

static bool is_control(const struct llama_weights *w, llama_token t) {
    return llama_vocab_is_control(w->vocab, t) || llama_vocab_is_eog(w->vocab, t);
}

static void know_control_tokens(struct llama_weights *w) {
    for (llama_token t = 0; t < llama_vocab_n_tokens(w->vocab); t++) {
        const char *text = is_control(w, t) ? llama_vocab_get_text(w->vocab, t) : "";
        if (text[0])
            w->control_begins[(unsigned char)text[0]] = true;
    }
}

/* Whether the text would give one of the model's control tokens. Most texts have not even a byte
 * with which one begins. */
static bool has_control(const struct llama_weights *w, struct str text) {
    struct tokens t = {0};
    bool found = false;
    size_t at = 0;
    while (at < text.n && !w->control_begins[(unsigned char)text.p[at]])
        at++;
    if (at == text.n)
        return false;
    if (add_text(w, text, false, true, &t) == ERR_OK)
        for (int i = 0; i < t.n && !found; i++)
            found = is_control(w, t.p[i]);
    tokens_deinit(&t);
    return found;
}

/* The template's text for the messages; marked: contents are replaced by U+E000, their number,
 * U+E001. */
static enum err apply_template(const struct llama_weights *w, const struct model_message *messages,
                               int n, bool answer, bool marked, struct buf *out,
                               struct errinfo *ei) {
    struct llama_chat_message *chat = calloc((size_t)n + 1, sizeof(*chat));
    struct buf text;
    enum err e = ERR_OK;
    size_t bytes = 256;
    buf_init(&text, TEMPLATE_MAX);
    for (int i = 0; chat && i < n; i++) { /* offsets now, pointers when the buffer stands still */
        chat[i].role = (const char *)text.n;
        buf_adds(&text, messages[i].role);
        buf_addc(&text, 0);
        chat[i].content = (const char *)text.n;
        if (marked)
            buf_addf(&text, "\xEE\x80\x80%d\xEE\x80\x81", i);
        else
            buf_adds(&text, messages[i].content);
        buf_addc(&text, 0);
        bytes += messages[i].content.n + 128;
    }
    char *to = malloc(bytes);
    if (!chat || !to || buf_err(&text)) {
        e = err_set(ei, buf_err(&text) ? buf_err(&text) : ERR_NOMEM, NULL);
        goto out;
    }
    for (int i = 0; i < n; i++) {
        chat[i].role = text.p + (size_t)chat[i].role;
        chat[i].content = text.p + (size_t)chat[i].content;
    }
    int need = llama_chat_apply_template(w->chat_template, chat, (size_t)n, answer, to, (int)bytes);
    if (need > (int)bytes) {
        free(to);
        to = malloc((size_t)need);
        if (to)
            need = llama_chat_apply_template(w->chat_template, chat, (size_t)n, answer, to, need);
    }
    if (!to || need < 0)
        e = err_set(ei, to ? ERR_INTERNAL : ERR_NOMEM, to ? "the chat template failed" : NULL);
    else
        buf_add(out, to, (size_t)need);
out:
    free(to);
    free(chat);
    buf_deinit(&text);
    return e;
}

/* The template's own text is read with control tokens, the contents without. */
static enum err add_marked(const struct llama_weights *w, struct str text,
                           const struct model_message *messages, int n, struct tokens *out) {
    const struct str open = STR("\xEE\x80\x80"), shut = STR("\xEE\x80\x81");
    enum err e = ERR_OK;
    bool begin = true;
    while (!e) {
        size_t at = str_find(text, open);
        struct str head = str_sub(text, 0, at == SIZE_MAX ? text.n : at);
        e = add_text(w, head, begin, true, out);
        begin = false;
        if (e || at == SIZE_MAX)
            break;
        text = str_sub(text, at + open.n, text.n);
        size_t end = str_find(text, shut);
        uint64_t which;
        if (end == SIZE_MAX || !str_to_u64(str_sub(text, 0, end), &which) || which >= (uint64_t)n)
            return ERR_INTERNAL;
        e = add_text(w, messages[which].content, false, false, out);
        text = str_sub(text, end + shut.n, text.n);
    }
    return e;
}

static bool any_marked(const struct llama_weights *w, const struct model_message *messages, int n) {
    for (int i = 0; i < n; i++)
        if (has_control(w, messages[i].content) ||
            memchr(messages[i].content.p ? messages[i].content.p : "", 0, messages[i].content.n))
            return true;
    return false;
}

struct rendering { /* of the model's own template */
    const struct llama_weights *w;
    bool marked, begun;
    struct buf text; /* the whole, unless marked */
    struct tokens *out;
    enum err e;
};

/* Text is tokenised as one piece, as the model has learnt it; only where messages hold what looks
 * like a control token each part is read by itself. */
static void on_part(void *ctx, const char *text, size_t size, bool message) {
    struct rendering *r = ctx;
    struct str part = {text, size};
    if (r->e)
        return;
    if (!r->marked)
        buf_adds(&r->text, part);
    else
        r->e = add_text(r->w, part, !r->begun, !message, r->out);
    r->begun = true;
}

static enum err own_prompt(const struct llama_weights *w, const struct model_message *messages,
                           int n, bool answer, bool marked, struct tokens *out,
                           struct errinfo *ei) {
    struct rendering r = {.w = w, .marked = marked, .out = out};
    buf_init(&r.text, TEMPLATE_MAX);
    enum err e = chat_template_render(w->own_template, messages, n, answer, on_part, &r, ei);
    if (!e && (r.e || buf_err(&r.text)))
        e = err_set(ei, r.e ? r.e : buf_err(&r.text), NULL);
    if (!e && !marked && (e = add_text(w, buf_str(&r.text), true, true, out)))
        err_set(ei, e, NULL);
    buf_deinit(&r.text);
    return e;
}

/* By the pattern that the library knows the template by, or ChatML. */
static enum err known_prompt(const struct llama_weights *w, const struct model_message *messages,
                             int n, bool answer, bool marked, struct tokens *out,
                             struct errinfo *ei) {
    struct buf text;
    buf_init(&text, TEMPLATE_MAX);
    enum err e = apply_template(w, messages, n, answer, marked, &text, ei);
    if (!e && buf_err(&text))
        e = err_set(ei, buf_err(&text), NULL);
    if (!e) {
        e = marked ? add_marked(w, buf_str(&text), messages, n, out)
                   : add_text(w, buf_str(&text), true, true, out);
        if (e)
            err_set(ei, e, NULL);
    }
    buf_deinit(&text);
    return e;
}

static enum err prompt(const struct model *m, const struct model_message *messages, int n,
                       bool answer, struct str partial, struct tokens *out, struct errinfo *ei) {
    const struct llama_weights *w = weights_const(m);
    bool marked = any_marked(w, messages, n);
    int start = out->n;
    enum err e = ERR_INVALID;
    if (w->own_template)
        e = own_prompt(w, messages, n, answer, marked, out, ei);
    /* Some templates refuse a system message or two messages of one side: then the pattern answers.
     */
    if (e == ERR_INVALID) {
        out->n = start;
        e = known_prompt(w, messages, n, answer, marked, out, ei);
    }
    if (!e && partial.n && (e = add_text(w, partial, false, false, out)))
        err_set(ei, e, NULL);
    /* Templates that write the beginning token themselves would have it twice. */
    llama_token bos = llama_vocab_bos(w->vocab);
    if (!e && out->n - start > 1 && out->p[start] == bos && out->p[start + 1] == bos) {
        memmove(out->p + start, out->p + start + 1, (size_t)(out->n - start - 1) * sizeof(*out->p));
        out->n--;
    }
    return e;
}

/* ---- loading ---- */

static void llama_free_model_object(struct model *m) {
    struct llama_weights *w = weights(m);
    llama_kv_deinit(&w->kv);
    if (w->context) {
        llama_detach_threadpool(w->context);
        llama_free(w->context);
    }
    if (w->batch.token)
        llama_batch_free(w->batch);
    for (int i = 0; i < w->base.info.adapters; i++)
        llama_adapter_lora_free(w->adapters[i]);
    llama_model_free(w->model);
    chat_template_free(w->own_template);
    free(w->logits);
    free(w);
}

static const struct model_ops llama_ops = {
    .free = llama_free_model_object,
    .step = step,
    .logits = logits,
    .embed = embed,
    .seq_trim = seq_trim,
    .seq_copy = seq_copy,
    .seq_swap = seq_swap,
    .seq_size = seq_size,
    .seq_save = seq_save,
    .seq_load = seq_load,
    .defer = defer,
    .settle = settle,
    .moves = moves,
    .seq_free = seq_free,
    .tokenize = tokenize,
    .piece = piece,
    .is_end = is_end,
    .prompt = prompt,
};

struct plan { /* sizes settled before anything is loaded */
    int window, slots, sequences;
    bool rows;     /* of cells for each slot, else one pool */
    int cells;     /* of the slots */
    int cells_all; /* and of the prefixes, in a pool */
    int kept;      /* tokens of the prefixes, with rows: they are states beside the cells */
    bool copied; /* weights are laid out anew (q8_panels.h), and the file hardly looked at again */
    int64_t bytes;
};

#define MIB(n) ((long long)((n) >> 20))

/* `fit` cells may be taken. A row for every slot if they suffice, else one pool. */
static void plan_cells(struct plan *p, const struct llama_open_options *o, int64_t fit) {
    int row = (p->window + 255) / 256 * 256; /* the library's rows are of so many */
    int wanted = p->slots ? p->slots : SLOTS_USUAL;
    p->rows = o->prefixes <= LLAMA_KV_KEPT_MAX && fit >= (int64_t)wanted * row;
    if (!p->slots)
        p->slots = fit < SLOTS_USUAL * (p->window / 4) ? (int)(fit / (p->window / 4)) : SLOTS_USUAL;
    p->slots = p->slots < 1 ? 1 : p->slots;
    p->sequences = p->slots + o->prefixes;
    if (p->rows) {
        p->cells = p->slots * p->window;
        p->cells_all = p->slots * row;
        p->kept = o->prefixes * (PREFIX_CELLS + LLAMA_KV_BEYOND);
        return;
    }
    p->cells = fit < CELLS_DEFAULT ? (int)fit : CELLS_DEFAULT;
    if (p->cells > p->slots * p->window)
        p->cells = p->slots * p->window;
    if (p->cells < p->window)
        p->cells = p->window;
    p->cells_all = (p->cells + o->prefixes * PREFIX_CELLS + 255) / 256 * 256;
}

static enum err make_plan(const struct llama_open_options *o, const struct gguf_header *h,
                          struct plan *ret, struct errinfo *ei) {
    int trained = h->context_length > 0 && h->context_length < 1 << 20 ? (int)h->context_length
                                                                       : WINDOW_DEFAULT;
    struct plan p = {.window = o->window ? o->window : WINDOW_DEFAULT, .slots = o->slots};
    if (p.window > trained)
        p.window = trained;
    int64_t token = gguf_token_values(h) * 2; /* two bytes each */
    if (!token)
        return err_set(ei, ERR_CORRUPT, "%s is damaged: its header makes no sense", o->path);
    int64_t available = memory_available("");
    p.copied = h->file_type == LLAMA_FTYPE_MOSTLY_Q8_0 && q8_kernel_get(0);
    int64_t weights = h->file_bytes + (p.copied ? h->tied_bytes : 0);
    p.bytes = weights;
    if (!o->embedding) {
        plan_cells(&p, o, available / 4 / token); /* a quarter of what is free */
        p.bytes += token * (p.cells_all + p.kept);
    }
    int64_t reserve = 128ll << 20; /* the working space of a step */
    if (p.bytes + reserve > available)
        return err_set(
            ei, ERR_NOMEM,
            "%s does not fit: weights %lld MiB + conversations %lld MiB (%d tokens × "
            "%lld bytes) + work 128 MiB = %lld MiB, but %lld MiB are free; use a smaller "
            "model, fewer slots or a shorter context",
            o->path, MIB(weights), MIB(p.bytes - weights), p.cells_all + p.kept, (long long)token,
            MIB(p.bytes + reserve), MIB(available));
    *ret = p;
    return ERR_OK;
}

static bool on_progress(float fraction, void *ctx) {
    const struct llama_open_options *o = ctx;
    if (o->progress)
        o->progress(o->ctx, (double)fraction);
    return !o->abort || !o->abort(o->ctx);
}

static enum err load(struct llama_weights *w, const struct llama_open_options *o,
                     const struct plan *p, struct errinfo *ei) {
    struct llama_model_params mp = llama_model_default_params();
    mp.progress_callback = on_progress;
    mp.progress_callback_user_data = (void *)o;
    w->model = llama_model_load_from_file(o->path, mp);
    if (!w->model)
        return err_set(
            ei, ERR_CORRUPT,
            "%s cannot be loaded: it is damaged or of a kind that is not known; fetch it "
            "again or choose another model",
            o->path);
    if (p->copied)
        mapped_file_release(o->path);
    struct llama_context_params cp = llama_context_default_params();
    if (o->embedding) {
        cp.n_ctx = cp.n_batch = cp.n_ubatch = EMBED_TOKENS;
        cp.n_seq_max = EMBED_SEQUENCES;
        cp.embeddings = true;
        cp.cb_eval = llama_layers_on_node;
        cp.cb_eval_user_data = &w->layers;
        cp.kv_unified = true;
    } else {
        cp.n_ctx = (uint32_t)p->cells_all;
        cp.n_batch = cp.n_ubatch = STEP_TOKENS;
        cp.n_seq_max = (uint32_t)(p->rows ? p->slots : p->sequences);
        cp.n_outputs_max = (uint32_t)p->sequences;
        cp.kv_unified = !p->rows;
        cp.flash_attn_type =
            p->rows ? LLAMA_FLASH_ATTN_TYPE_DISABLED : LLAMA_FLASH_ATTN_TYPE_ENABLED;
    }
    cp.abort_callback = o->abort;
    cp.abort_callback_data = o->ctx;
    cp.n_threads = cp.n_threads_batch = o->pool->n;
    w->context = llama_init_from_model(w->model, cp);
    if (!w->context)
        return err_set(ei, ERR_NOMEM, "no memory for the conversations of %s", o->path);
    w->pool = o->pool;
    pace_init(&w->pace, o->pool->n, o->pool->n);
    llama_attach_threadpool(w->context, o->pool->threads, o->pool->threads);
    int room = o->embedding ? EMBED_TOKENS : STEP_TOKENS;
    w->outputs = (int)cp.n_outputs_max;
    w->batch = llama_batch_init(room, 0, 1);
    if (!w->batch.token)
        return err_set(ei, ERR_NOMEM, NULL);
    return ERR_OK;
}

/* One that cannot be used costs the others nothing. */
static void load_adapters(struct llama_weights *w, const struct llama_open_options *o) {
    struct model_info *i = &w->base.info;
    for (int k = 0; k < o->n_adapters && k < MODEL_ADAPTERS_MAX; k++) {
        w->adapters[k] = llama_adapter_lora_init(w->model, o->adapters[k]);
        i->adapters = k + 1;
        if (w->adapters[k])
            i->adapters_loaded |= 1u << k;
        else
            log_event(LOG_ERROR, "engine.adapter_unusable", LF_Z("path", o->adapters[k]));
    }
}

static const char *token_text(const struct llama_weights *w, llama_token token) {
    return token >= 0 ? llama_vocab_get_text(w->vocab, token) : "";
}

static void know_layers(struct llama_weights *w, const struct gguf_header *h) {
    int width = llama_model_n_embd(w->model);
    char of[64] = "";
    if (llama_model_meta_val_str(w->model, LAYERS_OF_KEY, of, sizeof of) < 0)
        of[0] = 0;
    w->layers.width = (size_t)width;
    w->layers.n = llama_layers_of(h->architecture, of, llama_model_n_layer(w->model), width);
    w->base.info.layer_numbers = (int)w->layers.n * width;
}

static void describe(struct llama_weights *w, const struct llama_open_options *o,
                     const struct plan *p, const struct gguf_header *h) {
    struct model_info *i = &w->base.info;
    w->vocab = llama_model_get_vocab(w->model);
    know_control_tokens(w);
    w->chat_template = llama_model_chat_template(w->model, NULL);
    if (w->chat_template && !o->embedding)
        w->own_template =
            chat_template_new(w->chat_template, token_text(w, llama_vocab_bos(w->vocab)),
                              token_text(w, llama_vocab_eos(w->vocab)));
    struct llama_chat_message probe = {"user", "x"};
    if (!w->chat_template ||
        llama_chat_apply_template(w->chat_template, &probe, 1, true, NULL, 0) < 0) {
        if (!o->embedding && !w->own_template)
            log_event(LOG_WARN, "engine.template_unknown", LF_Z("used", "chatml"));
        w->chat_template = "chatml";
    }
    w->kv = (struct llama_kv){
        .context = w->context,
        .partial = !llama_model_is_recurrent(w->model) && !llama_model_is_hybrid(w->model) &&
                   llama_model_n_swa(w->model) == 0,
        .rows = p->rows,
        .slots = p->slots,
    };
    snprintf(i->name, sizeof(i->name), "%s", h->name);
    i->vocabulary = llama_vocab_n_tokens(w->vocab);
    i->trained = llama_model_n_ctx_train(w->model);
    i->window = o->embedding ? (p->window < EMBED_TOKENS ? p->window : EMBED_TOKENS) : p->window;
    i->sequences = o->embedding ? EMBED_SEQUENCES : p->sequences;
    i->slots = o->embedding ? 0 : p->slots;
    i->cells = p->cells;
    i->step_tokens = o->embedding ? EMBED_TOKENS : STEP_TOKENS;
    i->cuts = w->kv.partial;
    i->rows = p->rows;
    i->dimensions = o->embedding ? llama_model_n_embd_out(w->model) : 0;
    if (o->embedding)
        know_layers(w, h);
    i->bytes = p->bytes;
}

/* The first step touches every page of the weights and sizes the work buffers: it is done before
 * anybody waits. */
static enum err warm_up(struct llama_weights *w, struct errinfo *ei) {
    struct model *m = &w->base;
    if (m->info.dimensions) {
        struct tokens t = {0};
        float *out = calloc(model_row(&m->info), sizeof(*out));
        enum err e = out ? add_text(w, STR("warm up"), true, true, &t) : ERR_NOMEM;
        if (!e)
            e = embed(m, &t, 1, out, ei);
        free(out);
        tokens_deinit(&t);
        return e;
    }
    int32_t token = llama_vocab_bos(w->vocab) >= 0 ? llama_vocab_bos(w->vocab) : 0;
    const struct model_item item = {.token = token, .logits = true};
    enum err e = step(m, &item, 1, ei);
    w->pace.usual = 0; /* reading from disk is not the model's pace */
    w->pace.since = 0;
    llama_memory_clear(llama_get_memory(w->context), false);
    return e;
}

enum err llama_model_open(const struct llama_open_options *o, struct model **ret,
                          struct errinfo *ei) {
    struct gguf_header h;
    struct plan p = {0};
    llama_library_init();
    enum err e = gguf_header_read(o->path, &h, ei);
    if (!e)
        e = make_plan(o, &h, &p, ei);
    if (e)
        return e;
    struct llama_weights *w = calloc(1, sizeof(*w));
    if (!w)
        return err_set(ei, ERR_NOMEM, NULL);
    w->base.ops = &llama_ops;
    e = load(w, o, &p, ei);
    if (!e) {
        describe(w, o, &p, &h);
        load_adapters(w, o);
        e = warm_up(w, ei);
    }
    if (e) {
        llama_free_model_object(&w->base);
        return e;
    }
    *ret = &w->base;
    return ERR_OK;
}

void llama_model_set_threads(struct model *m, int threads) {
    struct llama_weights *w = weights(m);
    pace_init(&w->pace, threads, w->pace.most);
    w->pool->best = w->pace.threads;
}
