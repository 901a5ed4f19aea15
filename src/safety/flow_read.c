/* What the bytes of a growing text say, each read once: words for the rules, signs of a disguise,
 * places where personal data may stand. See flow.h. Everything here that calls normalising needless
 * must be sure of it; what is in doubt is dirty. */
#include "safety/flow_internal.h"
#include "safety/normalise_internal.h"
#include "safety/secrets.h"

#define RUN_MIN    12 /* decode.c: shorter runs of base64 carry no request */
#define RUN_AGAIN  16 /* a run that goes on is looked at each so many bytes */
#define SPELLED    64 /* bytes of a word that is spelled out */
#define LONG_WORD  15 /* words as long as this may be keys */
#define NUMBER_MIN 4  /* digits: shorter numbers are not told by the words behind them */
#define BEHIND     13 /* bytes behind a number that may say what it is (pii.c) */

static bool is_lower(char c) {
    return c >= 'a' && c <= 'z';
}

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static bool is_latin(char c) {
    return is_lower((char)(c | 0x20));
}

static bool is_word_byte(char c) {
    return is_lower(c) || is_digit(c) || (unsigned char)c >= 128;
}

static bool is_run_byte(char c) {
    return is_latin(c) || is_digit(c) || c == '+' || c == '-' || c == '/' || c == '_';
}

void flow_set_dirty(struct safety_flow *f, size_t from) {
    if (f->sentence_from < from)
        from = f->sentence_from;
    if (!f->dirty || from < f->dirty_from)
        f->dirty_from = from;
    f->dirty = true;
    f->clean_at = NOWHERE;
}

/* ---- signs of a disguise, in the folded text ---- */

/* A letter and a sign or digit in one word, in any order. */
static void watch_leet(struct safety_flow *f, char c, size_t at) {
    bool letter = is_lower(c) || (unsigned char)c >= 128;
    bool sign = is_digit(c) || c == '@' || c == '$';
    bool mark = c == '!' || c == '+'; /* at a word's end they are what they are */
    if (!letter && !sign && !mark) {
        f->letter = f->sign = f->mark = false;
        return;
    }
    bool leet = (letter && (f->sign || f->mark)) || (sign && f->letter);
    bool again = at < f->leet_until; /* two words of it: then numbers are letters, too */
    if (leet || (sign && again))
        flow_set_dirty(f, again && at > FLOW_WINDOW ? at - FLOW_WINDOW : again ? 0 : at);
    f->letter |= letter;
    f->sign |= sign;
    f->mark |= mark;
}

static bool is_single(char c) {
    return is_lower(c) || is_digit(c) || memchr("@$!+", c, 4) != NULL;
}

/* "k i", "b.o": two letters by themselves with one sign between. And "killl". */
static void watch_spelling(struct safety_flow *f, char c, size_t at) {
    const char *r = f->ring + FLOW_RING - 4; /* r[3] is c */
    if (is_lower(c) && r[1] == c && r[2] == c)
        flow_set_dirty(f, at);
    bool apart = !is_lower(c) && !is_digit(c) && !is_lower(f->ring[FLOW_RING - 5]) &&
                 !is_digit(f->ring[FLOW_RING - 5]);
    if (apart && r[1] && memchr(" .-_*|/,+~", r[1], 10) && is_single(r[0]) && is_single(r[2]) &&
        (is_lower(r[0]) || is_lower(r[2])))
        flow_set_dirty(f, at > SPELLED ? at - SPELLED : 0);
}

/* ---- signs of an encoding, in what was written ---- */

static void on_decoded(void *ctx, struct str decoded, size_t from, size_t to, unsigned how) {
    (void)decoded, (void)from, (void)to, (void)how;
    *(bool *)ctx = true;
}

static void try_run(struct safety_flow *f) {
    bool found = false;
    struct str run = str_sub(buf_str(&f->raw), f->run_from - f->base, f->run_n);
    if (f->run_from >= f->base)
        decode_fragments(run, true, &f->b->normal.piece, on_decoded, &found);
    if (found)
        flow_set_dirty(f, f->run_from);
}

static void watch_run(struct safety_flow *f, char c, size_t at) {
    if (is_run_byte(c)) {
        f->run_from = f->run_n++ ? f->run_from : at;
        if (f->run_n > RUN_MIN * 4 && f->run_n % RUN_AGAIN == 0)
            try_run(f);
    } else {
        if (f->run_n >= RUN_MIN)
            try_run(f);
        f->run_n = 0;
    }
}

