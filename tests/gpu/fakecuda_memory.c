/* Memory of the device, pinned memory, and copies between them. */
#include "fakecuda_internal.h"
#include "sanitizers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* Under AddressSanitizer every allocation is one of its own; otherwise each ends at a page that cannot be touched, and
 * malloc's own figures do not count it. */
static void *allocate(size_t bytes, bool pinned) {
    fake_block *b = calloc(1, sizeof *b);
#if defined(WITH_ASAN)
    void *memory = NULL;
    if (b == NULL || posix_memalign(&memory, 512, bytes) != 0) {
        free(b);
        return NULL;
    }
    b->address = memory;
#else
    size_t aligned = (bytes + 511) / 512 * 512;
    b->mapped = (aligned + 4095) / 4096 * 4096 + 4096;
    b->base = mmap(NULL, b->mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (b->base == MAP_FAILED || mprotect(b->base + b->mapped - 4096, 4096, PROT_NONE) != 0) {
        free(b);
        return NULL;
    }
    b->address = b->base + b->mapped - 4096 - aligned;
#endif
    b->bytes = bytes;
    b->pinned = pinned;
    b->device = fake_current()->device;
    b->next = fake.blocks;
    fake.blocks = b;
    memset(b->address, 0xff, bytes); /* NaN */
    return b->address;
}

static size_t release(const void *address, int *device) {
    for (fake_block **link = &fake.blocks; *link != NULL; link = &(*link)->next) {
        fake_block *b = *link;
        if (b->address == address) {
            size_t bytes = b->bytes;
            *device = b->device;
            *link = b->next;
#if defined(WITH_ASAN)
            free(b->address);
#else
            (void)munmap(b->base, b->mapped);
#endif
            free(b);
            return bytes;
        }
    }
    (void)fprintf(stderr, "fakecuda: %p is not allocated\n", address);
    abort();
}

/* Whether the bytes lie in one allocation of that kind. */
static bool inside(const void *address, size_t bytes, bool pinned) {
    for (const fake_block *b = fake.blocks; b != NULL; b = b->next) {
        const char *begin = b->address;
        if (b->pinned == pinned && (const char *)address >= begin &&
            (const char *)address + bytes <= begin + b->bytes) {
            return true;
        }
    }
    return false;
}

void fake_took(int device, uint64_t bytes) {
    fake.allocated[device] += bytes;
    fake.counts.allocated += bytes;
    if (fake.counts.allocated > fake.counts.most_allocated) {
        fake.counts.most_allocated = fake.counts.allocated;
    }
}

EXPORT int cuMemGetInfo_v2(size_t *free_bytes, size_t *total_bytes);
int cuMemGetInfo_v2(size_t *free_bytes, size_t *total_bytes) {
    BEGIN;
    *free_bytes = fake_free_bytes(fake_current()->device);
    *total_bytes = (size_t)fake.memory;
    return fake_unlock(SUCCESS);
}
EXPORT int cuMemAlloc_v2(fake_address *out, size_t bytes);
int cuMemAlloc_v2(fake_address *out, size_t bytes) {
    BEGIN;
    fake.counts.allocations++;
    for (const stream *s = fake.streams; s != NULL; s = s->next) {
        fake.counts.allocated_in_flight += s->first != NULL;
    }
    if ((fake.fail_allocation > 0 && --fake.fail_allocation == 0) || bytes > fake_free_bytes(fake_current()->device)) {
        return fake_unlock(OUT_OF_MEMORY);
    }
    void *memory = allocate(bytes, false);
    if (memory == NULL) {
        return fake_unlock(OUT_OF_MEMORY);
    }
    *out = (fake_address)(uintptr_t)memory;
    fake_took(fake_current()->device, bytes);
    return fake_unlock(SUCCESS);
}
EXPORT int cuMemFree_v2(fake_address memory);
int cuMemFree_v2(fake_address memory) {
    fake_lock();
    fake_run_all();
    int device = 0;
    size_t bytes = release((void *)(uintptr_t)memory, &device);
    fake.allocated[device] -= bytes;
    fake.counts.allocated -= bytes;
    return fake_unlock(fake_state());
}
EXPORT int cuMemAllocHost_v2(void **out, size_t bytes);
int cuMemAllocHost_v2(void **out, size_t bytes) {
    BEGIN;
    *out = allocate(bytes, true);
    fake.counts.pinned += *out != NULL;
    return fake_unlock(*out != NULL ? SUCCESS : OUT_OF_MEMORY);
}
EXPORT int cuMemFreeHost(void *memory);
int cuMemFreeHost(void *memory) {
    fake_lock();
    fake_run_all();
    int device = 0;
    (void)release(memory, &device);
    fake.counts.pinned--;
    return fake_unlock(fake_state());
}
EXPORT int cuMemcpyHtoDAsync_v2(fake_address to, const void *from, size_t bytes, void *s);
int cuMemcpyHtoDAsync_v2(fake_address to, const void *from, size_t bytes, void *s) {
    BEGIN;
    if (!inside((void *)(uintptr_t)to, bytes, false)) {
        return fake_unlock(INVALID_VALUE);
    }
    fake.counts.bytes_up += bytes;
    operation *o = fake_append(s, COPY);
    o->to = (void *)(uintptr_t)to;
    o->from = from;
    o->bytes = bytes;
    if (!inside(from, bytes, true)) {
        fake.counts.pageable_up += bytes;
    }
    if (!inside(from, bytes, true) && fake.defer_pageable == 0) {
        o->owned = bytes <= MOST_ARGUMENTS ? o->node.arguments : malloc(bytes);
        memcpy(o->owned, from, bytes);
    }
    return fake_unlock(SUCCESS);
}
EXPORT int cuMemcpyDtoHAsync_v2(void *to, fake_address from, size_t bytes, void *s);
int cuMemcpyDtoHAsync_v2(void *to, fake_address from, size_t bytes, void *s) {
    BEGIN;
    if (!inside((void *)(uintptr_t)from, bytes, false)) {
        return fake_unlock(INVALID_VALUE);
    }
    fake.counts.bytes_down += bytes;
    operation *o = fake_append(s, COPY);
    o->to = to;
    o->from = (const void *)(uintptr_t)from;
    o->bytes = bytes;
    if (!inside(to, bytes, true)) {
        return fake_unlock(fake_run_stream(s, NULL)); /* to memory that is not pinned the copy is made at once */
    }
    memset(to, 0xa5, bytes);
    return fake_unlock(SUCCESS);
}
EXPORT int cuMemcpyDtoDAsync_v2(fake_address to, fake_address from, size_t bytes, void *s);
int cuMemcpyDtoDAsync_v2(fake_address to, fake_address from, size_t bytes, void *s) {
    BEGIN;
    if (!inside((void *)(uintptr_t)from, bytes, false) || !inside((void *)(uintptr_t)to, bytes, false)) {
        return fake_unlock(INVALID_VALUE);
    }
    operation *o = fake_append(s, COPY);
    o->to = (void *)(uintptr_t)to;
    o->from = (const void *)(uintptr_t)from;
    o->bytes = bytes;
    return fake_unlock(SUCCESS);
}
EXPORT int cuMemsetD32Async(fake_address to, unsigned value, size_t count, void *s);
int cuMemsetD32Async(fake_address to, unsigned value, size_t count, void *s) {
    BEGIN;
    if (value != 0 || !inside((void *)(uintptr_t)to, 4 * count, false)) {
        return fake_unlock(INVALID_VALUE);
    }
    operation *o = fake_append(s, FILL);
    o->to = (void *)(uintptr_t)to;
    o->bytes = 4 * count;
    return fake_unlock(SUCCESS);
}
