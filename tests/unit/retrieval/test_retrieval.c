/* Retrieval as a whole, over a store of its own and a scripted model server: documents are indexed,
 * found, replaced and deleted; what is not there in time is left out; a start finds what was. */
#include "unit/upstream/mock_upstream.h"

#include <semaphore.h>

#include "retrieval/indexer.h"
#include "retrieval/retrieval.h"
#include "store/chunk.h"
#include "store/safety.h"

struct fixture {
    char folder[64], db[96];
    struct loop *loop;
    struct mock mock;
    struct store *store;
    struct upstream *u;
    struct upstream_client *c;
    struct retrieval *r;
    struct uuid ada, bob, role;
    struct timer *timer;
    bool flag;
    /* of the last search */
    enum err err;
    size_t n;
    char text[4][128], name[4][64];
    struct retrieval_hit hits[4];
    struct retrieval_trace trace;
    bool relevant;
    char judged[4][16], other[64]; /* other: the name of the hit that was not given */
    bool swapped;
};

/* The guard of these tests finds orders in texts with a walrus. Where a test wants it, it says that
 * it was asked and waits. */
static sem_t judge_asked, judge_may;
static bool judge_waits;

static enum err judge(void *ctx, struct document *d, struct chunk_row *rows, size_t n,
                      struct arena *a, bool *ret_orders) {
    (void)ctx, (void)a;
    if (judge_waits) {
        sem_post(&judge_asked);
        sem_wait(&judge_may);
    }
    d->safety_stamp = STR("guard-1");
    for (size_t i = 0; i < n; i++)
        if (str_find(rows[i].text, STR("walrus")) != SIZE_MAX) {
            rows[i].flags |= CHUNK_FLAG_GUARD;
            d->safety = STR("{\"left_out\":1}");
            *ret_orders = true;
        }
    return ERR_OK;
}

static int first_byte_ms; /* 0 = as usual */

static enum err make_users(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct fixture *f = arg;
    f->ada = uuid_new();
    f->bob = uuid_new();
    struct user a = {.user_id = f->ada,
                     .username = STR("ada"),
                     .email = STR("a@b.c"),
                     .password_hash = STR("x")},
                b = {.user_id = f->bob,
                     .username = STR("bob"),
                     .email = STR("b@b.c"),
                     .password_hash = STR("x")};
    enum err e = user_create(tx, &a, ei);
    return e ? e : user_create(tx, &b, ei);
}

static void start(struct fixture *f) {
    struct errinfo ei;
    struct store_options so = {.path = f->db};
    struct retrieval_options ro = {.budget_ms = 5000, .judge = judge};
    assert_int_equal(store_open(&so, &f->store, &ei), ERR_OK);
    ro.store = f->store;
    ro.upstream = f->u;
    assert_int_equal(retrieval_new(&ro, &f->r, &ei), ERR_OK);
    assert_int_equal(retrieval_start(f->r, f->loop, f->c, &ei), ERR_OK);
}

static void end(struct fixture *f) {
    retrieval_stop(f->r);
    retrieval_free(f->r);
    store_close(f->store);
}

static void refreshed(void *ctx, enum err e, const struct errinfo *ei) {
    struct fixture *f = ctx;
    (void)ei;
    assert_int_equal(e, ERR_OK);
    f->flag = true;
    loop_stop(f->loop);
}

