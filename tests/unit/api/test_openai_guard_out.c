/* Streamed answers of the compatible API: whatever a model server sends that could hold a text is
 * judged or does not get through, and all of it keeps its order. */
#include "unit/api/guard_cases.h"

#include "api/openai.h"
#include "api/openai_guard.h"

static const char policy_text[] =
    "{\"categories\":{\"illicit\":{\"block\":0.9}},\"refusals\":{\"default\":\"No.\"},"
    "\"pii\":{\"email\":\"redact\",\"credit_card\":\"redact\"},\"rules\":[{\"id\":\"zebra\","
    "\"category\":\"illicit\","
    "\"score\":1,\"match\":[\"paint * zebra purple\"],\"on\":[\"output\"]}]}";

static struct safety *safety;

#define SAID_MAX 8
struct said { /* of one choice */
    struct buf content, reasoning_content, reasoning, refusal, transcript, function, sound;
    struct buf arguments[SAID_MAX], names[SAID_MAX];
    char finish[32];
};

struct answer {
    struct call *c;
    struct openai_state state;
    struct openai_guard guard;
    struct answer_guard *a;
    const char *body; /* of the request */
    const char *const *events;
    size_t n_events;
    struct uuid user;
    struct said said[SAID_MAX];
    struct buf all; /* that went out, one event a line */
    int ends, fails;
    bool is_over;
    sem_t done;
};

static void add(struct buf *b, json_val *obj, const char *key) {
    struct str s = json_get_str(obj, key);
    if (s.p)
        buf_adds(b, s);
}

static void note_calls(struct said *s, json_val *list) {
    size_t i, n;
    json_val *v;
    yyjson_arr_foreach(list, i, n, v) {
        int64_t at = json_get_int(v, "index", -1);
        assert_true(at >= 0);
        if (at >= SAID_MAX)
            continue;
        json_val *f = json_get(v, "function") ? json_get(v, "function") : json_get(v, "custom");
        add(&s->names[at], f, "name");
        add(&s->arguments[at], f, "arguments");
        add(&s->arguments[at], f, "input");
    }
}

static void note_choice(struct answer *t, json_val *choice) {
    int64_t index = json_get_int(choice, "index", -1);
    struct str finish = json_get_str(choice, "finish_reason");
    json_val *delta = json_get(choice, "delta");
    if (index >= SAID_MAX)
        return;
    assert_true(index >= 0);
    struct said *s = &t->said[index];
    assert_int_equal(s->finish[0], 0); /* nothing comes behind the end */
    add(&s->content, delta, "content");
    add(&s->reasoning_content, delta, "reasoning_content");
    add(&s->reasoning, delta, "reasoning");
    add(&s->refusal, delta, "refusal");
    add(&s->transcript, json_get(delta, "audio"), "transcript");
    add(&s->sound, json_get(delta, "audio"), "data");
    add(&s->names[0], json_get(delta, "function_call"), "name");
    add(&s->function, json_get(delta, "function_call"), "arguments");
    note_calls(s, json_get(delta, "tool_calls"));
    if (finish.p)
        snprintf(s->finish, sizeof s->finish, "%.*s", STR_ARG(finish));
}

static bool on_send(void *ctx, struct str json) {
    struct answer *t = ctx;
    yyjson_doc *doc = NULL;
    size_t i, n;
    json_val *v;
    assert_int_equal(json_parse(json, &doc, NULL), ERR_OK);
    yyjson_arr_foreach(json_get(yyjson_doc_get_root(doc), "choices"), i, n, v) note_choice(t, v);
    yyjson_doc_free(doc);
    buf_adds(&t->all, json);
    buf_addc(&t->all, '\n');
    return true;
}

static void answer_over(void *arg) {
    struct answer *t = arg;
    answer_guard_free(t->a);
    openai_cases_forget(&t->guard);
    policy_unref(t->guard.policy);
    pii_vault_free(t->guard.vault);
    yyjson_doc_free(t->c->doc);
    arena_free(t->c->arena);
    sem_post(&t->done);
}

static void on_end(void *ctx) {
    struct answer *t = ctx;
    t->ends++;
    t->is_over = answer_guard_is_over(t->a);
    assert_int_equal(loop_post(fx.loop, answer_over, t), ERR_OK);
}

static void on_fail(void *ctx, enum err e) {
    struct answer *t = ctx;
    (void)e;
    t->fails++;
    assert_int_equal(loop_post(fx.loop, answer_over, t), ERR_OK);
}

