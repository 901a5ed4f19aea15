/* How a passage words what was asked: "heat of the wing flow", its words of known rarity. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "retrieval/wording.h"

static const float rarity[] = {0.5f, 0, 0.2f, 0.3f};
static struct query_terms asked;

static int ask(void **state) {
    static const char *const words[] = {"heat", "the", "wing", "flow"};
    (void)state;
    asked.n = 4;
    for (size_t i = 0; i < asked.n; i++) {
        asked.list[i].n = strlen(words[i]);
        memcpy(asked.list[i].text, words[i], asked.list[i].n);
        asked.list[i].is_stop = i == 1;
        asked.list[i].weight = 1;
    }
    return 0;
}

static void tell(struct wording *w, const char *text) {
    struct str rest = str_from(text);
    while (rest.n) {
        struct str word = str_cut(&rest, ' ');
        wording_word(w, &(struct term){.text = word, .is_stop = str_eqz(word, "the")});
    }
}

static void signals_of(const char *title, const char *text, double ret[WORDING_SIGNALS]) {
    struct wording w;
    wording_begin(&w, &asked, rarity);
    tell(&w, title);
    (void)wording_share(&w);
    wording_text(&w);
    tell(&w, text);
    wording_end(&w, ret);
}

static void shares_are_of_the_words_since_the_share_before(void **state) {
    struct wording w;
    (void)state;
    wording_begin(&w, &asked, rarity);
    tell(&w, "the wing of metal");
    assert_float_equal(wording_share(&w), 1.0 / 3, 1e-9); /* a stop word counts for nothing */
    wording_text(&w);
    tell(&w, "wing flow wing");
    assert_float_equal(wording_share(&w), 2.0 / 3, 1e-9);
    assert_float_equal(wording_share(&w), 0, 1e-9);
}

static void rarest_is_the_rarest_that_it_has_anywhere(void **state) {
    double s[WORDING_SIGNALS];
    (void)state;
    signals_of("flow", "wing wing", s);
    assert_float_equal(s[WORDING_RAREST], 0.3, 1e-6);
    signals_of("heat", "nothing else", s);
    assert_float_equal(s[WORDING_RAREST], 0.5, 1e-6);
    signals_of("the", "", s);
    assert_float_equal(s[WORDING_RAREST], 0, 1e-9);
}

static void phrases_stand_as_in_the_question(void **state) {
    double s[WORDING_SIGNALS];
    (void)state;
    signals_of("", "a heat the wing is", s); /* stop words do not part */
    assert_float_equal(s[WORDING_PHRASE], 0.7, 1e-6);
    signals_of("", "heat wing flow heat wing", s);
    assert_float_equal(s[WORDING_PHRASE], 0.7 + 0.5, 1e-6); /* each pair once */
    signals_of("", "wing heat flow", s);
    assert_float_equal(s[WORDING_PHRASE], 0, 1e-9);
    signals_of("", "heat near wing", s);
    assert_float_equal(s[WORDING_PHRASE], 0, 1e-9);
    signals_of("heat", "wing", s); /* of two texts */
    assert_float_equal(s[WORDING_PHRASE], 0, 1e-9);
}

static void together_is_what_one_window_holds(void **state) {
    double s[WORDING_SIGNALS];
    (void)state;
    signals_of("", "heat 1 2 3 4 5 6 7 8 9 10 11 flow", s);
    assert_float_equal(s[WORDING_TOGETHER], 0.8, 1e-6);
    signals_of("", "heat 1 2 3 4 5 6 7 8 9 10 11 12 flow", s);
    assert_float_equal(s[WORDING_TOGETHER], 0.5, 1e-6);
    signals_of("", "heat flow flow wing heat heat heat heat heat heat heat heat heat heat wing", s);
    assert_float_equal(s[WORDING_TOGETHER], 1, 1e-6);
    signals_of("heat", "flow", s);
    assert_float_equal(s[WORDING_TOGETHER], 0.5, 1e-6);
    signals_of("", "", s);
    assert_float_equal(s[WORDING_TOGETHER], 0, 1e-9);
}

static void a_long_question_counts_its_first_words(void **state) {
    static struct query_terms many;
    static float rare[QUERY_TERMS_MAX];
    struct wording w;
    double s[WORDING_SIGNALS];
    char word[8];
    (void)state;
    for (many.n = 0; many.n < QUERY_TERMS_MAX; many.n++) {
        many.list[many.n].n = (size_t)snprintf(many.list[many.n].text, 8, "w%zu", many.n);
        rare[many.n] = 0.5f;
    }
    wording_begin(&w, &many, rare);
    for (size_t i = 0; i < many.n; i++) {
        snprintf(word, sizeof word, "w%zu", i);
        tell(&w, word);
    }
    wording_end(&w, s);
    assert_float_equal(s[WORDING_PHRASE], 2 - 2.0 / 64, 1e-6);
    assert_float_equal(s[WORDING_TOGETHER], 13.0 / 64, 1e-6);
    assert_float_equal(wording_share(&w), 1, 1e-9);
}

static void a_question_of_nothing_that_counts_says_nothing(void **state) {
    static const float none[4];
    struct wording w;
    double s[WORDING_SIGNALS];
    (void)state;
    wording_begin(&w, &asked, none);
    tell(&w, "heat the wing");
    wording_end(&w, s);
    assert_true(s[WORDING_RAREST] == 0 && s[WORDING_PHRASE] == 0 && s[WORDING_TOGETHER] == 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shares_are_of_the_words_since_the_share_before),
        cmocka_unit_test(rarest_is_the_rarest_that_it_has_anywhere),
        cmocka_unit_test(phrases_stand_as_in_the_question),
        cmocka_unit_test(together_is_what_one_window_holds),
        cmocka_unit_test(a_long_question_counts_its_first_words),
        cmocka_unit_test(a_question_of_nothing_that_counts_says_nothing),
    };
    return cmocka_run_group_tests(tests, ask, NULL);
}
