/* An answer on its way out: what is handed on, in pieces of any size, judged on the loop or on the
 * pool. */
#include "unit.h"

#include <semaphore.h>

#include "base/crypto.h"
#include "safety/stream.h"

static const char policy_text[] =
    "{\"categories\":{\"illicit\":{\"block\":0.9}},\"refusals\":{\"default\":\"No.\"},"
    "\"pii\":{\"email\":\"redact\"},\"rules\":[{\"id\":\"zebra\",\"category\":\"illicit\","
    "\"score\":1,\"match\":[\"paint * zebra purple\"],\"on\":[\"output\"]}]}";

struct bench {
    struct loop *loop;
    struct jobs *jobs;
    struct safety *safety;
    struct policy *policy;
    struct safety_stream *s;
    struct buf out, blocked;
    size_t keep;
    int blocks, ends, fails;
    bool over;
};

static void on_text(void *ctx, struct str text) {
    struct bench *b = ctx;
    assert_int_equal(b->blocks + b->ends + b->fails, 0);
    buf_adds(&b->out, text);
}

static void on_block(void *ctx, const struct safety_verdict *v, size_t keep, struct str blocked) {
    struct bench *b = ctx;
    assert_int_equal(v->action, SAFETY_BLOCK);
    b->blocks++;
    b->keep = keep;
    buf_adds(&b->blocked, blocked);
    b->over = true;
    loop_stop(b->loop);
}

static void on_end(void *ctx, const struct safety_verdict *worst) {
    struct bench *b = ctx;
    (void)worst;
    b->ends++;
    b->over = true;
    loop_stop(b->loop);
}

static void on_fail(void *ctx, enum err e) {
    struct bench *b = ctx;
    (void)e;
    b->fails++;
    b->over = true;
    loop_stop(b->loop);
}

static const struct safety_stream_callbacks callbacks = {on_text, on_block, on_end, on_fail};

static void bench_init(struct bench *b) {
    struct errinfo ei;
    struct safety_options o = {.policy = str_from(policy_text)};
    memset(b, 0, sizeof *b);
    assert_int_equal(net_init(&ei), ERR_OK);
    assert_int_equal(crypto_init(), ERR_OK);
    assert_int_equal(loop_new(&b->loop, &ei), ERR_OK);
    assert_int_equal(jobs_new(1, 8, &b->jobs), ERR_OK);
    assert_int_equal(safety_new(&o, &b->safety, &ei), ERR_OK);
    b->policy = safety_get_policy(b->safety);
    buf_init(&b->out, 1 << 20);
    buf_init(&b->blocked, 1 << 20);
}

static void open_json(struct bench *b, struct pii_vault *vault, bool json) {
    struct safety_stream_options o = {.safety = b->safety,
                                      .jobs = b->jobs,
                                      .loop = b->loop,
                                      .policy = b->policy,
                                      .role = STR(""),
                                      .canary = STR(""),
                                      .before = STR(""),
                                      .json = json,
                                      .vault = vault};
    assert_int_equal(safety_stream_new(&o, &callbacks, b, &b->s), ERR_OK);
}

static void open_stream(struct bench *b, struct pii_vault *vault) {
    open_json(b, vault, false);
}

static void close_stream(struct bench *b) {
    safety_stream_free(b->s);
    b->s = NULL;
    buf_clear(&b->out);
    buf_clear(&b->blocked);
    b->blocks = b->ends = b->fails = 0;
    b->over = false;
    b->keep = 0;
}

static void bench_deinit(struct bench *b) {
    jobs_free(b->jobs);
    policy_unref(b->policy);
    safety_free(b->safety);
    buf_deinit(&b->out);
    buf_deinit(&b->blocked);
    loop_free(b->loop);
}

static void run(struct bench *b) {
    while (!b->over)
        loop_run(b->loop);
}

/* `before` bytes of harmless sentences, the one that is blocked, and as many behind it. */
static size_t make_answer(size_t before, struct buf *ret) {
    static const char harmless[] = "The river rises in the hills and flows to the east. ";
    while (ret->n < before)
        buf_addz(ret, harmless);
    size_t at = ret->n;
    buf_addz(ret, "You paint my old zebra purple, and then you wait. ");
    while (ret->n < 2 * before)
        buf_addz(ret, harmless);
    return at;
}

static void pieces_of_any_size_are_cut_before_the_sentence(void **state) {
    (void)state;
    struct bench b;
    static const size_t sizes[] = {7, 161, 200, 333, 640, 1000, 1024, 1025, 1500, 4000};
    static const size_t befores[] = {0, 90, 400, 900, 1900};
    bench_init(&b);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (size_t k = 0; k < sizeof befores / sizeof *befores; k++) {
            struct buf text;
            buf_init(&text, 1 << 20);
            size_t at = make_answer(befores[k], &text);
            open_stream(&b, NULL);
            for (size_t n = 0; n < text.n && !b.over; n += sizes[i])
                assert_int_equal(safety_stream_feed(b.s, str_sub(buf_str(&text), n, sizes[i])),
                                 ERR_OK);
            if (!b.over)
                safety_stream_end(b.s);
            run(&b);
            assert_int_equal(b.blocks, 1);
            assert_int_equal(b.ends + b.fails, 0);
            /* What is kept is all that stands before the sentence; of what went out beyond it there
             * is nothing of the match's end. */
            assert_int_equal(b.keep, at);
            assert_true(b.out.n >= at && b.out.n < at + strlen("You paint my old zebra purple"));
            assert_memory_equal(b.out.p ? b.out.p : "", text.p, b.out.n);
            assert_true(str_find(buf_str(&b.blocked), STR("zebra purple")) != SIZE_MAX);
            close_stream(&b);
            buf_deinit(&text);
        }
    bench_deinit(&b);
}

