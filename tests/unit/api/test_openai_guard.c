/* Blocked answers on the compatible API: whoever goes away, and whatever else is answered beside
 * them, their cases are written. And requests whose last verdict is made beside the model's work.
 */
#include "unit/api/guard_cases.h"

#include "api/openai.h"
#include "api/openai_guard.h"

static const char policy_text[] =
    "{\"uncertain\":{\"from\":0.5,\"to\":0.8},\"categories\":{\"illicit\":{\"block\":0.9}},"
    "\"refusals\":{\"default\":\"No.\"},\"pii\":{\"email\":\"redact\"},"
    "\"rules\":[{\"id\":\"zebra\",\"category\":\"illicit\",\"score\":1,"
    "\"match\":[\"paint * zebra purple\"],\"on\":[\"output\"]}]}";

static struct safety *safety;

struct answer { /* one call, and what its client got */
    struct call *c;
    struct openai_state state;
    struct openai_guard guard;
    struct answer_guard *a;
    bool gone; /* the client */
    int sent, ends;
    const char *const *events;
    size_t n_events;
    struct uuid user;
    sem_t done;
};

static bool on_send(void *ctx, struct str json) {
    struct answer *t = ctx;
    (void)json;
    t->sent++;
    return !t->gone;
}

static void on_end(void *ctx) {
    ((struct answer *)ctx)->ends++;
}

static void on_fail(void *ctx, enum err e) {
    (void)ctx, (void)e;
    fail();
}

static const struct answer_guard_callbacks callbacks = {on_send, on_end, on_fail};

/* On the loop: the events pass, then the call goes at once. */
static void answer_now(void *arg) {
    struct answer *t = arg;
    struct arena *a = arena_new(1 << 20);
    t->c = arena_alloc(a, sizeof *t->c);
    *t->c = (struct call){.api = fx.api, .loop = fx.loop, .arena = a, .state = &t->state};
    t->c->user.user_id = t->user;
    t->state.guard = &t->guard;
    t->state.asked = STR("tiny");
    t->guard.policy = safety_get_policy(safety);
    t->guard.role = STR("");
    assert_int_equal(answer_guard_new(t->c, &callbacks, t, &t->a), ERR_OK);
    for (size_t i = 0; i < t->n_events && answer_guard_event(t->a, str_from(t->events[i])); i++)
        ;
    if (!t->gone)
        answer_guard_end(t->a);
    answer_guard_free(t->a);
    openai_cases_forget(&t->guard);
    policy_unref(t->guard.policy);
    arena_free(a);
    sem_post(&t->done);
}

#define CHUNK(index, text, finish)                                                                 \
    "{\"id\":\"c1\",\"created\":1,\"model\":\"tiny\",\"choices\":[{\"index\":" index               \
    ",\"delta\":{\"content\":\"" text "\"},\"finish_reason\":" finish "}]}"
#define HARM CHUNK("0", "You paint the zebra purple. ", "null")

static void answer(struct answer *t) {
    struct person p = make_admin();
    assert_true(uuid_parse(str_from(p.id), &t->user));
    sem_init(&t->done, 0, 0);
    assert_int_equal(loop_post(fx.loop, answer_now, t), ERR_OK);
    sem_wait(&t->done);
    wait_for_writes();
    assert_int_equal(cases(), 1);
}

static void blockedAnswer_clientGoneThen_hasItsCase(void **state) {
    (void)state;
    static const char *const events[] = {HARM};
    struct answer t = {.events = events, .n_events = 1, .gone = true};
    answer(&t);
    assert_int_equal(t.sent, 1);
    assert_int_equal(t.ends, 0);
}

static void blockedChoice_besideOneThatEnds_hasItsCase(void **state) {
    (void)state;
    static const char *const events[] = {HARM, CHUNK("1", "A river rises. ", "null"),
                                         CHUNK("1", "It flows.", "\"stop\"")};
    struct answer t = {.events = events, .n_events = 3};
    answer(&t);
    assert_int_equal(t.ends, 1);
}

/* ---- the model is asked before the last verdict ---- */

#define CHAT "/v1/chat/completions"

/* Finds "striped" in a question with its embedding only, and "red" and "blue" together, which it
 * suspects a little without. With its embedding it is not sure about "maybe", without about
 * "perhaps". */
