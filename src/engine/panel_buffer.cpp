/* See panel_buffer.h. Modelled on how ggml's own repack.cpp comes in: a buffer type whose tensors
 * are packed when they are set, and traits that compute GGML_OP_MUL_MAT with them. */
#include "engine/panel_buffer.h"

#include <atomic>
#include <cstdint>
#include <cstring>
#include <system_error>
#include <thread>

#include <sys/mman.h>
#include <unistd.h>

#include <ggml-cpu.h>
#include <ggml-cpu/traits.h>

#include "engine/attention_ops.h"

extern "C" {
#include "engine/q8_panels.h"
}

namespace {

constexpr size_t ALIGN = 64;
constexpr int64_t TAKE = 64;   /* blocks made Q8_0 at a time */
constexpr int CHUNKS_EACH = 4; /* pieces of the work for each thread: the faster takes more */
constexpr size_t PACK_PIECE = (size_t)512 << 10; /* bytes that a thread lays out at a time */
constexpr unsigned PACK_THREADS = 4;             /* memory is not much faster with more */

ggml_backend_buffer_type_t buffer_type();

const q8_kernel *kernel; /* set before the first weights are loaded, then never */

/* Whole panels. A view of some of a tensor's rows is, too, when it begins with one. */
bool fits(const ggml_tensor *w) {
    return w->type == GGML_TYPE_Q8_0 && ggml_n_dims(w) == 2 && w->ne[0] % Q8_BLOCK == 0 &&
           w->ne[1] % Q8_PANEL_ROWS == 0 && ggml_is_contiguous(w) &&
           w->view_offs % (Q8_PANEL_ROWS * w->nb[1]) == 0;
}

size_t columns_of(const ggml_tensor *x) {
    return (size_t)(x->ne[1] * x->ne[2] * x->ne[3]);
}

class traits : public ggml::cpu::tensor_traits {
    bool work_size(int, const ggml_tensor *op, size_t &size) override {
        size_t blocks = (size_t)(op->src[1]->ne[0] / Q8_BLOCK) * columns_of(op->src[1]);
        size = ALIGN + blocks * (sizeof(q8_activation) + sizeof(float));
        return op->op == GGML_OP_MUL_MAT;
    }

    bool compute_forward(ggml_compute_params *params, ggml_tensor *op) override;
};

/* This thread's share of each column. */
void take_activations(const ggml_compute_params *p, const ggml_tensor *x, q8_activation *a,
                      float *scales) {
    const ggml_from_float_t quantize = ggml_get_type_traits_cpu(GGML_TYPE_Q8_0)->from_float;
    const int64_t blocks = x->ne[0] / Q8_BLOCK;
    const int64_t begin = p->ith * blocks / p->nth, end = (p->ith + 1) * blocks / p->nth;
    unsigned char q8[TAKE * Q8_BLOCK_BYTES];
    int64_t column = 0;
    for (int64_t i3 = 0; i3 < x->ne[3]; i3++)
        for (int64_t i2 = 0; i2 < x->ne[2]; i2++)
            for (int64_t i1 = 0; i1 < x->ne[1]; i1++, column++) {
                auto *row = reinterpret_cast<const float *>(
                    static_cast<const char *>(x->data) + (size_t)i1 * x->nb[1] +
                    (size_t)i2 * x->nb[2] + (size_t)i3 * x->nb[3]);
                for (int64_t b = begin; b < end; b += TAKE) {
                    int64_t n = end - b < TAKE ? end - b : TAKE;
                    quantize(row + b * Q8_BLOCK, q8, n * Q8_BLOCK);
                    kernel->take((size_t)n, q8, a + column * blocks + b,
                                        scales + column * blocks + b);
                }
            }
}

bool traits::compute_forward(ggml_compute_params *p, ggml_tensor *op) {
    const ggml_tensor *w = op->src[0], *x = op->src[1];
    const size_t blocks = (size_t)(w->ne[0] / Q8_BLOCK), columns = columns_of(x);
    const size_t panel_bytes = blocks * Q8_BLOCK_BYTES * Q8_PANEL_ROWS;
    const int panels = (int)(w->ne[1] / Q8_PANEL_ROWS);
    const int wanted = p->nth == 1 ? 1 : p->nth * CHUNKS_EACH;
    const int each = (panels + wanted - 1) / wanted;
    const uintptr_t work = (reinterpret_cast<uintptr_t>(p->wdata) + ALIGN - 1) / ALIGN * ALIGN;
    auto *a = reinterpret_cast<q8_activation *>(work);
    auto *scales = reinterpret_cast<float *>(a + blocks * columns);
    GGML_ASSERT(op->nb[1] == (size_t)w->ne[1] * sizeof(float) && ggml_is_contiguous(op));

    take_activations(p, x, a, scales);
    if (p->ith == 0) /* each thread begins with the chunk of its number */
        ggml_threadpool_chunk_set(p->threadpool, p->nth);
    ggml_barrier(p->threadpool);

    for (int chunk = p->ith; chunk * each < panels;
         chunk = ggml_threadpool_chunk_add(p->threadpool, 1)) {
        const int end = (chunk + 1) * each < panels ? (chunk + 1) * each : panels;
        for (int i = chunk * each; i < end; i++)
            kernel->multiply(blocks, static_cast<const char *>(w->data) + (size_t)i * panel_bytes,
                              columns, a, scales,
                              static_cast<float *>(op->data) + i * Q8_PANEL_ROWS, (size_t)w->ne[1]);
    }
    return true;
}

/* ---- the buffer ---- */

ggml_status init_tensor(ggml_backend_buffer_t, ggml_tensor *t) {
    static traits all;
    t->extra = fits(t) ? static_cast<ggml::cpu::tensor_traits *>(&all) : nullptr;
    return GGML_STATUS_SUCCESS;
}

/* Weights that are being laid out anew, by several threads: people wait for it when an engine was
 * killed. */
struct packing {
    const char *rows;
    char *panels;
    size_t blocks, panel_bytes, n, each; /* panels in all, and at a time */
    std::atomic<size_t> next{0};

