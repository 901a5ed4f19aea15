/* Secrets. See secrets.h. Values that documentation uses as examples are no secrets. */
#include "safety/secrets.h"

#include <math.h>
#include <pthread.h>

enum charset { HEX = 1, ALNUM, ALNUM_UPPER, WORD /* alnum _ - */, BASE64 };

static const struct {
    const char *prefix;
    uint8_t n;
    enum charset set;
    uint8_t min, max; /* of what follows the prefix; min: SECRET_RUN_MIN at least */
    const char *name;
} forms[] = {
#define F(prefix, set, min, max, name)                                                             \
    { prefix, sizeof prefix - 1, set, min, max, name }
    F("AKIA", ALNUM_UPPER, 16, 16, "aws_access_key"),
    F("ASIA", ALNUM_UPPER, 16, 16, "aws_access_key"),
    F("AIza", WORD, 35, 35, "google_api_key"),
    F("AGE-SECRET-KEY-1", ALNUM_UPPER, 58, 58, "age_key"),
    F("ATATT3", WORD, 100, 250, "atlassian_token"),
    F("GOCSPX-", WORD, 28, 28, "google_oauth_secret"),
    F("SG.", WORD, 20, 90, "sendgrid_key"),
    F("dapi", HEX, 32, 34, "databricks_token"),
    F("dckr_pat_", WORD, 20, 40, "docker_token"),
    F("dop_v1_", HEX, 64, 64, "digitalocean_token"),
    F("dp.pt.", ALNUM, 40, 44, "doppler_token"),
    F("eyJ", WORD, 0, 0, "jwt"), /* three parts, see below */
    F("ghp_", ALNUM, 36, 36, "github_token"),
    F("gho_", ALNUM, 36, 36, "github_token"),
    F("ghu_", ALNUM, 36, 36, "github_token"),
    F("ghs_", ALNUM, 36, 36, "github_token"),
    F("ghr_", ALNUM, 36, 76, "github_token"),
    F("github_pat_", WORD, 60, 90, "github_token"),
    F("glpat-", WORD, 20, 40, "gitlab_token"),
    F("glsa_", WORD, 32, 48, "grafana_token"),
    F("hf_", ALNUM, 30, 40, "huggingface_token"),
    F("hvs.", WORD, 24, 120, "vault_token"),
    F("key-", HEX, 32, 32, "mailgun_key"),
    F("lin_api_", ALNUM, 40, 40, "linear_key"),
    F("npm_", ALNUM, 36, 36, "npm_token"),
    F("nvapi-", WORD, 40, 80, "nvidia_key"),
    F("parley_", ALNUM, 40, 40, "parley_key"),
    F("pypi-AgE", WORD, 50, 250, "pypi_token"),
    F("rk_live_", ALNUM, 16, 99, "stripe_key"),
    F("shpat_", HEX, 32, 32, "shopify_token"),
    F("shpss_", HEX, 32, 32, "shopify_token"),
    F("sk-ant-", WORD, 30, 120, "anthropic_key"),
    F("sk-proj-", WORD, 30, 180, "openai_key"),
    F("sk-", ALNUM, 20, 60, "openai_key"),
    F("sk_live_", ALNUM, 16, 99, "stripe_key"),
    F("sk_test_", ALNUM, 16, 99, "stripe_key"),
    F("sq0atp-", WORD, 22, 22, "square_token"),
    F("sq0csp-", WORD, 43, 43, "square_token"),
    F("whsec_", BASE64, 32, 64, "stripe_key"),
    F("xapp-", WORD, 30, 120, "slack_token"),
    F("xoxa-", WORD, 20, 120, "slack_token"),
    F("xoxb-", WORD, 20, 120, "slack_token"),
    F("xoxp-", WORD, 20, 120, "slack_token"),
    F("xoxr-", WORD, 20, 120, "slack_token"),
    F("xoxs-", WORD, 20, 120, "slack_token"),
    F("ya29.", WORD, 40, 250, "google_oauth_token"),
#undef F
};

bool secret_is_named(struct str text) {
    static const char *const ends[] = {"password", "passwd", "pwd", "secret", "key", "token"};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        struct str end = str_from(ends[i]);
        if (text.n >= end.n && str_eq_nocase(str_sub(text, text.n - end.n, end.n), end))
            return true;
    }
    return false;
}

static bool in_set(char c, enum charset set) {
    bool d = c >= '0' && c <= '9', l = c >= 'a' && c <= 'z', u = c >= 'A' && c <= 'Z';
    switch (set) {
    case HEX:
        return d || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
    case ALNUM:
        return d || l || u;
    case ALNUM_UPPER:
        return d || u;
    case WORD:
        return d || l || u || c == '_' || c == '-';
    case BASE64:
        return d || l || u || c == '+' || c == '/' || c == '=';
    }
    return false;
}

