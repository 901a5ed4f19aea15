/* The trial of examples in the store: it begins, goes on when people like it, and back by itself.
 */
#include "unit/store/fixture.h"

#include "learn/learn.h"
#include "store/learning.h"

struct world {
    struct fixture f;
    struct store *store;
    struct uuid ada, role, conversation;
    struct candidate now;
    bool exampled;
    double chance;
    enum rating rating;
};

static enum err make_fn(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct world *w = arg;
    (void)ei;
    w->ada = make_user(tx, "ada", true);
    w->role = make_role(tx, "Helper");
    w->conversation = make_conversation(tx, w->ada, w->role, "t", 1000);
    struct approved_answer a = {.answer_id = uuid_new(),
                                .role_id = w->role,
                                .question = STR("When does the shop open?"),
                                .answer = STR("At nine."),
                                .sources = STR("[]"),
                                .state = STR("approved"),
                                .created_at = clock_wall_ms(),
                                .changed_at = clock_wall_ms()};
    return approved_put(tx, &a);
}

static enum err answer_fn(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct world *w = arg;
    struct arena *a = arena_new(1 << 20);
    struct uuid q = make_message(tx, w->conversation, no_id, SENDER_USER, "q");
    struct message m = message_of(w->conversation, q, SENDER_ASSISTANT, "answer");
    struct feedback stored, b = {.feedback_id = uuid_new(),
                                 .message_id = m.message_id,
                                 .user_id = w->ada,
                                 .rating = w->rating};
    m.role_id = w->role;
    m.role_version = 1;
    m.model = STR("m");
    struct turn_record r = {.message_id = m.message_id,
                            .user_id = w->ada,
                            .role_id = w->role,
                            .role_version = 1,
                            .at = clock_wall_ms(),
                            .arm_chance = 1,
                            .ranked_chance = 1,
                            .examples_id = w->now.candidate_id,
                            .exampled = w->exampled,
                            .examples_chance = w->chance,
                            .ttft_ms = 100,
                            .latency_ms = 200,
                            .record = STR("{}")};
    enum err e = message_append(tx, &m, ei);
    if (!e)
        e = turn_record_put(tx, &r);
    if (!e)
        e = feedback_put(tx, &b, a, &stored, ei);
    arena_free(a);
    return e;
}

static enum err read_fn(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct world *w = arg;
    struct page p = {.limit = 10};
    struct candidate *list;
    size_t n;
    enum err e = candidate_list(tx, &p, w->f.arena, &list, &n);
    (void)ei;
    assert_true(n <= 1);
    w->now = n ? list[0] : (struct candidate){.ratings = -1};
    return e;
}

static void read_candidate(struct world *w) {
    assert_ok(store_read_wait(w->store, read_fn, w, &w->f.ei));
}

/* n answers of each side, of which so many of ten are liked. */
static void answers(struct world *w, int n, int with, int without, double share) {
    for (int i = 0; i < 2 * n; i++) {
        w->exampled = i % 2;
        w->chance = w->exampled ? share : 1 - share;
        w->rating =
            i / 2 % 10 < (w->exampled ? with : without) ? RATING_THUMBS_UP : RATING_THUMBS_DOWN;
        assert_ok(store_write_wait(w->store, answer_fn, w, &w->f.ei));
    }
}

static int open_world(void **state) {
    struct world *w = calloc(1, sizeof *w);
    void *f = NULL;
    fixture_dir(&f);
    w->f = *(struct fixture *)f;
    free(f);
    struct store_options o = {.path = w->f.path};
    assert_ok(store_open(&o, &w->store, &w->f.ei));
    assert_ok(store_write_wait(w->store, make_fn, w, &w->f.ei));
    *state = w;
    return 0;
}

static int close_world(void **state) {
    struct world *w = *state;
    char command[128];
    store_close(w->store);
    arena_free(w->f.arena);
    snprintf(command, sizeof command, "rm -rf '%s'", w->f.dir);
    assert_int_equal(system(command), 0);
    free(w);
    return 0;
}

static struct learn_report pass(struct world *w) {
    struct learn_report r;
    assert_ok(learn_run(w->store, false, &r, &w->f.ei));
    read_candidate(w);
    return r;
}

static void examples_go_on_while_people_like_them(void **state) {
    struct world *w = *state;
    assert_non_null(strstr(pass(w).words, "10 % of the conversations"));
    assert_str(w->now.kind, "examples");
    assert_str(w->now.state, "trial");
    answers(w, 20, 8, 6, 0.1);
    pass(w);
    assert_str(w->now.state, "half");
    answers(w, 20, 8, 6, 0.5);
    pass(w);
    assert_str(w->now.state, "all");
    answers(w, 60, 1, 6, 1); /* and then they do not: against what was without them */
    struct learn_report r;
    assert_ok(learn_guard(w->store, &r, &w->f.ei));
    assert_true(r.rolled_back);
    read_candidate(w);
    assert_str(w->now.state, "rolled_back");
}

static void examples_that_people_dislike_go_back_and_stay_away(void **state) {
    struct world *w = *state;
    pass(w);
    answers(w, 60, 2, 8, 0.1);
    assert_true(pass(w).rolled_back);
    assert_str(w->now.state, "rolled_back");
    pass(w);
    assert_str(w->now.state, "rolled_back"); /* there is no more to show than before */
}

static enum err off_fn(struct store_tx *tx, void *arg, struct errinfo *ei) {
    (void)arg;
    return learn_switch(tx, "examples", false, ei);
}

static void examples_that_are_switched_off_do_not_begin(void **state) {
    struct world *w = *state;
    assert_ok(store_write_wait(w->store, off_fn, w, &w->f.ei));
    pass(w);
    assert_int_equal(w->now.ratings, -1);
}

int main(void) {
#define T(name) cmocka_unit_test_setup_teardown(name, open_world, close_world)
    const struct CMUnitTest tests[] = {
        T(examples_go_on_while_people_like_them),
        T(examples_that_people_dislike_go_back_and_stay_away),
        T(examples_that_are_switched_off_do_not_begin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
