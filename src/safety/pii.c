/* Finding personal data: one pass over the text; each place where a word, a number or a sign begins
 * is tried by the detectors that can begin there, the most certain first. See pii.h. */
#include "safety/pii.h"

#include "safety/pii_numbers.h"
#include "safety/secrets.h"

#define CONTEXT_BEFORE 48
#define CONTEXT_AFTER  12
#define RUN_MAX        48 /* bytes of a number with its separators */
#define LOCAL_MAX      64 /* RFC 5321, 4.5.3.1 */
#define DOMAIN_MAX     255

static const char *const names[] = {
#define X(id, name, label) name,
    PII_TABLE(X)
#undef X
};
static const char *const labels[] = {
#define X(id, name, label) label,
    PII_TABLE(X)
#undef X
};

const char *pii_name(enum pii_kind k) {
    return names[k];
}

const char *pii_label(enum pii_kind k) {
    return labels[k];
}

int pii_from_name(struct str s) {
    for (int i = 0; i < PII_KINDS; i++)
        if (str_eqz(s, names[i]))
            return i;
    return -1;
}

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static bool is_alpha(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_alnum(char c) {
    return is_digit(c) || is_alpha(c);
}

static char lower(char c) {
    return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

static char upper(char c) {
    return c >= 'a' && c <= 'z' ? (char)(c - 32) : c;
}

/* ---- words nearby ---- */

struct context { /* lower case */
    char before[CONTEXT_BEFORE + 1], after[CONTEXT_AFTER + 1];
};

static void context_take(struct context *c, struct str text, size_t from, size_t to) {
    size_t start = from > CONTEXT_BEFORE ? from - CONTEXT_BEFORE : 0, n = 0;
    for (size_t i = start; i < from; i++)
        c->before[n++] = text.p[i] ? lower(text.p[i]) : ' ';
    c->before[n] = 0;
    for (n = 0; n < CONTEXT_AFTER && to + n < text.n; n++)
        c->after[n] = text.p[to + n] ? lower(text.p[to + n]) : ' ';
    c->after[n] = 0;
}

/* The word begins as a word; it may go on ("phone" in "phones"). */
static bool contains_word(const char *hay, struct str word) {
    for (const char *p = hay; (p = memmem(p, strlen(p), word.p, word.n)); p++)
        if (p == hay || !is_alpha(p[-1]))
            return true;
    return false;
}

static bool has_word(const void *ctx, const char *words) {
    const struct context *c = ctx;
    struct str rest = str_from(words);
    while (rest.n) {
        struct str w = str_cut(&rest, '|');
        if (contains_word(c->before, w) || contains_word(c->after, w))
            return true;
    }
    return false;
}

/* ---- e-mail, web addresses ---- */

static size_t domain_length(struct str s) {
    size_t n = 0, label = 0, dot = 0, dots = 0;
    while (n < s.n && n < DOMAIN_MAX) {
        char c = s.p[n];
        if (c == '.' && label > 0) {
            dot = n;
            dots++;
            label = 0;
        } else if (is_alnum(c) || (c == '-' && label > 0)) {
            label++;
        } else {
            break;
        }
        n++;
    }
    if (label == 0 && dots) { /* the sentence's full stop */
        n = dot;
        dots--;
        for (dot = n - 1; dot > 0 && s.p[dot] != '.';)
            dot--;
    }
    if (!dots || n - dot - 1 < 2 || n - dot - 1 > 24)
        return 0;
    for (size_t i = dot + 1; i < n; i++)
        if (!is_alpha(s.p[i]))
            return 0;
    return n;
}

static bool find_email(struct str text, size_t at, struct pii_hit *h) {
    size_t from = at;
    while (from > 0 && at - from < LOCAL_MAX &&
           (is_alnum(text.p[from - 1]) || strchr("._%+-", text.p[from - 1])))
        if (!text.p[--from])
            return false;
    while (from < at && !is_alnum(text.p[from]))
        from++;
    size_t n = domain_length(str_sub(text, at + 1, DOMAIN_MAX + 1));
    if (from == at || n == 0)
        return false;
    *h = (struct pii_hit){PII_EMAIL, "email", from, at + 1 + n};
    return true;
}

static bool find_url(struct str text, size_t at, struct pii_hit *h) {
    struct str rest = str_sub(text, at, 2048);
    size_t n = str_starts(rest, STR("https://"))  ? 8
               : str_starts(rest, STR("http://")) ? 7
               : str_starts(rest, STR("www."))    ? 4
                                                  : 0;
    size_t d = n ? domain_length(str_sub(rest, n, DOMAIN_MAX + 1)) : 0;
    if (!d)
        return false;
    n += d;
    while (n < rest.n && (unsigned char)rest.p[n] > ' ' && !strchr("\"'<>()[]{}|\\^`", rest.p[n]))
        n++;
    while (n > 0 && strchr(".,;:!?", rest.p[n - 1]))
        n--;
    *h = (struct pii_hit){PII_DOMAIN, "url", at, at + n};
    return true;
}

/* ---- numbers ---- */

struct run { /* digits with single separators between groups */
    char digits[RUN_MAX];
    size_t ends[RUN_MAX]; /* past each digit, from the run's start */
    size_t n, length;     /* digits, bytes */
    size_t groups;
    size_t group[RUN_MAX]; /* digits of each */
    char seps[RUN_MAX];    /* between the groups; "" with parentheses in it is '(' */
    bool plus, paren;
};

static bool run_read(struct str s, struct run *r) {
    size_t i = 0;
    bool open = false;
    *r = (struct run){0};
    if (s.n && s.p[0] == '+')
        r->plus = true, i++;
    for (; i < s.n && i < RUN_MAX && r->n < RUN_MAX; i++) {
        char c = s.p[i];
        if (is_digit(c)) {
            bool starts = r->n == 0 || r->ends[r->n - 1] != i;
            r->groups += starts;
            r->group[r->groups - 1]++;
            r->ends[r->n] = i + 1;
            r->digits[r->n++] = c;
        } else if (c == '(' && !open) {
            open = r->paren = true;
        } else if (c == ')' && open) {
            open = false;
        } else if (c == ' ' || c == '-' || c == '.' || c == '/') {
            if (r->groups)
                r->seps[r->groups - 1] = c;
            if (i + 1 >= s.n || !(is_digit(s.p[i + 1]) || s.p[i + 1] == '(' ||
                                  s.p[i - (i > 0)] == ')' || (s.p[i + 1] == ' ' && c == ' ')))
                break;
        } else {
            break;
        }
    }
    r->length = r->n ? r->ends[r->n - 1] : 0;
    return r->n >= 4;
}

/* The run ends there, and no letter or digit goes on. */
static bool ends_at(struct str s, size_t end) {
    return end >= s.n || !is_alnum(s.p[end]) || lower(s.p[end]) == 'x';
}

static bool find_card(struct str s, const struct run *r, size_t at, struct pii_hit *h) {
    for (size_t n = r->n > 19 ? 19 : r->n; n >= 13; n--) {
        size_t end = r->ends[n - 1];
        bool bound = n == r->n || r->ends[n] != end + 1;
        if (r->plus || r->paren || !bound || !ends_at(s, end) || !number_is_card(r->digits, n))
            continue;
        *h = (struct pii_hit){PII_CARD, "credit_card", at, at + end};
        return true;
    }
    return false;
}

static bool find_ssn(struct str s, const struct run *r, const struct context *c, size_t at,
                     struct pii_hit *h) {
    bool formed = r->groups == 3 && r->group[0] == 3 && r->group[1] == 2 && r->group[2] == 4 &&
                  r->seps[0] == r->seps[1] && (r->seps[0] == '-' || r->seps[0] == ' ');
    if (r->n != 9 || r->plus || r->paren || !ends_at(s, r->length))
        return false;
    bool said = has_word(c, "ssn|social security|soc sec");
    if (!(said ? formed || r->groups == 1 : formed && r->seps[0] == '-'))
        return false;
    if (memcmp(r->digits, "000", 3) == 0 || memcmp(r->digits, "666", 3) == 0 ||
        memcmp(r->digits + 3, "00", 2) == 0 || memcmp(r->digits + 5, "0000", 4) == 0)
        return false; /* never given out */
    *h = (struct pii_hit){PII_SSN, "us_ssn", at, at + r->length};
    return true;
}

static bool find_ipv4(struct str s, const struct run *r, const struct context *c, size_t at,
                      struct pii_hit *h) {
    size_t k = 0;
    if (r->groups < 4 || r->plus)
        return false;
    for (size_t g = 0; g < 4; g++) {
        int v = 0;
        if (r->group[g] > 3 || (g < 3 && r->seps[g] != '.'))
            return false;
        for (size_t i = 0; i < r->group[g]; i++)
            v = v * 10 + r->digits[k++] - '0';
        if (v > 255 || (r->group[g] > 1 && r->digits[k - r->group[g]] == '0'))
            return false;
    }
    size_t end = r->ends[k - 1]; /* other numbers may stand behind it, and the size of a network */
    bool goes_on = end < s.n && r->groups > 4 && s.p[end] != ' ' && s.p[end] != '/';
    if (end != k + 3 || goes_on || !ends_at(s, end))
        return false;
    if (has_word(c, "version|release|section|chapter|ver"))
        return false;
    *h = (struct pii_hit){PII_IP, "ipv4", at, at + end};
    return true;
}

/* Dates, years, prices and decimal numbers look like short phone numbers. */
static bool is_date_like(const struct run *r) {
    const size_t *g = r->group;
    if (r->groups == 3 && r->seps[0] == r->seps[1] && r->n <= 8 && r->n >= 5 &&
        ((g[0] == 4 && g[1] <= 2 && g[2] <= 2) || (g[2] == 4 && g[0] <= 2 && g[1] <= 2) ||
         (g[0] <= 2 && g[1] <= 2 && g[2] <= 2)))
        return true;
    if (r->groups == 3 && (r->seps[0] == '/' || r->seps[1] == '/'))
        return true;
    return r->groups >= 4 && g[0] == 4 && g[1] == 2 && g[2] == 2 && r->seps[0] == '-';
}

static bool groups_of_a_phone(const struct run *r) {
    char sep = r->seps[0];
    for (size_t g = 0; g < r->groups; g++)
        if (r->group[g] > 7 || (g + 1 < r->groups && r->seps[g] == '/'))
            return false;
    for (size_t g = 1; g + 1 < r->groups; g++)
        if (r->seps[g] != sep && !(r->paren || r->plus || g == 1))
            return false;
    return r->groups >= 2;
}

static size_t extension(struct str s, size_t end) {
    size_t i = end;
    if (i < s.n && s.p[i] == ' ')
        i++;
    if (str_starts(str_sub(s, i, 4), STR("ext.")))
        i += 4;
    else if (str_starts(str_sub(s, i, 3), STR("ext")))
        i += 3;
    else if (i < s.n && lower(s.p[i]) == 'x')
        i++;
    else
        return end;
    while (i < s.n && s.p[i] == ' ')
        i++;
    size_t from = i;
    while (i < s.n && is_digit(s.p[i]) && i - from < 6)
        i++;
    return i > from ? i : end;
}

static bool find_phone(struct str s, const struct run *r, const struct context *c, size_t at,
                       struct pii_hit *h) {
    static const char said[] = "phone|tel|call|mobile|cell|fax|whatsapp|dial|contact|reach|sms|"
                               "answering at|number is|office|text me|telefon|handy|m\xc3\xb3vil";
    size_t end = extension(s, r->length);
    if (r->n < 6 || r->n > 15 || is_date_like(r) || !ends_at(s, r->length) ||
        (end < s.n && is_alnum(s.p[end])))
        return false;
    if (end < s.n &&
        (s.p[end] == '%' || (s.p[end] == '.' && end + 1 < s.n && is_digit(s.p[end + 1]))))
        return false;
    if (r->groups == 3 && r->group[0] == 3 && r->group[1] == 2 && r->group[2] == 4)
        return false; /* a social security number that nobody has */
    bool international = r->plus || (r->n >= 10 && memcmp(r->digits, "00", 2) == 0);
    bool north_american = r->n == 10 && r->groups == 3 && r->group[0] == 3 && r->group[1] == 3 &&
                          r->digits[0] >= '2' && r->digits[3] >= '2';
    bool formed = groups_of_a_phone(r);
    bool plain = (formed && r->n >= 9 && (r->seps[0] == '-' || r->paren || r->digits[0] == '0')) ||
                 (formed && north_american);
    if (!(international && r->n >= 8) && !(r->paren && r->n >= 7 && formed) && !plain &&
        !(has_word(c, said) && (r->n >= 7 ? formed || r->groups == 1 : r->groups == 3)))
        return false;
    *h = (struct pii_hit){PII_PHONE, "phone", at, at + end};
    return true;
}

/* The token of letters, digits and single separators at `at`, upper case, and the same without
 * separators. */
static bool token_read(struct str s, char raw[RUN_MAX], size_t *ret_raw, char token[RUN_MAX],
                       size_t *ret_n, bool spaces) {
    size_t i = 0, n = 0;
    for (; i < s.n && i < RUN_MAX; i++) {
        char c = s.p[i];
        bool sep = c == '-' || c == '.' || (spaces && c == ' ');
        if (is_alnum(c))
            token[n++] = upper(c);
        else if (!sep || i + 1 >= s.n || !is_alnum(s.p[i + 1]))
            break;
        raw[i] = upper(c);
    }
    *ret_raw = i;
    *ret_n = n;
    return n >= 5 && i < RUN_MAX;
}

static bool find_iban(struct str s, size_t at, struct pii_hit *h) {
    char token[RUN_MAX];
    size_t n = 0, end = 0;
    if (s.n < 15 || !is_alpha(s.p[0]) || !is_alpha(s.p[1]) || !is_digit(s.p[2]) ||
        !is_digit(s.p[3]))
        return false;
    for (size_t i = 0; i < s.n && n < 34; i++) {
        if (is_alnum(s.p[i])) {
            token[n++] = upper(s.p[i]);
            end = i + 1;
        } else if (!(s.p[i] == ' ' || s.p[i] == '-')) {
            break;
        }
        bool bound = i + 1 >= s.n || !is_alnum(s.p[i + 1]);
        if (n >= 15 && bound && number_is_iban(token, n)) {
            *h = (struct pii_hit){PII_IBAN, "iban", at, at + end};
            return true;
        }
    }
    return false;
}

static bool find_national(struct str s, const struct context *c, size_t at, struct pii_hit *h) {
    char raw[RUN_MAX], token[RUN_MAX];
    for (int spaces = 0; spaces < 2; spaces++) {
        size_t raw_n, n;
        if (!token_read(s, raw, &raw_n, token, &n, spaces) || n < 7)
            continue;
        const char *name =
            number_national((struct str){token, n}, (struct str){raw, raw_n}, has_word, c);
        if (name) {
            *h = (struct pii_hit){PII_NATIONAL, name, at, at + raw_n};
            return true;
        }
    }
    return false;
}

static bool find_licence(struct str s, const struct context *c, size_t at, struct pii_hit *h) {
    char raw[RUN_MAX], token[RUN_MAX];
    size_t raw_n, n, digits = 0;
    if (!token_read(s, raw, &raw_n, token, &n, false) || n > 20)
        return false;
    for (size_t i = 0; i < n; i++)
        digits += is_digit(token[i]);
    if (digits < 4 || !has_word(c, "driver's license|driver license|drivers license|driving licen|"
                                   "driver's licence|driver licence|license number|licence number"))
        return false;
    *h = (struct pii_hit){PII_LICENCE, "driver_license", at, at + raw_n};
    return true;
}

static bool find_ipv6(struct str s, size_t at, struct pii_hit *h) {
    size_t i = 0, groups = 0, digits = 0, doubles = 0;
    for (; i < s.n && i < 45; i++) {
        char c = lower(s.p[i]);
        if (is_digit(c) || (c >= 'a' && c <= 'f')) {
            groups += digits == 0;
            if (++digits > 4)
                return false;
        } else if (c == ':' && i + 1 < s.n && i > 0) {
            doubles += digits == 0;
            digits = 0;
        } else {
            break;
        }
    }
    bool whole = doubles ? groups >= 3 && groups <= 7 : groups == 8;
    if (doubles > 1 || !whole || (i < s.n && is_alnum(s.p[i])) || s.p[i - 1] == ':')
        return false;
    *h = (struct pii_hit){PII_IP, "ipv6", at, at + i};
    return true;
}

/* ---- all of them ---- */

static bool find_number(struct str text, size_t at, struct pii_hit *h) {
    struct str s = str_sub(text, at, 96);
    struct run r;
    struct context c;
    bool run = run_read(s, &r);
    if (is_digit(s.p[0]) && secret_find_telegram(s, at, h))
        return true;
    if (!run && !is_digit(s.p[0]))
        return false;
    if (run && find_card(s, &r, at, h))
        return true;
    if (find_ipv6(s, at, h))
        return true;
    context_take(&c, text, at, at + r.length);
    if (run && (find_ssn(s, &r, &c, at, h) || find_ipv4(s, &r, &c, at, h)))
        return true;
    if (is_digit(s.p[0]) && (find_national(s, &c, at, h) || find_licence(s, &c, at, h)))
        return true;
    bool goes_on = at > 1 && is_digit(text.p[at - 2]) && strchr(" -./", text.p[at - 1]) &&
                   is_digit(s.p[0]); /* the rest of a longer number */
    return run && !goes_on && find_phone(s, &r, &c, at, h);
}

#define TOKEN_NEAR 14 /* bytes from a word on in which the digits of a number with it stand */

/* digits_near: there is one within TOKEN_NEAR. */
static bool find_token(struct str text, size_t at, bool digits_near, struct pii_hit *h) {
    struct str s = str_sub(text, at, 96);
    struct context c;
    size_t n = 0, digits = 0;
    if ((s.p[0] == 'h' || s.p[0] == 'w') && find_url(text, at, h))
        return true;
    if (secret_find(text, at, h) || (digits_near && find_iban(s, at, h)) || find_ipv6(s, at, h))
        return true;
    if (!digits_near)
        return false;
    for (; n < s.n && (is_alnum(s.p[n]) || s.p[n] == ' ') && n < TOKEN_NEAR; n++)
        digits += is_digit(s.p[n]);
    if (digits < 4) /* an ordinary word */
        return false;
    context_take(&c, text, at, at + n);
    return find_national(s, &c, at, h) || find_licence(s, &c, at, h);
}

static size_t next_digit(struct str text, size_t from, size_t known) {
    size_t i = known > from ? known : from;
    while (i < text.n && !is_digit(text.p[i]))
        i++;
    return i < text.n ? i : SIZE_MAX;
}

enum { ALPHA = 1, SECRET = 2, DOT = 4, DASH = 8, TELLS = 16 };

static const unsigned char signs[256] = {['0' ... '9'] = TELLS,
                                         ['@'] = TELLS,
                                         [':'] = TELLS,
                                         ['='] = TELLS,
                                         [128 ... 255] = TELLS,
                                         ['a' ... 'z'] = ALPHA | SECRET,
                                         ['A' ... 'Z'] = ALPHA | SECRET,
                                         ['-'] = SECRET | DASH,
                                         ['_'] = SECRET,
                                         ['+'] = SECRET,
                                         ['/'] = SECRET,
                                         ['.'] = DOT};

/* Numbers have digits, addresses an @ or a dot before a letter, assigned values a sign that assigns
 * (also a wide one), keys many letters in a row or dashes. */
bool pii_may_hold(struct str text) {
    unsigned before = 0;
    size_t run = 0;
    for (size_t i = 0; i < text.n; i++) {
        unsigned now = signs[(unsigned char)text.p[i]];
        run = now & SECRET ? run + 1 : 0;
        if ((now & TELLS) || run == SECRET_RUN_MIN || (before & DOT && now & ALPHA) ||
            (before & now & DASH))
            return true;
        before = now;
    }
    return false;
}

size_t pii_scan(struct str text, struct pii_hit *ret, size_t max) {
    return pii_scan_from(text, 0, ret, max);
}

/* An address that begins like something else is an address: what was found of it before goes, but
 * for a secret or a card, behind which the address is told, and for what stands before it. */
static size_t yield_to(struct pii_hit *ret, size_t n, struct pii_hit *h, size_t from) {
    if (h->from < from) /* the part before ended in it */
        h->from = from;
    for (; n > 0 && ret[n - 1].to > h->from; n--) {
        struct pii_hit *last = &ret[n - 1];
        bool stays = last->kind == PII_SECRET || last->kind == PII_CARD;
        if (!stays && last->from >= h->from)
            continue;
        if (stays)
            h->from = last->to;
        else
            last->to = h->from;
        break;
    }
    return n;
}

size_t pii_scan_from(struct str text, size_t from, struct pii_hit *ret, size_t max) {
    size_t n = 0, digit = from; /* digit: up to there, there are none from i on */
    for (size_t i = from; i < text.n && n < max;) {
        char c = text.p[i];
        bool starts = i == 0 || !(is_alnum(text.p[i - 1]) || text.p[i - 1] == '_');
        struct pii_hit h;
        bool found = false;
        if (c == '@')
            found = find_email(text, i, &h);
        else if (starts && (is_digit(c) || c == '+' || c == '('))
            found = find_number(text, i, &h);
        else if (starts && is_alpha(c))
            found = find_token(text, i, (digit = next_digit(text, i, digit)) - i < TOKEN_NEAR, &h);
        else if (c == '-')
            found = secret_find(text, i, &h);
        if (found) {
            n = yield_to(ret, n, &h, from);
            ret[n++] = h;
            i = h.to;
        } else if (is_alnum(c)) { /* the rest of the word begins nothing */
            do
                i++;
            while (i < text.n && (is_alnum(text.p[i]) || text.p[i] == '_'));
        } else {
            i++;
        }
    }
    return n;
}
