/* Filling a shard: words are counted outside the lock, rows are appended in slices under it. */
#include "retrieval/shard.h"

#include <stdlib.h>

#include "text/language.h"

#define SLICE 64 /* chunks appended under one lock */

const char *const index_languages[32] = {"",   "en", "de", "fr", "es", "it", "pt", "nl",
                                         "sv", "da", "no", "fi", "pl", "tr", "ru", "uk",
                                         "el", "he", "ar", "hi", "th", "ja", "ko", "zh"};

int index_language(const char *lang) {
    for (int i = 1; i < 32 && index_languages[i]; i++)
        if (strcmp(index_languages[i], lang) == 0)
            return i;
    return 0;
}

enum err shard_new(const struct uuid *collection_id, const struct bm25 *p, int dimensions,
                   struct shard **ret) {
    struct shard *s = calloc(1, sizeof *s);
    pthread_rwlockattr_t attr;
    if (!s)
        return ERR_NOMEM;
    /* A writer that waits must get its turn however many search. */
    pthread_rwlockattr_init(&attr);
    pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(&s->lock, &attr);
    pthread_rwlockattr_destroy(&attr);
    atomic_init(&s->refs, 1);
    s->collection_id = *collection_id;
    s->bm25 = *p;
    enum err e = postings_new(&s->postings);
    if (!e && dimensions)
        e = vectors_new(dimensions, &s->vectors);
    if (e) {
        shard_unref(s);
        return e;
    }
    *ret = s;
    return ERR_OK;
}

void shard_unref(struct shard *s) {
    if (!s || atomic_fetch_sub(&s->refs, 1) > 1)
        return;
    for (uint32_t i = 0; i < s->n_docs; i++) {
        free(s->docs[i].texts);
        free(s->docs[i].title);
    }
    postings_free(s->postings);
    vectors_free(s->vectors);
    pthread_rwlock_destroy(&s->lock);
    free(s->docs);
    free(s->by_id);
    free(s->len);
    free(s->state);
    free(s->doc);
    free(s->chunk_id);
    free(s->key);
    free(s->simhash);
    free(s);
}

/* ---- documents by id ---- */

static uint32_t hash_id(const struct uuid *id) {
    uint32_t h = 2166136261u;
    for (int i = 0; i < UUID_LEN; i++)
        h = (h ^ (unsigned char)id->s[i]) * 16777619u;
    return h ^ (h >> 15);
}

static uint32_t *id_slot(const struct shard *s, const struct uuid *id) {
    uint32_t mask = s->n_slots - 1;
    for (uint32_t i = hash_id(id) & mask;; i = (i + 1) & mask)
        if (!s->by_id[i] || uuid_eq(&s->docs[s->by_id[i] - 1].doc_id, id))
            return &s->by_id[i];
}

struct shard_doc *shard_find(struct shard *s, const struct uuid *doc_id) {
    uint32_t at = s->n_slots ? *id_slot(s, doc_id) : 0;
    return at && s->docs[at - 1].live ? &s->docs[at - 1] : NULL;
}

static enum err grow_ids(struct shard *s) {
    uint32_t n = s->n_slots ? s->n_slots * 2 : 16;
    uint32_t *slots = calloc(n, sizeof *slots);
    if (!slots)
        return ERR_NOMEM;
    free(s->by_id);
    s->by_id = slots;
    s->n_slots = n;
    for (uint32_t i = 0; i < s->n_docs; i++) /* of two with one id the newer one stays */
        *id_slot(s, &s->docs[i].doc_id) = i + 1;
    return ERR_OK;
}

