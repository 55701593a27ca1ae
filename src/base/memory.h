/* Allocation with checked sizes. Everything returned here is freed with free(). */
#ifndef TMB_BASE_MEMORY_H
#define TMB_BASE_MEMORY_H

#include <stdbool.h>
#include <stddef.h>

/* Alignment of tmb_alloc_aligned: one cache line, one AVX-512 register. */
#define TMB_ALIGNMENT 64

/* `count` zeroed elements of `size` bytes, or NULL (also if the product wraps). count 0 gives a
 * pointer that may be freed. */
void *tmb_calloc(size_t count, size_t size);

/* The same, aligned to TMB_ALIGNMENT and padded to a multiple of it. */
void *tmb_alloc_aligned(size_t count, size_t size);

/* The same for weights that are read from end to end: if the system has huge pages and the size is worth
 * it, the memory is made of them, which spares a memory-bound loop its page table walks. */
void *tmb_alloc_huge(size_t count, size_t size);

/* Resizes `pointer` to count * size bytes; NULL (and `pointer` still valid) if that fails. */
void *tmb_realloc(void *pointer, size_t count, size_t size);

/* Whether so many bytes could be allocated now. For libraries that write through NULL if a buffer of theirs cannot grow
 * (libsoxr, libvorbis): nothing is asked of them while there is no memory. What other threads take in the same moment
 * remains possible. */
bool tmb_memory_is_free(size_t bytes);

/* A copy of `text` (NULL gives NULL), or NULL when out of memory. */
char *tmb_strdup(const char *text);

/* printf into a new string; NULL when out of memory. */
char *tmb_asprintf(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
