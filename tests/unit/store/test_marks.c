/* What holds, and what makes marks fall: in this process, in another one, and when it is undone. */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/wait.h>

#include "unit/store/fixture.h"

#include "store/chunk.h"
#include "store/mark.h"
#include "store/safety.h"

struct ground {
    struct store *s;
    int n; /* makes names */
    struct uuid user, role, talk, other;
    struct uuid question, answer, stray, broken; /* in talk; stray: an answer beside the branch */
    struct uuid collection;
};

static struct store *open_store(struct fixture *f) {
    struct store_options o = {.path = f->path, .busy_timeout_ms = 2000};
    struct store *s = NULL;
    assert_ok(store_open(&o, &s, &f->ei));
    return s;
}

static enum err seed(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct ground *g = arg;
    char name[32], role[32];
    snprintf(name, sizeof name, "ada%d", ++g->n);
    snprintf(role, sizeof role, "Helper %d", g->n);
    g->user = make_user(tx, name, true);
    g->role = make_role(tx, role);
    g->talk = make_conversation(tx, g->user, g->role, "", 1);
    g->other = make_conversation(tx, g->user, g->role, "", 1);
    g->question = make_message(tx, g->talk, no_id, SENDER_USER, "one");
    g->stray = make_message(tx, g->talk, g->question, SENDER_ASSISTANT, "two");
    struct message broken = message_of(g->talk, g->question, SENDER_ASSISTANT, "");
    broken.status = MESSAGE_INTERRUPTED;
    g->broken = broken.message_id;
    assert_ok(message_append(tx, &broken, ei));
    g->answer = make_message(tx, g->talk, g->question, SENDER_ASSISTANT, "three");
    struct collection c = {.collection_id = g->collection = uuid_new(),
                           .name = STR("Handbook"),
                           .kind = COLLECTION_ROLE,
                           .created_at = 1};
    return collection_create(tx, &c, ei);
}

static enum err keep_an_admin(struct store_tx *tx, void *arg, struct errinfo *ei) {
    (void)arg, (void)ei;
    (void)make_user(tx, "root", true);
    return ERR_OK;
}

static struct ground ground(struct fixture *f) {
    struct ground g = {.s = open_store(f)};
    assert_ok(store_write_wait(g.s, keep_an_admin, NULL, &f->ei));
    assert_ok(store_write_wait(g.s, seed, &g, &f->ei));
    return g;
}

/* ---- one change each ---- */

static enum err nothing(struct store_tx *tx, void *arg, struct errinfo *ei) {
    (void)arg, (void)ei;
    return setting_set(tx, "some", STR("thing"));
}

static enum err speak_elsewhere(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct ground *g = arg;
    (void)ei;
    (void)make_message(tx, g->other, no_id, SENDER_USER, "elsewhere");
    return conversation_set_auto_title(tx, &g->other, STR("Elsewhere"));
}

static enum err speak(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct ground *g = arg;
    (void)ei;
    (void)make_message(tx, g->talk, g->answer, SENDER_USER, "here");
    return ERR_OK;
}

static enum err title(struct store_tx *tx, void *arg, struct errinfo *ei) {
    (void)ei;
    return conversation_set_auto_title(tx, &((struct ground *)arg)->talk, STR("Here"));
}

static enum err summary(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct ground *g = arg;
    (void)ei;
    return conversation_set_summary(tx, &g->talk, STR("It was said."), &g->question);
}

static enum err change(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct ground *g = arg;
    struct arena *a = arena_new(1 << 20);
    struct conversation c;
    enum err e = conversation_get(tx, &g->user, &g->talk, a, &c);
    c.current_message_id = g->stray;
    if (!e)
        e = conversation_update(tx, &g->user, &c, true, ei);
    arena_free(a);
    return e;
}

static enum err delete_answer(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct ground *g = arg;
    return message_delete_answer(tx, &g->user, &g->answer, ei);
}

static enum err delete_talk(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct ground *g = arg;
    (void)ei;
    return conversation_delete(tx, &g->user, &g->talk);
}

static enum err delete_user(struct store_tx *tx, void *arg, struct errinfo *ei) {
    return user_delete(tx, &((struct ground *)arg)->user, ei);
}

static enum err change_role(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct role r = {.role_id = ((struct ground *)arg)->role,
                     .name = STR("Other"),
                     .system_prompt = STR("You help otherwise."),
                     .temperature = -1,
                     .top_p = -1};
    return role_update(tx, &r, NULL, ei);
}

static enum err change_documents(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct ground *g = arg;
    struct role_retrieval r = {.enabled = false};
    return role_retrieval_set(tx, &g->role, &r, ei);
}

