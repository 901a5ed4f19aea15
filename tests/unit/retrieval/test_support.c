/* Which sentences of an answer stand in the passages; and the best sentences within a budget. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "retrieval/excerpt.h"
#include "retrieval/support.h"

struct fixture {
    struct terms *terms;
    struct sentences *sentences;
    struct arena *a;
};

static int setup(void **state) {
    struct fixture *f = calloc(1, sizeof *f);
    assert_int_equal(terms_open(&f->terms), ERR_OK);
    assert_int_equal(sentences_open("en", &f->sentences), ERR_OK);
    f->a = arena_new(16 << 20);
    *state = f;
    return 0;
}

static int teardown(void **state) {
    struct fixture *f = *state;
    terms_close(f->terms);
    sentences_close(f->sentences);
    arena_free(f->a);
    free(f);
    return 0;
}

static void support_numbers_and_names_must_occur(void **state) {
    struct fixture *f = *state;
    struct str passages[] = {
        STR("The waves of Nazare in Portugal are up to 30 metres high in winter."),
        STR("Trains to Lisbon leave each hour.")};
    struct str answer = STR("Sure! The waves of Nazare are 30 metres high [1]. The waves of Nazare "
                            "are 80 metres high. Bananas contain much potassium. Is it cold?");
    struct support_sentence *list;
    size_t n;
    assert_int_equal(support_split(answer, f->terms, f->sentences, f->a, &list, &n), ERR_OK);
    assert_int_equal(n, 3); /* no claim in "Sure!", none in a question */
    assert_int_equal(support_judge(answer, list, n, passages, 2, NULL, 0, f->terms, f->a), ERR_OK);
    assert_int_equal(list[0].support, SUPPORT_SUPPORTED);
    assert_int_equal(list[0].passage, 0);
    assert_int_equal(list[1].support, SUPPORT_WEAK); /* the words do, the number does not */
    assert_int_equal(list[2].support, SUPPORT_UNSUPPORTED);
    assert_int_equal(list[2].passage, -1);
    assert_int_equal(list[0].char_from, 6);
}

/* Of one sentence and one passage, without vectors. */
static enum support support_of(struct fixture *f, struct str answer, struct str passage) {
    struct support_sentence *list;
    size_t n;
    assert_int_equal(support_split(answer, f->terms, f->sentences, f->a, &list, &n), ERR_OK);
    assert_int_equal(n, 1);
    assert_int_equal(support_judge(answer, list, n, &passage, 1, NULL, 0, f->terms, f->a), ERR_OK);
    return list[0].support;
}

/* The parts of another time, or of a price, do not make up a time. */
static void support_times_of_day_must_occur(void **state) {
    struct fixture *f = *state;
    const struct str passage =
        STR("The clinic of Halden opens at 7:35 on weekdays. A ticket for the "
            "clinic costs 9 crowns, and the bus takes 45 minutes.");
#define SAYS(text) support_of(f, STR(text), passage)
    assert_int_equal(SAYS("The clinic of Halden opens at 7:35."), SUPPORT_SUPPORTED);
    assert_int_equal(SAYS("The clinic of Halden opens at 7.35 a.m."), SUPPORT_SUPPORTED);
    assert_true(SAYS("The clinic of Halden opens at 9:35.") > SUPPORT_SUPPORTED);
    assert_true(SAYS("The clinic of Halden opens at 7:45.") > SUPPORT_SUPPORTED);
    assert_true(SAYS("The clinic of Halden opens at 9.") == SUPPORT_SUPPORTED); /* a number of it */
    assert_true(SAYS("The clinic of Halden opens at 9 a.m.") > SUPPORT_SUPPORTED);
    assert_true(SAYS("The clinic of Halden opens at 7.") > SUPPORT_SUPPORTED);
    assert_true(SAYS("A ticket for the clinic costs 35 crowns.") > SUPPORT_SUPPORTED);
    const struct str hours = STR("The library of Orvik is open from 7 to 9 pm and at noon.");
    assert_int_equal(support_of(f, STR("The library of Orvik is open at 19:00."), hours),
                     SUPPORT_SUPPORTED);
    assert_int_equal(support_of(f, STR("The library of Orvik is open until 9."), hours),
                     SUPPORT_SUPPORTED);
    assert_int_equal(support_of(f, STR("The library of Orvik is open at 12 o'clock."), hours),
                     SUPPORT_SUPPORTED);
    assert_true(support_of(f, STR("The library of Orvik is open until 9 am."), hours) >
                SUPPORT_SUPPORTED);
    assert_true(support_of(f, STR("The library of Orvik is open at 8 pm."), hours) >
                SUPPORT_SUPPORTED);
}

static void support_similar_vectors_help_what_words_do_not(void **state) {
    struct fixture *f = *state;
    struct str passage = STR("It is forbidden to smoke inside.");
    struct str answer = STR("Smoking indoors is not allowed.");
    const float near[4] = {1, 0, 0.9f, 0.1f};
    struct support_sentence *list;
    size_t n;
    assert_int_equal(support_split(answer, f->terms, f->sentences, f->a, &list, &n), ERR_OK);
    assert_int_equal(n, 1);
    assert_int_equal(support_judge(answer, list, n, &passage, 1, NULL, 0, f->terms, f->a), ERR_OK);
    enum support before = list[0].support;
    assert_int_equal(support_split(answer, f->terms, f->sentences, f->a, &list, &n), ERR_OK);
    assert_int_equal(support_judge(answer, list, n, &passage, 1, near, 2, f->terms, f->a), ERR_OK);
    assert_true(list[0].support <= before);
    assert_true(list[0].similarity > 0.8);
}