static void score(const void *ctx, const struct safety_text *t, float ret[SAFETY_CATEGORIES]) {
    (void)ctx;
    memset(ret, 0, SAFETY_CATEGORIES * sizeof *ret);
    if (t->direction == SAFETY_INPUT && t->embedding &&
        str_find(t->text, STR("striped")) != SIZE_MAX)
        ret[SAFETY_ILLICIT] = 0.99f;
    if (t->direction == SAFETY_INPUT && str_find(t->text, STR("red")) != SIZE_MAX &&
        str_find(t->text, STR("blue")) != SIZE_MAX)
        ret[SAFETY_ILLICIT] = t->embedding ? 0.99f : 0.45f;
    if (str_find(t->text, t->embedding ? STR("maybe") : STR("perhaps")) != SIZE_MAX)
        ret[SAFETY_ILLICIT] = 0.6f;
}

static const struct safety_scorer scorer = {
    .name = "test", .embedding_dims = 1, .embedding_model = "embed", .score = score};

struct asking {
    int fd;
    char headers[400];
};

static struct asking ask_messages(const char *messages, bool stream) {
    struct asking a;
    static char body[32768];
    struct person p = make_admin();
    struct reply r = call("POST", "/api/v1/keys", p.who, "{\"name\":\"k\"}");
    expect(r, 201);
    snprintf(a.headers, sizeof a.headers,
             "Authorization: Bearer %s\r\nContent-Type: application/json\r\n", text_at(&r, "key"));
    reply_free(&r);
    snprintf(body, sizeof body, "{\"model\":\"tiny\",\"stream\":%s,\"messages\":[%s]}",
             stream ? "true" : "false", messages);
    fx.script.hold_embeds = true;
    a.fd = client_connect();
    client_send(a.fd, "POST", CHAT, a.headers, body, strlen(body));
    return a;
}

#define USER(text)  "{\"role\":\"user\",\"content\":\"" text "\"}"
#define MODEL(text) "{\"role\":\"assistant\",\"content\":\"" text "\"}"

/* before: bytes of a system message before the question. */
static struct asking ask_behind(size_t before, const char *question, bool stream) {
    static char messages[8000], system[4096];
    assert_true(before < sizeof system);
    memset(system, '.', before);
    system[before] = 0;
    snprintf(messages, sizeof messages,
             "{\"role\":\"system\",\"content\":\"Be kind%s\"}," USER("%s"), system, question);
    return ask_messages(messages, stream);
}

static struct asking ask(const char *question, bool stream) {
    return ask_behind(0, question, stream);
}

/* Each look asks the loop once. */
static void until(const atomic_int *what, int n) {
    for (int i = 0; i < 5000 && atomic_load(what) < n; i++) {
        struct reply r = call("GET", "/healthz", NULL, NULL);
        reply_free(&r);
    }
    assert_int_equal(atomic_load(what), n);
}