static enum err bind_documents(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct ground *g = arg;
    struct role_retrieval r = {.enabled = true, .collections = &g->collection, .n = 1};
    return role_retrieval_set(tx, &g->role, &r, ei);
}

static enum err delete_collection(struct store_tx *tx, void *arg, struct errinfo *ei) {
    return collection_delete(tx, &((struct ground *)arg)->collection, ei);
}

static enum err sign_up(struct store_tx *tx, void *arg, struct errinfo *ei) {
    char name[32];
    (void)ei;
    snprintf(name, sizeof name, "eve%d", ++((struct ground *)arg)->n);
    (void)make_user(tx, name, false);
    return ERR_OK;
}

static enum err add_document(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct ground *g = arg;
    struct document d = {.doc_id = uuid_new(),
                         .user_id = g->user,
                         .collection_id = g->collection,
                         .source_name = STR("handbook.txt"),
                         .content = STR("Marmots whistle."),
                         .metadata = STR("{}"),
                         .media_type = STR("text/plain"),
                         .created_at = 1};
    return document_create(tx, &d, ei);
}

static enum err add_collection(struct store_tx *tx, void *arg, struct errinfo *ei) {
    (void)arg;
    struct collection c = {.collection_id = uuid_new(),
                           .name = STR("News"),
                           .kind = COLLECTION_SHARED,
                           .created_at = 1};
    return collection_create(tx, &c, ei);
}

static enum err suspend(struct store_tx *tx, void *arg, struct errinfo *ei) {
    (void)ei;
    return safety_user_hold(tx, &((struct ground *)arg)->user, INT64_MAX / 2, true);
}

static enum err interrupt_all(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct ground *g = arg;
    struct arena *a = arena_new(1 << 20);
    struct unfinished *list;
    struct message m = message_of(g->other, no_id, SENDER_ASSISTANT, "");
    size_t n;
    int64_t interrupted;
    m.status = MESSAGE_STREAMING;
    enum err e = message_append(tx, &m, ei);
    if (!e)
        e = message_unfinished(tx, 0, 1, 0, a, &list, &n, &interrupted);
    arena_free(a);
    return e;
}

static enum err write_answer(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct ground *g = arg;
    struct message m = message_of(g->other, no_id, SENDER_ASSISTANT, "");
    m.status = MESSAGE_STREAMING;
    enum err e = message_append(tx, &m, ei);
    if (!e)
        e = message_checkpoint(tx, &m.message_id, STR("some"), 1);
    if (!e)
        e = message_extend(tx, &m.message_id, STR("some more"));
    m.status = MESSAGE_COMPLETE;
    m.content = STR("some more of it");
    return e ? e : message_finish(tx, &m);
}

/* Of what was interrupted in the conversation itself. */
static enum err finish_late(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct ground *g = arg;
    struct message m = message_of(g->talk, g->question, SENDER_ASSISTANT, "late");
    (void)ei;
    m.message_id = g->broken;
    return message_finish(tx, &m);
}

static const struct {
    const char *name;
    store_fn fn;
    bool holds;
} changes[] = {
    {"a setting", nothing, true},
    {"another conversation", speak_elsewhere, true},
    {"an answer elsewhere that grows", write_answer, true},
    {"somebody who is new", sign_up, true},
    {"a document", add_document, true},
    {"a message", speak, false},
    {"the title", title, false},
    {"the summary", summary, false},
    {"the conversation", change, false},
    {"an interrupted answer", finish_late, false},
    {"an answer that goes", delete_answer, false},
    {"the conversation that goes", delete_talk, false},
    {"its owner who goes", delete_user, false},
    {"the role", change_role, false},
    {"the role's documents", change_documents, false},
    {"a collection of the role", bind_documents, false},
    {"a collection for all", add_collection, false},
    {"a hold of the guard", suspend, false},
    {"answers that are given up", interrupt_all, false},
    {"a collection", delete_collection, false},
};
#define N_CHANGES (sizeof changes / sizeof *changes)

static void marks_fall_with_what_they_are_about_and_nothing_else(void **state) {
    struct fixture *f = *state;
    struct ground g = ground(f);
    for (size_t i = 0; i < N_CHANGES; i++) {
        struct store_mark m, after;
        assert_ok(store_write_wait(g.s, seed, &g, &f->ei));
        store_mark_take(g.s, &g.talk, &m);
        assert_true(store_mark_holds(g.s, &g.talk, &m));
        assert_ok(store_write_wait(g.s, changes[i].fn, &g, &f->ei));
        if (store_mark_holds(g.s, &g.talk, &m) != changes[i].holds)
            fail_msg("%s", changes[i].name);
        store_mark_take(g.s, &g.talk, &after);
        assert_true(store_mark_holds(g.s, &g.talk, &after));
    }
    store_close(g.s);
}

