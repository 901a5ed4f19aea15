/* Random load from several threads on the scheduler with a scripted model: prompts of all lengths,
 * waiting, deadlines, the background, cancels, texts, failing steps. Afterwards everything has
 * ended exactly once, every slot is free and holds no reservation, and each answer that was kept is
 * what the model says. PARLEY_SOAK_SECONDS makes it as long as one likes; it then also watches the
 * memory. */
#include "unit/engine/sched_fixture.h"

#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#define THREADS 3
#define ROUNDS  400 /* requests of each thread, when no time is given */

static atomic_int submitted, wrong;
static pthread_mutex_t ended_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t ended_more = PTHREAD_COND_INITIALIZER;
static int ended;
static int64_t until_ns;

static void count_end(void) {
    pthread_mutex_lock(&ended_lock);
    ended++;
    pthread_cond_signal(&ended_more);
    pthread_mutex_unlock(&ended_lock);
}

struct asked {
    char prompt[SCRIPTED_WINDOW];
    char text[SCRIPTED_WINDOW];
    int n, max;
    bool done;
};

/* What the scripted model says next: the same sum over the whole sequence. */
static int expected(const char *prompt, const char *text, int n) {
    uint32_t h = 2166136261u;
    for (const char *p = prompt; *p; p++)
        h = (h ^ (uint32_t)(unsigned char)*p) * 16777619u;
    for (int i = 0; i < n; i++)
        h = (h ^ (uint32_t)(unsigned char)text[i]) * 16777619u;
    return 'a' + (int)(h % 26);
}

static void on_soak_event(void *ctx, const struct sched_event *e) {
    struct asked *a = ctx;
    if (a->done)
        atomic_fetch_add(&wrong, 1);
    if (e->queued)
        return;
    if (!e->done) {
        if (e->token.token != expected(a->prompt, a->text, a->n))
            atomic_fetch_add(&wrong, 1);
        if (a->n < SCRIPTED_WINDOW - 1)
            a->text[a->n++] = (char)e->token.token;
        return;
    }
    a->done = true;
    if (e->end == SCHED_LENGTH && a->n != a->max &&
        a->n + (int)strlen(a->prompt) <= SCRIPTED_WINDOW)
        atomic_fetch_add(&wrong, 1);
    free(a);
    count_end();
}

static void on_soak_texts(void *ctx, enum err e, float *vectors, const struct errinfo *ei) {
    (void)ctx;
    (void)e;
    (void)ei;
    free(vectors);
    count_end();
}

static uint64_t dice(uint64_t *state) {
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return *state >> 33;
}

/* One of a few roles, then a question; some are whole conversations that share long beginnings. */
static void make_prompt(char *out, uint64_t *d) {
    int n = snprintf(out, 64, "<system:role %d with its rules|", (int)(dice(d) % 5));
    int more = (int)(dice(d) % 8 == 0 ? dice(d) % (SCRIPTED_WINDOW - 40) : dice(d) % 40);
    for (int i = 0; i < more && n < SCRIPTED_WINDOW - 2; i++)
        out[n++] = (char)('a' + dice(d) % (dice(d) % 4 ? 2 : 26));
    out[n++] = '>';
    out[n] = 0;
}

static void ask_chat(struct sched *s, uint64_t *d) {
    struct asked *a = calloc(1, sizeof(*a));
    struct errinfo ei;
    uint64_t id;
    make_prompt(a->prompt, d);
    a->max = 1 + (int)(dice(d) % 30);
    struct sched_chat chat = {.max_tokens = a->max,
                              .prefix = 30,
                              .conversation = dice(d) % 40,
                              .user = dice(d) % 7,
                              .wait = dice(d) % 2,
                              .background = dice(d) % 6 == 0,
                              .deadline_ms = (int64_t)(dice(d) % 3) * 40 - 1,
                              .arrived_ns = clock_mono_ns(),
                              .on_event = on_soak_event,
                              .ctx = a};
    chat.prefix = chat.prefix < (int)strlen(a->prompt) ? chat.prefix : 0;
    sampler_params_init(&chat.sampling);
    chat.sampling.temperature = 0;
    for (const char *p = a->prompt; *p; p++) {
        int32_t t = (unsigned char)*p;
        if (tokens_add(&chat.prompt, &t, 1))
            abort();
    }
    if (sched_chat_submit(s, &chat, &id, &ei)) {
        tokens_deinit(&chat.prompt);
        free(a);
        return;
    }
    atomic_fetch_add(&submitted, 1);
    if (dice(d) % 5 == 0)
        sched_cancel(s, id);
}

static void ask_texts(struct sched *s, uint64_t *d) {
    struct sched_embed e = {
        .n = 1 + (int)(dice(d) % 9), .background = dice(d) % 2, .on_done = on_soak_texts};
    struct errinfo ei;
    uint64_t id;
    int n = e.n;
    e.texts = calloc((size_t)n, sizeof(*e.texts));
    struct tokens *texts = e.texts;
    for (int i = 0; i < n; i++)
        if (tokens_add(&e.texts[i], NULL, 1 + (int)(dice(d) % 60)))
            abort();
    if (sched_embed_submit(s, &e, &id, &ei)) {
        for (int i = 0; i < n; i++)
            tokens_deinit(&texts[i]);
        free(texts);
        return;
    }
    atomic_fetch_add(&submitted, 1);
    if (dice(d) % 4 == 0)
        sched_cancel(s, id);
}