static const struct answer_guard_callbacks callbacks = {on_send, on_end, on_fail};

static void answer_now(void *arg) {
    struct answer *t = arg;
    struct arena *a = arena_new(1 << 20);
    t->c = arena_alloc(a, sizeof *t->c);
    *t->c = (struct call){.api = fx.api, .loop = fx.loop, .arena = a, .state = &t->state};
    t->c->user.user_id = t->user;
    if (t->body) {
        assert_int_equal(json_parse(str_from(t->body), &t->c->doc, NULL), ERR_OK);
        t->c->body = yyjson_doc_get_root(t->c->doc);
    }
    t->state.guard = &t->guard;
    t->state.asked = STR("tiny");
    t->guard.policy = safety_get_policy(safety);
    t->guard.role = STR("");
    assert_int_equal(answer_guard_new(t->c, &callbacks, t, &t->a), ERR_OK);
    for (size_t i = 0; i < t->n_events && !t->ends && !t->fails; i++)
        if (!answer_guard_event(t->a, str_from(t->events[i])))
            break;
    if (!t->ends && !t->fails)
        answer_guard_end(t->a);
}

static struct uuid admin; /* of the server that runs */

static void start(void) {
    admin = (struct uuid){0};
    fx_start(&(struct fx_options){.safety = safety});
}

static struct answer *answer(const char *body, const char *const *events, size_t n) {
    struct answer *t = calloc(1, sizeof *t);
    if (!uuid_is_set(&admin)) {
        struct person p = make_admin();
        assert_true(uuid_parse(str_from(p.id), &admin));
    }
    t->user = admin;
    t->body = body;
    t->events = events;
    t->n_events = n;
    buf_init(&t->all, 8 << 20);
    for (int i = 0; i < SAID_MAX; i++) {
        struct said *s = &t->said[i];
        struct buf *all[] = {&s->content,    &s->reasoning_content, &s->reasoning, &s->refusal,
                             &s->transcript, &s->function,          &s->sound};
        for (size_t k = 0; k < sizeof all / sizeof *all; k++)
            buf_init(all[k], 8 << 20);
        for (int k = 0; k < SAID_MAX; k++) {
            buf_init(&s->arguments[k], 8 << 20);
            buf_init(&s->names[k], 8 << 20);
        }
    }
    sem_init(&t->done, 0, 0);
    assert_int_equal(loop_post(fx.loop, answer_now, t), ERR_OK);
    sem_wait(&t->done);
    wait_for_writes();
    return t;
}

static void answer_free(struct answer *t) {
    for (int i = 0; i < SAID_MAX; i++) {
        struct said *s = &t->said[i];
        struct buf *all[] = {&s->content,    &s->reasoning_content, &s->reasoning, &s->refusal,
                             &s->transcript, &s->function,          &s->sound};
        for (size_t k = 0; k < sizeof all / sizeof *all; k++)
            buf_deinit(all[k]);
        for (int k = 0; k < SAID_MAX; k++) {
            buf_deinit(&s->arguments[k]);
            buf_deinit(&s->names[k]);
        }
    }
    buf_deinit(&t->all);
    sem_destroy(&t->done);
    free(t);
}

static bool went_out(const struct answer *t, const char *text) {
    return t->all.n && strstr(t->all.p, text);
}

static void is(const struct buf *b, const char *text) {
    if (!str_eq(buf_str(b), str_from(text)))
        fail_msg("|%.*s| is not |%s|", (int)b->n, b->n ? b->p : "", text);
}

#define CHUNK_OF(index, delta, finish)                                                             \
    "{\"id\":\"c1\",\"created\":1,\"model\":\"tiny\",\"choices\":[{\"index\":" index               \
    ",\"delta\":" delta ",\"finish_reason\":" finish "}]}"
#define DELTA(delta)  CHUNK_OF("0", delta, "null")
#define END(reason)   CHUNK_OF("0", "{}", "\"" reason "\"")
#define CONTENT(text) DELTA("{\"content\":\"" text "\"}")
#define ARGUMENTS(i, a)                                                                            \
    DELTA("{\"tool_calls\":[{\"index\":" i ",\"function\":{\"arguments\":\"" a "\"}}]}")
#define CALL(i, id, name)                                                                          \
    DELTA("{\"tool_calls\":[{\"index\":" i ",\"id\":\"" id "\",\"type\":\"function\","             \
          "\"function\":{\"name\":\"" name "\",\"arguments\":\"\"}}]}")
