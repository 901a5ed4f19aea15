/* Documents on their way in: which pieces are marked, what is kept of the findings, and that it is
 * no text. */
#include "unit.h"

#include "base/json.h"
#include "safety/document.h"

static const char policy_text[] =
    "{\"categories\":{\"prompt_injection\":{\"annotate\":0.2,\"warn\":0.6},"
    "\"illicit\":{\"annotate\":0.2}},\"pii\":{\"email\":\"annotate\",\"secret\":\"redact\"},"
    "\"refusals\":{\"default\":\"No.\"},\"rules\":["
    "{\"id\":\"orders\",\"category\":\"prompt_injection\",\"score\":0.9,\"on\":[\"passage\"],"
    "\"match\":[\"obey the walrus\"]},"
    "{\"id\":\"noted\",\"category\":\"illicit\",\"score\":0.3,\"on\":[\"passage\"],"
    "\"match\":[\"zebra\"]}]}";

/* Suspects what has a gnu in it, and long texts with a hippo. */
static void score(const void *ctx, const struct safety_text *t, float ret[SAFETY_CATEGORIES]) {
    (void)ctx;
    memset(ret, 0, SAFETY_CATEGORIES * sizeof *ret);
    if (str_find(t->text, STR("gnu")) != SIZE_MAX ||
        (t->text.n > 20 && str_find(t->text, STR("hippo")) != SIZE_MAX))
        ret[SAFETY_PROMPT_INJECTION] = 0.7f;
}

static const struct safety_scorer scorer = {.name = "test", .score = score};

struct judged {
    struct safety *g;
    struct arena *a;
    struct document d;
    struct chunk_row rows[4];
    bool orders;
    yyjson_doc *doc; /* of d.safety */
    json_val *root;
};

static void judge(struct judged *j, const char *title, const char *const texts[4]) {
    struct errinfo ei;
    struct safety_options o = {
        .policy = str_from(policy_text), .policy_version = 7, .scorer = &scorer};
    memset(j, 0, sizeof *j);
    assert_int_equal(safety_new(&o, &j->g, &ei), ERR_OK);
    j->a = arena_new(1 << 20);
    j->d.title = str_from(title);
    j->d.source_name = STR("notes.txt");
    for (int i = 0; i < 4; i++)
        j->rows[i] = (struct chunk_row){.n = i,
                                        .char_from = 1000 * i,
                                        .flags = CHUNK_FLAG_CODE,
                                        .heading = i == 3 ? STR("Later") : STR("First"),
                                        .text = str_from(texts[i])};
    assert_int_equal(safety_judge_document(j->g, &j->d, j->rows, 4, j->a, &j->orders), ERR_OK);
    if (j->d.safety.n) {
        assert_int_equal(json_parse(j->d.safety, &j->doc, &ei), ERR_OK);
        j->root = yyjson_doc_get_root(j->doc);
    }
}

static void judged_free(struct judged *j) {
    yyjson_doc_free(j->doc);
    arena_free(j->a);
    safety_free(j->g);
}

static unsigned marked(const struct judged *j) {
    unsigned m = 0;
    for (int i = 0; i < 4; i++)
        m |= (unsigned)(j->rows[i].flags / CHUNK_FLAG_GUARD % 2) << i;
    return m;
}

static void clean_document_has_a_stamp_and_nothing_else(void **state) {
    (void)state;
    struct judged j;
    char stamp[SAFETY_STAMP_SIZE];
    judge(
        &j, "Rivers",
        (const char *const[]){"It rises.", "It flows.", "A zebra drinks.", "Ask ada@example.org."});
    assert_int_equal(j.d.safety.n, 0); /* what is only noted changes nothing */
    assert_int_equal(marked(&j), 0);
    assert_false(j.orders);
    struct policy *p = safety_get_policy(j.g);
    safety_stamp(j.g, p, stamp);
    policy_unref(p);
    assert_true(str_eqz(j.d.safety_stamp, stamp));
    judged_free(&j);
}

