/* The chunker: where it cuts, what it keeps whole, and what it says of each piece. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "retrieval/chunk.h"

struct result {
    struct arena *arena;
    struct doc_text doc;
    struct chunk *chunks;
    size_t n;
};

/* A token is a blank-separated word: sizes in tests can be counted by hand. */
static int count_words(void *ctx, struct str s) {
    (void)ctx;
    int n = 0;
    for (size_t i = 0; i < s.n; i++)
        n += strchr(" \n", s.p[i]) == NULL && (i == 0 || strchr(" \n", s.p[i - 1]) != NULL);
    return n;
}

static void chunk_marked(struct result *r, const char *text, struct doc_mark *marks, size_t n_marks,
                         int max) {
    r->arena = arena_new(1 << 24);
    assert_non_null(r->arena);
    r->doc = (struct doc_text){.text = str_from(text), .marks = marks, .n_marks = n_marks};
    struct chunk_options o = {.max_tokens = max, .count = count_words};
    assert_int_equal(chunk_document(&r->doc, &o, r->arena, &r->chunks, &r->n), ERR_OK);
    size_t at = 0;
    for (size_t i = 0; i < r->n; i++) { /* what holds for all */
        const struct chunk *c = &r->chunks[i];
        assert_true(c->from >= at && c->to > c->from && c->to <= r->doc.text.n);
        assert_ptr_equal(c->text.p, text + c->from);
        assert_int_equal(c->text.n, c->to - c->from);
        assert_int_equal(c->char_from, doc_characters(str_sub(r->doc.text, 0, c->from)));
        assert_int_equal(c->char_to, doc_characters(str_sub(r->doc.text, 0, c->to)));
        assert_true(c->tokens <= max);
        at = c->to;
    }
}

static void chunk_markdown(struct result *r, const char *text, int max) {
    struct doc_mark *marks;
    size_t n;
    struct arena *a = arena_new(1 << 20);
    assert_int_equal(doc_marks_of_markdown(str_from(text), a, &marks, &n), ERR_OK);
    chunk_marked(r, text, marks, n, max);
    arena_free(a);
}

static void assert_text(const struct chunk *c, const char *want) {
    assert_int_equal(c->text.n, strlen(want));
    assert_memory_equal(c->text.p, want, c->text.n);
}

static void assert_path(const struct chunk *c, const char *want) {
    assert_int_equal(c->heading_path.n, strlen(want));
    assert_memory_equal(c->heading_path.p, want, c->heading_path.n);
}

static void chunk_short_text_is_one(void **state) {
    (void)state;
    struct result r;
    chunk_marked(&r, "  One.\n\nTwo two.\n", NULL, 0, 20);
    assert_int_equal(r.n, 1);
    assert_text(&r.chunks[0], "One.\n\nTwo two.");
    assert_int_equal(r.chunks[0].tokens, 3);
    arena_free(r.arena);
}

static void chunk_nothing_has_none(void **state) {
    (void)state;
    struct result r;
    chunk_marked(&r, " \n\n\t ", NULL, 0, 20);
    assert_int_equal(r.n, 0);
    arena_free(r.arena);
}

static void chunk_sections_part_and_carry_their_path(void **state) {
    (void)state;
    struct result r;
    chunk_markdown(&r,
                   "# Guide\nintro a b c d e f\n## Install\none two three four five six\n"
                   "### Linux\nx1 x2 x3 x4 x5 x6\n## Use\ny1 y2 y3 y4 y5 y6\n",
                   24);
    assert_int_equal(r.n, 4);
    assert_path(&r.chunks[0], "Guide");
    assert_path(&r.chunks[1], "Guide \xe2\x80\xba Install");
    assert_path(&r.chunks[2], "Guide \xe2\x80\xba Install \xe2\x80\xba Linux");
    assert_text(&r.chunks[2], "x1 x2 x3 x4 x5 x6");
    assert_path(&r.chunks[3], "Guide \xe2\x80\xba Use");
    struct buf b;
    buf_init(&b, 1000);
    chunk_embed_text(&b, &r.doc, &r.chunks[3]);
    assert_string_equal(b.p, "Guide \xe2\x80\xba Use\ny1 y2 y3 y4 y5 y6");
    buf_deinit(&b);
    arena_free(r.arena);
}

static void chunk_small_sections_join_under_what_they_share(void **state) {
    (void)state;
    struct result r;
    chunk_markdown(&r, "# FAQ\n## A\nyes\n## B\nno\n## C\nwell maybe so\n", 40);
    assert_int_equal(r.n, 1);
    assert_path(&r.chunks[0], "FAQ");
    assert_text(&r.chunks[0], "yes\n## B\nno\n## C\nwell maybe so");
    arena_free(r.arena);
}

static void chunk_headings_without_text_are_kept(void **state) {
    (void)state;
    struct result r;
    chunk_markdown(&r, "# Alpha beta gamma\n# Delta epsilon zeta\n# Last one", 4);
    assert_int_equal(r.n, 3);
    assert_text(&r.chunks[0], "Alpha beta gamma");
    assert_text(&r.chunks[1], "Delta epsilon zeta");
    assert_text(&r.chunks[2], "Last one");
    arena_free(r.arena);
}