#define TOOLS                                                                                      \
    "{\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"paint_the_zebra\"}},"             \
    "{\"type\":\"function\",\"function\":{\"name\":\"mail\"}}]}"
#define ANSWER(body, ...)                                                                          \
    answer(body, (const char *const[]){__VA_ARGS__},                                               \
           sizeof((const char *const[]){__VA_ARGS__}) / sizeof(const char *))

/* In each of its texts, cut through anywhere. */
static void harmInAnyText_endsTheChoice_andNothingOfItGoesOut(void **state) {
    (void)state;
    static const char *const forms[] = {
        "{\"content\":\"%s\"}",
        "{\"reasoning_content\":\"%s\"}",
        "{\"reasoning\":\"%s\"}",
        "{\"reasoning\":\"%1$s\",\"reasoning_content\":\"%1$s\"}",
        "{\"refusal\":\"%s\"}",
        "{\"audio\":{\"transcript\":\"%s\"}}",
        "{\"function_call\":{\"arguments\":\"%s\"}}",
        "{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"%s\"}}]}",
        "{\"tool_calls\":[{\"index\":1,\"custom\":{\"input\":\"%s\"}}]}",
        "{\"content\":[{\"type\":\"text\",\"text\":\"%s\"}]}",
        "{\"content\":[{\"type\":\"thinking\",\"thinking\":[{\"text\":\"%s\"}]}]}",
    };
    static const char harm[] = "All is well here. Now paint the zebra purple, and more.";
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++)
        for (size_t most = 3; most < 100; most += 48) {
            char bytes[64][400], text[64];
            const char *events[64];
            size_t n = 0;
            fx_stop();
            start();
            for (size_t at = 0; at < strlen(harm); at += most, n++) {
                char delta[300];
                snprintf(text, sizeof text, "%.*s", (int)most, harm + at);
                snprintf(delta, sizeof delta, forms[i], text);
                snprintf(bytes[n], sizeof bytes[n], CHUNK_OF("0", "%s", "null"), delta);
                events[n] = bytes[n];
            }
            events[n++] = END("stop");
            struct answer *t = answer(NULL, events, n);
            assert_int_equal(t->ends, 1);
            assert_true(t->is_over);
            assert_string_equal(t->said[0].finish, "content_filter");
            assert_false(went_out(t, "purple"));
            assert_false(went_out(t, "more"));
            if (i == 0 || i == 9) /* what went out stays */
                assert_memory_equal(t->said[0].content.p, "All is well", 11);
            else
                is(&t->said[0].content, "No.");
            assert_int_equal(cases(), 1);
            answer_free(t);
        }
}

static void everyText_passesWhole_inItsOrder(void **state) {
    (void)state;
    struct answer *t =
        ANSWER(TOOLS, DELTA("{\"role\":\"assistant\",\"content\":null}"),
               DELTA("{\"reasoning_content\":\"Let me paint the\"}"),
               DELTA("{\"reasoning\":\"Hm, paint the\"}"), CONTENT("I may paint the"),
               DELTA("{\"refusal\":\"or not\"}"),
               DELTA("{\"audio\":{\"id\":\"a1\",\"data\":\"AAAA\",\"transcript\":\"I say\"}}"),
               CALL("0", "t0", "mail"), ARGUMENTS("0", "{\\\"to\\\":"),
               ARGUMENTS("0", "\\\"ada@lovelace.org\\\",\\\"n\\\":4"), ARGUMENTS("0", "}"),
               CALL("1", "t1", "paint_the_zebra"), ARGUMENTS("1", "{\\\"a\\\": [1, true]}"),
               END("tool_calls"), "{\"id\":\"c1\",\"choices\":[],\"usage\":{\"total_tokens\":7}}");
    const struct said *s = &t->said[0];
    assert_int_equal(t->ends, 1);
    is(&s->reasoning_content, "Let me paint the");
    is(&s->reasoning, "Hm, paint the");
    is(&s->content, "I may paint the");
    is(&s->refusal, "or not");
    is(&s->transcript, "I say");
    is(&s->sound, "AAAA");
    is(&s->names[0], "mail");
    is(&s->arguments[0], "{\"to\":\"[removed]\",\"n\":4}");
    is(&s->names[1], "paint_the_zebra");
    is(&s->arguments[1], "{\"a\": [1, true]}");
    assert_string_equal(s->finish, "tool_calls");
    static const char *const order[] = {
        "assistant", "Let",  "Hm", "I may",           "or ",
        "I ",        "mail", "t1", ":\"tool_calls\"", "total_tokens"};
    const char *at = t->all.p;
    for (size_t i = 0; i < sizeof order / sizeof *order; i++)
        assert_non_null(at = strstr(at, order[i]));
    assert_int_equal(cases(), 0);
    answer_free(t);
}