/* ---- others who write ---- */

static void marks_fall_when_another_process_writes(void **state) {
    struct fixture *f = *state;
    int go[2], done[2], status;
    char c = 0;
    assert_int_equal(pipe(go), 0);
    assert_int_equal(pipe(done), 0);
    pid_t child = fork(); /* before there are threads and locks */
    if (child == 0) {
        struct conn *conn = NULL;
        struct errinfo ei;
        bool ok = read(go[0], &c, 1) == 1 && !conn_open(f->path, CONN_PLAIN, 2000, &conn, &ei) &&
                  !conn_exec(conn, "INSERT INTO settings VALUES ('other', 'process')");
        conn_close(conn);
        c = ok ? 'y' : 'n';
        _exit(write(done[1], &c, 1) == 1 ? 0 : 1);
    }
    struct ground g = ground(f);
    struct store_mark m, after;
    store_mark_take(g.s, &g.talk, &m);
    assert_true(store_mark_holds(g.s, &g.talk, &m));
    assert_int_equal(write(go[1], "x", 1), 1);
    assert_int_equal(read(done[0], &c, 1), 1);
    assert_int_equal(c, 'y');
    assert_false(store_mark_holds(g.s, &g.talk, &m));
    assert_ok(store_write_wait(g.s, nothing, NULL, &f->ei)); /* the header is ours again */
    assert_false(store_mark_holds(g.s, &g.talk, &m));
    store_mark_take(g.s, &g.talk, &after);
    assert_true(store_mark_holds(g.s, &g.talk, &after));
    assert_int_equal(waitpid(child, &status, 0), child);
    close(go[0]), close(go[1]), close(done[0]), close(done[1]);
    store_close(g.s);
}

static void marks_never_hold_once_the_schema_was_changed(void **state) {
    struct fixture *f = *state;
    struct ground g = ground(f);
    struct conn *other = NULL;
    struct store_mark m;
    assert_ok(store_write_wait(g.s, change_documents, &g, &f->ei)); /* is prepared */
    assert_ok(conn_open(f->path, CONN_PLAIN, 2000, &other, &f->ei));
    assert_ok(conn_exec(other, "CREATE TRIGGER more AFTER INSERT ON settings BEGIN"
                               " UPDATE assistant_roles SET description = 'x'; END"));
    for (int i = 0; i < 2; i++) {
        store_mark_take(g.s, &g.talk, &m);
        assert_ok(store_write_wait(g.s, nothing, NULL, &f->ei));
        assert_false(store_mark_holds(g.s, &g.talk, &m));
    }
    conn_close(other);
    store_close(g.s);
}

/* ---- what is undone, and what follows ---- */

static enum err fail_after(struct store_tx *tx, void *arg, struct errinfo *ei) {
    enum err e = speak_elsewhere(tx, arg, ei);
    return e ? e : err_set(ei, ERR_INVALID, "asked for");
}

static atomic_bool writer_is_held;

static enum err hold_writer(struct store_tx *tx, void *arg, struct errinfo *ei) {
    (void)tx, (void)arg, (void)ei;
    while (atomic_load(&writer_is_held))
        sched_yield();
    return ERR_OK;
}

struct following {
    struct ground *g;
    struct store_mark mark;
    bool fails;
};

static enum err follow(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct following *w = arg;
    store_mark_follow(tx, &w->g->talk, &w->mark);
    enum err e = speak(tx, w->g, ei);
    return !e && w->fails ? err_set(ei, ERR_INVALID, "asked for") : e;
}

/* The first and what else is given go through one transaction. */
static void in_one_group(struct ground *g, store_fn one, void *arg, store_fn two, void *arg2) {
    atomic_store(&writer_is_held, true);
    assert_ok(store_write_again(g->s, hold_writer, NULL, NULL, NULL));
    assert_ok(store_write_again(g->s, one, arg, NULL, NULL));
    if (two)
        assert_ok(store_write_again(g->s, two, arg2, NULL, NULL));
    atomic_store(&writer_is_held, false);
    assert_ok(store_write_wait(g->s, nothing, NULL, NULL));
}

static void follow_holds_unless_somebody_else_changed_something(void **state) {
    struct fixture *f = *state;
    struct ground g = ground(f);
    struct following w = {.g = &g}, v = {.g = &g};
    store_mark_take(g.s, &g.talk, &w.mark);
    in_one_group(&g, follow, &w, speak_elsewhere, &g);
    assert_true(store_mark_holds(g.s, &g.talk, &w.mark));
    v.mark = w.mark;
    in_one_group(&g, title, &g, follow, &w); /* before it */
    assert_false(store_mark_holds(g.s, &g.talk, &w.mark));
    in_one_group(&g, follow, &v, NULL, NULL); /* by itself, of a mark that has fallen */
    assert_false(store_mark_holds(g.s, &g.talk, &v.mark));
    store_mark_take(g.s, &g.talk, &w.mark);
    in_one_group(&g, follow, &w, title, &g); /* behind it */
    assert_false(store_mark_holds(g.s, &g.talk, &w.mark));
    store_mark_take(g.s, &g.talk, &w.mark);
    in_one_group(&g, follow, &w, change_role, &g);
    assert_false(store_mark_holds(g.s, &g.talk, &w.mark));
    store_close(g.s);
}

