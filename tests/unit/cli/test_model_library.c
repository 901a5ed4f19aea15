/* What is in use: current.json, the defaults and the fallback to the small model, damaged weights.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/crypto.h"
#include "cli/models_internal.h"

#define SHA "0000000000000000000000000000000000000000000000000000000000000000"

static char dir[64];
static struct models models = {.dir = dir};

static const struct model_file file = {"w", SHA, 3};
/* No --from is given, so this source cannot be used: a pull of a model that is not there fails. */
static const struct model_source nowhere = {.type = SOURCE_FILE};
#define MODEL(n, k)                                                                                \
    {                                                                                              \
        .name = (n), .title = (n), .kind = (k), .form = "Q8_0", .prepared_size = 1,                \
        .files = &file, .n_files = 1, .sources = &nowhere, .n_sources = 1                          \
    }
static const struct model all[] = {MODEL("big", MODEL_CHAT), MODEL("tiny", MODEL_CHAT),
                                   MODEL("emb", MODEL_EMBEDDING)};
static const struct catalogue catalogue = {.models = all,
                                           .n_models = 3,
                                           .chat = &all[0],
                                           .small_chat = &all[1],
                                           .embedding = &all[2],
                                           .small_below_memory = 1000};

static void write_file(const char *name, const char *text) {
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    assert_int_equal(ERR_OK, file_write_text(path, str_from(text), NULL));
}

/* Sets a model up without weights that could be run: three bytes and their record. */
static void install(const char *name) {
    char state[PATH_MAX], text[512], weights[64];
    snprintf(weights, sizeof weights, "%s.gguf", name);
    snprintf(state, sizeof state, "%s.json", name);
    snprintf(text, sizeof text,
             "{\"name\":\"%s\",\"form\":\"Q8_0\",\"file\":\"%s\",\"size\":3,\"sha256\":\"" SHA
             "\"}",
             name, weights);
    write_file(weights, "abc");
    write_file(state, text);
}

static int set_up(void **state) {
    (void)state;
    assert_int_equal(ERR_OK, crypto_init());
    strcpy(dir, "/tmp/parley-test-XXXXXX");
    assert_non_null(mkdtemp(dir));
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    folder_remove(dir);
    return 0;
}

static void before_the_first_pull_current_says_what_to_do(void **state) {
    (void)state;
    struct model_choice c;
    struct errinfo ei = {0};
    assert_int_equal(ERR_NOT_FOUND, models_current(dir, &c, &ei));
    assert_non_null(strstr(ei.message, "parley model pull"));
}

static void enough_memory_takes_the_default(void **state) {
    (void)state;
    struct model_choice c;
    install("big");
    install("emb");
    assert_int_equal(ERR_OK, models_pull_defaults(&models, &catalogue, 1000, NULL));
    assert_int_equal(ERR_OK, models_current(dir, &c, NULL));
    assert_string_equal("big", c.chat_name);
    assert_string_equal("emb", c.embedding_name);
    assert_string_equal("", c.notice);
    assert_non_null(strstr(c.chat_path, "/big.gguf"));
}

static void little_memory_takes_the_small_model_and_says_so(void **state) {
    (void)state;
    struct model_choice c;
    install("big");
    install("tiny");
    install("emb");
    assert_int_equal(ERR_OK, models_pull_defaults(&models, &catalogue, 999, NULL));
    assert_int_equal(ERR_OK, models_current(dir, &c, NULL));
    assert_string_equal("tiny", c.chat_name);
    assert_non_null(strstr(c.notice, "tiny"));
}

static void default_without_a_source_falls_back_and_says_so(void **state) {
    (void)state;
    struct model_choice c;
    install("tiny");
    install("emb");
    assert_int_equal(ERR_OK, models_pull_defaults(&models, &catalogue, 5000, NULL));
    assert_int_equal(ERR_OK, models_current(dir, &c, NULL));
    assert_string_equal("tiny", c.chat_name);
    assert_non_null(strstr(c.notice, "parley model use big"));
}