static char *join_texts(const struct index_doc *d) {
    size_t n = d->source_name.n + d->uri.n + d->type.n + 5, at = 0;
    for (size_t i = 0; i < d->n_tags; i++)
        n += d->tags[i].n + 1;
    char *p = calloc(1, n);
    const struct str first[3] = {d->source_name, d->uri, d->type};
    for (size_t i = 0; p && i < 3 + d->n_tags; i++) {
        struct str s = i < 3 ? first[i] : d->tags[i - 3];
        if (i >= 3 && !s.n)
            continue; /* an empty one would end the list */
        if (s.n)
            memcpy(p + at, s.p, s.n);
        at += s.n + 1;
    }
    return p;
}

static enum err add_doc(struct shard *s, const struct uuid *id, char *texts, char *title,
                        int64_t date, struct shard_doc **ret) {
    if (s->n_docs == s->size_docs) {
        uint32_t size = s->size_docs ? s->size_docs * 2 : 8;
        struct shard_doc *docs = realloc(s->docs, size * sizeof *docs);
        if (!docs)
            return ERR_NOMEM;
        s->docs = docs;
        s->size_docs = size;
    }
    if (s->n_docs * 2 >= s->n_slots) {
        enum err e = grow_ids(s);
        if (e)
            return e;
    }
    struct shard_doc *d = &s->docs[s->n_docs++];
    *d = (struct shard_doc){
        .doc_id = *id, .texts = texts, .title = title, .date = date, .first_row = s->n};
    *ret = d;
    return ERR_OK;
}

/* ---- rows ---- */

static enum err grow_one(void **p, size_t n, size_t item) {
    void *grown = realloc(*p, n * item);
    if (!grown)
        return ERR_NOMEM;
    *p = grown;
    return ERR_OK;
}

static enum err grow_rows(struct shard *s) {
    if (s->n < s->size)
        return ERR_OK;
    uint32_t size = s->size ? s->size + s->size / 2 : 16;
    if (size < s->size || size == UINT32_MAX)
        return ERR_TOO_LARGE;
    enum err e = grow_one((void **)&s->len, size, sizeof *s->len);
    if (!e)
        e = grow_one((void **)&s->state, size, sizeof *s->state);
    if (!e)
        e = grow_one((void **)&s->doc, size, sizeof *s->doc);
    if (!e)
        e = grow_one((void **)&s->chunk_id, size, sizeof *s->chunk_id);
    if (!e)
        e = grow_one((void **)&s->key, size, sizeof *s->key);
    if (!e)
        e = grow_one((void **)&s->simhash, size, sizeof *s->simhash);
    if (!e)
        s->size = size;
    return e;
}

/* ---- counting a chunk's words ---- */

struct counter {
    struct terms *terms;
    char *text; /* of distinct words, one after the other */
    size_t text_n, text_size;
    struct {
        uint32_t at;
        uint16_t n;
        uint32_t count;
    } * words;
    size_t n, size;
    uint32_t *slots; /* word + 1 */
    size_t n_slots;
    uint32_t len, add; /* add: what an occurrence counts */
    int bits[64];      /* of the simhash */
    uint64_t before;   /* the hash of the word before */
    bool failed;
};

static uint64_t hash_word(struct str s) {
    uint64_t h = 14695981039346656037ull;
    for (size_t i = 0; i < s.n; i++)
        h = (h ^ (unsigned char)s.p[i]) * 1099511628211ull;
    h ^= h >> 29;
    h *= 0xbf58476d1ce4e5b9ull;
    return h ^ (h >> 32);
}

static bool counter_grow(struct counter *c) {
    size_t size = c->size ? c->size * 2 : 512;
    void *words = realloc(c->words, size * sizeof *c->words);
    if (words)
        c->words = words;
    uint32_t *slots = calloc(size * 2, sizeof *slots);
    if (!words || !slots) {
        free(slots);
        return false;
    }
    free(c->slots);
    c->slots = slots;
    c->size = size;
    c->n_slots = size * 2;
    for (size_t i = 0; i < c->n; i++) {
        struct str s = {c->text + c->words[i].at, c->words[i].n};
        size_t k = hash_word(s) & (c->n_slots - 1);
        while (c->slots[k])
            k = (k + 1) & (c->n_slots - 1);
        c->slots[k] = (uint32_t)i + 1;
    }
    return true;
}

