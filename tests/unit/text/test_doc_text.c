/* Marks as text, and the structure of Markdown. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "text/doc_text.h"

static struct arena *arena;

static int set_up(void **state) {
    (void)state;
    arena = arena_new(1 << 22);
    return arena ? 0 : -1;
}

static int tear_down(void **state) {
    (void)state;
    arena_free(arena);
    return 0;
}

static enum err read_marks(const char *lines, const char *text) {
    struct doc_mark *m;
    size_t n;
    return doc_marks_read(str_from(lines), str_from(text), arena, &m, &n);
}

static void marks_written_read_back_the_same(void **state) {
    (void)state;
    const struct doc_mark marks[] = {
        {DOC_PAGE, 1, 0, 12}, {DOC_HEADING, 2, 0, 4}, {DOC_TABLE, 1, 5, 8}, {DOC_CODE, 0, 8, 12}};
    struct buf b;
    buf_init(&b, 1000);
    doc_marks_write(&b, marks, 4);
    assert_string_equal(b.p, "p1 0 12\nh2 0 4\nt1 5 8\nc0 8 12\n");
    struct doc_mark *got;
    size_t n;
    assert_int_equal(doc_marks_read(buf_str(&b), STR("abcd efghijkl"), arena, &got, &n), ERR_OK);
    assert_int_equal(n, 4);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(got[i].kind, marks[i].kind);
        assert_int_equal(got[i].value, marks[i].value);
        assert_int_equal(got[i].from, marks[i].from);
        assert_int_equal(got[i].to, marks[i].to);
    }
    buf_deinit(&b);
}

static void marks_that_break_a_promise_are_refused(void **state) {
    (void)state;
    static const char *const bad[] = {
        "h1 0 99\n",        /* past the end */
        "h1 4 2\n",         /* backwards */
        "h7 0 2\n",         /* no such level */
        "h0 0 2\n",         /* nor this */
        "h1 0 2",           /* cut off */
        "x1 0 2\n",         /* no such kind */
        "h1 0\n",           /* a number too few */
        "h1 0 2 3\n",       /* one too many */
        "h1 4 5\nh1 0 2\n", /* out of order */
        "h1 0 4\nt1 2 6\n", /* overlapping */
        "h1 -1 2\n",        /* negative */
        "h1 0 18446744073709551616\n",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(read_marks(bad[i], "abcd efgh"), ERR_INVALID);
    assert_int_equal(read_marks("h1 0 1\n", "\xc3\xa4"), ERR_INVALID); /* inside a letter */
    assert_int_equal(read_marks("h1 0 2\n", "\xc3\xa4"), ERR_OK);
    assert_int_equal(read_marks("", ""), ERR_OK);
}

static const struct doc_mark *of_markdown(const char *text, size_t *n) {
    struct doc_mark *m;
    assert_int_equal(doc_marks_of_markdown(str_from(text), arena, &m, n), ERR_OK);
    return m;
}

static void assert_mark(const char *text, const struct doc_mark *m, enum doc_mark_kind kind,
                        int value, const char *what) {
    assert_int_equal(m->kind, kind);
    assert_int_equal(m->value, value);
    assert_int_equal(m->to - m->from, strlen(what));
    assert_memory_equal(text + m->from, what, strlen(what));
}

static void markdown_headings_of_both_kinds_are_found(void **state) {
    (void)state;
    const char *t =
        "# One #\n\ntext # no\n#no\n\nTwo\n===\n\n   ### Three\nFour\n----\na\nb\n---\n";
    size_t n;
    const struct doc_mark *m = of_markdown(t, &n);
    assert_int_equal(n, 4);
    assert_mark(t, &m[0], DOC_HEADING, 1, "One");
    assert_mark(t, &m[1], DOC_HEADING, 1, "Two");
    assert_mark(t, &m[2], DOC_HEADING, 3, "Three");
    assert_mark(t, &m[3], DOC_HEADING, 2, "Four");
}

static void markdown_code_hides_what_looks_like_markup(void **state) {
    (void)state;
    const char *t = "```sh\n# no heading\n| a | b |\n|---|---|\n```\n# Yes\n~~~\nopen";
    size_t n;
    const struct doc_mark *m = of_markdown(t, &n);
    assert_int_equal(n, 3);
    assert_mark(t, &m[0], DOC_CODE, 0, "```sh\n# no heading\n| a | b |\n|---|---|\n```");
    assert_mark(t, &m[1], DOC_HEADING, 1, "Yes");
    assert_mark(t, &m[2], DOC_CODE, 0, "~~~\nopen");
}

static void markdown_tables_end_at_an_empty_line(void **state) {
    (void)state;
    const char *t = "before\n| a | b |\n|---|:-:|\n| 1 | 2 |\n| 3 | 4 |\n\nafter | all";
    size_t n;
    const struct doc_mark *m = of_markdown(t, &n);
    assert_int_equal(n, 1);
    assert_mark(t, &m[0], DOC_TABLE, 1, "| a | b |\n|---|:-:|\n| 1 | 2 |\n| 3 | 4 |");
}

static void markdown_front_matter_is_no_heading(void **state) {
    (void)state;
    const char *t = "---\ntitle: x\n---\n# Head\n";
    size_t n;
    const struct doc_mark *m = of_markdown(t, &n);
    assert_int_equal(n, 2);
    assert_mark(t, &m[0], DOC_CODE, 0, "---\ntitle: x\n---");
    assert_mark(t, &m[1], DOC_HEADING, 1, "Head");
}

static void names_tell_markdown(void **state) {
    (void)state;
    assert_true(doc_name_is_markdown(STR("README.md")));
    assert_true(doc_name_is_markdown(STR("a.MARKDOWN")));
    assert_false(doc_name_is_markdown(STR(".md")));
    assert_false(doc_name_is_markdown(STR("a.mdx")));
}

static void characters_are_code_points(void **state) {
    (void)state;
    assert_int_equal(doc_characters(STR("a\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80")), 4);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(marks_written_read_back_the_same),
        cmocka_unit_test(marks_that_break_a_promise_are_refused),
        cmocka_unit_test(markdown_headings_of_both_kinds_are_found),
        cmocka_unit_test(markdown_code_hides_what_looks_like_markup),
        cmocka_unit_test(markdown_tables_end_at_an_empty_line),
        cmocka_unit_test(markdown_front_matter_is_no_heading),
        cmocka_unit_test(names_tell_markdown),
        cmocka_unit_test(characters_are_code_points),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
