/* Long conversations: what falls out of the window, its summary, and titles made in the background.
 */
#include "turn/turn_internal.h"
#include "unit/turn/bench_turn.h"

static void say_long(struct bench *b, int i, struct seen *s) {
    static char text[400];
    int n = snprintf(text, sizeof text, "question number %d ", i);
    memset(text + n, 'q', sizeof text - 1 - (size_t)n);
    text[sizeof text - 1] = 0;
    bench_say(b, text, s);
}

static bool holds(const char *asked, const char *what) {
    return strstr(asked, what) != NULL;
}

/* Runs the loop until the model was asked n times. */
static void wait_for_asked(struct bench *b, int n) {
    pump_loop = b->loop;
    pump_timeout = false;
    struct timer *t = timer_new(b->loop, pump_expired, NULL);
    timer_start(t, 20000, false);
    while (b->mock.n_asked < n && !pump_timeout)
        loop_run(b->loop);
    timer_free(t);
    assert_true(b->mock.n_asked >= n);
}

/* The end of background work calls nobody back: the loop is let run for a moment and the store
 * read. */
static struct stored look_again(struct bench *b) {
    pump_loop = b->loop;
    struct timer *t = timer_new(b->loop, pump_expired, NULL);
    timer_start(t, 10, false);
    loop_run(b->loop);
    timer_free(t);
    return bench_stored(b, NULL);
}

static void window_overflow_cuts_summarises_and_keeps_the_cut(void **state) {
    (void)state;
    struct bench b;
    struct seen s;
    bench_init(&b, 1000, NULL); /* an answer keeps 200 of it; a turn takes about 115 */
    b.mock.reply = "Short answer.";
    int i = 0;
    struct stored st;
    do {
        say_long(&b, i, &s);
        assert_int_equal(s.kinds[s.n - 1], STREAM_DONE);
        seen_deinit(&s);
        st = bench_stored(&b, NULL);
    } while (!uuid_is_set(&st.c.summary_until) && ++i < 20);
    assert_true(i > 3 && i < 20);
    const char *cut = b.mock.asked[i];
    assert_true(holds(b.mock.asked[i - 1], "question number 0 "));
    assert_true(holds(cut, "You are helpful."));
    assert_true(holds(cut, "Earlier in this conversation"));
    assert_true(holds(cut, "- asked: question number "));
    assert_false(holds(cut, "\"content\":\"question number 0 ")); /* as a message it is gone */
    char last[64];
    snprintf(last, sizeof last, "\"content\":\"question number %d ", i);
    assert_true(holds(cut, last));

    /* What fell out is summarised when nobody waits; the next prompts hold that and the same cut.
     */
    wait_for_asked(&b, i + 2);
    const char *request = b.mock.asked[i + 1];
    assert_true(holds(request, "You summarise conversations"));
    assert_true(holds(request, "User: question number 0 "));
    assert_true(holds(request, "\"wait\":true"));
    while (!str_eqz(st.c.summary, "Short answer."))
        st = look_again(&b);
    struct uuid until = st.c.summary_until;
    say_long(&b, 100, &s);
    seen_deinit(&s);
    say_long(&b, 101, &s);
    seen_deinit(&s);
    st = bench_stored(&b, NULL);
    assert_true(uuid_eq(&st.c.summary_until, &until));
    const char *one = b.mock.asked[i + 2], *two = b.mock.asked[i + 3];
    assert_true(holds(one, "in short:\\nShort answer."));
    const char *end = strstr(one, "],\"stream\"");
    assert_memory_equal(one, two, end - one); /* the prefix that the engine has computed */
    bench_deinit(&b);
}

