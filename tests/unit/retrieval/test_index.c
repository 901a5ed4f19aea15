/* The index in memory: words, vectors, filters, versions, making anew, and that the sketches find
 * what comparing everything finds. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "retrieval/fuse.h"
#include "retrieval/shard.h"

struct fixture {
    struct index *x;
    struct index_scratch *scratch;
    struct terms *terms;
    struct uuid a, b;
    int64_t next_chunk;
};

static int setup(void **state) {
    struct fixture *f = calloc(1, sizeof *f);
    assert_int_equal(index_new(&bm25_default, 4, &f->x), ERR_OK);
    assert_int_equal(terms_open(&f->terms), ERR_OK);
    f->scratch = index_scratch_new();
    f->a = uuid_new();
    f->b = uuid_new();
    *state = f;
    return 0;
}

static int teardown(void **state) {
    struct fixture *f = *state;
    index_free(f->x);
    terms_close(f->terms);
    index_scratch_free(f->scratch);
    free(f);
    return 0;
}

static struct uuid put(struct fixture *f, struct uuid collection, const struct uuid *id,
                       const char *title, const char *text, const float *vector) {
    char packed[64];
    struct str tags[] = {STR("blue"), STR("Sea")};
    if (vector)
        vector_pack(vector, 4, packed);
    struct index_chunk c = {.chunk_id = ++f->next_chunk,
                            .key = (uint64_t)f->next_chunk,
                            .heading = STR(""),
                            .text = str_from(text)};
    if (vector)
        c.vector = (struct str){packed, vector_size(4)};
    struct index_doc d = {.doc_id = id ? *id : uuid_new(),
                          .collection_id = collection,
                          .source_name = str_from(title),
                          .title = str_from(title),
                          .type = STR("note"),
                          .tags = tags,
                          .n_tags = 2,
                          .date = f->next_chunk * 1000,
                          .chunks = &c,
                          .n_chunks = 1};
    assert_int_equal(index_put(f->x, &d), ERR_OK);
    return d.doc_id;
}

static size_t lexical(struct fixture *f, const struct uuid *collections, size_t n_collections,
                      const char *question, const struct index_filter *filter,
                      struct index_row rows[8]) {
    struct index_view v;
    struct query_terms q = {.n = 0};
    struct index_hit hits[8];
    size_t n;
    index_view_open(f->x, collections, n_collections, &v);
    query_terms_add(&q, f->terms, &v, str_from(question), 1);
    assert_int_equal(index_lexical(&v, &q, filter, f->scratch, 8, hits, &n), ERR_OK);
    for (size_t i = 0; i < n; i++)
        index_row_get(&hits[i], &rows[i]);
    index_view_close(&v);
    return n;
}

static void index_words_are_stemmed_and_ranked(void **state) {
    struct fixture *f = *state;
    struct index_row rows[8];
    put(f, f->a, NULL, "boats", "Sailing on the lake is a joy of the summer.", NULL);
    put(f, f->a, NULL, "trains", "The train leaves the station at noon.", NULL);
    put(f, f->a, NULL, "more", "A sailor sails, and sailed, and will sail.", NULL);
    assert_int_equal(lexical(f, &f->a, 1, "Who sails?", NULL, rows), 2);
    assert_int_equal(rows[0].chunk_id, 3);
    assert_int_equal(lexical(f, &f->a, 1, "the of", NULL, rows), 2); /* stop words alone do count */
    assert_int_equal(lexical(f, &f->a, 1, "the station", NULL, rows), 1);
    assert_int_equal(lexical(f, &f->a, 1, "nothing here", NULL, rows), 0);
}

static void index_reads_no_collection_but_the_views(void **state) {
    struct fixture *f = *state;
    struct index_row rows[8];
    put(f, f->a, NULL, "a", "zebra in a", NULL);
    put(f, f->b, NULL, "b", "zebra in b", NULL);
    assert_int_equal(lexical(f, &f->a, 1, "zebra", NULL, rows), 1);
    assert_int_equal(rows[0].chunk_id, 1);
    assert_int_equal(lexical(f, (struct uuid[]){f->a, f->b}, 2, "zebra", NULL, rows), 2);
    assert_int_equal(lexical(f, NULL, 0, "zebra", NULL, rows), 0);
}