static void follow_holds_when_its_group_begins_anew(void **state) {
    struct fixture *f = *state;
    struct ground g = ground(f);
    struct following w = {.g = &g}, v = {.g = &g, .fails = true};
    store_mark_take(g.s, &g.talk, &w.mark);
    in_one_group(&g, follow, &w, fail_after, &g); /* each has a savepoint then */
    assert_true(store_mark_holds(g.s, &g.talk, &w.mark));
    store_mark_take(g.s, &g.talk, &v.mark);
    w.mark = v.mark;
    in_one_group(&g, follow, &v, follow, &w); /* what was undone may make the other's fall */
    assert_false(store_mark_holds(g.s, &g.talk, &v.mark));
    store_mark_take(g.s, &g.talk, &w.mark);
    assert_true(store_mark_holds(g.s, &g.talk, &w.mark));
    store_close(g.s);
}

/* ---- against what is there ---- */

struct race {
    struct ground *g;
    atomic_int said; /* every number up to it was told as written */
    atomic_bool over;
};

struct numbered {
    struct race *r;
    int n;
    struct arena *arena;
};

static enum err write_number(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct numbered *w = arg;
    char text[16];
    (void)ei;
    snprintf(text, sizeof text, "%d", w->n);
    return conversation_set_auto_title(tx, &w->r->g->talk, str_from(text));
}

static enum err read_number(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct numbered *w = arg;
    struct conversation c;
    (void)ei;
    enum err e = conversation_get(tx, &w->r->g->user, &w->r->g->talk, w->arena, &c);
    w->n = e ? -1 : atoi(c.title.p);
    return e;
}

static void *keep_and_look(void *arg) {
    struct numbered w = {.r = arg, .arena = arena_new(64 << 20)};
    struct store *s = w.r->g->s;
    struct store_mark m = {0};
    while (!atomic_load(&w.r->over)) {
        int said = atomic_load(&w.r->said);
        if (store_mark_holds(s, &w.r->g->talk, &m)) {
            assert_true(w.n >= said);
            continue;
        }
        store_mark_take(s, &w.r->g->talk, &m);
        assert_ok(store_read_wait(s, read_number, &w, NULL));
    }
    arena_free(w.arena);
    return NULL;
}

static void marks_never_hold_for_what_was_told_to_be_other(void **state) {
    struct fixture *f = *state;
    struct ground g = ground(f);
    struct race r = {.g = &g};
    pthread_t threads[2];
    struct numbered w = {.r = &r};
    assert_ok(store_write_wait(g.s, write_number, &w, NULL));
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, keep_and_look, &r), 0);
    for (w.n = 1; w.n <= 200; w.n++) {
        assert_ok(store_write_wait(g.s, write_number, &w, NULL));
        atomic_store(&r.said, w.n);
        sched_yield();
    }
    atomic_store(&r.over, true);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    store_close(g.s);
}

static void marks_of_a_store_that_closed_before_writing_hold_never(void **state) {
    struct fixture *f = *state;
    struct store *s = open_store(f);
    struct uuid id = uuid_new();
    struct store_mark m;
    store_mark_take(s, &id, &m);
    assert_false(store_mark_holds(s, &id, &m)); /* whose header it is nobody can say yet */
    store_close(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(marks_fall_with_what_they_are_about_and_nothing_else,
                                        fixture_dir, fixture_close),
        cmocka_unit_test_setup_teardown(marks_fall_when_another_process_writes, fixture_dir,
                                        fixture_close),
        cmocka_unit_test_setup_teardown(marks_never_hold_once_the_schema_was_changed, fixture_dir,
                                        fixture_close),
        cmocka_unit_test_setup_teardown(follow_holds_unless_somebody_else_changed_something,
                                        fixture_dir, fixture_close),
        cmocka_unit_test_setup_teardown(follow_holds_when_its_group_begins_anew, fixture_dir,
                                        fixture_close),
        cmocka_unit_test_setup_teardown(marks_never_hold_for_what_was_told_to_be_other, fixture_dir,
                                        fixture_close),
        cmocka_unit_test_setup_teardown(marks_of_a_store_that_closed_before_writing_hold_never,
                                        fixture_dir, fixture_close),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
