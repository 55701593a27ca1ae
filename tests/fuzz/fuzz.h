/* What a fuzz target is made of. One file defines LLVMFuzzerTestOneInput and is built twice: with
 * libFuzzer (build option fuzz, Clang), and with replay.c for a fixed count of mutations with any
 * compiler. A target must not keep state between inputs, and must trap (fuzz_check) if the result
 * is wrong, not only if memory is. */
#ifndef TMB_TESTS_FUZZ_H
#define TMB_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Optional in a target: seeds that code makes; the files of corpus/NAME come on top. */
typedef void (*fuzz_add_seed)(const void *data, size_t size);
void fuzz_seeds(fuzz_add_seed add) __attribute__((weak));

#define fuzz_check(condition)                                                                                          \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                                            \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

/* Takes an input apart: little-endian numbers from its front, zeros when it is used up. */
typedef struct fuzz_input {
    const uint8_t *data;
    size_t size;
} fuzz_input;

static inline uint64_t fuzz_take(fuzz_input *input, size_t bytes) {
    uint64_t value = 0;
    for (size_t i = 0; i < bytes && input->size > 0; i++) {
        value |= (uint64_t)*input->data++ << (8 * i);
        input->size--;
    }
    return value;
}

#endif
