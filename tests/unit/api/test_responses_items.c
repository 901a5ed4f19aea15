/* The items of a response's input before its question: what is refused of them, and whom it counts
 * against. */
#include "unit/api/guard_requests.h"

#include "store/store_internal.h"

#define REFUSED "{\"role\":\"user\",\"content\":\"paint the zebra purple\"}"
#define PLAIN   "{\"role\":\"user\",\"content\":\"hi\"}"
#define ANSWER  "{\"role\":\"assistant\",\"content\":\"Well.\"}"
#define WALRUS  "{\"role\":\"assistant\",\"content\":\"the walrus knows\"}"

static enum err counted_fn(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct query q;
    int64_t *n = arg;
    (void)ei;
    query_begin(&q, tx, "SELECT count(*) FROM safety_cases WHERE counts");
    if (query_next(&q))
        *n = query_int(&q, 0);
    return query_end(&q);
}

static int64_t counted(void) {
    int64_t n = -1;
    assert_int_equal(store_read_wait(fx.store, counted_fn, &n, NULL), ERR_OK);
    return n;
}

static void ask(const char *items) {
    char body[1024];
    snprintf(body, sizeof body, "{\"input\":[%s]}", items);
    struct reply r = call("POST", "/v1/responses", asker.who, body);
    expect(r, 200);
    assert_string_equal(text_at(&r, "status"), "completed");
    reply_free(&r);
}

static void history_sentAgain_isNoNewOffence(void **state) {
    (void)state;
    for (int i = 1; i <= 20; i++) {
        ask(REFUSED "," ANSWER "," REFUSED "," WALRUS "," PLAIN);
        assert_int_equal(cases(), i); /* one of a request */
    }
    assert_int_equal(counted(), 0);
}

/* New by its nature: nobody has answered it. */
static void item_withoutAnAnswerBehindIt_counts(void **state) {
    (void)state;
    ask(REFUSED "," ANSWER "," REFUSED "," REFUSED "," PLAIN);
    assert_int_equal(cases(), 1);
    assert_int_equal(counted(), 1);
    ask(PLAIN "," ANSWER "," PLAIN);
    assert_int_equal(cases(), 1);
}

static int setup(void **state) {
    (void)state;
    guarded_start("");
    return 0;
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, guarded_teardown)
int main(void) {
    const struct CMUnitTest tests[] = {
        T(history_sentAgain_isNoNewOffence),
        T(item_withoutAnAnswerBehindIt_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
