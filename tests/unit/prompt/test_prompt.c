/* What fits into the window: cut at turn boundaries, never the system prompt, never the latest
 * message. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "prompt/count_cache.h"
#include "prompt/prompt.h"

struct talk {
    struct arena *arena;
    struct count_cache *cache;
    struct message *m;
    size_t n;
    struct prompt_input in;
};

static struct str filled(struct talk *t, const char *start, size_t n) {
    char *p = arena_alloc(t->arena, n + 1);
    memset(p, 'x', n);
    memcpy(p, start, strlen(start) < n ? strlen(start) : n);
    return (struct str){p, n};
}

static void add(struct talk *t, enum message_sender sender, struct str text) {
    struct message *m = &t->m[t->n++];
    m->message_id = uuid_new();
    m->sender = sender;
    m->content = text;
    t->in.n = t->n;
}

/* turns whole turns of about 2 * bytes each, and a last question. */
static void talk_init(struct talk *t, int turns, size_t bytes, int window) {
    memset(t, 0, sizeof *t);
    t->arena = arena_new(64 << 20);
    assert_int_equal(count_cache_new(1024, &t->cache), ERR_OK);
    t->m = arena_array(t->arena, 600, sizeof *t->m);
    t->in = (struct prompt_input){.system_prompt = STR("You are helpful."),
                                  .branch = t->m,
                                  .model = STR("m"),
                                  .window = window,
                                  .max_tokens = 100,
                                  .overhead = 4};
    for (int i = 0; i < turns; i++) {
        char start[32];
        snprintf(start, sizeof start, "question %d ", i);
        add(t, SENDER_USER, filled(t, start, bytes));
        snprintf(start, sizeof start, "answer %d ", i);
        add(t, SENDER_ASSISTANT, filled(t, start, bytes));
    }
    add(t, SENDER_USER, STR("the last question"));
}

static void talk_deinit(struct talk *t) {
    count_cache_free(t->cache);
    arena_free(t->arena);
}

/* Counts as a model would: four bytes a token. */
static enum err fit(struct talk *t, struct prompt *p, struct errinfo *ei, size_t *ret_counted) {
    struct str *texts;
    size_t n;
    int counts[700];
    assert_int_equal(prompt_open(&t->in, t->arena, p), ERR_OK);
    *ret_counted = 0;
    if (prompt_fits_by_bytes(p))
        return ERR_OK;
    assert_int_equal(prompt_uncounted(p, t->cache, t->arena, &texts, &n), ERR_OK);
    for (size_t i = 0; i < n; i++)
        counts[i] = (int)(texts[i].n / 4 + 1);
    *ret_counted = n;
    prompt_set_counts(p, t->cache, counts);
    return prompt_cut(p, t->arena, ei);
}

static void prompt_short_talk_is_whole_without_counting(void **state) {
    (void)state;
    struct talk t;
    struct prompt p;
    size_t counted;
    talk_init(&t, 3, 50, 4096);
    assert_int_equal(fit(&t, &p, NULL, &counted), ERR_OK);
    assert_int_equal(counted, 0);
    assert_int_equal(p.first, 0);
    assert_int_equal(p.n, 7);
    assert_int_equal(p.max_tokens, 100);
    assert_false(p.was_cut);
    assert_true(str_eqz(p.system, "You are helpful."));
    talk_deinit(&t);
}

static void prompt_that_fits_when_counted_is_whole(void **state) {
    (void)state;
    struct talk t;
    struct prompt p;
    size_t counted;
    talk_init(&t, 10, 180, 1200); /* 3,600 bytes, about 900 tokens */
    t.in.overhead = 2;
    assert_int_equal(fit(&t, &p, NULL, &counted), ERR_OK);
    assert_int_equal(counted, 22); /* the note is empty */
    assert_false(p.was_cut);
    assert_true(p.tokens + p.max_tokens <= 1200);
    assert_int_equal(fit(&t, &p, NULL, &counted), ERR_OK);
    assert_int_equal(counted, 0); /* known by now */
    talk_deinit(&t);
}

