/* What outlives the engine: states of conversations for the process that comes after it. */
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/keep.h"
#include "engine/sched_internal.h"
#include "unit/engine/sched_fixture.h"

#define KEY   7
#define LIMIT ((size_t)64 << 20)

static char folder[] = "/tmp/parley-keep-XXXXXX";
static struct scripted_model model;

static int make(void **state) {
    (void)state;
    strcpy(folder + strlen(folder) - 6, "XXXXXX");
    assert_non_null(mkdtemp(folder));
    scripted_init(&model);
    return 0;
}

static int clean(void **state) {
    (void)state;
    scripted_deinit(&model);
    keep_file_remove(folder);
    return rmdir(folder);
}

static struct keep *keep_open(uint64_t key, size_t limit) {
    int fd = keep_file_open(folder, false);
    assert_true(fd >= 0);
    struct keep *k = keep_new(fd, key, limit);
    assert_non_null(k);
    return k;
}

/* Sequence 0 becomes n tokens that begin with `first`. */
static const int32_t *hold(int first, int n) {
    struct tokens *t = &model.seqs[0];
    t->n = 0;
    for (int32_t i = 0; i < n; i++) {
        int32_t token = i ? 'a' + i % 26 : first;
        assert_int_equal(tokens_add(t, &token, 1), ERR_OK);
    }
    return t->p;
}

static bool put(struct keep *k, int first, int n) {
    return keep_put(k, &model.base, 0, (uint64_t)first, hold(first, n), n);
}

static int count(struct keep *k) {
    struct kept got;
    int n = 0;
    while (keep_get(k, n, &got))
        n++;
    return n;
}

static void assert_newest(struct keep *k, int first, int n) {
    struct kept got;
    const int32_t *tokens = hold(first, n);
    assert_true(keep_get(k, 0, &got));
    assert_int_equal(got.conversation, first);
    assert_int_equal(got.n, n);
    assert_memory_equal(got.tokens, tokens, (size_t)n * sizeof *tokens);
    assert_int_equal(got.size, (size_t)n * sizeof *tokens); /* the scripted model's state */
    assert_memory_equal(got.state, tokens, got.size);
}

static void keep_hands_states_to_the_next_process(void **state) {
    (void)state;
    struct keep *k = keep_open(KEY, LIMIT);
    assert_int_equal(count(k), 0);
    assert_true(put(k, 1, 100) && put(k, 2, 50));
    assert_int_equal(keep_held(k, hold(1, 120), 120), 100);
    assert_int_equal(keep_held(k, hold(1, 99), 99), 0); /* it holds more */
    keep_good(k);
    keep_free(k);
    k = keep_open(KEY, LIMIT);
    assert_int_equal(count(k), 2);
    assert_newest(k, 2, 50);
    keep_good(k);
    keep_free(k);
    k = keep_open(KEY + 1, LIMIT); /* another model */
    assert_int_equal(count(k), 0);
    keep_free(k);
}

static void keep_has_one_state_of_a_conversation(void **state) {
    (void)state;
    struct keep *k = keep_open(KEY, LIMIT);
    for (int n = 10; n <= 500; n += 10)
        assert_true(put(k, 1, n));
    assert_int_equal(count(k), 1);
    assert_newest(k, 1, 500);
    keep_free(k);
}

static size_t save_and_die(struct model *m, int seq, void *to, size_t size) {
    (void)m, (void)seq;
    memset(to, 0, size / 2);
    raise(SIGKILL);
    return size;
}

static void keep_of_a_process_that_dies_while_it_writes_has_what_was_there(void **state) {
    (void)state;
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        struct model_ops deadly = *model.base.ops;
        struct keep *k = keep_open(KEY, LIMIT);
        if (!put(k, 1, 100))
            _exit(1);
        deadly.seq_save = save_and_die;
        model.base.ops = &deadly;
        put(k, 1, 120);
        _exit(2);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    struct keep *k = keep_open(KEY, LIMIT);
    assert_int_equal(count(k), 1);
    assert_newest(k, 1, 100);
    keep_free(k);
}

static size_t big_size(struct model *m, int seq) {
    (void)m, (void)seq;
    return (size_t)5 << 20;
}

static size_t big_save(struct model *m, int seq, void *to, size_t size) {
    (void)m;
    memset(to, seq, size);
    return size;
}

