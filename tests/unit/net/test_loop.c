/* net/loop and net/jobs: posts, timers, jobs, across threads. */
#include "http_fixture.h"

#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>

#include "net/jobs.h"

#define THREADS 4
#define EACH    20000

static struct loop *loop;

static int open_loop(void **state) {
    (void)state;
    struct errinfo ei;
    assert_int_equal(net_init(&ei), ERR_OK);
    assert_int_equal(loop_new(&loop, &ei), ERR_OK);
    return 0;
}

static int close_loop(void **state) {
    (void)state;
    loop_free(loop);
    return 0;
}

struct sender {
    int next, sent;
};
static struct sender senders[THREADS];
static int finished;

struct message {
    struct sender *from;
    int n;
};

static void receive(void *arg) {
    struct message *m = arg;
    assert_true(loop_is_current(loop));
    assert_int_equal(m->n, m->from->next); /* each thread's posts keep their order */
    m->from->next++;
    free(m);
}

static void one_finished(void *arg) {
    (void)arg;
    if (++finished == THREADS)
        loop_stop(loop);
}

static void *post_many(void *arg) {
    struct sender *s = arg;
    for (int i = 0; i < EACH; i++) {
        struct message *m = malloc(sizeof *m);
        *m = (struct message){s, i};
        if (loop_post(loop, receive, m))
            abort();
    }
    if (loop_post(loop, one_finished, NULL))
        abort();
    return NULL;
}

static void loop_post_from_many_threads_keeps_each_ones_order(void **state) {
    (void)state;
    pthread_t ids[THREADS];
    finished = 0;
    for (int i = 0; i < THREADS; i++)
        pthread_create(&ids[i], NULL, post_many, &senders[i]);
    loop_run(loop);
    for (int i = 0; i < THREADS; i++) {
        pthread_join(ids[i], NULL);
        assert_int_equal(senders[i].next, EACH);
    }
    assert_false(loop_is_current(loop));
}

static int inside, reposted;

static void repost(void *arg) {
    assert_int_equal(inside, 0); /* never within another post */
    inside = 1;
    if (++reposted < 100)
        assert_int_equal(loop_post(loop, repost, arg), ERR_OK);
    else
        loop_stop(loop);
    inside = 0;
}

static void loop_post_inside_a_post_runs_after_it(void **state) {
    (void)state;
    reposted = 0;
    assert_int_equal(loop_post(loop, repost, NULL), ERR_OK);
    loop_run(loop);
    assert_int_equal(reposted, 100);
}

static int ready[2], looked, looked_before;
static struct loop *busy;

static void look(void *arg) {
    (void)arg;
    looked++; /* and leaves the byte where it is: readable again in the next round */
}

static void go_round(void *arg) {
    assert_true(looked > looked_before); /* between two posts */
    looked_before = looked;
    if (++reposted < 100)
        assert_int_equal(loop_post(busy, go_round, arg), ERR_OK);
    else
        loop_stop(busy);
}

static void begin_rounds(void *arg) {
    looked_before = looked;
    assert_int_equal(loop_post(busy, go_round, arg), ERR_OK);
}

static void loop_post_inside_a_post_waits_behind_what_is_ready(void **state) {
    (void)state;
    struct errinfo ei;
    assert_int_equal(pipe(ready), 0);
    assert_int_equal(write(ready[1], "x", 1), 1);
    assert_int_equal(loop_new(&busy, &ei), ERR_OK);
    assert_int_equal(loop_on_readable(busy, ready[0], look, NULL), ERR_OK);
    looked = reposted = 0;
    assert_int_equal(loop_post(busy, begin_rounds, NULL), ERR_OK);
    loop_run(busy);
    assert_int_equal(reposted, 100);
    loop_free(busy);
    close(ready[0]);
    close(ready[1]);
}

static sem_t received;
static int n_received;

static void take_one(void *arg) {
    n_received++;
    if (arg)
        loop_stop(loop);
    sem_post(&received);
}

/* Each post finds the loop asleep, or about to be. */
static void *post_one_by_one(void *arg) {
    for (int i = 0; i < EACH; i++) {
        if (loop_post(loop, take_one, i + 1 < EACH ? NULL : arg))
            abort();
        sem_wait(&received);
    }
    return NULL;
}

static void loop_that_sleeps_wakes_for_each_post(void **state) {
    (void)state;
    pthread_t id;
    n_received = 0;
    sem_init(&received, 0, 0);
    pthread_create(&id, NULL, post_one_by_one, &id);
    loop_run(loop);
    pthread_join(id, NULL);
    assert_int_equal(n_received, EACH);
    sem_destroy(&received);
}

static void loop_stop_before_the_run_counts(void **state) {
    (void)state;
    loop_stop(loop);
    loop_run(loop); /* returns */
}

static struct timer *timer, *other;
static int ticks;

static void tick(void *arg) {
    (void)arg;
    if (++ticks == 3) {
        timer_free(timer); /* inside its own callback */
        timer_start(other, 0, false);
    }
}

static void end(void *arg) {
    (void)arg;
    timer_stop(other);
    loop_stop(loop);
}