    void work() {
        for (size_t begin; (begin = next.fetch_add(each)) < n;)
            for (size_t i = begin; i < begin + each && i < n; i++)
                kernel->pack(kernel, blocks, rows + i * panel_bytes, panels + i * panel_bytes);
    }
};

/* As many helpers as there are pieces for, or as can be started. */
void pack_together(packing &p) {
    std::thread helpers[PACK_THREADS - 1];
    const size_t pieces = (p.n + p.each - 1) / p.each, cpus = std::thread::hardware_concurrency();
    try {
        for (size_t i = 0; i < PACK_THREADS - 1 && i + 1 < pieces && i + 1 < cpus; i++)
            helpers[i] = std::thread(&packing::work, &p);
    } catch (const std::system_error &) {
    }
    p.work();
    for (std::thread &t : helpers)
        if (t.joinable())
            t.join();
}

void set_tensor(ggml_backend_buffer_t, ggml_tensor *t, const void *data, size_t offset,
                size_t size) {
    GGML_ASSERT(offset == 0 && size == ggml_nbytes(t) && fits(t));
    packing p;
    p.rows = static_cast<const char *>(data);
    p.panels = static_cast<char *>(t->data);
    p.blocks = (size_t)(t->ne[0] / Q8_BLOCK);
    p.panel_bytes = p.blocks * Q8_BLOCK_BYTES * Q8_PANEL_ROWS;
    p.n = size / p.panel_bytes;
    p.each = p.panel_bytes < PACK_PIECE ? PACK_PIECE / p.panel_bytes : 1;
    pack_together(p);
}

const char *name_of(ggml_backend_buffer_type_t) {
    return "Q8_0 panels";
}

size_t alignment(ggml_backend_buffer_type_t) {
    return ALIGN;
}

ggml_backend_buffer_t alloc_buffer(ggml_backend_buffer_type_t type, size_t size) {
    ggml_backend_buffer_t b = ggml_backend_buft_alloc_buffer(ggml_backend_cpu_buffer_type(), size);
    if (!b)
        return nullptr;
    /* A step reads all of it: in pages of 4 KiB the processor would look up one page after the
     * other. A kernel that has no larger ones keeps the small ones. */
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    const uintptr_t begin = (reinterpret_cast<uintptr_t>(ggml_backend_buffer_get_base(b)) + page -
                             1) / page * page;
    const uintptr_t end = (reinterpret_cast<uintptr_t>(ggml_backend_buffer_get_base(b)) + size) /
                          page * page;
    if (end > begin)
        (void)madvise(reinterpret_cast<void *>(begin), end - begin, MADV_HUGEPAGE);
    b->buft = type;
    b->iface.init_tensor = init_tensor;
    b->iface.set_tensor = set_tensor;
    b->iface.get_tensor = nullptr;
    b->iface.cpy_tensor = nullptr;
    return b;
}

bool is_ours(const ggml_tensor *w) {
    return w && w->buffer && w->buffer->buft == buffer_type();
}

class panels : public ggml::cpu::extra_buffer_type {
    bool supports_op(ggml_backend_dev_t, const ggml_tensor *op) override {
        return op->op == GGML_OP_MUL_MAT && is_ours(op->src[0]) && fits(op->src[0]) &&
               op->src[1]->type == GGML_TYPE_F32 && op->src[1]->nb[0] == sizeof(float) &&
               (!op->src[1]->buffer || ggml_backend_buft_is_host(op->src[1]->buffer->buft));
    }

    ggml::cpu::tensor_traits *get_tensor_traits(const ggml_tensor *op) override {
        return op->op == GGML_OP_MUL_MAT && is_ours(op->src[0])
                   ? static_cast<ggml::cpu::tensor_traits *>(op->src[0]->extra)
                   : attention_traits(op);
    }
};

ggml_backend_buffer_type_t buffer_type() {
    static panels context;
    static ggml_backend_buffer_type type = {
        /* .iface = */ {name_of, alloc_buffer, alignment, nullptr, nullptr, nullptr},
        /* .device = */ ggml_backend_reg_dev_get(ggml_backend_cpu_reg(), 0),
        /* .context = */ static_cast<ggml::cpu::extra_buffer_type *>(&context),
    };
    return &type;
}

} // namespace

void panel_buffer_register(void) {
    auto &types = ggml_backend_cpu_get_extra_buffer_types();
    for (size_t i = types.size(); i-- > 0;)
        if (strcmp(ggml_backend_buft_name(types[i]), "AMX") == 0)
            types.erase(types.begin() + (std::ptrdiff_t)i);
    kernel = q8_kernel_get(0);
    attention_ops_init();
    if (kernel)
        types.insert(types.begin(), buffer_type());
}
