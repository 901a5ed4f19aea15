/* Health, readiness, metrics, the description, and the page with its headers. */
#include "unit/api/api_fixture.h"

static void health_andReady_200(void **state) {
    (void)state;
    struct reply r = call("GET", "/healthz", NULL, NULL);
    expect(r, 200);
    assert_string_equal(text_at(&r, "status"), "ok");
    reply_free(&r);
    r = call("GET", "/readyz", NULL, NULL);
    expect(r, 200);
    assert_true(json_get_bool(r.root, "ready", false));
    reply_free(&r);
    r = call("HEAD", "/healthz", NULL, NULL);
    expect(r, 200);
    assert_int_equal(r.n, 0);
    reply_free(&r);
}

static void stop_upstream(void *arg) {
    (void)arg;
    http_server_free(fx.up);
    fx.up = NULL;
    close(fx.up_fd);
    fx.up_fd = -1;
    assert_int_equal(upstream_refresh(fx.client, fx_refreshed, NULL), ERR_OK);
}

static void ready_withoutModel_503AndReason(void **state) {
    (void)state;
    char after[512];
    assert_int_equal(loop_post(fx.loop, stop_upstream, NULL), ERR_OK);
    sem_wait(&fx.ready);
    struct reply r = call("GET", "/readyz", NULL, NULL);
    expect(r, 503);
    assert_false(json_get_bool(r.root, "ready", true));
    assert_memory_equal(yyjson_get_str(yyjson_arr_get_first(json_get(r.root, "reasons"))),
                        "model: ", 7);
    assert_non_null(header_of(&r, "Retry-After", after));
    reply_free(&r);
    r = call("GET", "/healthz", NULL, NULL);
    expect(r, 200);
    reply_free(&r);
}

static int end_without_upstream(void **state) {
    fx.up_fd = dup(0); /* what the teardown closes */
    return fx_teardown(state);
}

static void metrics_loopbackYes_proxiedNeedsAdmin(void **state) {
    (void)state;
    char headers[400];
    struct person admin = make_admin(), p = make_user("ann");
    struct reply r = call("GET", "/metrics", NULL, NULL);
    expect(r, 200);
    assert_non_null(strstr(r.body, "parley_http_requests_total"));
    assert_null(strstr(r.body, "parley_http_requests_total 5"));
    assert_non_null(strstr(r.body, "parley_engine_steps_total 41\n")); /* as the engine counts */
    reply_free(&r);
    r = call("GET", "/metrics", "X-Forwarded-For: 203.0.113.9\r\n", NULL);
    expect_error(r, 401, "unauthorized", "(none)");
    snprintf(headers, sizeof headers, "X-Forwarded-For: 203.0.113.9\r\n%s", p.who);
    r = call("GET", "/metrics", headers, NULL);
    expect_error(r, 403, "forbidden", "(none)");
    snprintf(headers, sizeof headers, "X-Forwarded-For: 203.0.113.9\r\n%s", admin.who);
    r = call("GET", "/metrics", headers, NULL);
    expect(r, 200);
    reply_free(&r);
}

static void page_strictHeaders(void **state) {
    (void)state;
    char value[512], etag[512], headers[600];
    static const char *const paths[] = {"/", "/c/01890000-0000-7000-8000-000000000000", "/?a=b"};
    for (int i = 0; i < 3; i++) {
        struct reply r = call("GET", paths[i], NULL, NULL);
        expect(r, 200);
        assert_non_null(header_of(&r, "Content-Security-Policy", value));
        assert_memory_equal(
            value,
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
            "connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'self'; "
            "frame-ancestors 'none'",
            173);
        assert_non_null(header_of(&r, "X-Content-Type-Options", value));
        assert_string_equal(value, "nosniff");
        assert_non_null(header_of(&r, "Referrer-Policy", value));
        assert_string_equal(value, "no-referrer");
        assert_non_null(header_of(&r, "Cross-Origin-Opener-Policy", value));
        assert_non_null(header_of(&r, "Content-Type", value));
        assert_memory_equal(value, "text/html", 9);
        assert_non_null(header_of(&r, "ETag", etag));
        reply_free(&r);
    }
    snprintf(headers, sizeof headers, "If-None-Match: %s\r\n", etag);
    struct reply r = call("GET", "/", headers, NULL);
    expect(r, 304);
    assert_int_equal(r.n, 0);
    reply_free(&r);
    r = call("POST", "/", NULL, "{}");
    expect_error(r, 405, "method_not_allowed", "(none)");
    r = call("GET", "/assets/none.js", NULL, NULL);
    expect_error(r, 404, "not_found", "(none)");
}

#define T(name) cmocka_unit_test_setup_teardown(name, fx_setup, fx_teardown)
int main(void) {
    const struct CMUnitTest tests[] = {
        T(health_andReady_200),
        cmocka_unit_test_setup_teardown(ready_withoutModel_503AndReason, fx_setup,
                                        end_without_upstream),
        T(metrics_loopbackYes_proxiedNeedsAdmin),
        T(page_strictHeaders),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
