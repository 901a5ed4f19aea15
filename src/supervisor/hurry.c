/* See hurry.h. */
#include "supervisor/hurry.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define MS        1000000
#define AGAIN_MS  500 /* to the next try when the niceness was not taken back */
#define END_TRIES 5

/* Without CAP_SYS_ADMIN the kernel takes one write in 100 ms, whoever's, and EAGAIN is the answer
 * to the others. */
#define END_WAIT_MS 110

struct group {
    char name[64]; /* "/autogroup-25" */
    int nice;
};

static const char *path_of(const struct hurry *h) {
    return h->path ? h->path : "/proc/self/autogroup";
}

/* "/autogroup-25 nice 0"; false: there is none. */
static bool read_group(const struct hurry *h, struct group *ret) {
    FILE *f = fopen(path_of(h), "re");
    int n = f ? fscanf(f, "%63s nice %d", ret->name, &ret->nice) : 0;
    if (f)
        fclose(f);
    return n == 2;
}

/* errno says why not. */
static bool write_text(const char *path, const char *text) {
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    bool written = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    int saved = errno;
    if (fd >= 0)
        close(fd);
    errno = saved;
    return written;
}

static bool write_nice(const struct hurry *h, int nice) {
    char text[16];
    snprintf(text, sizeof text, "%d", nice);
    return write_text(path_of(h), text);
}

static bool write_note(const struct hurry *h, const struct group *g) {
    char text[96];
    snprintf(text, sizeof text, "%s %d\n", g->name, g->nice);
    return !h->note || write_text(h->note, text);
}

static void remove_note(const struct hurry *h) {
    if (h->note)
        unlink(h->note);
}

static bool give_back(struct hurry *h) {
    if (!write_nice(h, h->usual))
        return false;
    h->until_ns = 0;
    remove_note(h);
    return true;
}

void hurry_begin(struct hurry *h, int64_t now_ns) {
    struct group g;
    if (!h->until_ns) {
        if (!read_group(h, &g) || g.nice <= HURRY_NICE)
            return;
        if (!write_note(h, &g) || !write_nice(h, HURRY_NICE)) {
            remove_note(h);
            return;
        }
        h->usual = g.nice;
    }
    h->until_ns = now_ns + (int64_t)HURRY_MS * MS;
}

void hurry_take_back(struct hurry *h, int64_t now_ns) {
    struct group g, noted;
    FILE *f = h->note ? fopen(h->note, "re") : NULL;
    int n = f ? fscanf(f, "%63s %d", noted.name, &noted.nice) : 0;
    if (!f)
        return;
    fclose(f);
    if (n != 2 || !read_group(h, &g) || strcmp(g.name, noted.name) != 0 || g.nice != HURRY_NICE) {
        remove_note(h); /* another session, or somebody has seen to it */
        return;
    }
    h->usual = noted.nice;
    h->until_ns = now_ns;
    hurry_look(h, now_ns);
}

void hurry_look(struct hurry *h, int64_t now_ns) {
    if (h->until_ns && now_ns >= h->until_ns && !give_back(h))
        h->until_ns = now_ns + (int64_t)AGAIN_MS * MS;
}

void hurry_end(struct hurry *h) {
    const struct timespec wait = {0, (long)END_WAIT_MS * MS};
    for (int i = 0; h->until_ns && !give_back(h) && errno == EAGAIN && i < END_TRIES; i++)
        nanosleep(&wait, NULL);
}
