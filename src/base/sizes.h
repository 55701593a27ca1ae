/* Sizes that are known to fit: no overflow is looked for (checked.h does). */
#ifndef TMB_BASE_SIZES_H
#define TMB_BASE_SIZES_H

#include <stddef.h>

static inline size_t tmb_max_size(size_t a, size_t b) { return a > b ? a : b; }

/* The next multiple of `unit`. */
static inline size_t tmb_round_up(size_t value, size_t unit) { return (value + unit - 1) / unit * unit; }

#endif
