#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "safety/classifier.h"

#define MODEL  PARLEY_SOURCE_DIR "/data/safety/model.bin"
#define CHECKS PARLEY_SOURCE_DIR "/data/safety/model-check.jsonl"
#define DIMS   384
#define ROW    (DIMS + 5 * 384) /* with the layers of the embedding model */

static struct buf read_file(const char *path) {
    struct buf b;
    char part[4096];
    size_t n;
    buf_init(&b, 8 << 20);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    while ((n = fread(part, 1, sizeof part, f)) > 0)
        buf_add(&b, part, n);
    fclose(f);
    assert_int_equal(buf_err(&b), ERR_OK);
    return b;
}

static struct classifier *builtin(void) {
    struct classifier *c = NULL;
    struct errinfo ei = {0};
    assert_int_equal(classifier_open_builtin(&c, &ei), ERR_OK);
    return c;
}

/* The embedding that the training script used for its row i, and the layers if it had any. */
static void make_embedding(int i, bool layers, float e[ROW]) {
    for (int d = 0; d < ROW; d++)
        e[d] = d < DIMS || layers ? (float)(sin(d * 0.37 + i) * 0.07) : 0;
}

static void logits_of_check_texts_agree_with_training(void **state) {
    (void)state;
    struct classifier *c = builtin();
    struct buf b = read_file(CHECKS);
    struct str rest = buf_str(&b);
    int n = 0;
    while (rest.n) {
        struct str line = str_cut(&rest, '\n');
        yyjson_doc *doc;
        struct errinfo ei = {0};
        float e[ROW], got[CLASSIFIER_HEADS_MAX];
        assert_int_equal(json_parse(line, &doc, &ei), ERR_OK);
        json_val *row = yyjson_doc_get_root(doc);
        struct str direction = json_get_str(row, "direction");
        json_val *embedding = json_get(row, "embedding");
        if (!yyjson_is_null(embedding))
            make_embedding((int)yyjson_get_int(embedding), json_get_bool(row, "layers", false), e);
        size_t heads =
            classifier_logits(c, json_get_str(row, "text"), yyjson_is_null(embedding) ? NULL : e,
                              str_eqz(direction, "input")    ? SAFETY_INPUT
                              : str_eqz(direction, "output") ? SAFETY_OUTPUT
                                                             : SAFETY_PASSAGE,
                              got);
        json_val *want = json_get(row, "logits");
        assert_int_equal(yyjson_arr_size(want), heads);
        for (size_t i = 0; i < heads; i++)
            assert_float_equal(got[i], yyjson_get_num(yyjson_arr_get(want, i)), 2e-3);
        yyjson_doc_free(doc);
        n++;
    }
    assert_true(n > 30);
    buf_deinit(&b);
    classifier_free(c);
}

static float harm(const struct classifier *c, const char *text, const char *folded) {
    float scores[SAFETY_CATEGORIES], any;
    struct safety_text t = {.text = str_from(text), .folded = str_from(folded)};
    classifier_score(c, &t, scores, &any);
    for (int i = 0; i < SAFETY_CATEGORIES; i++)
        assert_true(scores[i] >= 0 && scores[i] <= 1);
    for (int i = 0; i < SAFETY_PROMPT_INJECTION; i++)
        assert_true(scores[i] <= any);
    return any;
}

static void score_tells_a_threat_from_a_recipe(void **state) {
    (void)state;
    struct classifier *c = builtin();
    float recipe = harm(c, "How long do I roast a chicken of two kilos?", NULL);
    float threat = harm(c, "i will find you and kill you", NULL);
    assert_true(threat > 0.5f);
    assert_true(recipe < 0.2f);
    classifier_free(c);
}

static void score_of_a_disguised_text_is_that_of_what_it_hides(void **state) {
    (void)state;
    struct classifier *c = builtin();
    float plain = harm(c, "i will find you and kill you", "i will find you and kill you");
    float hidden = harm(c, "1 w1ll f1nd y0u 4nd k1ll y0u", "i will find you and kill you");
    assert_true(hidden >= plain - 1e-6f);
    classifier_free(c);
}

