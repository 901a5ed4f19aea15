/* See attention_ops.h. The operations stay the library's three, each to the bit: nothing of the
 * graph is changed, so a model whose attention is computed otherwise loses nothing but speed. */
#include "engine/attention_ops.h"

#include <cmath>
#include <cstdint>
#include <cstring>

#include <ggml-cpu.h>

extern "C" {
#include "engine/attention.h"
/* ggml's own (its vec.h): exponentials of x - max, and their sum, added up as it does. */
double ggml_vec_soft_max_f32(const int n, float *y, const float *x, float max);
}

namespace {

constexpr int64_t WIDTH_MAX = 256;            /* of a head */
constexpr int64_t VALUES_MAX = 2 << 20;       /* of a head, as floats in a thread's own space */
constexpr size_t WORK_MAX = (size_t)64 << 20; /* bytes of all threads: past it the library's */
constexpr int64_t CELLS_EACH = 64;            /* that a thread takes at a time */
constexpr int64_t ROWS_EACH = 24;             /* queries that it takes at a time */
constexpr int64_t SOFT_MAX_STEP = 16;         /* that ggml's exponentials are computed in */
constexpr size_t ALIGN = 64;

const attention_kernel *kernel; /* set before the first graph is computed, then never */

size_t aligned(size_t bytes) {
    return (bytes + ALIGN - 1) / ALIGN * ALIGN;
}

float *work_of(const ggml_compute_params *p) {
    return reinterpret_cast<float *>(aligned(reinterpret_cast<uintptr_t>(p->wdata)));
}

int64_t queries_of(const ggml_tensor *x) {
    return x->ne[1] * x->ne[2] * x->ne[3];
}

const uint16_t *half_row(const ggml_tensor *t, int64_t i1, int64_t i2, int64_t i3) {
    return reinterpret_cast<const uint16_t *>(static_cast<const char *>(t->data) +
                                              (size_t)i1 * t->nb[1] + (size_t)i2 * t->nb[2] +
                                              (size_t)i3 * t->nb[3]);
}

float *float_row(const ggml_tensor *t, int64_t i1, int64_t i2, int64_t i3) {
    return reinterpret_cast<float *>(static_cast<char *>(t->data) + (size_t)i1 * t->nb[1] +
                                     (size_t)i2 * t->nb[2] + (size_t)i3 * t->nb[3]);
}

/* One for each thread in turn, then whoever is done first. */
void begin_chunks(const ggml_compute_params *p) {
    if (p->ith == 0)
        ggml_threadpool_chunk_set(p->threadpool, p->nth);
    ggml_barrier(p->threadpool);
}

int next_chunk(const ggml_compute_params *p) {
    return ggml_threadpool_chunk_add(p->threadpool, 1);
}

/* ---- keys times queries ---- */

class scores : public ggml::cpu::tensor_traits {
    bool work_size(int n_threads, const ggml_tensor *op, size_t &size) override {
        const size_t width = (size_t)op->src[0]->ne[0];
        size = ALIGN + sizeof(float) * width *
                           ((size_t)queries_of(op->src[1]) + (size_t)n_threads * kernel->lanes);
        return true;
    }

    /* A chunk: some cells of one head of keys, for all heads of queries that share it. */
    static void compute(const ggml_tensor *op, int64_t chunk, const float *queries, float *turned) {
        const ggml_tensor *k = op->src[0], *q = op->src[1];
        const int64_t chunks = (k->ne[1] + CELLS_EACH - 1) / CELLS_EACH;
        const int64_t begin = chunk % chunks * CELLS_EACH, lanes = (int64_t)kernel->lanes;
        const int64_t end = begin + CELLS_EACH < k->ne[1] ? begin + CELLS_EACH : k->ne[1];
        const int64_t head = chunk / chunks % k->ne[2], i3 = chunk / chunks / k->ne[2];
        const int64_t shared = q->ne[2] / k->ne[2];
        const size_t width = (size_t)k->ne[0];
        for (int64_t cell = begin; cell < end; cell += lanes) {
            kernel->turn(width, half_row(k, cell, head, i3 / (q->ne[3] / k->ne[3])),
                         k->nb[1] / sizeof(uint16_t), turned);
            for (int64_t i2 = head * shared; i2 < (head + 1) * shared; i2++)
                kernel->score(width, turned, (size_t)q->ne[1],
                              queries + (size_t)((i3 * q->ne[2] + i2) * q->ne[1]) * width,
                              float_row(op, 0, i2, i3) + cell, op->nb[1] / sizeof(float));
        }
    }