static int setup(void **state) {
    struct fixture *f = calloc(1, sizeof *f);
    struct errinfo ei;
    snprintf(f->folder, sizeof f->folder, "/tmp/parley-test-XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    snprintf(f->db, sizeof f->db, "%s/parley.db", f->folder);
    assert_int_equal(net_init(&ei), ERR_OK);
    assert_int_equal(crypto_init(), ERR_OK);
    assert_int_equal(loop_new(&f->loop, &ei), ERR_OK);
    mock_init(&f->mock, f->loop, f->folder);
    struct upstream_options o = {.base_url = "http://engine/v1",
                                 .unix_socket = f->mock.path,
                                 .first_byte_timeout_ms = first_byte_ms};
    assert_int_equal(upstream_new(&o, &f->u, &ei), ERR_OK);
    assert_int_equal(upstream_client_new(f->u, f->loop, &f->c, &ei), ERR_OK);
    assert_int_equal(upstream_refresh(f->c, refreshed, f), ERR_OK);
    pump_until(f->loop, &f->flag);
    start(f);
    assert_int_equal(store_write_wait(f->store, make_users, f, &ei), ERR_OK);
    *state = f;
    return 0;
}

static int teardown(void **state) {
    struct fixture *f = *state;
    char command[128];
    end(f);
    upstream_client_free(f->c);
    upstream_free(f->u);
    mock_deinit(&f->mock);
    loop_free(f->loop);
    snprintf(command, sizeof command, "rm -rf '%s'", f->folder);
    assert_int_equal(system(command), 0);
    free(f);
    return 0;
}

struct submission {
    struct document d;
    struct str bytes;
    struct uuid id;
    bool unchanged;
};

static enum err submit_fn(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct submission *s = arg;
    return document_submit(tx, &s->d, s->bytes, &s->id, &s->unchanged, ei);
}

static enum err delete_fn(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct document *d = arg;
    (void)ei;
    return document_delete(tx, &d->user_id, false, &d->doc_id);
}

static void look_again(void *arg) {
    struct fixture *f = arg;
    struct retrieval_state s;
    retrieval_get_state(f->r, &s);
    f->flag = !s.loading && s.waiting == 0 && s.vectors == s.chunks &&
              s.indexed + s.failed >= (int64_t)f->n;
    if (f->flag)
        loop_stop(f->loop);
}

/* Until so many documents were indexed or refused. */
static void settle(struct fixture *f, size_t n) {
    f->flag = false;
    f->n = n;
    f->timer = timer_new(f->loop, look_again, f);
    timer_start(f->timer, 5, true);
    pump_until(f->loop, &f->flag);
    timer_free(f->timer);
}

static struct uuid submit(struct fixture *f, struct uuid user, const struct uuid *id,
                          const char *name, const char *text, size_t wait_for) {
    char hash[SHA256_HEX_LEN + 1];
    sha256_hex(str_from(text), hash);
    struct submission s = {.d = {.user_id = user,
                                 .source_name = str_from(name),
                                 .content_hash = str_from(hash),
                                 .media_type = STR("text/plain")},
                           .bytes = str_from(text)};
    struct errinfo ei;
    if (id)
        s.d.doc_id = *id;
    assert_int_equal(store_write_wait(f->store, submit_fn, &s, &ei), ERR_OK);
    retrieval_poke(f->r);
    if (wait_for)
        settle(f, wait_for);
    return s.id;
}

static void found(void *ctx, const struct retrieval_result *r) {
    struct fixture *f = ctx;
    f->err = r->err;
    f->n = r->n;
    f->trace = r->trace;
    f->relevant = r->relevant;
    f->swapped = r->swapped;
    f->other[0] = 0;
    if (r->other)
        snprintf(f->other, sizeof f->other, "%.*s", STR_ARG(r->other->source_name));
    for (size_t i = 0; i < r->n && i < 4; i++) {
        f->hits[i] = r->hits[i];
        snprintf(f->text[i], sizeof f->text[i], "%.*s", STR_ARG(r->hits[i].text));
        snprintf(f->judged[i], sizeof f->judged[i], "%.*s", STR_ARG(r->hits[i].judged));
        snprintf(f->name[i], sizeof f->name[i], "%.*s", STR_ARG(r->hits[i].source_name));
    }
    f->flag = true;
    loop_stop(f->loop);
}

static size_t search_as(struct fixture *f, struct uuid user, struct retrieval_request q,
                        const char *text) {
    struct retrieval_scope scope = {.n = 1};
    struct retrieval_call *call;
    struct errinfo ei;
    scope.collections[0] = user;
    q.query = str_from(text);
    q.scope = &scope;
    f->flag = false;
    assert_int_equal(retrieval_search(f->r, f->loop, f->c, &q, found, f, &call, &ei), ERR_OK);
    pump_until(f->loop, &f->flag);
    assert_int_equal(f->err, ERR_OK);
    return f->n;
}

static size_t search(struct fixture *f, const char *text) {
    return search_as(f, f->ada, (struct retrieval_request){.k = 4}, text);
}

static bool has_chunks(struct fixture *f, struct uuid user) {
    struct retrieval_scope scope = {.n = 1};
    scope.collections[0] = user;
    return retrieval_has_chunks(f->r, &scope);
}

static void retrieval_finds_what_was_submitted(void **state) {
    struct fixture *f = *state;
    assert_false(has_chunks(f, f->ada));
    submit(f, f->ada, NULL, "waves.txt", "The waves of Nazare are thirty metres high.", 0);
    submit(f, f->ada, NULL, "trains.txt", "The night train to Lisbon leaves at ten.", 2);
    assert_int_equal(search(f, "How high are the waves?"), 2);
    assert_string_equal(f->name[0], "waves.txt");
    assert_true(f->trace.searched && f->trace.lexical_done && f->trace.vector_done);
    assert_true(f->hits[0].lexical > 0 && f->hits[0].vector > 0);
    assert_int_equal(f->hits[0].char_to, 43);
    assert_int_equal(search_as(f, f->bob, (struct retrieval_request){.k = 4}, "waves"), 0);
    assert_string_equal(f->trace.why, "no documents");
    assert_true(has_chunks(f, f->ada));
    assert_false(has_chunks(f, f->bob));
    assert_int_equal(search(f, "Thanks!"), 0);
    assert_string_equal(f->trace.why, "smalltalk");
}

static void retrieval_serves_the_newest_version_and_no_deleted_one(void **state) {
    struct fixture *f = *state;
    struct uuid id = submit(f, f->ada, NULL, "a.txt", "zebra stripes", 1);
    assert_int_equal(search(f, "zebra"), 1);
    uint64_t key = f->hits[0].key;
    submit(f, f->ada, &id, "a.txt", "giraffe neck", 2);
    assert_int_equal(
        search_as(f, f->ada, (struct retrieval_request){.k = 4, .no_vector = true}, "zebra"), 0);
    assert_int_equal(search(f, "giraffe"), 1);
    submit(f, f->ada, &id, "a.txt", "zebra stripes", 3); /* the same text: the same key */
    assert_int_equal(search(f, "zebra"), 1);
    assert_true(f->hits[0].key == key);
    struct document d = {.doc_id = id, .user_id = f->ada};
    struct errinfo ei;
    assert_int_equal(store_write_wait(f->store, delete_fn, &d, &ei), ERR_OK);
    assert_int_equal(search(f, "zebra"), 0); /* at once, without a poke */
}

static void retrieval_embeds_no_text_twice(void **state) {
    struct fixture *f = *state;
    struct retrieval_state s;
    struct uuid id = submit(f, f->ada, NULL, "a.txt", "zebra stripes", 1);
    submit(f, f->ada, NULL, "b.txt", "zebra stripes", 2);
    submit(f, f->ada, &id, "a.txt", "zebra stripes", 0); /* unchanged */
    retrieval_get_state(f->r, &s);
    assert_int_equal(s.embedded, 1);
    assert_int_equal(s.reused, 1);
}

static void retrieval_after_a_new_start_is_the_same(void **state) {
    struct fixture *f = *state;
    struct retrieval_state s;
    submit(f, f->ada, NULL, "a.txt", "zebra stripes", 1);
    submit(f, f->ada, NULL, "b.txt", "giraffe neck", 2);
    end(f);
    start(f);
    settle(f, 0);
    retrieval_get_state(f->r, &s);
    assert_int_equal(s.documents, 2);
    assert_int_equal(s.vectors, 2);
    assert_int_equal(search(f, "zebra"), 2);
    assert_string_equal(f->name[0], "a.txt");
    assert_true(f->trace.vector_done);
}

static void retrieval_refuses_what_is_no_text(void **state) {
    struct fixture *f = *state;
    struct retrieval_state s;
    submit(f, f->ada, NULL, "bad.bin", "\xff\xfe", 1);
    retrieval_get_state(f->r, &s);
    assert_int_equal(s.failed, 1);
    assert_int_equal(s.indexed, 0);
}

static void retrieval_without_vectors_in_time_says_so(void **state) {
    struct fixture *f = *state;
    submit(f, f->ada, NULL, "a.txt", "zebra stripes", 1);
    f->mock.embed_form = EMBED_BROKEN;
    assert_int_equal(search(f, "zebra"), 1);
    assert_true(f->trace.lexical_done);
    assert_false(f->trace.vector_done);
}

static void look_for_the_first(void *arg) {
    struct fixture *f = arg;
    struct retrieval_state s;
    retrieval_get_state(f->r, &s);
    f->flag = s.documents == 1;
    if (f->flag)
        loop_stop(f->loop);
}

/* A model server that cannot embed, or not now: a lone document is found by its words, and its
 * vectors come when it can. */
static void retrieval_finds_a_new_document_before_it_has_vectors(void **state) {
    struct fixture *f = *state;
    f->mock.embed_form = EMBED_BROKEN;
    submit(f, f->ada, NULL, "ferry.md",
           "# Ferries\n\nThe ferry to Vestra leaves at 07:40 from pier 4 on weekdays.", 0);
    f->flag = false;
    f->timer = timer_new(f->loop, look_for_the_first, f);
    timer_start(f->timer, 5, true);
    pump_until(f->loop, &f->flag);
    timer_free(f->timer);
    struct retrieval_request q = {.k = 6, .max_tokens = 40};
    const char *question = "When does the ferry to Vestra leave on weekdays, and from which pier?";
    assert_int_equal(search_as(f, f->ada, q, question), 1);
    assert_true(f->relevant && !f->trace.vector_done);
    assert_non_null(strstr(f->text[0], "07:40"));
    f->mock.embed_form = EMBED_BASE64;
    retrieval_poke(f->r);
    settle(f, 1);
    assert_int_equal(search_as(f, f->ada, q, question), 1);
    assert_true(f->trace.vector_done && f->hits[0].vector > 0);
}

struct reason {
    struct uuid id;
    char text[400];
};

static enum err reason_fn(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct reason *r = arg;
    struct arena *a = arena_new(1 << 20);
    struct document d;
    (void)ei;
    enum err e = document_indexed(tx, &r->id, a, &d);
    if (!e)
        snprintf(r->text, sizeof r->text, "%.*s", STR_ARG(d.error));
    arena_free(a);
    return e;
}

static const char *reason_of(struct fixture *f, struct uuid id) {
    static struct reason r;
    r = (struct reason){.id = id};
    struct errinfo ei;
    assert_int_equal(store_read_wait(f->store, reason_fn, &r, &ei), ERR_OK);
    return r.text;
}

static struct uuid refused; /* the document that is to say that it was */

static void look_for_reason(void *arg) {
    struct fixture *f = arg;
    struct retrieval_state s;
    retrieval_get_state(f->r, &s);
    f->flag = s.vectors == (int64_t)f->n && strstr(reason_of(f, refused), "too strange") != NULL;
    if (f->flag)
        loop_stop(f->loop);
}

static void until_refused(struct fixture *f, struct uuid id, size_t vectors) {
    refused = id;
    f->flag = false;
    f->n = vectors;
    f->timer = timer_new(f->loop, look_for_reason, f);
    timer_start(f->timer, 5, true);
    pump_until(f->loop, &f->flag);
    timer_free(f->timer);
}

static void look_for_indexed(void *arg) {
    struct fixture *f = arg;
    struct retrieval_state s;
    retrieval_get_state(f->r, &s);
    f->flag = s.indexed == (int64_t)f->n;
    if (f->flag)
        loop_stop(f->loop);
}

static void until_indexed(struct fixture *f, size_t n) {
    f->flag = false;
    f->n = n;
    f->timer = timer_new(f->loop, look_for_indexed, f);
    timer_start(f->timer, 5, true);
    pump_until(f->loop, &f->flag);
    timer_free(f->timer);
}

/* One text that the model refuses costs one vector: those beside it have theirs, it is found by its
 * words, its document says why, and the model is not asked for it again. */
static void retrieval_marks_a_text_that_the_model_refuses(void **state) {
    struct fixture *f = *state;
    f->mock.embed_refused = "poison";
    struct uuid a = submit(f, f->ada, NULL, "a.txt", "zebra stripes", 0),
                b = submit(f, f->ada, NULL, "b.txt", "poison ivy", 0);
    submit(f, f->ada, NULL, "c.txt", "giraffe neck", 0);
    until_refused(f, b, 2);
    assert_string_equal(reason_of(f, a), "");
    assert_int_equal(
        search_as(f, f->ada, (struct retrieval_request){.k = 4, .no_vector = true}, "ivy"), 1);
    assert_string_equal(f->name[0], "b.txt");
    int asked = f->mock.n_embeds;
    struct uuid d = submit(f, f->ada, NULL, "d.txt", "poison ivy", 0); /* known: not asked for */
    submit(f, f->ada, NULL, "e.txt", "elephant trunk", 0);
    until_refused(f, d, 3);
    assert_int_equal(f->mock.n_embeds, asked + 1);
    /* a new version with such a text comes in, too */
    submit(f, f->ada, &a, "a.txt", "poison apple", 0);
    until_refused(f, a, 2);
    assert_int_equal(
        search_as(f, f->ada, (struct retrieval_request){.k = 4, .no_vector = true}, "apple"), 1);
    assert_string_equal(f->text[0], "poison apple");
    asked = f->mock.n_embeds;
    submit(f, f->ada, &a, "a.txt", "poison ivy", 0);
    until_indexed(f, 7);
    assert_int_equal(f->mock.n_embeds, asked);
}

/* A model server that has no time for one text, however often it is asked, while it has for others:
 * that text is given up for a while and its document says why; those beside it have their vectors.
 */
static void look_for_slow(void *arg) {
    struct fixture *f = arg;
    struct retrieval_state s;
    retrieval_poke(f->r); /* no need to sit out the pauses */
    retrieval_get_state(f->r, &s);
    f->flag = s.vectors == (int64_t)f->n && strstr(reason_of(f, refused), "no vector") != NULL;
    if (f->flag)
        loop_stop(f->loop);
}

static int setup_impatient(void **state) {
    first_byte_ms =
        400; /* only the silent text is to be that late, on a machine that is held up, too */
    int rc = setup(state);
    first_byte_ms = 0;
    return rc;
}

static void retrieval_gives_up_a_text_that_only_times_out(void **state) {
    struct fixture *f = *state;
    f->mock.embed_silent = "glacier";
    struct uuid a = submit(f, f->ada, NULL, "a.txt", "zebra stripes", 0),
                b = submit(f, f->ada, NULL, "b.txt", "glacier ice", 0);
    refused = b;
    f->n = 1;
    f->flag = false;
    f->timer = timer_new(f->loop, look_for_slow, f);
    timer_start(f->timer, 5, true);
    pump_until(f->loop, &f->flag);
    timer_free(f->timer);
    assert_string_equal(reason_of(f, a), "");
    assert_int_equal(
        search_as(f, f->ada, (struct retrieval_request){.k = 4, .no_vector = true}, "glacier"), 1);
}

/* ---- what the guard says when a document comes in ---- */

struct audit {
    size_t n;
    char event[64];
};

static enum err audit_fn(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct audit *t = arg;
    struct arena *a = arena_new(1 << 20);
    struct audit_entry *list;
    (void)ei;
    enum err e = audit_list(tx, 0, 10, a, &list, &t->n);
    if (!e && t->n)
        snprintf(t->event, sizeof t->event, "%.*s", STR_ARG(list[0].event));
    arena_free(a);
    return e;
}

static void retrieval_tells_passages_that_were_found_clean(void **state) {
    struct fixture *f = *state;
    struct audit t = {0};
    struct errinfo ei;
    submit(f, f->ada, NULL, "a.txt", "zebra stripes", 1);
    assert_int_equal(search(f, "zebra"), 1);
    assert_string_equal(f->judged[0], "guard-1");
    assert_int_equal(store_read_wait(f->store, audit_fn, &t, &ei), ERR_OK);
    assert_int_equal(t.n, 0);
    submit(f, f->ada, NULL, "b.txt", "walrus tusks", 2);
    assert_int_equal(search_as(f, f->ada, (struct retrieval_request){.k = 1}, "walrus"), 1);
    assert_string_equal(f->judged[0], "");
    assert_int_equal(store_read_wait(f->store, audit_fn, &t, &ei), ERR_OK);
    assert_int_equal(t.n, 1);
    assert_string_equal(t.event, "document.orders");
}

struct status {
    struct uuid id;
    bool indexed;
};

static enum err status_fn(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct status *s = arg;
    struct arena *a = arena_new(1 << 20);
    struct document d;
    (void)ei;
    enum err e = document_indexed(tx, &s->id, a, &d);
    s->indexed = !e;
    arena_free(a);
    return e == ERR_NOT_FOUND ? ERR_OK : e;
}

/* Between the commit and the index it counts as on its way. */
static void retrieval_says_what_is_stored_and_not_found_yet(void **state) {
    struct fixture *f = *state;
    struct errinfo ei;
    struct status s = {.indexed = false};
    sem_init(&judge_asked, 0, 0);
    sem_init(&judge_may, 0, 0);
    judge_waits = true;
    s.id = submit(f, f->ada, NULL, "a.txt", "zebra stripes", 0);
    sem_wait(&judge_asked);
    judge_waits = false;
    pthread_mutex_lock(&index_following); /* what is committed does not come into the index */
    enum retrieval_entering before = retrieval_entering(f->r, &s.id);
    sem_post(&judge_may);
    while (!s.indexed && store_read_wait(f->store, status_fn, &s, &ei) == ERR_OK)
        ;
    enum retrieval_entering meanwhile = retrieval_entering(f->r, &s.id);
    size_t n = search(f, "zebra");
    pthread_mutex_unlock(&index_following);
    assert_true(s.indexed);
    assert_int_equal(before, ENTERING_NOT);
    assert_int_equal(meanwhile, ENTERING_NEW);
    assert_int_equal(n, 0);
    while (retrieval_entering(f->r, &s.id) != ENTERING_NOT)
        sched_yield();
    assert_int_equal(search(f, "zebra"), 1);
    settle(f, 1);
}

static void retrieval_uses_the_weights_of_ratings(void **state) {
    struct fixture *f = *state;
    submit(f, f->ada, NULL, "a.txt", "zebra stripes black", 1);
    submit(f, f->ada, NULL, "b.txt", "zebra stripes white", 2);
    assert_int_equal(search(f, "zebra stripes black"), 2);
    assert_string_equal(f->name[0], "a.txt");
    struct chunk_factor low = {f->hits[0].key, 0.2};
    struct role_factors role = {.factors = &low, .n = 1};
    struct retrieval_weights w = {.roles = &role, .n_roles = 1};
    retrieval_set_weights(f->r, &w);
    assert_int_equal(search(f, "zebra stripes black"), 2);
    assert_string_equal(f->name[0], "b.txt");
    assert_true(f->hits[1].weight < 0.21);
    retrieval_set_weights(f->r, NULL);
    assert_int_equal(search(f, "zebra stripes black"), 2);
    assert_string_equal(f->name[0], "a.txt");
}

static void worst_first(void *ctx, const struct retrieval_scoring *s, double *ret) {
    (void)ctx;
    for (size_t i = 0; i < s->n; i++)
        ret[i] = 1 - s->signals[i][SIGNAL_FUSED];
}

/* What is learnt from is compared with all that was found, not only with what is given. */
static void retrieval_hits_that_are_learnt_from_are_compared(void **state) {
    struct fixture *f = *state;
    const int words = SIGNAL_NEIGHBOURS + NEIGHBOUR_WORDS_BEST;
    struct retrieval_request q = {.k = 1};
    submit(f, f->ada, NULL, "a.txt", "zebra stripes are black on the northern plain", 1);
    submit(f, f->ada, NULL, "b.txt", "zebra stripes are white on the northern plain", 1);
    submit(f, f->ada, NULL, "c.txt", "the zebra crossing of the station is closed", 1);
    assert_int_equal(search_as(f, f->ada, q, "zebra stripes black"), 1);
    assert_true(f->hits[0].signals[words] == 0);
    q.learns = true;
    assert_int_equal(search_as(f, f->ada, q, "zebra stripes black"), 1);
    assert_string_equal(f->name[0], "a.txt");
    assert_true(f->hits[0].signals[words] != 0);
    struct retrieval_weights w = {.score = worst_first};
    retrieval_set_weights(f->r, &w);
    q = (struct retrieval_request){.k = 4};
    assert_int_equal(search_as(f, f->ada, q, "zebra stripes black"), 3);
    assert_string_equal(f->name[0], "c.txt");
    assert_true(f->hits[0].signals[words] < f->hits[1].signals[words]); /* b is like a, c is not */
    for (size_t i = 0; i < 3; i++) /* they have gone along with their hits */
        assert_true(f->hits[i].signals[SIGNAL_FUSED] == f->hits[i].fused);
    retrieval_set_weights(f->r, NULL);
}

/* Where there is room for one of two that are nearly as good, either may be given. */
static void retrieval_with_room_for_one_swaps_what_is_nearly_as_good(void **state) {
    struct fixture *f = *state;
    static const char *const question = "How high are the waves of Nazare?";
    submit(f, f->ada, NULL, "one.txt", "The waves of Nazare are thirty metres high in winter.", 0);
    submit(f, f->ada, NULL, "two.txt", "The waves of Nazare are twenty metres high in summer.", 0);
    submit(f, f->ada, NULL, "far.txt", "The waves of Peniche are small, the night train is late.",
           3);
    struct retrieval_request q = {.k = 4, .max_tokens = 17};
    assert_int_equal(search_as(f, f->ada, q, question), 1);
    assert_string_equal(f->other, ""); /* nobody asked for it */
    char best[64], second[64];
    snprintf(best, sizeof best, "%s", f->name[0]);
    q.pairs = true;
    assert_int_equal(search_as(f, f->ada, q, question), 1);
    assert_string_equal(f->name[0], best);
    assert_true(f->other[0] && !f->swapped && strcmp(f->other, best) != 0);
    snprintf(second, sizeof second, "%s", f->other);
    q.swaps = true;
    assert_int_equal(search_as(f, f->ada, q, question), 1);
    assert_true(f->swapped);
    assert_string_equal(f->name[0], second);
    assert_string_equal(f->other, best);
    assert_non_null(strstr(f->text[0], "Nazare"));
    q.max_tokens = 1000; /* room for all: there is an order to learn from */
    assert_int_equal(search_as(f, f->ada, q, question), 3);
    assert_true(!f->swapped && !f->other[0]);
    assert_string_equal(f->name[0], best);
    q.max_tokens = 17;
    assert_int_equal(search_as(f, f->ada, q, "When is the night train?"), 1);
    assert_string_equal(f->name[0], "far.txt"); /* the others do not speak of it */
    assert_true(!f->swapped && !f->other[0]);
}

static void last_goes_first(void *ctx, const struct retrieval_scoring *s, double *ret) {
    (void)ctx;
    for (size_t i = 0; i < s->n; i++)
        ret[i] = (double)i;
}

/* A passage that says nothing of it would only lead the model astray. */
static void retrieval_leaves_out_what_is_far_worse(void **state) {
    struct fixture *f = *state;
    submit(f, f->ada, NULL, "waves.txt", "The waves of Nazare are thirty metres high in winter.",
           0);
    submit(f, f->ada, NULL, "more.txt", "In Nazare the waves are high, and boats stay in.", 0);
    submit(f, f->ada, NULL, "train.txt", "The night train to Lisbon is late in winter.", 3);
    struct retrieval_request q = {.k = 6, .no_vector = true};
    assert_int_equal(search_as(f, f->ada, q, "How high are the waves of Nazare in winter?"), 3);
    assert_string_equal(f->name[2], "train.txt");
    q.near_only = true;
    assert_int_equal(search_as(f, f->ada, q, "How high are the waves of Nazare in winter?"), 2);
    assert_true(strcmp(f->name[0], "train.txt") && strcmp(f->name[1], "train.txt"));
    assert_int_equal(search_as(f, f->ada, q, "Which train is slow?"), 1); /* the best one stays */
    struct retrieval_weights w = {.score = last_goes_first};              /* ratings know better */
    retrieval_set_weights(f->r, &w);
    assert_int_equal(search_as(f, f->ada, q, "How high are the waves of Nazare in winter?"), 3);
    assert_string_equal(f->name[0], "train.txt");
    retrieval_set_weights(f->r, NULL);
}

/* Of a follow-up the best sentence is the one that says what is asked, not the one that has most
 * words of the question before. */
static void retrieval_excerpt_answers_the_follow_up(void **state) {
    struct fixture *f = *state;
    submit(f, f->ada, NULL, "museum.txt",
           "The museum of Orvik opens at ten and closes at six. It has a garden behind the house. "
           "The museum was founded by Anna Lindqvist.",
           1);
    const struct str before = STR("When does the museum of Orvik close?");
    struct retrieval_request q = {.k = 6, .max_tokens = 17, .history = &before, .n_history = 1};
    assert_int_equal(search_as(f, f->ada, q, "Who founded it?"), 1);
    assert_int_equal(f->trace.follow_up, 1);
    assert_non_null(strstr(f->text[0], "Lindqvist"));
    assert_null(strstr(f->text[0], "closes"));
}

/* What came with a conversation: before others; nothing else where the question is about it; its
 * beginning where no passage has the question's words. */
static void retrieval_looks_into_what_was_given_first(void **state) {
    struct fixture *f = *state;
    struct uuid other =
        submit(f, f->ada, NULL, "other.txt", "The ferry to Vestra leaves at nine. It is blue.", 0);
    struct uuid mine =
        submit(f, f->ada, NULL, "mine.txt", "The ferry to Vestra leaves at ten. It is red.", 0);
    struct uuid bobs = submit(f, f->bob, NULL, "bobs.txt", "A secret of Bob's.", 3);
    struct uuid given[] = {mine, bobs};
    struct retrieval_request q = {.k = 4,
                                  .no_vector = true,
                                  .keep_duplicates = true,
                                  .attached = given,
                                  .n_attached = 2,
                                  .n_meant = 2};
    assert_int_equal(search_as(f, f->ada, q, "When does the ferry to Vestra leave?"), 2);
    assert_string_equal(f->name[0], "mine.txt");
    q.about = ABOUT_THEM;
    assert_int_equal(search_as(f, f->ada, q, "When does the ferry to Vestra leave?"), 1);
    assert_string_equal(f->name[0], "mine.txt");
    assert_false(f->hits[0].begins);
    assert_int_equal(search_as(f, f->ada, q, "Who wrote this?"), 1);
    assert_true(f->hits[0].begins && f->relevant);
    assert_string_equal(f->trace.why, "beginning");
    q.about = ABOUT_WHOLE;
    q.max_tokens = 20;
    assert_int_equal(search_as(f, f->ada, q, "What is the ferry's file about?"), 1);
    assert_string_equal(f->text[0], "The ferry to Vestra leaves at ten.");
    given[1] = other;
    q.k = 1; /* each one's beginning, however few hits are wanted */
    q.max_tokens = 0;
    assert_int_equal(search_as(f, f->ada, q, "What are the files about?"), 2);
    given[1] = bobs;
    q.k = 4;
    q.n_meant = 0; /* nothing is meant: as without */
    q.about = ABOUT_ANYTHING;
    assert_int_equal(search_as(f, f->ada, q, "Who wrote this?"), 0);
}

static void retrieval_another_model_takes_over_with_its_vectors(void **state) {
    struct fixture *f = *state;
    struct retrieval_state s;
    submit(f, f->ada, NULL, "a.txt", "zebra stripes", 1);
    end(f);
    f->mock.models =
        "{\"data\":[{\"id\":\"other-embedding\",\"parley\":{\"kind\":\"embedding\"}}]}";
    f->flag = false;
    assert_int_equal(upstream_refresh(f->c, refreshed, f), ERR_OK);
    pump_until(f->loop, &f->flag);
    int before = f->mock.n_embeds;
    start(f);
    do {
        settle(f, 0);
        assert_int_equal(search(f, "zebra"), 1); /* words serve all the time */
        retrieval_get_state(f->r, &s);
    } while (s.rebuilding || f->mock.n_embeds == before || !f->trace.vector_done);
    assert_int_equal(s.vectors, 1);
}

int main(void) {
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(retrieval_finds_what_was_submitted),
        TEST(retrieval_serves_the_newest_version_and_no_deleted_one),
        TEST(retrieval_embeds_no_text_twice),
        TEST(retrieval_after_a_new_start_is_the_same),
        TEST(retrieval_refuses_what_is_no_text),
        TEST(retrieval_without_vectors_in_time_says_so),
        TEST(retrieval_finds_a_new_document_before_it_has_vectors),
        TEST(retrieval_marks_a_text_that_the_model_refuses),
        cmocka_unit_test_setup_teardown(retrieval_gives_up_a_text_that_only_times_out,
                                        setup_impatient, teardown),
        TEST(retrieval_tells_passages_that_were_found_clean),
        TEST(retrieval_says_what_is_stored_and_not_found_yet),
        TEST(retrieval_uses_the_weights_of_ratings),
        TEST(retrieval_hits_that_are_learnt_from_are_compared),
        TEST(retrieval_with_room_for_one_swaps_what_is_nearly_as_good),
        TEST(retrieval_leaves_out_what_is_far_worse),
        TEST(retrieval_excerpt_answers_the_follow_up),
        TEST(retrieval_looks_into_what_was_given_first),
        TEST(retrieval_another_model_takes_over_with_its_vectors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