static struct pii_vault *vault_with(const char *text) {
    struct pii_vault *v = pii_vault_new();
    struct pii_hit h[4];
    struct buf out;
    buf_init(&out, 1000);
    size_t n = pii_scan(str_from(text), h, 4);
    assert_int_equal(n, 1);
    assert_int_equal(pii_redact(v, str_from(text), h, n, &out), ERR_OK);
    buf_deinit(&out);
    return v;
}

static void wait_for_gate(void *arg) {
    sem_wait(arg);
}

static void nothing(void *arg) {
    (void)arg;
}

static void passed(void *arg) {
    struct bench *b = arg;
    b->over = true;
    loop_stop(b->loop);
}

/* Who gave the vault lets go of it while a judgement is still to be made on the pool, and so does
 * whoever reads: the address and leak checkers see whether it lives just as long as that. */
static void the_vault_lives_as_long_as_its_stream(void **state) {
    (void)state;
    struct bench b;
    struct buf text;
    sem_t gate;
    bench_init(&b);
    buf_init(&text, 1 << 16);
    while (text.n <= SAFETY_STREAM_INLINE)
        buf_addz(&text, "I wrote to [EMAIL_1] today. ");
    for (int leaves = 0; leaves < 2; leaves++) {
        struct pii_vault *v = vault_with("It is ada@lovelace.org, I think.");
        sem_init(&gate, 0, 0);
        assert_int_equal(jobs_submit(b.jobs, wait_for_gate, NULL, NULL, &gate), ERR_OK);
        open_stream(&b, v);
        assert_int_equal(safety_stream_feed(b.s, buf_str(&text)), ERR_OK);
        safety_stream_end(b.s);
        pii_vault_free(v);
        if (leaves) {
            safety_stream_free(b.s);
            b.s = NULL;
        }
        sem_post(&gate);
        if (!leaves) {
            run(&b);
            assert_int_equal(b.ends, 1);
            assert_memory_equal(b.out.p, "I wrote to ada@lovelace.org today. ", 35);
            assert_true(str_find(buf_str(&b.out), STR("[EMAIL_1]")) == SIZE_MAX);
        } else { /* the judgement comes back to nobody, before what was submitted behind it */
            assert_int_equal(jobs_submit(b.jobs, nothing, b.loop, passed, &b), ERR_OK);
            run(&b);
            assert_int_equal(b.ends + b.out.n, 0);
        }
        close_stream(&b);
    }
    bench_deinit(&b);
    buf_deinit(&text);
    sem_destroy(&gate);
}

static void feed_all(struct bench *b, struct str text, size_t most) {
    for (size_t at = 0; at < text.n && !b->over; at += most)
        assert_int_equal(safety_stream_feed(b->s, str_sub(text, at, most)), ERR_OK);
    if (!b->over)
        safety_stream_end(b->s);
    run(b);
}

/* Arguments of a tool, in pieces on the loop and as a whole on the pool: what is replaced leaves
 * JSON, a placeholder has its value again, what is blocked leaves nothing that is whole. */
static void json_is_judged_by_its_strings(void **state) {
    (void)state;
    struct bench b;
    struct buf text;
    bench_init(&b);
    buf_init(&text, 1 << 20);
    static const size_t sizes[] = {1, 3, 17, 4000};
    for (size_t i = 0; i < 2 * sizeof sizes / sizeof *sizes; i++) {
        bool harm = i % 2;
        struct pii_vault *v = vault_with("It is ada@lovelace.org, I think.");
        buf_clear(&text);
        buf_addz(&text, "{\"mail\":\"[EMAIL_1]\",\"to\":[");
        while (text.n <= SAFETY_STREAM_INLINE)
            buf_addz(&text, "\"bob\\u0040example.org\",42,");
        buf_addz(&text, harm ? "\"Paint that old ze\\u0062ra purple\"]}" : "\"Paint.\"]}");
        open_json(&b, v, true);
        feed_all(&b, buf_str(&text), sizes[i / 2]);
        assert_int_equal(b.blocks, harm);
        assert_int_equal(b.ends, !harm);
        assert_true(str_starts(buf_str(&b.out),
                               STR("{\"mail\":\"ada@lovelace.org\",\"to\":[\"[removed]\",42,")));
        assert_true(str_find(buf_str(&b.out), STR("bob")) == SIZE_MAX);
        assert_true(str_find(buf_str(&b.out), STR("purple")) == SIZE_MAX);
        assert_int_equal(b.out.p[b.out.n - 1] == '}', !harm);
        close_stream(&b);
        pii_vault_free(v);
    }
    buf_deinit(&text);
    bench_deinit(&b);
}

/* What was held is out at its end; fed again it goes on with all that it knew. */
static void an_ended_stream_may_go_on(void **state) {
    (void)state;
    struct bench b;
    bench_init(&b);
    open_stream(&b, NULL);
    feed_all(&b, STR("I paint my"), 3);
    assert_int_equal(b.ends, 1);
    assert_int_equal(b.out.n, strlen("I paint my"));
    b.ends = 0, b.over = false;
    feed_all(&b, STR(" old zebra"), 3);
    assert_int_equal(b.ends, 1);
    b.ends = 0, b.over = false;
    feed_all(&b, STR(" purple, too."), 3);
    assert_int_equal(b.blocks, 1);
    assert_int_equal(b.ends, 0);
    assert_true(str_find(buf_str(&b.out), STR("purple")) == SIZE_MAX);
    close_stream(&b);
    bench_deinit(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_of_any_size_are_cut_before_the_sentence),
        cmocka_unit_test(the_vault_lives_as_long_as_its_stream),
        cmocka_unit_test(json_is_judged_by_its_strings),
        cmocka_unit_test(an_ended_stream_may_go_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
