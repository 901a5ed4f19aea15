/* See llama_kv.h. With rows, what moves between sequences goes through the library's state of a
 * sequence: that copies the cells in use, where its own copying of rows copies a whole window. */
#include "engine/llama_kv.h"

#include <stdlib.h>
#include <string.h>

#include <llama.h>

#include "engine/lazy_buffer.h"

static llama_memory_t memory(const struct llama_kv *kv) {
    return llama_get_memory(kv->context);
}

static int held(const struct llama_kv *kv, int seq) {
    return llama_memory_seq_pos_max(memory(kv), seq) + 1;
}

/* The row gives up its tokens from n on: what is still to be copied of them must be before others
 * take their place. */
static void give_up(struct llama_kv *kv, int seq, int n) {
    if (seq < LLAMA_KV_ROWS_MAX && kv->reading[seq] > n)
        kv->unsettled[seq] = true;
}

static void clear_row(struct llama_kv *kv, int seq) {
    give_up(kv, seq, 0);
    llama_memory_seq_rm(memory(kv), seq, -1, -1);
}

/* Between these two the library's copies of a row's bytes are only begun, or made at once, after
 * those that were begun before. */
static void begin_copies(struct llama_kv *kv) {
    if (kv->deferring)
        lazy_buffers_collect(&kv->copies);
    else
        (void)llama_kv_settle(kv, INT64_MAX);
}

static void end_copies(void) {
    lazy_buffers_collect(NULL);
}

void llama_kv_defer(struct llama_kv *kv, bool on) {
    kv->deferring = on && kv->rows && kv->partial && kv->slots <= LLAMA_KV_ROWS_MAX;
}

bool llama_kv_settle(struct llama_kv *kv, int64_t until_ns) {
    if (!copies_until(&kv->copies, until_ns))
        return false;
    memset(kv->unsettled, 0, sizeof(kv->unsettled));
    memset(kv->reading, 0, sizeof(kv->reading));
    return true;
}

bool llama_kv_moves(const struct llama_kv *kv) {
    return copies_left(&kv->copies);
}

void llama_kv_need(struct llama_kv *kv, int seq) {
    if (copies_left(&kv->copies) && kv->unsettled[seq])
        (void)llama_kv_settle(kv, INT64_MAX);
}

void llama_kv_free(struct llama_kv *kv, void *bytes) {
    copies_free(&kv->copies, bytes);
}

static void drop(struct llama_kv *kv, struct llama_kv_state *s) {
    copies_free(&kv->copies, s->bytes);
    *s = (struct llama_kv_state){0};
}

void llama_kv_deinit(struct llama_kv *kv) {
    copies_deinit(&kv->copies);
    for (int i = 0; i < LLAMA_KV_KEPT_MAX; i++)
        drop(kv, &kv->kept[i]);
}

/* Whether the number is that of a kept state. */
static struct llama_kv_state *kept(struct llama_kv *kv, int seq) {
    return kv->rows && seq >= kv->slots ? &kv->kept[seq - kv->slots] : NULL;
}

bool llama_kv_trim(struct llama_kv *kv, int seq, int n) {
    struct llama_kv_state *s = kept(kv, seq);
    if (s) {
        if (n > 0 && n <= s->n) {
            s->n = n;
            return true;
        }
        drop(kv, s);
        return n == 0;
    }
    give_up(kv, seq, n);
    if (n > 0 && (kv->partial || held(kv, seq) <= n) && llama_memory_seq_rm(memory(kv), seq, n, -1))
        return true;
    clear_row(kv, seq);
    return n == 0;
}

/* A copy of a row's state; false: no memory, or the row is empty. */
static bool take(struct llama_kv *kv, int seq, struct llama_kv_state *ret) {
    struct llama_kv_state s = {.n = held(kv, seq), .held = held(kv, seq)};
    s.size = s.n > 0 ? llama_state_seq_get_size_ext(kv->context, seq, 0) : 0;
    s.bytes = s.size ? malloc(s.size) : NULL;
    if (!s.bytes || llama_kv_save(kv, seq, s.bytes, s.size) == 0) {
        drop(kv, &s);
        return false;
    }
    *ret = s;
    return true;
}

/* The row becomes the first n tokens of the state; false: it is empty. */
static bool put(struct llama_kv *kv, const struct llama_kv_state *s, int seq, int n) {
    clear_row(kv, seq);
    if (n > s->n || !llama_kv_load(kv, seq, s->bytes, s->size)) {
        clear_row(kv, seq);
        return false;
    }
    return n == s->held || llama_kv_trim(kv, seq, n);
}

static bool copy_rows(struct llama_kv *kv, int from, int to, int n) {
    struct llama_kv_state *source = kept(kv, from), *target = kept(kv, to), s = {0};
    if (source) {
        if (target || !put(kv, source, to, n))
            return false;
        /* Taken in a prompt's midst it held more than counts: now it can be had without. */
        if (source->held > source->n && n == source->n && take(kv, to, &s)) {
            drop(kv, source);
            *source = s;
        }
        return true;
    }
    if (!take(kv, from, &s))
        return false;
    /* One that holds much more than counts is not worth its memory. */
    if (target && n <= s.n && s.held <= n + LLAMA_KV_BEYOND) {
        s.n = n;
        drop(kv, target);
        *target = s;
        return true;
    }
    bool good = !target && put(kv, &s, to, n);
    drop(kv, &s);
    return good;
}

bool llama_kv_copy(struct llama_kv *kv, int from, int to, int n) {
    llama_kv_trim(kv, to, 0);
    if (!kv->partial)
        return false;
    if (kv->rows)
        return copy_rows(kv, from, to, n);
    llama_memory_seq_cp(memory(kv), from, to, 0, n);
    return true;
}

bool llama_kv_swap(struct llama_kv *kv, int a, int b) {
    struct llama_kv_state of_a = {0}, of_b = {0};
    bool good =
        (held(kv, a) == 0 || take(kv, a, &of_a)) && (held(kv, b) == 0 || take(kv, b, &of_b));
    clear_row(kv, a);
    clear_row(kv, b);
    good = good && (!of_a.bytes || put(kv, &of_a, b, of_a.n)) &&
           (!of_b.bytes || put(kv, &of_b, a, of_b.n));
    if (!good) {
        clear_row(kv, a);
        clear_row(kv, b);
    }
    drop(kv, &of_a);
    drop(kv, &of_b);
    return good;
}

size_t llama_kv_size(struct llama_kv *kv, int seq) {
    return llama_state_seq_get_size_ext(kv->context, seq, 0);
}

size_t llama_kv_save(struct llama_kv *kv, int seq, void *to, size_t size) {
    begin_copies(kv);
    size_t n = llama_state_seq_get_data_ext(kv->context, to, size, seq, 0);
    end_copies();
    if (kv->deferring && held(kv, seq) > kv->reading[seq])
        kv->reading[seq] = held(kv, seq);
    return n;
}

bool llama_kv_load(struct llama_kv *kv, int seq, const void *from, size_t size) {
    begin_copies(kv);
    if (kv->deferring)
        kv->unsettled[seq] = true;
    bool good = llama_state_seq_set_data_ext(kv->context, from, size, seq, 0) > 0;
    end_copies();
    return good;
}
