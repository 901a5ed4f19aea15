/* What learning changes in a turn, and what of a turn is recorded for it. */
#include "store/learning.h"
#include "unit/turn/bench_turn.h"

struct told {
    struct uuid arm;
    bool with_answer, without_examples;
    int ended;
    struct turn_ended last;
};

static void choose(void *ctx, const struct role *role, const struct uuid *conversation,
                   const struct uuid *message, struct arena *a, struct turn_arm *ret) {
    struct told *told = ctx;
    (void)role;
    (void)conversation;
    assert_true(uuid_is_set(message));
    ret->arm_id = told->arm;
    ret->chance = 0.25;
    ret->system_prompt = arena_str(a, STR("Be brief."));
    ret->temperature = 1.5;
}

static bool has_answers(void *ctx, const struct uuid *role) {
    (void)role;
    return ((struct told *)ctx)->with_answer;
}

static bool find_answer(void *ctx, const struct uuid *role, struct str question, const float *v,
                        int dims, struct str model, struct arena *a, struct uuid *ret_id,
                        struct str *ret) {
    struct told *told = ctx;
    (void)role;
    (void)question;
    (void)model;
    assert_true(v && dims > 0);
    *ret_id = told->arm;
    *ret = arena_str(a, STR("An approved answer."));
    return true;
}

static void find_examples(void *ctx, const struct uuid *role, const struct uuid *conversation,
                          const float *v, int dims, struct str model, size_t max_bytes,
                          struct arena *a, struct turn_examples *ret) {
    struct told *told = ctx;
    (void)role;
    (void)conversation;
    (void)model;
    assert_true(v && dims > 0 && max_bytes > 0 && max_bytes <= 2400);
    *ret = (struct turn_examples){
        .text = arena_str(a, STR("Question: What is a mole?\nAnswer: A digger.")),
        .ids = arena_str(a, STR("[\"example-1\"]")),
        .trial_id = told->arm,
        .shown = !told->without_examples,
        .chance = 0.5};
}

static void ended(void *ctx, const struct turn_ended *e) {
    struct told *told = ctx;
    told->ended++;
    told->last = *e;
}

struct records {
    struct bench *b;
    struct uuid id;
    struct turn_record r;
    struct evidence_row *rows;
    size_t n;
};

static enum err read_records(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct records *x = arg;
    (void)ei;
    enum err e = turn_record_get(tx, &x->b->user, &x->id, x->b->arena, &x->r);
    return e ? e : evidence_list(tx, 0, 100, x->b->arena, &x->rows, &x->n);
}

static struct records records_of(struct bench *b, const struct uuid *id) {
    struct records x = {.b = b, .id = *id};
    struct errinfo ei;
    assert_int_equal(store_read_wait(b->store, read_records, &x, &ei), ERR_OK);
    return x;
}

static void turn_with_an_arm_asks_and_records_it(void **state) {
    (void)state;
    struct told told = {.arm = uuid_new()};
    const struct turn_learn learn = {&told, choose, has_answers, find_answer, find_examples, ended};
    const struct turns_options o = {.learn = &learn};
    struct bench b;
    struct seen s;
    bench_init(&b, 4096, &o);
    bench_say(&b, "What is a marmot?", &s);
    assert_non_null(strstr(b.mock.asked[0], "Be brief."));
    assert_non_null(strstr(b.mock.asked[0], "\"temperature\":1.5"));
    struct records x = records_of(&b, &s.message_id);
    assert_true(uuid_eq(&x.r.arm_id, &told.arm));
    assert_true(x.r.arm_chance == 0.25 && x.r.status == MESSAGE_COMPLETE);
    assert_true(x.r.ttft_ms >= 0 && x.r.latency_ms >= x.r.ttft_ms);
    assert_true(str_find(x.r.record, STR("\"temperature\":1.5")) != SIZE_MAX);
    assert_int_equal(told.ended, 1);
    assert_false(told.last.failed);
    seen_deinit(&s);
    bench_deinit(&b);
}

static void turn_without_learning_records_the_role(void **state) {
    (void)state;
    struct bench b;
    struct seen s, again, edited;
    bench_init(&b, 4096, NULL);
    bench_say(&b, "one", &s);
    struct records x = records_of(&b, &s.message_id);
    assert_false(uuid_is_set(&x.r.arm_id));
    assert_true(x.r.arm_chance == 1);
    assert_int_equal(x.n, 0); /* nobody said or did anything */
    struct turn_input in = {.user_id = b.user,
                            .kind = TURN_REGENERATE,
                            .message_id = s.message_id,
                            .arrived_ns = clock_mono_ns()};
    bench_start(&b, &in, &again);
    pump_until(b.loop, &again.over);
    x = records_of(&b, &s.message_id);
    assert_int_equal(x.n, 1);
    assert_int_equal(x.rows[0].signals, 2u); /* regenerated */
    in = bench_input(&b, "one, but better");
    in.parent_kind = PARENT_ROOT;
    bench_start(&b, &in, &edited);
    pump_until(b.loop, &edited.over);
    x = records_of(&b, &s.message_id);
    assert_int_equal(x.n, 2);
    assert_int_equal(x.rows[0].signals, 6u); /* and edited */
    assert_int_equal(x.rows[1].signals, 4u); /* the other answer to the old question, too */
    seen_deinit(&s);
    seen_deinit(&again);
    seen_deinit(&edited);
    bench_deinit(&b);
}

static void turn_with_an_approved_answer_asks_no_model(void **state) {
    (void)state;
    struct told told = {.arm = uuid_new(), .with_answer = true};
    const struct turn_learn learn = {&told, choose, has_answers, find_answer, find_examples, ended};
    const struct turns_options o = {.learn = &learn};
    struct bench b;
    struct seen s;
    bench_init(&b, 4096, &o);
    bench_say(&b, "What is a marmot?", &s);
    assert_text(&s.text, "An approved answer.");
    assert_int_equal(b.mock.n_asked, 0);
    struct stored st = bench_stored(&b, &s.message_id);
    assert_stored_text(st.m.content, "An approved answer.");
    assert_stored_text(st.m.finish_reason, "approved");
    struct records x = records_of(&b, &s.message_id);
    assert_true(uuid_eq(&x.r.answer_id, &told.arm));
    assert_int_equal(told.ended, 0); /* the bandit learns nothing from it */
    seen_deinit(&s);
    bench_say(&b, "And a vole?", &s); /* leans on what was said: the model answers */
    assert_text(&s.text, "Hello there, friend.");
    assert_non_null(strstr(b.mock.asked[0], "Be brief.\\n\\nQuestion: What is a mole?"));
    x = records_of(&b, &s.message_id);
    assert_true(str_find(x.r.record, STR("\"examples\":[\"example-1\"]")) != SIZE_MAX);
    assert_true(uuid_eq(&x.r.examples_id, &told.arm) && x.r.exampled);
    seen_deinit(&s);
    told.without_examples = true; /* the other side of the trial */
    bench_say(&b, "And a shrew?", &s);
    assert_null(strstr(b.mock.asked[1], "Question: What is a mole?"));
    x = records_of(&b, &s.message_id);
    assert_true(uuid_eq(&x.r.examples_id, &told.arm) && !x.r.exampled);
    assert_true(x.r.examples_chance == 0.5);
    assert_true(str_find(x.r.record, STR("\"examples\":[]")) != SIZE_MAX);
    seen_deinit(&s);
    bench_deinit(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(turn_with_an_arm_asks_and_records_it),
        cmocka_unit_test(turn_without_learning_records_the_role),
        cmocka_unit_test(turn_with_an_approved_answer_asks_no_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
