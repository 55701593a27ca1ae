/* Numbers in the heads of files. */
#ifndef TMB_IO_BYTES_H
#define TMB_IO_BYTES_H

#include <stddef.h>
#include <stdint.h>

/* `count` bytes, at most 8. */
static inline uint64_t tmb_little(const uint8_t *bytes, size_t count) {
    uint64_t value = 0;
    for (size_t i = 0; i < count; i++) {
        value |= (uint64_t)bytes[i] << (8 * i);
    }
    return value;
}

static inline uint64_t tmb_big(const uint8_t *bytes, size_t count) {
    uint64_t value = 0;
    for (size_t i = 0; i < count; i++) {
        value = value << 8 | bytes[i];
    }
    return value;
}

#endif
