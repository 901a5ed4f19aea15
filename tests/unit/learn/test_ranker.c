/* Evidence, the ranker and its proof, on a small world made by hand. */
#include "learn_fixture.h"

#include "learn/evidence.h"
#include "learn/replay.h"

#define DIMS  8
#define DOCS  12
#define ASKED 6

static float vectors[DOCS][DIMS], question_vectors[ASKED][DIMS];
static struct ranker_question questions[ASKED];
static const char *const texts[ASKED] = {"train to Oslo",       "trains for Oslo",
                                         "ferry to Crete",      "ferries near Crete",
                                         "visa rules for Peru", "Peru visa rule"};

static void unit(float *v, int axis, float off, int to) {
    memset(v, 0, DIMS * sizeof *v);
    v[axis] = 1;
    v[to] += off;
    float n = sqrtf((float)(v[axis] * v[axis] + off * off));
    for (int i = 0; i < DIMS; i++)
        v[i] /= n;
}

static void passages_of(struct ranker_passage *p) {
    memset(p, 0, DOCS * sizeof *p);
    for (int i = 0; i < DOCS; i++) {
        p[i].key = (uint64_t)i + 100;
        p[i].vector = vectors[i];
        p[i].signals[RANKER_FUSED] = 1.0 / (i + 1);
    }
    ranker_fill_signals(p, DOCS, DIMS);
}

static int make_world(void **state) {
    (void)state;
    for (int i = 0; i < DOCS; i++)
        unit(vectors[i], i % DIMS, 0.1f * (float)i, (i + 3) % DIMS);
    for (int i = 0; i < ASKED; i++) {
        unit(question_vectors[i], i / 2, 0.1f * (float)(i % 2), 7);
        questions[i] = (struct ranker_question){str_from(texts[i]), question_vectors[i], 1};
    }
    return 0;
}

/* Question q likes passage 5 + q / 2 and nothing else. */
static struct ranker *trained(bool memory, size_t repeat) {
    static struct ranker_rating r[ASKED * DOCS * 8];
    struct ranker_passage p[DOCS];
    struct ranker *ret = NULL;
    size_t n = 0;
    passages_of(p);
    for (size_t k = 0; k < repeat; k++)
        for (size_t q = 0; q < ASKED; q += 2)
            for (size_t d = 0; d < DOCS; d++)
                r[n++] = (struct ranker_rating){q, p[d], d == 5 + q / 2, 1};
    struct ranker_input in = {questions, ASKED, r, n, DIMS, true, memory};
    assert_ok(ranker_train(&in, &ret));
    return ret;
}

static size_t best_for(const struct ranker *r, size_t q) {
    struct ranker_passage p[DOCS];
    double s[DOCS];
    size_t best = 0;
    passages_of(p);
    ranker_score(r, &questions[q], p, DOCS, s);
    for (size_t i = 0; i < DOCS; i++)
        if (s[i] > s[best])
            best = i;
    return best;
}

static size_t place_of(const struct ranker *r, size_t q, size_t passage) {
    struct ranker_passage p[DOCS];
    double s[DOCS];
    size_t before = 0;
    passages_of(p);
    ranker_score(r, &questions[q], p, DOCS, s);
    for (size_t i = 0; i < DOCS; i++)
        before += s[i] > s[passage];
    return before;
}

static void ranker_without_ratings_keeps_the_order(void **state) {
    struct ranker *r = NULL;
    struct ranker_input in = {questions, ASKED, NULL, 0, DIMS, true, true};
    (void)state;
    assert_ok(ranker_train(&in, &r));
    assert_int_equal(best_for(r, 0), 0);
    ranker_free(r);
}

static void ranker_remembers_and_carries_over_to_like_questions(void **state) {
    struct ranker *r = trained(true, 4);
    (void)state;
    for (size_t q = 0; q < ASKED; q++) /* the odd ones were never rated */
        assert_int_equal(best_for(r, q), 5 + q / 2);
    ranker_free(r);
}

static void one_rating_does_not_bury_a_document(void **state) {
    struct ranker_passage p[DOCS];
    struct ranker *r = NULL;
    (void)state;
    passages_of(p);
    struct ranker_rating angry[1] = {{0, p[0], 0, 1}};
    struct ranker_input in = {questions, ASKED, angry, 1, DIMS, true, true};
    assert_ok(ranker_train(&in, &r));
    assert_true(place_of(r, 0, 0) <= 5); /* for that very question it falls some places */
    assert_int_equal(best_for(r, 4), 0);
    assert_true(fabs(ranker_chunk_weight(r, 1, p[0].key)) < 0.25);
    ranker_free(r);
}