static void end_latin(struct safety_flow *f) {
    size_t w_from = f->latin_from > f->base ? f->latin_from - f->base : 0;
    struct str w = str_sub(buf_str(&f->raw), w_from, f->latin_n);
    unsigned common = f->latin_from >= f->base ? decode_word(w) : 0;
    f->latin_n = 0;
    if (!decode_is_of_code(buf_str(&f->raw), w_from, w_from + w.n) &&
        decode_is_turned(w, &f->turned_before))
        flow_set_dirty(f, f->latin_from);
    if (common == DECODE_STANDS) { /* plainly English */
        f->turned_n = f->turned_hits = 0;
        return;
    }
    if (f->turned_n++ == 0)
        f->turned_from = f->latin_from;
    f->turned_hits += (common & DECODE_TURNED) != 0;
    if (f->turned_n >= 3 && f->turned_hits >= 2 && f->turned_hits * 5 >= f->turned_n)
        flow_set_dirty(f, f->turned_from);
}

/* ---- where personal data may stand ---- */

static bool goes_on(const struct safety_flow *f, char c, size_t at) {
    const struct candidate *p = &f->pii_now;
    return p->from != NOWHERE && f->numbers_held && at - p->end <= 2 &&
           (is_digit(c) || c == '(' || c == '+' || (c >= 'A' && c <= 'Z'));
}

static size_t skip_quotes(const struct safety_flow *f, size_t i) {
    while (i > 0) {
        struct str before = {f->raw.p, i};
        bool plain = memchr(" '\"`", f->raw.p[i - 1], 4) != NULL;
        size_t n = plain ? 1 : secret_assigns(before) ? 0 : secret_mark_before(before);
        if (n == 0)
            break;
        i -= n;
    }
    return i;
}

/* "password: ", "key = '": what comes now is a value. */
static bool is_assigned(const struct safety_flow *f, size_t at) {
    size_t i = skip_quotes(f, at - f->base), n = secret_assigns((struct str){f->raw.p, i});
    return n && secret_is_named((struct str){f->raw.p, skip_quotes(f, i - n)});
}

static void begin_candidate(const struct safety_flow *f, struct candidate *p) {
    p->in_word = true;
    if (p->from != NOWHERE)
        return;
    p->from = p->word_from;
    p->digits = 0;
    p->letters = false;
    for (size_t i = 0; i < p->word_n && !p->letters; i++)
        p->letters = is_latin(f->raw.p[p->word_from - f->base + i]);
}

static void begin_word(struct safety_flow *f, char c, size_t at) {
    struct candidate *p = &f->pii_now;
    p->in_word = p->key || goes_on(f, c, at);
    p->word_from = at;
    p->dashes = 0;
    if (!p->in_word && is_assigned(f, at))
        begin_candidate(f, p);
}

static bool is_sign_of_data(const struct safety_flow *f, char c, size_t at) {
    const struct candidate *p = &f->pii_now;
    const char *end = f->raw.p + (at - f->base) + 1; /* behind c */
    if (is_digit(c) || c == '@' || c == '_' || p->word_n == LONG_WORD || p->dashes == 5)
        return true;
    if (c == ':' || c == '=')
        return secret_is_named((struct str){f->raw.p, (size_t)(end - f->raw.p) - 1});
    return (c == '/' && p->word_n > 3 && memcmp(end - 3, "://", 3) == 0) ||
           (c == '.' && p->word_n > 3 && memcmp(end - 4, "www.", 4) == 0);
}

static bool ends_with(struct str s, struct str end) {
    return s.n >= end.n && memcmp(s.p + s.n - end.n, end.p, end.n) == 0;
}

/* RFC 7468: a block of several lines belongs together. */
static void watch_key(struct safety_flow *f, size_t at) {
    struct candidate *p = &f->pii_now;
    struct str w = str_sub(buf_str(&f->raw), p->word_from - f->base, at - p->word_from);
    if (ends_with(w, STR("-----BEGIN")))
        p->key = true;
    else if (p->key && ends_with(w, STR("-----END")))
        p->key_ending = true;
    else if (p->key_ending && p->dashes >= 5)
        p->key = p->key_ending = false;
}

static void watch_data(struct safety_flow *f, char c, size_t at) {
    struct candidate *p = &f->pii_now;
    /* Scripts without blanks are not data: kana, Han, Hangul, full width (U+3000 and up). */
    if ((unsigned char)c <= ' ' || (unsigned char)c >= 0xe3) {
        if (p->word_n && p->in_word) {
            p->end = at;
            watch_key(f, at);
        }
        p->word_n = 0;
        return;
    }
    if (p->word_n++ == 0)
        begin_word(f, c, at);
    if (c == '-' && p->dashes < 5)
        p->dashes++;
    if (!p->in_word && is_sign_of_data(f, c, at))
        begin_candidate(f, p);
    if (!p->in_word)
        return;
    p->digits += is_digit(c);
    p->letters = p->letters || is_latin(c) || c == '@' || c == '_';
    p->end = at + 1;
}

