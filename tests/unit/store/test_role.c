/* Assistant roles, their names and their versions. */
#include "unit/store/fixture.h"

static struct role role_of(const char *name) {
    return (struct role){.role_id = uuid_new(),
                         .name = str_from(name),
                         .description = STR("d"),
                         .system_prompt = STR("v1"),
                         .model = STR("m"),
                         .temperature = 0.5,
                         .top_p = 0.9,
                         .max_tokens = 64,
                         .stop = STR("[\"x\"]"),
                         .starter_questions = STR("[\"q\"]"),
                         .created_at = 10};
}

static void role_created_reads_back_whole(void **state) {
    struct fixture *f = *state;
    struct role r = role_of("Travel Assistant"), got;
    assert_ok(role_create(f->tx, &r, &f->ei));
    assert_ok(role_get(f->tx, &r.role_id, f->arena, &got));
    assert_str(got.name, "Travel Assistant");
    assert_str(got.description, "d");
    assert_str(got.system_prompt, "v1");
    assert_str(got.model, "m");
    assert_str(got.stop, "[\"x\"]");
    assert_str(got.starter_questions, "[\"q\"]");
    assert_true(got.temperature == 0.5 && got.top_p == 0.9);
    assert_int_equal(got.max_tokens, 64);
    assert_int_equal(got.version, 1);
    assert_int_equal(got.created_at, 10);
    assert_int_equal(got.retired_at, 0);
}

static void role_slug_of_names(void **state) {
    (void)state;
    static const struct {
        const char *name, *slug;
    } cases[] = {{"Travel Assistant", "travel-assistant"},
                 {"  C++ & Rust! ", "c-rust"},
                 {"Code-Helper", "code-helper"},
                 {"Réseau", "réseau"},
                 {"travel-assistant", "travel-assistant"},
                 {"!!!", ""},
                 {"", ""}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char slug[ROLE_SLUG_SIZE];
        size_t n = role_slug(str_from(cases[i].name), slug, sizeof slug);
        assert_string_equal(slug, cases[i].slug);
        assert_int_equal(n, strlen(slug));
    }
    char small[5];
    assert_int_equal(role_slug(STR("abcdefgh"), small, sizeof small), 3); /* cut, never overrun */
    assert_string_equal(small, "abc");
}

static void role_name_of_80_characters_of_any_script_fits(void **state) {
    struct fixture *f = *state;
    char name[4 * 81 + 1] = "";
    for (int i = 0; i < 80; i++) /* U+20000, four bytes */
        strcat(name, "\xf0\xa0\x80\x80");
    struct role r = role_of(name), got;
    assert_ok(role_create(f->tx, &r, &f->ei));
    assert_ok(role_find(f->tx, str_from(name), f->arena, &got));
    assert_true(uuid_eq(&got.role_id, &r.role_id));
    strcat(name, "x");
    r = role_of(name);
    assert_err(role_create(f->tx, &r, &f->ei), ERR_INVALID);
}

static void role_find_takes_name_or_slug_unless_retired(void **state) {
    struct fixture *f = *state;
    struct role r = role_of("Travel Assistant"), got;
    assert_ok(role_create(f->tx, &r, &f->ei));
    assert_ok(role_find(f->tx, STR("travel assistant"), f->arena, &got));
    assert_ok(role_find(f->tx, STR("travel-assistant"), f->arena, &got));
    assert_err(role_find(f->tx, STR("travel"), f->arena, &got), ERR_NOT_FOUND);
    assert_err(role_find(f->tx, STR("!"), f->arena, &got), ERR_NOT_FOUND);
    r.retired_at = 5;
    assert_ok(role_update(f->tx, &r, NULL, &f->ei));
    assert_err(role_find(f->tx, STR("travel-assistant"), f->arena, &got), ERR_NOT_FOUND);
    assert_ok(role_get(f->tx, &r.role_id, f->arena, &got));
    assert_int_equal(got.retired_at, 5);
}