static void *load(void *arg) {
    struct fixture *f = arg;
    static atomic_int seeds;
    uint64_t d = 77 + (uint64_t)atomic_fetch_add(&seeds, 1) * 1000003;
    for (int i = 0; until_ns ? clock_mono_ns() < until_ns : i < ROUNDS; i++) {
        if (dice(&d) % 4 == 0)
            ask_texts(f->s, &d);
        else
            ask_chat(f->s, &d);
        if (dice(&d) % 16 == 0)
            usleep((unsigned)(dice(&d) % 3000)); /* gaps in the load, not a wait for anything */
    }
    return NULL;
}

static void *compute(void *arg) {
    sched_run(arg);
    return NULL;
}

static long resident_kb(void) {
    long pages = 0, total;
    FILE *m = fopen("/proc/self/statm", "re");
    if (m && fscanf(m, "%ld %ld", &total, &pages) != 2)
        pages = 0;
    if (m)
        fclose(m);
    return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

/* The memory after a tenth of the time and at the end; false: it grew. */
static bool memory_is_flat(void) {
    int64_t begin = clock_mono_ns(), tenth = begin + (until_ns - begin) / 10;
    while (clock_mono_ns() < tenth)
        sleep(1);
    long early = resident_kb();
    while (clock_mono_ns() < until_ns)
        sleep(1);
    long late = resident_kb();
    print_message("%d requests; resident memory %ld kB early, %ld kB late\n",
                  atomic_load(&submitted), early, late);
#ifdef __SANITIZE_ADDRESS__
    return true; /* it keeps what is freed, and reports leaks itself */
#else
    return late < early + early / 4 + 4096;
#endif
}

static void random_load(bool rows) {
    struct fixture f;
    pthread_t machine, callers[THREADS];
    const char *seconds = getenv("PARLEY_SOAK_SECONDS");
    const struct sched_options o = {.slots = 6,
                                    .prefixes = 3,
                                    .prefix_tokens = 120,
                                    .cells = 3 * SCRIPTED_WINDOW,
                                    .shelf_bytes = 20000,
                                    .max_queued = 8, /* a full queue is memory, too */
                                    .deadline_ms = 30,
                                    .base_ns = 1e4,
                                    .answer_ns = 1e3,
                                    .prompt_ns = 1e3};
    ended = 0;
    atomic_store(&submitted, 0);
    scripted_init(&f.m);
    f.m.fail_every = 997;
    f.m.base.info.rows = rows;
    f.m.bytes_per_ms = 16; /* at a time, between two looks at the clock */
    assert_int_equal(sched_new(&f.m.base, &f.m.base, &o, &f.s), ERR_OK);
    until_ns = seconds && atoi(seconds) > 0 ? clock_mono_ns() + atoi(seconds) * 1000000000ll : 0;
    pthread_create(&machine, NULL, compute, f.s);
    for (int i = 0; i < THREADS; i++)
        pthread_create(&callers[i], NULL, load, &f);
    bool flat = until_ns ? memory_is_flat() : true;
    for (int i = 0; i < THREADS; i++)
        pthread_join(callers[i], NULL);
    pthread_mutex_lock(&ended_lock);
    while (ended < atomic_load(&submitted)) /* the test's time limit watches this */
        pthread_cond_wait(&ended_more, &ended_lock);
    pthread_mutex_unlock(&ended_lock);
    sched_stop(f.s);
    pthread_join(machine, NULL);
    assert_int_equal(ended, atomic_load(&submitted));
    assert_int_equal(atomic_load(&wrong), 0);
    assert_true(flat);
    assert_true(atomic_load(&submitted) > THREADS * ROUNDS / 10);
    assert_int_equal(metric_get(M_ENGINE_RUNNING), 0);
    assert_int_equal(metric_get(M_ENGINE_QUEUED), 0);
    sched_free(f.s);
    scripted_deinit(&f.m);
}

static void random_load_loses_nothing_with_one_pool(void **state) {
    (void)state;
    random_load(false);
}

static void random_load_loses_nothing_with_rows(void **state) {
    (void)state;
    random_load(true);
}

/* All slots at once, each to its window: what a lost slot or reservation would make impossible. */
static void every_slot_is_there_afterwards(void **state) {
    struct fixture f;
    struct caller c[3] = {0};
    struct errinfo ei;
    fixture_init(&f, 3);
    f.m.base.info.rows = *state != NULL;
    for (int round = 0; round < 30; round++) {
        uint64_t id[3];
        for (int i = 0; i < 3; i++) {
            c[i] = (struct caller){0};
            struct sched_chat chat = request(&f, &c[i], "question>", SCRIPTED_WINDOW);
            chat.deadline_ms = 0;
            assert_int_equal(submit(&f, &chat, &id[i], &ei), ERR_OK);
        }
        for (int i = 0; i < 10 && (c[0].n == 0 || c[1].n == 0 || c[2].n == 0); i++)
            sched_round(f.s);
        for (int i = 0; i < 3; i++)
            assert_in_range(c[i].n, 1, 10); /* all three run */
        for (int i = 0; i < 3; i++)
            sched_cancel(f.s, id[i]);
        sched_round(f.s);
    }
    fixture_deinit(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_load_loses_nothing_with_rows),
        cmocka_unit_test(random_load_loses_nothing_with_one_pool),
        cmocka_unit_test_prestate(every_slot_is_there_afterwards, "rows"),
        cmocka_unit_test(every_slot_is_there_afterwards),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