enum candidate_state flow_candidate_state(const struct safety_flow *f, bool last) {
    const struct candidate *p = &f->pii_now;
    size_t end = f->base + f->raw.n;
    bool is_long = p->from != NOWHERE && end - p->from > (p->key ? FLOW_KEY_MAX : FLOW_HELD_MAX);
    if (p->from == NOWHERE)
        return CANDIDATE_OPEN;
    if (last)
        return CANDIDATE_OVER;
    if (p->key || (p->word_n && p->in_word))
        return is_long ? CANDIDATE_LONG : CANDIDATE_OPEN;
    size_t behind = !f->numbers_held ? 1 : p->digits >= NUMBER_MIN ? BEHIND : 2;
    return end - p->end >= behind ? CANDIDATE_OVER : is_long ? CANDIDATE_LONG : CANDIDATE_OPEN;
}

/* ---- words for the rules ---- */

static void end_word(struct safety_flow *f) {
    struct str w = {f->word, f->word_n < FLOW_WORD_MAX ? f->word_n : FLOW_WORD_MAX};
    words_step(f->b->stepper, w, f->new_sentence, f->word_from, f->word_to, false, flow_hit, f);
    f->new_sentence = false;
    f->word_n = 0;
    f->apostrophe = false;
}

static void add_to_word(struct safety_flow *f, char c, size_t from, size_t to) {
    if (f->word_n == 0)
        f->word_from = from;
    if (f->word_n < FLOW_WORD_MAX)
        f->word[f->word_n] = c;
    f->word_n++;
    f->word_to = to;
}

static void end_sentence(struct safety_flow *f, size_t at) {
    f->new_sentence = true;
    f->sentence_from = at;
    if (f->dirty && f->clean_at == NOWHERE)
        f->clean_at = at;
}

static void take_letter(struct safety_flow *f, char c, size_t from, size_t to) {
    if (f->stop && (c == ' ' || c == '\n'))
        end_sentence(f, from);
    if (f->line && words_ends_line(c))
        end_sentence(f, c == '\n' ? to : from);
    f->line = c == '\n' || (f->line && c == ' ');
    f->stop = false;
    if (is_word_byte(c)) {
        if (f->apostrophe)
            add_to_word(f, '\'', f->word_from, f->word_to);
        f->apostrophe = false;
        add_to_word(f, c, from, to);
        return;
    }
    if (c == '\'' && f->word_n && !f->apostrophe) {
        f->apostrophe = true;
        return;
    }
    if (f->word_n)
        end_word(f);
    f->stop = words_ends_sentence(c);
}

/* ---- characters ---- */

static void take_folded(struct safety_flow *f, char c, size_t from, size_t to) {
    const char *r = f->ring + FLOW_RING - 2;
    if (c == ' ' && r[0] == ' ' && r[1] == ' ')
        return; /* normalise.c: more spaces say no more */
    memmove(f->ring, f->ring + 1, FLOW_RING - 1);
    f->ring[FLOW_RING - 1] = c;
    buf_addc(&f->folded, c);
    watch_leet(f, c, from);
    watch_spelling(f, c, from);
    f->literal = literals_step(f->policy->literals, &f->node, c, to, flow_hit, f);
    take_letter(f, c, from, to);
}

static void take_ascii(struct safety_flow *f, char c, size_t from, size_t to) {
    if (c >= 'A' && c <= 'Z')
        c = (char)(c + 32);
    if (c == '\r' || c == '\t' || c == '\v' || c == '\f')
        c = ' ';
    if ((unsigned char)c < 32 && c != '\n')
        return;
    take_folded(f, c, from, to);
}

/* Whether the letters that come are under RLO. */
static void watch_override(struct safety_flow *f, int32_t c, size_t at) {
    bool opens = (c >= 0x202A && c <= 0x202E && c != 0x202C) || (c >= 0x2066 && c <= 0x2068);
    f->reversed = f->reversed || c == 0x202E;
    if (c == 0x85 || c == 0x2029) {
        f->overrides = 0;
    } else if (f->overrides) {
        if (opens)
            f->overrides++;
        else if (c == 0x202C || c == 0x2069)
            f->overrides--;
    } else if (c == 0x202E) {
        f->overrides = 1;
        f->override_at = at;
    }
}

