#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "engine/rates.h"
#include "unit/engine/scripted_model.c"

static int threads_now, changes;

static void set_threads(struct model *m, int threads) {
    (void)m;
    threads_now = threads;
    changes++;
}

/* 10 ms for a step, 2 ms for a token, all of it twice on one thread; less on one when crowded. */
static bool crowded;
static enum err (*real_step)(struct model *m, const struct model_item *items, int n,
                             struct errinfo *ei);

static enum err timed_step(struct model *m, const struct model_item *items, int n,
                           struct errinfo *ei) {
    int ms = 10 + 2 * n;
    if (threads_now == 1)
        ms = crowded ? ms / 2 : ms * 2;
    clock_test_advance(ms);
    return real_step(m, items, n, ei);
}

static struct rates measure(struct scripted_model *m) {
    static struct model_ops ops;
    struct rates r;
    struct errinfo ei;
    scripted_init(m);
    clock_test_set(1000000000, 1000);
    ops = *m->base.ops;
    real_step = ops.step;
    ops.step = timed_step;
    m->base.ops = &ops;
    assert_int_equal(rates_measure(&m->base, 2, set_threads, &r, &ei), ERR_OK);
    clock_test_end();
    return r;
}

static void steps_are_measured_on_all_threads(void **state) {
    (void)state;
    struct scripted_model m;
    crowded = false;
    struct rates r = measure(&m);
    assert_int_equal(r.threads, 2);
    assert_int_equal(threads_now, 2);
    assert_int_equal((int)(r.base_ns / 1e6 + 0.5), 10);
    assert_int_equal((int)(r.answer_ns / 1e6 + 0.5), 2);
    assert_int_equal((int)(r.prompt_ns / 1e6 + 0.5), 2);
    for (int i = 0; i < SCRIPTED_SEQUENCES; i++)
        assert_int_equal(m.seqs[i].n, 0);
    scripted_deinit(&m);
}

static void one_thread_is_taken_when_it_is_faster(void **state) {
    (void)state;
    struct scripted_model m;
    crowded = true;
    struct rates r = measure(&m);
    assert_int_equal(r.threads, 1);
    assert_int_equal(threads_now, 1);
    scripted_deinit(&m);
}

static void failing_step_is_reported(void **state) {
    (void)state;
    struct scripted_model m;
    struct rates r;
    struct errinfo ei;
    scripted_init(&m);
    m.fail_at = 8;
    m.fail_with = ERR_INTERNAL;
    assert_int_equal(rates_measure(&m.base, 2, set_threads, &r, &ei), ERR_INTERNAL);
    scripted_deinit(&m);
}

static void file_holds_for_its_machine_and_weights_only(void **state) {
    (void)state;
    char path[] = "/tmp/parley-rates-XXXXXX";
    const struct rates r = {.base_ns = 1e7, .answer_ns = 2e6, .prompt_ns = 3e6, .threads = 2};
    struct rates back = {0};
    int fd = mkstemp(path);
    close(fd);
    assert_false(rates_read(path, 2, 1000, &back)); /* empty */
    assert_int_equal(rates_write(path, 2, 1000, &r), ERR_OK);
    assert_true(rates_read(path, 2, 1000, &back));
    assert_true(back.base_ns == r.base_ns && back.answer_ns == r.answer_ns);
    assert_true(back.prompt_ns == r.prompt_ns && back.threads == r.threads);
    assert_false(rates_read(path, 4, 1000, &back));
    assert_false(rates_read(path, 2, 1001, &back));
    FILE *f = fopen(path, "w");
    fputs("{\"machine\":7,\"threads\":[],\"base_us\":\"x\"}", f);
    fclose(f);
    assert_false(rates_read(path, 2, 1000, &back));
    unlink(path);
    assert_false(rates_read(path, 2, 1000, &back));
    assert_int_equal(rates_write("/nowhere/at/all", 2, 1000, &r), ERR_IO);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steps_are_measured_on_all_threads),
        cmocka_unit_test(one_thread_is_taken_when_it_is_faster),
        cmocka_unit_test(failing_step_is_reported),
        cmocka_unit_test(file_holds_for_its_machine_and_weights_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
