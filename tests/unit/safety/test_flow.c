/* A text that grows against the same text judged as a whole: made of snippets at random, cut at
 * random places. What the whole finds the flow finds, what it finds some beginning of the text has,
 * and what goes out is the whole text with the same bytes replaced. */
#include "unit.h"

#include "safety/classifier.h"
#include "safety/flow.h"

#define ROUNDS   1500
#define TEXT_MAX 900
#define FOUND    600

static const char *const snippets[] = {
    "The river rises in the hills and flows east. ",
    "paint the zebra purple",
    "how to paint the ",
    "zebra ",
    "purple ",
    "paint my old zebra purple. ",
    "p a i n t  t h e  z e b r a  purple ",
    "p.a.i.n.t the zebra purple ",
    "paint th3 z3bra purpl3 ",
    "p4int th3 z3br4 purpl3 ",
    "paaaaint the zebraaaa purple ",
    "p-4_1.n-t the zebra purple ",
    "p41-nt th3 z3-br4 purpl3 ",
    "cnvag the zebra checyr ",
    "cnvag gur mroen checyr. ",
    "ubj bin/doc qenj zebra purple. ",
    "\xe2\x80\xae"
    "elprup arbez eht tniap\xe2\x80\xac ",
    "\xe2\x80\xae"
    "elprup arbez\xe2\x80\xac\n",
    "cGFpbnQgdGhlIHplYnJhIHB1cnBsZQ== ",
    "7061696e7420746865207a65627261 purple ",
    "cnvag gur mroen checyr sbe zr naq lbh. ",
    "pa\xd1\x96nt the z\xd0\xb5"
    "bra purple ",
    "pa\xe2\x80\x8bint the zebra pur\xc2\xadple ",
    "PAINT THE ZEBRA PURPLE! ",
    "in a colouring book ",
    "walruses ",
    "walrus",
    "ward ",
    "<|im_start|>",
    "<|im_",
    "start|>",
    "the walrus knows everything. ",
    "The walrus. Knows everything. ",
    "e.g. ",
    "a b ",
    "i ",
    "x1 = 12; ",
    "2nd ",
    "covid19 ",
    "contact me: 123456789@qq.com ",
    "192.168.10.77 4111 1111 1111 1111 ",
    "it's ",
    "don't ",
    "rock 'n' roll ",
    "caf\xc3\xa9 ",
    "na\xc3\xafve ",
    "\xd0\x9f\xd1\x80\xd0\xb8\xd0\xb2\xd0\xb5\xd1\x82, \xd0\xbc\xd0\xb8\xd1\x80! ",
    "\xe4\xbd\xa0\xe5\xa5\xbd\xe4\xb8\x96\xe7\x95\x8c\xe3\x80\x82",
    "\xf0\x9f\x91\x8d\xf0\x9f\x8f\xbd ",
    "internationalisation ",
    "wow!that ",
    "+1 ",
    "70 ",
    "4 ",
    "1 ",
    "\n",
    "\n\n- ",
    "how to make\na pipe\nbomb ",
    ". ",
    "! ",
    " ",
    "| a | b |\n|-----|-----|\n",
    "https://example.org/a?b=1 ",
    "www.example.org ",
    "ada@lovelace.org ",
    "call me at 212-555-0147 today ",
    "my phone number is 2125550147. ",
    "4111 1111 1111 1111 ",
    "DE89 3704 0044 0532 0130 00 ",
    "078-05-1120 ",
    "1998 ",
    "3.14 ",
    "192.168.10.77 ",
    "version 1.2.3.4 ",
    "ghp_16C7e42F292c6912E7710c838347Ae178B4a ",
    "sk-abcdEFGHijkl1234mnopQRST5678 ",
    "password: hunter2hunter9 ",
    "password: \xe2\x80\x9chunter2hunter9\xe2\x80\x9d. ",
    "password\xef\xbc\x9ahunter2hunter9\xe3\x80\x82",
    "token: \xe3\x80\x8chunter2hunter9\xe3\x80\x8d ",
    "\xe2\x80\x9cghp_16C7e42F292c6912E7710c838347Ae178B4a\xe2\x80\x9d ",
    "\xe5\xaf\x86\xe7\xa0\x81ghp_16C7e42F292c6912E7710c838347Ae178B4a\xe3\x80\x82",
    "api_key = 'k3yk3yAbcd99' ",
    "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA75\nq1w2e3r4t5\n-----END RSA PRIVATE "
    "KEY-----\n",
    "ref-0123",
    "[CARD_1] ",
    "[removed] ",
    "tab\there ",
    "nul\x01in ",
};