static void chunk_long_paragraph_is_cut_between_sentences(void **state) {
    (void)state;
    struct result r;
    chunk_marked(&r, "One two three four. Five six seven. Eight nine ten eleven twelve. End.", NULL,
                 0, 8);
    assert_int_equal(r.n, 2);
    assert_text(&r.chunks[0], "One two three four. Five six seven.");
    assert_text(&r.chunks[1], "Eight nine ten eleven twelve. End.");
    arena_free(r.arena);
}

static void chunk_long_sentence_is_cut_between_words(void **state) {
    (void)state;
    struct result r;
    chunk_marked(&r, "a1 a2 a3 a4 a5 a6 a7 a8 a9 b1 b2", NULL, 0, 4);
    assert_int_equal(r.n, 3);
    assert_text(&r.chunks[0], "a1 a2 a3 a4");
    assert_text(&r.chunks[2], "a9 b1 b2");
    arena_free(r.arena);
}

static void chunk_word_without_end_is_cut_between_letters(void **state) {
    (void)state;
    char text[9001];
    for (int i = 0; i < 9000; i += 2)
        memcpy(text + i, "\xc3\xa4", 2);
    text[9000] = 0;
    struct arena *a = arena_new(1 << 24);
    struct doc_text doc = {.text = str_from(text)};
    struct chunk *c;
    size_t n, bytes = 0;
    assert_int_equal(chunk_document(&doc, &(struct chunk_options){.max_tokens = 100}, a, &c, &n),
                     ERR_OK);
    assert_true(n > 5);
    for (size_t i = 0; i < n; i++) {
        assert_true(utf8_valid(c[i].text));
        assert_true(c[i].tokens <= 100);
        bytes += c[i].text.n;
    }
    assert_int_equal(bytes, 9000);
    arena_free(a);
}

static void chunk_table_that_fits_is_whole(void **state) {
    (void)state;
    struct result r;
    chunk_markdown(
        &r, "w1 w2 w3 w4 w5 w6 w7 w8\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\nz1 z2 z3 z4 z5 z6 z7",
        17);
    assert_int_equal(r.n, 3);
    assert_text(&r.chunks[1], "| a | b |\n|---|---|\n| 1 | 2 |");
    assert_true(r.chunks[1].is_table);
    assert_false(r.chunks[0].is_table);
    arena_free(r.arena);
}

static void chunk_long_table_repeats_its_head(void **state) {
    (void)state;
    struct result r;
    chunk_markdown(&r, "| n | v |\n|---|---|\n| 1 | a |\n| 2 | b |\n| 3 | c |\n| 4 | d |\n", 17);
    assert_int_equal(r.n, 2);
    assert_text(&r.chunks[0], "| 1 | a |\n| 2 | b |");
    assert_text(&r.chunks[1], "| 3 | c |\n| 4 | d |");
    assert_int_equal(r.chunks[1].lead.n, strlen("| n | v |\n|---|---|"));
    assert_true(r.chunks[1].is_table);
    arena_free(r.arena);
}

static void chunk_long_code_is_cut_at_empty_lines(void **state) {
    (void)state;
    struct result r;
    const char *text = "a b c d\ne f\n\ng h i j\nk l\nm n";
    struct doc_mark mark = {DOC_CODE, 0, 0, strlen(text)};
    chunk_marked(&r, text, &mark, 1, 11);
    assert_int_equal(r.n, 2);
    assert_text(&r.chunks[0], "a b c d\ne f");
    assert_text(&r.chunks[1], "g h i j\nk l\nm n");
    assert_true(r.chunks[0].is_code);
    arena_free(r.arena);
}

static void chunk_pages_are_told(void **state) {
    (void)state;
    struct result r;
    struct doc_mark marks[] = {{DOC_PAGE, 1, 0, 10}, {DOC_PAGE, 2, 10, 20}, {DOC_PAGE, 3, 20, 26}};
    chunk_marked(&r, "Aa bb cc.\nDd ee ff.\nHh ii.", marks, 3, 6);
    assert_int_equal(r.n, 2);
    assert_int_equal(r.chunks[0].page_from, 1);
    assert_int_equal(r.chunks[0].page_to, 2);
    assert_int_equal(r.chunks[1].page_from, 3);
    arena_free(r.arena);
}

static void estimate_counts_about_as_the_model_does(void **state) {
    (void)state;
    assert_int_equal(chunk_estimate(STR("")), 0);
    assert_int_equal(chunk_estimate(STR("Hello, world!")), 4);
    assert_int_equal(chunk_estimate(STR("\xe4\xb8\x96\xe7\x95\x8c")), 2);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chunk_short_text_is_one),
        cmocka_unit_test(chunk_nothing_has_none),
        cmocka_unit_test(chunk_sections_part_and_carry_their_path),
        cmocka_unit_test(chunk_small_sections_join_under_what_they_share),
        cmocka_unit_test(chunk_headings_without_text_are_kept),
        cmocka_unit_test(chunk_long_paragraph_is_cut_between_sentences),
        cmocka_unit_test(chunk_long_sentence_is_cut_between_words),
        cmocka_unit_test(chunk_word_without_end_is_cut_between_letters),
        cmocka_unit_test(chunk_table_that_fits_is_whole),
        cmocka_unit_test(chunk_long_table_repeats_its_head),
        cmocka_unit_test(chunk_long_code_is_cut_at_empty_lines),
        cmocka_unit_test(chunk_pages_are_told),
        cmocka_unit_test(estimate_counts_about_as_the_model_does),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
