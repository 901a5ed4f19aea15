/* Whole answers of the compatible API: every text in them is judged, and what is left is an answer
 * of the same form. */
#include "unit/api/guard_requests.h"

#define HELLO "{\"model\":\"tiny\",\"messages\":[{\"role\":\"user\",\"content\":\"Hello?\"}],%s}"
#define TOOL  "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"the_walrus_knows\"}}]"
#define WHOLE(message)                                                                             \
    "{\"id\":\"c1\",\"object\":\"chat.completion\",\"created\":1,\"model\":\"tiny\",\"choices\":"  \
    "[{\"index\":0,\"message\":" message ",\"logprobs\":{\"content\":[{\"token\":\"tok\"}]},"      \
    "\"finish_reason\":\"stop\"}]}"

static struct reply answered(const char *whole, const char *more) {
    char body[1000];
    fx.script.whole = whole;
    snprintf(body, sizeof body, HELLO, more);
    struct reply r = post_chat(body);
    expect(r, 200);
    return r;
}

static void harmInAnyText_blocksTheChoice(void **state) {
    (void)state;
    static const char *const forms[] = {
        "{\"content\":\"%s\"}",
        "{\"content\":null,\"reasoning_content\":\"%s\"}",
        "{\"content\":\"Hello\",\"reasoning\":\"%s\"}",
        "{\"content\":null,\"refusal\":\"%s\"}",
        "{\"content\":null,\"audio\":{\"id\":\"a\",\"data\":\"AAAA\",\"transcript\":\"%s\"}}",
        "{\"content\":null,\"function_call\":{\"name\":\"f\",\"arguments\":\"{\\\"a\\\":\\\"%s\\\"}"
        "\"}}",
        "{\"content\":null,\"tool_calls\":[{\"id\":\"t\",\"type\":\"function\",\"function\":"
        "{\"name\":\"f\",\"arguments\":\"{\\\"a\\\":[\\\"%s\\\"]}\"}}]}",
        "{\"content\":null,\"tool_calls\":[{\"id\":\"t\",\"type\":\"function\",\"function\":"
        "{\"name\":\"%s\",\"arguments\":\"{}\"}}]}",
        "{\"content\":null,\"tool_calls\":[{\"id\":\"t\",\"type\":\"custom\",\"custom\":"
        "{\"name\":\"f\",\"input\":\"%s\"}}]}",
        "{\"content\":[{\"type\":\"text\",\"text\":\"%s\"}]}",
        "{\"content\":\"Hello\",\"reasoning_details\":[{\"text\":\"%s\"}]}",
        "{\"content\":\"Hello\",\"annotations\":[{\"type\":\"url_citation\",\"url_citation\":"
        "{\"title\":\"%s\",\"url\":\"https://a.org\"}}]}",
    };
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        char message[600], whole[1000];
        snprintf(message, sizeof message, forms[i], "You paint the zebra pur\\u0070le.");
        if (strstr(forms[i], "\\\"")) /* escaped twice */
            snprintf(message, sizeof message, forms[i], "You paint the zebra pur\\\\u0070le.");
        snprintf(whole, sizeof whole, WHOLE("%s"), message);
        struct reply r = answered(whole, TOOL);
        assert_non_null(strstr(r.body, "{\"index\":0,\"message\":{\"role\":\"assistant\","
                                       "\"content\":\"No.\"},\"logprobs\":null,"
                                       "\"finish_reason\":\"content_filter\"}"));
        assert_null(strstr(r.body, "zebra"));
        assert_null(strstr(r.body, "AAAA"));
        reply_free(&r);
        assert_int_equal(cases(), i + 1);
    }
}

static void harmlessAnswer_isItself(void **state) {
    (void)state;
    static const char whole[] = WHOLE(
        "{\"role\":\"assistant\",\"content\":\"Hi\",\"reasoning_content\":\"Hm\",\"refusal\":null,"
        "\"annotations\":[{\"url\":\"https://a.org\"}],\"tool_calls\":[{\"id\":\"t\",\"type\":"
        "\"function\",\"function\":{\"name\":\"the_walrus_knows\",\"arguments\":\"{ "
        "\\\"n\\\": "
        "[1, 2] }\"}}]}");
    struct reply r = answered(whole, TOOL);
    assert_string_equal(r.body, whole);
    reply_free(&r);
    assert_int_equal(cases(), 0);
}

/* What is replaced, and what has its value again, in the calls of tools, too. */
static void redactedAnswer_keepsItsForm(void **state) {
    (void)state;
    static const char mail[] = "\"messages\":[{\"role\":\"user\",\"content\":\"I am ada@b.org\"}]";
    static const char whole[] = WHOLE(
        "{\"content\":\"Ask bob@b.org\",\"audio\":{\"id\":\"a\",\"data\":\"AAAA\","
        "\"transcript\":\"Ask bob@b.org\"},\"tool_calls\":[{\"id\":\"t\",\"type\":\"function\","
        "\"function\":{\"name\":\"f\",\"arguments\":\"{\\\"to\\\": \\\"[EMAIL_1]\\\", "
        "\\\"cc\\\": [\\\"bob\\\\u0040b.org\\\", 7]}\"}}]}");
    char body[400];
    snprintf(body, sizeof body, "{\"model\":\"tiny\",%s}", mail);
    fx.script.whole = whole;
    struct reply r = post_chat(body);
    expect(r, 200);
    assert_non_null(strstr(fx.script.last_chat, "I am [EMAIL_1]"));
    assert_null(strstr(r.body, "bob"));
    assert_null(strstr(r.body, "tok"));  /* the tokens */
    assert_null(strstr(r.body, "AAAA")); /* the sound */
    assert_non_null(strstr(r.body, "\"content\":\"Ask [removed]\""));
    assert_non_null(strstr(r.body, "{\\\"to\\\": \\\"ada@b.org\\\", \\\"cc\\\": "
                                   "[\\\"[removed]\\\", 7]}"));
    reply_free(&r);
}