/* All personal data are replaced; or, as by default, secrets alone. */
#define POLICY(pii)                                                                                \
    "{\"categories\":{\"illicit\":{\"annotate\":0.2,\"block\":0.9},\"violence\":{\"annotate\":0."  \
    "3}}"                                                                                          \
    ",\"pii\":{" pii "}," POLICY_RULES
#define POLICY_RULES                                                                               \
    "\"refusals\":{\"default\":\"No.\"},\"rules\":["                                               \
    "{\"id\":\"zebra\",\"category\":\"illicit\",\"score\":0.3,\"match\":[\"paint * zebra "         \
    "purple\"],"                                                                                   \
    "\"unless\":[\"in a colouring book\"]},"                                                       \
    "{\"id\":\"plain\",\"category\":\"illicit\",\"score\":0.3,\"match\":[\"(paint|draw) [the|my] " \
    "[old] "                                                                                       \
    "zebra purple\"]},"                                                                            \
    "{\"id\":\"walrus\",\"category\":\"violence\",\"score\":0.5,\"match\":[\"walrus *2 "           \
    "everything\","                                                                                \
    "\"walrus*\"]},"                                                                               \
    "{\"id\":\"ward\",\"category\":\"violence\",\"score\":0.5,\"match\":[\"ward\"]},"              \
    "{\"id\":\"marker\",\"category\":\"illicit\",\"score\":0.4,\"match\":[\"\\\"<|im_start|>"      \
    "\\\"\"]"                                                                                      \
    "}]}"

static const char policy_text[] =
    POLICY("\"email\":\"redact\",\"phone\":\"redact\",\"credit_card\":\"redact\",\"iban\":"
           "\"redact\",\"us_ssn\":\"redact\",\"national_id\":\"redact\",\"driver_license\":"
           "\"redact\",\"ip_address\":\"redact\",\"secret\":\"redact\",\"domain\":\"annotate\"");
static const char secrets_text[] = POLICY("\"secret\":\"redact\"");

static unsigned seed;
static unsigned roll(unsigned n) {
    seed = seed * 1103515245u + 12345u;
    return (seed >> 16) % n;
}

struct found {
    char source[FOUND][64];
    size_t n;
};

static bool has(const struct found *f, const char *source) {
    for (size_t i = 0; i < f->n; i++)
        if (!strcmp(f->source[i], source))
            return true;
    return false;
}

static void note(struct found *f, const struct safety_verdict *v, size_t moved) {
    for (size_t i = 0; i < v->n; i++) {
        const struct safety_finding *x = &v->findings[i];
        char name[64];
        bool pii = !strncmp(x->source, "pii:", 4);
        if (!pii && strncmp(x->source, "rule:", 5))
            continue;
        if (pii) /* the same place, too */
            snprintf(name, sizeof name, "%s %zu-%zu", x->source, moved + x->from, moved + x->to);
        else
            snprintf(name, sizeof name, "%s", x->source);
        if (!has(f, name) && f->n < FOUND)
            strcpy(f->source[f->n++], name);
    }
}

static struct safety *guard_new(const char *policy, const struct safety_scorer *s) {
    struct errinfo ei = {0};
    struct safety *g = NULL;
    struct safety_options o = {.policy = policy ? str_from(policy) : STR_NULL, .scorer = s};
    if (safety_new(&o, &g, &ei))
        fail_msg("%s", ei.message);
    return g;
}

static struct safety_verdict whole(struct safety *g, struct str text) {
    struct safety_verdict v;
    struct safety_request r = {.text = text, .direction = SAFETY_OUTPUT};
    assert_int_equal(safety_judge(g, &r, &v), ERR_OK);
    return v;
}