/* A long text is judged on the pool: what comes behind it waits for it, and so does its call's end.
 */
static void longText_isOutBeforeWhatFollows(void **state) {
    (void)state;
    for (int harm = 0; harm < 2; harm++) {
        static char call[12000], content[12000];
        struct buf text, expected;
        fx_stop();
        start();
        buf_init(&text, 12000);
        buf_init(&expected, 12000);
        for (int i = 0; i < 100; i++)
            buf_addf(&text, "The river rises in hill %d. ", i);
        if (harm)
            buf_addz(&text, "You paint the zebra purple.");
        snprintf(call, sizeof call, ARGUMENTS("0", "{\\\"text\\\":\\\"%.*s\\\"}"), (int)text.n,
                 text.p);
        snprintf(content, sizeof content, CONTENT("%.*s"), 2000, text.p);
        buf_addf(&expected, "{\"text\":\"%.*s\"}", (int)text.n, text.p);
        struct answer *t = ANSWER(TOOLS, CALL("0", "t0", "mail"), call, CALL("1", "t1", "mail"),
                                  ARGUMENTS("1", "{}"), content, END("stop"));
        const struct said *s = &t->said[0];
        assert_int_equal(t->ends, 1);
        assert_string_equal(s->finish, harm ? "content_filter" : "stop");
        assert_int_equal(went_out(t, "\"t1\""), !harm);
        if (!harm) {
            assert_int_equal(s->content.n, 2000);
            is(&s->arguments[0], expected.p);
            is(&s->arguments[1], "{}");
            assert_true(strstr(t->all.p, "hill 99") < strstr(t->all.p, "\"t1\""));
        } else {
            yyjson_doc *doc = NULL;
            assert_int_not_equal(json_parse(buf_str(&s->arguments[0]), &doc, NULL), ERR_OK);
            assert_false(went_out(t, "purple"));
            is(&s->content, "No.");
        }
        answer_free(t);
        buf_deinit(&text);
        buf_deinit(&expected);
    }
}

/* Calls that take turns, one without a number, and the name in pieces. */
static void calls_thatTakeTurns_goOn(void **state) {
    (void)state;
    struct answer *t = ANSWER(
        NULL, CALL("0", "t0", "wri"),
        DELTA("{\"tool_calls\":[{\"index\":0,\"function\":{\"name\":\"te\"}}]}"),
        CALL("1", "t1", "read"), ARGUMENTS("0", "{\\\"a\\\":"), ARGUMENTS("1", "{\\\"b\\\":"),
        ARGUMENTS("0", "1}"), ARGUMENTS("1", "2}"), END("tool_calls"));
    is(&t->said[0].names[0], "write");
    is(&t->said[0].arguments[0], "{\"a\":1}");
    is(&t->said[0].names[1], "read");
    is(&t->said[0].arguments[1], "{\"b\":2}");
    answer_free(t);
    t = ANSWER(
        NULL,
        DELTA("{\"tool_calls\":[{\"id\":\"x\",\"function\":{\"name\":\"f\",\"arguments\":"
              "\"{}\"}},{\"id\":\"y\",\"function\":{\"name\":\"g\",\"arguments\":\"[]\"}}]}"),
        END("tool_calls"));
    is(&t->said[0].arguments[0], "{}");
    is(&t->said[0].arguments[1], "[]");
    is(&t->said[0].names[1], "g");
    answer_free(t);
}

/* Between two pieces of a text: the call's head once more, or another text. */
enum between { HEAD_AGAIN, OTHER_CALL, THINKING };

