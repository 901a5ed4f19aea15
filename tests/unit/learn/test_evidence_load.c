/* What of the store's rows is looked at: the newest questions when there are more than can be, and
 * turns that showed one of two passages. */
#include "unit/store/fixture.h"

#include "learn/evidence_load.h"
#include "store/chunk.h"
#include "store/learning.h"

#define DIMS 4

struct world {
    struct fixture *f;
    struct uuid ada, role, conversation, doc;
    float vector[DIMS];
};

static struct world make(struct fixture *f) {
    struct world w = {.f = f, .vector = {1, 0, 0, 0}};
    int64_t model;
    char packed[sizeof(float) + DIMS] = {0};
    unsigned char hash[CHUNK_HASH_LEN] = {7};
    float scale = 1.0f / 127;
    memcpy(packed, &scale, sizeof scale);
    packed[sizeof scale] = 127;
    w.ada = make_user(f->tx, "ada", true);
    w.role = make_role(f->tx, "Helper");
    w.conversation = make_conversation(f->tx, w.ada, w.role, "t", 1000);
    struct document d = {.doc_id = uuid_new(),
                         .user_id = w.ada,
                         .source_name = STR("note.txt"),
                         .content = STR("text"),
                         .shared = true};
    assert_ok(document_create(f->tx, &d, &f->ei));
    w.doc = d.doc_id;
    assert_ok(embedding_model_id(f->tx, STR("m"), DIMS, &model));
    assert_ok(chunk_vector_put(f->tx, model, hash, (struct str){packed, sizeof packed}));
    return w;
}

static void ask(struct world *w, const char *question, const char *pair, enum rating rating,
                int64_t at) {
    struct fixture *f = w->f;
    char record[600];
    struct uuid q = make_message(f->tx, w->conversation, no_id, SENDER_USER, question);
    struct message a = message_of(w->conversation, q, SENDER_ASSISTANT, "answer");
    struct feedback stored, b = {.feedback_id = uuid_new(),
                                 .message_id = a.message_id,
                                 .user_id = w->ada,
                                 .rating = rating};
    snprintf(record, sizeof record,
             "{\"passages\":[{\"doc_id\":\"%s\",\"key\":\"00000000000000aa\",\"cited\":true,"
             "\"signals\":[0.5,0,0,0,0,0,0,0]}]%s}",
             w->doc.s, pair);
    a.role_id = w->role;
    a.role_version = 1;
    a.model = STR("m");
    assert_ok(message_append(f->tx, &a, &f->ei));
    struct turn_record r = {.message_id = a.message_id,
                            .user_id = w->ada,
                            .role_id = w->role,
                            .role_version = 1,
                            .at = at,
                            .arm_chance = 1,
                            .ranked_chance = 1,
                            .examples_chance = 1,
                            .passages = 1,
                            .vector_model = STR("m"),
                            .vector = {(const char *)w->vector, sizeof w->vector},
                            .record = str_from(record)};
    assert_ok(turn_record_put(f->tx, &r));
    assert_ok(feedback_put(f->tx, &b, f->arena, &stored, &f->ei));
}

static bool has_question(const struct evidence_set *s, const char *text) {
    for (size_t i = 0; i < s->n_questions; i++)
        if (str_eqz(s->questions[i].text, text))
            return true;
    return false;
}

static void beyond_its_cap_the_oldest_questions_are_let_go(void **state) {
    struct fixture *f = *state;
    struct world w = make(f);
    struct evidence_set s;
    struct arena *a = arena_new(512 << 20);
    char question[40];
    assert_ok(conn_exec(f->conn, "BEGIN"));
    for (int i = 0; i < RANKER_QUESTIONS_MAX + 10; i++) {
        snprintf(question, sizeof question, "question %d", i);
        ask(&w, question, "", RATING_THUMBS_UP, 1000 + i);
    }
    ask(&w, "question 20", "", RATING_THUMBS_UP,
        1000000); /* asked again: it is no other question */
    assert_ok(conn_exec(f->conn, "COMMIT"));
    assert_ok(evidence_load(f->tx, a, &s));
    assert_int_equal(s.n_questions, RANKER_QUESTIONS_MAX);
    assert_int_equal(s.n_turns, s.n_ratings);
    assert_true(s.rated == (int64_t)s.n_turns && s.left_out > 0);
    snprintf(question, sizeof question, "question %d", RANKER_QUESTIONS_MAX + 9);
    assert_true(has_question(&s, question)); /* what is said now counts */
    assert_true(has_question(&s, "question 20"));
    assert_false(has_question(&s, "question 0"));
    assert_int_equal(s.turn_at[s.n_turns - 1], 1000000);
    assert_true(s.rated_at[0] > 0);
    arena_free(a);
}

static void a_turn_that_showed_one_of_two_is_a_choice(void **state) {
    struct fixture *f = *state;
    struct world w = make(f);
    struct evidence_set s;
    char pair[300];
    static const char *const form =
        ",\"pair\":{\"swapped\":true,\"chance\":%s,\"other\":{\"doc_id\":\"%s\","
        "\"key\":\"00000000000000bb\",\"signals\":[0.6,0,0,0,0,0,0,0,0,0,0,0.01,0,0,0,-0.05]}}";
    snprintf(pair, sizeof pair, form, "0.1", w.doc.s);
    ask(&w, "one?", pair, RATING_THUMBS_UP, 1000);
    ask(&w, "one?", "", RATING_THUMBS_UP, 2000);
    snprintf(pair, sizeof pair, form, "0", w.doc.s); /* nothing is shown with no chance */
    ask(&w, "one?", pair, RATING_THUMBS_UP, 3000);
    snprintf(pair, sizeof pair, form, "0.1", uuid_new().s); /* of a document that is gone */
    ask(&w, "one?", pair, RATING_THUMBS_UP, 4000);
    assert_ok(evidence_load(f->tx, f->arena, &s));
    assert_int_equal(s.n_turns, 4);
    assert_int_equal(s.n_choices, 1);
    const struct replay_choice *c = &s.choices[0];
    assert_int_equal(c->passages[0].key, 0xbb); /* the search's own choice */
    assert_int_equal(c->passages[1].key, 0xaa);
    assert_int_equal(c->shown, 1);
    assert_true(c->passages[0].signals[RANKER_NEAR_FEW] == 0.01 &&
                c->passages[0].signals[RANKER_WORDS_BEST] == -0.05);
    assert_true(c->passages[1].signals[RANKER_WORDS_BEST] == 0); /* of an older record */
    assert_true(c->chance == 0.1 && c->value == 1 && c->weight > 0);
    assert_int_equal(s.choice_turn[0], 0);
}

int main(void) {
#define T(name) cmocka_unit_test_setup_teardown(name, fixture_open, fixture_close)
    const struct CMUnitTest tests[] = {
        T(beyond_its_cap_the_oldest_questions_are_let_go),
        T(a_turn_that_showed_one_of_two_is_a_choice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