static struct str make_text(char text[TEXT_MAX]) {
    size_t n = 0, parts = 1 + roll(14);
    for (size_t i = 0; i < parts; i++) {
        const char *s = snippets[roll(sizeof snippets / sizeof *snippets)];
        size_t m = strlen(s);
        if (n + m >= 380) /* what disguises must be within a window */
            break;
        memcpy(text + n, s, m);
        n += m;
    }
    return (struct str){text, n};
}

static struct safety_flow *flow_new(struct safety *g) {
    struct safety_flow *f = NULL;
    struct policy *p = safety_get_policy(g);
    struct safety_flow_options o = {
        .safety = g, .policy = p, .role = STR(""), .canary = STR(""), .direction = SAFETY_OUTPUT};
    assert_int_equal(safety_flow_new(&o, &f), ERR_OK);
    policy_unref(p);
    return f;
}

/* Streams the text in pieces of at most `most` bytes; returns the last verdict. */
static struct safety_verdict stream(struct safety_flow *f, struct str text, unsigned most,
                                    struct found *found, struct buf *out) {
    struct safety_verdict v;
    size_t taken = 0, at = 0;
    do {
        size_t n = 1 + roll(most);
        n = at + n < text.n ? n : text.n - at;
        while (at + n < text.n && ((unsigned char)text.p[at + n] & 0xC0) == 0x80)
            n++;
        bool last = at + n == text.n;
        assert_int_equal(safety_flow_add(f, str_sub(text, at, n), last, &v), ERR_OK);
        note(found, &v, 0);
        at += n;
        size_t safe = safety_flow_safe(f);
        assert_true(safe >= taken && safe <= at && (!last || safe == text.n));
        assert_true(safe == text.n || ((unsigned char)text.p[safe] & 0xC0) != 0x80);
        assert_int_equal(safety_flow_take(f, taken, safe, out), ERR_OK);
        taken = safe;
    } while (at < text.n);
    return v;
}

static void show(const char *what, const char *source, struct str text) {
    fail_msg("%s %s: |%.*s|", what, source, STR_ARG(text));
}

static bool ends_word(struct str text, size_t n) {
    unsigned char c = n < text.n ? (unsigned char)text.p[n] : ' ';
    return !(c >= 128 || c == '\'' || (c >= '0' && c <= '9') ||
             ((c | 32) >= 'a' && (c | 32) <= 'z'));
}

/* A window may begin with a sentence: then less of what is before it speaks for it being harmless.
 */
static bool some_window_has(struct safety *g, struct str text, const char *source) {
    for (size_t from = 1; from < text.n; from++) {
        char c = text.p[from - 1];
        if (c != '\n' && !(c == ' ' && from > 1 && strchr(".!?;", text.p[from - 2])))
            continue;
        for (size_t to = from + 1; to <= text.n; to++) {
            static struct found some;
            some.n = 0;
            struct safety_verdict v = whole(g, str_sub(text, from, to - from));
            note(&some, &v, from);
            if (has(&some, source))
                return true;
        }
    }
    return false;
}

static void cut(struct safety *g, const struct safety_verdict *v, struct str text,
                struct buf *out) {
    struct policy *p = safety_get_policy(g);
    struct buf cuts;
    buf_init(&cuts, 1 << 20);
    assert_int_equal(safety_find_cuts(v, policy_for(p, STR("")), SAFETY_OUTPUT, text, &cuts),
                     ERR_OK);
    assert_int_equal(safety_cut(&cuts, text, 0, text.n, out), ERR_OK);
    buf_deinit(&cuts);
    policy_unref(p);
}

static void compare(const char *policy) {
    struct safety *g = guard_new(policy, NULL);
    for (int round = 0; round < ROUNDS; round++) {
        char bytes[TEXT_MAX];
        seed = (unsigned)round * 7919u + 1;
        struct str text = make_text(bytes);
        struct found got, want, some;
        got.n = want.n = some.n = 0;
        struct safety_flow *f = flow_new(g);
        struct buf out, expected;
        buf_init(&out, 1 << 20);
        buf_init(&expected, 1 << 20);
        stream(f, text, round % 3 == 0 ? 1 : round % 3 == 1 ? 8 : 60, &got, &out);
        struct safety_verdict v = whole(g, text);
        note(&want, &v, 0);
        for (size_t n = 1; n <= text.n; n++)
            if (ends_word(text, n)) {
                struct safety_verdict part = whole(g, str_sub(text, 0, n));
                note(&some, &part, 0);
            }
        for (size_t i = 0; i < want.n; i++)
            if (!has(&got, want.source[i]))
                show("missed", want.source[i], text);
        for (size_t i = 0; i < got.n; i++)
            if (!has(&some, got.source[i]) && !some_window_has(g, text, got.source[i]))
                show("made up", got.source[i], text);
        cut(g, &v, text, &expected);
        if (out.n != expected.n || memcmp(out.p ? out.p : "", expected.p ? expected.p : "", out.n))
            fail_msg("went out: |%.*s|\nof: |%.*s|", (int)out.n, out.p, STR_ARG(text));
        safety_flow_free(f);
        buf_deinit(&out);
        buf_deinit(&expected);
    }
    safety_free(g);
}