bool secret_may_begin(struct str word) {
    for (size_t at = 0; at < word.n; at++) { /* at each place where it would be looked for */
        struct str s = str_sub(word, at, word.n), key = STR("-----BEGIN");
        if (str_starts(key, str_sub(s, 0, key.n)))
            return true;
        if (at && (in_set(word.p[at - 1], ALNUM) || word.p[at - 1] == '_'))
            continue;
        for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
            size_t n = s.n < forms[i].n ? s.n : forms[i].n;
            if (s.p[0] == forms[i].prefix[0] && memcmp(s.p, forms[i].prefix, n) == 0)
                return true;
        }
    }
    return false;
}

static size_t run_of(struct str s, enum charset set) {
    size_t n = 0;
    while (n < s.n && in_set(s.p[n], set))
        n++;
    return n;
}

/* Shannon's entropy of the bytes, in bits for each. */
static double entropy(struct str s) {
    int count[256] = {0};
    double h = 0;
    for (size_t i = 0; i < s.n; i++)
        count[(unsigned char)s.p[i]]++;
    for (int i = 0; i < 256; i++)
        if (count[i])
            h -= (double)count[i] / (double)s.n * log2((double)count[i] / (double)s.n);
    return h;
}

static bool is_example(struct str s) {
    static const char *const marks[] = {"EXAMPLE",    "example",  "xxxx",       "XXXX",
                                        "your",       "YOUR",     "....",       "0000000",
                                        "1234567890", "changeme", "placeholder"};
    for (size_t i = 0; i < sizeof marks / sizeof *marks; i++)
        if (str_find(s, str_from(marks[i])) != SIZE_MAX)
            return true;
    return false;
}

static bool take(struct pii_hit *h, const char *name, struct str s, size_t at, size_t from,
                 size_t n) {
    if (is_example(str_sub(s, from, n)))
        return false;
    *h = (struct pii_hit){PII_SECRET, name, at + from, at + from + n};
    return true;
}

static bool find_jwt(struct str s, size_t at, struct pii_hit *h) {
    size_t a = run_of(s, WORD);
    if (a < 17 || a >= s.n || s.p[a] != '.')
        return false;
    size_t b = run_of(str_sub(s, a + 1, s.n), WORD);
    size_t end = a + 1 + b;
    if (b < 10 || end >= s.n || s.p[end] != '.')
        return false;
    size_t c = run_of(str_sub(s, end + 1, s.n), WORD);
    return c >= 10 && take(h, "jwt", s, at, 0, end + 1 + c);
}

static bool find_form(struct str s, size_t at, struct pii_hit *h) {
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        if (s.p[0] != forms[i].prefix[0] || s.n < forms[i].n ||
            memcmp(s.p, forms[i].prefix, forms[i].n) != 0)
            continue;
        if (forms[i].max == 0)
            return find_jwt(s, at, h);
        struct str body = str_sub(s, forms[i].n, s.n);
        size_t n = run_of(body, forms[i].set);
        if (str_eqz((struct str){s.p, forms[i].n}, "SG.") && n < body.n && body.p[n] == '.')
            n += 1 + run_of(str_sub(body, n + 1, s.n), WORD);
        bool whole = n == body.n || !in_set(body.p[n], WORD);
        if (n >= forms[i].min && n <= forms[i].max && whole && entropy(str_sub(body, 0, n)) > 2.2)
            return take(h, forms[i].name, s, at, 0, forms[i].n + n);
    }
    return false;
}

/* RFC 7468: the block to its end, or to the text's. */
static bool find_private_key(struct str text, size_t at, struct pii_hit *h) {
    struct str rest = str_sub(text, at, text.n);
    struct str head = str_sub(rest, 0, 64);
    size_t mark =
        str_starts(head, STR("-----BEGIN ")) ? str_find(head, STR("PRIVATE KEY")) : SIZE_MAX;
    if (mark == SIZE_MAX)
        return false;
    struct str body = str_sub(rest, 0, 16384);
    size_t end = str_find(body, STR("-----END "));
    if (end != SIZE_MAX) {
        size_t last = str_find(str_sub(body, end + 9, body.n), STR("-----"));
        end = last == SIZE_MAX ? body.n : end + 9 + last + 5;
    }
    *h = (struct pii_hit){PII_SECRET, "private_key", at, at + (end == SIZE_MAX ? body.n : end)};
    return true;
}

/* ---- "password: …", "API_KEY = '…'" ---- */

/* The bytes at i of what stands around a value and is never a part of it, beyond ASCII: quotes, CJK
 * punctuation and script, wide forms. 0: something else stands there. */
static size_t foreign_mark(struct str s, size_t i) {
    unsigned char a = (unsigned char)s.p[i];
    unsigned char b = i + 1 < s.n ? (unsigned char)s.p[i + 1] : 0;
    unsigned char c = i + 2 < s.n ? (unsigned char)s.p[i + 2] : 0;
    if (a == 0xC2)
        return b == 0xAB || b == 0xBB ? 2 : 0; /* guillemets */
    if (a == 0xE2)
        return b == 0x80 && c >= 0x98 && c <= 0x9F ? 3 : 0; /* U+2018 to U+201F */
    if (a == 0xE3 || (a >= 0xE4 && a <= 0xE9))              /* U+3000 to U+9FFF */
        return c ? 3 : 0;
    if (a >= 0xEA && a <= 0xED) /* U+AC00 on: Hangul */
        return c && (a > 0xEA || b >= 0xB0) ? 3 : 0;
    return a == 0xEF && (b == 0xBC || b == 0xBD) && c ? 3 : 0; /* U+FF00 to U+FF7F */
}