static void orders_and_secrets_are_marked_with_their_places(void **state) {
    (void)state;
    struct judged j;
    judge(&j, "Rivers",
          (const char *const[]){"It rises.", "\xc3\x84h. Obey the walrus now! It flows.",
                                "The password: tr0ub4dor&3x was used.", "It ends."});
    assert_int_equal(marked(&j), 6);
    assert_int_equal(j.rows[1].flags, CHUNK_FLAG_CODE | CHUNK_FLAG_GUARD);
    assert_true(j.orders);
    assert_int_equal(json_get_int(j.root, "policy_version", -1), 7);
    assert_int_equal(json_get_int(j.root, "left_out", -1), 1);
    assert_int_equal(json_get_int(j.root, "replaced", -1), 1);
    assert_int_equal(json_get_int(j.root, "pieces", -1), 2);
    assert_int_equal(json_get_int(json_get(j.root, "counts"), "prompt_injection", 0), 1);
    assert_int_equal(json_get_int(json_get(j.root, "counts"), "privacy", 0), 1);
    json_val *first = yyjson_arr_get_first(json_get(j.root, "findings"));
    assert_true(str_eqz(json_get_str(first, "source"), "rule:orders"));
    assert_true(str_eqz(json_get_str(first, "place"), "text"));
    assert_int_equal(json_get_int(first, "char_from", -1), 1004); /* characters, not bytes */
    assert_int_equal(json_get_int(first, "char_to", -1), 1019);
    assert_true(str_find(j.d.safety, STR("tr0ub4dor")) == SIZE_MAX);
    assert_true(str_find(j.d.safety, STR("walrus")) == SIZE_MAX);
    judged_free(&j);
}

static void orders_in_a_title_or_heading_concern_its_pieces(void **state) {
    (void)state;
    struct judged j;
    static const char *const plain[] = {"It rises.", "It flows.", "It bends.", "It ends."};
    judge(&j, "Obey the walrus", plain);
    assert_int_equal(marked(&j), 15);
    assert_true(str_find(j.d.safety, STR("\"place\":\"title\",\"char_from\":null")) != SIZE_MAX);
    judged_free(&j);
    judge(&j, "Rivers", plain);
    j.rows[3].heading = STR("Obey the walrus");
    assert_int_equal(safety_judge_document(j.g, &j.d, j.rows, 4, j.a, &j.orders), ERR_OK);
    assert_int_equal(marked(&j), 8);
    assert_true(j.orders);
    judged_free(&j);
}

static void what_is_suspected_of_a_sentence_is_left_out(void **state) {
    (void)state;
    struct judged j;
    judge(&j, "Rivers",
          (const char *const[]){"It rises.", "It widens. A gnu drinks. It rains.", "It bends.",
                                "It ends."});
    assert_int_equal(marked(&j), 2);
    assert_int_equal(json_get_int(j.root, "left_out", -1), 1);
    assert_int_equal(json_get_int(json_get(j.root, "counts"), "prompt_injection", 0), 1);
    json_val *first = yyjson_arr_get_first(json_get(j.root, "findings"));
    int64_t from = json_get_int(first, "char_from", -1);
    assert_int_equal(json_get_int(first, "char_to", -1) - from, (int)strlen(" A gnu drinks."));
    assert_true(j.orders);
    judged_free(&j);
}

static void what_is_suspected_of_the_whole_is_noted_and_no_order(void **state) {
    (void)state;
    struct judged j;
    judge(&j, "Rivers",
          (const char *const[]){"It rises.",
                                "A hippo. A hippo. A hippo. A hippo. A hippo. A hippo.",
                                "It bends.", "It ends."});
    assert_int_equal(marked(&j),
                     2); /* a part of it may be judged otherwise: again before a prompt */
    assert_int_equal(json_get_int(j.root, "left_out", -1), 0);
    assert_int_equal(json_get_int(json_get(j.root, "counts"), "prompt_injection", 0), 1);
    assert_false(j.orders);
    judged_free(&j);
}

static void another_policy_has_another_stamp(void **state) {
    (void)state;
    struct errinfo ei;
    struct safety *g;
    struct policy *p;
    char one[SAFETY_STAMP_SIZE], other[SAFETY_STAMP_SIZE];
    struct safety_options o = {.policy = str_from(policy_text)};
    assert_int_equal(safety_new(&o, &g, &ei), ERR_OK);
    p = safety_get_policy(g);
    safety_stamp(g, p, one);
    policy_unref(p);
    assert_int_equal(policy_parse(STR("{\"categories\":{}}"), 0, &p, &ei), ERR_OK);
    safety_stamp(g, p, other);
    policy_unref(p);
    assert_string_not_equal(one, other);
    safety_free(g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(clean_document_has_a_stamp_and_nothing_else),
        cmocka_unit_test(orders_and_secrets_are_marked_with_their_places),
        cmocka_unit_test(orders_in_a_title_or_heading_concern_its_pieces),
        cmocka_unit_test(what_is_suspected_of_a_sentence_is_left_out),
        cmocka_unit_test(what_is_suspected_of_the_whole_is_noted_and_no_order),
        cmocka_unit_test(another_policy_has_another_stamp),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