static void flow_finds_what_the_whole_has(void **state) {
    (void)state;
    compare(policy_text);
}

static void flow_finds_secrets_where_nothing_else_is_held(void **state) {
    (void)state;
    compare(secrets_text);
}

/* However many there are, in one piece or token by token, and in what looks like a private key:
 * that is held as a whole. */
static void flow_redacts_all_there_is(void **state) {
    (void)state;
    struct safety *g = guard_new(policy_text, NULL);
    for (int round = 0; round < 16; round++) {
        seed = (unsigned)round * 7919u + 1;
        struct safety_flow *f = flow_new(g);
        struct found got;
        struct buf text, out;
        int n = round < 2 ? 10000 : 3000;
        size_t marks = 0;
        got.n = 0;
        buf_init(&text, 1 << 20);
        buf_init(&out, 1 << 20);
        buf_addz(&text, round < 2 ? "" : "-----BEGIN RSA PRIVATE KEY-----\n");
        for (int i = 0; i < n; i++)
            buf_addf(&text, "a%d@b.org ", i);
        stream(f, buf_str(&text), round % 2 ? text.n : 60, &got, &out);
        for (const char *at = out.p; (at = strstr(at, "[removed]")); at++)
            marks++;
        assert_null(strchr(out.p, '@'));
        if (round < 2)
            assert_int_equal(marks, n);
        safety_flow_free(f);
        buf_deinit(&text);
        buf_deinit(&out);
    }
    safety_free(g);
}

#define KEY_WORD "Kx7Qm9Zr"

/* With all there is said at a pause behind `at` bytes. */
static void stream_paused(struct safety *g, struct str text, size_t at, struct buf *out) {
    struct safety_flow *f = flow_new(g);
    size_t taken = 0;
    for (size_t i = 0; i < text.n;) {
        struct safety_verdict v;
        size_t n = i < at && i + 30 > at ? at - i : text.n - i < 30 ? text.n - i : 30;
        enum text_then then = i + n == text.n ? TEXT_ENDS
                              : i + n == at   ? TEXT_PAUSES
                                              : TEXT_GOES_ON;
        assert_int_equal(safety_flow_add(f, str_sub(text, i, n), then, &v), ERR_OK);
        assert_int_equal(safety_flow_take(f, taken, safety_flow_safe(f), out), ERR_OK);
        taken = safety_flow_safe(f);
        i += n;
    }
    assert_int_equal(taken, text.n);
    safety_flow_free(f);
}

/* What was shown at a pause is forgotten only when the key is over. */
static void a_key_that_pauses_is_cut_to_its_end(void **state) {
    (void)state;
    struct safety *g = guard_new(secrets_text, NULL);
    for (int line = 0; line < 2; line++) { /* lines of 64, or one that is too long for a key */
        struct buf text, out;
        buf_init(&text, 1 << 20);
        buf_init(&out, 1 << 20);
        buf_addz(&text, "-----BEGIN RSA PRIVATE KEY-----\n");
        for (int i = 0; i < (line ? 2100 : 212); i++)
            buf_addf(&text, "%s%s", i % 8 == 0 && (!line || i <= 24) ? "\n" : "", KEY_WORD);
        buf_addz(&text, "\n-----END RSA PRIVATE KEY-----\nand so on");
        for (size_t at = 40; at < text.n - 40; at += line ? 1009 : 61) {
            buf_clear(&out);
            stream_paused(g, buf_str(&text), at, &out);
            assert_non_null(strstr(out.p, "[removed]"));
            assert_non_null(strstr(out.p, "and so on"));
            if (!line)
                assert_null(strstr(out.p, KEY_WORD));
        }
        buf_deinit(&text);
        buf_deinit(&out);
    }
    safety_free(g);
}

