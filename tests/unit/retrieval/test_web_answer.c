/* What search services answer, and how they are asked. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "retrieval/web_search.h"

static struct arena *arena;

static int set_up(void **state) {
    (void)state;
    arena = arena_new(1 << 22);
    return arena ? 0 : -1;
}

static int tear_down(void **state) {
    (void)state;
    arena_free(arena);
    return 0;
}

static void web_hits_of_searxng_are_read(void **state) {
    (void)state;
    struct web_map m;
    struct web_hit *h;
    size_t n;
    struct errinfo ei;
    web_map_read(STR("{}"), &m);
    assert_int_equal(
        web_hits_read(STR("{\"query\":\"x\",\"results\":[{\"title\":\"A <b>bold</b> one\","
                          "\"url\":\"https://a/1\",\"content\":\"x < y and\\n z\"},"
                          "{\"title\":\"\",\"content\":null},"
                          "{\"title\":\"B\",\"url\":\"javascript:alert(1)\"}]}"),
                      &m, STR("web"), arena, &h, &n, &ei),
        ERR_OK);
    assert_int_equal(n, 2);
    assert_true(str_eqz(h[0].title, "A bold one") && str_eqz(h[0].text, "x < y and z"));
    assert_true(str_eqz(h[0].url, "https://a/1") && h[0].rank == 1);
    assert_true(str_eqz(h[1].title, "B") && h[1].url.n == 0 && h[1].rank == 2);
}

static void web_hits_follow_the_map(void **state) {
    (void)state;
    struct web_map m;
    struct web_hit *h;
    size_t n;
    struct errinfo ei;
    web_map_read(STR("{\"results\":\"data.items\",\"title\":\"name\",\"url\":\"link.href\","
                     "\"text\":\"snippet\",\"max\":1,\"timeout_ms\":5}"),
                 &m);
    assert_int_equal(m.timeout_ms, 100);
    assert_int_equal(
        web_hits_read(STR("{\"data\":{\"items\":[{\"name\":\"N\",\"link\":{\"href\":\"http://h/\"}"
                          ",\"snippet\":\"S\"},{\"name\":\"M\"}]}}"),
                      &m, STR("web"), arena, &h, &n, &ei),
        ERR_OK);
    assert_int_equal(n, 1);
    assert_true(str_eqz(h[0].url, "http://h/") && str_eqz(h[0].text, "S"));
}

static void web_answers_that_are_none_are_refused(void **state) {
    (void)state;
    struct web_map m;
    struct web_hit *h;
    size_t n;
    struct errinfo ei;
    web_map_read(STR("not json"), &m);
    assert_string_equal(m.results, "results");
    assert_int_equal(web_hits_read(STR("<html>"), &m, STR("w"), arena, &h, &n, &ei), ERR_JSON);
    assert_int_equal(web_hits_read(STR("{\"results\":{}}"), &m, STR("w"), arena, &h, &n, &ei),
                     ERR_INVALID);
    assert_int_equal(web_hits_read(STR("[]"), &m, STR("w"), arena, &h, &n, &ei), ERR_INVALID);
}

static void web_url_encodes_the_words(void **state) {
    (void)state;
    assert_string_equal(web_url(STR("http://s/?q={query}&f=json"), STR("a b&c=\xc3\xa4"), arena),
                        "http://s/?q=a%20b%26c%3D%C3%A4&f=json");
    assert_null(web_url(STR("http://s/"), STR("a"), arena));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(web_hits_of_searxng_are_read),
        cmocka_unit_test(web_hits_follow_the_map),
        cmocka_unit_test(web_answers_that_are_none_are_refused),
        cmocka_unit_test(web_url_encodes_the_words),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
