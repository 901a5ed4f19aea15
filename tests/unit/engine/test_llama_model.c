/* Weight files that must not be loaded: damaged ones, and ones that do not fit, said before
 * loading. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buf.h"
#include "engine/model.h"
#include "engine/weights.h"

static char path[] = "/tmp/parley-weights-XXXXXX";
static struct llama_pool *pool;

static void put_u64(struct buf *b, uint64_t v) {
    for (int i = 0; i < 8; i++)
        buf_addc(b, (char)(v >> (8 * i)));
}

static void put_u32(struct buf *b, uint32_t v) {
    for (int i = 0; i < 4; i++)
        buf_addc(b, (char)(v >> (8 * i)));
}

static void put_text(struct buf *b, const char *text) {
    put_u64(b, strlen(text));
    buf_addz(b, text);
}

static void put_number(struct buf *b, const char *key, uint32_t v) {
    put_text(b, key);
    put_u32(b, 4);
    put_u32(b, v);
}

/* A header without tensors: layers and width decide what a conversation would take. */
static void write_model(uint32_t layers, uint32_t width, size_t cut) {
    struct buf b;
    buf_init(&b, 1 << 16);
    buf_addz(&b, "GGUF");
    put_u32(&b, 3);
    put_u64(&b, 0);
    put_u64(&b, 5);
    put_text(&b, "general.architecture");
    put_u32(&b, 8);
    put_text(&b, "llama");
    put_number(&b, "llama.context_length", 8192);
    put_number(&b, "llama.embedding_length", width);
    put_number(&b, "llama.block_count", layers);
    put_number(&b, "llama.attention.head_count", 1);
    while (b.n % 32) /* where the tensors' data would begin */
        buf_addc(&b, 0);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(b.p, 1, b.n - cut, f), b.n - cut);
    fclose(f);
    buf_deinit(&b);
}

static enum err open_model(struct errinfo *ei) {
    const struct llama_open_options o = {.path = path, .pool = pool};
    struct model *m = NULL;
    enum err e = llama_model_open(&o, &m, ei);
    if (!e)
        model_free(m);
    return e;
}

static void model_too_large_for_memory_is_refused_with_the_arithmetic(void **state) {
    struct errinfo ei;
    (void)state;
    write_model(4000, 65536, 0);
    assert_int_equal(open_model(&ei), ERR_NOMEM);
    assert_non_null(strstr(ei.message, "does not fit"));
    assert_non_null(strstr(ei.message, "conversations"));
    assert_non_null(strstr(ei.message, "(4096 tokens × 1048576000 bytes)"));
    assert_non_null(strstr(ei.message, "MiB are free"));
}

static void damaged_files_are_refused(void **state) {
    struct weights_speed speed;
    struct errinfo ei;
    (void)state;
    write_model(2, 64, 0); /* a sound header without any weights */
    assert_int_equal(open_model(&ei), ERR_CORRUPT);
    assert_int_equal(engine_weights_measure(path, STR("some text"), 1, &speed, &ei), ERR_CORRUPT);
    for (size_t cut = 1; cut < 120; cut += 7) {
        write_model(2, 64, cut);
        assert_int_equal(open_model(&ei), ERR_CORRUPT);
        assert_true(ei.message[0] != 0);
    }
    write_model(0, 64, 0);
    assert_int_equal(open_model(&ei), ERR_CORRUPT);
}

static int set_up(void **state) {
    (void)state;
    int fd = mkstemp(path);
    close(fd);
    pool = llama_pool_new(1, 0);
    return fd < 0 || !pool;
}

static int tear_down(void **state) {
    (void)state;
    llama_pool_free(pool);
    return unlink(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(model_too_large_for_memory_is_refused_with_the_arithmetic),
        cmocka_unit_test(damaged_files_are_refused),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
