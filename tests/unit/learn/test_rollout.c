/* The roll-out's states, same questions, themes of complaints, and the export's lines. */
#include "learn_fixture.h"

#include "learn/approved.h"
#include "learn/complaints.h"
#include "learn/export.h"
#include "learn/rollout.h"

/* n rated turns of each side, of which so many of ten were liked. */
static void see(struct rollout_seen *s, struct logged *log, size_t n, int without, int with,
                double share) {
    *s = (struct rollout_seen){.ratings = log, .n = 2 * n};
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < 2; k++) {
            double value = (int)(i % 10) < (k ? with : without);
            log[2 * i + k] = (struct logged){k, k ? share : 1 - share, value, 1, 0};
            bandit_add_turn(&s->sides[k], 300 + (double)(i % 7), false, false);
            bandit_add_rating(&s->sides[k], value, 1);
        }
}

static void rollout_goes_on_when_as_good(void **state) {
    static struct logged log[400];
    struct rollout_seen s;
    struct rollout_step step;
    (void)state;
    see(&s, log, 10, 6, 8, 0.1);
    assert_ok(rollout_decide(ROLLOUT_TRIAL, &s, &step));
    assert_int_equal(step.to, ROLLOUT_TRIAL); /* too few */
    see(&s, log, 100, 6, 8, 0.1);
    assert_ok(rollout_decide(ROLLOUT_TRIAL, &s, &step));
    assert_int_equal(step.to, ROLLOUT_HALF);
    assert_near(step.difference.mean, 0.2, 0.01);
    assert_ok(rollout_decide(ROLLOUT_HALF, &s, &step));
    assert_int_equal(step.to, ROLLOUT_ALL);
    assert_err(rollout_decide(ROLLOUT_BACK, &s, &step), ERR_INVALID);
}

static void rollout_goes_back_when_ratings_latency_or_safety_fall(void **state) {
    static struct logged log[400];
    struct rollout_seen s;
    struct rollout_step step;
    (void)state;
    see(&s, log, 100, 8, 4, 0.1);
    assert_ok(rollout_decide(ROLLOUT_TRIAL, &s, &step));
    assert_int_equal(step.to, ROLLOUT_BACK);
    see(&s, log, 50, 6, 6, 0.5);
    for (int i = 0; i < 50; i++)
        bandit_add_turn(&s.sides[1], 5000, false, false);
    assert_ok(rollout_decide(ROLLOUT_HALF, &s, &step));
    assert_int_equal(step.to, ROLLOUT_BACK);
    assert_string_equal(step.why, "slow");
    see(&s, log, 50, 6, 6, 0.5);
    for (int i = 0; i < 30; i++)
        bandit_add_turn(&s.sides[1], 300, true, false);
    assert_ok(rollout_decide(ROLLOUT_HALF, &s, &step));
    assert_string_equal(step.why, "unsafe");
    see(&s, log, 100, 6, 3, 1); /* with all of the traffic: against what was before */
    assert_ok(rollout_decide(ROLLOUT_ALL, &s, &step));
    assert_int_equal(step.to, ROLLOUT_BACK);
    assert_string_equal(step.why, "worse rated");
    see(&s, log, 100, 3, 3, 1);
    assert_ok(rollout_decide(ROLLOUT_ALL, &s, &step));
    assert_int_equal(step.to, ROLLOUT_ALL);
    for (int i = 0; i < 30; i++)
        bandit_add_turn(&s.sides[1], 300, true, false);
    assert_ok(rollout_decide(ROLLOUT_ALL, &s, &step));
    assert_string_equal(step.why, "unsafe");
    see(&s, log, 100, 3, 3, 1);
    for (int i = 0; i < 100; i++)
        bandit_add_turn(&s.sides[1], 5000, false, false);
    assert_ok(rollout_decide(ROLLOUT_ALL, &s, &step));
    assert_string_equal(step.why, "slow");
}

static const char *difference(const char *a, const char *b, double cosine) {
    struct question_form *x = question_form_new(str_from(a)), *y = question_form_new(str_from(b));
    const char *d = approved_difference(x, y, cosine);
    question_form_free(x);
    question_form_free(y);
    return d;
}

