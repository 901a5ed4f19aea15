#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "supervisor/notify.h"

static void expect_arrival(bool abstract) {
    char text[100], name[64];
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    snprintf(name, sizeof name, "%s/tmp/parley-test-notify-%d", abstract ? "@" : "", (int)getpid());
    const char *path = abstract ? name + 1 : name;
    socklen_t size;
    if (abstract) {
        memcpy(a.sun_path + 1, path, strlen(path));
        size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(path));
    } else {
        memcpy(a.sun_path, path, strlen(path) + 1);
        unlink(path); /* of a process of that number that was killed */
        size = sizeof a;
    }
    int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, size), 0);
    setenv("NOTIFY_SOCKET", name, 1);
    assert_int_equal(notify_send("READY=1"), 1);
    ssize_t n = recv(fd, text, sizeof text, MSG_DONTWAIT);
    assert_int_equal(n, 7);
    assert_memory_equal(text, "READY=1", 7);
    close(fd);
    if (!abstract)
        unlink(path);
    unsetenv("NOTIFY_SOCKET");
}

static void send_reaches_a_socket_by_path(void **state) {
    (void)state;
    expect_arrival(false);
}

static void send_reaches_an_abstract_socket(void **state) {
    (void)state;
    expect_arrival(true);
}

static void send_without_listener_says_so(void **state) {
    (void)state;
    unsetenv("NOTIFY_SOCKET");
    assert_int_equal(notify_send("READY=1"), 0);
    setenv("NOTIFY_SOCKET", "/nowhere/at/all", 1);
    assert_int_equal(notify_send("READY=1"), -1);
    setenv("NOTIFY_SOCKET", "not-a-path", 1);
    assert_int_equal(notify_send("READY=1"), -1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(send_reaches_a_socket_by_path),
        cmocka_unit_test(send_reaches_an_abstract_socket),
        cmocka_unit_test(send_without_listener_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