static void keep_takes_no_more_than_its_limit(void **state) {
    (void)state;
    struct model_ops big = *model.base.ops;
    struct stat st;
    int fd = keep_file_open(folder, false);
    struct keep *k = keep_new(dup(fd), KEY, (size_t)33 << 20);
    big.seq_size = big_size;
    big.seq_save = big_save;
    model.base.ops = &big;
    for (int i = 1; i <= 30; i++) {
        assert_true(put(k, i, 10));
        assert_int_equal(fstat(fd, &st), 0);
        assert_in_range((uint64_t)st.st_blocks * 512, 0, 34 << 20);
    }
    assert_int_equal(count(k), 4); /* of 8 MiB each; the newest */
    struct kept got;
    assert_true(keep_get(k, 3, &got));
    assert_int_equal(got.conversation, 27);
    keep_free(k);
    k = keep_new(fd, KEY, (size_t)4 << 20); /* no room for one */
    assert_false(put(k, 40, 10));
    keep_free(k);
}

static void keep_that_nobody_could_use_is_dropped(void **state) {
    (void)state;
    struct keep *k = keep_open(KEY, LIMIT);
    assert_true(put(k, 1, 100));
    keep_good(k);
    keep_free(k);
    for (int i = 0; i < 4; i++) { /* processes that die before they have computed anything */
        k = keep_open(KEY, LIMIT);
        assert_int_equal(count(k), i < 3);
        keep_free(k);
    }
}

static void keep_file_that_is_fresh_leaves_the_other_to_its_owner(void **state) {
    (void)state;
    struct keep *old = keep_open(KEY, LIMIT);
    assert_true(put(old, 1, 100));
    struct keep *k = keep_new(keep_file_open(folder, true), KEY, LIMIT);
    assert_int_equal(count(k), 0);
    assert_true(put(old, 1, 110) && put(k, 2, 10));
    assert_newest(old, 1, 110);
    assert_newest(k, 2, 10);
    keep_free(old);
    keep_free(k);
    k = keep_open(KEY, LIMIT); /* the new one has the name */
    assert_newest(k, 2, 10);
    keep_free(k);
}

static void keep_file_that_makes_no_sense_is_made_anew(void **state) {
    (void)state;
    char junk[9000];
    memset(junk, 0x5a, sizeof junk);
    for (int whole = 0; whole < 2; whole++) {
        int fd = keep_file_open(folder, false);
        assert_int_equal(ftruncate(fd, 0), 0);
        assert_int_equal(write(fd, junk, whole ? sizeof junk : 10), whole ? sizeof junk : 10);
        struct keep *k = keep_new(fd, KEY, LIMIT);
        assert_non_null(k);
        assert_int_equal(count(k), 0);
        assert_true(put(k, 1, 100));
        keep_free(k);
    }
}

static struct sched *sched_with(struct scripted_model *m, struct keep *k) {
    const struct sched_options o = {.slots = 4,
                                    .prefixes = 2,
                                    .prefix_tokens = 128,
                                    .cells = 4 * SCRIPTED_WINDOW,
                                    .max_queued = 10,
                                    .no_guesses = true,
                                    .keep = k};
    struct sched *s;
    assert_int_equal(sched_new(&m->base, NULL, &o, &s), ERR_OK);
    return s;
}

static void submit_to(struct sched *s, struct scripted_model *m, struct caller *c,
                      const char *prompt, int max) {
    struct fixture f = {.s = s};
    struct errinfo ei;
    f.m.base = m->base;
    struct sched_chat chat = request(&f, c, prompt, max);
    assert_int_equal(submit(&f, &chat, NULL, &ei), ERR_OK);
}

/* An engine is killed in an answer's midst: the next one computes what was not kept, and says what
 * the first would have said. */
static void sched_goes_on_where_the_former_process_was(void **state) {
    (void)state;
    struct caller whole = {0}, begun = {0}, rest = {0};
    char prompt[120], partial[400];
    memset(prompt, 'p', sizeof prompt);
    strcpy(prompt + sizeof prompt - 10, "tell me>");
    clock_test_set(1000000000, 1000); /* keeping takes no time: it is always due */

    struct sched *s = sched_with(&model, NULL);
    submit_to(s, &model, &whole, prompt, 100);
    while (sched_round(s))
        ;
    sched_free(s);
    scripted_deinit(&model);
    scripted_init(&model);

    struct keep *k = keep_open(KEY, LIMIT);
    s = sched_with(&model, k);
    submit_to(s, &model, &begun, prompt, 100);
    while (begun.n < 70)
        assert_true(sched_round(s));
    sched_free(s); /* nothing of it reaches the file */
    keep_free(k);
    scripted_deinit(&model);
    scripted_init(&model);

    k = keep_open(KEY, LIMIT);
    s = sched_with(&model, k);
    snprintf(partial, sizeof partial, "%s%.*s", prompt, begun.n, begun.text);
    submit_to(s, &model, &rest, partial, 100 - begun.n);
    while (sched_round(s))
        ;
    assert_in_range(model.computed, rest.n, rest.n + 60); /* of some 190 tokens */
    assert_int_equal(begun.n + rest.n, whole.n);
    assert_memory_equal(begun.text, whole.text, (size_t)begun.n);
    assert_memory_equal(rest.text, whole.text + begun.n, (size_t)rest.n);
    sched_free(s);
    keep_free(k);
    clock_test_end();
}

