/* Embeddings against a scripted server: both forms of vectors, the default model, broken answers.
 */
#include "unit/upstream/mock_upstream.h"

#include <math.h>

#include "upstream/upstream.h"

struct bench {
    char folder[64];
    struct loop *loop;
    struct mock mock;
    struct upstream *u;
    struct upstream_client *c;
    struct upstream_call *call;
    bool done;
    enum err err;
    float vectors[64];
    size_t n;
    int dimensions, layer_numbers;
    float layers[8];
    char model[64];
};

static int setup(void **state) {
    struct bench *b = calloc(1, sizeof *b);
    struct errinfo ei;
    snprintf(b->folder, sizeof b->folder, "/tmp/parley-test-XXXXXX");
    assert_non_null(mkdtemp(b->folder));
    assert_int_equal(net_init(&ei), ERR_OK);
    assert_int_equal(crypto_init(), ERR_OK);
    assert_int_equal(loop_new(&b->loop, &ei), ERR_OK);
    mock_init(&b->mock, b->loop, b->folder);
    struct upstream_options o = {.base_url = "http://engine/v1", .unix_socket = b->mock.path};
    assert_int_equal(upstream_new(&o, &b->u, &ei), ERR_OK);
    assert_int_equal(upstream_client_new(b->u, b->loop, &b->c, &ei), ERR_OK);
    *state = b;
    return 0;
}

static int teardown(void **state) {
    struct bench *b = *state;
    upstream_client_free(b->c);
    upstream_free(b->u);
    mock_deinit(&b->mock);
    loop_free(b->loop);
    rmdir(b->folder);
    free(b);
    return 0;
}

static void on_done(void *ctx, const struct embed_result *r) {
    struct bench *b = ctx;
    b->done = true;
    b->err = r->err;
    if (!r->err) {
        b->n = r->n;
        b->dimensions = r->dimensions;
        b->layer_numbers = r->layers ? r->layer_numbers : 0;
        memcpy(b->layers, r->layers ? r->layers : b->layers,
               r->n * (size_t)b->layer_numbers * sizeof *b->layers);
        snprintf(b->model, sizeof b->model, "%.*s", STR_ARG(r->model));
        memcpy(b->vectors, r->vectors, r->n * (size_t)r->dimensions * sizeof *r->vectors);
    }
    loop_stop(b->loop);
}

static void embed(struct bench *b, enum upstream_embed_how how) {
    struct str texts[2] = {STR("abc"), STR("12345")};
    struct errinfo ei;
    b->done = false;
    assert_int_equal(upstream_embed(b->c, STR_NULL, texts, 2, how, on_done, b, &b->call, &ei),
                     ERR_OK);
    pump_until(b->loop, &b->done);
}

static void check_rows(const struct bench *b) {
    assert_int_equal(b->err, ERR_OK);
    assert_int_equal(b->n, 2);
    assert_int_equal(b->dimensions, 3);
    assert_true(fabs(b->vectors[0] - 3 / sqrt(10)) < 1e-6); /* brought to length 1 */
    assert_true(fabs(b->vectors[3] - 5 / sqrt(26)) < 1e-6);
    assert_string_equal(b->model, "mock-embedding");
}

static void embed_base64_gives_unit_rows_in_order(void **state) {
    struct bench *b = *state;
    embed(b, UPSTREAM_EMBED_PLAIN);
    check_rows(b);
    assert_non_null(strstr(b->mock.embed_body, "\"model\":\"mock-embedding\""));
    assert_null(strstr(b->mock.embed_body, "background"));
}

static void embed_lists_out_of_order_are_put_in_order(void **state) {
    struct bench *b = *state;
    b->mock.embed_form = EMBED_REVERSED;
    embed(b, UPSTREAM_EMBED_BACKGROUND);
    check_rows(b);
    assert_non_null(strstr(b->mock.embed_body, "\"background\":true"));
}

static void embed_layers_come_with_their_vectors(void **state) {
    struct bench *b = *state;
    embed(b, UPSTREAM_EMBED_PLAIN);
    assert_int_equal(b->layer_numbers, 0);
    assert_null(strstr(b->mock.embed_body, "layers"));
    b->mock.embed_form = EMBED_REVERSED;
    b->mock.layers_of = "parley-guard-6";
    embed(b, UPSTREAM_EMBED_LAYERS);
    assert_non_null(strstr(b->mock.embed_body, "\"parley\":{\"layers_of\":\"parley-guard-6\"}"));
    check_rows(b);
    assert_int_equal(b->layer_numbers, 2);
    const float want[] = {3, -1, 5, -1}; /* as they are */
    assert_memory_equal(b->layers, want, sizeof want);
}

static void embed_layers_of_other_weights_are_not_read(void **state) {
    struct bench *b = *state;
    static const char *const others[] = {NULL, "parley-guard-5", "parley-guard-60", ""};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        b->mock.layers_of = others[i]; /* NULL = an engine that does not say */
        embed(b, UPSTREAM_EMBED_LAYERS);
        check_rows(b);
        assert_int_equal(b->layer_numbers, 0);
    }
}

static void embed_layers_of_some_texts_are_the_servers_fault(void **state) {
    struct bench *b = *state;
    b->mock.layers_missing = true;
    b->mock.layers_of = "parley-guard-6";
    embed(b, UPSTREAM_EMBED_LAYERS);
    assert_int_equal(b->err, ERR_UPSTREAM);
}

static void embed_missing_rows_are_the_servers_fault(void **state) {
    struct bench *b = *state;
    b->mock.embed_form = EMBED_BROKEN;
    embed(b, UPSTREAM_EMBED_PLAIN);
    assert_int_equal(b->err, ERR_UPSTREAM);
}

static void embed_without_such_a_model_says_so(void **state) {
    struct bench *b = *state;
    b->mock.models = "{\"data\":[{\"id\":\"chat\",\"parley\":{\"kind\":\"chat\"}}]}";
    embed(b, UPSTREAM_EMBED_PLAIN);
    assert_int_equal(b->err, ERR_NO_MODEL);
    assert_int_equal(b->mock.n_embeds, 0);
}

static void embed_cancelled_calls_nobody(void **state) {
    struct bench *b = *state;
    struct str text = STR("a");
    struct errinfo ei;
    assert_int_equal(
        upstream_embed(b->c, STR_NULL, &text, 1, UPSTREAM_EMBED_PLAIN, on_done, b, &b->call, &ei),
        ERR_OK);
    upstream_cancel(b->call);
    assert_false(b->done);
    assert_int_equal(
        upstream_embed(b->c, STR_NULL, &text, 0, UPSTREAM_EMBED_PLAIN, on_done, b, &b->call, &ei),
        ERR_INVALID);
}

int main(void) {
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(embed_base64_gives_unit_rows_in_order),
        TEST(embed_lists_out_of_order_are_put_in_order),
        TEST(embed_layers_come_with_their_vectors),
        TEST(embed_layers_of_other_weights_are_not_read),
        TEST(embed_layers_of_some_texts_are_the_servers_fault),
        TEST(embed_missing_rows_are_the_servers_fault),
        TEST(embed_without_such_a_model_says_so),
        TEST(embed_cancelled_calls_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
