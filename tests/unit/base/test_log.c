/* base/log, base/err and base/metrics: what people and machines read of Parley's state. */
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/json.h"
#include "base/log.h"
#include "base/metrics.h"

static char captured[1 << 20];

/* Runs fn with stderr going to a file and returns what was written. */
static const char *capture(void (*fn)(void)) {
    char path[] = "/tmp/parley-test-log-XXXXXX";
    int file = mkstemp(path), saved = dup(STDERR_FILENO);
    assert_true(file >= 0 && saved >= 0);
    unlink(path);
    dup2(file, STDERR_FILENO);
    fn();
    dup2(saved, STDERR_FILENO);
    close(saved);
    ssize_t n = pread(file, captured, sizeof captured - 1, 0);
    assert_true(n >= 0);
    captured[n] = 0;
    close(file);
    return captured;
}

static void write_strange(void) {
    char huge[6000];
    memset(huge, 'h', sizeof huge);
    log_event(LOG_WARN, "a.b", LF_Z("q", "say \"hi\"\n"), LF_STR("bad", STR("x\xffy")),
              LF_INT("i", -3), LF_NUM("d", 0.5), LF_NUM("nan", 0.0 / 0.0), LF_STR("none", STR_NULL),
              LF_STR("huge", ((struct str){huge, sizeof huge})));
    log_event(LOG_DEBUG, "hidden");
}

static void log_line_is_one_json_object(void **state) {
    (void)state;
    log_init("test", LOG_INFO);
    const char *text = capture(write_strange);
    assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
    yyjson_doc *doc;
    assert_int_equal(json_parse((struct str){text, strlen(text) - 1}, &doc, NULL), ERR_OK);
    json_val *o = yyjson_doc_get_root(doc);
    assert_true(str_eqz(json_get_str(o, "level"), "warn") &&
                str_eqz(json_get_str(o, "event"), "a.b"));
    assert_true(str_eqz(json_get_str(o, "proc"), "test") && json_get_int(o, "pid", 0) == getpid());
    assert_true(str_eqz(json_get_str(o, "q"), "say \"hi\"\n"));
    assert_true(str_eqz(json_get_str(o, "bad"), "x?y"));
    assert_true(json_get_int(o, "i", 0) == -3 && json_get_num(o, "d", 0) == 0.5);
    assert_true(yyjson_is_null(json_get(o, "nan")) && yyjson_is_null(json_get(o, "none")));
    assert_true(json_get_str(o, "huge").n < 5000 && json_get_str(o, "ts").n == 24);
    yyjson_doc_free(doc);
}

static void write_plain(void) {
    log_event(LOG_INFO, "ready", LF_Z("address", "127.0.0.1:80"),
              LF_STR("evil", STR("a\x1b[2J\nb")));
    log_event(LOG_ERROR, "broken");
}

static void log_text_is_plain_and_cannot_steer_a_terminal(void **state) {
    (void)state;
    log_set_text(true);
    const char *text = capture(write_plain);
    log_set_text(false);
    assert_string_equal(text, "ready address=127.0.0.1:80 evil=a [2J b\nerror: broken\n");
}

static void *write_many(void *arg) {
    for (int i = 0; i < 500; i++)
        log_event(LOG_INFO, "thread", LF_INT("n", *(int *)arg), LF_INT("i", i));
    return NULL;
}

static void write_from_threads(void) {
    pthread_t ids[4];
    int n[4] = {0, 1, 2, 3};
    for (int i = 0; i < 4; i++)
        pthread_create(&ids[i], NULL, write_many, &n[i]);
    for (int i = 0; i < 4; i++)
        pthread_join(ids[i], NULL);
}

static void log_lines_of_threads_do_not_mix(void **state) {
    (void)state;
    char path[] = "/tmp/parley-test-log-XXXXXX";
    int plain = mkstemp(path);
    int file = open(path, O_RDWR | O_APPEND), saved = dup(STDERR_FILENO);
    unlink(path);
    dup2(file, STDERR_FILENO);
    write_from_threads();
    dup2(saved, STDERR_FILENO);
    ssize_t n = pread(file, captured, sizeof captured - 1, 0);
    close(saved), close(file), close(plain);
    struct str rest = {captured, (size_t)n};
    int lines = 0;
    while (rest.n) {
        yyjson_doc *doc;
        assert_int_equal(json_parse(str_cut(&rest, '\n'), &doc, NULL), ERR_OK);
        yyjson_doc_free(doc);
        lines++;
    }
    assert_int_equal(lines, 2000);
}

