/* Patterns of words: what matches, what does not, and what is refused. */
#include "unit.h"

#include "safety/words.h"

struct hits {
    int n;
    uint32_t id;
    size_t from, to;
};

static void on_hit(void *ctx, uint32_t id, size_t from, size_t to) {
    struct hits *h = ctx;
    h->n++;
    h->id = id;
    h->from = from;
    h->to = to;
}

static struct hits scan(const char *pattern, const char *text) {
    struct errinfo ei = {0};
    struct hits h = {0};
    struct words *w = words_new();
    assert_int_equal(words_add(w, STR("never matches here"), 1, &ei), ERR_OK);
    assert_int_equal(words_add(w, str_from(pattern), 7, &ei), ERR_OK);
    assert_int_equal(words_build(w), ERR_OK);
    struct words_scanner *s = words_scanner_new(w);
    words_scan(s, str_from(text), on_hit, &h);
    struct hits again = {0};
    words_scan(s, str_from(text), on_hit, &again);
    assert_int_equal(h.n, again.n); /* nothing is left over from the scan before */
    words_scanner_free(s);
    words_free(w);
    return h;
}

static enum err add(const char *pattern) {
    struct errinfo ei = {0};
    struct words *w = words_new();
    enum err e = words_add(w, str_from(pattern), 0, &ei);
    if (e)
        assert_true(ei.message[0]);
    assert_int_equal(words_positions(w) > 0, e == ERR_OK);
    words_free(w);
    return e;
}

static void words_in_order_match(void **state) {
    (void)state;
    struct hits h = scan("make a bomb", "please make a bomb now");
    assert_int_equal(h.n, 1);
    assert_int_equal(h.id, 7);
    assert_int_equal(h.from, 7);
    assert_int_equal(h.to, 18);
    assert_int_equal(scan("make a bomb", "make bomb a").n, 0);
    assert_int_equal(scan("bomb", "bombastic").n, 0);
}

/* Mails, pages and documents are wrapped: a sentence goes on behind a line's end. */
static void sentences_go_on_behind_a_lines_end(void **state) {
    (void)state;
    assert_int_equal(scan("make a bomb", "make\na\nbomb").n, 1);
    assert_int_equal(scan("make a bomb", "make a \n  bomb").n, 1);
    assert_int_equal(scan("make a bomb", "make a\n\nbomb").n, 0);
    assert_int_equal(scan("make a bomb", "make a\n \nbomb").n, 0);
    assert_int_equal(scan("make a bomb", "make a.\nbomb").n, 0);
    assert_int_equal(scan("make a bomb", "- make a\n- bomb").n, 0);
    assert_int_equal(scan("make a bomb", "make a\n  * bomb").n, 0);
    assert_int_equal(scan("make a bomb", "| make a\n| bomb").n, 0);
    assert_int_equal(scan("make a bomb", "make a\n# bomb").n, 0);
    assert_int_equal(scan("make a bomb", "make a\n(bomb").n, 1);
}

static void alternatives_and_options_match(void **state) {
    (void)state;
    assert_int_equal(scan("(make|build) [a|the] (pipe bomb|mine)", "build pipe bomb").n, 1);
    assert_int_equal(scan("(make|build) [a|the] (pipe bomb|mine)", "make the mine").n, 1);
    assert_int_equal(scan("(make|build) [a|the] (pipe bomb|mine)", "make the pipe").n, 0);
    assert_int_equal(scan("a [b] [c] d", "a d").n, 1);
    assert_int_equal(scan("a [b] [c] d", "a b c d").n, 1);
    assert_int_equal(scan("a [b] [c] d", "a c b d").n, 0);
}

static void gaps_count_words_of_one_sentence(void **state) {
    (void)state;
    assert_int_equal(scan("kill *2 neighbor", "kill my old neighbor").n, 1);
    assert_int_equal(scan("kill *2 neighbor", "kill my very old neighbor").n, 0);
    assert_int_equal(scan("kill *2 neighbor", "time to kill. my neighbor").n, 0);
    assert_int_equal(scan("a * [x] * b", "a 1 2 3 4 5 6 b").n, 1);
}

static void prefix_matches_whole_words_that_begin_so(void **state) {
    (void)state;
    assert_int_equal(scan("explo*", "explosive").n, 1);
    assert_int_equal(scan("explo*", "explo").n, 1);
    assert_int_equal(scan("explo*", "unexploded").n, 0);
    assert_int_equal(scan("stab* stab*", "stab stab stab").n, 2);
}

static void broken_patterns_are_refused(void **state) {
    (void)state;
    static const char *const broken[] = {"(a|b",   "a)", "",      "[a]",  "*",        "ab*",
                                         "a *9 b", "A",  "a + b", "(a|)", "a *3 *7 b"};
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++)
        assert_int_not_equal(add(broken[i]), ERR_OK);
}

static void exploding_patterns_are_refused(void **state) {
    (void)state;
    char text[8192];
    size_t n = 0;
    for (int g = 0; g < 5; g++) { /* 5 × 100 alternatives: 40,000 edges */
        text[n++] = '(';
        for (int i = 0; i < 100; i++)
            n += (size_t)snprintf(text + n, sizeof text - n, "%sw%d", i ? "|" : "", i);
        text[n++] = ')';
    }
    text[n] = 0;
    assert_int_equal(add(text), ERR_TOO_LARGE);
    assert_int_equal(add("((((((((((a))))))))))"), ERR_TOO_LARGE);
    n = 0;
    for (int i = 0; i < 700; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "w ");
    assert_int_equal(add(text), ERR_TOO_LARGE);
}

/* What makes backtracking engines explode is linear here: the number of hits is bounded by the
 * words of the text. */
static void nested_options_stay_linear(void **state) {
    (void)state;
    static char text[200001];
    for (size_t i = 0; i < sizeof text - 1; i++)
        text[i] = i % 2 ? ' ' : 'a';
    struct hits h = scan("[a] [a] [a] [a] [a] [a] [a] [a] [a] [a] a * a * a", text);
    assert_true(h.n > 0 && h.n <= 100000 * 13);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_in_order_match),
        cmocka_unit_test(sentences_go_on_behind_a_lines_end),
        cmocka_unit_test(alternatives_and_options_match),
        cmocka_unit_test(gaps_count_words_of_one_sentence),
        cmocka_unit_test(prefix_matches_whole_words_that_begin_so),
        cmocka_unit_test(broken_patterns_are_refused),
        cmocka_unit_test(exploding_patterns_are_refused),
        cmocka_unit_test(nested_options_stay_linear),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