static void no_model_at_all_is_an_error(void **state) {
    (void)state;
    struct model_choice c;
    assert_int_equal(ERR_UNAVAILABLE, models_pull_defaults(&models, &catalogue, 5000, NULL));
    assert_int_equal(ERR_NOT_FOUND, models_current(dir, &c, NULL));
}

static void chosen_model_is_kept(void **state) {
    (void)state;
    struct model_choice c;
    install("big");
    install("tiny");
    install("emb");
    assert_int_equal(ERR_OK, models_use(dir, MODEL_CHAT, "tiny", NULL, NULL, NULL));
    assert_int_equal(ERR_OK, models_pull_defaults(&models, &catalogue, 5000, NULL));
    assert_int_equal(ERR_OK, models_current(dir, &c, NULL));
    assert_string_equal("tiny", c.chat_name);
}

static void choosing_clears_the_notice(void **state) {
    (void)state;
    struct model_choice c;
    install("big");
    assert_int_equal(ERR_OK, models_use(dir, MODEL_CHAT, "big", NULL, "a \"notice\"\n", NULL));
    assert_int_equal(ERR_OK, models_current(dir, &c, NULL));
    assert_string_equal("a \"notice\"\n", c.notice);
    assert_int_equal(ERR_OK, models_use(dir, MODEL_CHAT, "big", NULL, NULL, NULL));
    assert_int_equal(ERR_OK, models_current(dir, &c, NULL));
    assert_string_equal("", c.notice);
}

static void cut_weights_are_found(void **state) {
    (void)state;
    struct model_choice c;
    struct errinfo ei = {0};
    install("big");
    assert_int_equal(ERR_OK, models_use(dir, MODEL_CHAT, "big", NULL, NULL, NULL));
    write_file("big.gguf", "ab");
    assert_int_equal(ERR_CORRUPT, models_current(dir, &c, &ei));
    assert_non_null(strstr(ei.message, "parley model pull big"));
}

static void damaged_records_are_found(void **state) {
    (void)state;
    struct model_choice c;
    struct model_installed i;
    install("big");
    write_file("big.json", "{\"name\":\"big\",\"file\":\"../../etc/passwd\",\"size\":3}");
    assert_int_equal(ERR_CORRUPT, model_installed_get(dir, "big", &i, NULL));
    write_file("current.json", "no JSON");
    assert_int_equal(ERR_CORRUPT, models_current(dir, &c, NULL));
}

static void verify_finds_changed_bytes(void **state) {
    (void)state;
    struct model_installed i;
    struct errinfo ei = {0};
    install("big");
    assert_int_equal(ERR_OK, model_installed_get(dir, "big", &i, NULL));
    assert_int_equal(ERR_CORRUPT, model_verify(&models, &i, &ei));
    assert_non_null(strstr(ei.message, "SHA-256"));
}

static void file_that_is_no_model_is_refused(void **state) {
    (void)state;
    struct model_choice c;
    struct errinfo ei = {0};
    char path[PATH_MAX];
    write_file("text.gguf", "this is a text and no model at all");
    snprintf(path, sizeof path, "%s/text.gguf", dir);
    assert_int_equal(ERR_CORRUPT, models_choose(dir, path, "none", &c, &ei));
    snprintf(path, sizeof path, "%s/absent.gguf", dir);
    assert_int_equal(ERR_NO_MODEL, models_choose(dir, path, "none", &c, &ei));
    assert_int_equal(ERR_NO_MODEL, models_choose(dir, "no-such-model", "none", &c, &ei));
    assert_non_null(strstr(ei.message, "parley model list"));
}

static void chat_model_is_pulled_without_a_source_of_embeddings(void **state) {
    (void)state;
    struct model_choice c;
    install("big");
    assert_int_equal(ERR_OK, models_pull_defaults(&models, &catalogue, 5000, NULL));
    assert_int_equal(ERR_OK, models_current(dir, &c, NULL));
    assert_string_equal("big", c.chat_name);
    assert_string_equal("", c.embedding_name);
}

