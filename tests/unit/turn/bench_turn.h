/* What the turn's tests stand on: a store in a temporary folder with one user, role and
 * conversation, a mock model server, and sinks that record what they get. */
#pragma once

#include "unit/upstream/mock_upstream.h"

#include "base/clock.h"
#include "base/crypto.h"
#include "turn/turn.h"

#define SEEN_MAX 4096

struct seen { /* one subscription's record */
    struct loop *loop;
    struct subscription *sub;
    enum stream_kind kinds[SEEN_MAX];
    int64_t ids[SEEN_MAX];
    int n;
    struct buf text; /* of tokens; a reset replaces it */
    char *last;      /* the last event's data, owned */
    char *created, *title;
    bool over, failed, has_text;
    struct errinfo ei;
    struct uuid message_id, user_message_id; /* from created */
    bool has_created;
};

struct bench {
    char folder[64], db[96];
    struct loop *loop;
    struct store *store;
    struct mock mock;
    struct upstream *upstream;
    struct upstream_client *client;
    struct turns *turns;
    struct arena *arena;
    struct uuid user, other, role, conversation;
};

static inline char *copy_data(struct str s) {
    return strndup(s.p, s.n);
}

static inline struct str data_text(struct str data, yyjson_doc **ret_doc, const char *key) {
    assert_int_equal(json_parse(data, ret_doc, NULL), ERR_OK);
    return json_get_str(yyjson_doc_get_root(*ret_doc), key);
}

static inline void seen_created(struct seen *s, struct str data) {
    yyjson_doc *doc;
    assert_int_equal(json_parse(data, &doc, NULL), ERR_OK);
    json_val *root = yyjson_doc_get_root(doc);
    assert_true(uuid_parse(json_get_str(json_get(root, "message"), "message_id"), &s->message_id));
    json_val *user = json_get(root, "user_message");
    if (yyjson_is_obj(user))
        assert_true(uuid_parse(json_get_str(user, "message_id"), &s->user_message_id));
    s->has_created = true;
    yyjson_doc_free(doc);
    s->created = copy_data(data);
}

static inline void seen_event(void *ctx, const struct stream_event *e) {
    struct seen *s = ctx;
    yyjson_doc *doc = NULL;
    assert_false(s->over);
    assert_true(s->n < SEEN_MAX);
    s->kinds[s->n] = e->kind;
    s->ids[s->n++] = e->id;
    free(s->last);
    s->last = copy_data(e->data);
    if (e->kind == STREAM_TOKEN || e->kind == STREAM_RESET) {
        struct str text = data_text(e->data, &doc, "text");
        if (e->kind == STREAM_RESET)
            buf_clear(&s->text);
        buf_adds(&s->text, text);
        s->has_text = true;
    } else if (e->kind == STREAM_CREATED) {
        seen_created(s, e->data);
    } else if (e->kind == STREAM_TITLE) {
        struct str title = data_text(e->data, &doc, "title");
        s->title = copy_data(title);
    }
    yyjson_doc_free(doc);
    s->over = e->kind == STREAM_DONE || e->kind == STREAM_ERROR;
    loop_stop(s->loop);
}

static inline void seen_fail(void *ctx, const struct errinfo *ei) {
    struct seen *s = ctx;
    assert_false(s->over);
    s->failed = s->over = true;
    s->ei = *ei;
    loop_stop(s->loop);
}

static const struct stream_sink seen_sink = {seen_event, seen_fail};

static inline void seen_init(struct seen *s, struct loop *l) {
    memset(s, 0, sizeof *s);
    s->loop = l;
    buf_init(&s->text, 4 << 20);
}

static inline void seen_deinit(struct seen *s) {
    buf_deinit(&s->text);
    free(s->last);
    free(s->created);
    free(s->title);
}

static inline bool seen_has(const struct seen *s, enum stream_kind k) {
    for (int i = 0; i < s->n; i++)
        if (s->kinds[i] == k)
            return true;
    return false;
}

/* ---- the store ---- */

static inline enum err bench_seed(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct bench *b = arg;
    struct user u = {.user_id = b->user,
                     .username = STR("ada"),
                     .email = STR("ada@example.org"),
                     .created_at = 1,
                     .preferences = STR("{}"),
                     .is_admin = true,
                     .password_hash = STR("x")};
    struct user o = u;
    o.user_id = b->other;
    o.username = STR("bob");
    o.email = STR("bob@example.org");
    o.is_admin = false;
    struct role r = {.role_id = b->role,
                     .name = STR("Helper"),
                     .description = STR(""),
                     .system_prompt = STR("You are helpful."),
                     .version = 1,
                     .model = STR(""),
                     .temperature = 0.5,
                     .top_p = -1,
                     .max_tokens = 200,
                     .stop = STR("[\"<end>\"]"),
                     .starter_questions = STR("[]"),
                     .created_at = 1,
                     .updated_at = 1};
    struct conversation c = {.conversation_id = b->conversation,
                             .user_id = b->user,
                             .created_at = 1,
                             .last_updated_at = 1,
                             .assistant_role_id = b->role,
                             .title = STR(""),
                             .summary = STR("")};
    enum err e = user_create(tx, &u, ei);
    if (!e)
        e = user_create(tx, &o, ei);
    if (!e)
        e = role_create(tx, &r, ei);
    return e ? e : conversation_create(tx, &c, ei);
}

