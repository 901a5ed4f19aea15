/* Attention by matrix products, for prompts: keys times queries, and values times what the soft
 * maximum gives of that. Keys and values are in half precision; queries and the soft maximum's
 * results are rounded to it, as the library does.
 *
 * Results are those of the library's own product (llamafile's sgemm) to the last bit: a sum has as
 * many parts as the library's vectors have lanes; part i adds up the products i, i + lanes, … in
 * this order, and the parts are added by halves. What differs is what is computed side by side: 16
 * cells of a key's head instead of the 16 parts of one sum, and what is read of memory how often.
 * The tests compare bits.
 *
 * Any thread may call any function; nothing is kept between calls. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct attention_kernel { /* `lanes` divides all widths and numbers of cells below */
    size_t lanes;
    size_t queries; /* at most, of one mix() */
    /* Numbers rounded to half precision, and those that are in it, as floats; `next` is fetched
     * meanwhile. */
    void (*round)(size_t n, const float *x, float *ret);
    void (*widen)(size_t n, const uint16_t *halves, const uint16_t *next, float *ret);
    /* Keys of `lanes` cells, `stride` halves apart, as ret[i * lanes + cell]. */
    void (*turn)(size_t width, const uint16_t *keys, size_t stride, float *ret);
    /* Those keys times queries, one query after the other: ret[query * stride + cell]. */
    void (*score)(size_t width, const float *turned, size_t queries, const float *q, float *ret,
                  size_t stride);
    /* Values, a row of cells for each dimension (a multiple of 4), times shares of the cells:
     * ret[query * dims + dimension]. Rows are `stride` floats apart. */
    void (*mix)(size_t cells, size_t dims, const float *values, size_t queries, const float *shares,
                size_t stride, float *ret);
    /* x × scale + mask (NULL: none), and the largest of them. Any n. */
    float (*weigh)(size_t n, const float *x, float scale, const float *mask, float *ret);
    /* How many numbers there are up to the last that is not `rest` (never NaN). Any n. */
    size_t (*length)(size_t n, const float *x, float rest);
};

/* The one for a library whose vectors have so many lanes; NULL: this CPU cannot run it. */
const struct attention_kernel *attention_kernel_get(size_t lanes);
