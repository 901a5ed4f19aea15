/* See evidence_load.h. What a rating says of each passage:
 *
 *   the person marked it               their mark, weight 1
 *   liked                              1: 0.6 where the answer cites it, else 0.2
 *   disliked for a wrong source        0: 0.6 where it is cited, else 0.2
 *   disliked for anything else         0: 0.2 (the model may be to blame)
 *   signals only                       as evidence.h says, times 0.2 */
#include "learn/evidence_load.h"

#include <math.h>
#include <stdlib.h>

#include "base/json.h"
#include "learn/evidence.h"
#include "learn/learn.h"
#include "retrieval/retrieval.h"
#include "retrieval/vectors.h"
#include "store/chunk.h"

#define PASSAGES_MAX 32 /* of one turn */
#define PART_CITED   0.6
#define PART_SHOWN   0.2

struct loading {
    struct store_tx *tx;
    struct arena *a;
    struct evidence_set *set;
    struct evidence_row *rows;
    size_t n_rows;
    struct uuid *public;
    size_t n_public;
    int64_t model;
    int dims;
    struct str model_name;
    struct vector_entry {
        uint64_t key;
        const float *vector;
    } * vectors; /* by key, sorted */
    size_t n_vectors, size_vectors;
    struct judgement *judgements; /* one for each rating of the set */
    struct person *people;
    struct uuid *people_ids;
    size_t n_people;
    uint32_t *slots; /* of the questions, by a hash of role and text; their number + 1, 0 = free */
    size_t n_slots;
};

static int by_uuid(const void *a, const void *b) {
    return memcmp(((const struct uuid *)a)->s, ((const struct uuid *)b)->s, UUID_LEN);
}

static bool is_public(const struct loading *l, const struct uuid *doc) {
    return bsearch(doc, l->public, l->n_public, sizeof *doc, by_uuid) != NULL;
}

/* ---- vectors of passages ---- */

static int by_key(const void *a, const void *b) {
    uint64_t x = ((const struct vector_entry *)a)->key, y = ((const struct vector_entry *)b)->key;
    return x < y ? -1 : x > y;
}

static const float *unpack(struct loading *l, struct str stored) {
    if (stored.n != vector_size((int)l->dims))
        return NULL;
    float *v = arena_array(l->a, (size_t)l->dims, sizeof *v);
    if (v)
        vector_unpack(stored.p, (int)l->dims, v);
    return v;
}

static enum err load_document(struct loading *l, const struct uuid *doc) {
    struct chunk_row *c;
    size_t n;
    enum err e = chunk_list(l->tx, doc, l->model, l->a, &c, &n);
    for (size_t i = 0; !e && i < n; i++) {
        if (l->n_vectors == l->size_vectors) {
            size_t size = l->size_vectors ? 2 * l->size_vectors : 1024;
            struct vector_entry *more = realloc(l->vectors, size * sizeof *more);
            if (!more)
                return ERR_NOMEM;
            l->vectors = more;
            l->size_vectors = size;
        }
        l->vectors[l->n_vectors++] =
            (struct vector_entry){retrieval_key(doc, c[i].hash), unpack(l, c[i].vector)};
    }
    return e;
}

static const float *vector_of(const struct loading *l, uint64_t passage) {
    struct vector_entry key = {passage, NULL};
    struct vector_entry *at =
        l->n_vectors ? bsearch(&key, l->vectors, l->n_vectors, sizeof key, by_key) : NULL;
    return at ? at->vector : NULL;
}

/* ---- the passages of a turn ---- */

_Static_assert(RANKER_ECHO - RANKER_FUSED == SIGNAL_COUNT, "the search's signals, in their order");

/* Older records have fewer: new signals go to the end. */
static bool has_signals(json_val *v) {
    return yyjson_arr_size(v) >= SIGNAL_WORDING && yyjson_arr_size(v) <= SIGNAL_COUNT;
}

static bool read_passage(const struct loading *l, json_val *v, struct uuid *ret_doc,
                         struct ranker_passage *ret) {
    struct str key = json_get_str(v, "key");
    json_val *signals = json_get(v, "signals");
    if (!uuid_parse(json_get_str(v, "doc_id"), ret_doc) || key.n != 16 || !has_signals(signals) ||
        !is_public(l, ret_doc))
        return false;
    char hex[17] = {0};
    memcpy(hex, key.p, 16);
    *ret = (struct ranker_passage){.key = strtoull(hex, NULL, 16),
                                   .source = learn_source_key(ret_doc)};
    for (size_t i = 0; i < yyjson_arr_size(signals); i++) {
        double s = yyjson_get_num(yyjson_arr_get(signals, i));
        ret->signals[RANKER_FUSED + i] = isfinite(s) ? s : 0;
    }
    return true;
}

