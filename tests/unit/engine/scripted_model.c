#include "scripted_model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"

/* Unlike assert() it stays in optimised builds. */
#define CHECK(what)                                                                                \
    do {                                                                                           \
        if (!(what)) {                                                                             \
            fprintf(stderr, "scripted model: %s\n", #what);                                        \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

static struct scripted_model *scripted(struct model *m) {
    return (struct scripted_model *)m;
}

static int next_token(const struct scripted_model *m, const struct tokens *t) {
    uint32_t h = 2166136261u;
    if (m->reply) {
        int at = t->n;
        while (at > 0 && t->p[at - 1] != '>')
            at--;
        size_t n = (size_t)(t->n - at);
        return n < strlen(m->reply) ? (unsigned char)m->reply[n] : SCRIPTED_END;
    }
    for (int i = 0; i < t->n; i++)
        h = (h ^ (uint32_t)t->p[i]) * 16777619u;
    return 'a' + (int)(h % 26);
}

static bool wait_at_gate(struct scripted_model *m) {
    bool aborted = false;
    pthread_mutex_lock(&m->lock);
    m->entered++;
    pthread_cond_broadcast(&m->changed);
    while (m->gate && m->opened < m->entered && !aborted) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += 1000000;
        if (until.tv_nsec >= 1000000000) {
            until.tv_nsec -= 1000000000;
            until.tv_sec++;
        }
        pthread_cond_timedwait(&m->changed, &m->lock, &until);
        aborted = m->abort && m->abort(m->abort_ctx);
    }
    pthread_mutex_unlock(&m->lock);
    return aborted;
}

static void force(struct scripted_model *m);

static bool is_alone(const struct model_item *items, int n, int i) {
    return (i == 0 || items[i - 1].sequence != items[i].sequence) &&
           (i + 1 == n || items[i + 1].sequence != items[i].sequence);
}

static enum err scripted_step(struct model *base, const struct model_item *items, int n,
                              struct errinfo *ei) {
    struct scripted_model *m = scripted(base);
    CHECK(n > 0 && n <= base->info.step_tokens);
    if (m->gate && wait_at_gate(m))
        return err_set(ei, ERR_CANCELLED, NULL);
    m->steps++;
    m->largest = n > m->largest ? n : m->largest;
    if (m->steps <= m->slow_steps)
        clock_test_advance(m->slow_ms);
    if (m->fail_every && m->steps % m->fail_every == 0)
        return err_set(ei, ERR_INTERNAL, "scripted failure");
    if (m->steps == m->fail_at)
        return err_set(ei, m->fail_with, "scripted failure");
    for (int i = 0; i < n; i++) {
        struct tokens *t = &m->seqs[items[i].sequence];
        if (m->unsettled[items[i].sequence])
            force(m);
        CHECK(items[i].position == t->n && t->n < t->size);
        int32_t token = items[i].token + (m->rounds && is_alone(items, n, i) ? 1 << 18 : 0);
        CHECK(tokens_add(t, &token, 1) == ERR_OK);
        m->computed++;
        if (!items[i].logits)
            continue;
        memset(m->logits[i], 0, sizeof(m->logits[i]));
        m->logits[i][next_token(m, t)] = 10;
    }
    return ERR_OK;
}

static float *scripted_logits(struct model *m, int item) {
    return scripted(m)->logits[item];
}

static enum err scripted_embed(struct model *m, const struct tokens *texts, int n, float *ret,
                               struct errinfo *ei) {
    if (scripted(m)->gate && wait_at_gate(scripted(m)))
        return err_set(ei, ERR_CANCELLED, NULL);
    scripted(m)->steps++;
    for (int i = 0; i < n; i++)
        for (int d = 0, row = (int)model_row(&m->info); d < row; d++)
            ret[i * row + d] = d == 0 ? (float)texts[i].n : 0;
    return ERR_OK;
}

/* ---- copies: the number of a sequence's tokens counts at once, the tokens come later ---- */

static bool settle(struct model *base, int64_t until_ns) {
    struct scripted_model *m = scripted(base);
    bool all = !copies_left(&m->begun);
    while (!all && clock_mono_ns() < until_ns) {
        all = copies_some(&m->begun, m->bytes_per_ms ? (size_t)m->bytes_per_ms : SIZE_MAX);
        if (m->bytes_per_ms)
            clock_test_advance(1);
    }
    if (all) {
        memset(m->unsettled, 0, sizeof(m->unsettled));
        memset(m->reading, 0, sizeof(m->reading));
    }
    return all;
}

static bool moves(const struct model *m) {
    return copies_left(&((const struct scripted_model *)m)->begun);
}

static void force(struct scripted_model *m) {
    if (!copies_left(&m->begun))
        return;
    m->forced++;
    settle(&m->base, INT64_MAX);
}

static void scripted_defer(struct model *m, bool on) {
    scripted(m)->deferring = on;
}

static void scripted_free_bytes(struct model *m, void *bytes) {
    copies_free(&scripted(m)->begun, bytes);
}

static bool later(const struct scripted_model *m) {
    return m->deferring && m->base.info.rows && !m->uncut;
}

/* Rows do not move: what is begun knows their addresses. */
static void copy_later(struct scripted_model *m, void *to, const void *from, size_t n) {
    if (!later(m))
        force(m);
    copies_add(&m->begun, to, from, n);
    if (!later(m))
        settle(&m->base, INT64_MAX);
}

/* More may follow in the row, but nothing else may take the place of what is read. */
static void read_later(struct scripted_model *m, int seq, void *to, size_t n) {
    if (later(m) && m->seqs[seq].n > m->reading[seq])
        m->reading[seq] = m->seqs[seq].n;
    copy_later(m, to, m->seqs[seq].p, n);
}

static void give_up(struct scripted_model *m, int seq, int n) {
    if (m->reading[seq] > n)
        m->unsettled[seq] = true;
}

/* n of the sequence's tokens are overwritten by what comes. */
static void fill(struct scripted_model *m, int seq, const int32_t *from, int n) {
    CHECK(n <= m->seqs[seq].size);
    m->seqs[seq].n = n;
    m->unsettled[seq] |= later(m);
    copy_later(m, m->seqs[seq].p, from, (size_t)n * sizeof(int32_t));
}

static bool scripted_trim(struct model *base, int seq, int n) {
    struct scripted_model *m = scripted(base);
    give_up(m, seq, m->uncut ? 0 : n);
    if (n < m->seqs[seq].n)
        m->seqs[seq].n = m->uncut ? 0 : n;
    return m->seqs[seq].n == n;
}

static bool scripted_copy(struct model *base, int from, int to, int n) {
    struct scripted_model *m = scripted(base);
    m->seqs[to].n = 0;
    if (m->uncut)
        return false;
    CHECK(n <= m->seqs[from].n);
    m->copies++;
    m->copied_from = from;
    if (later(m) && m->seqs[from].n > m->reading[from])
        m->reading[from] = m->seqs[from].n;
    fill(m, to, m->seqs[from].p, n);
    return true;
}

static bool scripted_swap(struct model *base, int a, int b) {
    struct scripted_model *m = scripted(base);
    force(m);
    struct tokens t = m->seqs[a];
    m->seqs[a] = m->seqs[b];
    m->seqs[b] = t;
    m->swaps++;
    if (m->swaps == m->fail_swap)
        m->seqs[a].n = m->seqs[b].n = 0;
    return m->swaps != m->fail_swap;
}

static size_t scripted_size(struct model *m, int seq) {
    return (size_t)scripted(m)->seqs[seq].n * sizeof(int32_t);
}

static size_t scripted_save(struct model *base, int seq, void *to, size_t size) {
    struct scripted_model *m = scripted(base);
    m->saves++;
    read_later(m, seq, to, size);
    return size;
}

static bool scripted_load(struct model *base, int seq, const void *from, size_t size) {
    struct scripted_model *m = scripted(base);
    int total = (int)(size / sizeof(int32_t));
    m->seqs[seq].n = 0;
    for (int i = 0; i < SCRIPTED_SEQUENCES; i++)
        total += m->seqs[i].n;
    if (m->room && total > m->room)
        return false;
    m->loads++;
    fill(m, seq, from, (int)(size / sizeof(int32_t)));
    return true;
}

static enum err scripted_tokenize(const struct model *m, struct str text, bool special,
                                  struct tokens *out) {
    enum err e = ERR_OK;
    (void)m;
    (void)special;
    for (size_t i = 0; i < text.n && !e; i++) {
        int32_t t = (unsigned char)text.p[i];
        e = tokens_add(out, &t, 1);
    }
    return e;
}

static int scripted_piece(const struct model *m, int32_t token, char *out, int size) {
    (void)m;
    if (token >= 256 || size < 1)
        return 0;
    out[0] = (char)token;
    return 1;
}

static bool scripted_is_end(const struct model *m, int32_t token) {
    (void)m;
    return token == SCRIPTED_END;
}

static enum err scripted_prompt(const struct model *m, const struct model_message *messages, int n,
                                bool answer, struct str partial, struct tokens *out,
                                struct errinfo *ei) {
    enum err e = ERR_OK;
    (void)ei;
    for (int i = 0; i < n && !e; i++) {
        e = scripted_tokenize(m, STR("<"), true, out);
        e = e ? e : scripted_tokenize(m, messages[i].role, true, out);
        e = e ? e : scripted_tokenize(m, STR(":"), true, out);
        e = e ? e : scripted_tokenize(m, messages[i].content, true, out);
        e = e ? e : scripted_tokenize(m, STR("|"), true, out);
    }
    if (!e && answer)
        e = scripted_tokenize(m, STR("<assistant>"), true, out);
    return e ? e : scripted_tokenize(m, partial, true, out);
}

static void scripted_free(struct model *m) {
    (void)m; /* the test's */
}

static const struct model_ops scripted_ops = {
    .free = scripted_free,
    .step = scripted_step,
    .logits = scripted_logits,
    .embed = scripted_embed,
    .seq_trim = scripted_trim,
    .seq_copy = scripted_copy,
    .seq_swap = scripted_swap,
    .seq_size = scripted_size,
    .seq_save = scripted_save,
    .seq_load = scripted_load,
    .defer = scripted_defer,
    .settle = settle,
    .moves = moves,
    .seq_free = scripted_free_bytes,
    .tokenize = scripted_tokenize,
    .piece = scripted_piece,
    .is_end = scripted_is_end,
    .prompt = scripted_prompt,
};

void scripted_init(struct scripted_model *m) {
    memset(m, 0, sizeof(*m));
    m->base.ops = &scripted_ops;
    m->base.info = (struct model_info){
        .name = "scripted",
        .vocabulary = SCRIPTED_VOCAB,
        .window = SCRIPTED_WINDOW,
        .sequences = SCRIPTED_SEQUENCES,
        .slots = SCRIPTED_SEQUENCES,
        .cells = 16 * SCRIPTED_WINDOW,
        .step_tokens = 256,
        .cuts = true,
        .dimensions = 4,
    };
    for (int i = 0; i < SCRIPTED_SEQUENCES; i++)
        CHECK(tokens_add(&m->seqs[i], NULL, SCRIPTED_ROW) == ERR_OK);
    for (int i = 0; i < SCRIPTED_SEQUENCES; i++)
        m->seqs[i].n = 0;
    pthread_mutex_init(&m->lock, NULL);
    pthread_cond_init(&m->changed, NULL);
}

void scripted_deinit(struct scripted_model *m) {
    copies_deinit(&m->begun);
    for (int i = 0; i < SCRIPTED_SEQUENCES; i++)
        tokens_deinit(&m->seqs[i]);
    pthread_cond_destroy(&m->changed);
    pthread_mutex_destroy(&m->lock);
}

void scripted_open_gate(struct scripted_model *m) {
    pthread_mutex_lock(&m->lock);
    m->opened++;
    pthread_cond_broadcast(&m->changed);
    pthread_mutex_unlock(&m->lock);
}

void scripted_wait_entered(struct scripted_model *m, int steps) {
    pthread_mutex_lock(&m->lock);
    while (m->entered < steps)
        pthread_cond_wait(&m->changed, &m->lock);
    pthread_mutex_unlock(&m->lock);
}
