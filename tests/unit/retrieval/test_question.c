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

static enum question_about about(const char *const *said, size_t n, size_t gave) {
    struct question_said list[8];
    for (size_t i = 0; i < n; i++)
        list[i] = (struct question_said){str_from(said[i]), i == gave};
    return question_about(list, n);
}

static void question_with_a_document_is_about_it(void **state) {
    static const struct {
        const char *said[3];
        enum question_about about;
    } table[] = {
        /* it came with the first */
        {{"Summarise the document."}, ABOUT_WHOLE},
        {{"What is it about?"}, ABOUT_WHOLE},
        {{"Fasse das Dokument bitte kurz zusammen"}, ABOUT_WHOLE},
        {{"Translate this into German"}, ABOUT_WHOLE},
        {{"Who wrote this?"}, ABOUT_THEM},
        {{"What does the contract say about notice periods?"}, ABOUT_THEM},
        {{"When does the ferry to Vestra leave?"}, ABOUT_GIVEN},
        {{"Summarise the document.", "And who wrote it?"}, ABOUT_THEM},
        {{"Summarise the document.", "shorter, please", "Give me a summary in two sentences"},
         ABOUT_WHOLE},
        {{"Who wrote this?", "Thanks!", "What is the file about?"}, ABOUT_WHOLE},
        /* and these went on to something else */
        {{"Summarise the document.", "Who painted the ceiling of the Sistine chapel?"},
         ABOUT_ANYTHING},
        {{"Summarise the document.", "Who painted the ceiling of the Sistine chapel?",
          "And when was it?"},
         ABOUT_ANYTHING},
        {{"Summarise the document.", "Write a file reader in C for large logs"}, ABOUT_ANYTHING},
    };
    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        size_t n = 1;
        while (n < 3 && table[i].said[n])
            n++;
        enum question_about got = about(table[i].said, n, 0);
        if (got != table[i].about)
            fail_msg("\"%s\" is %d", table[i].said[n - 1], got);
    }
    assert_int_equal(about((const char *const[]){"And in winter?"}, 1, 9), ABOUT_ANYTHING);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(smalltalk_is_told_from_questions),
        cmocka_unit_test(follow_up_takes_the_question_before),
        cmocka_unit_test(question_with_a_document_is_about_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
