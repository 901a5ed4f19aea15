#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/sampler.h"

#define VOCAB 5000

static float logits[VOCAB];

static void fill(unsigned seed) {
    for (int i = 0; i < VOCAB; i++) {
        seed = seed * 1664525u + 1013904223u;
        logits[i] = (float)(seed >> 8) / (float)(1 << 24) * 10;
    }
}

static int32_t once(const struct sampler_params *p) {
    float copy[VOCAB];
    struct sampled out;
    struct sampler *s = sampler_new(p, VOCAB);
    memcpy(copy, logits, sizeof(copy));
    sampler_next(s, copy, &out);
    sampler_free(s);
    return out.token;
}

static struct sampler_params greedy_params(void) {
    struct sampler_params p;
    sampler_params_init(&p);
    p.temperature = 0;
    return p;
}

static void greedy_takes_largest_and_first_of_equals(void **state) {
    struct sampler_params p = greedy_params();
    (void)state;
    fill(1);
    logits[321] = logits[123] = 50;
    assert_int_equal(once(&p), 123);
    static const int places[] = {0, 15, 16, 63, 64, 65, VOCAB - 9, VOCAB - 1};
    for (size_t i = 0; i < sizeof(places) / sizeof(*places); i++) {
        fill((unsigned)i);
        logits[places[i]] = 50;
        assert_int_equal(once(&p), places[i]);
        logits[VOCAB - 1] = 50; /* equal ones in later blocks change nothing */
        assert_int_equal(once(&p), places[i]);
    }
    for (int i = 0; i < VOCAB; i++)
        logits[i] = -INFINITY;
    assert_int_equal(once(&p), 0);
    logits[4321] = -80;
    assert_int_equal(once(&p), 4321);
}

static void equal_seed_gives_equal_tokens(void **state) {
    struct sampler_params p;
    int32_t first[50];
    (void)state;
    sampler_params_init(&p);
    p.temperature = 1.5f;
    for (int round = 0; round < 2; round++) {
        p.seed = 42;
        struct sampler *s = sampler_new(&p, VOCAB);
        for (int i = 0; i < 50; i++) {
            struct sampled out;
            fill((unsigned)i);
            sampler_next(s, logits, &out);
            if (round == 0)
                first[i] = out.token;
            else
                assert_int_equal(out.token, first[i]);
        }
        sampler_free(s);
    }
}

static void top_k_draws_only_from_the_k_largest(void **state) {
    struct sampler_params p;
    (void)state;
    sampler_params_init(&p);
    p.temperature = 2;
    p.top_k = 3;
    p.top_p = 1;
    p.min_p = 0;
    fill(2);
    logits[4000] = 20;
    logits[7] = 19.5f;
    logits[2500] = 19;
    int seen[3] = {0};
    for (p.seed = 0; p.seed < 200; p.seed++) {
        int32_t t = once(&p);
        assert_true(t == 4000 || t == 7 || t == 2500);
        seen[t == 4000 ? 0 : t == 7 ? 1 : 2]++;
    }
    assert_true(seen[0] > seen[2] && seen[1] > 0 && seen[2] > 0);
}

static void small_top_p_is_greedy(void **state) {
    struct sampler_params p;
    (void)state;
    sampler_params_init(&p);
    p.top_p = 0.001f;
    fill(3);
    logits[77] = 30;
    for (p.seed = 0; p.seed < 20; p.seed++)
        assert_int_equal(once(&p), 77);
}

static void min_p_drops_the_unlikely(void **state) {
    struct sampler_params p;
    (void)state;
    sampler_params_init(&p);
    p.temperature = 2;
    p.top_k = 0;
    p.top_p = 1;
    p.min_p = 0.5f;
    fill(4);
    logits[10] = 30;
    logits[11] = 29.9f;
    logits[12] = 29;
    for (p.seed = 0; p.seed < 100; p.seed++)
        assert_in_range(once(&p), 10, 11);
}

