/* What needs no documents, and what leans on what was said before. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "retrieval/question.h"

static void smalltalk_is_told_from_questions(void **state) {
    static const char *const small[] = {
        "Thanks!", "thank you very much", "Hi there", "ok, great", "Good morning!", "Danke!", "",
        "  ?",     "yes please"};
    static const char *const asks[] = {"How is it done?", "What is a monad?",
                                       "Thanks, and what about winter?", "Good hotels in Rome",
                                       "Help me with my taxes"};
    (void)state;
    for (size_t i = 0; i < sizeof small / sizeof *small; i++)
        assert_true(question_is_smalltalk(str_from(small[i])));
    for (size_t i = 0; i < sizeof asks / sizeof *asks; i++)
        assert_false(question_is_smalltalk(str_from(asks[i])));
}

static void follow_up_takes_the_question_before(void **state) {
    struct arena *a = arena_new(1 << 16);
    struct str history[] = {STR("Where is the best beach of Portugal?"), STR("thanks")}, text,
               before;
    (void)state;
    assert_int_equal(question_resolve(STR("And in winter?"), history, 2, a, &text, &before),
                     ERR_OK);
    assert_true(str_eqz(text, "Where is the best beach of Portugal? And in winter?"));
    assert_true(str_eq(before, history[0]));
    assert_int_equal(question_resolve(STR("How tall is it?"), history, 2, a, &text, &before),
                     ERR_OK);
    assert_int_equal(before.n, history[0].n);
    assert_int_equal(question_resolve(STR("Which vaccines does a traveller to Kenya need?"),
                                      history, 2, a, &text, &before),
                     ERR_OK);
    assert_int_equal(before.n, 0);
    assert_int_equal(question_resolve(STR("And in winter?"), history, 0, a, &text, &before),
                     ERR_OK);
    assert_true(str_eqz(text, "And in winter?"));
    arena_free(a);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(smalltalk_is_told_from_questions),
        cmocka_unit_test(follow_up_takes_the_question_before),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
