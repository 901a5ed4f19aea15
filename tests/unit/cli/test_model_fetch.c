/* Fetching: sources are tried in order, only the right hash is taken, what is there is not fetched
 * again. pip is played by a script (PARLEY_PYTHON), addresses by a server in this process; nothing
 * leaves the machine. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/crypto.h"
#include "cli/models_internal.h"

#define CONTENT "the published bytes of a model"

static char folder[] = "/tmp/parley-test-XXXXXX";
static char models_dir[PATH_MAX], from_dir[PATH_MAX], calls[PATH_MAX];
static char content_hash[65];
static int notes;

static void on_note(void *ctx, const char *text) {
    (void)ctx;
    (void)text;
    notes++;
}

static struct models models = {.dir = models_dir, .note = on_note};

static void write_file(const char *dir, const char *name, const char *text) {
    char path[PATH_MAX];
    assert_int_equal(ERR_OK, path_join(path, dir, name, NULL));
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static char *read_whole(const char *name) {
    static char text[256];
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/incoming/m/%s", models_dir, name);
    FILE *f = fopen(path, "r");
    if (!f)
        return NULL;
    text[fread(text, 1, sizeof text - 1, f)] = 0;
    fclose(f);
    return text;
}

/* Plays Python: "-m pip download … -d FOLDER" makes a package unless it is told to fail, "-c script
 * FOLDER MEMBER" prints what the member holds. Each pip call is written down. */
static void make_python(void) {
    char path[PATH_MAX], text[2048];
    assert_int_equal(ERR_OK, path_join(path, folder, "python", NULL));
    snprintf(text, sizeof text,
             "#!/bin/sh\n"
             "if [ \"$1\" = -m ]; then echo call >>%s; [ ! -e %s/fail ] || { echo 'ERROR: no such "
             "package' >&2; exit 1; }\n"
             "exit 0; fi\n"
             "cat %s/$4\n",
             calls, folder, folder);
    write_file(folder, "python", text);
    assert_int_equal(0, chmod(path, 0755));
    setenv("PARLEY_PYTHON", path, 1);
}