static void err_table_answers_for_every_code(void **state) {
    (void)state;
    for (int e = 0; e < ERR_COUNT; e++) {
        assert_true(err_http_status((enum err)e) >= 200 && err_http_status((enum err)e) < 600);
        assert_true(err_name((enum err)e)[0] && err_text((enum err)e)[0]);
        assert_true(e == 0 || (err_type((enum err)e)[0] && err_code((enum err)e)[0]));
    }
    assert_int_equal(err_http_status((enum err)9999), 500);
    assert_int_equal(err_http_status((enum err) - 1), 500);
}

static void err_set_cuts_at_a_utf8_boundary(void **state) {
    (void)state;
    struct errinfo ei;
    char text[1200];
    for (size_t lead = 0; lead < 3; lead++) {
        memset(text, 'a', lead);
        for (size_t i = lead; i + 3 < sizeof text; i += 3)
            memcpy(text + i, "\xe2\x82\xac", 4);
        assert_int_equal(err_param(&ei, ERR_INVALID, "field", "%s", text), ERR_INVALID);
        assert_true(utf8_valid(str_from(ei.message)) && strlen(ei.message) > sizeof ei.message - 5);
        assert_string_equal(ei.param, "field");
    }
    assert_int_equal(err_set(&ei, ERR_RATE, NULL), ERR_RATE);
    assert_string_equal(ei.message, err_text(ERR_RATE));
    assert_string_equal(ei.param, "");
    assert_int_equal(err_set(NULL, ERR_RATE, "x"), ERR_RATE);
}

static void metrics_render_counts_and_cumulates(void **state) {
    (void)state;
    struct buf b;
    buf_init(&b, 1 << 20);
    metric_add(M_HTTP_REQUESTS, 3);
    metric_set(M_STREAMS_OPEN, 7);
    metric_observe(M_TTFT_SECONDS, 0.005); /* a bound belongs to its bucket */
    metric_observe(M_TTFT_SECONDS, 0.3);
    metric_observe(M_TTFT_SECONDS, 100);
    metric_observe(M_TTFT_SECONDS, -1);
    metric_observe(M_TTFT_SECONDS, 0.0 / 0.0);
    assert_int_equal(metric_get(M_HTTP_REQUESTS), 3);
    assert_int_equal(metric_get(M_TTFT_SECONDS), 5);
    metrics_render(&b);
    assert_int_equal(buf_err(&b), ERR_OK);
    const char *want[] = {"\nparley_http_requests_total 3\n",
                          "# TYPE parley_streams_open gauge\nparley_streams_open 7\n",
                          "parley_ttft_seconds_bucket{le=\"0.005\"} 3\n",
                          "parley_ttft_seconds_bucket{le=\"0.25\"} 3\n",
                          "parley_ttft_seconds_bucket{le=\"0.5\"} 4\n",
                          "parley_ttft_seconds_bucket{le=\"60\"} 4\n",
                          "parley_ttft_seconds_bucket{le=\"+Inf\"} 5\n",
                          "parley_ttft_seconds_sum 100.305\n",
                          "parley_ttft_seconds_count 5\n",
                          "\nprocess_resident_memory_bytes ",
                          "\nprocess_start_time_seconds 1"};
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++)
        assert_non_null(strstr(b.p, want[i]));
    buf_deinit(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(log_line_is_one_json_object),
        cmocka_unit_test(log_text_is_plain_and_cannot_steer_a_terminal),
        cmocka_unit_test(log_lines_of_threads_do_not_mix),
        cmocka_unit_test(err_table_answers_for_every_code),
        cmocka_unit_test(err_set_cuts_at_a_utf8_boundary),
        cmocka_unit_test(metrics_render_counts_and_cumulates),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
