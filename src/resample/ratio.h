/* Exact arithmetic on the ratio of two rates. */
#ifndef TMB_RESAMPLE_RATIO_H
#define TMB_RESAMPLE_RATIO_H

#include <stddef.h>
#include <stdint.h>

/* output_rate / input_rate in lowest terms, *up / *down. Both rates > 0. */
static inline void tmb_ratio(int input_rate, int output_rate, size_t *up, size_t *down) {
    size_t a = (size_t)input_rate;
    size_t b = (size_t)output_rate;
    while (b != 0) {
        const size_t rest = a % b;
        a = b;
        b = rest;
    }
    *up = (size_t)output_rate / a;
    *down = (size_t)input_rate / a;
}

/* ceil(count * up / down), and floor(count * up / down + 1/2); UINT64_MAX if that is too much. */
static inline uint64_t tmb_ratio_ceil(uint64_t count, size_t up, size_t down) {
    const unsigned __int128 result = ((unsigned __int128)count * up + down - 1) / down;
    return result > UINT64_MAX ? UINT64_MAX : (uint64_t)result;
}

static inline uint64_t tmb_ratio_round(uint64_t count, size_t up, size_t down) {
    const unsigned __int128 result = ((unsigned __int128)count * up * 2 + down) / ((unsigned __int128)down * 2);
    return result > UINT64_MAX ? UINT64_MAX : (uint64_t)result;
}

#endif