static void prompt_cut_is_at_turns_and_stays(void **state) {
    (void)state;
    struct talk t;
    struct prompt p;
    size_t counted;
    talk_init(&t, 20, 200, 1200);
    assert_int_equal(fit(&t, &p, NULL, &counted), ERR_OK);
    assert_true(p.was_cut);
    assert_true(p.first > 0);
    assert_int_equal(p.items[p.first].sender, SENDER_USER); /* a turn starts here */
    assert_true(str_eqz(p.items[p.n - 1].content, "the last question"));
    assert_true(p.tokens <= (1200 - 100) * 60 / 100 + 120); /* and the note */
    assert_true(uuid_eq(&p.cut_until, &p.items[p.first - 1].message_id));
    assert_true(str_find(p.system, STR("You are helpful.")) == 0);
    assert_true(str_find(p.new_summary, STR("asked: question")) != SIZE_MAX);
    assert_true(p.new_summary.n <= prompt_summary_cap(1200));
    /* Later turns keep that cut, so the prompt's start stays as it is, until the window is full
     * again. */
    struct uuid first = p.items[p.first].message_id;
    t.in.summary = p.new_summary;
    t.in.summary_until = p.cut_until;
    struct str system = p.system;
    int kept = 0;
    for (;; kept++) {
        add(&t, SENDER_ASSISTANT, filled(&t, "more", 200));
        add(&t, SENDER_USER, filled(&t, "and", 200));
        assert_int_equal(fit(&t, &p, NULL, &counted), ERR_OK);
        assert_true(counted <= 4); /* only what is new */
        if (p.was_cut)
            break;
        assert_true(uuid_eq(&p.items[p.first].message_id, &first));
        assert_true(str_eq(p.system, system));
    }
    assert_true(kept >= 2);
    assert_true(str_find(p.new_summary, STR("asked: question")) !=
                SIZE_MAX); /* the old one goes on */
    talk_deinit(&t);
}

static void prompt_cut_of_another_branch_is_ignored(void **state) {
    (void)state;
    struct talk t;
    struct prompt p;
    size_t counted;
    talk_init(&t, 2, 50, 4096);
    t.in.summary = STR("about something else");
    t.in.summary_until = uuid_new();
    assert_int_equal(fit(&t, &p, NULL, &counted), ERR_OK);
    assert_int_equal(p.n, 5);
    assert_true(str_eqz(p.system, "You are helpful."));
    talk_deinit(&t);
}

static void prompt_latest_too_long_says_both_numbers(void **state) {
    (void)state;
    struct talk t;
    struct prompt p;
    struct errinfo ei;
    size_t counted;
    talk_init(&t, 3, 100, 1000);
    t.m[t.n - 1].content = filled(&t, "long", 8000);
    assert_int_equal(fit(&t, &p, &ei, &counted), ERR_CONTEXT);
    assert_non_null(strstr(ei.message, "1000"));
    assert_non_null(strstr(ei.message, "20")); /* 2,0xx tokens */
    assert_string_equal(ei.param, "content");
    talk_deinit(&t);
}

static void prompt_role_longer_than_the_window_does_not_blame_the_message(void **state) {
    (void)state;
    struct talk t;
    struct prompt p;
    struct errinfo ei;
    size_t counted;
    talk_init(&t, 1, 10, 1000);
    t.in.system_prompt = filled(&t, "rules", 8000);
    assert_int_equal(fit(&t, &p, &ei, &counted), ERR_CONTEXT);
    assert_non_null(strstr(ei.message, "instructions alone"));
    assert_string_equal(ei.param, "");
    talk_deinit(&t);
}

static void prompt_latest_alone_is_kept_when_it_just_fits(void **state) {
    (void)state;
    struct talk t;
    struct prompt p;
    size_t counted;
    talk_init(&t, 5, 200, 1000);
    t.m[t.n - 1].content = filled(&t, "long", 3200); /* 801 of 900 */
    assert_int_equal(fit(&t, &p, NULL, &counted), ERR_OK);
    assert_int_equal(p.first, p.n - 1);
    assert_true(p.tokens + p.max_tokens <= 1000);
    assert_true(str_eqz(p.system, "You are helpful.")); /* no room for a note in this prompt */
    assert_true(p.new_summary.n > 0);
    talk_deinit(&t);
}