static void index_new_version_takes_the_place(void **state) {
    struct fixture *f = *state;
    struct index_row rows[8];
    struct uuid id = put(f, f->a, NULL, "a", "zebra", NULL);
    put(f, f->a, &id, "a", "giraffe", NULL);
    assert_int_equal(lexical(f, &f->a, 1, "zebra", NULL, rows), 0);
    assert_int_equal(lexical(f, &f->a, 1, "giraffe", NULL, rows), 1);
    put(f, f->b, &id, "a", "giraffe", NULL); /* moved to another collection */
    assert_int_equal(lexical(f, &f->a, 1, "giraffe", NULL, rows), 0);
    assert_int_equal(lexical(f, &f->b, 1, "giraffe", NULL, rows), 1);
    index_remove(f->x, &id);
    assert_int_equal(lexical(f, &f->b, 1, "giraffe", NULL, rows), 0);
}

static void index_filters_by_source_tags_type_and_date(void **state) {
    struct fixture *f = *state;
    struct index_row rows[8];
    put(f, f->a, NULL, "Alpha.txt", "zebra one", NULL);
    put(f, f->a, NULL, "beta.txt", "zebra two", NULL);
    struct str tag = STR("sea"), none = STR("red");
    struct index_filter source = {.source = STR("alpha")}, type = {.type = STR("mail")},
                        tags = {.tags = &tag, .n_tags = 1}, red = {.tags = &none, .n_tags = 1},
                        late = {.from = 2000};
    assert_int_equal(lexical(f, &f->a, 1, "zebra", &source, rows), 1);
    assert_int_equal(rows[0].chunk_id, 1);
    assert_int_equal(lexical(f, &f->a, 1, "zebra", &type, rows), 0);
    assert_int_equal(lexical(f, &f->a, 1, "zebra", &tags, rows), 2);
    assert_int_equal(lexical(f, &f->a, 1, "zebra", &red, rows), 0);
    assert_int_equal(lexical(f, &f->a, 1, "zebra", &late, rows), 1);
    assert_int_equal(rows[0].chunk_id, 2);
}

static void index_made_anew_finds_the_same(void **state) {
    struct fixture *f = *state;
    struct index_row rows[8];
    char text[64];
    struct uuid ids[1200];
    for (int i = 0; i < 1200; i++) {
        snprintf(text, sizeof text, "common word%d", i);
        ids[i] = put(f, f->a, NULL, "t", text, (float[]){1, (float)i, 0, 0});
    }
    for (int i = 0; i < 700; i++)
        index_remove(f->x, &ids[i]);
    assert_int_equal(index_compact(f->x), ERR_OK);
    assert_int_equal(lexical(f, &f->a, 1, "word900", NULL, rows), 1);
    assert_int_equal(rows[0].chunk_id, 901);
    assert_true(uuid_eq(&rows[0].doc_id, &ids[900]));
    assert_int_equal(lexical(f, &f->a, 1, "word3", NULL, rows), 0);
    assert_int_equal(lexical(f, &f->a, 1, "common", NULL, rows), 8);
    struct index_size size;
    index_get_size(f->x, &size);
    assert_int_equal(size.chunks, 500);
    assert_int_equal(size.vectors, 500);
    put(f, f->a, &ids[900], "t", "changed", NULL); /* the ids are found in the new one */
    assert_int_equal(lexical(f, &f->a, 1, "word900", NULL, rows), 0);
}

static void rarity_is_of_the_words_that_tell_something(void **state) {
    struct fixture *f = *state;
    struct index_view v;
    struct query_terms q = {.n = 0};
    float rarity[QUERY_TERMS_MAX];
    put(f, f->a, NULL, "t", "zebra stripes", (float[]){1, 0, 0, 0});
    put(f, f->a, NULL, "t", "zebra lines", (float[]){1, 0, 0, 0});
    put(f, f->b, NULL, "t", "train of the north", (float[]){0, 0, 1, 0});
    index_view_open(f->x, &f->a, 1, &v);
    query_terms_add(&q, f->terms, &v, STR("the zebra stripes train"), 1);
    assert_int_equal(q.n, 4);
    index_lexical_rarity(&v, &q, rarity);
    assert_true(rarity[0] == 0 && rarity[3] == 0); /* a stop word; one of what may not be read */
    assert_true(rarity[1] > 0 && rarity[1] < rarity[2] && rarity[2] < 1);
    index_view_close(&v);
}