static void score_of_a_long_text_sees_its_end(void **state) {
    (void)state;
    struct classifier *c = builtin();
    struct buf b;
    buf_init(&b, SAFETY_TEXT_MAX);
    while (b.n < SAFETY_TEXT_MAX - 4300)
        buf_addz(&b, "The garden club meets on Tuesday in the hall. ");
    float before = harm(c, b.p, NULL);
    for (int i = 0; i < 140; i++)
        buf_addz(&b, "i will find you and kill you. ");
    assert_int_equal(buf_err(&b), ERR_OK);
    assert_true(harm(c, b.p, NULL) > before + 0.3f);
    buf_deinit(&b);
    classifier_free(c);
}

/* Behind the first piece, too; letters in capitals are no disguise. */
static void score_of_a_disguise_at_the_end_of_a_long_text_is_that_of_what_it_hides(void **state) {
    (void)state;
    struct classifier *c = builtin();
    struct buf plain, leet;
    buf_init(&plain, SAFETY_TEXT_MAX);
    buf_init(&leet, SAFETY_TEXT_MAX);
    while (plain.n < 4200)
        buf_addz(&plain, "the garden club meets on tuesday in the hall. ");
    buf_adds(&leet, buf_str(&plain));
    float before = harm(c, plain.p, plain.p);
    for (int i = 0; i < 4; i++) {
        buf_addz(&plain, "i will find you and kill you. ");
        buf_addz(&leet, "1 w1ll f1nd y0u 4nd k1ll y0u. ");
    }
    float said = harm(c, plain.p, plain.p);
    assert_true(said > before + 0.2f);
    assert_true(harm(c, leet.p, plain.p) >= said - 1e-6f);
    buf_deinit(&plain);
    buf_deinit(&leet);
    classifier_free(c);
}

/* However it is cut, a text that grew has the score of the whole, also before its last word ended.
 */
static void flow_in_any_pieces_scores_as_the_whole(void **state) {
    (void)state;
    static const char *const texts[] = {
        "",
        " ",
        "a",
        "I will find you, and kill you!",
        "How long do I roast a chicken of 2 kilos?  ",
        "\n\nGr\xc3\xbc\xc3\x9f Gott -- na\xc3\xafve caf\xc3\xa9s; it's 17:05.\tThe end"};
    struct classifier *c = builtin();
    unsigned seed = 7;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        for (int round = 0; round < 20; round++) {
            struct classifier_flow f = {0};
            struct str s = str_from(texts[i]);
            for (size_t at = 0; at < s.n || at == 0;) {
                size_t n = 1 + (seed = seed * 1103515245 + 12345) / 65536 % 5;
                float got[SAFETY_CATEGORIES], want[SAFETY_CATEGORIES], any;
                classifier_flow_add(c, &f, str_sub(s, at, n));
                at += n;
                struct safety_text t = {.text = str_sub(s, 0, at < s.n ? at : s.n),
                                        .direction = SAFETY_OUTPUT};
                classifier_score(c, &t, want, &any);
                classifier_flow_score(c, &f, SAFETY_OUTPUT, got);
                for (int k = 0; k < SAFETY_CATEGORIES; k++)
                    assert_float_equal(got[k], want[k], 1e-6);
            }
        }
    classifier_free(c);
}