static void timer_repeats_until_it_frees_itself(void **state) {
    (void)state;
    ticks = 0;
    timer = timer_new(loop, tick, NULL);
    other = timer_new(loop, end, NULL);
    timer_start(timer, 1, true);
    loop_run(loop);
    assert_int_equal(ticks, 3);
    timer_free(other);
    timer_free(NULL);
}

static int seen;

static void on_signal(void *arg) {
    (void)arg;
    seen++;
    loop_stop(loop);
}

static void loop_watches_signals_and_descriptors(void **state) {
    (void)state;
    int fds[2];
    char c;
    seen = 0;
    assert_int_equal(loop_on_signal(loop, SIGUSR1, on_signal, NULL), ERR_OK);
    raise(SIGUSR1);
    loop_run(loop);
    assert_int_equal(seen, 1);
    assert_int_equal(pipe(fds), 0);
    assert_int_equal(loop_on_readable(loop, fds[0], on_signal, NULL), ERR_OK);
    assert_int_equal(write(fds[1], "x", 1), 1);
    loop_run(loop);
    assert_int_equal(seen, 2);
    assert_int_equal(read(fds[0], &c, 1), 1);
    close_loop(NULL);
    open_loop(NULL);
    close(fds[0]), close(fds[1]);
}

/* ---- jobs ---- */

static sem_t gate, started;
static atomic_int worked;
static int done_count;

static void work(void *arg) {
    atomic_fetch_add((atomic_int *)arg, 1);
}

static void work_done(void *arg) {
    assert_true(loop_is_current(loop));
    assert_true(atomic_load((atomic_int *)arg) > 0);
    if (++done_count == 100)
        loop_stop(loop);
}

static void jobs_run_and_report_to_the_loop(void **state) {
    (void)state;
    struct jobs *p;
    atomic_int cells[100] = {0};
    done_count = 0;
    assert_int_equal(jobs_new(3, 100, &p), ERR_OK);
    for (int i = 0; i < 100; i++)
        assert_int_equal(jobs_submit(p, work, loop, work_done, &cells[i]), ERR_OK);
    loop_run(loop);
    for (int i = 0; i < 100; i++)
        assert_int_equal(atomic_load(&cells[i]), 1);
    jobs_free(p);
}

static void wait_at_gate(void *arg) {
    (void)arg;
    sem_post(&started);
    wait_for(&gate);
    atomic_fetch_add(&worked, 1);
}

static void jobs_full_pool_refuses_and_free_drops_what_waits(void **state) {
    (void)state;
    struct jobs *p;
    sem_init(&gate, 0, 0);
    sem_init(&started, 0, 0);
    atomic_store(&worked, 0);
    assert_int_equal(jobs_new(0, 1, &p), ERR_INVALID);
    assert_int_equal(jobs_new(1, 2, &p), ERR_OK);
    assert_int_equal(jobs_submit(p, wait_at_gate, NULL, NULL, NULL), ERR_OK);
    wait_for(&started); /* it runs: the queue is empty */
    assert_int_equal(jobs_submit(p, wait_at_gate, NULL, NULL, NULL), ERR_OK);
    assert_int_equal(jobs_submit(p, wait_at_gate, NULL, NULL, NULL), ERR_OK);
    assert_int_equal(jobs_submit(p, wait_at_gate, NULL, NULL, NULL), ERR_OVERLOADED);
    sem_post(&gate);
    wait_for(&started); /* the second one runs, the third waits */
    for (int i = 0; i < 2; i++)
        sem_post(&gate);
    jobs_free(p); /* joins */
    assert_true(atomic_load(&worked) >= 2);
    sem_destroy(&gate);
    sem_destroy(&started);
}

static void jobs_end_does_not_wait_for_work_that_takes_its_time(void **state) {
    (void)state;
    struct jobs *p;
    sem_init(&gate, 0, 0);
    sem_init(&started, 0, 0);
    assert_true(jobs_end(NULL, 0));
    assert_int_equal(jobs_new(2, 2, &p), ERR_OK);
    assert_true(jobs_end(p, 60000));
    assert_int_equal(jobs_new(2, 2, &p), ERR_OK);
    assert_int_equal(jobs_submit(p, wait_at_gate, NULL, NULL, NULL), ERR_OK);
    wait_for(&started);
    assert_false(jobs_end(p, 1));
    sem_post(&gate);
    assert_true(jobs_end(p, 60000));
    sem_destroy(&gate);
    sem_destroy(&started);
}

#define WITH_LOOP(t) cmocka_unit_test_setup_teardown(t, open_loop, close_loop)

int main(void) {
    const struct CMUnitTest tests[] = {
        WITH_LOOP(loop_post_from_many_threads_keeps_each_ones_order),
        WITH_LOOP(loop_post_inside_a_post_runs_after_it),
        cmocka_unit_test(loop_post_inside_a_post_waits_behind_what_is_ready),
        WITH_LOOP(loop_that_sleeps_wakes_for_each_post),
        WITH_LOOP(loop_stop_before_the_run_counts),
        WITH_LOOP(timer_repeats_until_it_frees_itself),
        WITH_LOOP(loop_watches_signals_and_descriptors),
        WITH_LOOP(jobs_run_and_report_to_the_loop),
        WITH_LOOP(jobs_full_pool_refuses_and_free_drops_what_waits),
        WITH_LOOP(jobs_end_does_not_wait_for_work_that_takes_its_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
