/* Runs a fuzz target without libFuzzer: fuzz_<name> CORPUS_FOLDER [ROUNDS [SEED]].
 *
 * Replays every file of the corpus, then feeds ROUNDS mutations of them. The mutations come from a
 * generator with a fixed seed, so that a run is the same everywhere and a failure repeats; the
 * bytes of the round that breaks are left in fuzz-crash.bin in the working folder. */
#include <dirent.h>
#include <limits.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define INPUT_MAX      (64 * 1024)
#define FILES_MAX      4096
#define ROUNDS_DEFAULT 20000

/* Sanitizers end the process without a signal; this is how they let others know (weak: only there
 * when one is linked in). */
void __sanitizer_set_death_callback(void (*callback)(void)) __attribute__((weak));

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
    uint8_t *bytes; /* owned */
    size_t size;
};

static struct input corpus[FILES_MAX];
static size_t corpus_count;
static uint64_t random_state;

/* The input that runs now, for the crash handler. */
static const uint8_t *running;
static size_t running_size;

/* xorshift64* (Vigna 2016): plain, fast, the same everywhere. */
static uint64_t random_next(void) {
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return random_state * 0x2545F4914F6CDD1DULL;
}

static size_t random_below(size_t n) {
    return n ? (size_t)(random_next() % n) : 0;
}

static void keep_input(void) {
    FILE *f = fopen("fuzz-crash.bin", "wb");
    if (!f)
        return;
    fwrite(running, 1, running_size, f);
    fclose(f);
    fprintf(stderr, "the input that broke is in fuzz-crash.bin (%zu bytes)\n", running_size);
}

static void on_crash(int sig) {
    keep_input();
    signal(sig, SIG_DFL);
    raise(sig);
}

static void run(const uint8_t *bytes, size_t size) {
    /* An exact copy on the heap lets the address sanitizer see a read past the end. */
    uint8_t *copy = malloc(size ? size : 1);
    if (!copy)
        abort();
    memcpy(copy, bytes, size);
    running = bytes;
    running_size = size;
    LLVMFuzzerTestOneInput(copy, size);
    free(copy);
}

static void load_file(const char *path) {
    FILE *f = fopen(path, "rb");
    if (!f || corpus_count == FILES_MAX) {
        fprintf(stderr, "cannot read %s\n", path);
        exit(1);
    }
    uint8_t *bytes = malloc(INPUT_MAX);
    if (!bytes)
        abort();
    corpus[corpus_count++] = (struct input){bytes, fread(bytes, 1, INPUT_MAX, f)};
    fclose(f);
}

static int compare_names(const struct dirent **a, const struct dirent **b) {
    return strcmp((*a)->d_name, (*b)->d_name);
}

static void load_corpus(const char *folder) {
    struct dirent **entries;
    int n = scandir(folder, &entries, NULL, compare_names);
    if (n < 0) {
        fprintf(stderr, "cannot read the corpus %s\n", folder);
        exit(1);
    }
    for (int i = 0; i < n; i++) {
        char path[PATH_MAX];
        if (entries[i]->d_name[0] != '.') {
            snprintf(path, sizeof path, "%s/%s", folder, entries[i]->d_name);
            load_file(path);
        }
        free(entries[i]);
    }
    free(entries);
}

/* One change of p[0..n): returns the new size. */
static size_t mutate_once(uint8_t *p, size_t n) {
    static const uint8_t telling[] = {0,   '\n', '\r', '"',  '{',  '}',
                                      ':', ' ',  '\\', 0x7f, 0x80, 0xff};
    size_t at = random_below(n + 1), length = random_below(16) + 1;
    switch (random_below(7)) {
    case 0: /* flip a bit */
        if (at < n)
            p[at] ^= (uint8_t)(1u << random_below(8));
        return n;
    case 1: /* any byte */
        if (at < n)
            p[at] = (uint8_t)random_next();
        return n;
    case 2: /* a byte that parsers care for */
        if (at < n)
            p[at] = telling[random_below(sizeof telling)];
        return n;
    case 3: /* cut the end off */
        return at;
    case 4: /* remove some */
        if (at + length > n)
            return n;
        memmove(p + at, p + at + length, n - at - length);
        return n - length;
    case 5: /* repeat some */
        if (at + length > n || n + length > INPUT_MAX)
            return n;
        memmove(p + at + length, p + at, n - at);
        return n + length;
    default: { /* splice with another input */
        const struct input *other = &corpus[random_below(corpus_count)];
        size_t from = random_below(other->size), take = other->size - from;
        if (take > INPUT_MAX - at)
            take = INPUT_MAX - at;
        if (take)
            memcpy(p + at, other->bytes + from, take);
        return at + take;
    }
    }
}

static void mutate_and_run(size_t rounds) {
    static uint8_t work[INPUT_MAX];
    for (size_t i = 0; i < rounds; i++) {
        const struct input *seed = &corpus[random_below(corpus_count)];
        size_t n = seed->size;
        memcpy(work, seed->bytes, n);
        for (size_t changes = random_below(8) + 1; changes > 0; changes--)
            n = mutate_once(work, n);
        run(work, n);
    }
}

int main(int argc, char **argv) {
    if (argc < 2) {
        fprintf(stderr, "usage: %s CORPUS_FOLDER [ROUNDS [SEED]]\n", argv[0]);
        return 2;
    }
    size_t rounds = argc > 2 ? strtoul(argv[2], NULL, 10) : ROUNDS_DEFAULT;
    random_state = argc > 3 ? strtoull(argv[3], NULL, 10) : 1;
    if (random_state == 0) /* the generator's one fixed point */
        random_state = 1;
    if (__sanitizer_set_death_callback)
        __sanitizer_set_death_callback(keep_input);
    signal(SIGSEGV, on_crash);
    signal(SIGABRT, on_crash);
    load_corpus(argv[1]);
    size_t seeds = corpus_count;
    if (corpus_count == 0)
        corpus[corpus_count++] = (struct input){calloc(1, 1), 0};
    for (size_t i = 0; i < corpus_count; i++)
        run(corpus[i].bytes, corpus[i].size);
    mutate_and_run(rounds);
    printf("%zu seeds and %zu mutations ran\n", seeds, rounds);
    for (size_t i = 0; i < corpus_count; i++)
        free(corpus[i].bytes);
    return 0;
}
