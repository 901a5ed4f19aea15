/* Products of Q8_0 weights with activations.
 *
 * A Q8_0 row is blocks of 32 weights: a scale in half precision and 32 signed bytes
 * (ggml-common.h, block_q8_0; 34 bytes). ggml takes one row at a time. Here 16 rows are laid out
 * together as a panel, so that one instruction multiplies four weights of each of them.
 *
 * Results are those of ggml to the last bit, whatever is computed together: the same eight partial
 * sums of each row (of every eighth group of four weights), scaled and added in the same order
 * (ggml_vec_dot_q8_0_q8_0 for AVX2, and llamafile's sgemm). So answers do not depend on which of
 * both ran, and the tests compare bits.
 *
 * Any thread may call any function; nothing is kept between calls. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define Q8_BLOCK       32 /* weights of a block */
#define Q8_BLOCK_BYTES 34
#define Q8_PANEL_ROWS  16

/* What a product needs of one block of activations. */
struct q8_activation {
    int8_t values[Q8_BLOCK];
    int32_t start[8]; /* for each group of four values: what makes up for weights stored + 128 */
};

/* The products with the instructions of one kind of CPU. Panels of one kernel are for it alone. */
struct q8_kernel {
    const char *name;
    unsigned char offset; /* added to each byte of a weight in a panel */
    /* 16 rows of `blocks` blocks each, one after the other, as a panel of as many bytes. They do
     * not overlap. */
    void (*pack)(const struct q8_kernel *k, size_t blocks, const void *rows, void *ret_panel);
    /* Activations that ggml has made Q8_0 of (`blocks` blocks, one after the other). */
    void (*take)(size_t blocks, const void *q8, struct q8_activation *ret, float *ret_scales);
    /* One panel times `columns` columns: ret[c * stride + r] for row r and column c. Column c's
     * activations and scales begin at c * blocks. */
    void (*multiply)(size_t blocks, const void *panel, size_t columns,
                     const struct q8_activation *activations, const float *scales, float *ret,
                     size_t stride);
};

/* The i-th of those that this CPU can run, the fastest first; NULL past the last. */
const struct q8_kernel *q8_kernel_get(size_t i);
