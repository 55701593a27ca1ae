/* Sizes that are known to fit: no overflow is looked for (checked.h does). */
#ifndef TMB_BASE_SIZES_H
#define TMB_BASE_SIZES_H

#include <stddef.h>

static inline size_t tmb_max_size(size_t a, size_t b) { return a > b ? a : b; }

/* The next multiple of `unit`. */
static inline size_t tmb_round_up(size_t value, size_t unit) { return (value + unit - 1) / unit * unit; }

/* How many pieces of `size` it takes to hold `count`. */
static inline size_t tmb_ceil_div(size_t count, size_t size) { return (count + size - 1) / size; }

#endif
