/* base/uuid and base/clock. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/crypto.h"
#include "base/uuid.h"

#define THREADS 4
#define EACH    20000

static void uuid_new_increases_while_the_clock_stands_or_steps_back(void **state) {
    (void)state;
    clock_test_set(0, 1700000000000);
    struct uuid last = uuid_new();
    for (int i = 0; i < 50000; i++) {
        if (i == 20000)
            clock_test_set(0, 1600000000000);
        struct uuid u = uuid_new();
        assert_true(strcmp(last.s, u.s) < 0);
        last = u;
    }
    clock_test_end();
}

static void *make_many(void *arg) {
    struct uuid *out = arg;
    for (int i = 0; i < EACH; i++)
        out[i] = uuid_new();
    return NULL;
}

static int compare(const void *a, const void *b) {
    return strcmp(((const struct uuid *)a)->s, ((const struct uuid *)b)->s);
}

static void uuid_new_from_many_threads_never_repeats(void **state) {
    (void)state;
    struct uuid *all = calloc(THREADS * EACH, sizeof *all);
    pthread_t ids[THREADS];
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&ids[i], NULL, make_many, all + i * EACH), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(ids[i], NULL);
    qsort(all, THREADS * EACH, sizeof *all, compare);
    for (int i = 1; i < THREADS * EACH; i++)
        assert_false(uuid_eq(&all[i - 1], &all[i]));
    free(all);
}

static void uuid_holds_time_version_and_variant(void **state) {
    (void)state;
    struct uuid u = uuid_new_at(0x0123456789ab);
    assert_memory_equal(u.s, "01234567-89ab-7", 15);
    assert_non_null(strchr("89ab", u.s[19]));
    struct uuid v = uuid_new_at(0x0123456789ab);
    assert_true(strcmp(u.s, v.s) < 0);
    struct uuid earlier = uuid_new_at(0x0123456789aa);
    assert_true(strcmp(earlier.s, u.s) < 0); /* its own time counts, not the last one's */
}

static void uuid_parse_takes_only_the_canonical_form(void **state) {
    (void)state;
    struct uuid u = {0};
    assert_true(uuid_parse(STR("0192F0C4-7A3B-7CDE-8F01-23456789ABCD"), &u));
    assert_string_equal(u.s, "0192f0c4-7a3b-7cde-8f01-23456789abcd");
    const char *bad[] = {"",
                         "0192f0c4-7a3b-7cde-8f01-23456789abc",
                         "0192f0c47a3b7cde8f0123456789abcd0000",
                         "0192f0c4-7a3b-7cde-8f01-23456789abcg",
                         "{192f0c4-7a3b-7cde-8f01-23456789abc}",
                         "0192f0c4-7a3b-7cde-8f01-23456789abcd "};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(uuid_parse(str_from(bad[i]), &u));
    assert_true(uuid_is_set(&u));
    assert_false(uuid_is_set(&(struct uuid){0}));
    assert_int_equal(uuid_str(&(struct uuid){0}).n, 0);
}

static void clock_set_by_a_test_stands_still(void **state) {
    (void)state;
    clock_test_set(5000000, 1000);
    assert_int_equal(clock_mono_ns(), 5000000);
    clock_test_advance(7);
    assert_int_equal(clock_mono_ns(), 12000000);
    assert_int_equal(clock_wall_ms(), 1007);
    clock_test_end();
    assert_true(clock_wall_ms() > 1700000000000);
}

static void clock_format_is_rfc3339(void **state) {
    (void)state;
    char out[25];
    clock_format(1795472898123, out);
    assert_string_equal(out, "2026-11-23T22:28:18.123Z");
    clock_format(-1, out);
    assert_string_equal(out, "1970-01-01T00:00:00.000Z");
    clock_format(INT64_MAX, out);
    assert_string_equal(out, "9999-12-31T23:59:59.999Z");
}

/* 531 years: all of the calendar's cycle of 400. */
static void clock_format_knows_each_day(void **state) {
    (void)state;
    int64_t last = (int64_t)531 * 365 * 86400000;
    for (int64_t ms = 0, step = 86400000 + 1001; ms < last; ms += step) {
        char out[25], want[40];
        struct tm tm;
        clock_format(ms, out);
        gmtime_r(&(time_t){ms / 1000}, &tm);
        size_t n = strftime(want, sizeof want, "%Y-%m-%dT%H:%M:%S.", &tm);
        snprintf(want + n, sizeof want - n, "%03dZ", (int)(ms % 1000));
        assert_string_equal(out, want);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(uuid_new_increases_while_the_clock_stands_or_steps_back),
        cmocka_unit_test(uuid_new_from_many_threads_never_repeats),
        cmocka_unit_test(uuid_holds_time_version_and_variant),
        cmocka_unit_test(uuid_parse_takes_only_the_canonical_form),
        cmocka_unit_test(clock_set_by_a_test_stands_still),
        cmocka_unit_test(clock_format_is_rfc3339),
        cmocka_unit_test(clock_format_knows_each_day),
    };
    return crypto_init() ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