#define PIECES_MAX 160
static struct answer *answer_in_pieces(enum between between, const char *text, size_t first,
                                       size_t size) {
    static char bytes[PIECES_MAX][400];
    const char *events[PIECES_MAX];
    size_t n = 0, len = strlen(text);
    for (size_t at = 0, to = first; at < len; at = to, to = at + size) {
        char piece[100];
        snprintf(piece, sizeof piece, "%.*s", (int)(to < len ? to - at : len - at), text + at);
        assert_true(n + 3 < PIECES_MAX);
        if (between == HEAD_AGAIN)
            snprintf(bytes[n], sizeof *bytes,
                     DELTA("{\"tool_calls\":[{\"index\":0,\"id\":\"t0\",\"type\":\"function\","
                           "\"function\":{\"name\":\"mail\",\"arguments\":\"%s\"}}]}"),
                     piece);
        else if (between == OTHER_CALL)
            snprintf(bytes[n], sizeof *bytes, ARGUMENTS("0", "%s"), piece);
        else
            snprintf(bytes[n], sizeof *bytes, CONTENT("%s"), piece);
        n++;
        if (between != HEAD_AGAIN)
            snprintf(bytes[n++], sizeof *bytes,
                     between == OTHER_CALL ? ARGUMENTS("1", "[1, 2], ")
                                           : DELTA("{\"reasoning_content\":\"I think. \"}"));
    }
    snprintf(bytes[n++], sizeof *bytes, END("stop"));
    for (size_t i = 0; i < n; i++)
        events[i] = bytes[i];
    return answer(TOOLS, events, n);
}

static const struct buf *said_of(const struct answer *t, enum between between) {
    return between == THINKING ? &t->said[0].content : &t->said[0].arguments[0];
}

/* A text that was interrupted goes on as the one it was, in the middle of a word, too. */
static void harm_isSeen_whateverComesBetween(void **state) {
    static const char harm[] = "Now paint the zebra purple, and more.";
    (void)state;
    for (enum between b = HEAD_AGAIN; b <= THINKING; b++)
        for (size_t cut = 1; cut < sizeof harm; cut++) {
            bool all = cut + 1 == sizeof harm;
            struct answer *t = answer_in_pieces(b, harm, all ? 1 : cut, all ? 1 : sizeof harm);
            const struct buf *said = said_of(t, b);
            assert_int_equal(t->ends, 1);
            assert_string_equal(t->said[0].finish, "content_filter");
            assert_false(said->n && strstr(said->p, "purple"));
            assert_false(said->n && strstr(said->p, "more"));
            if (b == HEAD_AGAIN) /* nothing interrupts */
                assert_true(!said->n || !strstr(said->p, "pur"));
            answer_free(t);
        }
}

static void personalData_isSeen_whateverComesBetween(void **state) {
    static const char *const texts[] = {"So 4111 1111 1111 1111 it is.",
                                        "So ada@lovelace.org it is.", "[4111111111111111, 4]",
                                        "[7, 4111111111111111"};
    static const char *const data[] = {"4111 1111 1111 1111", "ada@lovelace.org",
                                       "4111111111111111", "4111111111111111"};
    (void)state;
    for (enum between b = HEAD_AGAIN; b <= THINKING; b++)
        for (size_t i = 0; i < 4; i++)
            for (size_t cut = 1; cut <= strlen(texts[i]); cut++) {
                bool all = cut == strlen(texts[i]);
                struct answer *t = answer_in_pieces(b, texts[i], all ? 1 : cut, all ? 1 : 100);
                const struct buf *said = said_of(t, b);
                assert_string_equal(t->said[0].finish, "stop");
                assert_null(strstr(said->p, data[i]));
                assert_non_null(strstr(said->p, "[removed]"));
                if (i == 2 && b != THINKING)
                    is(said, "[\"[removed]\", 4]");
                if (i == 3 && b != THINKING)
                    is(said, "[7, \"[removed]\"");
                answer_free(t);
            }
}

/* An escape that was interrupted is whole afterwards. */
static void escapes_goOn_whateverComesBetween(void **state) {
    static const char text[] = "{\\\"a\\\":\\\"x\\\\ud83d\\\\ude00y\\\"}";
    (void)state;
    for (enum between b = HEAD_AGAIN; b <= OTHER_CALL; b++)
        for (size_t cut = 1; cut < sizeof text - 1; cut++) {
            if (text[cut - 1] == '\\' && (cut < 2 || text[cut - 2] != '\\'))
                continue; /* the event would be no JSON */
            struct answer *t = answer_in_pieces(b, text, cut, 100);
            is(&t->said[0].arguments[0], "{\"a\":\"x\xf0\x9f\x98\x80y\"}");
            answer_free(t);
        }
}

