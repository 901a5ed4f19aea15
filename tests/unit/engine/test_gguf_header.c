#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "engine/gguf_header.h"

static void add_u32(struct buf *b, uint32_t v) {
    buf_add(b, &v, 4);
}

static void add_u64(struct buf *b, uint64_t v) {
    buf_add(b, &v, 8);
}

static void add_string(struct buf *b, const char *s) {
    add_u64(b, strlen(s));
    buf_addz(b, s);
}

static void add_pair_u32(struct buf *b, const char *key, uint32_t v) {
    add_string(b, key);
    add_u32(b, 4);
    add_u32(b, v);
}

/* A small but whole file: six pairs and one tensor of 64 32-bit numbers. */
static void add_tensor(struct buf *b, const char *name) {
    add_string(b, name);
    add_u32(b, 2);
    add_u64(b, 32);
    add_u64(b, 2);
    add_u32(b, 0);
    add_u64(b, 0);
}

static void make_file_with(struct buf *b, const char *tensor, const char *other) {
    buf_init(b, 1 << 16);
    buf_addz(b, "GGUF");
    add_u32(b, 3);
    add_u64(b, other ? 2 : 1);
    add_u64(b, 6);
    add_string(b, "general.architecture");
    add_u32(b, 8);
    add_string(b, "llama");
    add_pair_u32(b, "general.file_type", 7);
    add_pair_u32(b, "llama.context_length", 2048);
    add_pair_u32(b, "llama.block_count", 2);
    add_string(b, "llama.attention.head_count_kv");
    add_u32(b, 9);
    add_u32(b, 4);
    add_u64(b, 2);
    add_u32(b, 3);
    add_u32(b, 5);
    add_string(b, "tokenizer.ggml.tokens");
    add_u32(b, 9);
    add_u32(b, 8);
    add_u64(b, 2);
    add_string(b, "a");
    add_string(b, "bc");
    add_tensor(b, tensor);
    if (other)
        add_tensor(b, other);
    while (b->n % 32)
        buf_addc(b, 0);
    for (int i = 0; i < 64; i++)
        add_u32(b, 0);
}

static void make_file(struct buf *b) {
    make_file_with(b, "weight", NULL);
}

static enum err read_bytes(const void *p, size_t n, struct gguf_header *h, struct errinfo *ei) {
    char path[] = "/tmp/parley-gguf-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, p, n), (ssize_t)n);
    close(fd);
    enum err e = gguf_header_read(path, h, ei);
    unlink(path);
    return e;
}

static void read_whole_file_gives_its_fields(void **state) {
    struct buf b;
    struct gguf_header h;
    struct errinfo ei;
    (void)state;
    make_file(&b);
    assert_int_equal(read_bytes(b.p, b.n, &h, &ei), ERR_OK);
    assert_string_equal(h.architecture, "llama");
    assert_string_equal(gguf_form_name(h.file_type), "Q8_0");
    assert_int_equal(h.context_length, 2048);
    assert_int_equal(h.head_count_kv, 5);
    assert_int_equal(h.parameters, 64);
    buf_deinit(&b);
}

static void embeddings_are_the_outputs_where_it_has_none(void **state) {
    static const struct {
        const char *tensor, *other;
        int bytes;
    } cases[] = {{"weight", NULL, 0},
                 {"token_embd.weight", NULL, 256},
                 {"token_embd.weight", "output.weight", 0},
                 {"output.weight", "token_embd.weight", 0}};
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct buf b;
        struct gguf_header h;
        struct errinfo ei;
        make_file_with(&b, cases[i].tensor, cases[i].other);
        assert_int_equal(read_bytes(b.p, b.n, &h, &ei), ERR_OK);
        assert_int_equal(h.tied_bytes, cases[i].bytes);
        buf_deinit(&b);
    }
}

