#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/memory.h"

static const char *const folders[] = {"/proc", "/sys", "/sys/fs", "/sys/fs/cgroup"};
static const char *const files[] = {"/proc/meminfo", "/sys/fs/cgroup/memory.max",
                                    "/sys/fs/cgroup/memory.current", "/sys/fs/cgroup/memory.stat"};

/* What memory_available() says when the files hold these texts; NULL = there is no such file. */
static int64_t available(const char *const texts[4]) {
    char root[] = "/tmp/parley-memory-XXXXXX", path[128];
    assert_non_null(mkdtemp(root));
    for (int i = 0; i < 4; i++) {
        snprintf(path, sizeof(path), "%s%s", root, folders[i]);
        assert_int_equal(mkdir(path, 0700), 0);
    }
    for (int i = 0; i < 4; i++) {
        snprintf(path, sizeof(path), "%s%s", root, files[i]);
        FILE *f = texts[i] ? fopen(path, "w") : NULL;
        if (f) {
            fputs(texts[i], f);
            fclose(f);
        }
    }
    int64_t v = memory_available(root);
    for (int i = 0; i < 4; i++) {
        snprintf(path, sizeof(path), "%s%s", root, files[i]);
        unlink(path);
    }
    for (int i = 3; i >= 0; i--) {
        snprintf(path, sizeof(path), "%s%s", root, folders[i]);
        rmdir(path);
    }
    rmdir(root);
    return v;
}

#define MEMINFO "MemTotal:  9000 kB\nMemAvailable:  4000 kB\nBuffers: 1 kB\n"

static void available_without_group_is_the_machines(void **state) {
    (void)state;
    assert_int_equal(available((const char *[4]){MEMINFO}), 4000 * 1024);
    assert_int_equal(available((const char *[4]){MEMINFO, "max\n", "500\n", "active_file 9\n"}),
                     4000 * 1024);
}

static void available_in_group_counts_cached_files_as_free(void **state) {
    (void)state;
    assert_int_equal(
        available((const char *[4]){MEMINFO, "1000000\n", "990000\n",
                                    "anon 5000\nfile 800000\ninactive_file 700000\nactive_file "
                                    "100000\nworkingset_refault_file 7\n"}),
        810000);
    assert_int_equal(available((const char *[4]){MEMINFO, "1000000\n", "990000\n"}), 10000);
}

static void available_is_never_negative_nor_above_the_limit(void **state) {
    (void)state;
    assert_int_equal(available((const char *[4]){MEMINFO, "1000\n", "2000\n"}), 0);
    assert_int_equal(available((const char *[4]){MEMINFO, "1000\n", "0\n", "active_file 9999\n"}),
                     1000);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(available_without_group_is_the_machines),
        cmocka_unit_test(available_in_group_counts_cached_files_as_free),
        cmocka_unit_test(available_is_never_negative_nor_above_the_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