/* Pairs of neighbouring words make the simhash: a text with its words in another order is another
 * text. */
static void note_pair(struct counter *c, uint64_t h) {
    uint64_t pair = (c->before * 31 + h) * 0x9e3779b97f4a7c15ull;
    for (int b = 0; b < 64; b++)
        c->bits[b] += pair >> b & 1 ? 1 : -1;
    c->before = h;
}

static void count_word(void *ctx, const struct term *w) {
    struct counter *c = ctx;
    if (c->n == c->size && !counter_grow(c))
        c->failed = true;
    if (c->failed)
        return;
    uint64_t h = hash_word(w->text);
    if (c->add == 1)
        note_pair(c, h);
    c->len += w->is_stop ? 0 : c->add;
    size_t k = h & (c->n_slots - 1);
    for (; c->slots[k]; k = (k + 1) & (c->n_slots - 1)) {
        struct str s = {c->text + c->words[c->slots[k] - 1].at, c->words[c->slots[k] - 1].n};
        if (str_eq(s, w->text)) {
            c->words[c->slots[k] - 1].count += c->add;
            return;
        }
    }
    if (c->text_n + w->text.n > c->text_size) {
        size_t size = c->text_size * 2 + 4096;
        char *text = realloc(c->text, size);
        if (!text) {
            c->failed = true;
            return;
        }
        c->text = text;
        c->text_size = size;
    }
    memcpy(c->text + c->text_n, w->text.p, w->text.n);
    c->words[c->n].at = (uint32_t)c->text_n;
    c->words[c->n].n = (uint16_t)w->text.n;
    c->words[c->n].count = c->add;
    c->text_n += w->text.n;
    c->slots[k] = (uint32_t)++c->n;
}

static void counter_clear(struct counter *c) {
    if (c->slots)
        memset(c->slots, 0, c->n_slots * sizeof *c->slots);
    c->n = c->text_n = 0;
    c->len = 0;
    c->before = 0;
    memset(c->bits, 0, sizeof c->bits);
}

static void counter_deinit(struct counter *c) {
    free(c->text);
    free(c->words);
    free(c->slots);
}

struct counted {                /* one chunk, ready to be appended */
    struct posting_term *terms; /* owned, and their texts behind them */
    size_t n;
    uint16_t len;
    uint64_t simhash;
};

static enum err count_chunk(struct counter *c, const char *lang, const struct bm25 *p,
                            struct str title, const struct index_chunk *k, struct counted *ret) {
    *ret = (struct counted){.n = 0};
    counter_clear(c);
    c->add = (uint32_t)p->title_count;
    if (c->add) {
        terms_each(c->terms, lang, title, count_word, c);
        terms_each(c->terms, lang, k->heading, count_word, c);
    }
    c->add = 1;
    terms_each(c->terms, lang, k->text, count_word, c);
    if (c->failed)
        return ERR_NOMEM;
    struct posting_term *terms = malloc(c->n * sizeof *terms + c->text_n + 1);
    if (!terms)
        return ERR_NOMEM;
    char *text = (char *)(terms + c->n);
    memcpy(text, c->text ? c->text : "", c->text_n);
    for (size_t i = 0; i < c->n; i++)
        terms[i] =
            (struct posting_term){{text + c->words[i].at, c->words[i].n},
                                  (uint8_t)(c->words[i].count < 255 ? c->words[i].count : 255)};
    *ret = (struct counted){terms, c->n,
                            (uint16_t)(c->len < SHARD_LEN_MAX ? c->len : SHARD_LEN_MAX), 0};
    for (int b = 0; b < 64; b++)
        ret->simhash |= (uint64_t)(c->bits[b] > 0) << b;
    return ERR_OK;
}

