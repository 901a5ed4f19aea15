/* Sentences and languages. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "text/language.h"
#include "text/sentences.h"

static void assert_sentences(const char *lang, const char *text, const char *const *want) {
    struct sentences *s;
    size_t from, to, i = 0;
    assert_int_equal(sentences_open(lang, &s), ERR_OK);
    assert_int_equal(sentences_set(s, str_from(text)), ERR_OK);
    while (sentences_next(s, &from, &to)) {
        assert_non_null(want[i]);
        assert_int_equal(to - from, strlen(want[i]));
        assert_memory_equal(text + from, want[i], to - from);
        i++;
    }
    assert_null(want[i]);
    sentences_close(s);
}

static void sentences_english_keeps_abbreviations(void **state) {
    (void)state;
    static const char *const want[] = {"Dr. Smith paid $3.50 to Mr. Jones.", "\"Why?\"",
                                       "he asked.", "Nobody knew!", NULL};
    assert_sentences("en", "Dr. Smith paid $3.50 to Mr. Jones.  \"Why?\" he asked. Nobody knew!",
                     want);
}

static void sentences_wrapped_lines_stay_together(void **state) {
    (void)state;
    static const char *const want[] = {"One sentence over\ntwo lines.",
                                       "Second.",
                                       "A paragraph",
                                       "- item one",
                                       "- item two",
                                       "1. first",
                                       NULL};
    assert_sentences("en",
                     "One sentence over\ntwo lines. Second.\n\nA paragraph\n- item one\n- item "
                     "two\n1. first\n",
                     want);
}

static void sentences_of_other_scripts_are_cut_at_bytes(void **state) {
    (void)state;
    static const char *const want[] = {"\xe3\x81\x93\xe3\x82\x93\xe3\x80\x82",
                                       "\xe4\xb8\x96\xe7\x95\x8c\xe3\x80\x82", NULL};
    assert_sentences(
        "ja", "\xe3\x81\x93\xe3\x82\x93\xe3\x80\x82\xe4\xb8\x96\xe7\x95\x8c\xe3\x80\x82", want);
    static const char *const german[] = {"Das ist z. B. sch\xc3\xb6n.", "\xc3\x84hnlich auch hier.",
                                         NULL};
    assert_sentences("de", "Das ist z. B. sch\xc3\xb6n. \xc3\x84hnlich auch hier.", german);
}

static void sentences_nothing_has_none(void **state) {
    (void)state;
    static const char *const want[] = {NULL};
    assert_sentences("", "", want);
    assert_sentences("", " \n\n \t", want);
}

static void language_is_told_by_script_and_words(void **state) {
    (void)state;
    static const struct {
        const char *lang, *text;
    } rows[] = {
        {"en", "The cat sat on the mat and looked at the birds which were in the garden."},
        {"de", "Der Hund liegt auf dem Sofa und schläft, weil er von der langen Reise müde ist."},
        {"fr", "Les enfants sont dans le jardin avec une amie qui ne parle pas la langue."},
        {"es", "El perro está en la casa de los niños, pero el gato no quiere entrar con él."},
        {"nl", "Het is een mooie dag en de kinderen zijn aan het spelen in het park met een bal."},
        {"ru", "Собака лежит на диване и спит после долгой дороги."},
        {"uk", "Собака лежить на дивані і спить після довгої дороги, її ім'я Рекс."},
        {"ja", "これは日本語の文章です。とても短いです。"},
        {"zh", "这是一个中文句子,说明语言检测的结果。"},
        {"", "x 12"},
        {"", "foo bar baz qux quux corge"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        assert_string_equal(text_language(str_from(rows[i].text)), rows[i].lang);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sentences_english_keeps_abbreviations),
        cmocka_unit_test(sentences_wrapped_lines_stay_together),
        cmocka_unit_test(sentences_of_other_scripts_are_cut_at_bytes),
        cmocka_unit_test(sentences_nothing_has_none),
        cmocka_unit_test(language_is_told_by_script_and_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