/* The 25th, the 100th and the 10,000th, too. */
static void redactedAnswer_isRedactedWhole(void **state) {
    (void)state;
    static const int numbers[] = {25, 100, 10000};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        struct buf text;
        size_t n = 0;
        buf_init(&text, 4 << 20);
        buf_addz(&text, "{\"id\":\"c1\",\"choices\":[{\"index\":0,\"message\":{\"content\":\"");
        for (int k = 0; k < numbers[i]; k++)
            buf_addf(&text, "a%d@b.org ", k);
        buf_addz(&text, "\"},\"finish_reason\":\"stop\"}]}");
        struct reply r = answered(text.p, TOOL);
        for (const char *at = r.body; (at = strstr(at, "[removed]")); at++)
            n++;
        assert_int_equal(n, numbers[i]);
        assert_null(strchr(r.body, '@'));
        reply_free(&r);
        buf_deinit(&text);
    }
}

/* Compact JSON of which each byte is a part by itself. */
static void manyNumbersInArguments_areKept(void **state) {
    (void)state;
    static const size_t numbers[] = {400, 10000};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        struct buf text;
        buf_init(&text, 1 << 20);
        buf_addz(&text, "{\"id\":\"c1\",\"choices\":[{\"index\":0,\"message\":{\"content\":null,"
                        "\"tool_calls\":[{\"id\":\"t\",\"type\":\"function\",\"function\":"
                        "{\"name\":\"f\",\"arguments\":\"{\\\"to\\\":\\\"a@b.org\\\",\\\"v\\\":[0");
        for (size_t k = 1; k < numbers[i]; k++)
            buf_addz(&text, k % 3 ? ",1" : ",0");
        buf_addz(&text, "]}\"}}]},\"finish_reason\":\"tool_calls\"}]}");
        struct reply r = answered(text.p, TOOL);
        size_t n = 0;
        for (const char *at = strstr(r.body, "\"v\\\":["); at && *at != ']'; at++)
            n += *at == '0' || *at == '1';
        assert_int_equal(n, numbers[i]);
        assert_non_null(strstr(r.body, "[removed]"));
        reply_free(&r);
        buf_deinit(&text);
    }
}

static void unknownMembers_thatCouldHoldAText_doNotGetThrough(void **state) {
    (void)state;
    struct reply r =
        answered("{\"id\":\"c1\",\"prompt_logprobs\":[{\"x\":\"Secretly.\"}],\"note\":\"Secretly."
                 "\",\"choices\":"
                 "[{\"index\":0,\"text\":\"Secretly.\",\"message\":{\"role\":\"Secretly. So.\","
                 "\"content\":\"Hi\"},\"finish_reason\":\"stop\"}],\"usage\":{\"total_tokens\":7}}",
                 TOOL);
    assert_null(strstr(r.body, "Secretly"));
    assert_non_null(strstr(r.body, "\"content\":\"Hi\""));
    assert_non_null(strstr(r.body, "\"total_tokens\":7"));
    reply_free(&r);
}

static enum err first_case(struct store_tx *tx, void *arg, struct errinfo *ei) {
    struct arena *a = arena_new(1 << 16);
    struct safety_case *list;
    struct page page = {.limit = 10};
    size_t n = 0;
    (void)ei;
    enum err e = case_list(tx, CASE_OPEN, &page, a, &list, &n);
    if (!e)
        snprintf(arg, 200, "%zu %.*s", n, STR_ARG(list[0].text));
    arena_free(a);
    return e;
}

/* A hundred blocked choices are one case, of the worst. */
static void manyBlockedChoices_areTheCaseOfTheWorst(void **state) {
    (void)state;
    struct buf text;
    struct errinfo ei;
    char found[200];
    int n = 0;
    buf_init(&text, 1 << 20);
    buf_addz(&text, "{\"id\":\"c1\",\"choices\":[");
    for (int i = 0; i < 100; i++)
        buf_addf(&text, "%s{\"index\":%d,\"message\":{\"content\":\"%s\"}}", i ? "," : "", i,
                 i == 70 ? "You paint the zebra purple." : "Sure, the walrus knows.");
    buf_addz(&text, "]}");
    struct reply r = answered(text.p, TOOL);
    for (const char *at = r.body; (at = strstr(at, "content_filter")); at++)
        n++;
    assert_int_equal(n, 100);
    reply_free(&r);
    assert_int_equal(cases(), 1);
    assert_int_equal(store_read_wait(fx.store, first_case, found, &ei), ERR_OK);
    assert_string_equal(found, "1 You paint the zebra purple.");
    buf_deinit(&text);
}

static int setup(void **state) {
    (void)state;
    guarded_start("\"email\":\"redact\"");
    return 0;
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, guarded_teardown)
int main(void) {
    const struct CMUnitTest tests[] = {
        T(harmInAnyText_blocksTheChoice),
        T(harmlessAnswer_isItself),
        T(redactedAnswer_keepsItsForm),
        T(redactedAnswer_isRedactedWhole),
        T(manyNumbersInArguments_areKept),
        T(unknownMembers_thatCouldHoldAText_doNotGetThrough),
        T(manyBlockedChoices_areTheCaseOfTheWorst),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