/* ---- documents ---- */

static enum err append_row(struct shard *s, uint32_t doc, const struct index_chunk *k,
                           const struct counted *c) {
    enum err e = grow_rows(s);
    if (!e)
        e = postings_add(s->postings, s->n, c->terms, c->n);
    if (!e && s->vectors)
        e = vectors_add(s->vectors, k->vector);
    if (e)
        return e;
    s->len[s->n] = c->len;
    s->state[s->n] = ROW_COMING;
    s->doc[s->n] = doc;
    s->chunk_id[s->n] = k->chunk_id;
    s->key[s->n] = k->key;
    s->simhash[s->n] = c->simhash;
    s->n++;
    return ERR_OK;
}

static enum err append_slice(struct shard *s, uint32_t doc, const struct index_chunk *chunks,
                             const struct counted *counted, size_t n) {
    enum err e = ERR_OK;
    pthread_rwlock_wrlock(&s->lock);
    for (size_t i = 0; !e && i < n; i++)
        e = append_row(s, doc, &chunks[i], &counted[i]);
    pthread_rwlock_unlock(&s->lock);
    return e;
}

static void kill_doc(struct shard *s, struct shard_doc *d) {
    for (uint32_t r = d->first_row; r < d->first_row + d->n_rows; r++) {
        if (s->state[r] == ROW_LIVE) {
            s->live_rows--;
            s->live_len -= s->len[r];
        }
        s->state[r] = ROW_DEAD;
    }
    s->dead_rows += d->n_rows;
    s->live_docs -= d->live;
    d->live = false;
}

static void live_doc(struct shard *s, uint32_t at, int language) {
    struct shard_doc *d = &s->docs[at], *old = shard_find(s, &d->doc_id);
    if (old && old != d)
        kill_doc(s, old);
    for (uint32_t r = d->first_row; r < d->first_row + d->n_rows; r++) {
        s->state[r] = ROW_LIVE;
        s->live_rows++;
        s->live_len += s->len[r];
    }
    d->live = true;
    s->live_docs++;
    s->languages |= 1u << language;
    *id_slot(s, &d->doc_id) = at + 1;
}

/* The language of the whole document: its first chunks tell. */
static const char *language_of(const struct index_doc *d) {
    for (size_t i = 0; i < d->n_chunks && i < 4; i++) {
        const char *lang = text_language(d->chunks[i].text);
        if (*lang)
            return lang;
    }
    return "en";
}

enum err shard_put(struct shard *s, struct terms *t, const struct index_doc *d) {
    struct counter c = {.terms = t};
    struct counted slice[SLICE];
    char *texts = join_texts(d), *title = strndup(d->title.n ? d->title.p : "", d->title.n);
    struct shard_doc *doc = NULL;
    uint32_t at = 0;
    enum err e = texts && title ? ERR_OK : ERR_NOMEM;
    pthread_rwlock_wrlock(&s->lock);
    if (!e)
        e = add_doc(s, &d->doc_id, texts, title, d->date, &doc);
    at = s->n_docs - 1;
    pthread_rwlock_unlock(&s->lock);
    if (!doc) {
        free(texts);
        free(title);
        return e;
    }
    const char *lang = language_of(d);
    for (size_t i = 0; !e && i < d->n_chunks; i += SLICE) {
        size_t n = d->n_chunks - i < SLICE ? d->n_chunks - i : SLICE, k = 0;
        for (; !e && k < n; k++)
            e = count_chunk(&c, lang, &s->bm25, d->title, &d->chunks[i + k], &slice[k]);
        if (!e)
            e = append_slice(s, at, d->chunks + i, slice, n);
        while (k-- > 0)
            free(slice[k].terms);
    }
    counter_deinit(&c);
    pthread_rwlock_wrlock(&s->lock);
    s->docs[at].n_rows = s->n - s->docs[at].first_row;
    if (e)
        kill_doc(s, &s->docs[at]);
    else
        live_doc(s, at, index_language(lang));
    pthread_rwlock_unlock(&s->lock);
    return e;
}