static void role_names_are_unique_among_the_living(void **state) {
    struct fixture *f = *state;
    struct role a = role_of("Code Helper"), b = role_of("code-helper");
    assert_ok(role_create(f->tx, &a, &f->ei));
    assert_err(role_create(f->tx, &b, &f->ei), ERR_CONFLICT);
    assert_string_equal(f->ei.param, "name");
    a.retired_at = 5;
    assert_ok(role_update(f->tx, &a, NULL, &f->ei));
    assert_ok(role_create(f->tx, &b, &f->ei));
    a.retired_at = 0; /* to come back it needs another name */
    assert_err(role_update(f->tx, &a, NULL, &f->ei), ERR_CONFLICT);
    a.name = STR("Code Helper 2");
    assert_ok(role_update(f->tx, &a, NULL, &f->ei));
    struct role nameless = role_of("?!");
    assert_err(role_create(f->tx, &nameless, &f->ei), ERR_INVALID);
    nameless.role_id = uuid_new();
    assert_err(role_update(f->tx, &b, NULL, &f->ei), ERR_OK);
}

static void role_version_grows_only_with_what_shapes_answers(void **state) {
    struct fixture *f = *state;
    struct role r = role_of("A"), *list, got;
    size_t n;
    int version = 0;
    assert_ok(role_create(f->tx, &r, &f->ei));
    r.description = STR("other");
    r.name = STR("B");
    r.starter_questions = STR("[]");
    assert_ok(role_update(f->tx, &r, &version, &f->ei));
    assert_int_equal(version, 1);
    r.system_prompt = STR("v2");
    clock_test_set(0, 777);
    assert_ok(role_update(f->tx, &r, &version, &f->ei));
    assert_int_equal(version, 2);
    r.temperature = -1;
    assert_ok(role_update(f->tx, &r, &version, &f->ei));
    r.stop = STR("[]");
    assert_ok(role_update(f->tx, &r, &version, &f->ei));
    r.max_tokens = 65;
    assert_ok(role_update(f->tx, &r, &version, &f->ei));
    assert_int_equal(version, 5);
    assert_ok(role_versions(f->tx, &r.role_id, f->arena, &list, &n));
    assert_int_equal(n, 5);
    assert_int_equal(list[0].version, 5);
    assert_str(list[4].system_prompt, "v1");
    assert_int_equal(list[3].updated_at, 777);
    assert_ok(role_version_get(f->tx, &r.role_id, 1, f->arena, &got));
    assert_str(got.system_prompt, "v1");
    assert_str(got.name, "A");
    assert_true(got.temperature == 0.5);
    assert_err(role_version_get(f->tx, &r.role_id, 6, f->arena, &got), ERR_NOT_FOUND);
}

static void role_of_unknown_id_is_not_found(void **state) {
    struct fixture *f = *state;
    struct role r = role_of("A"), got, *list;
    size_t n;
    assert_err(role_get(f->tx, &r.role_id, f->arena, &got), ERR_NOT_FOUND);
    assert_err(role_update(f->tx, &r, NULL, &f->ei), ERR_NOT_FOUND);
    assert_err(role_versions(f->tx, &r.role_id, f->arena, &list, &n), ERR_NOT_FOUND);
}

static void role_list_is_oldest_first(void **state) {
    struct fixture *f = *state;
    struct role *list, r;
    size_t n;
    make_role(f->tx, "One");
    struct uuid two = make_role(f->tx, "Two");
    make_role(f->tx, "Three");
    assert_ok(role_get(f->tx, &two, f->arena, &r));
    r.retired_at = 1;
    assert_ok(role_update(f->tx, &r, NULL, &f->ei));
    assert_ok(role_list(f->tx, false, f->arena, &list, &n));
    assert_int_equal(n, 2);
    assert_str(list[0].name, "One");
    assert_str(list[1].name, "Three");
    assert_ok(role_list(f->tx, true, f->arena, &list, &n));
    assert_int_equal(n, 3);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_open, fixture_close)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(role_created_reads_back_whole),
        TEST(role_slug_of_names),
        TEST(role_name_of_80_characters_of_any_script_fits),
        TEST(role_find_takes_name_or_slug_unless_retired),
        TEST(role_names_are_unique_among_the_living),
        TEST(role_version_grows_only_with_what_shapes_answers),
        TEST(role_of_unknown_id_is_not_found),
        TEST(role_list_is_oldest_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