    bool compute_forward(ggml_compute_params *p, ggml_tensor *op) override {
        const ggml_tensor *k = op->src[0], *q = op->src[1];
        const size_t width = (size_t)k->ne[0];
        float *queries = work_of(p);
        float *turned = queries + width * ((size_t)queries_of(q) + (size_t)p->ith * kernel->lanes);
        for (int64_t i = p->ith; i < queries_of(q); i += p->nth)
            kernel->round(width,
                          float_row(q, i % q->ne[1], i / q->ne[1] % q->ne[2],
                                    i / q->ne[1] / q->ne[2]),
                          queries + (size_t)i * width);
        begin_chunks(p);
        const int64_t n = (k->ne[1] + CELLS_EACH - 1) / CELLS_EACH * k->ne[2] * q->ne[3];
        for (int64_t chunk = p->ith; chunk < n; chunk = next_chunk(p))
            compute(op, chunk, queries, turned);
        return true;
    }
};

/* ---- values times shares ---- */

class mixture : public ggml::cpu::tensor_traits {
    struct space { /* a thread's own */
        float *values, *shares;
        int64_t head, i3; /* whose values these are, -1 = nobody's; of `widened` cells */
        int64_t widened;
    };

    /* Floats of a thread: the values of a head, and the shares of as many queries as go at once. */
    static size_t space_size(const ggml_tensor *op) {
        return (size_t)op->src[0]->ne[0] * ((size_t)op->src[0]->ne[1] + kernel->queries);
    }

    static size_t all_spaces(int n_threads, const ggml_tensor *op) {
        return ALIGN + sizeof(float) * (size_t)n_threads * space_size(op);
    }

    bool work_size(int n_threads, const ggml_tensor *op, size_t &size) override {
        const size_t ours = all_spaces(n_threads, op);
        if (ours > WORK_MAX)
            return false;
        size = ours;
        return true;
    }

    static void widen(const ggml_tensor *v, space &s, int64_t head, int64_t i3, int64_t cells) {
        if (s.head != head || s.i3 != i3)
            s.widened = 0;
        for (int64_t d = 0; d < v->ne[1] && s.widened < cells; d++)
            kernel->widen((size_t)(cells - s.widened), half_row(v, d, head, i3) + s.widened,
                          half_row(v, d + 1, head, i3) + s.widened, s.values + d * v->ne[0] + s.widened);
        s.widened = s.widened < cells ? cells : s.widened;
        s.head = head;
        s.i3 = i3;
    }

    /* How many of the first cells have any share: what is behind is masked, or belongs to nobody.
     * Leaving it out changes no bit, since a sum is never -0. */
    static int64_t cells_with_shares(const float *shares, int64_t n, int64_t cells) {
        const size_t lanes = kernel->lanes;
        size_t most = 0;
        for (int64_t q = 0; q < n; q++) {
            const size_t used = kernel->length((size_t)cells, shares + q * cells, 0);
            most = used > most ? used : most;
        }
        return (int64_t)((most + lanes - 1) / lanes * lanes);
    }

    /* A chunk: some queries of all heads that share one head of values. */
    static void compute(const ggml_tensor *op, int64_t chunk, int64_t chunks, space &s) {
        const ggml_tensor *v = op->src[0], *x = op->src[1];
        const int64_t cells = v->ne[0], each = (int64_t)kernel->queries;
        const int64_t head = chunk / chunks % v->ne[2], i3 = chunk / chunks / v->ne[2];
        const int64_t rows = x->ne[2] / v->ne[2] * x->ne[1], first = head * rows;
        const int64_t begin = chunk % chunks * ROWS_EACH;
        const int64_t end = begin + ROWS_EACH < rows ? begin + ROWS_EACH : rows;
        for (int64_t i = begin; i < end; i += each) {
            const int64_t n = end - i < each ? end - i : each;
            const float *shares = float_row(x, first + i, 0, i3);
            const int64_t used = cells_with_shares(shares, n, cells);
            widen(v, s, head, i3 / (x->ne[3] / v->ne[3]), used);
            for (int64_t k = 0; k < n; k++)
                kernel->round((size_t)used, shares + k * cells, s.shares + k * cells);
            kernel->mix((size_t)used, (size_t)v->ne[1], s.values, (size_t)n, s.shares,
                        (size_t)cells, float_row(op, first + i, 0, i3));
        }
    }

    bool compute_forward(ggml_compute_params *p, ggml_tensor *op) override {
        const ggml_tensor *v = op->src[0], *x = op->src[1];
        if (p->wsize < all_spaces(p->nth, op))
            return false; /* the same for all threads */
        const int64_t rows = x->ne[2] / v->ne[2] * x->ne[1];
        const int64_t chunks = (rows + ROWS_EACH - 1) / ROWS_EACH;
        float *values = work_of(p) + (size_t)p->ith * space_size(op);
        space s = {values, values + v->ne[0] * v->ne[1], -1, -1, 0};
        begin_chunks(p);
        for (int64_t chunk = p->ith; chunk < chunks * v->ne[2] * x->ne[3]; chunk = next_chunk(p))
            compute(op, chunk, chunks, s);
        return true;
    }
};

/* ---- the soft maximum between them ---- */

class soft_maximum : public ggml::cpu::tensor_traits {
    static size_t row_size(const ggml_tensor *op) {
        return aligned((size_t)op->ne[0] * sizeof(float)) / sizeof(float);
    }