struct shown { /* a passage of a turn with what was said of it */
    struct ranker_passage p;
    struct worth worth;
};

/* The search's own order, whatever order was shown: the signals that follow from it are then what
 * they were when the search asked for scores. */
static int by_fused(const void *a, const void *b) {
    const struct shown *x = a, *y = b;
    double d = y->p.signals[RANKER_FUSED] - x->p.signals[RANKER_FUSED];
    return d != 0 ? (d > 0 ? 1 : -1) : (x->p.key > y->p.key) - (x->p.key < y->p.key);
}

/* A person's own mark: 1, 0, or -1 for none. */
static int marked(json_val *sources, struct str key) {
    size_t i, n;
    json_val *v;
    if (yyjson_is_arr(sources))
        yyjson_arr_foreach(
            sources, i, n,
            v) if (str_eq(json_get_str(v, "key"), key)) return json_get_bool(v, "helpful", false);
    return -1;
}

static struct worth worth_of(const struct evidence_row *r, bool cited, int mark) {
    struct worth w = evidence_worth(r->rating, r->signals);
    if (mark >= 0)
        return (struct worth){mark, 1};
    bool source = str_find(r->reasons, STR("\"wrong_source\"")) != SIZE_MAX;
    bool full = r->rating == RATING_THUMBS_UP || (r->rating == RATING_THUMBS_DOWN && source);
    w.weight *= full && cited ? PART_CITED : PART_SHOWN;
    return w;
}

static size_t person_of(struct loading *l, const struct evidence_row *r) {
    for (size_t i = l->n_people; i-- > 0;)
        if (uuid_eq(&l->people_ids[i], &r->r.user_id))
            return i;
    l->people_ids[l->n_people] = r->r.user_id;
    l->people[l->n_people].flagged = r->flagged;
    return l->n_people++;
}

/* Where the question of a row is, or may be put. The same words ask the same question. */
static uint32_t *slot_of(const struct loading *l, const struct evidence_row *r) {
    const struct evidence_set *s = l->set;
    uint64_t role = words_hash(uuid_str(&r->r.role_id));
    size_t at = (size_t)(words_hash(r->question) ^ role * 0x9e3779b97f4a7c15u) % l->n_slots;
    for (;; at = (at + 1) % l->n_slots) {
        const struct ranker_question *q = l->slots[at] ? &s->questions[l->slots[at] - 1] : NULL;
        if (!q || (q->role == role && str_eq(q->text, r->question)))
            return &l->slots[at];
    }
}

static size_t question_of(struct loading *l, const struct evidence_row *r, const float *vector) {
    struct evidence_set *s = l->set;
    uint32_t *slot = slot_of(l, r);
    if (!*slot) {
        s->questions[s->n_questions] =
            (struct ranker_question){r->question, vector, words_hash(uuid_str(&r->r.role_id))};
        *slot = (uint32_t)++s->n_questions;
    }
    return *slot - 1;
}

/* The passage that was shown, and the one that might have been: both may be read by everybody. */
static void add_choice(struct loading *l, json_val *pair, const struct ranker_passage *shown) {
    struct evidence_set *s = l->set;
    struct replay_choice *c = &s->choices[s->n_choices];
    struct ranker_passage other;
    struct uuid doc;
    double chance = yyjson_get_num(json_get(pair, "chance"));
    if (!read_passage(l, json_get(pair, "other"), &doc, &other) || !(chance > 0) || chance > 1)
        return;
    other.vector = vector_of(l, other.key);
    size_t at = other.signals[RANKER_FUSED] > shown->signals[RANKER_FUSED];
    *c = (struct replay_choice){.question = s->questions[s->turns[s->n_turns].question_number],
                                .question_number = s->turns[s->n_turns].question_number,
                                .shown = at,
                                .chance = chance,
                                .value = s->turns[s->n_turns].values[0]};
    c->passages[at] = *shown;
    c->passages[1 - at] = other;
    ranker_fill_signals(c->passages, 2, s->dims);
    s->choice_turn[s->n_choices++] = s->n_turns;
}

