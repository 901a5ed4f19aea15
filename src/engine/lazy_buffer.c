/* See lazy_buffer.h. The library's CPU buffers are memory of malloc(): private and anonymous, so
 * that pages which are given back read as zeros. */
#include "engine/lazy_buffer.h"

#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <ggml-cpu/ggml-backend-impl.h>

#include "engine/copies.h"

#define LARGE ((size_t)1 << 20)

static ggml_backend_buffer_t (*alloc_eagerly)(ggml_backend_buffer_type_t type, size_t size);
static _Thread_local struct copies *collecting;

static void get(ggml_backend_buffer_t b, const struct ggml_tensor *t, void *to, size_t at,
                size_t n) {
    (void)b;
    if (collecting)
        copies_add(collecting, to, (const char *)t->data + at, n);
    else
        memcpy(to, (const char *)t->data + at, n);
}

static void set(ggml_backend_buffer_t b, struct ggml_tensor *t, const void *from, size_t at,
                size_t n) {
    (void)b;
    if (collecting)
        copies_add(collecting, (char *)t->data + at, from, n);
    else
        memcpy((char *)t->data + at, from, n);
}

void lazy_buffers_collect(struct copies *c) {
    collecting = c;
}

static void clear(ggml_backend_buffer_t b, uint8_t value) {
    char *p = ggml_backend_buffer_get_base(b);
    size_t n = ggml_backend_buffer_get_size(b), page = (size_t)sysconf(_SC_PAGESIZE);
    size_t before = (page - (uintptr_t)p % page) % page, whole = (n - before) / page * page;
    if (value || n < LARGE || madvise(p + before, whole, MADV_DONTNEED) != 0) {
        memset(p, value, n);
        return;
    }
    memset(p, 0, before);
    memset(p + before + whole, 0, n - before - whole);
}

static ggml_backend_buffer_t alloc(ggml_backend_buffer_type_t type, size_t size) {
    ggml_backend_buffer_t b = alloc_eagerly(type, size);
    if (b && b->iface.clear) {
        b->iface.clear = clear;
        b->iface.get_tensor = get;
        b->iface.set_tensor = set;
    }
    return b;
}

void lazy_buffers_init(void) {
    struct ggml_backend_buffer_type *type = ggml_backend_cpu_buffer_type();
    alloc_eagerly = type->iface.alloc_buffer;
    type->iface.alloc_buffer = alloc;
}