/* Each question was shown four passages that no other was: two of document 7, which help nobody,
 * and two of document 8. */
static struct ranker *trained_on_documents(size_t asked) {
    static struct ranker_rating r[ASKED * 4];
    struct ranker *ret = NULL;
    for (size_t i = 0; i < asked * 4; i++)
        r[i] = (struct ranker_rating){
            .question = i / 4,
            .passage = {.key = 1000 + i, .source = i % 4 < 2 ? 7 : 8, .signals = {1, 1, 0.5}},
            .value = i % 4 >= 2,
            .weight = 3};
    struct ranker_input in = {questions, ASKED, r, asked * 4, DIMS, true, false};
    assert_ok(ranker_train(&in, &ret));
    return ret;
}

static void passages_share_what_is_said_of_their_document(void **state) {
    struct ranker_passage p[3] = {
        {.key = 1, .source = 7}, {.key = 2}, {.key = 3, .source = 8}}; /* never rated */
    double s[3];
    struct ranker *r = trained_on_documents(ASKED);
    (void)state;
    ranker_fill_signals(p, 3, 0);
    ranker_score(r, &questions[0], p, 3, s);
    assert_true(s[2] > s[1] + 0.05 && s[1] > s[0] + 0.05);
    assert_true(ranker_chunk_weight(r, 1, 8) > 0.3 && ranker_chunk_weight(r, 1, 7) < -0.3);
    ranker_free(r);
    r = trained_on_documents(1); /* a question does not explain itself */
    assert_true(ranker_weights(r)[RANKER_SOURCE] == 0);
    ranker_free(r);
}

/* More pairs than are kept, long ago and by many; then some that are new. */
static void beyond_its_cap_it_remembers_what_is_new(void **state) {
    enum { OLD = RANKER_PAIRS_MAX + 200, NEW = 50 };
    static struct ranker_rating ratings[OLD + NEW];
    static struct ranker_question many[100];
    static char text[100][20];
    struct ranker *r = NULL;
    (void)state;
    for (size_t i = 0; i < 100; i++) {
        snprintf(text[i], sizeof text[i], "word%zu", i);
        many[i] = (struct ranker_question){str_from(text[i]), question_vectors[i % ASKED], 1};
    }
    for (size_t i = 0; i < OLD + NEW; i++)
        ratings[i] = (struct ranker_rating){.question = i % 100,
                                            .passage = {.key = i + 1},
                                            .value = i >= OLD,
                                            .weight = i < OLD ? 2 : 1};
    struct ranker_input in = {many, 100, ratings, OLD + NEW, DIMS, false, true};
    assert_ok(ranker_train(&in, &r));
    assert_int_equal(ranker_pairs(r), RANKER_PAIRS_MAX);
    for (size_t i = OLD; i < OLD + NEW; i++) {
        struct ranker_passage p[2] = {{.key = i + 1}, {.key = 999999}};
        double score[2];
        ranker_score(r, &many[i % 100], p, 2, score);
        assert_true(score[0] > score[1]);
    }
    ranker_free(r);
}

static void ranker_saved_and_loaded_orders_the_same(void **state) {
    struct ranker *r = trained(true, 2), *again = NULL;
    struct buf b;
    (void)state;
    buf_init(&b, 1 << 20);
    ranker_save(r, &b);
    assert_ok(buf_err(&b));
    assert_ok(ranker_load(buf_str(&b), &again));
    for (size_t q = 0; q < ASKED; q++)
        assert_int_equal(best_for(again, q), best_for(r, q));
    assert_int_equal(ranker_pairs(again), ranker_pairs(r));
    ranker_free(again);
    for (size_t i = 0; i < b.n; i += 7) { /* every damage is found */
        b.p[i] ^= 0x20;
        assert_err(ranker_load(buf_str(&b), &again), ERR_CORRUPT);
        b.p[i] ^= 0x20;
        assert_err(ranker_load((struct str){b.p, i}, &again), ERR_CORRUPT);
    }
    buf_deinit(&b);
    ranker_free(r);
}

/* Question q is answered with its good passage, or with the first one, which is not. Of the two one
 * was drawn; noise: so many of ten people say the opposite. */