void shard_remove(struct shard *s, const struct uuid *doc_id) {
    pthread_rwlock_wrlock(&s->lock);
    struct shard_doc *d = shard_find(s, doc_id);
    if (d)
        kill_doc(s, d);
    pthread_rwlock_unlock(&s->lock);
}

/* ---- making one anew ---- */

static enum err copy_doc(const struct shard *s, const struct shard_doc *d, struct shard *to,
                         uint32_t *map) {
    struct shard_doc *mine = NULL;
    char *title = strdup(d->title), *texts;
    size_t bytes = 0;
    for (int k = 0; k < 3; k++) /* these may be empty; an empty tag is the end */
        bytes += strlen(d->texts + bytes) + 1;
    while (d->texts[bytes])
        bytes += strlen(d->texts + bytes) + 1;
    texts = malloc(bytes + 1);
    if (texts)
        memcpy(texts, d->texts, bytes + 1);
    enum err e = title && texts ? add_doc(to, &d->doc_id, texts, title, d->date, &mine) : ERR_NOMEM;
    if (e) {
        free(title);
        free(texts);
        return e;
    }
    char packed[sizeof(float) + VECTOR_DIMENSIONS_MAX];
    for (uint32_t r = d->first_row; !e && r < d->first_row + d->n_rows; r++) {
        struct str v = STR_NULL;
        e = grow_rows(to);
        if (!e && to->vectors && s->vectors && vectors_has(s->vectors, r)) {
            vectors_get(s->vectors, r, packed);
            v = (struct str){packed, vector_size(vectors_dimensions(s->vectors))};
        }
        if (!e && to->vectors)
            e = vectors_add(to->vectors, v);
        if (e)
            break;
        map[r] = to->n;
        to->len[to->n] = s->len[r];
        to->state[to->n] = ROW_COMING;
        to->doc[to->n] = to->n_docs - 1;
        to->chunk_id[to->n] = s->chunk_id[r];
        to->key[to->n] = s->key[r];
        to->simhash[to->n++] = s->simhash[r];
    }
    to->docs[to->n_docs - 1].n_rows = to->n - to->docs[to->n_docs - 1].first_row;
    if (!e)
        live_doc(to, to->n_docs - 1, 0);
    return e;
}

enum err shard_copy_live(const struct shard *s, int dimensions, struct shard **ret) {
    struct shard *to;
    uint32_t *map = malloc(((size_t)s->n + 1) * sizeof *map);
    if (!map)
        return ERR_NOMEM;
    memset(map, 0xff, ((size_t)s->n + 1) * sizeof *map);
    enum err e = shard_new(&s->collection_id, &s->bm25, dimensions, &to);
    if (e) {
        free(map);
        return e;
    }
    for (uint32_t i = 0; !e && i < s->n_docs; i++)
        if (s->docs[i].live)
            e = copy_doc(s, &s->docs[i], to, map);
    struct postings *copy = NULL;
    if (!e)
        e = postings_copy(s->postings, map, &copy);
    if (!e) {
        postings_free(to->postings);
        to->postings = copy;
        to->languages = s->languages;
    }
    free(map);
    if (e) {
        shard_unref(to);
        return e;
    }
    *ret = to;
    return ERR_OK;
}

size_t shard_bytes(const struct shard *s) {
    struct postings_size p;
    postings_get_size(s->postings, &p);
    return sizeof *s + p.bytes + (s->vectors ? vectors_bytes(s->vectors) : 0) +
           s->size * (sizeof *s->len + sizeof *s->state + sizeof *s->doc + sizeof *s->chunk_id +
                      sizeof *s->key + sizeof *s->simhash) +
           s->size_docs * sizeof *s->docs + s->n_slots * sizeof *s->by_id;
}
