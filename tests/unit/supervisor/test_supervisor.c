/* The supervisor with real, small children: this test program itself, run again with a word that
 * says what to do. A child reports over a pipe, so every wait is for an event. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "supervisor/supervisor.h"

/* ---- the children ---- */

static void report(int fd, const char *what, int number) {
    char line[64];
    int n = snprintf(line, sizeof line, "%s %d %d\n", what, (int)getpid(), number);
    if (write(fd, line, (size_t)n) != n)
        _exit(99);
}

static int report_fd;
static void report_term(int signo) {
    (void)signo;
    report(report_fd, "term", 0);
    _exit(0);
}

/* argv: program, what, report fd, listening fd or -1 */
static int child_main(char **argv) {
    struct supervisor_link link;
    signal(SIGPIPE, SIG_IGN);
    supervisor_link_get(&link);
    report_fd = atoi(argv[2]);
    int listener = atoi(argv[3]);
    if (strcmp(argv[1], "obeys") == 0 || strcmp(argv[1], "stops") == 0)
        signal(SIGTERM, report_term);
    if (strcmp(argv[1], "deaf") == 0)
        signal(SIGTERM, SIG_IGN);
    report(report_fd, "started", link.start);
    if (strcmp(argv[1], "silent") == 0)
        supervisor_link_beat(&link); /* and never again */
    if (strcmp(argv[1], "gives-up") == 0)
        return SUPERVISOR_EXIT_GIVE_UP;
    if (strcmp(argv[1], "bad-data") == 0)
        return SUPERVISOR_EXIT_GIVE_UP_DATA;
    if (strcmp(argv[1], "fails-once") == 0 && link.start == 1)
        return 3;
    supervisor_link_ready(&link);
    for (int i = 0; strcmp(argv[1], "stops") == 0 && i < 3; i++) {
        raise(SIGSTOP);
        report(report_fd, "went-on", i);
    }
    struct pollfd fds[2] = {{.fd = link.lifeline_fd, .events = POLLIN},
                            {.fd = listener, .events = POLLIN}};
    for (;;) {
        if (poll(fds, 2, -1) < 0)
            continue;
        if (fds[1].revents) {
            int c = accept(listener, NULL, NULL);
            report(c, "served", link.start);
            close(c);
        }
        if (fds[0].revents) {
            report(report_fd, "orphaned", 0);
            return 0;
        }
    }
}

/* ---- running them ---- */

static enum log_level log_level_of_supervisor = LOG_ERROR;

struct run {
    pid_t supervisor;
    int reports; /* read end */
    FILE *lines;
};

/* Forks a process that supervises n children of these kinds. Its exit status: 0, 10 + the index of
 * the child that gave up (20 + it for its data), or 99. */
static struct run supervise(const char *const *kinds, size_t n, int listener, int stop_ms) {
    int fds[2];
    struct run r;
    assert_int_equal(pipe(fds), 0);
    r.supervisor = fork();
    if (r.supervisor == 0) {
        close(fds[0]);
        setsid(); /* whose share of the processors is its own */
        log_init("test", log_level_of_supervisor);
        struct supervisor_child children[4] = {0};
        const char *argv[4][5];
        char report_text[16], listener_text[16];
        int passed[2] = {fds[1], listener};
        snprintf(report_text, sizeof report_text, "%d", fds[1]);
        snprintf(listener_text, sizeof listener_text, "%d", listener);
        for (size_t i = 0; i < n; i++) {
            argv[i][0] = "child";
            argv[i][1] = kinds[i];
            argv[i][2] = report_text;
            argv[i][3] = listener_text;
            argv[i][4] = NULL;
            children[i] =
                (struct supervisor_child){.name = kinds[i],
                                          .program = "/proc/self/exe",
                                          .argv = argv[i],
                                          .fds = passed,
                                          .n_fds = listener >= 0 ? 2 : 1,
                                          .announces = true,
                                          .watchdog_ms = strcmp(kinds[i], "silent") == 0 ? 50 : 0,
                                          .stop_ms = stop_ms};
        }
        struct supervisor_end end = {0};
        struct errinfo ei;
        if (supervisor_run(children, n, NULL, NULL, &end, &ei) != ERR_OK)
            _exit(99);
        bool data = end.exit_code == SUPERVISOR_EXIT_GIVE_UP_DATA;
        _exit(end.gave_up ? (data ? 20 : 10) + (int)(end.gave_up - children) : 0);
    }
    close(fds[1]);
    r.reports = fds[0];
    r.lines = fdopen(fds[0], "r");
    return r;
}

