/* See wording.h. */
#include "retrieval/wording.h"

#define TERMS_MAX 64 /* bits of a set */
#define RING      (WORDING_WINDOW + 1)

static size_t n_terms(const struct query_terms *q) {
    return q->n < TERMS_MAX ? q->n : TERMS_MAX;
}

static bool has(uint64_t set, size_t i) {
    return set >> i & 1;
}

void wording_begin(struct wording *w, const struct query_terms *q, const float *rarity) {
    w->terms = q;
    w->rarity = rarity;
    w->here = w->seen = w->pairs = 0;
    w->together = 0;
    w->at = w->n_recent = 0;
    w->before = -1;
}

void wording_text(struct wording *w) {
    w->at += WORDING_WINDOW + 1;
    w->before = -1;
}

/* What stands in the window that ends here. */
static double window(const struct wording *w) {
    uint64_t set = 0;
    double sum = 0;
    for (size_t i = w->n_recent; i-- > 0 && i + RING >= w->n_recent;) {
        size_t k = i % RING;
        if (w->at - w->recent[k].at > WORDING_WINDOW)
            break;
        if (!has(set, (size_t)w->recent[k].term))
            sum += (double)w->rarity[w->recent[k].term];
        set |= 1ull << w->recent[k].term;
    }
    return sum;
}

/* The next term of the question that counts. */
static int next_of(const struct query_terms *q, int i) {
    int n = (int)n_terms(q);
    for (i++; i < n && q->list[i].is_stop; i++)
        ;
    return i < n ? i : -1;
}

void wording_word(struct wording *w, const struct term *word) {
    int term = -1;
    for (size_t i = 0; term < 0 && i < n_terms(w->terms); i++)
        if (str_eq((struct str){w->terms->list[i].text, w->terms->list[i].n}, word->text))
            term = (int)i;
    if (term >= 0)
        w->here |= 1ull << term;
    if (word->is_stop)
        return;
    if (term >= 0) {
        if (w->before >= 0 && next_of(w->terms, w->before) == term)
            w->pairs |= 1ull << w->before;
        w->recent[w->n_recent % RING].at = w->at;
        w->recent[w->n_recent++ % RING].term = term;
        double here = window(w);
        w->together = here > w->together ? here : w->together;
    }
    w->before = term;
    w->at++;
}

double wording_share(struct wording *w) {
    double have = 0, all = 0;
    for (size_t i = 0; i < n_terms(w->terms); i++)
        if (!w->terms->list[i].is_stop) {
            all += 1;
            have += has(w->here, i);
        }
    w->seen |= w->here;
    w->here = 0;
    return all > 0 ? have / all : 0;
}

void wording_end(const struct wording *w, double ret[WORDING_SIGNALS]) {
    double rarest = 0, pairs = 0, all = 0;
    for (size_t i = 0; i < n_terms(w->terms); i++) {
        double rarity = (double)w->rarity[i];
        int next = next_of(w->terms, (int)i);
        all += rarity;
        if (has(w->seen | w->here, i) && rarity > rarest)
            rarest = rarity;
        if (has(w->pairs, i) && next >= 0)
            pairs += rarity + (double)w->rarity[next];
    }
    ret[WORDING_RAREST] = rarest;
    ret[WORDING_PHRASE] = all > 0 ? pairs / all : 0;
    ret[WORDING_TOGETHER] = all > 0 ? w->together / all : 0;
}