static enum err add_turn(struct loading *l, const struct evidence_row *r, json_val *record,
                         json_val *sources) {
    struct evidence_set *s = l->set;
    json_val *list = json_get(record, "passages"), *v;
    size_t i, n, m = 0;
    struct ranker_passage *p = arena_array(l->a, PASSAGES_MAX, sizeof *p);
    double *values = arena_array(l->a, PASSAGES_MAX, sizeof *values);
    double *weights = arena_array(l->a, PASSAGES_MAX, sizeof *weights);
    float *vector = arena_alloc(l->a, r->r.vector.n + 1);
    if (!p || !values || !weights || !vector)
        return ERR_NOMEM;
    memcpy(vector, r->r.vector.p, r->r.vector.n);
    if (!yyjson_is_arr(list))
        return ERR_OK;
    struct shown shown[PASSAGES_MAX];
    yyjson_arr_foreach(list, i, n, v) {
        struct uuid doc;
        if (m == PASSAGES_MAX || !read_passage(l, v, &doc, &shown[m].p))
            continue;
        shown[m].p.vector = vector_of(l, shown[m].p.key);
        shown[m].worth =
            worth_of(r, json_get_bool(v, "cited", false), marked(sources, json_get_str(v, "key")));
        m++;
    }
    if (m == 0) /* what was asked of private documents is not remembered either */
        return ERR_OK;
    size_t question = question_of(l, r, vector), person = person_of(l, r);
    qsort(shown, m, sizeof *shown, by_fused);
    for (i = 0; i < m; i++) {
        p[i] = shown[i].p;
        values[i] = shown[i].worth.value;
    }
    ranker_fill_signals(p, m, s->dims);
    for (i = 0; i < m; i++) {
        l->judgements[s->n_ratings] = (struct judgement){.person = person,
                                                         .at = r->rated_at ? r->rated_at : r->r.at,
                                                         .worth = shown[i].worth,
                                                         .rating = s->n_turns};
        s->turn_of[s->n_ratings] = s->n_turns;
        s->ratings[s->n_ratings++] =
            (struct ranker_rating){question, p[i], values[i], shown[i].worth.weight};
    }
    s->turn_at[s->n_turns] = r->r.at;
    s->rated_at[s->n_turns] = r->rating >= 0 ? r->rated_at : 0;
    s->turns[s->n_turns] =
        (struct replay_turn){s->questions[question], question, false, p, values, weights, m};
    if (m == 1 && n == 1)
        add_choice(l, json_get(record, "pair"), &p[0]);
    s->n_turns++;
    s->rated += r->rating >= 0;
    return ERR_OK;
}

/* ---- all of it ---- */

static enum err read_documents(struct loading *l) {
    enum err e = ERR_OK;
    struct uuid *seen = calloc(l->n_rows * (PASSAGES_MAX + 1) + 1, sizeof *seen);
    size_t n = 0;
    if (!seen)
        return ERR_NOMEM;
    for (size_t i = 0; i < l->n_rows; i++) {
        yyjson_doc *doc;
        size_t k, m;
        json_val *v;
        if (json_parse(l->rows[i].r.record, &doc, NULL))
            continue;
        json_val *root = yyjson_doc_get_root(doc), *list = json_get(root, "passages");
        json_val *other = json_get(json_get(root, "pair"), "other");
        n += uuid_parse(json_get_str(other, "doc_id"), &seen[n]) && is_public(l, &seen[n]);
        if (yyjson_is_arr(list))
            yyjson_arr_foreach(list, k, m, v) if (k < PASSAGES_MAX &&
                                                  uuid_parse(json_get_str(v, "doc_id"), &seen[n]) &&
                                                  is_public(l, &seen[n])) n++;
        yyjson_doc_free(doc);
    }
    if (n)
        qsort(seen, n, sizeof *seen, by_uuid);
    for (size_t i = 0; !e && i < n; i++)
        if (i == 0 || !uuid_eq(&seen[i], &seen[i - 1]))
            e = load_document(l, &seen[i]);
    free(seen);
    if (l->n_vectors)
        qsort(l->vectors, l->n_vectors, sizeof *l->vectors, by_key);
    return e;
}

static bool has_vector(const struct loading *l, const struct evidence_row *r) {
    return str_eq(r->r.vector_model, l->model_name) &&
           r->r.vector.n == (size_t)l->dims * sizeof(float);
}

static enum err add_row(struct loading *l, const struct evidence_row *r) {
    yyjson_doc *record = NULL, *sources = NULL;
    if (!has_vector(l, r) || json_parse(r->r.record, &record, NULL))
        return ERR_OK;
    if (json_parse(r->sources, &sources, NULL))
        sources = NULL;
    enum err e =
        add_turn(l, r, yyjson_doc_get_root(record), sources ? yyjson_doc_get_root(sources) : NULL);
    yyjson_doc_free(record);
    yyjson_doc_free(sources);
    return e;
}

/* What is older than the newest RANKER_QUESTIONS_MAX questions is let go: a system that has been
 * asked for years learns from what people say now. */