static int set_up(void **state) {
    (void)state;
    assert_int_equal(ERR_OK, crypto_init());
    strcpy(folder, "/tmp/parley-test-XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(models_dir, sizeof models_dir, "%s/models", folder);
    snprintf(from_dir, sizeof from_dir, "%s/from", folder);
    snprintf(calls, sizeof calls, "%s/calls", folder);
    assert_int_equal(0, mkdir(from_dir, 0755));
    sha256_hex(STR(CONTENT), content_hash);
    make_python();
    models.from = NULL;
    notes = 0;
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    folder_remove(folder);
    return 0;
}

/* The first half of the content is 10 bytes, the rest is the second half. */
static const struct model_member halves[] = {{"one", 0, 10}, {"two", 0, sizeof CONTENT - 1 - 10}};
static const struct model_part parts[] = {{"p1", "1", "", 5, &halves[0], 1},
                                          {"p2", "1", "", 5, &halves[1], 1}};

static void write_halves(void) {
    char half[64];
    snprintf(half, sizeof half, "%.10s", CONTENT);
    write_file(folder, "one", half);
    write_file(folder, "two", &CONTENT[10]);
}

static enum err fetch(const struct model_source *sources, size_t n, struct errinfo *ei) {
    const struct model_file file = {"w.gguf", content_hash, sizeof CONTENT - 1};
    const struct model model = {
        .name = "m", .files = &file, .n_files = 1, .sources = sources, .n_sources = n};
    return model_fetch(&models, &model, ei);
}

static const struct model_source from_file = {.type = SOURCE_FILE};
static const struct model_source from_parts = {
    .type = SOURCE_PYPI_PARTS, .parts = parts, .n_parts = 2};

static void file_with_the_right_hash_is_taken(void **state) {
    (void)state;
    models.from = from_dir;
    write_file(from_dir, "w.gguf", CONTENT);
    assert_int_equal(ERR_OK, fetch(&from_file, 1, NULL));
    assert_string_equal(CONTENT, read_whole("w.gguf"));
    assert_null(read_whole("w.gguf.part"));
}

static void file_with_a_wrong_hash_is_refused(void **state) {
    (void)state;
    struct errinfo ei = {0};
    models.from = from_dir;
    write_file(from_dir, "w.gguf", "the published bytes of a wodel");
    assert_int_equal(ERR_CORRUPT, fetch(&from_file, 1, &ei));
    assert_non_null(strstr(ei.message, "wrong SHA-256"));
    assert_null(read_whole("w.gguf"));
    assert_null(read_whole("w.gguf.part"));
}

static void parts_are_joined_in_order(void **state) {
    (void)state;
    write_halves();
    assert_int_equal(ERR_OK, fetch(&from_parts, 1, NULL));
    assert_string_equal(CONTENT, read_whole("w.gguf"));
}

static void failed_source_falls_through_to_the_next(void **state) {
    (void)state;
    struct model_source sources[] = {from_file, from_parts};
    write_halves();
    models.from = from_dir; /* empty */
    assert_int_equal(ERR_OK, fetch(sources, 2, NULL));
    assert_string_equal(CONTENT, read_whole("w.gguf"));
    assert_int_equal(1, notes);
}

static void last_error_says_what_failed(void **state) {
    (void)state;
    struct errinfo ei = {0};
    write_file(folder, "fail", "");
    assert_int_equal(ERR_UPSTREAM, fetch(&from_parts, 1, &ei));
    assert_non_null(strstr(ei.message, "no such package"));
}

static void interrupted_parts_go_on_where_they_stopped(void **state) {
    (void)state;
    char incoming[PATH_MAX];
    snprintf(incoming, sizeof incoming, "%s/incoming/m", models_dir);
    assert_int_equal(ERR_OK, folder_make(incoming, NULL));
    write_halves();
    /* The first part is in, the second one was cut off while it was unpacked. */
    write_file(incoming, "w.gguf.part", "the publishGARB");
    write_file(folder, "one", "must not be asked for again");
    assert_int_equal(ERR_OK, fetch(&from_parts, 1, NULL));
    assert_string_equal(CONTENT, read_whole("w.gguf"));
    assert_int_equal(5, file_bytes(calls)); /* one line: "call" */
}

static void torn_part_is_fetched_again_from_the_start(void **state) {
    (void)state;
    char incoming[PATH_MAX];
    snprintf(incoming, sizeof incoming, "%s/incoming/m", models_dir);
    assert_int_equal(ERR_OK, folder_make(incoming, NULL));
    write_halves();
    write_file(incoming, "w.gguf.part", "the GARBAGE"); /* longer than the first part */
    assert_int_equal(ERR_OK, fetch(&from_parts, 1, NULL));
    assert_string_equal(CONTENT, read_whole("w.gguf"));
}

static void nothing_is_fetched_when_all_is_there(void **state) {
    (void)state;
    write_halves();
    assert_int_equal(ERR_OK, fetch(&from_parts, 1, NULL));
    assert_int_equal(ERR_OK, fetch(&from_parts, 1, NULL));
    assert_int_equal(10, file_bytes(calls));
}

/* ---- addresses: a server that answers one request after another from a list ---- */

struct server {
    int fd, port;
    const char *const *answers;
    size_t n;
    char requests[4][2048];
    pthread_t thread;
};

static void *serve(void *ctx) {
    struct server *s = ctx;
    for (size_t i = 0; i < s->n; i++) {
        int c = accept(s->fd, NULL, NULL);
        size_t have = 0;
        while (!strstr(s->requests[i], "\r\n\r\n")) {
            ssize_t n = recv(c, s->requests[i] + have, sizeof s->requests[i] - 1 - have, 0);
            if (n <= 0)
                break;
            have += (size_t)n;
        }
        send(c, s->answers[i], strlen(s->answers[i]), MSG_NOSIGNAL);
        close(c);
    }
    return NULL;
}

static void server_start(struct server *s, const char *const *answers, size_t n, char *base,
                         size_t size) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof a;
    *s = (struct server){.answers = answers, .n = n};
    s->fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(0, bind(s->fd, (struct sockaddr *)&a, sizeof a));
    assert_int_equal(0, listen(s->fd, 4));
    assert_int_equal(0, getsockname(s->fd, (struct sockaddr *)&a, &length));
    snprintf(base, size, "http://127.0.0.1:%d/", ntohs(a.sin_port));
    assert_int_equal(0, pthread_create(&s->thread, NULL, serve, s));
}