/* Bit for bit, whether a text begins with the one before it or not. */
static void scores_together_are_those_of_each(void **state) {
    (void)state;
    static char talk[] = "Where is the nearest shop?\nI will find you, and kill you!\nThank you.";
    static char most[6000];
    static float row[ROW];
    struct classifier *c = builtin();
    struct safety_scorer s = classifier_scorer(c);
    memset(most, 'a', sizeof most);
    for (size_t i = 9; i < sizeof most; i += 7)
        most[i] = i % 2 ? ' ' : '\n';
    row[3] = 1;
    struct str texts[] = {{talk, 26}, {talk, 57},   {talk, 68},   {talk, 10},   {talk, 12},
                          {talk, 0},  {most, 3000}, {most, 4090}, {most, 6000}, {most + 2, 40},
                          {talk, 1},  {talk, 26},   {talk, 10},   {talk, 12}};
    enum { N = sizeof texts / sizeof *texts };
    struct safety_text t[N];
    float got[N][SAFETY_CATEGORIES], want[SAFETY_CATEGORIES];
    for (size_t i = 0; i < N; i++)
        t[i] = (struct safety_text){.text = texts[i],
                                    .folded = i % 5 == 4 ? STR("k1ll") : texts[i],
                                    .direction = i % 3 ? SAFETY_INPUT : SAFETY_OUTPUT,
                                    .embedding = i % 4 == 3 ? row : NULL};
    s.score_all(s.ctx, t, N, got);
    for (size_t i = 0; i < N; i++) {
        s.score(s.ctx, &t[i], want);
        assert_memory_equal(got[i], want, sizeof want);
    }
    classifier_free(c);
}

static void score_takes_any_bytes(void **state) {
    (void)state;
    struct classifier *c = builtin();
    char *big = malloc(20001);
    memset(big, 'x', 20000); /* one word longer than a piece */
    big[20000] = 0;
    harm(c, big, "");
    memset(big, 0xff, 20000);
    harm(c, big, NULL);
    memset(big, '!', 20000);
    harm(c, big, NULL);
    harm(c, "", NULL);
    for (size_t n = 4090; n < 4102; n++) { /* around the length of a piece */
        memset(big, 'y', n);
        big[n] = 0;
        harm(c, big, NULL);
        big[n - 3] = ' ';
        harm(c, big, NULL);
        big[n - 3] = 'y';
    }
    free(big);
    classifier_free(c);
}

static void parse_damaged_model_is_refused(void **state) {
    (void)state;
    struct buf b = read_file(MODEL);
    struct classifier *c = NULL;
    struct errinfo ei = {0};
    static const size_t places[] = {0, 9, 20, 40, 100, 70000, 640000};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        b.p[places[i]] ^= 4;
        assert_int_equal(classifier_parse(buf_str(&b), &c, &ei), ERR_CORRUPT);
        assert_true(ei.message[0]);
        b.p[places[i]] ^= 4;
    }
    for (size_t n = 0; n < b.n; n += n < 600 ? 1 : 50021)
        assert_int_equal(classifier_parse(str_sub(buf_str(&b), 0, n), &c, &ei), ERR_CORRUPT);
    assert_null(c);
    assert_int_equal(classifier_parse(buf_str(&b), &c, &ei), ERR_OK);
    classifier_free(c);
    buf_deinit(&b);
}

static void open_missing_model_is_not_found(void **state) {
    (void)state;
    struct classifier *c = NULL;
    struct errinfo ei = {0};
    assert_int_equal(classifier_open("/nonexistent/model.bin", &c, &ei), ERR_NOT_FOUND);
    assert_int_equal(classifier_open(CHECKS, &c, &ei), ERR_CORRUPT);
    assert_int_equal(classifier_open(MODEL, &c, &ei), ERR_OK);
    struct safety_scorer s = classifier_scorer(c);
    assert_int_equal(s.embedding_dims, DIMS);
    assert_int_equal(safety_scorer_row(&s), ROW);
    assert_true(s.name[0]);
    classifier_free(c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logits_of_check_texts_agree_with_training),
        cmocka_unit_test(score_tells_a_threat_from_a_recipe),
        cmocka_unit_test(score_of_a_disguised_text_is_that_of_what_it_hides),
        cmocka_unit_test(score_of_a_long_text_sees_its_end),
        cmocka_unit_test(score_of_a_disguise_at_the_end_of_a_long_text_is_that_of_what_it_hides),
        cmocka_unit_test(flow_in_any_pieces_scores_as_the_whole),
        cmocka_unit_test(scores_together_are_those_of_each),
        cmocka_unit_test(score_takes_any_bytes),
        cmocka_unit_test(parse_damaged_model_is_refused),
        cmocka_unit_test(open_missing_model_is_not_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