static inline void refreshed(void *ctx, enum err e, const struct errinfo *ei) {
    bool *flag = ctx;
    (void)ei;
    assert_int_equal(e, ERR_OK);
    *flag = true;
    loop_stop(pump_loop);
}

static inline void bench_upstream(struct bench *b) {
    struct errinfo ei;
    bool done = false;
    struct upstream_options o = {.base_url = "http://engine/v1", .unix_socket = b->mock.path};
    assert_int_equal(upstream_new(&o, &b->upstream, &ei), ERR_OK);
    assert_int_equal(upstream_client_new(b->upstream, b->loop, &b->client, &ei), ERR_OK);
    pump_loop = b->loop;
    assert_int_equal(upstream_refresh(b->client, refreshed, &done), ERR_OK);
    pump_until(b->loop, &done);
}

static inline void bench_init(struct bench *b, int window, const struct turns_options *extra) {
    struct errinfo ei;
    memset(b, 0, sizeof *b);
    snprintf(b->folder, sizeof b->folder, "/tmp/parley-test-XXXXXX");
    assert_non_null(mkdtemp(b->folder));
    snprintf(b->db, sizeof b->db, "%s/parley.db", b->folder);
    assert_int_equal(net_init(&ei), ERR_OK);
    assert_int_equal(crypto_init(), ERR_OK);
    assert_int_equal(loop_new(&b->loop, &ei), ERR_OK);
    struct store_options so = {.path = b->db, .busy_timeout_ms = 100};
    assert_int_equal(store_open(&so, &b->store, &ei), ERR_OK);
    b->user = uuid_new();
    b->other = uuid_new();
    b->role = uuid_new();
    b->conversation = uuid_new();
    assert_int_equal(store_write_wait(b->store, bench_seed, b, &ei), ERR_OK);
    mock_init(&b->mock, b->loop, b->folder);
    b->mock.window = window;
    bench_upstream(b);
    struct turns_options to = extra ? *extra : (struct turns_options){0};
    to.store = b->store;
    to.upstream = b->upstream;
    assert_int_equal(turns_new(&to, &b->turns, &ei), ERR_OK);
    assert_int_equal(turns_attach_loop(b->turns, b->loop, b->client, &ei), ERR_OK);
    b->arena = arena_new(64 << 20);
}

static inline void bench_deinit(struct bench *b) {
    char path[200];
    turns_detach_loop(b->turns, b->loop);
    upstream_client_free(b->client);
    mock_deinit(&b->mock);
    store_close(b->store);
    turns_free(b->turns);
    upstream_free(b->upstream);
    loop_free(b->loop);
    arena_free(b->arena);
    static const char *const ends[] = {"", "-wal", "-shm", ".lock"};
    for (size_t i = 0; i < 4; i++) {
        snprintf(path, sizeof path, "%s%s", b->db, ends[i]);
        unlink(path);
    }
    rmdir(b->folder);
}

/* ---- what is stored ---- */

struct stored {
    struct bench *b;
    struct uuid id;
    struct message m;
    struct message *list;
    size_t n;
    struct conversation c;
};

static inline enum err read_all(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct stored *s = arg;
    (void)ei;
    enum err e = message_list(tx, &s->b->conversation, s->b->arena, &s->list, &s->n);
    if (!e)
        e = conversation_get(tx, &s->b->user, &s->b->conversation, s->b->arena, &s->c);
    for (size_t i = 0; !e && i < s->n; i++)
        if (uuid_eq(&s->list[i].message_id, &s->id))
            s->m = s->list[i];
    return e;
}

static inline struct stored bench_stored(struct bench *b, const struct uuid *id) {
    struct stored s = {.b = b};
    struct errinfo ei;
    if (id)
        s.id = *id;
    assert_int_equal(store_read_wait(b->store, read_all, &s, &ei), ERR_OK);
    return s;
}

/* ---- turns ---- */

static inline struct turn_input bench_input(struct bench *b, const char *text) {
    return (struct turn_input){.user_id = b->user,
                               .conversation_id = b->conversation,
                               .kind = TURN_MESSAGE,
                               .content = str_from(text),
                               .parent_kind = PARENT_CURRENT,
                               .arrived_ns = clock_mono_ns()};
}

static inline void bench_start(struct bench *b, const struct turn_input *in, struct seen *s) {
    struct errinfo ei;
    seen_init(s, b->loop);
    assert_int_equal(turn_start(b->turns, b->loop, in, &seen_sink, s, &s->sub, &ei), ERR_OK);
    assert_int_equal(s->n, 0);
    assert_false(s->over);
}

/* One whole turn. */
static inline void bench_say(struct bench *b, const char *text, struct seen *s) {
    struct turn_input in = bench_input(b, text);
    bench_start(b, &in, s);
    pump_until(b->loop, &s->over);
}

static inline void assert_text(const struct buf *b, const char *expected) {
    assert_int_equal(b->n, strlen(expected));
    assert_memory_equal(b->p ? b->p : "", expected, b->n);
}

static inline void assert_stored_text(struct str s, const char *expected) {
    assert_int_equal(s.n, strlen(expected));
    assert_memory_equal(s.p ? s.p : "", expected, s.n);
}
