/* Products of Q8_0 weights with activations on CPUs with AVX-512 VNNI.
 *
 * A Q8_0 row is blocks of 32 weights: a scale in half precision and 32 signed bytes
 * (ggml-common.h, block_q8_0; 34 bytes). ggml takes one row at a time with vectors of 256 bits.
 * Here 16 rows are laid out together as a panel, so that one instruction multiplies four weights of
 * each of them: about three times as many products in the same time.
 *
 * Results are those of ggml to the last bit, whatever is computed together: the same eight partial
 * sums of each row (of every eighth group of four weights), scaled and added in the same order
 * (ggml_vec_dot_q8_0_q8_0 for AVX2, and llamafile's sgemm). So answers do not depend on which of
 * both ran, and the tests compare bits.
 *
 * Any thread may call any function; nothing is kept between calls. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define Q8_BLOCK       32 /* weights of a block */
#define Q8_BLOCK_BYTES 34
#define Q8_PANEL_ROWS  16

bool q8_panels_usable(void); /* this CPU has what the others need */

/* 16 rows of `blocks` blocks each, one after the other, as a panel of as many bytes. They do not
 * overlap. */
void q8_panel_pack(size_t blocks, const void *rows, void *ret_panel);

/* What a product needs of one block of activations. */
struct q8_activation {
    int8_t values[Q8_BLOCK];
    int32_t start[8]; /* for each group of four values: what makes up for weights stored + 128 */
};

/* Activations that ggml has made Q8_0 of (`blocks` blocks, one after the other). */
void q8_activations_take(size_t blocks, const void *q8, struct q8_activation *ret,
                         float *ret_scales);

/* One panel times `columns` columns: ret[c * stride + r] for row r and column c. Column c's
 * activations and scales begin at c * blocks. */
void q8_panel_multiply(size_t blocks, const void *panel, size_t columns,
                       const struct q8_activation *activations, const float *scales, float *ret,
                       size_t stride);