static void index_fused_search_has_both_scores(void **state) {
    struct fixture *f = *state;
    struct index_view v;
    struct query_terms q = {.n = 0};
    struct index_hit words[8], near[8];
    struct fused fused[16];
    struct vector_query *vq;
    size_t n_words, n_near, n;
    bool exact;
    put(f, f->a, NULL, "t", "zebra stripes", (float[]){1, 0, 0, 0});
    put(f, f->a, NULL, "t", "horse with lines", (float[]){0.9f, 0.1f, 0, 0});
    put(f, f->a, NULL, "t", "train", (float[]){0, 0, 1, 0});
    index_view_open(f->x, &f->a, 1, &v);
    query_terms_add(&q, f->terms, &v, STR("zebra"), 1);
    assert_int_equal(vector_query_new((float[]){1, 0, 0, 0}, 4, &vq), ERR_OK);
    assert_int_equal(index_lexical(&v, &q, NULL, f->scratch, 8, words, &n_words), ERR_OK);
    assert_int_equal(index_nearest(&v, vq, NULL, false, f->scratch, 2, near, &n_near, &exact),
                     ERR_OK);
    assert_int_equal(n_near, 2);
    assert_true(exact);
    for (int how = FUSE_SCORES; how <= FUSE_RRF; how++) {
        assert_int_equal(
            fuse(&v, &q, vq, words, n_words, near, n_near, (enum fusion)how, fused, &n), ERR_OK);
        assert_int_equal(n, 2);
        assert_int_equal(fused[0].row.chunk_id, 1);
        assert_int_equal(fused[0].lexical_rank, 1);
        assert_int_equal(fused[0].vector_rank, 1);
        assert_true(fabs(fused[0].vector - 1) < 0.02);
        assert_true(fused[0].fused <= 1.0001 && fused[1].fused < fused[0].fused);
        assert_int_equal(fused[1].lexical_rank, 0);
    }
    vector_query_free(vq);
    index_view_close(&v);
}

static void fused_near_duplicates_are_dropped(void **state) {
    struct fixture *f = *state;
    struct index_row rows[8];
    static const char text[] =
        "The committee met on Tuesday and decided, after a long debate about the cost of the new "
        "bridge, to ask the engineers for another estimate before the end of the month of May.";
    char other[256];
    snprintf(other, sizeof other, "%.*s June.", (int)strlen(text) - 5, text);
    put(f, f->a, NULL, "t", text, NULL);
    put(f, f->a, NULL, "t", text, NULL);
    put(f, f->a, NULL, "t",
        "The engineers asked the committee in June for the cost of a long bridge, and on Tuesday "
        "another debate about the month of May and its end met a new estimate that they decided.",
        NULL);
    size_t n = lexical(f, &f->a, 1, "committee bridge", NULL, rows);
    assert_int_equal(n, 3);
    struct fused all[3];
    for (size_t i = 0; i < n; i++)
        all[i] = (struct fused){.row = rows[i]};
    assert_int_equal(fused_drop_duplicates(all, n), 2);
}

/* Vectors in clusters, as those of texts are. */
static void random_vector(unsigned *seed, int cluster, float v[64]) {
    unsigned own = (unsigned)cluster * 7919u + 1;
    for (int i = 0; i < 64; i++)
        v[i] = (float)rand_r(&own) / (float)RAND_MAX - 0.5f +
               0.8f * ((float)rand_r(seed) / (float)RAND_MAX - 0.5f);
}

static void vectors_sketches_find_nearly_all_that_is_nearest(void **state) {
    struct vectors *v;
    unsigned seed = 1;
    const uint32_t n = VECTOR_EXACT_ROWS + 5000;
    float x[64];
    char packed[128];
    uint8_t *live = malloc(n);
    uint16_t *scratch = malloc(n * sizeof *scratch);
    (void)state;
    assert_int_equal(vectors_new(64, &v), ERR_OK);
    memset(live, 1, n);
    for (uint32_t i = 0; i < n; i++) {
        random_vector(&seed, (int)(i % 200), x);
        vector_pack(x, 64, packed);
        assert_int_equal(vectors_add(v, (struct str){packed, vector_size(64)}), ERR_OK);
    }
    int found = 0;
    for (int i = 0; i < 50; i++) {
        struct scored exact[10], near[10];
        struct vector_query *q;
        random_vector(&seed, i * 3, x);
        assert_int_equal(vector_query_new(x, 64, &q), ERR_OK);
        live[i] = 0; /* removed rows are not found */
        assert_int_equal(vectors_nearest(v, q, live, 1, true, scratch, exact, 10), 10);
        assert_int_equal(vectors_nearest(v, q, live, 1, false, scratch, near, 10), 10);
        for (int k = 0; k < 10; k++) {
            assert_true(near[k].row > (uint32_t)i);
            for (int j = 0; j < 10; j++)
                found += exact[k].row == near[j].row;
        }
        vector_query_free(q);
    }
    assert_true(found >= 490); /* recall 0.98 */
    vectors_free(v);
    free(live);
    free(scratch);
}

