#include "base/memory.h"

#include "base/checked.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define HUGE_PAGE ((size_t)2 << 20)

void *tmb_calloc(size_t count, size_t size) {
    size_t bytes = 0;
    if (!tmb_mul_size(count, size, &bytes)) {
        return NULL;
    }
    return calloc(1, bytes == 0 ? 1 : bytes);
}

void *tmb_alloc_aligned(size_t count, size_t size) {
    size_t bytes = 0;
    if (!tmb_mul_size(count, size, &bytes) || !tmb_pad_size(bytes, TMB_ALIGNMENT, &bytes)) {
        return NULL;
    }
    if (bytes == 0) {
        bytes = TMB_ALIGNMENT;
    }
    void *memory = aligned_alloc(TMB_ALIGNMENT, bytes);
    if (memory != NULL) {
        memset(memory, 0, bytes);
    }
    return memory;
}

void *tmb_alloc_huge(size_t count, size_t size) {
    size_t bytes = 0;
    if (!tmb_mul_size(count, size, &bytes) || bytes < HUGE_PAGE) {
        return tmb_alloc_aligned(count, size);
    }
    if (!tmb_pad_size(bytes, TMB_ALIGNMENT, &bytes)) {
        return NULL;
    }
    /* Not aligned_alloc: that takes whole huge pages only. */
    void *memory = NULL;
    if (posix_memalign(&memory, HUGE_PAGE, bytes) == 0) {
#ifdef MADV_HUGEPAGE
        (void)madvise(memory, bytes & ~(HUGE_PAGE - 1), MADV_HUGEPAGE); /* advice: a refusal changes nothing */
#endif
        memset(memory, 0, bytes);
    }
    return memory;
}

void *tmb_realloc(void *pointer, size_t count, size_t size) {
    size_t bytes = 0;
    if (!tmb_mul_size(count, size, &bytes)) {
        return NULL;
    }
    return realloc(pointer, bytes == 0 ? 1 : bytes);
}

bool tmb_memory_is_free(size_t bytes) {
    /* Not by malloc: glibc would put what is as large into its heap from then on, which gives back less. */
    void *probe = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return probe != MAP_FAILED && munmap(probe, bytes) == 0;
}

char *tmb_strdup(const char *text) {
    if (text == NULL) {
        return NULL;
    }
    size_t length = strlen(text);
    char *copy = malloc(length + 1);
    if (copy != NULL) {
        memcpy(copy, text, length + 1);
    }
    return copy;
}

char *tmb_asprintf(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    if (length < 0) {
        return NULL;
    }
    char *text = malloc((size_t)length + 1);
    if (text == NULL) {
        return NULL;
    }
    va_start(arguments, format);
    (void)vsnprintf(text, (size_t)length + 1, format, arguments);
    va_end(arguments);
    return text;
}
