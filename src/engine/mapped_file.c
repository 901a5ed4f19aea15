#include "engine/mapped_file.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

void mapped_file_release(const char *path) {
    char line[PATH_MAX + 128], mode[8], *whole = realpath(path, NULL);
    uintptr_t begin, end;
    FILE *f = whole ? fopen("/proc/self/maps", "re") : NULL;
    while (f && fgets(line, sizeof line, f)) { /* proc_pid_maps(5) */
        int at = 0;
        line[strcspn(line, "\n")] = 0;
        if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %7s %*s %*s %*s %n", &begin, &end, mode, &at) ==
                3 &&
            at > 0 && strcmp(mode, "r--s") == 0 && strcmp(line + at, whole) == 0)
            (void)madvise((void *)begin, end - begin, MADV_DONTNEED);
    }
    if (f)
        fclose(f);
    free(whole);
}
