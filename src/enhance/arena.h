/* Many arrays of floats in one allocation: the same code first counts them (base NULL) and then lays them out. */
#ifndef TMB_ENHANCE_ARENA_H
#define TMB_ENHANCE_ARENA_H

#include "base/memory.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct tmb_arena {
    float *base; /* NULL while counting */
    size_t used; /* floats */
    bool overflow;
} tmb_arena;

/* `count` floats aligned to TMB_ALIGNMENT; NULL while counting. */
static inline float *tmb_arena_take(tmb_arena *arena, size_t count) {
    const size_t unit = TMB_ALIGNMENT / sizeof(float);
    if (count > ((size_t)1 << 40) || arena->used > ((size_t)1 << 40)) {
        arena->overflow = true;
        return NULL;
    }
    float *taken = arena->base != NULL ? arena->base + arena->used : NULL;
    arena->used += (count + unit - 1) / unit * unit;
    return taken;
}

#endif