/* Waits for the next report, which must say this. Returns the child's process id. */
static pid_t expect(struct run *r, const char *what, int number) {
    char line[64], word[32];
    int pid, got;
    if (!fgets(line, sizeof line, r->lines) || sscanf(line, "%31s %d %d", word, &pid, &got) != 3)
        fail_msg("the children ended before \"%s\"", what);
    if (strcmp(word, what) != 0 || got != number)
        fail_msg("\"%s %d\" came in place of \"%s %d\"", word, got, what, number);
    return pid;
}

static int finish(struct run *r) {
    int status;
    char line[64];
    assert_int_equal(waitpid(r->supervisor, &status, 0), r->supervisor);
    assert_null(
        fgets(line, sizeof line, r->lines)); /* end of file: nobody holds the pipe any more */
    fclose(r->lines);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static const char *const one[] = {"obeys"};

static void killed_child_is_started_again(void **state) {
    (void)state;
    struct run r = supervise(one, 1, -1, 60000);
    for (int start = 1; start <= 3; start++)
        kill(expect(&r, "started", start), SIGKILL);
    expect(&r, "started", 4);
    kill(r.supervisor, SIGTERM);
    expect(&r, "term", 0);
    assert_int_equal(finish(&r), 0);
}

/* The session's niceness among sessions; false: the kernel has no such thing. */
static bool session_nice(pid_t pid, int *ret) {
    char path[64], text[128] = "";
    snprintf(path, sizeof path, "/proc/%d/autogroup", (int)pid);
    FILE *f = fopen(path, "r");
    const char *nice = f && fgets(text, sizeof text, f) ? strstr(text, " nice ") : NULL;
    if (f)
        fclose(f);
    *ret = nice ? atoi(nice + 6) : 0;
    return nice != NULL;
}

static bool may_hurry(void) {
    int status = 1;
    pid_t pid = fork();
    if (pid == 0) {
        setsid();
        FILE *f = fopen("/proc/self/autogroup", "w");
        _exit(f && fprintf(f, "-10") > 0 && fclose(f) == 0 ? 0 : 1);
    }
    waitpid(pid, &status, 0);
    return status == 0;
}

static void session_goes_before_others_once_a_child_was_killed(void **state) {
    (void)state;
    int nice;
    struct run r = supervise(one, 1, -1, 60000);
    pid_t child = expect(&r, "started", 1);
    bool there = session_nice(r.supervisor, &nice) && may_hurry();
    assert_int_equal(nice, 0);
    kill(child, SIGKILL);
    expect(&r, "started", 2);
    if (there && session_nice(r.supervisor, &nice))
        assert_int_equal(nice, -10);
    kill(r.supervisor, SIGTERM);
    expect(&r, "term", 0);
    assert_int_equal(finish(&r), 0);
}

static void child_without_signs_of_life_is_replaced(void **state) {
    (void)state;
    const char *const kinds[] = {"silent"};
    struct run r = supervise(kinds, 1, -1, 60000);
    pid_t first = expect(&r, "started", 1);
    assert_true(expect(&r, "started", 2) != first);
    kill(r.supervisor, SIGKILL);
    char line[64];
    while (
        fgets(line, sizeof line, r.lines)) /* it may be replaced once more before it is orphaned */
        assert_true(strncmp(line, "started", 7) == 0 || strncmp(line, "orphaned", 8) == 0);
    fclose(r.lines);
    waitpid(r.supervisor, NULL, 0);
}

/* Each time, and it is not taken for one without signs of life. */
static void stopped_child_is_told_to_go_on(void **state) {
    (void)state;
    const char *const kinds[] = {"stops"};
    struct run r = supervise(kinds, 1, -1, 60000);
    pid_t child = expect(&r, "started", 1);
    for (int i = 0; i < 3; i++)
        assert_int_equal(expect(&r, "went-on", i), child);
    kill(r.supervisor, SIGTERM);
    expect(&r, "term", 0);
    assert_int_equal(finish(&r), 0);
}

static void child_that_fails_is_started_again(void **state) {
    (void)state;
    const char *const kinds[] = {"fails-once"};
    struct run r = supervise(kinds, 1, -1, 60000);
    expect(&r, "started", 1);
    expect(&r, "started", 2);
    kill(r.supervisor, SIGKILL);
    expect(&r, "orphaned", 0);
    assert_int_equal(finish(&r), -SIGKILL);
}

static void child_that_gives_up_ends_everything(void **state) {
    (void)state;
    const char *const kinds[] = {"obeys", "gives-up"};
    struct run r = supervise(kinds, 2, -1, 60000);
    char line[64];
    int terms = 0, starts = 0;
    while (fgets(line, sizeof line, r.lines)) {
        terms += strncmp(line, "term", 4) == 0;
        starts += strncmp(line, "started", 7) == 0;
    }
    fclose(r.lines);
    int status;
    waitpid(r.supervisor, &status, 0);
    assert_int_equal(WEXITSTATUS(status), 11);
    assert_true(starts <= 2 && terms <= 1); /* nobody was started twice */
}

static void child_with_bad_data_ends_everything(void **state) {
    (void)state;
    const char *const kinds[] = {"bad-data"};
    struct run r = supervise(kinds, 1, -1, 60000);
    expect(&r, "started", 1);
    assert_int_equal(finish(&r), 20);
}

static void killed_supervisor_takes_its_children_along(void **state) {
    (void)state;
    const char *const kinds[] = {"obeys", "deaf"};
    struct run r = supervise(kinds, 2, -1, 60000);
    expect(&r, "started", 1);
    expect(&r, "started", 1);
    kill(r.supervisor, SIGKILL);
    expect(&r, "orphaned", 0);
    expect(&r, "orphaned", 0);
    assert_int_equal(finish(&r), -SIGKILL);
}

static void stop_goes_in_order_and_kills_the_deaf(void **state) {
    (void)state;
    const char *const kinds[] = {"deaf", "obeys"};
    struct run r = supervise(kinds, 2, -1, 50);
    expect(&r, "started", 1);
    expect(&r, "started", 1);
    kill(r.supervisor, SIGINT);
    expect(&r, "term", 0); /* the second one, after the first was killed */
    assert_int_equal(finish(&r), 0);
}

static void second_signal_kills_the_deaf(void **state) {
    (void)state;
    const char *const kinds[] = {"deaf"};
    struct run r = supervise(kinds, 1, -1, 600000);
    expect(&r, "started", 1);
    struct pollfd end = {.fd = r.reports, .events = POLLIN};
    do /* until the pipe has nobody left who writes */
        kill(r.supervisor, SIGINT);
    while (poll(&end, 1, 50) == 0);
    assert_int_equal(finish(&r), 0);
}

static void two_signals_at_once_are_one_stop(void **state) {
    (void)state;
    struct run r = supervise(one, 1, -1, 60000);
    expect(&r, "started", 1);
    kill(r.supervisor, SIGSTOP);
    kill(r.supervisor, SIGTERM);
    kill(r.supervisor, SIGHUP);
    kill(r.supervisor, SIGCONT);
    expect(&r, "term", 0); /* it was asked, not killed */
    assert_int_equal(finish(&r), 0);
}

static void child_end_is_logged_with_each_key_once(void **state) {
    (void)state;
    const char *const kinds[] = {"fails-once"};
    char line[1024] = "";
    int saved = dup(STDERR_FILENO);
    FILE *log = tmpfile();
    assert_non_null(log);
    dup2(fileno(log), STDERR_FILENO);
    log_level_of_supervisor = LOG_WARN;
    struct run r = supervise(kinds, 1, -1, 60000);
    log_level_of_supervisor = LOG_ERROR;
    dup2(saved, STDERR_FILENO);
    close(saved);
    pid_t first = expect(&r, "started", 1);
    expect(&r, "started", 2);
    kill(r.supervisor, SIGTERM);
    assert_int_equal(finish(&r), 0);
    rewind(log);
    while (fgets(line, sizeof line, log) && !strstr(line, "child_ended"))
        ;
    fclose(log);
    char mine[40];
    snprintf(mine, sizeof mine, "\"child_pid\":%d", (int)first);
    assert_non_null(strstr(line, mine));
    char *pid = strstr(line, "\"pid\":");
    assert_true(!pid || !strstr(pid + 1, "\"pid\":"));
}

static void listening_socket_queues_while_the_child_is_away(void **state) {
    (void)state;
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof a;
    char text[64] = "";
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&a, size), 0);
    assert_int_equal(listen(listener, 16), 0);
    getsockname(listener, (struct sockaddr *)&a, &size);
    struct run r = supervise(one, 1, listener, 60000);
    close(listener);
    pid_t first = expect(&r, "started", 1);
    kill(r.supervisor, SIGSTOP); /* so that the child is not started again before we say */
    kill(first, SIGKILL);
    int c = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(c, (struct sockaddr *)&a, size), 0);
    kill(r.supervisor, SIGCONT);
    expect(&r, "started", 2);
    assert_true(read(c, text, sizeof text - 1) > 0);
    assert_memory_equal(text, "served", 6);
    close(c);
    kill(r.supervisor, SIGTERM);
    expect(&r, "term", 0);
    assert_int_equal(finish(&r), 0);
}

