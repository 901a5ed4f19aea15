/* What readers saw of answers, found by the process that comes after a killed one. */
#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/crypto.h"
#include "turn/tails.h"

static char dir[64];

static struct uuid id_of(int n) {
    struct uuid id;
    char text[UUID_LEN + 1];
    snprintf(text, sizeof text, "01890a5d-ac96-774b-bcce-b302099a%04x", (unsigned)n);
    assert_true(uuid_parse(str_from(text), &id));
    return id;
}

/* A process that notes what fn says and is killed. */
static void die(void (*fn)(struct tails *t)) {
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        struct tails *t = tails_open(dir);
        if (!t)
            _exit(3);
        fn(t);
        raise(SIGKILL);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
}

/* The text of answer n, of which `stored` is stored, is now this. */
static void expect_text(const struct former_tails *f, int n, const char *stored, const char *text) {
    struct arena *a = arena_new((size_t)32 << 20);
    struct uuid id = id_of(n);
    struct str s = str_from(stored);
    assert_int_equal(former_tails_extend(f, &id, a, &s), ERR_OK);
    assert_int_equal(s.n, strlen(text));
    assert_memory_equal(s.p, text, s.n);
    arena_free(a);
}

static void note(struct tails *t, int n, size_t at, const char *text) {
    struct uuid id = id_of(n);
    tails_note(t, &id, at, str_from(text));
}

static void two_answers(struct tails *t) {
    note(t, 1, 0, "One ");
    note(t, 2, 10, "ten");
    note(t, 1, 4, "and ");
    note(t, 2, 13, " more");
    note(t, 1, 8, "two");
    note(t, 1, 4, "or "); /* taken back */
    note(t, 4, 0, "Kept, not this");
    note(t, 4, 4, ""); /* nothing came instead */
}

static void tails_goOnBehindWhatIsStored(void **state) {
    (void)state;
    die(two_answers);
    struct former_tails *f = former_tails_open(dir);
    assert_non_null(f);
    expect_text(f, 1, "", "One or ");
    expect_text(f, 1, "One", "One or ");
    expect_text(f, 1, "One or ", "One or ");
    expect_text(f, 1, "One or more", "One or more"); /* more is stored */
    expect_text(f, 1, "Two", "Two");                 /* another text */
    expect_text(f, 2, "0123456789", "0123456789ten more");
    expect_text(f, 2, "0123456789te", "0123456789ten more");
    expect_text(f, 2, "012345678", "012345678"); /* a gap */
    expect_text(f, 3, "none", "none");
    expect_text(f, 4, "Ke", "Kept");
    former_tails_close(f, false);
    f = former_tails_open(dir); /* not used: still there */
    assert_non_null(f);
    former_tails_close(f, true);
    assert_null(former_tails_open(dir));
}

static char piece[1001];

static void more_than_fits(struct tails *t) {
    note(t, 1, 0, "forgotten");
    for (int i = 0; i < 10000; i++) /* 10 MB of others */
        note(t, 2 + i % 10, (size_t)(i / 10) * 1000, piece);
    note(t, 1, 9, "kept");
}

static void tails_newestAreKeptWhenTheRingIsFull(void **state) {
    (void)state;
    static char whole[1000 * 1000 + 1];
    memset(piece, 'x', sizeof piece - 1);
    memset(whole, 'x', sizeof whole - 1);
    die(more_than_fits);
    struct former_tails *f = former_tails_open(dir);
    assert_non_null(f);
    expect_text(f, 1, "", "");
    expect_text(f, 1, "forgotten", "forgottenkept");
    char *most = strdup(whole);
    most[900 * 1000] = 0;
    expect_text(f, 5, most, whole);
    free(most);
    former_tails_close(f, true);
}

static void tails_ofALivingProcessAreNotTaken(void **state) {
    (void)state;
    struct tails *t = tails_open(dir);
    assert_non_null(t);
    note(t, 1, 0, "mine");
    assert_null(former_tails_open(dir));
    tails_close(t);
    assert_null(former_tails_open(dir));
    tails_note(NULL, &(struct uuid){{0}}, 0, STR("nowhere"));
    expect_text(NULL, 1, "as it is", "as it is");
}

/* The files that are there for dir; name, if not NULL, gets one's. */
static int files(char name[256]) {
    char hex[SHA256_HEX_LEN + 1], prefix[64];
    DIR *d = opendir("/dev/shm");
    int n = 0;
    sha256_hex(str_from(dir), hex);
    snprintf(prefix, sizeof prefix, "parley-%u-%.16s-answers-", (unsigned)geteuid(), hex);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));) {
        if (strncmp(e->d_name, prefix, strlen(prefix)) != 0)
            continue;
        n++;
        if (name)
            snprintf(name, 256, "/%.254s", e->d_name);
    }
    closedir(d);
    return n;
}

/* As processes in containers, which all have the same number. */
static void three_with_one_number(struct tails *t) {
    struct tails *second = tails_open(dir), *third = tails_open(dir);
    note(t, 1, 0, "One ");
    note(second, 1, 4, "two ");
    note(third, 1, 8, "three");
}

static void tails_ofSeveralAreReadInTheOrderOfTheirBeginning(void **state) {
    (void)state;
    die(three_with_one_number);
    assert_int_equal(files(NULL), 3);
    struct former_tails *f = former_tails_open(dir);
    assert_non_null(f);
    expect_text(f, 1, "", "One two three");
    former_tails_close(f, true);
    assert_int_equal(files(NULL), 0);
}

static void tails_ofAProcessThatDiedMakingThemGo(void **state) {
    char name[256];
    (void)state;
    die(two_answers);
    assert_int_equal(files(name), 1);
    for (int i = 0; i < 20; i++) { /* more than are read */
        snprintf(name + strlen(name) - 2, 3, "%02d", i);
        int fd = shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
        if (fd >= 0)
            close(fd);
    }
    assert_true(files(NULL) > 16);
    struct former_tails *f = former_tails_open(dir);
    assert_non_null(f);
    expect_text(f, 2, "0123456789", "0123456789ten more");
    former_tails_close(f, true);
    assert_int_equal(files(NULL), 0);
}

static int begin(void **state) {
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/parley-tails-XXXXXX");
    return crypto_init() || !mkdtemp(dir);
}

static int end(void **state) {
    (void)state;
    return rmdir(dir);
}

int main(void) {
    if (access("/dev/shm", W_OK)) {
        puts("/dev/shm cannot be written");
        return 77;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tails_goOnBehindWhatIsStored),
        cmocka_unit_test(tails_newestAreKeptWhenTheRingIsFull),
        cmocka_unit_test(tails_ofALivingProcessAreNotTaken),
        cmocka_unit_test(tails_ofSeveralAreReadInTheOrderOfTheirBeginning),
        cmocka_unit_test(tails_ofAProcessThatDiedMakingThemGo),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