static void logit_bias_forbids_and_forces(void **state) {
    struct sampler_params p = greedy_params();
    (void)state;
    fill(5);
    logits[1] = 50;
    p.n_biases = 2;
    p.biases[0] = (struct sampler_bias){1, -100};
    p.biases[1] = (struct sampler_bias){4999, 100};
    assert_int_equal(once(&p), 4999);
}

static void every_token_forbidden_still_gives_one(void **state) {
    struct sampler_params p;
    (void)state;
    sampler_params_init(&p);
    for (int i = 0; i < VOCAB; i++)
        logits[i] = -INFINITY;
    assert_in_range(once(&p), 0, VOCAB - 1);
}

static void presence_penalty_counts_the_answer_only(void **state) {
    struct sampler_params p = greedy_params();
    struct sampled out;
    (void)state;
    p.presence = 2;
    struct sampler *s = sampler_new(&p, VOCAB);
    sampler_see(s, 5, false);
    memset(logits, 0, sizeof(logits));
    logits[5] = 10;
    logits[6] = 9;
    sampler_next(s, logits, &out);
    assert_int_equal(out.token, 5);
    logits[5] = 10;
    logits[6] = 9;
    sampler_next(s, logits, &out);
    assert_int_equal(out.token, 6);
    sampler_free(s);
}

static void repetition_penalty_counts_the_prompt_too(void **state) {
    struct sampler_params p = greedy_params();
    struct sampled out;
    (void)state;
    p.repetition = 2;
    struct sampler *s = sampler_new(&p, VOCAB);
    for (int i = 0; i < 3; i++)
        sampler_see(s, 5, false);
    memset(logits, 0, sizeof(logits));
    logits[5] = 10;
    logits[6] = 6;
    sampler_next(s, logits, &out);
    assert_int_equal(out.token, 6);
    sampler_free(s);
}

static void frequency_penalty_survives_many_tokens(void **state) {
    struct sampler_params p = greedy_params();
    struct sampled out;
    (void)state;
    p.frequency = 2;
    struct sampler *s = sampler_new(&p, VOCAB);
    for (int i = 0; i < 3000; i++)
        sampler_see(s, i, true);
    for (int i = 0; i < VOCAB; i++)
        logits[i] = i < 3000 ? 1 : 0;
    sampler_next(s, logits, &out);
    assert_true(out.token >= 3000);
    sampler_free(s);
}

static void logprobs_are_of_the_whole_distribution(void **state) {
    struct sampler_params p = greedy_params();
    struct sampled out;
    (void)state;
    p.logprobs = 3;
    struct sampler *s = sampler_new(&p, VOCAB);
    memset(logits, 0, sizeof(logits));
    logits[9] = 3;
    logits[8] = 2;
    sampler_next(s, logits, &out);
    double norm = log(exp(3) + exp(2) + VOCAB - 2);
    assert_int_equal(out.token, 9);
    assert_true(fabs((double)out.logprob - (3 - norm)) < 1e-4);
    assert_int_equal(out.n_top, 3);
    assert_int_equal(out.top[1].token, 8);
    assert_true(fabs((double)out.top[1].logprob - (2 - norm)) < 1e-4);
    sampler_free(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(greedy_takes_largest_and_first_of_equals),
        cmocka_unit_test(equal_seed_gives_equal_tokens),
        cmocka_unit_test(top_k_draws_only_from_the_k_largest),
        cmocka_unit_test(small_top_p_is_greedy),
        cmocka_unit_test(min_p_drops_the_unlikely),
        cmocka_unit_test(logit_bias_forbids_and_forces),
        cmocka_unit_test(every_token_forbidden_still_gives_one),
        cmocka_unit_test(presence_penalty_counts_the_answer_only),
        cmocka_unit_test(repetition_penalty_counts_the_prompt_too),
        cmocka_unit_test(frequency_penalty_survives_many_tokens),
        cmocka_unit_test(logprobs_are_of_the_whole_distribution),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