static void prompt_empty_answers_are_left_out(void **state) {
    (void)state;
    struct talk t;
    struct prompt p;
    size_t counted;
    talk_init(&t, 2, 50, 4096);
    t.m[1].content = STR("");
    t.m[3].content = STR(" \n");
    assert_int_equal(fit(&t, &p, NULL, &counted), ERR_OK);
    assert_int_equal(p.n, 3);
    for (size_t i = 0; i < p.n; i++)
        assert_int_equal(p.items[i].sender, SENDER_USER);
    talk_deinit(&t);
}

static void prompt_estimates_where_nothing_counts(void **state) {
    (void)state;
    struct talk t;
    struct prompt p;
    struct str *texts;
    size_t n;
    talk_init(&t, 20, 200, 1200);
    assert_int_equal(prompt_open(&t.in, t.arena, &p), ERR_OK);
    assert_false(prompt_fits_by_bytes(&p));
    assert_int_equal(prompt_uncounted(&p, t.cache, t.arena, &texts, &n), ERR_OK);
    prompt_set_counts(&p, t.cache, NULL);
    assert_int_equal(prompt_cut(&p, t.arena, NULL), ERR_OK);
    assert_true(p.was_cut);
    assert_int_equal(count_cache_get(t.cache, STR("m"), t.m[0].content),
                     -1); /* a guess is not kept */
    talk_deinit(&t);
}

static void prompt_summary_request_holds_what_fell_out(void **state) {
    (void)state;
    struct talk t;
    struct prompt p;
    struct str text;
    size_t counted;
    talk_init(&t, 20, 200, 1200);
    t.in.summary = STR("They met before.");
    t.in.summary_until = t.m[1].message_id;
    assert_int_equal(fit(&t, &p, NULL, &counted), ERR_OK);
    assert_int_equal(prompt_summary_request(&p, 1200, t.arena, &text), ERR_OK);
    assert_true(str_find(text, STR("They met before.")) != SIZE_MAX);
    assert_true(str_find(text, STR("User: question 1 ")) != SIZE_MAX);
    assert_true(str_find(text, STR("the last question")) == SIZE_MAX);
    assert_true(text.n < 2500);
    talk_deinit(&t);
}

static void count_cache_keeps_by_model_and_forgets_the_oldest(void **state) {
    (void)state;
    struct count_cache *c;
    char text[32];
    assert_int_equal(count_cache_new(8, &c), ERR_OK);
    count_cache_put(c, STR("a"), STR("text"), 5);
    assert_int_equal(count_cache_get(c, STR("a"), STR("text")), 5);
    assert_int_equal(count_cache_get(c, STR("b"), STR("text")), -1);
    assert_int_equal(count_cache_get(c, STR("at"), STR("ext")), -1);
    for (int i = 0; i < 100; i++) {
        snprintf(text, sizeof text, "text %d", i);
        count_cache_put(c, STR("a"), str_from(text), i);
        assert_int_equal(count_cache_get(c, STR("a"), str_from(text)), i);
    }
    assert_int_equal(count_cache_get(c, STR("a"), STR("text")), -1);
    count_cache_free(c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prompt_short_talk_is_whole_without_counting),
        cmocka_unit_test(prompt_that_fits_when_counted_is_whole),
        cmocka_unit_test(prompt_cut_is_at_turns_and_stays),
        cmocka_unit_test(prompt_cut_of_another_branch_is_ignored),
        cmocka_unit_test(prompt_latest_too_long_says_both_numbers),
        cmocka_unit_test(prompt_role_longer_than_the_window_does_not_blame_the_message),
        cmocka_unit_test(prompt_latest_alone_is_kept_when_it_just_fits),
        cmocka_unit_test(prompt_empty_answers_are_left_out),
        cmocka_unit_test(prompt_estimates_where_nothing_counts),
        cmocka_unit_test(prompt_summary_request_holds_what_fell_out),
        cmocka_unit_test(count_cache_keeps_by_model_and_forgets_the_oldest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