/* The judge of a long text is still at it when the choice ends for something else. */
static void nothing_comesBehindTheEnd_ofABlockedName(void **state) {
    static char content[4000];
    struct buf text;
    (void)state;
    buf_init(&text, 4000);
    for (int i = 0; i < 100; i++)
        buf_addf(&text, "The river rises in hill %d. ", i);
    snprintf(content, sizeof content, CONTENT("%.*s"), (int)text.n, text.p);
    struct answer *t = ANSWER("{\"n\":2}", content, CALL("0", "t0", "paint the zebra purple"),
                              CHUNK_OF("1", "{\"content\":\"Hello.\"}", "\"stop\""));
    assert_string_equal(t->said[0].finish, "content_filter");
    assert_string_equal(t->said[1].finish, "stop");
    is(&t->said[0].content, "No.");
    answer_free(t);
    buf_deinit(&text);
}

/* As some servers have it: arguments that are no string, and calls without numbers. */
static void callsOfOtherServers_areWhole(void **state) {
    (void)state;
    struct answer *t =
        ANSWER(TOOLS,
               DELTA("{\"tool_calls\":[{\"id\":\"x\",\"function\":{\"name\":\"mail\","
                     "\"arguments\":{\"to\":\"ada@lovelace.org\",\"n\":1}}}]}"),
               DELTA("{\"tool_calls\":[{\"id\":\"y\",\"function\":{\"name\":\"mail\","
                     "\"arguments\":\"[2\"}}]}"),
               DELTA("{\"tool_calls\":[{\"id\":\"y\",\"function\":{"
                     "\"arguments\":\"3]\"}}]}"),
               DELTA("{\"tool_calls\":[{\"function\":{\"name\":\"mail\","
                     "\"arguments\":[true]}}]}"),
               DELTA("{\"tool_calls\":[{\"id\":\"z\",\"function\":\"Secretly.\"}]}"),
               DELTA("{\"tool_calls\":[{\"id\":\"z\",\"custom\":{\"input\":\"\"},"
                     "\"index\":\"Secretly.\",\"function\":{\"name\":\"Secretly.\"}}]}"),
               END("tool_calls"));
    is(&t->said[0].arguments[0], "{\"to\":\"[removed]\",\"n\":1}");
    is(&t->said[0].arguments[1], "[23]");
    is(&t->said[0].arguments[2], "[true]");
    for (int i = 0; i < 3; i++)
        is(&t->said[0].names[i], "mail");
    assert_false(went_out(t, "Secretly"));
    assert_string_equal(t->said[0].finish, "tool_calls");
    answer_free(t);
}

static void nameAndId_areSaidOnce_thoughTheServerRepeatsThem(void **state) {
    static const char again[] =
        DELTA("{\"tool_calls\":[{\"index\":0,\"id\":\"t0\",\"type\":\"function\","
              "\"function\":{\"name\":\"paint_the_zebra\",\"arguments\":\"a\"}}]}");
    const char *events[100];
    (void)state;
    for (size_t i = 0; i < 99; i++)
        events[i] = again;
    events[99] = END("tool_calls");
    struct answer *t = answer(TOOLS, events, 100);
    assert_int_equal(t->fails, 0);
    is(&t->said[0].names[0], "paint_the_zebra");
    assert_int_equal(t->said[0].arguments[0].n, 99);
    assert_null(strstr(strstr(t->all.p, "\"t0\"") + 1, "\"t0\""));
    answer_free(t);
}

/* What the client has to send back goes out as it is, and interrupts nothing; no text hides in it.
 */
static void signatures_pass_andNoText(void **state) {
#define EXTRA(text, arguments)                                                                     \
    DELTA("{\"tool_calls\":[{\"index\":0,\"id\":\"t0\",\"extra_content\":{\"google\":{"            \
          "\"thought_signature\":\"" text                                                          \
          "\"}},\"function\":{\"name\":\"mail\",\"arguments\":\"" arguments "\"}}]}")
    static char sealed[17000], big[20000];
    (void)state;
    struct answer *t = ANSWER(
        TOOLS, EXTRA("CiQB0e2Kb/+_-==", "Now paint the zeb"), EXTRA("QUJD", "ra brown."),
        EXTRA("Say it secretly", "And"),
        DELTA("{\"reasoning_details\":[{\"type\":\"reasoning.encrypted\",\"data\":\"c2VhbGVk\"},"
              "{\"type\":\"reasoning.text\",\"text\":\"secretly\"}]}"),
        END("tool_calls"));
    assert_true(went_out(t, "\"extra_content\":{\"google\":{\"thought_signature\":\"CiQB"));
    assert_true(went_out(t, "QUJD"));
    assert_true(went_out(t, "\"reasoning_details\":[{\"type\":\"reasoning.encrypted\",\"data\":"
                            "\"c2VhbGVk\"}]"));
    assert_false(went_out(t, "secretly"));
    is(&t->said[0].names[0], "mail");
    answer_free(t);
    memset(sealed, 'A', sizeof sealed);
    snprintf(big, sizeof big, EXTRA("%.*s", "[]"), (int)sizeof sealed, sealed);
    t = ANSWER(TOOLS, big, END("tool_calls"));
    assert_false(went_out(t, "AAAA"));
    is(&t->said[0].arguments[0], "[]");
    answer_free(t);
}