/* A header that the engine takes for weights: GGUF version 3, no tensors, an architecture. */
static void write_gguf(const char *name, char path[PATH_MAX]) {
    static const char key[] = "general.architecture", value[] = "llama";
    char header[96] = "GGUF\3";
    char *p = header + 16;
    *p = 1; /* pairs */
    p += 8;
    *p = sizeof key - 1;
    memcpy(p + 8, key, sizeof key - 1);
    p += 8 + sizeof key - 1;
    *p = 8; /* a string */
    p += 4;
    *p = sizeof value - 1;
    memcpy(p + 8, value, sizeof value - 1);
    snprintf(path, PATH_MAX, "%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(sizeof header, fwrite(header, 1, sizeof header, f));
    fclose(f);
}

static void damaged_embedding_model_leaves_chat_and_says_so(void **state) {
    (void)state;
    struct model_choice c;
    char path[PATH_MAX];
    write_gguf("chat.gguf", path);
    install("big");
    install("emb");
    assert_int_equal(ERR_OK, models_use(dir, MODEL_CHAT, "big", NULL, NULL, NULL));
    assert_int_equal(ERR_OK, models_use(dir, MODEL_EMBEDDING, "emb", NULL, NULL, NULL));
    write_file("emb.gguf", "ab"); /* and the chat model in use is gone, which is not asked for */
    write_file("big.gguf", "");
    assert_int_equal(ERR_OK, models_choose(dir, path, "", &c, NULL));
    assert_string_equal("chat", c.chat_name);
    assert_string_equal("", c.embedding_name);
    assert_string_equal("", c.embedding_path);
    assert_non_null(strstr(c.notice, "parley model pull emb"));
}

static void embedding_model_that_was_set_up_is_used_without_being_chosen(void **state) {
    (void)state;
    struct model_choice c;
    install("big");
    assert_int_equal(ERR_OK, models_use(dir, MODEL_CHAT, "big", NULL, NULL, NULL));
    assert_int_equal(ERR_OK, models_current(dir, &c, NULL));
    assert_string_equal("", c.embedding_name);
    install("all-minilm-l6-v2"); /* the built-in catalogue's */
    assert_int_equal(ERR_OK, models_current(dir, &c, NULL));
    assert_string_equal("all-minilm-l6-v2", c.embedding_name);
    assert_non_null(strstr(c.embedding_path, "all-minilm-l6-v2.gguf"));
}

static void model_of_an_earlier_version_runs_and_is_set_up_again_by_the_next_pull(void **state) {
    (void)state;
    struct catalogue c;
    struct model_installed i;
    struct model_choice now;
    assert_int_equal(ERR_OK, catalogue_builtin(&c, NULL));
    const struct model *m = catalogue_find(&c, STR("all-minilm-l6-v2"));
    assert_non_null(m);
    install(m->name);
    install("big");
    assert_int_equal(ERR_OK, models_use(dir, MODEL_CHAT, "big", NULL, NULL, NULL));
    assert_int_equal(ERR_OK, models_current(dir, &now, NULL));
    assert_string_equal(m->name, now.embedding_name);
    assert_int_equal(ERR_OK, model_installed_get(dir, m->name, &i, NULL));
    assert_true(model_outdated(m, &i)); /* the hash is not the catalogue's */
    snprintf(i.sha256, sizeof i.sha256, "%s", m->prepared_sha256);
    assert_false(model_outdated(m, &i));
    catalogue_deinit(&c);
}

/* A Python that converts by copying the file that PARLEY_TEST_CONVERTED names. */
static void convert_by_copying(const char *converted) {
    char python[PATH_MAX];
    write_file("python", "#!/bin/sh\nexec cp \"$PARLEY_TEST_CONVERTED\" \"$4\"\n");
    snprintf(python, sizeof python, "%s/python", dir);
    assert_int_equal(0, chmod(python, 0755));
    assert_int_equal(0, setenv("PARLEY_PYTHON", python, 1));
    assert_int_equal(0, setenv("PARLEY_TEST_CONVERTED", converted, 1));
}

static void model_in_use_outlives_being_set_up_again_in_vain(void **state) {
    (void)state;
    char converted[PATH_MAX], fresh[PATH_MAX], published[65], hex[65];
    struct model_installed i;
    struct errinfo ei = {0};
    write_gguf("converted", converted);
    convert_by_copying(converted);
    assert_int_equal(ERR_OK, file_sha256(&models, converted, hex, NULL));
    write_file("w", "abc");
    snprintf(fresh, sizeof fresh, "%s/w", dir);
    assert_int_equal(ERR_OK, file_sha256(&models, fresh, published, NULL));
    const struct model_file w = {"w", published, 3};
    struct model m = all[2];
    m.files = &w;
    m.convert = CONVERT_MINILM;
    m.prepared_sha256 = published; /* which is not what the conversion gives */
    const struct models with = {.dir = dir, .from = dir};
    write_file("emb.Q8_0.gguf", "abc");
    write_file("emb.json", "{\"name\":\"emb\",\"form\":\"Q8_0\",\"file\":\"emb.Q8_0.gguf\","
                           "\"size\":3,\"sha256\":\"" SHA "\"}");
    assert_int_equal(ERR_CORRUPT, model_pull(&with, &m, &ei));
    assert_non_null(strstr(ei.message, "as prepared has SHA-256"));
    assert_int_equal(ERR_OK, model_installed_get(dir, "emb", &i, NULL));
    assert_int_equal(3, file_bytes(i.path));
    snprintf(fresh, sizeof fresh, "%s/emb.Q8_0.gguf.new", dir);
    assert_true(file_bytes(fresh) < 0);
    m.prepared_sha256 = hex;
    assert_int_equal(ERR_OK, model_pull(&with, &m, NULL));
    assert_int_equal(ERR_OK, model_installed_get(dir, "emb", &i, NULL));
    assert_string_equal(hex, i.sha256);
    assert_int_equal(file_bytes(converted), file_bytes(i.path));
    assert_true(file_bytes(fresh) < 0);
    unsetenv("PARLEY_PYTHON");
    unsetenv("PARLEY_TEST_CONVERTED");
}

static void disowned_model_is_set_up_again_by_the_next_pull(void **state) {
    (void)state;
    struct model_installed i;
    install("big");
    assert_int_equal(ERR_OK, model_disown(dir, "big", NULL));
    assert_int_equal(ERR_NOT_FOUND, model_installed_get(dir, "big", &i, NULL));
    assert_int_equal(ERR_OK, model_disown(dir, "big", NULL));
}

static void model_that_is_not_set_up_says_what_to_do(void **state) {
    (void)state;
    struct model_choice c;
    struct errinfo ei = {0};
    assert_int_equal(ERR_NO_MODEL, models_choose(dir, "smollm2", "none", &c, &ei));
    assert_non_null(strstr(ei.message, "parley model pull smollm2-135m-instruct"));
}

int main(void) {
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(before_the_first_pull_current_says_what_to_do),
        T(enough_memory_takes_the_default),
        T(little_memory_takes_the_small_model_and_says_so),
        T(default_without_a_source_falls_back_and_says_so),
        T(no_model_at_all_is_an_error),
        T(chosen_model_is_kept),
        T(choosing_clears_the_notice),
        T(cut_weights_are_found),
        T(damaged_records_are_found),
        T(verify_finds_changed_bytes),
        T(file_that_is_no_model_is_refused),
        T(chat_model_is_pulled_without_a_source_of_embeddings),
        T(damaged_embedding_model_leaves_chat_and_says_so),
        T(embedding_model_that_was_set_up_is_used_without_being_chosen),
        T(model_of_an_earlier_version_runs_and_is_set_up_again_by_the_next_pull),
        T(model_in_use_outlives_being_set_up_again_in_vain),
        T(disowned_model_is_set_up_again_by_the_next_pull),
        T(model_that_is_not_set_up_says_what_to_do),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
