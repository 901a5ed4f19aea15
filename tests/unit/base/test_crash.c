#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/crash.h"

static char dir[] = "/tmp/parley-crash-XXXXXX";

static int make_dir(void **state) {
    (void)state;
    return mkdtemp(dir) ? 0 : -1;
}

static int count_and_remove(char *text, size_t size) {
    char path[600];
    int n = 0;
    DIR *d = opendir(dir);
    for (struct dirent *e; (e = readdir(d));) {
        if (e->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
        FILE *f = fopen(path, "r");
        if (text)
            text[fread(text, 1, size - 1, f)] = 0;
        fclose(f);
        unlink(path);
        n++;
    }
    closedir(d);
    return n;
}

static int remove_dir(void **state) {
    (void)state;
    count_and_remove(NULL, 0);
    return rmdir(dir);
}

static void crash_leaves_a_report_and_dies_of_its_signal(void **state) {
    (void)state;
    char text[8192] = "";
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        crash_init(dir, "test", "1.2.3");
        crash_note("turn.done", "01a21cff-c737-75c8-a3ef-f77b7ffa5d57", 36);
        crash_note("store.failed", "", 0);
        raise(SIGSEGV);
        _exit(0);
    }
    waitpid(pid, &status, 0);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGSEGV);
    assert_int_equal(count_and_remove(text, sizeof text), 1);
    assert_non_null(strstr(text, "Parley 1.2.3, test: signal 11"));
    assert_non_null(strstr(text, "turn.done 01a21cff-c737-75c8-a3ef-f77b7ffa5d57"));
    assert_non_null(strstr(text, "store.failed"));
}

static void init_with_many_reports_keeps_the_newest(void **state) {
    (void)state;
    char path[600];
    for (int i = 0; i < CRASH_REPORTS + 5; i++) {
        snprintf(path, sizeof path, "%s/server-%d-1.txt", dir, 1700000000 + i);
        fclose(fopen(path, "w"));
    }
    pid_t pid = fork();
    if (pid == 0) {
        crash_init(dir, "test", "1");
        _exit(0);
    }
    waitpid(pid, NULL, 0);
    snprintf(path, sizeof path, "%s/server-%d-1.txt", dir, 1700000000 + CRASH_REPORTS + 4);
    assert_int_equal(access(path, F_OK), 0);
    assert_int_equal(count_and_remove(NULL, 0), CRASH_REPORTS);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(crash_leaves_a_report_and_dies_of_its_signal),
        cmocka_unit_test(init_with_many_reports_keeps_the_newest),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
