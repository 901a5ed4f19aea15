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

static bool has(const struct buf *b, const char *what) {
    return str_find((struct str){b->p, b->n}, str_from(what)) != SIZE_MAX;
}

static void questions_carry_the_text(void **state) {
    (void)state;
    for (int f = 0; f < 3; f++) {
        struct guard_question q;
        assert_int_equal(guard_question_make((enum guard_format)f, STR("the text"), STR(""), &q),
                         ERR_OK);
        assert_true(has(&q.user, "the text"));
        assert_int_equal(q.assistant.n, 0);
        assert_int_equal(q.system.n > 0, f == GUARD_GRANITE);
        guard_question_deinit(&q);
    }
}

static void answers_are_asked_about_with_their_question(void **state) {
    (void)state;
    for (int f = 0; f < 3; f++) {
        struct guard_question q;
        bool one = f == GUARD_SHIELDGEMMA; /* both in one message */
        assert_int_equal(
            guard_question_make((enum guard_format)f, STR("a question"), STR("its answer"), &q),
            ERR_OK);
        assert_true(has(&q.user, "a question"));
        assert_true(has(one ? &q.user : &q.assistant, "its answer"));
        assert_int_equal(q.assistant.n > 0, !one);
        assert_int_equal(has(&q.user, "chatbot response violate"), one);
        guard_question_deinit(&q);
        assert_int_equal(guard_question_make((enum guard_format)f, STR(""), STR("its answer"), &q),
                         ERR_OK);
        assert_true(has(&q.user, "its answer"));
        assert_int_equal(q.assistant.n, 0);
        guard_question_deinit(&q);
    }
}

static void long_texts_are_cut(void **state) {
    (void)state;
    struct guard_question q;
    struct str text = {calloc(1, 2 * GUARD_TEXT_MAX), 2 * GUARD_TEXT_MAX};
    assert_non_null(text.p);
    memset((char *)text.p, 'a', text.n);
    for (int f = 0; f < 3; f++) {
        assert_int_equal(guard_question_make((enum guard_format)f, text, text, &q), ERR_OK);
        assert_in_range(q.user.n + q.assistant.n, 2 * GUARD_TEXT_MAX, 2 * GUARD_TEXT_MAX + 4096);
        guard_question_deinit(&q);
    }
    free((char *)text.p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_are_read_by_format),
        cmocka_unit_test(questions_carry_the_text),
        cmocka_unit_test(answers_are_asked_about_with_their_question),
        cmocka_unit_test(long_texts_are_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