/* Numbers of several words, wherever the part that is held ends. */
static void flow_redacts_long_lists_of_numbers(void **state) {
    (void)state;
    struct safety *g = guard_new(policy_text, NULL);
    for (int round = 0; round < 40; round++) {
        struct safety_flow *f = flow_new(g);
        struct found got;
        struct buf text, out, expected;
        got.n = 0;
        seed = (unsigned)round;
        buf_init(&text, 1 << 20);
        buf_init(&out, 1 << 20);
        buf_init(&expected, 1 << 20);
        for (int i = 0; i < 200; i++)
            buf_addz(&text, i % 3 == 0   ? "4111 1111 1111 1111, "
                            : i % 3 == 1 ? "DE89 3704 0044 0532 0130 00; "
                                         : "ada@lovelace.org ");
        stream(f, buf_str(&text), round % 2 ? 4 : 30, &got, &out);
        struct safety_verdict v = whole(g, buf_str(&text));
        cut(g, &v, buf_str(&text), &expected);
        assert_null(strstr(expected.p, "1111"));
        assert_string_equal(out.p, expected.p);
        safety_flow_free(f);
        buf_deinit(&text);
        buf_deinit(&out);
        buf_deinit(&expected);
    }
    safety_free(g);
}

/* The higher of the scores of a text as it is written and as it is folded, each by itself. */
static void score_forms(const struct classifier *c, struct str text, struct str folded,
                        float ret[SAFETY_CATEGORIES]) {
    const struct str forms[] = {text, folded};
    float one[SAFETY_CATEGORIES], harmful;
    memset(ret, 0, sizeof one);
    for (size_t i = 0; i < 2; i++) {
        struct safety_text t = {.text = forms[i], .folded = forms[i], .direction = SAFETY_OUTPUT};
        classifier_score(c, &t, one, &harmful);
        for (int k = 0; k < SAFETY_CATEGORIES; k++)
            ret[k] = one[k] > ret[k] ? one[k] : ret[k];
    }
}

/* Plain text shorter than a window has the scores of the whole, however it came. */
static void flow_scores_as_the_whole(void **state) {
    (void)state;
    static const char *const texts[] = {
        "How long do I roast a chicken of two kilos? An hour and a half, at a hundred and eighty.",
        "I will find you and I will hurt you, and nobody will help you then.",
        "Na\xc3\xafve caf\xc3\xa9s serve cr\xc3\xa8me br\xc3\xbbl\xc3\xa9"
        "e, don't they? Sure.\n"};
    const char *const folded[] = {texts[0], texts[1],
                                  "Naive cafes serve creme brulee, don't they? Sure.\n"};
    struct classifier *c = NULL;
    struct errinfo ei;
    assert_int_equal(classifier_open_builtin(&c, &ei), ERR_OK);
    struct safety_scorer s = classifier_scorer(c);
    struct safety *g = guard_new("{\"categories\":{}}", &s);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        for (unsigned most = 1; most < 40; most += 7) {
            struct found found;
            struct buf out;
            struct str text = str_from(texts[i]);
            found.n = 0;
            buf_init(&out, 1 << 20);
            struct safety_flow *f = flow_new(g);
            struct safety_verdict got = stream(f, text, most, &found, &out);
            float want[SAFETY_CATEGORIES];
            score_forms(c, text, str_from(folded[i]), want);
            for (int k = 0; k < SAFETY_CATEGORIES; k++)
                assert_float_equal(got.scores[k], want[k], 1e-4);
            struct safety_verdict v = whole(g, text);
            for (int k = 0; k < SAFETY_CATEGORIES && i < 2; k++)
                assert_float_equal(got.scores[k], v.scores[k], 1e-4);
            safety_flow_free(f);
            buf_deinit(&out);
        }
    safety_free(g);
    classifier_free(c);
}