static void sched_starts_with_states_that_the_model_refuses(void **state) {
    (void)state;
    struct caller c = {0};
    struct keep *k = keep_open(KEY, LIMIT);
    assert_true(put(k, 'x', 200));
    model.seqs[0].n = 0;
    model.room = 100;
    struct sched *s = sched_with(&model, k);
    model.room = 0;
    submit_to(s, &model, &c, "first>", 3);
    while (sched_round(s))
        ;
    assert_int_equal(c.dones, 1);
    assert_int_equal(c.n, 3);
    sched_free(s);
    keep_free(k);
}

/* Answers that are too short to be kept show that what was found can be computed with, too. */
static void sched_trusts_what_it_found_after_a_step(void **state) {
    (void)state;
    struct keep *k = keep_open(KEY, LIMIT);
    assert_true(put(k, 'x', 200));
    keep_free(k);
    for (int i = 0; i < 5; i++) {
        struct caller c = {0};
        scripted_deinit(&model);
        scripted_init(&model);
        k = keep_open(KEY, LIMIT);
        assert_int_equal(count(k), 1);
        struct sched *s = sched_with(&model, k);
        submit_to(s, &model, &c, "first>", 3);
        sched_round(s);
        sched_free(s);
        keep_free(k);
    }
}

static struct sched *saving; /* for slow_save */
static int slow_saves;

/* The scheduler lets requests in meanwhile. */
static size_t slow_save(struct model *m, int seq, void *to, size_t size) {
    assert_int_equal(pthread_mutex_trylock(&saving->state), 0);
    pthread_mutex_unlock(&saving->state);
    clock_test_advance(100);
    slow_saves++;
    (void)m, (void)seq;
    memset(to, 0, size);
    return size;
}

static int keeps(struct sched *s) {
    slow_saves = 0;
    clock_test_advance(3600000);
    pthread_mutex_lock(&s->state);
    sched_keep(s);
    pthread_mutex_unlock(&s->state);
    return slow_saves;
}

static void sched_holds_up_nobody_while_it_keeps(void **state) {
    (void)state;
    struct model_ops slow = *model.base.ops;
    struct caller c = {0};
    struct keep *k = keep_open(KEY, LIMIT);
    slow.seq_save = slow_save;
    model.base.ops = &slow;
    clock_test_set(1000000000, 1000);
    struct sched *s = saving = sched_with(&model, k);
    submit_to(s, &model, &c, "tell me>", 150);
    while (c.n < 110) /* the last 48 tokens and more are not kept: the clock stands still */
        assert_true(sched_round(s));
    assert_int_equal(slow_saves, 1);
    int told = s->running->answer_tokens;
    s->running->answer_tokens = 0; /* as if its first word was awaited */
    assert_int_equal(keeps(s), 0);
    s->running->answer_tokens = told;
    assert_int_equal(keeps(s), 1);
    sched_free(s);
    keep_free(k);
    clock_test_end();
}

static int between_ms; /* pieces and copies took since the last step of answers */
static enum err (*plain_step)(struct model *m, const struct model_item *items, int n,
                              struct errinfo *ei);

static enum err seen_step(struct model *m, const struct model_item *items, int n,
                          struct errinfo *ei) {
    bool piece = n > 1;
    clock_test_advance(piece ? 20 + 5 * n : 28);
    between_ms = piece ? between_ms + 20 + 5 * n : 0;
    assert_in_range(between_ms, 0, 2 * 28 + 4); /* a piece alone may take so long */
    return plain_step(m, items, n, ei);
}

static size_t seen_save(struct model *m, int seq, void *to, size_t size) {
    assert_int_equal(between_ms, 0);
    clock_test_advance(10);
    between_ms = 10;
    slow_saves++;
    (void)m, (void)seq;
    memset(to, 0, size);
    return size;
}

/* Who waits for an answer's next token waits for a copy or for a piece of a prompt, not for both.
 */