static void read_file_cut_anywhere_is_corrupt(void **state) {
    struct buf b;
    struct gguf_header h;
    struct errinfo ei;
    (void)state;
    make_file(&b);
    for (size_t n = 0; n < b.n; n += 3) {
        assert_int_equal(read_bytes(b.p, n, &h, &ei), ERR_CORRUPT);
        assert_true(ei.message[0] != 0);
    }
    buf_deinit(&b);
}

static void read_changed_bytes_never_crash(void **state) {
    struct buf b;
    struct gguf_header h;
    struct errinfo ei;
    (void)state;
    make_file(&b);
    for (size_t i = 0; i < b.n - 256; i++) {
        char old = b.p[i];
        b.p[i] = (char)0xFF;
        enum err e = read_bytes(b.p, b.n, &h, &ei);
        assert_true(e == ERR_OK || e == ERR_CORRUPT);
        b.p[i] = old;
    }
    buf_deinit(&b);
}

static void read_missing_file_is_not_found(void **state) {
    struct gguf_header h;
    struct errinfo ei;
    (void)state;
    assert_int_equal(gguf_header_read("/nonexistent/x.gguf", &h, &ei), ERR_NOT_FOUND);
    assert_int_equal(gguf_header_read("/tmp", &h, &ei), ERR_IO);
}

static void token_values_of_plain_header_are_counted(void **state) {
    struct gguf_header h = {
        .block_count = 2, .embedding_length = 64, .head_count = 4, .head_count_kv = 2};
    (void)state;
    assert_int_equal(gguf_token_values(&h), 2 * 2 * (16 + 16));
    h.key_length = 8;
    h.value_length = 24;
    assert_int_equal(gguf_token_values(&h), 2 * 2 * (8 + 24));
}

static void token_values_of_senseless_header_are_none(void **state) {
    static const struct gguf_header bad[] = {
        {.block_count = 2},
        {.block_count = 2, .key_length = 64},
        {.block_count = 2, .embedding_length = 64, .head_count = 65},
        {.block_count = 2,
         .embedding_length = 64,
         .key_length = INT64_MAX - 1,
         .value_length = INT64_MAX - 1},
        {.block_count = 2, .embedding_length = INT64_MAX, .head_count_kv = INT64_MAX},
        {.block_count = INT64_MAX, .embedding_length = 64},
        {.block_count = 4096,
         .embedding_length = 64,
         .head_count_kv = 65536,
         .key_length = 65536,
         .value_length = 65536},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        assert_int_equal(gguf_token_values(&bad[i]), 0);
}

static void read_tensors_of_too_many_elements_is_corrupt(void **state) {
    struct buf b;
    struct gguf_header h;
    struct errinfo ei;
    (void)state;
    buf_init(&b, 1 << 16);
    buf_addz(&b, "GGUF");
    add_u32(&b, 3);
    add_u64(&b, 10);
    add_u64(&b, 1);
    add_string(&b, "general.architecture");
    add_u32(&b, 8);
    add_string(&b, "llama");
    for (int i = 0; i < 10; i++) { /* of a type that nobody knows: only their sum is too large */
        add_string(&b, "weight");
        add_u32(&b, 1);
        add_u64(&b, INT64_MAX / 8);
        add_u32(&b, 9999);
        add_u64(&b, 0);
    }
    assert_int_equal(read_bytes(b.p, b.n, &h, &ei), ERR_CORRUPT);
    buf_deinit(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(read_whole_file_gives_its_fields),
        cmocka_unit_test(embeddings_are_the_outputs_where_it_has_none),
        cmocka_unit_test(read_file_cut_anywhere_is_corrupt),
        cmocka_unit_test(read_changed_bytes_never_crash),
        cmocka_unit_test(token_values_of_plain_header_are_counted),
        cmocka_unit_test(token_values_of_senseless_header_are_none),
        cmocka_unit_test(read_tensors_of_too_many_elements_is_corrupt),
        cmocka_unit_test(read_missing_file_is_not_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
