/* Guard models: what is asked and how answers are read. */
#include "unit.h"

#include "safety/guard_model.h"

static void answers_are_read_by_format(void **state) {
    static const struct {
        enum guard_format f;
        const char *answer;
        bool known, harmful;
        enum safety_category c;
    } rows[] = {
        {GUARD_LLAMA, "\n\nsafe", true, false, SAFETY_HATE},
        {GUARD_LLAMA, "unsafe\nS9", true, true, SAFETY_ILLICIT},
        {GUARD_LLAMA, "unsafe\nS11,S1", true, true, SAFETY_SELF_HARM},
        {GUARD_LLAMA, "unsafe", true, true, SAFETY_HATE},
        {GUARD_LLAMA, "unsafe\nS99", true, true, SAFETY_HATE},
        {GUARD_LLAMA, "I cannot say", false, false, SAFETY_HATE},
        {GUARD_SHIELDGEMMA, "No", true, false, SAFETY_HATE},
        {GUARD_SHIELDGEMMA, "Yes, it does", true, true, SAFETY_HATE},
        {GUARD_GRANITE, "<score> yes </score>", true, true, SAFETY_HATE},
        {GUARD_GRANITE, "No", true, false, SAFETY_HATE},
        {GUARD_GRANITE, "", false, false, SAFETY_HATE},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        bool harmful = false;
        enum safety_category c = SAFETY_HATE;
        bool known =
            guard_answer_read(rows[i].f, str_from(rows[i].answer), SAFETY_HATE, &harmful, &c);
        assert_int_equal(known, rows[i].known);
        assert_int_equal(harmful, rows[i].harmful);
        assert_int_equal(c, rows[i].c);
    }
}

static void questions_carry_the_text(void **state) {
    (void)state;
    for (int f = 0; f < 3; f++) {
        struct guard_question q;
        assert_int_equal(guard_question_make((enum guard_format)f, STR("the text"), &q), ERR_OK);
        assert_non_null(strstr(q.user.p, "the text"));
        assert_int_equal(q.system.n > 0, f == GUARD_GRANITE);
        buf_deinit(&q.system);
        buf_deinit(&q.user);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_are_read_by_format),
        cmocka_unit_test(questions_carry_the_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
