/* An input that is several texts, with the byte 0x1e between them. */
#ifndef TMB_TESTS_FUZZ_PARTS_H
#define TMB_TESTS_FUZZ_PARTS_H

#include "fuzz.h"

typedef struct fuzz_part {
    char *text; /* exactly `size` bytes, so that a sanitizer sees a read past the end; NULL: not there */
    size_t size;
} fuzz_part;

static inline void fuzz_split(const uint8_t *data, size_t size, fuzz_part *parts, size_t count) {
    for (size_t i = 0; i < count; i++) {
        parts[i] = (fuzz_part){NULL, 0};
        if (data == NULL) {
            continue;
        }
        const uint8_t *mark = i + 1 < count && size > 0 ? memchr(data, 0x1e, size) : NULL;
        size_t part = mark != NULL ? (size_t)(mark - data) : size;
        parts[i].text = malloc(part > 0 ? part : 1);
        fuzz_check(parts[i].text != NULL);
        if (part > 0) {
            memcpy(parts[i].text, data, part);
        }
        parts[i].size = part;
        size -= mark != NULL ? part + 1 : part;
        data = mark != NULL ? mark + 1 : NULL;
    }
}

static inline void fuzz_free_parts(fuzz_part *parts, size_t count) {
    for (size_t i = 0; i < count; i++) {
        free(parts[i].text);
    }
}

#endif
