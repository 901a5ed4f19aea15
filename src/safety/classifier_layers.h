/* The part of the classifier that reads what an embedding model's layers say beneath its embedding
 * (engine/llama_layers.h): a network of its own, whose logits are mixed with the others'. Where no
 * layers are to be had, as from other model servers, it has no say.
 *
 *   y = [embedding, layers, is an answer, is a passage]
 *   logits = keep * (the others' logits) + v2 relu(v1 y + c1) + c2
 *
 * In the model file of version 2 it stands behind what version 1 has, little endian:
 *   u32 layer numbers, units   f32 keep, scale[units], by[inputs]   s8 v1[inputs][units], each
 * times the scale of its unit and the number of its input, padded to four bytes   f32 c1[units],
 * v2[units][heads], c2[heads], calibration[heads][2] */
#pragma once

#include "safety/classifier_sums.h"
#include "safety/safety.h"

struct classifier_layers;

/* Reads the section, which is all of the bytes. NULL: it makes no sense, or there is no memory for
 * it (*ret_nomem). Its weights stay where they are: the bytes must outlive it. */
struct classifier_layers *classifier_layers_parse(struct str section, uint32_t embedding,
                                                  uint32_t heads, bool *ret_nomem);
void classifier_layers_free(struct classifier_layers *l); /* NULL is fine */

uint32_t classifier_layers_numbers(const struct classifier_layers *l);
const float *classifier_layers_calibration(const struct classifier_layers *l);

/* Whether a row (embedding, then layers) has layers: without, they are zeros. */
bool classifier_layers_had(const struct classifier_layers *l, const float *row);

/* Mixes its logits into those of the others. Any thread, allocates nothing. */
void classifier_layers_mix(const struct classifier_layers *l, const struct classifier_sums *sums,
                           const float *row, enum safety_direction direction, float *logits);