static void ready_is_told_to_systemd_once_all_are(void **state) {
    (void)state;
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int n = snprintf(a.sun_path + 1, sizeof a.sun_path - 1, "parley-test-%d", (int)getpid());
    int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
    char name[64], text[64];
    socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, size), 0);
    snprintf(name, sizeof name, "@%s", a.sun_path + 1);
    setenv("NOTIFY_SOCKET", name, 1);
    const char *const kinds[] = {"obeys", "obeys"};
    struct run r = supervise(kinds, 2, -1, 60000);
    unsetenv("NOTIFY_SOCKET");
    expect(&r, "started", 1);
    expect(&r, "started", 1);
    ssize_t got = recv(fd, text, sizeof text, 0);
    assert_int_equal(got, 7);
    assert_memory_equal(text, "READY=1", 7);
    kill(r.supervisor, SIGTERM);
    got = recv(fd, text, sizeof text, 0);
    assert_int_equal(got, 10);
    assert_memory_equal(text, "STOPPING=1", 10);
    expect(&r, "term", 0);
    expect(&r, "term", 0);
    assert_int_equal(finish(&r), 0);
    close(fd);
}

int main(int argc, char **argv) {
    if (argc == 4)
        return child_main(argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(killed_child_is_started_again),
        cmocka_unit_test(session_goes_before_others_once_a_child_was_killed),
        cmocka_unit_test(stopped_child_is_told_to_go_on),
        cmocka_unit_test(child_that_fails_is_started_again),
        cmocka_unit_test(child_without_signs_of_life_is_replaced),
        cmocka_unit_test(child_that_gives_up_ends_everything),
        cmocka_unit_test(child_with_bad_data_ends_everything),
        cmocka_unit_test(killed_supervisor_takes_its_children_along),
        cmocka_unit_test(stop_goes_in_order_and_kills_the_deaf),
        cmocka_unit_test(second_signal_kills_the_deaf),
        cmocka_unit_test(two_signals_at_once_are_one_stop),
        cmocka_unit_test(child_end_is_logged_with_each_key_once),
        cmocka_unit_test(listening_socket_queues_while_the_child_is_away),
        cmocka_unit_test(ready_is_told_to_systemd_once_all_are),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
