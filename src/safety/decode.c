/* Encoded fragments: base64 (RFC 4648, both alphabets), hexadecimal, ROT13, and lines that are
 * shown in another order than they are written in (bidi.c). A fragment counts only when what comes
 * out reads as text; so a hash, a key or an image stays what it is. */
#include <pthread.h>
#include <stdlib.h>

#include "safety/normalise_internal.h"

#define ROT13_WORDS 3 /* words in a row … */
#define ROT13_HITS  2 /* … of which so many are common English when turned */
#define COMMON_MAX  7 /* letters of a common word at most */

struct run {
    size_t from, to;
};

struct found {
    decode_fn take;
    void *ctx;
    int left;                            /* fragments of a kind that are still taken */
    struct run turned[NORMAL_FRAGMENTS]; /* in ROT13 as a whole, in order */
    size_t n_turned;
};

static int base64_value(char c) {
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' || c == '-' ? 62 : c == '/' || c == '_' ? 63 : -1;
}

static int hex_value(char c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static bool is_letter(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* UTF-8 that is mostly letters, and no control characters. */
static bool reads_as_text(struct str s) {
    size_t letters = 0, spaces = 0;
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if ((c < 32 && c != '\n' && c != '\t' && c != '\r') || c == 127)
            return false;
        letters += is_letter(s.p[i]) || c >= 128;
        spaces += c == ' ';
    }
    return s.n >= 6 && letters * 10 >= s.n * 6 && (spaces > 0 || letters == s.n) && utf8_valid(s);
}

static void decode_base64(struct str s, struct buf *out) {
    uint32_t bits = 0;
    int n = 0;
    for (size_t i = 0; i < s.n; i++) {
        int v = base64_value(s.p[i]);
        if (v < 0) /* a line break inside, or '=' */
            continue;
        bits = bits << 6 | (uint32_t)v;
        if ((n += 6) >= 8)
            buf_addc(out, (char)(bits >> (n -= 8) & 255));
    }
}

static void decode_hex(struct str s, struct buf *out) {
    for (size_t i = 0; i + 1 < s.n; i += 2)
        buf_addc(out, (char)(hex_value(s.p[i]) * 16 + hex_value(s.p[i + 1])));
}

/* sure: what comes out is told by something else than its letters. */
static bool offer(struct found *f, struct str s, size_t from,
                  void (*decode)(struct str, struct buf *), struct buf *out, unsigned how,
                  bool sure) {
    buf_clear(out);
    decode(s, out);
    if (buf_err(out) || !(sure ? out->n > 0 : reads_as_text(buf_str(out))))
        return false;
    f->take(f->ctx, buf_str(out), from, from + s.n, how);
    f->left--;
    return true;
}

static void find_encoded(struct str s, bool hexes, struct buf *out, struct found *f) {
    for (size_t i = 0; i < s.n && f->left > 0;) {
        size_t from = i;
        bool hex = true;
        while (i < s.n && base64_value(s.p[i]) >= 0) {
            hex = hex && hex_value(s.p[i]) >= 0;
            i++;
        }
        struct str run = {s.p + from, i - from};
        hex = hex && run.n % 2 == 0;
        if (run.n >= NORMAL_ENCODED_MIN && hex == hexes)
            (void)offer(f, run, from, hexes ? decode_hex : decode_base64, out,
                        hexes ? NORMAL_HEX : NORMAL_BASE64, false);
        while (i < s.n && base64_value(s.p[i]) < 0)
            i++;
    }
}

/* ---- ROT13 ---- */

/* What nearly every English sentence has some of. */
static const char *const common[] = {
    "a",    "about", "all",  "an",    "and",  "any",    "are",  "as",   "at",      "be",    "by",
    "can",  "do",    "for",  "from",  "get",  "give",   "has",  "have", "he",      "her",   "his",
    "how",  "i",     "if",   "in",    "into", "is",     "it",   "kill", "make",    "me",    "my",
    "not",  "of",    "on",   "or",    "out",  "please", "she",  "so",   "some",    "steps", "tell",
    "that", "the",   "them", "they",  "this", "to",     "up",   "use",  "us",      "want",  "was",
    "we",   "what",  "when", "where", "who",  "why",    "will", "with", "without", "you",   "your"};

static char rot13(char c) {
    if (c >= 'a' && c <= 'z')
        return (char)('a' + (c - 'a' + 13) % 26);
    if (c >= 'A' && c <= 'Z')
        return (char)('A' + (c - 'A' + 13) % 26);
    return c;
}

/* Up to seven letters as a number. */
static uint64_t pack(const char *p, size_t n) {
    uint64_t v = 0;
    for (size_t i = 0; i < n; i++)
        v = v << 8 | (unsigned char)(p[i] | 0x20);
    return v;
}

#define COMMON (sizeof common / sizeof *common)
#define SLOTS  512 /* a power of two, four times the words and their turned forms */
static struct {
    uint64_t word; /* 0 = free */
    unsigned known;
} slots[SLOTS];
static pthread_once_t packed_once = PTHREAD_ONCE_INIT;

static size_t slot_of(uint64_t word) {
    size_t at = (word * 0x9e3779b97f4a7c15u) >> 55;
    while (slots[at].word && slots[at].word != word)
        at = (at + 1) % SLOTS;
    return at;
}

static void note_word(uint64_t word, unsigned known) {
    size_t at = slot_of(word);
    slots[at].word = word;
    slots[at].known |= known;
}

static void pack_common(void) {
    for (size_t i = 0; i < COMMON; i++) {
        char other[COMMON_MAX];
        size_t n = strlen(common[i]);
        for (size_t k = 0; k < n; k++)
            other[k] = rot13(common[i][k]);
        note_word(pack(common[i], n), DECODE_STANDS);
        note_word(pack(other, n), DECODE_TURNED);
    }
}

static unsigned known_of(uint64_t word) {
    return slots[slot_of(word)].known;
}

unsigned decode_word(struct str word) {
    if (word.n == 0 || word.n > COMMON_MAX)
        return 0;
    pthread_once(&packed_once, pack_common);
    return known_of(pack(word.p, word.n));
}

static void decode_rot13(struct str s, struct buf *out) {
    for (size_t i = 0; i < s.n; i++)
        buf_addc(out, rot13(s.p[i]));
}

/* ---- words that are likelier when they are turned ---- */

#define TURNED_WORD                                                                                \
    16 /* two thirds of a bit: by so much a word of four letters or more is likelier               \
          turned than as it stands … */
#define TURNED_PAIR 18 /* … and two in a row together, … */
#define TURNED_EACH 6  /* … each by so much; in a sentence that has such words, so are others */
#define TURNED_MIN  4

/* How common pairs of letters are in English words, in steps of two thirds of a bit; counted in the
 * texts of data/safety/corpus, docs and abstracts. Row: the first letter, column: the second. */
static const char pairs[26][27] = {
    "mrtsnorlskpusulsiutvqpnnql", "rmllrhihrlfrlirjfqpmqhiama", "tipktiitsarrkkulhrotriafpf",
    "rkkouknktkeonmqkgqqkqmleoa", "totvsqqnpimtsvprowvtorprok", "qgghrqegsafphirgaplopggema",
    "qjhisioqraeplppiarplqhednd", "slklthilsddmnnsjgpnpodkhpf", "squssqrlninsswuqlruumsingp",
    "mdadodaahefeddnfahiaoaaaaa", "nfijriijqajmjolkajpklfhaka", "tlnpunmguamtnltmdkqqqnjasg",
    "tqkktkiisfflqlssekpkqhhena", "sksttpvmsmonmpsmiltupplinj", "pprroprmqkpstvrsgusssqronk",
    "sjlktjhrraislksqdtpqqjiena", "idgaeaaagaahedgdfhffqafaaa", "uoqrvoqmudporquohqssqpmare",
    "rkrlunkrtfoppnsrllsusjofpe", "tkojvmjtvdhpnmtletsqrhngrk", "qpqpqmpiqfksrsmpdtsskidjli",
    "rdhhtgahraajghphdiihiidfia", "qijkrigpqfhlhopeannkgejaja", "namenffjpaagdfjpdfgojafika",
    "lknlohkgoafnnonoalpnifkdgk", "naaapaedmaajeflaaaadgadaik",
};

/* "word", "Word" or "WORD": base64 mixes them. */
static bool is_one_case(struct str w) {
    for (size_t i = 2; i < w.n; i++)
        if ((w.p[i] ^ w.p[1]) & 0x20)
            return false;
    return w.n < 2 || (w.p[0] & 0x20) == 0 || (w.p[1] & 0x20);
}

static signed char gains[32][32]; /* of pairs of letters, by their last five bits */
static pthread_once_t gains_once = PTHREAD_ONCE_INIT;

static void count_gains(void) {
    for (int a = 0; a < 26; a++)
        for (int b = 0; b < 26; b++)
            gains[a + 1][b + 1] = (signed char)(pairs[(a + 13) % 26][(b + 13) % 26] - pairs[a][b]);
}

/* By how much likelier the word is when it is turned. */
static int turned_gain(struct str w) {
    int gain = 0;
    pthread_once(&gains_once, count_gains);
    for (size_t i = 0; i + 1 < w.n; i++)
        gain += gains[w.p[i] & 31][w.p[i + 1] & 31];
    return gain;
}

/* Runs of words that are no common English, of which at least two are when turned. What stands
 * before them ("answer this code:") is none of them: its first word is no likelier when turned. */
static void find_rot13(struct str s, struct buf *out, struct found *f) {
    size_t run_from = 0, run_to = 0, words = 0, hits = 0;
    for (size_t i = 0; i <= s.n && f->left > 0;) {
        size_t from = i;
        while (i < s.n && is_letter(s.p[i]))
            i++;
        struct str w = {s.p + from, i - from};
        bool ends = i >= s.n;
        unsigned known = decode_word(w);
        bool breaks = known == DECODE_STANDS;
        bool stands = words == 0 && !(known & DECODE_TURNED) && turned_gain(w) <= -TURNED_EACH;
        if (w.n > 0 && !breaks && !stands) {
            if (words++ == 0)
                run_from = from;
            run_to = i;
            hits += (known & DECODE_TURNED) != 0;
        }
        if (breaks || ends) {
            if (words >= ROT13_WORDS && hits >= ROT13_HITS && hits * 5 >= words &&
                offer(f, (struct str){s.p + run_from, run_to - run_from}, run_from, decode_rot13,
                      out, NORMAL_ROT13, false))
                f->turned[f->n_turned++] = (struct run){run_from, run_to};
            words = hits = 0;
        }
        if (ends)
            break;
        while (i < s.n && !is_letter(s.p[i]))
            i++;
    }
}

/* ---- single words in ROT13, among others that are not ---- */

bool decode_is_turned(struct str word, int *before) {
    int gain = turned_gain(word);
    if (gain >= TURNED_EACH && ((decode_word(word) & DECODE_STANDS) || !is_one_case(word)))
        gain = 0;
    bool is = (word.n >= TURNED_MIN && gain >= TURNED_WORD) ||
              (gain >= TURNED_EACH && *before >= TURNED_EACH && gain + *before >= TURNED_PAIR);
    *before = gain;
    return is;
}

static void turn_words(struct str s, struct buf *out) {
    for (size_t i = 0; i < s.n;) {
        size_t from = i;
        while (i < s.n && is_letter(s.p[i]))
            i++;
        struct str w = {s.p + from, i - from};
        unsigned known = decode_word(w);
        bool turn = w.n > 0 && !(known & DECODE_STANDS) &&
                    ((known & DECODE_TURNED) || turned_gain(w) >= TURNED_EACH);
        for (size_t k = 0; k < w.n; k++)
            buf_addc(out, turn ? rot13(w.p[k]) : w.p[k]);
        if (i < s.n)
            buf_addc(out, s.p[i++]);
    }
}

/* Letters of base64, a path or a name of a program are no word. */
bool decode_is_of_code(struct str s, size_t from, size_t to) {
    static const char around[] = "0123456789+/=_";
    return (from > 0 && memchr(around, s.p[from - 1], sizeof around - 1)) ||
           (to < s.n && memchr(around, s.p[to], sizeof around - 1));
}

/* Whether the word is of a run that was found; *at goes through the runs. */
static bool was_turned(const struct found *f, size_t from, size_t to, size_t *at) {
    while (*at < f->n_turned && f->turned[*at].to < to)
        (*at)++;
    return *at < f->n_turned && f->turned[*at].from <= from;
}

/* A sentence with such words is read with them turned and the others as they stand. Those of a run
 * that is all in ROT13 were found by then and do not count. */
static void find_turned(struct str s, struct buf *out, struct found *f) {
    size_t from = 0, runs = 0;
    bool turned = false;
    int before = 0;
    for (size_t i = 0; i <= s.n && f->left > 0;) {
        size_t at = i;
        while (i < s.n && is_letter(s.p[i]))
            i++;
        if (i > at && !decode_is_of_code(s, at, i) && !was_turned(f, at, i, &runs))
            turned = decode_is_turned((struct str){s.p + at, i - at}, &before) || turned;
        if (i < s.n && !memchr(".!?\n", s.p[i], 4)) {
            i++;
            continue;
        }
        if (turned)
            (void)offer(f, (struct str){s.p + from, i - from}, from, turn_words, out, NORMAL_ROT13,
                        true);
        from = ++i;
        turned = false;
        before = 0;
    }
}

/* Which of these two may be in s at all: of the first it takes two words that are English when
 * turned, of the second one that gains half of a pair's. */
static void look_for_turned(struct str s, bool *ret_rot13, bool *ret_turned) {
    size_t hits = 0;
    int most = 0;
    pthread_once(&packed_once, pack_common);
    pthread_once(&gains_once, count_gains);
    for (size_t i = 0; i < s.n;) {
        uint64_t word = 0;
        size_t from = i;
        int gain = 0;
        for (; i < s.n && is_letter(s.p[i]); i++) {
            if (i > from)
                gain += gains[s.p[i - 1] & 31][s.p[i] & 31];
            word = word << 8 | (unsigned char)(s.p[i] | 0x20);
        }
        if (i - from <= COMMON_MAX)
            hits += (known_of(word) & DECODE_TURNED) != 0;
        most = gain > most ? gain : most;
        while (i < s.n && !is_letter(s.p[i]))
            i++;
    }
    *ret_rot13 = hits >= ROT13_HITS;
    *ret_turned = 2 * most >= TURNED_PAIR;
}

/* ---- lines that are shown in another order ---- */

static void find_reversed(struct str s, struct buf *out, struct found *f) {
    const struct str mark = STR("\xe2\x80\xae"); /* RLO */
    size_t at = str_find(s, mark);
    while (at != SIZE_MAX && f->left > 0) {
        size_t from = at, to = at;
        while (from > 0 && s.p[from - 1] != '\n')
            from--;
        while (to < s.n && s.p[to] != '\n')
            to++;
        (void)offer(f, (struct str){s.p + from, to - from}, from, bidi_shown, out, NORMAL_REVERSED,
                    true);
        at = str_find((struct str){s.p + to, s.n - to}, mark);
        at = at == SIZE_MAX ? at : to + at;
    }
}

void decode_fragments(struct str original, bool runs, struct buf *out, decode_fn take, void *ctx) {
    struct found f = {.take = take, .ctx = ctx, .left = NORMAL_FRAGMENTS};
    bool rot13ed, turned;
    if (runs)
        find_encoded(original, false, out, &f);
    f.left = NORMAL_FRAGMENTS;
    if (runs)
        find_encoded(original, true, out, &f);
    look_for_turned(original, &rot13ed, &turned);
    f.left = NORMAL_FRAGMENTS;
    if (rot13ed)
        find_rot13(original, out, &f);
    f.left = NORMAL_FRAGMENTS;
    if (turned)
        find_turned(original, out, &f);
    f.left = NORMAL_FRAGMENTS;
    find_reversed(original, out, &f);
}