static void server_end(struct server *s) {
    pthread_join(s->thread, NULL);
    close(s->fd);
}

static void broken_download_is_resumed(void **state) {
    (void)state;
    const char *answers[] = {
        "HTTP/1.1 200 OK\r\nContent-Length: 30\r\nAccept-Ranges: bytes\r\n\r\nthe publish",
        "HTTP/1.1 206 Partial Content\r\nContent-Length: 19\r\nContent-Range: bytes "
        "11-29/30\r\n\r\n"
        "ed bytes of a model",
    };
    struct server s;
    char base[64];
    server_start(&s, answers, 2, base, sizeof base);
    struct model_source source = {.type = SOURCE_URL, .base = base};
    struct errinfo ei = {0};
    enum err e = fetch(&source, 1, &ei);
    server_end(&s);
    assert_int_equal(ERR_OK, e);
    assert_string_equal(CONTENT, read_whole("w.gguf"));
    assert_non_null(strstr(s.requests[0], "GET /w.gguf "));
    assert_non_null(strstr(s.requests[1], "Range: bytes=11-"));
}

static void server_without_ranges_is_asked_again_from_the_start(void **state) {
    (void)state;
    const char *whole = "HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\n" CONTENT;
    const char *answers[] = {whole, whole};
    struct server s;
    char base[64], incoming[PATH_MAX];
    snprintf(incoming, sizeof incoming, "%s/incoming/m", models_dir);
    assert_int_equal(ERR_OK, folder_make(incoming, NULL));
    write_file(incoming, "w.gguf.part", "the pub");
    server_start(&s, answers, 2, base, sizeof base);
    struct model_source source = {.type = SOURCE_URL, .base = base};
    enum err e = fetch(&source, 1, NULL);
    server_end(&s);
    assert_int_equal(ERR_OK, e);
    assert_string_equal(CONTENT, read_whole("w.gguf"));
}

static void wrong_or_too_long_download_is_refused(void **state) {
    (void)state;
    const char *answers[] = {
        "HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\nthe published bytes of a wodel",
        "HTTP/1.1 200 OK\r\nContent-Length: 31\r\n\r\n" CONTENT "!",
        "HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnone"};
    const enum err expected[] = {ERR_CORRUPT, ERR_TOO_LARGE, ERR_UPSTREAM};
    struct server s;
    char base[64];
    server_start(&s, answers, 3, base, sizeof base);
    struct model_source source = {.type = SOURCE_URL, .base = base};
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(expected[i], fetch(&source, 1, NULL));
        assert_null(read_whole("w.gguf"));
    }
    server_end(&s);
}

int main(void) {
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(file_with_the_right_hash_is_taken),
        T(file_with_a_wrong_hash_is_refused),
        T(parts_are_joined_in_order),
        T(failed_source_falls_through_to_the_next),
        T(last_error_says_what_failed),
        T(interrupted_parts_go_on_where_they_stopped),
        T(torn_part_is_fetched_again_from_the_start),
        T(nothing_is_fetched_when_all_is_there),
        T(broken_download_is_resumed),
        T(server_without_ranges_is_asked_again_from_the_start),
        T(wrong_or_too_long_download_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