static void take_other(struct safety_flow *f, struct str seq, int32_t c, size_t from) {
    char out[UNICODE_FOLD_MAX];
    unsigned found = 0;
    size_t n = c < 0 ? 0 : unicode_fold(c, out, &found);
    watch_override(f, c, from);
    f->differs = f->differs || n != seq.n || memcmp(out, seq.p, n) != 0;
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)out[i] < 128)
            take_ascii(f, out[i], from, from + seq.n);
        else
            take_folded(f, out[i], from, from + seq.n);
}

/* Small letters within a word of letters, of which no sign is watched: what the functions above do
 * with each of them, without asking. Returns how many of them there are. */
static size_t take_letters(struct safety_flow *f, struct str text, size_t at) {
    struct candidate *p = &f->pii_now;
    const char *r = f->ring + FLOW_RING - 2;
    size_t n = 0, most = text.n;
    if (!f->latin_n || !f->word_n || f->reversed || f->sign || f->mark || f->apostrophe ||
        f->run_n >= RUN_MIN * 4)
        return 0;
    if (most > RUN_MIN * 4 - f->run_n)
        most = RUN_MIN * 4 - f->run_n;
    if (f->pii && (p->in_word || !p->word_n || p->dashes || p->word_n >= LONG_WORD - 1))
        return 0;
    if (f->pii && most > LONG_WORD - 1 - p->word_n)
        most = LONG_WORD - 1 - p->word_n;
    for (; n < most && is_lower(text.p[n]) && !(text.p[n] == r[0] && text.p[n] == r[1]); n++) {
        char c = text.p[n];
        memmove(f->ring, f->ring + 1, FLOW_RING - 1);
        f->ring[FLOW_RING - 1] = c;
        f->literal = literals_step(f->policy->literals, &f->node, c, at + n + 1, flow_hit, f);
        if (f->word_n < FLOW_WORD_MAX)
            f->word[f->word_n] = c;
        f->word_n++;
    }
    buf_add(&f->folded, text.p, n);
    f->run_n += n;
    f->latin_n += n;
    f->word_to = n ? at + n : f->word_to;
    p->word_n += f->pii ? n : 0;
    return n;
}

void flow_read(struct safety_flow *f, struct str text) {
    size_t at = f->base + f->raw.n - text.n;
    for (size_t i = 0; i < text.n;) {
        char c = text.p[i];
        if (is_lower(c)) {
            size_t n = take_letters(f, str_sub(text, i, text.n), at + i);
            if (n) {
                i += n;
                continue;
            }
        }
        watch_run(f, c, at + i);
        if (is_latin(c))
            f->latin_from = f->latin_n++ ? f->latin_from : at + i;
        else if (f->latin_n)
            end_latin(f);
        if (f->reversed)
            flow_set_dirty(f, at + i > FLOW_WINDOW / 2 ? at + i - FLOW_WINDOW / 2 : 0);
        f->reversed = f->reversed && c != '\n';
        if (c == '\n' || c == '\r')
            f->overrides = 0;
        if (f->pii)
            watch_data(f, c, at + i);
        if ((unsigned char)c < 128) {
            f->differs = f->differs || ((unsigned char)c < 32 && c != '\n' && c != '\t');
            take_ascii(f, c, at + i, at + i + 1);
            i++;
            continue;
        }
        int32_t letter;
        size_t n = unicode_next(text.p + i, text.n - i, &letter);
        take_other(f, str_sub(text, i, n), letter, at + i);
        i += n;
    }
}

/* The letters that may go on, as if they did not. */
static void try_latin(struct safety_flow *f) {
    size_t n = f->latin_n, from = f->turned_from, turned = f->turned_n, hits = f->turned_hits;
    int before = f->turned_before;
    end_latin(f);
    f->latin_n = n;
    f->turned_from = from;
    f->turned_n = turned;
    f->turned_hits = hits;
    f->turned_before = before;
}

void flow_read_end(struct safety_flow *f, enum text_then then) {
    struct str w = {f->word, f->word_n < FLOW_WORD_MAX ? f->word_n : FLOW_WORD_MAX};
    if (then != TEXT_GOES_ON && f->run_n >= RUN_MIN)
        try_run(f);
    if (then == TEXT_PAUSES && f->latin_n)
        try_latin(f);
    if (then == TEXT_ENDS && f->latin_n)
        end_latin(f);
    if (!f->word_n)
        return;
    if (then == TEXT_ENDS)
        end_word(f);
    else
        words_step(f->b->stepper, w, f->new_sentence, f->word_from, f->word_to, true,
                   then == TEXT_PAUSES ? flow_hit : flow_trial_hit, f);
}