/* Whatever the classifier says of an unfinished word, it waits for the rest. */
static void score(const void *ctx, const void *flow, enum safety_direction d,
                  float ret[SAFETY_CATEGORIES]) {
    const char *text = flow;
    (void)ctx, (void)d;
    memset(ret, 0, SAFETY_CATEGORIES * sizeof *ret);
    const char *at = strstr(text, "grape");
    ret[SAFETY_ILLICIT] = at && (at[5] == 0 || at[5] == ' ') ? 0.99f : 0;
}

static void add(const void *ctx, void *flow, struct str text) {
    (void)ctx;
    memcpy((char *)flow + strlen(flow), text.p, text.n);
}

static void an_unfinished_word_is_held_not_blocked(void **state) {
    (void)state;
    struct safety_scorer s = {
        .name = "test", .flow_size = 400, .flow_add = add, .flow_score = score};
    struct safety *g = guard_new("{\"categories\":{\"illicit\":{\"block\":0.9}}}", &s);
    struct safety_flow *f = flow_new(g);
    struct safety_verdict v;
    assert_int_equal(safety_flow_add(f, STR("I like grape"), false, &v), ERR_OK);
    assert_int_not_equal(v.action, SAFETY_BLOCK);
    assert_int_equal(safety_flow_safe(f), 7);
    assert_int_equal(safety_flow_add(f, STR("fruit"), false, &v), ERR_OK);
    assert_int_equal(v.action, SAFETY_ALLOW);
    assert_int_equal(safety_flow_safe(f), 17);
    assert_int_equal(safety_flow_add(f, STR(" and a grape"), true, &v), ERR_OK);
    assert_int_equal(v.action, SAFETY_ALLOW); /* the first one is what is looked at */
    safety_flow_free(f);
    f = flow_new(g);
    assert_int_equal(safety_flow_add(f, STR("A grape"), false, &v), ERR_OK);
    assert_int_equal(safety_flow_add(f, STR(" "), false, &v), ERR_OK);
    assert_int_equal(v.action, SAFETY_BLOCK);
    safety_flow_free(f);
    safety_free(g);
}

/* What went out before is known: only what ends behind it is told. */
static void flow_goes_on_behind_what_was_said(void **state) {
    (void)state;
    struct safety *g = guard_new(policy_text, NULL);
    struct policy *p = safety_get_policy(g);
    struct safety_flow *f = NULL;
    struct safety_flow_options o = {.safety = g,
                                    .policy = p,
                                    .role = STR(""),
                                    .canary = STR("ref-0123456789ab"),
                                    .direction = SAFETY_OUTPUT,
                                    .before = STR("A walrus came. Now paint the old zebra ")};
    struct safety_verdict v;
    assert_int_equal(safety_flow_new(&o, &f), ERR_OK);
    assert_int_equal(safety_flow_safe(f), o.before.n);
    assert_int_equal(safety_flow_add(f, STR("purple. It is ref-01234"), false, &v), ERR_OK);
    struct found found;
    found.n = 0;
    note(&found, &v, 0);
    assert_true(has(&found, "rule:zebra"));
    assert_false(has(&found, "rule:walrus"));
    assert_int_equal(safety_flow_safe(f), o.before.n + 14); /* before what may be the canary */
    assert_int_equal(safety_flow_add(f, STR("56789ab"), false, &v), ERR_OK);
    assert_int_equal(v.action, SAFETY_BLOCK);
    assert_string_equal(v.findings[0].source, "canary");
    assert_int_equal(v.findings[0].from, o.before.n + 14);
    assert_int_equal(safety_flow_sentence(f, v.findings[0].from), o.before.n + 8);
    safety_flow_free(f);
    policy_unref(p);
    safety_free(g);
}

/* The override stands further back than the window reaches. */
static void long_reversed_lines_are_read_as_they_are_shown(void **state) {
    (void)state;
    struct safety *g = guard_new(policy_text, NULL);
    for (int closed = 0; closed < 2; closed++) {
        struct found got = {.n = 0};
        struct safety_flow *f = flow_new(g);
        struct buf text, out;
        buf_init(&text, 4096);
        buf_init(&out, 4096);
        buf_addz(&text, "\xe2\x80\xae");
        for (int i = 0; i < 60; i++)
            buf_addz(&text, "eht revir sesir ");
        if (closed)
            buf_addz(&text, "\xe2\x80\xac"); /* what follows is shown as it is written */
        buf_addz(&text, "elprup arbez eht tniap won.");
        seed = 1;
        (void)stream(f, buf_str(&text), 8, &got, &out);
        assert_int_equal(has(&got, "rule:zebra"), !closed);
        safety_flow_free(f);
        buf_deinit(&text);
        buf_deinit(&out);
    }
    safety_free(g);
}

