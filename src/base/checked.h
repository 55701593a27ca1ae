/* Arithmetic on sizes that came from files, clients or the command line: it says when it would wrap. */
#ifndef TMB_BASE_CHECKED_H
#define TMB_BASE_CHECKED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* *result = a + b; false (and *result unspecified) if that does not fit. */
static inline bool tmb_add_size(size_t a, size_t b, size_t *result) { return !__builtin_add_overflow(a, b, result); }

/* *result = a * b; false if that does not fit. */
static inline bool tmb_mul_size(size_t a, size_t b, size_t *result) { return !__builtin_mul_overflow(a, b, result); }

/* *result = a rounded up to a multiple of `unit` (a power of two); false if that does not fit. */
static inline bool tmb_pad_size(size_t a, size_t unit, size_t *result) {
    if (__builtin_add_overflow(a, unit - 1, result)) {
        return false;
    }
    *result &= ~(unit - 1);
    return true;
}

/* *result = a + b and a * b in 64 bits. */
static inline bool tmb_add_u64(uint64_t a, uint64_t b, uint64_t *result) {
    return !__builtin_add_overflow(a, b, result);
}
static inline bool tmb_mul_u64(uint64_t a, uint64_t b, uint64_t *result) {
    return !__builtin_mul_overflow(a, b, result);
}

#endif