static void choices_of(struct replay_choice *c, size_t n, double chance, int noise) {
    struct ranker_passage p[DOCS];
    passages_of(p);
    for (size_t i = 0; i < n; i++) {
        size_t q = i % ASKED, good = 5 + q / 2;
        bool second = (i / ASKED) % 10 < (size_t)(10 * chance + 0.5);
        bool lies = (int)(i / ASKED / 10 % 10) < noise;
        c[i] = (struct replay_choice){.question = questions[q],
                                      .question_number = q,
                                      .passages = {p[0], p[good]},
                                      .shown = second,
                                      .chance = second ? chance : 1 - chance,
                                      .value = second != lies,
                                      .weight = 1};
    }
}

static void choices_drawn_by_chance_prove_or_refuse(void **state) {
    static struct replay_choice c[ASKED * 100];
    struct ranker *r = trained(true, 4);
    struct replay_choices got;
    (void)state;
    choices_of(c, ASKED * 100, 0.1, 2);
    assert_ok(replay_choices(r, NULL, c, ASKED * 100, &got));
    assert_int_equal(got.turns, ASKED * 100);
    assert_int_equal(got.questions, ASKED);
    assert_true(replay_choices_are_proof(&got));
    assert_near(got.gain.mean, 0.6, 0.15);
    assert_ok(replay_choices(r, NULL, c, 12, &got)); /* too few */
    assert_false(replay_choices_are_proof(&got));
    ranker_reverse(r); /* it would show what it does not like: what the search shows */
    assert_ok(replay_choices(r, NULL, c, ASKED * 100, &got));
    assert_false(replay_choices_are_proof(&got));
    assert_int_equal(got.turns, 0);
    ranker_free(r);
    r = trained(true, 4);
    choices_of(c, ASKED * 100, 0.1, 8); /* people like the other one */
    assert_ok(replay_choices(r, NULL, c, ASKED * 100, &got));
    assert_true(got.gain.high < 0);
    c[0].chance = 0;
    assert_err(replay_choices(r, NULL, c, 1, &got), ERR_INVALID);
    ranker_free(r);
}

static void replay(const struct ranker *r, struct replay_result *ret) {
    static struct ranker_passage p[ASKED][DOCS];
    static double values[ASKED][DOCS], weights[DOCS];
    struct replay_turn t[ASKED];
    for (size_t q = 0; q < ASKED; q++) {
        passages_of(p[q]);
        for (size_t d = 0; d < DOCS; d++) {
            values[q][d] = d == 5 + q / 2;
            weights[d] = 1;
        }
        t[q] = (struct replay_turn){questions[q], q, q % 2 == 1, p[q], values[q], weights, DOCS};
    }
    assert_ok(replay_rankers(r, NULL, t, ASKED, ret));
}

static void replay_proves_what_is_better_and_catches_reversed_weights(void **state) {
    struct ranker *r = trained(true, 4);
    struct replay_result result;
    (void)state;
    replay(r, &result);
    assert_true(replay_is_proof(&result));
    assert_true(result.gain.low > 0.2 && result.questions == ASKED);
    ranker_reverse(r);
    replay(r, &result);
    assert_false(replay_is_proof(&result));
    assert_true(result.gain.high < 0.1);
    ranker_free(r);
}

static void replay_of_few_questions_proves_nothing(void **state) {
    struct replay_result r = {.gain = {0.5, 0.4, 0.6, 4}, .questions = REPLAY_QUESTIONS_MIN - 1};
    (void)state;
    assert_false(replay_is_proof(&r));
    r.questions = REPLAY_QUESTIONS_MIN;
    assert_true(replay_is_proof(&r));
    r.gain_new = (struct interval){-0.2, -0.3, -0.1, REPLAY_QUESTIONS_MIN};
    assert_false(replay_is_proof(&r)); /* new questions fare worse */
}

static void ranker_refuses_what_is_out_of_range(void **state) {
    struct ranker_passage p[DOCS];
    struct ranker *r = NULL;
    (void)state;
    passages_of(p);
    struct ranker_rating bad[1] = {{ASKED, p[0], 1, 1}};
    struct ranker_input in = {questions, ASKED, bad, 1, DIMS, true, true};
    assert_err(ranker_train(&in, &r), ERR_INVALID);
    bad[0] = (struct ranker_rating){0, p[0], 2, 1};
    assert_err(ranker_train(&in, &r), ERR_INVALID);
}