/* ---- questions of common and rare words, over several ranges of rows ---- */

#define MANY 18000
static const char *const common[] = {"river", "stone", "cloud", "field", "glass", "paper"};

/* Rows in which word i stands in one of 1, 2, 3, 5, 8 and 13, once or oftener, and rare words. */
static struct uuid put_many(struct fixture *f, size_t rows) {
    static struct index_chunk chunks[MANY];
    static char texts[MANY][160];
    static const unsigned every[] = {1, 2, 3, 5, 8, 13};
    uint64_t rng = 88172645463325252ull;
    for (int r = 0; r < MANY; r++) {
        int at = snprintf(texts[r], sizeof texts[r], "x%d ", r / 700);
        for (int w = 0; w < 6; w++) {
            rng ^= rng << 13;
            rng ^= rng >> 7;
            rng ^= rng << 17;
            for (uint64_t k = rng % every[w] ? 0 : 1 + (rng >> 20) % 3; k > 0; k--)
                at += snprintf(texts[r] + at, sizeof texts[r] - (size_t)at, "%s ", common[w]);
        }
        chunks[r] = (struct index_chunk){
            .chunk_id = r + 1, .key = (uint64_t)r, .heading = STR(""), .text = str_from(texts[r])};
    }
    struct index_doc d = {
        .doc_id = uuid_new(), .collection_id = f->a, .chunks = chunks, .n_chunks = rows};
    assert_int_equal(index_put(f->x, &d), ERR_OK);
    return d.doc_id;
}

static int highest_first(const void *a, const void *b) {
    const float *x = a, *y = b;
    return *x < *y ? 1 : *x > *y ? -1 : 0;
}

static void index_words_common_and_rare_find_the_same_as_adding_up_all(void **state) {
    static const char *const questions[] = {"river",
                                            "river stone cloud field glass paper",
                                            "paper x3",
                                            "x2 x7 river stone",
                                            "glass x11 x12 x13 cloud",
                                            "x25"};
    static struct index_hit all[MANY * 3 / 2], hits[200];
    static float scores[MANY * 3 / 2];
    struct fixture *f = *state;
    struct index_view v;
    struct uuid gone = put_many(f, MANY / 2);
    put_many(f, MANY);
    for (int round = 0; round < 2; round++) { /* again after the shard was made anew */
        index_view_open(f->x, &f->a, 1, &v);
        for (size_t i = 0; i < sizeof questions / sizeof *questions; i++) {
            struct query_terms q = {.n = 0};
            size_t n, want = 0, rows = (size_t)(v.shards[0]->n);
            query_terms_add(&q, f->terms, &v, str_from(questions[i]), 1);
            assert_int_equal(index_lexical(&v, &q, NULL, f->scratch, 200, hits, &n), ERR_OK);
            for (uint32_t r = 0; r < rows; r++)
                all[r] = (struct index_hit){v.shards[0], r, 0};
            assert_int_equal(index_lexical_some(&v, &q, all, rows, scores), ERR_OK);
            for (size_t k = 0; k < n; k++)
                assert_true(fabsf(hits[k].score - scores[hits[k].row]) < 1e-4f);
            qsort(scores, rows, sizeof *scores, highest_first);
            while (want < 200 && want < rows && scores[want] > 0)
                want++;
            assert_int_equal(n, want);
            for (size_t k = 0; k < n; k++)
                assert_true(fabsf(hits[k].score - scores[k]) < 1e-4f);
        }
        index_view_close(&v);
        index_remove(f->x, &gone);
        assert_int_equal(index_compact(f->x), ERR_OK);
    }
}

int main(void) {
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(index_words_are_stemmed_and_ranked),
        TEST(index_reads_no_collection_but_the_views),
        TEST(rarity_is_of_the_words_that_tell_something),
        TEST(index_new_version_takes_the_place),
        TEST(index_filters_by_source_tags_type_and_date),
        TEST(index_words_common_and_rare_find_the_same_as_adding_up_all),
        TEST(index_made_anew_finds_the_same),
        TEST(index_fused_search_has_both_scores),
        TEST(fused_near_duplicates_are_dropped),
        TEST(vectors_sketches_find_nearly_all_that_is_nearest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
