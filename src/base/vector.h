/* Rows of floats, such as embeddings. */
#pragma once

#include <stddef.h>

/* The sum of a[i] * b[i], in eight partial sums: the same bits wherever it is called. */
double vector_dot(const float *a, const float *b, size_t n);
