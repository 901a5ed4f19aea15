/* See hurry.h. */
#include "supervisor/hurry.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MS 1000000

static const char *path_of(const struct hurry *h) {
    return h->path ? h->path : "/proc/self/autogroup";
}

/* "/autogroup-25 nice 0"; false: there is none. */
static bool read_nice(const struct hurry *h, int *ret) {
    char text[128] = "";
    FILE *f = fopen(path_of(h), "re");
    const char *nice = f && fgets(text, sizeof text, f) ? strstr(text, " nice ") : NULL;
    if (f)
        fclose(f);
    if (nice)
        *ret = atoi(nice + strlen(" nice "));
    return nice != NULL;
}

static bool write_nice(const struct hurry *h, int nice) {
    FILE *f = fopen(path_of(h), "we");
    bool written = f && fprintf(f, "%d", nice) > 0;
    return f && fclose(f) == 0 && written;
}

void hurry_begin(struct hurry *h, int64_t now_ns) {
    int nice;
    if (!h->until_ns) {
        /* One that hurries already was left so by a supervisor that was killed. */
        if (!read_nice(h, &nice) || nice < HURRY_NICE || !write_nice(h, HURRY_NICE))
            return;
        h->usual = nice == HURRY_NICE ? 0 : nice;
    }
    h->until_ns = now_ns + (int64_t)HURRY_MS * MS;
}

void hurry_end(struct hurry *h) {
    if (h->until_ns)
        (void)write_nice(h, h->usual);
    h->until_ns = 0;
}

void hurry_look(struct hurry *h, int64_t now_ns) {
    if (now_ns >= h->until_ns)
        hurry_end(h);
}
