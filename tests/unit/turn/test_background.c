/* Titles by the model: what the guard would not let out in an answer names no conversation. */
#include "base/metrics.h"
#include "unit/turn/guard_fixture.h"

/* The end of background work calls nobody back: the loop is let run for a moment. */
static void look_again(struct guarded *g) {
    pump_loop = g->b.loop;
    struct timer *t = timer_new(g->b.loop, pump_expired, NULL);
    timer_start(t, 10, false);
    loop_run(g->b.loop);
    timer_free(t);
}

static const char *named; /* the title that the model gives */

/* It may be asked for one before the reader of the answer is told of its end. */
static void name_when_asked(struct mock *m) {
    if (m->n_asked == 2)
        m->reply = named;
}

static void say(struct guarded *g, const char *title, struct seen *s) {
    static const struct guarded_options titles = {.titles = true};
    guarded_init(g, &titles);
    named = title;
    g->b.mock.on_asked = name_when_asked;
    g->b.mock.hold_embeds = false;
    bench_say(&g->b, "What is a marmot?", s);
    seen_deinit(s);
}

static void title_that_is_blocked_leaves_the_first_words(void **state) {
    (void)state;
    struct guarded g;
    struct seen s;
    int64_t blocked = metric_get(M_GUARD_BLOCKED);
    say(&g, "Striped horses: striped", &s);
    for (int i = 0; i < 2000 && metric_get(M_GUARD_BLOCKED) == blocked; i++)
        look_again(&g);
    assert_int_equal(metric_get(M_GUARD_BLOCKED) - blocked, 1);
    look_again(&g);
    assert_stored_text(bench_stored(&g.b, NULL).c.title, "What is a marmot?");
    guarded_deinit(&g);
}

static void title_that_is_harmless_is_stored(void **state) {
    (void)state;
    struct guarded g;
    struct seen s;
    say(&g, "Marmots at home", &s);
    for (int i = 0; i < 2000 && !str_eqz(bench_stored(&g.b, NULL).c.title, "Marmots at home"); i++)
        look_again(&g);
    assert_stored_text(bench_stored(&g.b, NULL).c.title, "Marmots at home");
    guarded_deinit(&g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(title_that_is_blocked_leaves_the_first_words),
        cmocka_unit_test(title_that_is_harmless_is_stored),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
