/* The guard's own classifier: a text, and its sentence embedding when retrieval computed one, to a
 * calibrated probability for each category. A small network over hashed pieces of words and the
 * embedding; tools/safety trains it, docs/safety-model-card.md says on what and how well it does.
 *
 * Features (tools/safety/features.py computes the same): ASCII letters are lowered and every run of
 * other ASCII bytes than letters and digits is one space; 3-, 4- and 5-byte pieces, words, and
 * pairs of words are hashed into 2^bits buckets, each with a row of dim numbers.
 *   z = sum of the pieces' rows / sqrt(their number) + the same of words and pairs
 *   x = [embedding or zeros, z, has embedding, is an answer, is a passage]
 *   logits = w2 relu(w1 x + b1) + w3 x + b2;   p = 1 / (1 + exp(-(a logit + b)))  (Platt 1999)
 * An answer without embedding, which is judged again with each token: a logit + b - 1.5.
 * Where there is an embedding with its model's layers, a further network has a say in the logits
 * (classifier_layers.h).
 *
 * The model file, little endian:
 *   "PARLEYG1"   u32 version = 1 or 2, bits, dim, embedding dims, hidden, heads   char name[32],
 * NUL-padded char heads[heads][24]: a category's name, or "harmful" for the whole f32
 * row_scale[dim]   s8 table[2^bits][dim] f32 w1[inputs][hidden], b1[hidden], w2[hidden][heads],
 * w3[inputs][heads], b2[heads] f32 calibration[2][heads][2]: a and b, without and with embedding
 * version 2: the section of classifier_layers.h   u8 sha256[32] of all before it */
#pragma once

#include "base/err.h"
#include "safety/safety.h"

struct classifier;

/* Reads a model. ERR_CORRUPT when it is damaged or not one; nothing of bytes is kept. */
enum err classifier_parse(struct str bytes, struct classifier **ret, struct errinfo *ei) ERR_CHECK;
/* The same from a file (ERR_NOT_FOUND, ERR_IO, ERR_CORRUPT), or of the model in the program. */
enum err classifier_open(const char *path, struct classifier **ret, struct errinfo *ei) ERR_CHECK;
enum err classifier_open_builtin(struct classifier **ret, struct errinfo *ei) ERR_CHECK;
void classifier_free(struct classifier *c); /* NULL is fine */

/* Borrows c. score() is thread-safe, allocates nothing, and takes time in proportion to the text.
 */
struct safety_scorer classifier_scorer(const struct classifier *c);

/* What score() computes, with the probability that the text is harmful in any of the categories
 * hate … privacy as *ret_harmful; no category of these is reported above it. A text whose folded
 * form differs (disguised) is judged in both forms, a long one in pieces, the worst counts. */
void classifier_score(const struct classifier *c, const struct safety_text *t,
                      float ret[SAFETY_CATEGORIES], float *ret_harmful);

/* The logits of one piece, for the test of agreement with the training script: a number for each
 * head in the file's order. embedding (a row as safety_text has it) may be NULL. ret holds
 * CLASSIFIER_HEADS_MAX. */
#define CLASSIFIER_HEADS_MAX 16
size_t classifier_logits(const struct classifier *c, struct str text, const float *embedding,
                         enum safety_direction direction, float ret[CLASSIFIER_HEADS_MAX]);

/* A text that grows: its features are summed up as it comes, so that a score in its middle costs
 * the network alone. All zeros is the empty text; plain data, to be copied and thrown away. A score
 * is that of the text so far without embedding, as classifier_score() would give it were the folded
 * text the same. At most some kilobytes: z of a long text says little of its end. */
#define CLASSIFIER_DIM_MAX 64
struct classifier_flow {
    int32_t pieces[CLASSIFIER_DIM_MAX], words[CLASSIFIER_DIM_MAX]; /* sums of rows */
    uint32_t n_pieces, n_words;
    uint32_t word, before; /* hashes: of the word that is coming, of the one before it */
    uint8_t last[5], n;    /* folded bytes, the newest at the end */
    bool in_word, any_word;
};
void classifier_flow_add(const struct classifier *c, struct classifier_flow *f, struct str text);
void classifier_flow_score(const struct classifier *c, const struct classifier_flow *f,
                           enum safety_direction direction, float ret[SAFETY_CATEGORIES]);