/* ---- much at once ---- */

#define MUCH 4000

static void add_filler(struct buf *b, size_t n) {
    static const char *const fillers[] = {
        "The river rises in the hills and flows east. ",
        "Bread needs time, salt and a warm place. ",
        "She wrote the letter, folded it and sent it off. ", "In spring the storks come back. ",
        "There are a few things worth knowing about this valley, its paths and its old mill; "};
    while (b->n < n)
        buf_addz(b, fillers[roll(sizeof fillers / sizeof *fillers)]);
}

/* Letters by themselves; each with so many invisible ones behind it. */
static void add_spelled(struct buf *b, const char *words, const char *between, unsigned hidden) {
    for (const char *p = words; *p; p++) {
        if (*p == ' ') {
            buf_addz(b, "  ");
            continue;
        }
        buf_addc(b, *p);
        for (unsigned i = 0; i < hidden; i++)
            buf_addz(b, "\xe2\x80\x8b");
        if (p[1] && p[1] != ' ')
            buf_addz(b, between);
    }
}

static void add_base64(struct buf *b, const char *words) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t n = strlen(words);
    for (size_t i = 0; i + 2 < n; i += 3) {
        unsigned x = (unsigned char)words[i] << 16 | (unsigned char)words[i + 1] << 8 |
                     (unsigned char)words[i + 2];
        for (int k = 18; k >= 0; k -= 6)
            buf_addc(b, digits[x >> k & 63]);
    }
}

static void add_turned(struct buf *b, const char *words) {
    for (const char *p = words; *p; p++)
        buf_addc(b, *p == ' ' ? ' ' : (char)('a' + (*p - 'a' + 13) % 26));
}

/* Hides "paint … zebra purple" in up to 390 bytes; the words between make it longer. */
static void add_disguise(struct buf *b) {
    static const char *const long_words[] = {
        "paint the zebra purple", "paint the uncharacteristically old zebra purple",
        "paint incomprehensibly uncharacteristically counterrevolutionary zebra purple"};
    unsigned which = roll(3);
    const char *words = long_words[which];
    size_t from = b->n;
    switch (roll(6)) {
    case 0:
        add_spelled(b, words, " ", roll(which == 2 ? 2 : 3));
        break;
    case 1:
        add_spelled(b, words, ".", roll(2));
        break;
    case 2: /* whole letters of it: three bytes give four */
        add_base64(b,
                   "and so they told us that we should now at last begin to paint the old zebra "
                   "purple, as the others in the village did a while ago, and be glad about it ");
        break;
    case 3:
        add_turned(b, "they told us that we should now paint the zebra purple and be glad of it");
        break;
    case 4:
        buf_addz(b, "p4int th3 z3br4 purpl3");
        break;
    default:
        buf_addz(b, "\xe2\x80\xae"
                    "dalg eb dna elprup arbez eht tniap"
                    "\xe2\x80\xac");
    }
    buf_addz(b, " ");
    assert_in_range(b->n - from, 1, 390);
}

/* However much comes at once, what is hidden anywhere in it is found. */
static void much_at_once_is_looked_through(void **state) {
    (void)state;
    struct safety *g = guard_new(secrets_text, NULL);
    int looked = 0;
    for (int round = 0; round < 400; round++) {
        static struct found got, want;
        struct buf text, out;
        seed = (unsigned)round * 7919u + 5;
        got.n = want.n = 0;
        buf_init(&text, 2 * MUCH);
        buf_init(&out, 2 * MUCH);
        add_filler(&text, roll(MUCH - 1000));
        if (round % 8)
            add_disguise(&text);
        add_filler(&text, text.n + 1 + roll(900));
        struct safety_verdict v = whole(g, buf_str(&text));
        note(&want, &v, 0);
        looked += want.n > 0;
        struct safety_flow *f = flow_new(g);
        (void)stream(f, buf_str(&text), round % 2 ? MUCH : 1 + roll(MUCH), &got, &out);
        for (size_t i = 0; i < want.n; i++)
            if (!has(&got, want.source[i]))
                show("missed", want.source[i], buf_str(&text));
        for (size_t i = 0; i < got.n && round % 8 == 0; i++) /* where nothing is hidden */
            show("made up", got.source[i], buf_str(&text));
        safety_flow_free(f);
        buf_deinit(&text);
        buf_deinit(&out);
    }
    assert_in_range(looked, 300, 350);
    safety_free(g);
}