/* Chunks of the guard's own making say who answers as the server's do; a role is said once. */
static void chunks_sayTheSameOfTheServer(void **state) {
#define OF_SERVER(delta)                                                                           \
    "{\"id\":\"c1\",\"created\":1,\"model\":\"big-7b\",\"system_fingerprint\":\"fp_1\","           \
    "\"service_tier\":\"flex\",\"choices\":[{\"index\":0,\"delta\":" delta "}]}"
    (void)state;
    struct answer *t = ANSWER(NULL, OF_SERVER("{\"role\":\"assistant\",\"content\":\"Hello. \"}"),
                              OF_SERVER("{\"role\":\"assistant\",\"content\":\"So. \"}"),
                              OF_SERVER("{\"role\":\"assistant\",\"content\":\"Bye.\"}"));
    size_t lines = 0, models = 0, prints = 0, tiers = 0, roles = 0;
    for (const char *p = t->all.p, *end = p + t->all.n; p < end; p++) {
        lines += *p == '\n';
        models += strncmp(p, "\"model\":\"big-7b\"", 16) == 0;
        prints += strncmp(p, "\"fp_1\"", 6) == 0;
        tiers += strncmp(p, "\"flex\"", 6) == 0;
        roles += strncmp(p, "\"role\"", 6) == 0;
    }
    is(&t->said[0].content, "Hello. So. Bye.");
    assert_true(lines >= 4);
    assert_int_equal(models, lines);
    assert_int_equal(prints, lines);
    assert_int_equal(tiers, lines);
    assert_int_equal(roles, 1);
    answer_free(t);
}

static void nameOfACall_isText_unlessTheClientGaveIt(void **state) {
    (void)state;
    struct answer *t =
        ANSWER(TOOLS, CALL("0", "t0", "paint the zebra"),
               DELTA("{\"tool_calls\":[{\"index\":0,\"function\":{\"name\":\" purple\"}}]}"),
               END("tool_calls"));
    assert_string_equal(t->said[0].finish, "content_filter");
    assert_false(went_out(t, "purple"));
    assert_int_equal(cases(), 1);
    answer_free(t);
    t = ANSWER(TOOLS, CALL("0", "a b c", "mail"), ARGUMENTS("0", "{}"), END("tool_calls"));
    is(&t->said[0].names[0], "mail");
    assert_false(went_out(t, "a b c"));
    answer_free(t);
}

static void whatIsNotKnown_doesNotGetThrough(void **state) {
    (void)state;
    struct answer *t = ANSWER(
        NULL, "{\"id\":\"c1\",\"choices\":[],\"prompt_logprobs\":[{\"x\":\"Secretly.\"}]}",
        "{\"id\":\"c1\",\"id\":\"Secretly "
        "so.\",\"note\":\"Secretly.\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\","
        "\"content\":\"\",\"reasoning_details\":[{\"text\":\"Secretly.\"}]},\"text\":\"Secretly.\","
        "\"logprobs\":{\"content\":[{\"token\":\"Secretly.\"}]},\"finish_reason\":null}]}",
        "{\"id\":\"c1\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hello\"},"
        "\"logprobs\":{\"content\":[{\"token\":\"Secretly.\"}]},\"finish_reason\":null}]}",
        "{\"id\":\"c1\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"Secretly. So.\"},"
        "\"logprobs\":{\"refusal\":[{\"token\":\"Secretly.\"}]},\"finish_reason\":\"stop\"}]}",
        "{\"id\":\"c1\",\"choices\":[{\"index\":200,\"delta\":{\"content\":\"Secretly.\"}}]}",
        "{\"id\":\"c1\",\"choices\":[{\"index\":-1,\"delta\":{\"content\":\"Secretly.\"}}]}");
    is(&t->said[0].content, "Hello");
    assert_string_equal(t->said[0].finish, "stop");
    assert_false(went_out(t, "Secretly"));
    answer_free(t);
}