static void worth_of_a_rating_stands_before_signals(void **state) {
    (void)state;
    struct worth w = evidence_worth(0, 1u << IMPLICIT_REGENERATED);
    assert_true(w.value == 1 && w.weight == 1);
    w = evidence_worth(-1, 1u << IMPLICIT_REGENERATED | 1u << IMPLICIT_STOPPED);
    assert_true(w.value < 0.5 && w.weight > 0 && w.weight <= 0.5);
    w = evidence_worth(-1, 0);
    assert_true(w.weight == 0);
}

/* Nine honest people and one who always says the opposite, about twenty things. */
static void evidence_finds_who_says_the_opposite(void **state) {
    struct judgement j[200];
    struct person people[10] = {0};
    (void)state;
    for (size_t p = 0; p < 10; p++) {
        people[p].earlier = 50;
        for (size_t t = 0; t < 20; t++)
            j[p * 20 + t] = (struct judgement){
                p, t, (int64_t)(p * 20 + t) * 1000000, {(t % 2 == 0) != (p == 9), 1}, t};
    }
    assert_ok(evidence_weigh(j, 200, people, 10, 20));
    assert_true(people[0].reliability > 0.9);
    assert_true(people[9].reliability < 0.2);
    assert_true(j[199].worth.weight < 0.2 && j[0].worth.weight > 0.9);
}

static void evidence_weighs_new_flagged_and_hasty_people_less(void **state) {
    struct judgement j[42];
    struct person people[3] = {{.earlier = 50}, {.flagged = true, .earlier = 50}, {0}};
    (void)state;
    for (size_t i = 0; i < 40; i++) /* forty within a minute */
        j[i] = (struct judgement){0, i, (int64_t)i * 1000, {1, 1}, i};
    j[40] = (struct judgement){1, 40, 5, {0, 1}, 40};
    j[41] = (struct judgement){2, 41, 5, {0, 1}, 41};
    assert_ok(evidence_weigh(j, 42, people, 3, 42));
    double sum = 0;
    for (size_t i = 0; i < 40; i++)
        sum += j[i].worth.weight;
    assert_near(sum, EVIDENCE_BURST, 1);
    assert_true(j[40].worth.weight == 0);
    assert_near(j[41].worth.weight, EVIDENCE_NEW, 0.01);
    for (size_t i = 0; i < 40; i++) /* one rating of forty passages is no burst */
        j[i] = (struct judgement){0, i, 1000, {1, 1}, 7};
    assert_ok(evidence_weigh(j, 40, people, 3, 42));
    assert_true(j[39].worth.weight > 0.9 && people[0].given == 1);
    j[0].thing = 99;
    assert_err(evidence_weigh(j, 42, people, 3, 42), ERR_INVALID);
}

static void words_meet_in_their_stems(void **state) {
    struct words a, b;
    (void)state;
    words_of(STR("What are the heated wings?"), &a);
    words_of(STR("heating of a wing"), &b);
    assert_int_equal(a.n, 2);
    assert_near(words_alike(&a, &b, NULL, NULL), 1, 1e-9);
    words_of(STR(""), &b);
    assert_true(words_alike(&a, &b, NULL, NULL) == 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranker_without_ratings_keeps_the_order),
        cmocka_unit_test(ranker_remembers_and_carries_over_to_like_questions),
        cmocka_unit_test(one_rating_does_not_bury_a_document),
        cmocka_unit_test(passages_share_what_is_said_of_their_document),
        cmocka_unit_test(beyond_its_cap_it_remembers_what_is_new),
        cmocka_unit_test(ranker_saved_and_loaded_orders_the_same),
        cmocka_unit_test(replay_proves_what_is_better_and_catches_reversed_weights),
        cmocka_unit_test(replay_of_few_questions_proves_nothing),
        cmocka_unit_test(choices_drawn_by_chance_prove_or_refuse),
        cmocka_unit_test(ranker_refuses_what_is_out_of_range),
        cmocka_unit_test(worth_of_a_rating_stands_before_signals),
        cmocka_unit_test(evidence_finds_who_says_the_opposite),
        cmocka_unit_test(evidence_weighs_new_flagged_and_hasty_people_less),
        cmocka_unit_test(words_meet_in_their_stems),
    };
    return cmocka_run_group_tests(tests, make_world, NULL);
}