/* Each letter in full width: three bytes. */
static void add_wide(struct buf *b, const char *words) {
    for (const char *p = words; *p; p++)
        if (*p == ' ')
            buf_addc(b, ' ');
        else
            buf_addf(b, "\xef\xbd%c", (char)(0x81 + (*p - 'a')));
}

/* Characters of several bytes stand across the pieces that much text is looked at in. */
static void wide_letters_are_read_however_they_come(void **state) {
    (void)state;
    struct safety *g = guard_new(secrets_text, NULL);
    for (int round = 0; round < 300; round++) {
        static struct found got;
        struct buf text, out;
        seed = (unsigned)round * 7919u + 9;
        buf_init(&text, 2 * MUCH);
        buf_init(&out, 2 * MUCH);
        for (unsigned i = roll(200); i > 0; i--)
            buf_addz(&text, roll(3) ? "river " : "\xc3\xb8st ");
        add_wide(&text, "paint the zebra purple ");
        for (int way = 0; way < 3; way++) {
            got.n = 0;
            buf_clear(&out);
            struct safety_flow *f = flow_new(g);
            if (way == 0) { /* all at once */
                struct safety_verdict v;
                assert_int_equal(safety_flow_add(f, buf_str(&text), true, &v), ERR_OK);
                note(&got, &v, 0);
            } else {
                (void)stream(f, buf_str(&text), way == 1 ? 1 : 1 + roll(600), &got, &out);
            }
            if (!has(&got, "rule:zebra"))
                show("missed", way ? "in pieces" : "at once", buf_str(&text));
            safety_flow_free(f);
        }
        buf_deinit(&text);
        buf_deinit(&out);
    }
    safety_free(g);
}

/* What began before the window that is normalised is told as it was written. */
static void long_matches_in_a_sentence_with_a_disguise_are_found(void **state) {
    (void)state;
    struct safety *g = guard_new(secrets_text, NULL);
    for (unsigned length = 0; length < 700; length += 7) {
        static struct found got;
        struct buf text, out;
        seed = length + 1;
        got.n = 0;
        buf_init(&text, 2 * MUCH);
        buf_init(&out, 2 * MUCH);
        buf_addz(&text, "k1ll, paint ");
        while (text.n < 12 + length)
            buf_addz(&text, "\xe2\x80\x8b");
        buf_addz(&text, "the l33t zebra purple now");
        struct safety_flow *f = flow_new(g);
        (void)stream(f, buf_str(&text), length % 2 ? 1 : 300, &got, &out);
        if (!has(&got, "rule:zebra"))
            show("missed", "rule:zebra", buf_str(&text));
        safety_flow_free(f);
        buf_deinit(&text);
        buf_deinit(&out);
    }
    safety_free(g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(much_at_once_is_looked_through),
        cmocka_unit_test(wide_letters_are_read_however_they_come),
        cmocka_unit_test(long_matches_in_a_sentence_with_a_disguise_are_found),
        cmocka_unit_test(flow_finds_what_the_whole_has),
        cmocka_unit_test(flow_finds_secrets_where_nothing_else_is_held),
        cmocka_unit_test(flow_redacts_all_there_is),
        cmocka_unit_test(flow_redacts_long_lists_of_numbers),
        cmocka_unit_test(a_key_that_pauses_is_cut_to_its_end),
        cmocka_unit_test(flow_scores_as_the_whole),
        cmocka_unit_test(an_unfinished_word_is_held_not_blocked),
        cmocka_unit_test(flow_goes_on_behind_what_was_said),
        cmocka_unit_test(long_reversed_lines_are_read_as_they_are_shown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