static void sched_keeps_in_place_of_a_piece(void **state) {
    (void)state;
    struct model_ops ops = *model.base.ops;
    struct caller c = {0}, big = {0};
    char text[200];
    struct keep *k = keep_open(KEY, LIMIT);
    plain_step = ops.step;
    ops.step = seen_step;
    ops.seq_save = seen_save;
    model.base.ops = &ops;
    model.base.info.rows = true;
    clock_test_set(1000000000, 1000);
    slow_saves = between_ms = 0;
    struct sched *s = sched_with(&model, k);
    submit_to(s, &model, &c, "tell me>", 240);
    while (c.n < 30)
        assert_true(sched_round(s));
    memset(text, 'x', sizeof text);
    text[190] = 0; /* longer to read than is computed at once */
    struct fixture f = {.s = s};
    struct errinfo ei;
    f.m.base = model.base;
    struct sched_chat chat = request(&f, &big, text, 3);
    chat.wait = true;
    assert_int_equal(submit(&f, &chat, NULL, &ei), ERR_OK);
    int before = slow_saves;
    while (big.n == 0)
        assert_true(sched_round(s));
    assert_true(slow_saves > before);
    sched_free(s);
    keep_free(k);
    clock_test_end();
}

static int64_t step_ms;

static enum err timed_step(struct model *m, const struct model_item *items, int n,
                           struct errinfo *ei) {
    clock_test_advance(step_ms);
    return plain_step(m, items, n, ei);
}

static size_t counted_save(struct model *m, int seq, void *to, size_t size) {
    (void)m, (void)seq;
    memset(to, 0, size);
    slow_saves++;
    return size;
}

/* How often it is kept while an exact answer says 60 tokens, at so many milliseconds each. */
static int keeps_of_an_exact_answer(int ms) {
    struct model_ops ops = *model.base.ops;
    struct caller c = {0};
    struct errinfo ei;
    struct keep *k = keep_open(KEY, LIMIT);
    plain_step = ops.step;
    ops.step = timed_step;
    ops.seq_save = counted_save;
    model.base.ops = &ops;
    model.base.info.rows = true;
    step_ms = ms;
    clock_test_set(1000000000, 1000);
    struct sched *s = sched_with(&model, k);
    struct fixture f = {.s = s};
    f.m.base = model.base;
    struct sched_chat chat = request(&f, &c, "tell me>", 240);
    chat.exact = true;
    assert_int_equal(submit(&f, &chat, NULL, &ei), ERR_OK);
    while (c.n < 60)
        assert_true(sched_round(s));
    slow_saves = 0;
    while (c.n < 120)
        assert_true(sched_round(s));
    sched_free(s);
    keep_free(k);
    clock_test_end();
    return slow_saves;
}

/* What was not kept of an exact answer is computed again token by token: that may not take long,
 * however slow the steps are. */
static void sched_keeps_an_exact_answer_as_often_as_its_steps_are_slow(void **state) {
    (void)state;
    assert_in_range(keeps_of_an_exact_answer(1), 60 / 17, 60 / 15);
    scripted_deinit(&model);
    scripted_init(&model);
    assert_in_range(keeps_of_an_exact_answer(50), 60 / 5, 60 / 3);
    scripted_deinit(&model);
    scripted_init(&model);
    assert_in_range(keeps_of_an_exact_answer(1000), 60 / 3, 60 / 2);
}

#define TEST(t) cmocka_unit_test_setup_teardown(t, make, clean)

int main(void) {
    if (access("/dev/shm", W_OK) != 0)
        return 77; /* nothing can be kept here */
    const struct CMUnitTest tests[] = {
        TEST(keep_hands_states_to_the_next_process),
        TEST(keep_has_one_state_of_a_conversation),
        TEST(keep_of_a_process_that_dies_while_it_writes_has_what_was_there),
        TEST(keep_takes_no_more_than_its_limit),
        TEST(keep_that_nobody_could_use_is_dropped),
        TEST(keep_file_that_is_fresh_leaves_the_other_to_its_owner),
        TEST(keep_file_that_makes_no_sense_is_made_anew),
        TEST(sched_goes_on_where_the_former_process_was),
        TEST(sched_starts_with_states_that_the_model_refuses),
        TEST(sched_trusts_what_it_found_after_a_step),
        TEST(sched_holds_up_nobody_while_it_keeps),
        TEST(sched_keeps_in_place_of_a_piece),
        TEST(sched_keeps_an_exact_answer_as_often_as_its_steps_are_slow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