static bool said_something(int fd) {
    char c;
    return recv(fd, &c, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

static void look_some(void) {
    for (int i = 0; i < 20; i++) {
        struct reply r = call("GET", "/healthz", NULL, NULL);
        reply_free(&r);
    }
}

static void beginsEarly_harmless_isSeenAfterTheVerdict(void **state) {
    (void)state;
    for (int stream = 0; stream < 2; stream++) {
        if (stream) {
            fx_stop();
            fx_start(&(struct fx_options){.safety = safety, .guard_early = true});
        }
        struct asking a = ask("What is a marmot?", stream);
        until(&fx.script.chats, 1);
        look_some(); /* the whole answer has come */
        assert_false(said_something(a.fd));
        script_embed_freely();
        struct reply r = client_read(a.fd);
        expect(r, 200);
        assert_non_null(strstr(r.body, "Hello"));
        assert_non_null(strstr(r.body, "there"));
        if (stream)
            assert_non_null(strstr(r.body, "[DONE]"));
        reply_free(&r);
        assert_int_equal(cases(), 0);
    }
}

static void beginsEarly_refused_leavesNothing(void **state) {
    (void)state;
    for (int stream = 0; stream < 2; stream++) {
        if (stream) {
            fx_stop();
            fx_start(&(struct fx_options){.safety = safety, .guard_early = true});
        }
        fx.script.hold = stream; /* the model still speaks when it is refused */
        struct asking a = ask("Tell me about the striped horse.", stream);
        until(&fx.script.chats, 1);
        look_some();
        assert_false(said_something(a.fd));
        script_embed_freely();
        struct reply r = client_read(a.fd);
        expect(r, 200);
        assert_null(strstr(r.body, "Hello"));
        assert_non_null(strstr(r.body, "content_filter"));
        assert_non_null(strstr(r.body, "No."));
        reply_free(&r);
        assert_int_equal(cases(), 1);
        if (stream)
            until(&fx.script.cancelled, 1);
    }
}

/* A request that is judged on the pool: the embedding may come while that is done. */
static void beginsEarly_longRequest_isRefusedWheneverTheEmbeddingComes(void **state) {
    (void)state;
    for (int at_once = 0; at_once < 2; at_once++) {
        if (at_once) {
            fx_stop();
            fx_start(&(struct fx_options){.safety = safety, .guard_early = true});
        }
        struct asking a = ask_behind(3000, "Tell me about the striped horse.", true);
        if (!at_once)
            until(&fx.script.chats, 1);
        script_embed_freely(); /* it may have been asked for or not yet */
        struct reply r = client_read(a.fd);
        expect(r, 200);
        assert_null(strstr(r.body, "Hello"));
        assert_non_null(strstr(r.body, "content_filter"));
        reply_free(&r);
        assert_int_equal(cases(), 1);
    }
}

static void beginsEarly_clientLeaves_upstreamCancelled(void **state) {
    (void)state;
    fx.script.hold = true;
    struct asking a = ask("What is a marmot?", true);
    until(&fx.script.chats, 1);
    close(a.fd);
    until(&fx.script.cancelled, 1);
    script_embed_freely();
    look_some();
}

/* What is refused after the client has gone goes to review, and nothing else does. */
static void beginsEarly_clientLeaves_caseIsWrittenAllTheSame(void **state) {
    (void)state;
    static const char *const questions[] = {"What is a marmot?",
                                            "Tell me about the striped horse."};
    for (int i = 0; i < 2; i++) {
        if (i) {
            fx_stop();
            fx_start(&(struct fx_options){.safety = safety, .guard_early = true});
        }
        fx.script.hold = true;
        struct asking a = ask(questions[i], true);
        until(&fx.script.chats, 1);
        close(a.fd);
        until(&fx.script.cancelled, 1);
        script_embed_freely();
        for (int n = 0; n < (i ? 1000 : 1) && cases() == 0; n++) {
            look_some(); /* the loop and the store go on */
            wait_for_writes();
        }
        assert_int_equal(cases(), i);
    }
}

static void notEarly_modelIsAskedAfterTheVerdict(void **state) {
    (void)state;
    struct asking a = ask("Tell me about the striped horse.", true);
    look_some();
    assert_int_equal(atomic_load(&fx.script.chats), 0);
    script_embed_freely();
    struct reply r = client_read(a.fd);
    expect(r, 200);
    assert_non_null(strstr(r.body, "content_filter"));
    reply_free(&r);
    assert_int_equal(atomic_load(&fx.script.chats), 0);
}

/* What the last messages say together is judged with its embedding where it is suspicious. */
static void suspiciousTalk_isJudgedWithItsEmbedding(void **state) {
    static const char *const talks[] = {
        USER("One is red.") "," MODEL("So.") "," USER("The other is blue."),
        USER("One is red.") "," MODEL("So.") "," USER("What is a marmot?")};
    (void)state;
    for (int i = 0; i < 4; i++) {
        bool refused = i % 2 == 0;
        fx_stop();
        fx_start(&(struct fx_options){.safety = safety, .guard_early = i >= 2});
        struct asking a = ask_messages(talks[i % 2], true);
        script_embed_freely();
        struct reply r = client_read(a.fd);
        expect(r, 200);
        assert_int_equal(strstr(r.body, "content_filter") != NULL, refused);
        assert_int_equal(strstr(r.body, "Hello") == NULL, refused);
        assert_int_equal(strstr(fx.script.last_embeddings, "red.\\nThe other") != NULL, refused);
        reply_free(&r);
        assert_int_equal(cases(), refused);
    }
}

/* However long one of its messages is, what follows it is looked at together. */
static void suspiciousTalk_behindALongMessage_isJudgedWithItsEmbedding(void **state) {
    (void)state;
    static char messages[16384];
    size_t n = (size_t)snprintf(messages, sizeof messages, "{\"role\":\"user\",\"content\":\"");
    for (int i = 0; i < 4500; i++)
        n += (size_t)snprintf(messages + n, sizeof messages - n, "\xc3\xa4%s", i % 3 ? "" : " ");
    snprintf(messages + n, sizeof messages - n, "%s",
             "\"}," USER("One is red.") "," USER("The other is blue."));
    for (int is_early = 0; is_early < 2; is_early++) {
        fx_stop();
        fx_start(&(struct fx_options){.safety = safety, .guard_early = is_early});
        struct asking a = ask_messages(messages, true);
        script_embed_freely();
        struct reply r = client_read(a.fd);
        expect(r, 200);
        assert_non_null(strstr(r.body, "content_filter"));
        assert_non_null(strstr(fx.script.last_embeddings, "red.\\nThe other"));
        reply_free(&r);
    }
}

/* ---- the guard model ---- */

static void restart_with_model(bool is_early) {
    fx_stop();
    fx_start(&(struct fx_options){.safety = safety, .guard_early = is_early, .guard_model = true});
}

/* The model's answer may be there: it is seen once the guard model has spoken. */
static void uncertainQuestion_isSeenAfterTheGuardModel(void **state) {
    static char safe[] = "safe", unsafe[] = "unsafe\\nS9";
    (void)state;
    for (int i = 0; i < 8; i++) {
        bool early = i & 1, stream = i & 2, refused = i & 4;
        restart_with_model(early);
        struct asking a = ask("Is that maybe a marmot?", stream);
        if (early)
            until(&fx.script.chats, 1);
        script_embed_freely();
        until(&fx.script.judged, 1);
        look_some();
        assert_false(said_something(a.fd));
        assert_int_equal(atomic_load(&fx.script.chats), early);
        script_judge_says(refused ? unsafe : safe);
        struct reply r = client_read(a.fd);
        expect(r, 200);
        assert_int_equal(strstr(r.body, "content_filter") != NULL, refused);
        assert_int_equal(strstr(r.body, "Hello") == NULL, refused);
        reply_free(&r);
        assert_int_equal(cases(), refused);
    }
}

/* What the guard was not sure of without the embedding, and is with it, is not asked about. */
static void certainWithItsEmbedding_isNotAskedAbout(void **state) {
    (void)state;
    restart_with_model(true);
    struct asking a = ask("Is that perhaps a marmot?", true);
    until(&fx.script.chats, 1);
    script_embed_freely();
    struct reply r = client_read(a.fd);
    expect(r, 200);
    assert_non_null(strstr(r.body, "Hello"));
    reply_free(&r);
    assert_int_equal(atomic_load(&fx.script.judged), 0);
}

static void clientLeaves_whileTheGuardModelThinks_caseIsWritten(void **state) {
    static char unsafe[] = "unsafe\\nS9";
    (void)state;
    for (int early = 0; early < 2; early++) {
        restart_with_model(early);
        struct asking a = ask("Is that maybe a marmot?", true);
        if (early)
            until(&fx.script.chats, 1);
        script_embed_freely();
        until(&fx.script.judged, 1);
        close(a.fd);
        look_some();
        script_judge_says(unsafe);
        for (int n = 0; n < 1000 && cases() == 0; n++) {
            look_some();
            wait_for_writes();
        }
        assert_int_equal(cases(), 1);
    }
}

/* Many messages are uncertain: all are asked about at once, so that the newest one has its time. */
static void newestMessage_behindManyDoubts_isAskedAbout(void **state) {
    static char newest[] = "maybe";
    (void)state;
    for (int early = 0; early < 2; early++) {
        restart_with_model(early);
        struct asking a = ask_messages(
            USER("Perhaps 1, perhaps.") "," USER("perhaps 2") "," USER("perhaps 3") "," USER(
                "perhaps 4") "," USER("perhaps 5") "," USER("perhaps 6") "," USER("Well, maybe."),
            false);
        script_embed_freely();
        until(&fx.script.judged, 7);
        script_judge_refuses(newest);
        struct reply r = client_read(a.fd);
        expect(r, 200);
        assert_non_null(strstr(r.body, "content_filter"));
        assert_null(strstr(r.body, "Hello"));
        reply_free(&r);
        wait_for_writes();
        assert_int_equal(cases(), 1);
    }
}

#define CHOICE(index, text)                                                                        \
    "{\"index\":" index ",\"message\":{\"role\":\"assistant\",\"content\":\"" text                 \
    "\",\"reasoning_content\":\"Secretly.\",\"tool_calls\":[{\"id\":\"Secretly.\"}]},"             \
    "\"logprobs\":{\"content\":[{\"token\":\"Secretly.\"}]},\"finish_reason\":\"stop\"}"
#define WHOLE(choices)                                                                             \
    "{\"id\":\"c1\",\"object\":\"chat.completion\",\"created\":1,\"model\":\"tiny\",\"choices\":"  \
    "[" choices "]}"

static int count(const char *text, const char *what) {
    int n = 0;
    for (const char *at = text; (at = strstr(at, what)); at++)
        n++;
    return n;
}

static struct reply answer_to_hello(const char *whole) {
    fx.script.whole = whole;
    struct asking a = ask("Hello?", false);
    script_embed_freely();
    struct reply r = client_read(a.fd);
    expect(r, 200);
    return r;
}

/* More choices than are asked about: the rest goes by the fallback, too. */
static void manyUncertainChoices_deadGuardModel_allFallBack(void **state) {
    (void)state;
    fx_stop();
    fx_start(&(struct fx_options){.safety = safety, .guard_model = true, .guard_blocks = true});
    fx.script.judge_dead = true;
    struct reply r = answer_to_hello(WHOLE(CHOICE("0", "Perhaps, perhaps 0.") "," CHOICE(
        "1",
        "perh"
        "aps "
        "1") "," CHOICE("2",
                        "perh"
                        "aps "
                        "2") "," CHOICE("3",
                                        "perhaps 3") "," CHOICE("4",
                                                                "perhaps 4") "," CHOICE("5",
                                                                                        "perhap"
                                                                                        "s 5") "," CHOICE("6",
                                                                                                          "pe"
                                                                                                          "rh"
                                                                                                          "ap"
                                                                                                          "s "
                                                                                                          "6") "," CHOICE("7",
                                                                                                                          "perhaps "
                                                                                                                          "7") "," CHOICE("8",
                                                                                                                                          "perhaps 8")));
    assert_int_equal(count(r.body, "\"content_filter\""), 9);
    assert_null(strstr(r.body, "erhaps"));
    reply_free(&r);
    assert_int_equal(atomic_load(&fx.script.judged), OPENAI_DOUBTS_MAX);
    assert_int_equal(cases(), 1);
}

/* More addresses than are found at once. */
static const char *addresses(void) {
    static char text[8192];
    text[0] = 0;
    for (int i = 0; i < 300; i++)
        snprintf(text + strlen(text), 32, " a%d@b%d.org", i, i);
    return text;
}

static void guardModel_readsNoPersonalData(void **state) {
    static char safe[] = "safe", body[16384];
    (void)state;
    restart_with_model(false);
    snprintf(body, sizeof body, USER("Well, maybe: %s"), addresses());
    struct asking a = ask_messages(body, true);
    script_embed_freely();
    until(&fx.script.judged, 1);
    assert_non_null(strstr(fx.script.last_judged, "[EMAIL_1] [EMAIL_2]"));
    assert_null(strchr(fx.script.last_judged, '@'));
    script_judge_says(safe);
    struct reply r = client_read(a.fd);
    expect(r, 200);
    reply_free(&r);
    assert_null(strchr(fx.script.last_chat, '@'));
    restart_with_model(false);
    snprintf(body, sizeof body, WHOLE(CHOICE("0", "It is perhaps: %s")), addresses());
    fx.script.whole = body;
    a = ask("Hello?", false);
    script_embed_freely();
    until(&fx.script.judged, 1);
    assert_non_null(strstr(fx.script.last_judged, "perhaps:"));
    assert_non_null(strstr(fx.script.last_judged, "[EMAIL_1] [EMAIL_2]"));
    assert_null(strchr(fx.script.last_judged, '@'));
    script_judge_says(safe);
    r = client_read(a.fd);
    expect(r, 200);
    reply_free(&r);
}

static void blockedChoices_areOneCase(void **state) {
    (void)state;
    struct reply r = answer_to_hello(WHOLE(
        CHOICE("0", "You paint the zebra purple.") "," CHOICE("1", "A river rises.") "," CHOICE(
            "2", "Now paint it, the zebra, purple.") "," CHOICE("3", "I paint a zebra purple.")));
    assert_true(count(r.body, "\"content_filter\"") >= 2);
    assert_int_equal(cases(), 1);
    reply_free(&r);
}

static void blockedChoice_leavesNothingOfItself(void **state) {
    (void)state;
    struct reply r = answer_to_hello(
        WHOLE(CHOICE("0", "You paint the zebra purple.") "," CHOICE("1", "A river rises.")));
    assert_int_equal(count(r.body, "\"content_filter\""), 1);
    assert_int_equal(count(r.body, "Secretly."), 3); /* of the other one */
    assert_non_null(strstr(r.body, "A river rises."));
    assert_non_null(strstr(r.body, "{\"index\":0,\"message\":{\"role\":\"assistant\","
                                   "\"content\":\"No.\"},\"logprobs\":null,"
                                   "\"finish_reason\":\"content_filter\"}"));
    reply_free(&r);
}

/* The server ends: who waits is told something, and nothing is left behind. */
static void serverEnds_whileTheGuardModelThinks(void **state) {
    (void)state;
    for (int early = 0; early < 2; early++) {
        restart_with_model(early);
        struct asking a = ask("Is that maybe a marmot?", true);
        script_embed_freely();
        until(&fx.script.judged, 1);
        close(a.fd);
    }
}

static int guarded_setup_with(bool is_early) {
    struct errinfo ei;
    struct safety_options o = {.policy = str_from(policy_text), .scorer = &scorer};
    assert_int_equal(crypto_init(), ERR_OK);
    assert_int_equal(safety_new(&o, &safety, &ei), ERR_OK);
    fx_start(&(struct fx_options){.safety = safety, .guard_early = is_early});
    return 0;
}

static int guarded_setup(void **state) {
    (void)state;
    return guarded_setup_with(false);
}

static int early_setup(void **state) {
    (void)state;
    return guarded_setup_with(true);
}

static int guarded_teardown(void **state) {
    (void)state;
    fx_stop();
    safety_free(safety);
    return 0;
}

#define T(name) cmocka_unit_test_setup_teardown(name, guarded_setup, guarded_teardown)
#define E(name) cmocka_unit_test_setup_teardown(name, early_setup, guarded_teardown)
int main(void) {
    const struct CMUnitTest tests[] = {
        T(blockedAnswer_clientGoneThen_hasItsCase),
        T(blockedChoice_besideOneThatEnds_hasItsCase),
        T(notEarly_modelIsAskedAfterTheVerdict),
        E(beginsEarly_harmless_isSeenAfterTheVerdict),
        E(beginsEarly_refused_leavesNothing),
        E(beginsEarly_longRequest_isRefusedWheneverTheEmbeddingComes),
        E(beginsEarly_clientLeaves_upstreamCancelled),
        E(beginsEarly_clientLeaves_caseIsWrittenAllTheSame),
        T(suspiciousTalk_isJudgedWithItsEmbedding),
        T(suspiciousTalk_behindALongMessage_isJudgedWithItsEmbedding),
        T(uncertainQuestion_isSeenAfterTheGuardModel),
        T(certainWithItsEmbedding_isNotAskedAbout),
        T(clientLeaves_whileTheGuardModelThinks_caseIsWritten),
        T(newestMessage_behindManyDoubts_isAskedAbout),
        T(manyUncertainChoices_deadGuardModel_allFallBack),
        T(guardModel_readsNoPersonalData),
        T(blockedChoices_areOneCase),
        T(blockedChoice_leavesNothingOfItself),
        T(serverEnds_whileTheGuardModelThinks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
