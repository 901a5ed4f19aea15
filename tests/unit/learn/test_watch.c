/* Approved answers that are not served any more: too old, their documents changed, or disliked. */
#include "unit/store/fixture.h"

#include "learn/learn.h"
#include "store/learning.h"

#define PEOPLE 6
#define DAY_MS 86400000ll

struct world {
    struct fixture f;
    struct store *store;
    struct uuid role, answer, people[PEOPLE], conversations[PEOPLE];
    struct approved_answer got;
    struct approved_rating rated;
    size_t person, n_events;
    enum rating rating;
    int days;
    bool flagged;
};

static enum err make_fn(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct world *w = arg;
    (void)ei;
    w->role = make_role(tx, "Helper");
    for (size_t i = 0; i < PEOPLE; i++) {
        char name[16];
        snprintf(name, sizeof name, "person%zu", i);
        w->people[i] = make_user(tx, name, i == 0);
        w->conversations[i] = make_conversation(tx, w->people[i], w->role, "t", 1000);
    }
    struct approved_answer a = {.answer_id = w->answer = uuid_new(),
                                .role_id = w->role,
                                .question = STR("When does the shop open?"),
                                .answer = STR("At nine."),
                                .sources = STR("[]"),
                                .state = STR("approved"),
                                .created_at = clock_wall_ms(),
                                .changed_at = clock_wall_ms()};
    return approved_put(tx, &a);
}

/* The answer is served to the person, who rates it. */
static enum err serve_fn(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct world *w = arg;
    struct arena *a = arena_new(1 << 20);
    struct uuid conversation = w->conversations[w->person];
    struct uuid q = make_message(tx, conversation, no_id, SENDER_USER, "q");
    struct message m = message_of(conversation, q, SENDER_ASSISTANT, "At nine.");
    struct feedback stored, b = {.feedback_id = uuid_new(),
                                 .message_id = m.message_id,
                                 .user_id = w->people[w->person],
                                 .rating = w->rating};
    m.role_id = w->role;
    m.role_version = 1;
    m.model = STR("m");
    struct turn_record r = {.message_id = m.message_id,
                            .user_id = w->people[w->person],
                            .role_id = w->role,
                            .role_version = 1,
                            .at = clock_wall_ms(),
                            .arm_chance = 1,
                            .ranked_chance = 1,
                            .examples_chance = 1,
                            .answer_id = w->answer,
                            .record = STR("{}")};
    enum err e = message_append(tx, &m, ei);
    if (!e)
        e = turn_record_put(tx, &r);
    if (!e)
        e = feedback_put(tx, &b, a, &stored, ei);
    arena_free(a);
    return e;
}

static void served(struct world *w, size_t person, enum rating rating) {
    w->person = person;
    w->rating = rating;
    assert_ok(store_write_wait(w->store, serve_fn, w, &w->f.ei));
}

static enum err read_fn(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct world *w = arg;
    struct page p = {.limit = 100};
    struct approved_rating *rated;
    struct learn_event *events;
    size_t n;
    (void)ei;
    assert_ok(approved_get(tx, &w->answer, w->f.arena, &w->got));
    assert_ok(approved_ratings(tx, w->f.arena, &rated, &n));
    assert_true(n <= 1);
    w->rated = n ? rated[0] : (struct approved_rating){.people = 0};
    w->n_events = 0;
    assert_ok(learn_event_list(tx, &p, w->f.arena, &events, &n));
    for (size_t i = 0; i < n; i++)
        w->n_events += str_eqz(events[i].kind, "answers_stale");
    return ERR_OK;
}

static struct learn_report look(struct world *w) {
    struct learn_report r;
    assert_ok(learn_guard(w->store, &r, &w->f.ei));
    assert_ok(store_read_wait(w->store, read_fn, w, &w->f.ei));
    return r;
}

static enum err days_fn(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct world *w = arg;
    (void)ei;
    return learn_set_answer_days(tx, w->days);
}

static enum err flag_fn(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct world *w = arg;
    (void)ei;
    return user_flag(tx, &w->people[w->person], w->flagged);
}