/* Choices of one event, and one that is cut off before the other begins. */
static void choices_areJudgedEach(void **state) {
    (void)state;
    struct answer *t = ANSWER(
        "{\"n\":2}",
        "{\"id\":\"c1\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"You paint the zebra "
        "purple now.\"}},"
        "{\"index\":1,\"delta\":{\"content\":\"A river rises.\"},\"finish_reason\":\"stop\"}]}");
    is(&t->said[0].content, "No.");
    assert_string_equal(t->said[0].finish, "content_filter");
    is(&t->said[1].content, "A river rises.");
    assert_string_equal(t->said[1].finish, "stop");
    answer_free(t);
    t = ANSWER("{\"n\":2}", CONTENT("You paint the zebra purple now. "),
               CHUNK_OF("1", "{\"content\":\"A river rises.\"}", "\"stop\""));
    assert_string_equal(t->said[0].finish, "content_filter");
    is(&t->said[1].content, "A river rises.");
    assert_false(t->is_over);
    answer_free(t);
}

static void manyBlockedChoices_areOneCase(void **state) {
    static char bytes[100][200];
    const char *events[100];
    (void)state;
    for (int i = 0; i < 100; i++) {
        char index[8];
        snprintf(index, sizeof index, "%d", i);
        snprintf(bytes[i], sizeof bytes[i],
                 CHUNK_OF("%s", "{\"content\":\"You paint the zebra purple. \"}", "null"), index);
        events[i] = bytes[i];
    }
    struct answer *t = answer("{\"n\":100}", events, 100);
    assert_int_equal(t->ends, 1);
    assert_true(t->is_over);
    assert_false(went_out(t, "purple"));
    for (int i = 0; i < SAID_MAX; i++)
        assert_string_equal(t->said[i].finish, "content_filter");
    assert_int_equal(cases(), 1);
    answer_free(t);
}

/* More texts than are kept apart: the answer fails, nothing of it goes out unjudged. */
static void tooManyCalls_fail(void **state) {
    static char bytes[80][200];
    const char *events[80];
    (void)state;
    for (int i = 0; i < 80; i++) {
        snprintf(
            bytes[i], sizeof bytes[i],
            DELTA("{\"tool_calls\":[{\"index\":%d,\"id\":\"c\",\"function\":{\"name\":\"f\"}}]}"),
            i % 70);
        events[i] = bytes[i];
    }
    struct answer *t = answer(NULL, events + 60, 20);
    assert_int_equal(t->fails, 1);
    answer_free(t);
}

static int guarded_setup(void **state) {
    struct errinfo ei;
    struct safety_options o = {.policy = str_from(policy_text)};
    (void)state;
    assert_int_equal(crypto_init(), ERR_OK);
    assert_int_equal(safety_new(&o, &safety, &ei), ERR_OK);
    start();
    return 0;
}

static int guarded_teardown(void **state) {
    (void)state;
    fx_stop();
    safety_free(safety);
    return 0;
}

#define T(name) cmocka_unit_test_setup_teardown(name, guarded_setup, guarded_teardown)
int main(void) {
    const struct CMUnitTest tests[] = {
        T(harmInAnyText_endsTheChoice_andNothingOfItGoesOut),
        T(everyText_passesWhole_inItsOrder),
        T(longText_isOutBeforeWhatFollows),
        T(calls_thatTakeTurns_goOn),
        T(harm_isSeen_whateverComesBetween),
        T(personalData_isSeen_whateverComesBetween),
        T(escapes_goOn_whateverComesBetween),
        T(nothing_comesBehindTheEnd_ofABlockedName),
        T(callsOfOtherServers_areWhole),
        T(nameAndId_areSaidOnce_thoughTheServerRepeatsThem),
        T(signatures_pass_andNoText),
        T(chunks_sayTheSameOfTheServer),
        T(nameOfACall_isText_unlessTheClientGaveIt),
        T(whatIsNotKnown_doesNotGetThrough),
        T(choices_areJudgedEach),
        T(manyBlockedChoices_areOneCase),
        T(tooManyCalls_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
