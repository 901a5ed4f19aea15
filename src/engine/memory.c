#include "engine/memory.h"

#include <inttypes.h>
#include <stdio.h>

static FILE *open_below(const char *root, const char *path) {
    char full[512];
    int n = snprintf(full, sizeof(full), "%s%s", root, path);
    return n < 0 || (size_t)n >= sizeof(full) ? NULL : fopen(full, "re");
}

/* The file's one number; -1 when there is none ("max"). */
static int64_t one_number(const char *root, const char *path) {
    int64_t v = -1;
    FILE *f = open_below(root, path);
    if (f && fscanf(f, "%" SCNd64, &v) != 1)
        v = -1;
    if (f)
        fclose(f);
    return v;
}

static int64_t group_cache(const char *root) {
    int64_t sum = 0, v;
    char line[128];
    FILE *f = open_below(root, "/sys/fs/cgroup/memory.stat");
    while (f && fgets(line, sizeof(line), f))
        if (sscanf(line, "active_file %" SCNd64, &v) == 1 ||
            sscanf(line, "inactive_file %" SCNd64, &v) == 1)
            sum += v;
    if (f)
        fclose(f);
    return sum;
}

int64_t memory_available(const char *root) {
    int64_t bytes = INT64_MAX, v;
    char line[128];
    FILE *f = open_below(root, "/proc/meminfo");
    while (f && fgets(line, sizeof(line), f))
        if (sscanf(line, "MemAvailable: %" SCNd64 " kB", &v) == 1)
            bytes = v * 1024;
    if (f)
        fclose(f);
    int64_t limit = one_number(root, "/sys/fs/cgroup/memory.max");
    int64_t used = one_number(root, "/sys/fs/cgroup/memory.current");
    if (limit > 0 && used >= 0) {
        int64_t left = limit - used + group_cache(root);
        left = left < limit ? left : limit;
        bytes = left < bytes ? left : bytes;
    }
    return bytes > 0 ? bytes : 0;
}
