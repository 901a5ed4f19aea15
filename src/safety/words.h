/* Patterns of words, many at once: an automaton over words, not bytes, so that a word is a word
 * wherever it stands and no pattern can take more than linear time (Glushkov 1961, simulated with
 * the positions that a word occurs at).
 *
 *   pattern   = element …                      one or more
 *   element   = WORD | WORD* | (…|…) | […|…] | * | *N
 *   WORD      letters, digits and apostrophes; WORD* all words that begin so (3 letters at least)
 *   (a|b c)   one of these      [a|b]  one of these or nothing
 *   *         up to 3 words between, *N up to N (at most 8)
 *
 * Words match in order and within one sentence. Texts are folded ones (normalise.h). What would
 * grow past the caps below is refused when it is added. A set does not change once it is built;
 * scanners are for one thread each. */
#pragma once

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"

#define WORDS_POSITIONS_MAX 512  /* words in one pattern */
#define WORDS_EDGES_MAX     8192 /* ways from one word to the next in one pattern */
#define WORDS_DEPTH_MAX     8
#define WORDS_GAP_MAX       8
#define WORDS_TOTAL_MAX     200000 /* positions, and a tenth of the edges, of a set */

struct words; /* being built, then used */
struct words_scanner;

struct words *words_new(void); /* NULL when out of memory */
void words_free(struct words *w);
/* Adds a pattern; `id` is what a match reports. ERR_INVALID says what is wrong with it,
 * ERR_TOO_LARGE that it would explode. */
enum err words_add(struct words *w, struct str pattern, uint32_t id, struct errinfo *ei) ERR_CHECK;
enum err words_build(struct words *w) ERR_CHECK; /* after the last one */
size_t words_positions(const struct words *w);

struct words_scanner *words_scanner_new(const struct words *w);
void words_scanner_free(struct words_scanner *s);
/* Reports each match with its bytes in text. A pattern may match many times. */
void words_scan(struct words_scanner *s, struct str text,
                void (*hit)(void *ctx, uint32_t id, size_t from, size_t to), void *ctx);

/* ---- a text that grows: word by word, and what of the scan lives on between its pieces ---- */
struct words_live { /* zeros: nothing was read; with words_live_deinit() */
    struct words_seen {
        uint32_t position, at, from;
    } * list; /* the positions from which a match can still go on */
    size_t n, size;
    uint32_t clock;
};
void words_live_deinit(struct words_live *l);
/* Takes up where l was left. Between this and words_suspend() the scanner is for words_step() only,
 * and it must be one that words_scan() is never used with. */
void words_resume(struct words_scanner *s, const struct words_live *l);
/* The next word, from byte `from` to `to` of the text (below 4 GiB). trial: as if it ended here; it
 * will be given again. */
void words_step(struct words_scanner *s, struct str word, bool new_sentence, size_t from, size_t to,
                bool trial, void (*hit)(void *ctx, uint32_t id, size_t from, size_t to), void *ctx);
enum err words_suspend(struct words_scanner *s, struct words_live *l) ERR_CHECK;

/* Text is wrapped at line ends, so a line's end alone ends no sentence; a blank line behind it
 * does, and the sign of a list, a heading, a quotation or a table. */
static inline bool words_ends_line(char c) {
    return c == '\n' || c == '-' || c == '*' || c == '#' || c == '>' || c == '|' || c == '+';
}

/* Before a blank, a line's end or the text's. */
static inline bool words_ends_sentence(char c) {
    return c == '.' || c == '!' || c == '?' || c == ';';
}

/* The next word of a text from *at on: its bytes; *ret_gap is raised past 0 where a sentence ended
 * before it. False at the end. */
bool words_next(struct str text, size_t *at, struct str *ret, bool *ret_new_sentence);
