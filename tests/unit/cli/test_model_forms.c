/* Which form is taken, and what is remembered of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/crypto.h"
#include "cli/model_forms.h"

static struct model_form form(const char *name, double prefill, double together,
                              double perplexity) {
    struct model_form f = {.speed = {prefill, together / 2, together, perplexity}};
    snprintf(f.name, sizeof f.name, "%s", name);
    return f;
}

static const char *taken(struct model_form shipped, struct model_form other) {
    static struct model_forms f;
    f = (struct model_forms){.forms = {shipped, other}, .n = 2};
    f.forms[0].shipped = true;
    model_forms_decide(&f);
    return model_forms_chosen(&f)->name;
}

static void fastest_within_one_percent_is_taken(void **state) {
    (void)state;
    assert_string_equal("B", taken(form("A", 100, 50, 10.0), form("B", 200, 50, 10.09)));
    assert_string_equal("A", taken(form("A", 100, 50, 10.0), form("B", 900, 90, 10.11)));
    assert_string_equal("A", taken(form("A", 100, 50, 10.0), form("B", 110, 30, 9.0)));
    assert_string_equal("B", taken(form("A", 100, 50, 10.0), form("B", 90, 80, 9.0)));
}

static void what_was_measured_is_shown_again_for_that_file_only(void **state) {
    char dir[] = "/tmp/parley-forms-XXXXXX", path[PATH_MAX];
    struct model_forms f;
    (void)state;
    assert_non_null(mkdtemp(dir));
    assert_int_equal(ERR_NOT_FOUND, model_forms_recall(dir, "aa", &f));
    snprintf(path, sizeof path, "%s/forms.json", dir);
    assert_int_equal(ERR_OK, file_write_text(path, STR("{\"x\": 1"), NULL));
    assert_int_equal(ERR_NOT_FOUND,
                     model_forms_recall(dir, "aa", &f)); /* damaged: measured again */
    folder_remove(dir);
}

static void notes(void *ctx, const char *text) {
    strncat(ctx, text, 4000 - strlen(ctx));
    strncat(ctx, "\n", 4000 - strlen(ctx));
}

static void the_table_marks_what_is_taken(void **state) {
    char text[4096] = "";
    struct model_forms f = {.forms = {form("Q4_1", 100, 50, 10), form("Q8_0", 200, 60, 10)},
                            .n = 2};
    struct models m = {.note = notes, .ctx = text};
    (void)state;
    f.forms[0].shipped = true;
    model_forms_decide(&f);
    model_forms_show(&m, &f);
    char *taken_line = strstr(text, "Q8_0");
    assert_non_null(taken_line);
    assert_non_null(strstr(taken_line, "taken"));
    assert_non_null(strstr(text, "as shipped"));
}

static void weights_that_are_none_are_not_added(void **state) {
    char dir[] = "/tmp/parley-forms-XXXXXX", path[PATH_MAX];
    struct models m = {.dir = dir};
    struct model_installed i;
    struct catalogue c;
    struct errinfo ei;
    (void)state;
    assert_non_null(mkdtemp(dir));
    assert_int_equal(ERR_OK, catalogue_builtin(&c, NULL));
    snprintf(path, sizeof path, "%s/text.gguf", dir);
    assert_int_equal(ERR_OK, file_write_text(path, STR("no weights"), NULL));
    assert_int_equal(ERR_CORRUPT, model_add(&m, &c, path, &i, &ei));
    snprintf(path, sizeof path, "%s/smollm2.gguf", dir);
    assert_int_equal(ERR_OK, file_write_text(path, STR("GGUF"), NULL));
    assert_int_equal(ERR_CONFLICT, model_add(&m, &c, path, &i, &ei)); /* the catalogue's name */
    assert_int_equal(ERR_INVALID, model_add(&m, &c, "--index-url=x", &i, &ei));
    assert_int_equal(ERR_INVALID, model_add(&m, &c, "a b", &i, &ei));
    assert_int_not_equal(ERR_OK, model_add(&m, &c, "/nowhere/x.gguf", &i, &ei));
    catalogue_deinit(&c);
    folder_remove(dir);
}

static int set_up(void **state) {
    (void)state;
    return crypto_init();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fastest_within_one_percent_is_taken),
        cmocka_unit_test(what_was_measured_is_shown_again_for_that_file_only),
        cmocka_unit_test(the_table_marks_what_is_taken),
        cmocka_unit_test(weights_that_are_none_are_not_added),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