static void excerpt_keeps_the_sentences_that_answer(void **state) {
    struct fixture *f = *state;
    struct str text =
        STR("The town is old. Many people come in August. The waves are thirty metres "
            "high. There is a lighthouse. The fish is good.");
    struct retrieval_hit hits[2] = {
        {.text = text, .char_from = 100, .char_to = 100 + text.n, .score = 0.9},
        {.text = text, .score = 0.1}};
    struct query_terms q = {.n = 1};
    memcpy(q.list[0].text, "wave", 4);
    q.list[0].n = 4;
    q.list[0].weight = 1;
    size_t n = 2;
    assert_int_equal(excerpt_hits(hits, &n, 30000, &q, f->terms, f->sentences, f->a), ERR_OK);
    assert_int_equal(n, 2); /* all of it fits */
    assert_int_equal(excerpt_hits(hits, &n, 28, &q, f->terms, f->sentences, f->a), ERR_OK);
    assert_int_equal(n, 1);
    assert_true(str_find(hits[0].text, STR("The waves are thirty metres high.")) != SIZE_MAX);
    assert_true(hits[0].char_from >= 100 && hits[0].char_to <= 100 + text.n);
    n = 1;
    assert_int_equal(excerpt_hits(hits, &n, 3, &q, f->terms, f->sentences, f->a), ERR_OK);
    assert_int_equal(n, 1); /* never nothing */
    assert_true(str_eq(hits[0].text, STR("The waves are thirty metres high.")));
}

/* A budget that a worse sentence would fit into and the best one does not. */
static void excerpt_has_the_best_sentence_whatever_the_budget(void **state) {
    struct fixture *f = *state;
    struct str text = STR("It is old. The waves of the northern beach are thirty metres high in a "
                          "winter storm from the west.");
    struct retrieval_hit hit = {.text = text, .char_to = text.n, .score = 0.9};
    struct query_terms q = {.n = 1};
    memcpy(q.list[0].text, "wave", 4);
    q.list[0].n = 4;
    q.list[0].weight = 1;
    size_t n = 1;
    assert_int_equal(excerpt_hits(&hit, &n, 16, &q, f->terms, f->sentences, f->a), ERR_OK);
    assert_true(str_starts(hit.text, STR("The waves")) && str_ends(hit.text, STR("west.")));
}

/* What is left of a text of which one sentence has the word "open". */
static struct str best_of(struct fixture *f, struct str text) {
    struct retrieval_hit *hit = arena_alloc(f->a, sizeof *hit);
    struct query_terms q = {.n = 1};
    memcpy(q.list[0].text, "open", 4);
    q.list[0].n = 4;
    q.list[0].weight = 1;
    size_t n = 1;
    *hit = (struct retrieval_hit){.text = text, .char_to = text.n, .score = 0.9};
    assert_int_equal(excerpt_hits(hit, &n, 20, &q, f->terms, f->sentences, f->a), ERR_OK);
    assert_int_equal(n, 1); /* never nothing */
    assert_true(hit->char_to > hit->char_from && hit->char_to <= text.n);
    return hit->text;
}

#define HARBOUR                                                                                    \
    "The harbour is old and many people come to look at the boats in August. There is a "          \
    "lighthouse on the rock, and it is painted white and red each year by the town."

/* A heading's line says nothing, what stands right under it does. */
static void excerpt_leaves_out_a_headings_line_only(void **state) {
    struct fixture *f = *state;
    struct str got = best_of(f, STR("## Opening hours\nWe open at 9.\n\n" HARBOUR));
    assert_true(str_starts(got, STR("We open at 9.")));
    got = best_of(f, STR("# Open\n\nWe open at 9.\n\n" HARBOUR));
    assert_true(str_starts(got, STR("We open at 9.")));
    got = best_of(f, STR("# sets up\nopen(path)\n\n" HARBOUR));
    assert_true(str_starts(got, STR("open(path)")));
    got = best_of(f, STR("#define OPEN 9\n\n" HARBOUR));
    assert_true(str_starts(got, STR("#define OPEN 9")));
    got = best_of(f, STR("#1 is to open at 9. " HARBOUR));
    assert_true(str_starts(got, STR("#1 is to open at 9.")));
    got = best_of(f, STR("# Open at nine in the morning on each day of the week but not on Sundays "
                         "and not on days when the town has its market\n\n# Closed at five"));
    assert_true(str_starts(got, STR("# Open at nine")));
}

int main(void) {
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(support_numbers_and_names_must_occur),
        TEST(support_times_of_day_must_occur),
        TEST(support_similar_vectors_help_what_words_do_not),
        TEST(excerpt_keeps_the_sentences_that_answer),
        TEST(excerpt_has_the_best_sentence_whatever_the_budget),
        TEST(excerpt_leaves_out_a_headings_line_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
