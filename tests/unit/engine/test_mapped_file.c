#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/mapped_file.h"

#define PAGES 64

/* Bytes of the mapping that are in this process's page tables. */
static long resident(const void *at) {
    char line[512], head[32];
    long kb = -1;
    bool here = false;
    FILE *f = fopen("/proc/self/smaps", "re");
    assert_non_null(f);
    snprintf(head, sizeof head, "%lx-", (unsigned long)(uintptr_t)at);
    while (kb < 0 && fgets(line, sizeof line, f)) {
        here = here || strncmp(line, head, strlen(head)) == 0;
        if (here)
            sscanf(line, "Rss: %ld kB", &kb);
    }
    fclose(f);
    assert_true(kb >= 0);
    return kb * 1024;
}

/* Looks at each page; the bytes' sum. */
static unsigned long look(const volatile unsigned char *p, size_t n) {
    unsigned long sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += p[i];
    return sum;
}

static void mapped_file_is_read_again_after_its_pages_were_released(void **state) {
    (void)state;
    char path[] = "/tmp/parley-mapped-XXXXXX";
    size_t size = PAGES * (size_t)sysconf(_SC_PAGESIZE);
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    unsigned char *bytes = malloc(size);
    memset(bytes, 3, size);
    assert_int_equal(write(fd, bytes, size), size);
    free(bytes);
    unsigned char *shared = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
    unsigned char *own = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    assert_true(shared != MAP_FAILED && own != MAP_FAILED);
    memset(own, 5, size);
    assert_int_equal(look(shared, size), 3 * size);
    assert_int_equal(resident(shared), size);

    mapped_file_release(path);
    assert_int_equal(resident(shared), 0);
    assert_int_equal(look(shared, size), 3 * size);
    assert_int_equal(look(own, size), 5 * size); /* what was written is not the file's */

    munmap(shared, size);
    munmap(own, size);
    close(fd);
    unlink(path);
    mapped_file_release(path); /* there is none: nothing happens */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mapped_file_is_read_again_after_its_pages_were_released),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