size_t secret_mark_before(struct str text) {
    for (size_t n = 2; n <= 3 && n <= text.n; n++)
        if (foreign_mark(text, text.n - n) == n)
            return n;
    return 0;
}

size_t secret_assigns(struct str text) {
    const struct str marks[] = {STR(":"), STR("="), STR("\xef\xbc\x9a"), STR("\xef\xbc\x9d")};
    for (size_t i = 0; i < sizeof marks / sizeof *marks; i++)
        if (str_ends(text, marks[i]))
            return marks[i].n;
    return 0;
}

/* Behind blanks and quotes. */
static size_t skip_quotes(struct str s, size_t v) {
    for (size_t n; v < s.n; v += n) {
        bool plain = s.p[v] == ' ' || s.p[v] == '"' || s.p[v] == '\'' || s.p[v] == '`';
        if (!(n = plain ? 1 : foreign_mark(s, v)))
            break;
    }
    return v;
}

/* Behind what assigns, at v; 0: nothing does. */
static size_t skip_assign(struct str s, size_t v) {
    while (v < s.n && (s.p[v] == ' ' || s.p[v] == '"' || s.p[v] == '\''))
        v++;
    for (size_t n = 1; n <= 3 && v + n <= s.n; n += 2)
        if (secret_assigns(str_sub(s, v, n)) == n)
            return v + n;
    return 0;
}

static const char *const keys[] = {"password",   "passwd",         "pwd",           "secret",
                                   "api_key",    "apikey",         "api-key",       "access_token",
                                   "auth_token", "token",          "client_secret", "secret_key",
                                   "AccountKey", "SharedAccessKey"};

/* A value of at least eight characters that is no word. */
static bool find_assigned(struct str s, size_t at, struct pii_hit *h) {
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        if ((s.p[0] ^ keys[i][0]) & ~0x20)
            continue;
        struct str key = str_from(keys[i]);
        if (s.n < key.n + 10 || !str_eq_nocase(str_sub(s, 0, key.n), key))
            continue;
        size_t v = skip_assign(s, key.n), n = 0, digits = 0, letters = 0;
        if (!v)
            continue;
        v = skip_quotes(s, v);
        for (; v + n < s.n; n++) {
            char c = s.p[v + n];
            if ((unsigned char)c <= ' ' || strchr("\"'`,;<>(){}", c) || foreign_mark(s, v + n))
                break;
            digits += c >= '0' && c <= '9';
            letters += in_set(c, ALNUM);
        }
        if (n >= 8 && digits > 0 && letters > digits && entropy(str_sub(s, v, n)) > 2.7)
            return take(h, "assigned_secret", s, at, v, n);
    }
    return false;
}

/* Which two bytes a form or a key begins with: most words are told from them by these. */
static uint32_t beginnings[256][8];
static pthread_once_t beginnings_once = PTHREAD_ONCE_INIT;

static void note_beginning(char a, char b) {
    beginnings[(unsigned char)a][(unsigned char)b / 32] |= 1u << (unsigned char)b % 32;
}

static char other_case(char c) {
    return in_set(c, ALNUM) && (c < '0' || c > '9') ? c ^ 0x20 : c;
}

static void note_beginnings(void) {
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++)
        note_beginning(forms[i].prefix[0], forms[i].prefix[1]);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        char a = keys[i][0], b = keys[i][1];
        note_beginning(a, b);
        note_beginning(a, other_case(b));
        note_beginning(other_case(a), b);
        note_beginning(other_case(a), other_case(b));
    }
}

static bool begins_like_one(struct str s) {
    pthread_once(&beginnings_once, note_beginnings);
    return s.n > 1 && beginnings[(unsigned char)s.p[0]][(unsigned char)s.p[1] / 32] >>
                              (unsigned char)s.p[1] % 32 &
                          1;
}

bool secret_find(struct str text, size_t at, struct pii_hit *ret) {
    struct str s = str_sub(text, at, 1024);
    if (s.p[0] == '-')
        return find_private_key(text, at, ret);
    if (!begins_like_one(s))
        return false;
    return find_form(s, at, ret) || find_assigned(s, at, ret);
}

bool secret_find_telegram(struct str s, size_t at, struct pii_hit *ret) {
    size_t d = 0;
    while (d < s.n && s.p[d] >= '0' && s.p[d] <= '9')
        d++;
    if (d < 8 || d > 10 || d >= s.n || s.p[d] != ':')
        return false;
    size_t n = run_of(str_sub(s, d + 1, s.n), WORD);
    return n == 35 && take(ret, "telegram_token", s, at, 0, d + 1 + n);
}