static void window_too_long_message_stores_nothing(void **state) {
    (void)state;
    struct bench b;
    struct seen s;
    static char text[6000];
    memset(text, 'y', sizeof text - 1);
    bench_init(&b, 1000, NULL);
    bench_say(&b, text, &s);
    assert_true(s.failed);
    assert_int_equal(s.ei.code, ERR_CONTEXT);
    assert_non_null(strstr(s.ei.message, "1000"));
    assert_int_equal(bench_stored(&b, NULL).n, 0);
    assert_int_equal(b.mock.n_asked, 0);
    seen_deinit(&s);
    b.mock.no_counts = true; /* where nothing counts it is estimated */
    text[5000] = 0;
    bench_say(&b, text, &s);
    assert_int_equal(s.ei.code, ERR_CONTEXT);
    seen_deinit(&s);
    text[1200] = 0;
    bench_say(&b, text, &s);
    assert_int_equal(s.kinds[s.n - 1], STREAM_DONE);
    seen_deinit(&s);
    bench_deinit(&b);
}

/* It may be asked for a title before the reader of the answer is told of its end. */
static void title_hangs(struct mock *m) {
    if (m->n_asked == 2)
        m->mode = MOCK_SILENT;
}

static void background_gives_way_to_a_person(void **state) {
    (void)state;
    struct bench b;
    struct seen s;
    struct turns_options o = {.titles = true};
    bench_init(&b, 4096, &o);
    b.mock.on_asked = title_hangs;
    bench_say(&b, "first question", &s);
    seen_deinit(&s);
    wait_for_asked(&b, 2); /* the title is being made, and hangs */
    assert_true(holds(b.mock.asked[1], "You name conversations"));
    b.mock.mode = MOCK_REPLY;
    b.mock.reply = "**\"Marmots at home\"**\nand more";
    struct http_request *title = b.mock.held;
    bench_say(&b, "second question", &s);
    assert_int_equal(s.kinds[s.n - 1], STREAM_DONE);
    while (b.mock.n_gone == 0) /* it was cancelled … */
        look_again(&b);
    assert_non_null(title);
    wait_for_asked(&b, 4); /* … and is made anew once the person has the answer */
    struct stored st = bench_stored(&b, NULL);
    while (!str_eqz(st.c.title, "Marmots at home"))
        st = look_again(&b);
    seen_deinit(&s);
    bench_deinit(&b);
}

static void title_is_cut_between_words(void **state) {
    (void)state;
    static const struct {
        const char *question, *title;
    } cases[] = {
        {"Hi", "Hi"},
        {"  What   is\n a marmot? ", "What is a marmot?"},
        {"123456789 123456789 123456789 123456789 123456789 123456789x",
         "123456789 123456789 123456789 123456789 123456789 123456789x"},
        {"123456789 123456789 123456789 123456789 123456789 123456789 1",
         "123456789 123456789 123456789 123456789 123456789 123456789…"},
        {"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
         "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa…"},
    };
    char out[TITLE_SIZE];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        title_from_question(str_from(cases[i].question), out);
        assert_string_equal(out, cases[i].title);
    }
    char many[601];
    for (int i = 0; i < 150; i++)
        memcpy(many + 4 * i, "\xf0\x9f\x98\x80", 4);
    many[600] = 0;
    title_from_question(str_from(many), out);
    assert_true(utf8_valid(str_from(out)));
    assert_int_equal(strlen(out), 59 * 4 + 3);
}

static void title_of_a_model_is_cleaned(void **state) {
    (void)state;
    char out[TITLE_SIZE];
    assert_true(title_clean(STR("Title: \"Marmots in winter.\"\nHere is why"), out));
    assert_string_equal(out, "Marmots in winter");
    assert_true(title_clean(STR("## **Alps**"), out));
    assert_string_equal(out, "Alps");
    assert_false(title_clean(STR("\"\""), out));
    assert_false(title_clean(STR(""), out));
    assert_false(title_clean(STR("```python\nprint(1)\n```"), out));
    assert_false(
        title_clean(STR("Marmots are large ground squirrels that live in the mountains of Europe, "
                        "Asia and North America, and they hibernate all winter long in burrows."),
                    out));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(window_overflow_cuts_summarises_and_keeps_the_cut),
        cmocka_unit_test(window_too_long_message_stores_nothing),
        cmocka_unit_test(background_gives_way_to_a_person),
        cmocka_unit_test(title_is_cut_between_words),
        cmocka_unit_test(title_of_a_model_is_cleaned),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