    bool work_size(int n_threads, const ggml_tensor *op, size_t &size) override {
        size = ALIGN + (size_t)n_threads * row_size(op) * sizeof(float);
        return true;
    }

    /* How many of the first are not masked, as many as the library takes at a time. */
    static int64_t unmasked(const float *mask, int64_t n) {
        int64_t end = mask ? (int64_t)kernel->length((size_t)n, mask, -INFINITY) : n;
        end = (end + SOFT_MAX_STEP - 1) / SOFT_MAX_STEP * SOFT_MAX_STEP;
        return end == 0 || end > n ? n : end;
    }

    bool compute_forward(ggml_compute_params *p, ggml_tensor *op) override {
        const ggml_tensor *x = op->src[0], *mask = op->src[1];
        float *weighed = work_of(p) + (size_t)p->ith * row_size(op), scale;
        memcpy(&scale, op->op_params, sizeof(scale));
        for (int64_t i = p->ith; i < queries_of(x); i += p->nth) {
            const int64_t i1 = i % x->ne[1], i2 = i / x->ne[1] % x->ne[2];
            const int64_t i3 = i / x->ne[1] / x->ne[2];
            const float *m =
                mask ? float_row(mask, i1, i2 % mask->ne[2], i3 % mask->ne[3]) : nullptr;
            const int64_t end = unmasked(m, x->ne[0]);
            float *to = float_row(op, i1, i2, i3);
            const float max =
                kernel->weigh((size_t)end, float_row(x, i1, i2, i3), scale, m, weighed);
            const float share = (float)(1.0 / ggml_vec_soft_max_f32((int)end, to, weighed, max));
            kernel->weigh((size_t)end, to, share, nullptr, to);
            memset(to + end, 0, (size_t)(x->ne[0] - end) * sizeof(float));
        }
        return true;
    }
};

/* ---- which of them ---- */

bool on_host(const ggml_tensor *t) {
    return !t->buffer || ggml_backend_buft_is_host(t->buffer->buft);
}

/* Of keys or values as llama.cpp looks at them in its cache, not of weights in half precision. */
bool is_product(const ggml_tensor *op) {
    const ggml_tensor *a = op->src[0], *b = op->src[1];
    const int64_t lanes = (int64_t)kernel->lanes;
    return a->op == GGML_OP_PERMUTE && a->type == GGML_TYPE_F16 && b->type == GGML_TYPE_F32 &&
           b->ne[1] >= 2 && a->ne[0] % lanes == 0 && a->ne[1] % lanes == 0 &&
           a->nb[0] == sizeof(uint16_t) && b->nb[0] == sizeof(float) && on_host(a) && on_host(b) &&
           ggml_is_contiguous(op);
}

bool is_soft_maximum(const ggml_tensor *op) {
    const ggml_tensor *x = op->src[0], *mask = op->src[1];
    float max_bias;
    memcpy(&max_bias, op->op_params + 1, sizeof(max_bias));
    return max_bias == 0 && !op->src[2] && x->type == GGML_TYPE_F32 &&
           x->nb[0] == sizeof(float) && op->nb[0] == sizeof(float) &&
           (!mask || (mask->type == GGML_TYPE_F32 && mask->nb[0] == sizeof(float)));
}

} // namespace

void attention_ops_init(void) {
    /* Its sums are as its vectors are wide, so which they were compiled for counts. */
    kernel = attention_kernel_get(ggml_cpu_has_avx512() ? 16 : 8);
}

ggml::cpu::tensor_traits *attention_traits(const ggml_tensor *op) {
    static scores of_keys;
    static mixture of_values;
    static soft_maximum between;
    if (!kernel)
        return nullptr;
    if (op->op == GGML_OP_SOFT_MAX)
        return is_soft_maximum(op) ? &between : nullptr;
    if (op->op != GGML_OP_MUL_MAT || !is_product(op))
        return nullptr;
    const ggml_tensor *a = op->src[0], *b = op->src[1];
    if (a->nb[1] >= a->nb[2]) /* keys: a cell's heads lie together */
        return a->ne[0] <= WIDTH_MAX ? &of_keys : nullptr;
    return ggml_is_contiguous(b) && a->ne[0] * a->ne[1] <= VALUES_MAX ? &of_values : nullptr;
}