static void let_go(struct loading *l) {
    size_t from = l->n_rows, n = 0;
    for (; from > 0 && n < RANKER_QUESTIONS_MAX; from--) {
        const struct evidence_row *r = &l->rows[from - 1];
        if (has_vector(l, r)) {
            (void)question_of(l, r, NULL);
            n = l->set->n_questions;
        }
    }
    l->set->left_out = from;
    l->rows += from;
    l->n_rows -= from;
    l->set->n_questions = 0;
    memset(l->slots, 0, l->n_slots * sizeof *l->slots);
}

static enum err make_room(struct loading *l) {
    struct evidence_set *s = l->set;
    size_t n = l->n_rows + 1;
    l->n_slots = 2 * n;
    l->slots = arena_array(l->a, l->n_slots, sizeof *l->slots);
    s->rated_at = arena_array(l->a, n, sizeof *s->rated_at);
    s->choices = arena_array(l->a, n, sizeof *s->choices);
    s->choice_turn = arena_array(l->a, n, sizeof *s->choice_turn);
    s->questions = arena_array(l->a, n, sizeof *s->questions);
    s->ratings = arena_array(l->a, n * PASSAGES_MAX, sizeof *s->ratings);
    s->turn_of = arena_array(l->a, n * PASSAGES_MAX, sizeof *s->turn_of);
    s->turns = arena_array(l->a, n, sizeof *s->turns);
    s->turn_at = arena_array(l->a, n, sizeof *s->turn_at);
    l->judgements = arena_array(l->a, n * PASSAGES_MAX, sizeof *l->judgements);
    l->people = arena_array(l->a, n, sizeof *l->people);
    l->people_ids = arena_array(l->a, n, sizeof *l->people_ids);
    return s->questions && s->ratings && s->turn_of && s->turns && s->turn_at && l->judgements &&
                   l->people && l->people_ids && l->slots && s->rated_at && s->choices &&
                   s->choice_turn
               ? ERR_OK
               : ERR_NOMEM;
}

/* Numbers each (question, passage), weighs, and writes the weights to ratings and turns. */
static enum err weigh(struct loading *l) {
    struct evidence_set *s = l->set;
    struct vector_entry *things = calloc(s->n_ratings + 1, sizeof *things);
    size_t n = 0, k = 0;
    if (!things)
        return ERR_NOMEM;
    for (size_t i = 0; i < s->n_ratings; i++)
        things[i].key = s->ratings[i].passage.key ^ (s->ratings[i].question * 0x9e3779b97f4a7c15u);
    qsort(things, s->n_ratings, sizeof *things, by_key);
    for (size_t i = 0; i < s->n_ratings; i++)
        if (n == 0 || things[i].key != things[n - 1].key)
            things[n++] = things[i];
    for (size_t i = 0; i < s->n_ratings; i++) {
        struct vector_entry key = {
            s->ratings[i].passage.key ^ (s->ratings[i].question * 0x9e3779b97f4a7c15u), NULL};
        struct vector_entry *at = bsearch(&key, things, n, sizeof key, by_key);
        l->judgements[i].thing = (size_t)(at - things);
    }
    enum err e = evidence_weigh(l->judgements, s->n_ratings, l->people, l->n_people, n);
    for (size_t i = 0; !e && i < s->n_ratings; i++) {
        size_t t = s->turn_of[i];
        k = i && s->turn_of[i - 1] == t ? k + 1 : 0;
        s->ratings[i].weight = l->judgements[i].worth.weight;
        ((double *)s->turns[t].weights)[k] = s->ratings[i].weight;
    }
    for (size_t i = 0; !e && i < s->n_choices; i++)
        s->choices[i].weight = s->turns[s->choice_turn[i]].weights[0];
    free(things);
    return e;
}

enum err evidence_load(struct store_tx *tx, struct arena *a, struct evidence_set *ret) {
    struct loading l = {.tx = tx, .a = a, .set = ret};
    *ret = (struct evidence_set){0};
    enum err e = embedding_model_in_use(tx, a, &l.model_name, &l.model, &l.dims);
    if (e)
        return e == ERR_NOT_FOUND ? ERR_OK : e; /* nothing was embedded: nothing to learn from */
    ret->dims = (size_t)l.dims;
    e = evidence_list(tx, 0, EVIDENCE_ROWS_MAX, a, &l.rows, &l.n_rows);
    if (!e)
        e = document_public_ids(tx, a, &l.public, &l.n_public);
    if (!e)
        e = make_room(&l);
    if (!e) {
        let_go(&l);
        e = read_documents(&l);
    }
    for (size_t i = 0; !e && i < l.n_rows; i++)
        e = add_row(&l, &l.rows[i]);
    if (!e)
        e = weigh(&l);
    free(l.vectors);
    return e;
}