static int open_world(void **state) {
    struct world *w = calloc(1, sizeof *w);
    void *f = NULL;
    fixture_dir(&f);
    w->f = *(struct fixture *)f;
    free(f);
    struct store_options o = {.path = w->f.path};
    assert_ok(store_open(&o, &w->store, &w->f.ei));
    clock_test_set(0, 1000 * DAY_MS);
    assert_ok(store_write_wait(w->store, make_fn, w, &w->f.ei));
    *state = w;
    return 0;
}

static int close_world(void **state) {
    struct world *w = *state;
    char command[128];
    clock_test_end();
    store_close(w->store);
    arena_free(w->f.arena);
    snprintf(command, sizeof command, "rm -rf '%s'", w->f.dir);
    assert_int_equal(system(command), 0);
    free(w);
    return 0;
}

static void answer_that_most_people_dislike_goes_stale(void **state) {
    struct world *w = *state;
    clock_test_advance(DAY_MS);
    for (size_t i = 0; i < 4; i++)
        served(w, i, RATING_THUMBS_DOWN);
    clock_test_advance(DAY_MS);
    assert_int_equal(look(w).stale, 0); /* four people are not enough */
    assert_str(w->got.state, "approved");
    served(w, 4, RATING_THUMBS_DOWN);
    struct learn_report r = look(w);
    assert_int_equal(r.stale, 1);
    assert_non_null(strstr(r.words, "of 5 people"));
    assert_str(w->got.state, "stale");
    assert_str(w->got.why, "disliked");
    assert_int_equal(w->n_events, 1);
    clock_test_advance(DAY_MS);
    assert_int_equal(look(w).stale, 0);
    assert_int_equal(w->rated.people, 5); /* who decides about it sees why */
    assert_int_equal(look(w).stale, 0);   /* once */
}

static void one_angry_person_takes_no_answer_away(void **state) {
    struct world *w = *state;
    for (int i = 0; i < 20; i++)
        served(w, 0, RATING_THUMBS_DOWN);
    look(w);
    assert_int_equal(w->rated.people, 1);
    assert_str(w->got.state, "approved");
    for (size_t i = 1; i < 5; i++) /* nor do five with the others content */
        served(w, i, RATING_THUMBS_UP);
    look(w);
    assert_int_equal(w->rated.people, 5);
    assert_true(w->rated.liked == 4);
    assert_str(w->got.state, "approved");
}

static void flagged_people_have_no_voice_about_answers(void **state) {
    struct world *w = *state;
    for (size_t i = 0; i < 5; i++)
        served(w, i, RATING_THUMBS_DOWN);
    w->flagged = true;
    assert_ok(store_write_wait(w->store, flag_fn, w, &w->f.ei)); /* the last of them */
    look(w);
    assert_int_equal(w->rated.people, 4);
    assert_str(w->got.state, "approved");
}

static void answer_that_nobody_looked_at_for_long_goes_stale(void **state) {
    struct world *w = *state;
    clock_test_advance(LEARN_ANSWER_DAYS * DAY_MS);
    assert_int_equal(look(w).stale, 0);
    clock_test_advance(DAY_MS);
    struct learn_report r = look(w);
    assert_int_equal(r.stale, 1);
    assert_non_null(strstr(r.words, "180 days"));
    assert_str(w->got.why, "old");
    assert_int_equal(w->n_events, 1);
}

static void answers_may_be_served_for_ever(void **state) {
    struct world *w = *state;
    assert_ok(store_write_wait(w->store, days_fn, w, &w->f.ei));
    clock_test_advance(2000 * DAY_MS);
    assert_int_equal(look(w).stale, 0);
    w->days = 1999;
    assert_ok(store_write_wait(w->store, days_fn, w, &w->f.ei));
    assert_int_equal(look(w).stale, 1);
}

int main(void) {
#define T(name) cmocka_unit_test_setup_teardown(name, open_world, close_world)
    const struct CMUnitTest tests[] = {
        T(answer_that_most_people_dislike_goes_stale),
        T(one_angry_person_takes_no_answer_away),
        T(flagged_people_have_no_voice_about_answers),
        T(answer_that_nobody_looked_at_for_long_goes_stale),
        T(answers_may_be_served_for_ever),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