static void approved_takes_paraphrases_only(void **state) {
    (void)state;
    const char *q = "What is the weather in Paris on 3 May?";
    assert_string_equal(difference(q, "what's the weather in paris on 3 may", 0.95), "same");
    assert_string_equal(difference(q, "What is the weather in Rome on 3 May?", 0.95), "names");
    assert_string_equal(difference(q, "What is the weather in Paris on 4 May?", 0.98), "numbers");
    assert_string_equal(difference(q, "What is the weather in Paris on three May?", 0.9), "same");
    assert_string_equal(difference(q, q, 0.5), "meaning");
    assert_string_equal(difference("Can I take it?", "Can't I take it?", 0.95), "negation");
    assert_string_equal(difference("Before lunch?", "After lunch?", 0.95), "words");
    assert_string_equal(difference("From Bonn to Ulm?", "from Ulm to Bonn?", 0.99), "direction");
    assert_string_equal(difference("can dogs eat it", "can cats eat it", 0.9), "words");
    assert_string_equal(difference("can I take it", "must I take it", 0.95), "force");
    assert_string_equal(difference("who do I call", "who calls me", 0.95), "person");
    assert_string_equal(difference("who reports to her", "who does she report to", 0.9), "kind");
    assert_string_equal(difference("can I change it", "do I have to change it", 0.9), "force");
    assert_string_equal(difference("take it from there", "take it into there", 0.9), "direction");
    assert_string_equal(difference("15 % of 80", "80 % of 15", 0.97), "numbers");
    assert_string_equal(difference("router's firmware", "firmware of the router", 0.97), "same");
    assert_string_equal(difference("when was it built?", "who built it?", 0.95), "kind");
    assert_string_equal(difference("miles to kilometres?", "kilometres to miles?", 0.99),
                        "direction");
    assert_string_equal(difference("the printer driver", "driver for the printer", 0.9), "same");
    assert_string_equal(difference("how do I merge PDF files", "how can PDF files be merged", 0.9),
                        "same");
    assert_string_equal(difference("when does it leave", "when did it leave", 0.97), "time");
    assert_string_equal(difference("what is the exam", "when is the exam", 0.97), "kind");
    assert_string_equal(difference("how do I get a key", "how do I use a key", 0.97), "words");
    assert_string_equal(difference("car insurance", "care insurance", 0.97), "words");
    assert_string_equal(difference("who hired Tom", "who was hired by Tom", 0.97), "time");
    assert_string_equal(difference("what eats mice", "what do mice eat", 0.97), "order");
    assert_string_equal(difference("milk chocolate", "chocolate milk", 0.97), "order");
    assert_string_equal(difference("Is it 5 % more?", "Is it 5 $ more?", 0.97), "numbers");
    assert_string_equal(difference("the job in a week", "the job for a week", 0.97), "direction");
    assert_string_equal(difference("what is my address", "what is your address", 0.97), "person");
    assert_string_equal(difference("Can you tell me how to park?", "How do I park?", 0.97), "same");
    assert_string_equal(difference("turn the alarm off", "turn off the alarm", 0.97), "same");
    assert_string_equal(difference("when is the train", "when is the training", 0.97), "words");
    assert_string_equal(difference("is it safe", "is it unsafe", 0.99), "words");
    assert_string_equal(difference("how much luggage", "how much hand luggage", 0.92), "words");
    assert_string_equal(difference("plan A price", "plan B price", 0.9), "names");
}

static void complaints_fall_into_themes(void **state) {
    (void)state;
    static const float x[2][2] = {{1, 0}, {0, 1}};
    const struct complaint c[] = {
        {STR("the refund price is wrong"), STR("[\"wrong\"]"), x[0]},
        {STR("far too long to read"), STR("[\"too_long\"]"), x[1]},
        {STR("wrong refund amount"), STR("[\"wrong\"]"), x[0]},
        {STR("refund is not what you say"), STR("[\"wrong\"]"), x[0]},
    };
    struct arena *a = arena_new(1 << 20);
    struct theme *t;
    size_t n;
    assert_ok(complaints_cluster(c, 4, 2, a, &t, &n));
    assert_int_equal(n, 2);
    assert_int_equal(t[0].n, 3);
    assert_int_equal(t[0].n_examples, 3);
    assert_true(str_find(t[0].words, STR("refund")) == 0);
    assert_non_null(strstr(t[0].advice, "document"));
    assert_non_null(strstr(t[1].advice, "shorter"));
    assert_err(complaints_cluster(c, COMPLAINTS_MAX + 1, 2, a, &t, &n), ERR_INVALID);
    arena_free(a);
}

static struct training_row row(const char *parent, int rating, const char *answer) {
    struct training_row r = {.message_id = uuid_new(),
                             .rating = rating,
                             .system_prompt = STR("Help."),
                             .question = STR("Mail ada@example.org?"),
                             .answer = str_from(answer)};
    snprintf(r.parent_id.s, sizeof r.parent_id.s, "%s", parent);
    return r;
}

static void export_writes_each_form_without_personal_data(void **state) {
    (void)state;
    const struct training_row rows[] = {
        row("p1", RATING_THUMBS_UP, "Yes, ada@example.org."),
        row("p1", RATING_THUMBS_DOWN, "No \"never\"."),
        row("p2", RATING_THUMBS_DOWN, "Hm."),
    };
    struct buf b;
    buf_init(&b, 1 << 20);
    assert_ok(export_write(rows, 3, EXPORT_SFT, &b));
    assert_string_equal(b.p, "{\"messages\":[{\"role\":\"system\",\"content\":\"Help.\"},"
                             "{\"role\":\"user\",\"content\":\"Mail [EMAIL_1]?\"},"
                             "{\"role\":\"assistant\",\"content\":\"Yes, [EMAIL_1].\"}]}\n");
    buf_clear(&b);
    assert_ok(export_write(rows, 3, EXPORT_DPO, &b));
    assert_non_null(strstr(b.p, "\"chosen\":[{\"role\":\"assistant\",\"content\":\"Yes"));
    assert_non_null(strstr(b.p, "\"rejected\":[{\"role\":\"assistant\",\"content\":\"No \\\"nev"));
    assert_ptr_equal(strchr(b.p, '\n'), b.p + b.n - 1); /* one pair */
    buf_clear(&b);
    assert_ok(export_write(rows, 3, EXPORT_KTO, &b));
    assert_non_null(strstr(b.p, "\"label\":true"));
    assert_non_null(strstr(b.p, "\"label\":false"));
    assert_null(strstr(b.p, "example.org"));
    assert_int_equal(export_form_from_name(STR("dpo")), EXPORT_DPO);
    assert_int_equal(export_form_from_name(STR("ppo")), -1);
    buf_deinit(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rollout_goes_on_when_as_good),
        cmocka_unit_test(rollout_goes_back_when_ratings_latency_or_safety_fall),
        cmocka_unit_test(approved_takes_paraphrases_only),
        cmocka_unit_test(complaints_fall_into_themes),
        cmocka_unit_test(export_writes_each_form_without_personal_data),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
