/* The catalogue of models: the shipped one is sound, damaged ones are refused with the place. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/models.h"

#define SHA "0000000000000000000000000000000000000000000000000000000000000000"

/* A whole catalogue with one chat and one embedding model, the first one's entry as given. */
static char *catalogue_with(const char *entry) {
    char *text = NULL;
    int n = asprintf(
        &text,
        "{\"version\":1,\"defaults\":{\"chat\":\"a\",\"small_chat\":\"a\",\"embedding\":\"e\","
        "\"small_below_memory\":5},\"models\":[%s,"
        "{\"name\":\"e\",\"title\":\"E\",\"licence\":\"L\",\"publisher\":\"P\",\"kind\":"
        "\"embedding\","
        "\"memory\":1,\"form\":\"Q8_0\",\"prepared_size\":1,\"convert\":\"minilm\","
        "\"files\":[{\"name\":\"f\",\"size\":3,\"sha256\":\"" SHA "\"}],"
        "\"sources\":[{\"type\":\"file\"}]}]}",
        entry);
    assert_true(n > 0);
    return text;
}

static char *entry_with(const char *file, const char *sources) {
    char *text = NULL;
    int n = asprintf(&text,
                     "{\"name\":\"a\",\"aliases\":[\"ay\"],\"title\":\"A\",\"licence\":\"L\","
                     "\"publisher\":\"P\","
                     "\"kind\":\"chat\",\"memory\":1,\"form\":\"Q8_0\",\"prepared_size\":1,"
                     "\"files\":[{\"name\":\"%s\",\"size\":30,\"sha256\":\"" SHA
                     "\"}],\"sources\":[%s]}",
                     file, sources);
    assert_true(n > 0);
    return text;
}

static enum err parse(const char *file, const char *sources, struct catalogue *ret,
                      struct errinfo *ei) {
    char *entry = entry_with(file, sources), *text = catalogue_with(entry);
    enum err e = catalogue_parse(str_from(text), ret, ei);
    free(entry);
    free(text);
    return e;
}

static void builtin_catalogue_is_sound(void **state) {
    (void)state;
    struct catalogue c;
    struct errinfo ei = {0};
    assert_int_equal(ERR_OK, catalogue_builtin(&c, &ei));
    assert_string_equal("qwen2.5-coder-0.5b-instruct", c.chat->name);
    assert_string_equal("1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
                        c.chat->files[0].sha256);
    assert_int_equal(491400064, c.chat->files[0].size);
    assert_string_equal("smollm2-135m-instruct", c.small_chat->name);
    assert_string_equal("all-minilm-l6-v2", c.embedding->name);
    assert_int_equal(MODEL_EMBEDDING, c.embedding->kind);
    for (size_t i = 0; i < c.n_models; i++)
        assert_true(c.models[i].n_sources >= 2);
    catalogue_deinit(&c);
}

static void find_takes_names_and_aliases(void **state) {
    (void)state;
    struct catalogue c;
    assert_int_equal(ERR_OK, catalogue_builtin(&c, NULL));
    assert_ptr_equal(c.chat, catalogue_find(&c, STR("qwen")));
    assert_ptr_equal(c.chat, catalogue_find(&c, STR("Qwen2.5-Coder-0.5B-Instruct")));
    assert_null(catalogue_find(&c, STR("qwe")));
    assert_null(catalogue_find(&c, STR_NULL));
    catalogue_deinit(&c);
}

static void minimal_catalogue_is_read(void **state) {
    (void)state;
    struct catalogue c;
    struct errinfo ei = {0};
    assert_int_equal(ERR_OK,
                     parse("w.gguf", "{\"type\":\"url\",\"base\":\"https://h/\"}", &c, &ei));
    assert_int_equal(2, c.n_models);
    assert_int_equal(SOURCE_URL, c.models[0].sources[0].type);
    assert_string_equal("https://h/", c.models[0].sources[0].base);
    assert_int_equal(5, c.small_below_memory);
    catalogue_deinit(&c);
}

static void file_name_that_leaves_the_folder_is_refused(void **state) {
    (void)state;
    struct catalogue c;
    struct errinfo ei = {0};
    const char *names[] = {"../w", "/etc/passwd", ".hidden", "a/b", "-flag", "a b", ""};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        assert_int_equal(ERR_CORRUPT, parse(names[i], "{\"type\":\"file\"}", &c, &ei));
    assert_non_null(strstr(ei.message, "at a"));
}

static void bad_source_is_refused(void **state) {
    (void)state;
    struct catalogue c;
    struct errinfo ei = {0};
    const char *sources[] = {
        "",
        "{\"type\":\"smoke\"}",
        "{\"type\":\"url\",\"base\":\"ftp://h/\"}",
        "{\"type\":\"url\"}",
        "{\"type\":\"pypi-parts\"}",
        "{\"type\":\"pypi-parts\",\"parts\":[]}",
    };
    for (size_t i = 0; i < sizeof sources / sizeof sources[0]; i++)
        assert_int_equal(ERR_CORRUPT, parse("w", sources[i], &c, &ei));
}

static char *parts_source(int size, const char *to) {
    char *text = NULL;
    int n = asprintf(
        &text,
        "{\"type\":\"pypi-parts\",\"parts\":[{\"package\":\"p\",\"version\":\"1\",\"sha256\":\"" SHA
        "\",\"size\":9,\"members\":[{\"path\":\"p/x\",\"to\":\"%s\",\"size\":%d}]}]}",
        to, size);
    assert_true(n > 0);
    return text;
}

static void parts_must_add_up_to_the_file(void **state) {
    (void)state;
    struct catalogue c;
    struct errinfo ei = {0};
    char *whole = parts_source(30, "w"), *less = parts_source(29, "w"),
         *other = parts_source(30, "x");
    assert_int_equal(ERR_OK, parse("w", whole, &c, &ei));
    catalogue_deinit(&c);
    assert_int_equal(ERR_CORRUPT, parse("w", less, &c, &ei));
    assert_int_equal(ERR_CORRUPT, parse("w", other, &c, &ei));
    free(whole);
    free(less);
    free(other);
}

static void text_that_is_no_catalogue_is_refused(void **state) {
    (void)state;
    struct catalogue c;
    struct errinfo ei = {0};
    const char *texts[] = {
        "", "[]", "{", "null", "{\"version\":1}", "{\"version\":2,\"models\":[]}"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        assert_int_equal(ERR_CORRUPT, catalogue_parse(str_from(texts[i]), &c, &ei));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(builtin_catalogue_is_sound),
        cmocka_unit_test(find_takes_names_and_aliases),
        cmocka_unit_test(minimal_catalogue_is_read),
        cmocka_unit_test(file_name_that_leaves_the_folder_is_refused),
        cmocka_unit_test(bad_source_is_refused),
        cmocka_unit_test(parts_must_add_up_to_the_file),
        cmocka_unit_test(text_that_is_no_catalogue_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
