/* Fetching weights ahead of the products that take them. A step of one vector leaves the processor room to run ahead
 * and fetch by itself; a step of several fills it with products, so that it would wait for the memory first and
 * multiply then. */
#ifndef TMB_KERNELS_X86_AHEAD_H
#define TMB_KERNELS_X86_AHEAD_H

#include "kernels/forms/unroll.h"
#include "kernels/matmul_layout.h"
#include "kernels/x86/intrinsics.h"

/* What a tile fetches while it works, a step at a time: its share of the panel that comes next, or, if a panel is
 * one tile, what it will read itself in a moment, `lead` bytes further on. */
typedef struct tmb_ahead {
    const char *next;
    size_t step;
} tmb_ahead;

TMB_INLINE tmb_ahead tmb_ahead_of(const tmb_matrix *weights, const uint8_t *panel, size_t steps, size_t tile,
                                  size_t tiles, size_t lead) {
    const char *from = (const char *)panel;
    from += tiles == 1 ? lead : weights->panel_bytes + weights->panel_bytes / tiles * tile;
    return (tmb_ahead){from, weights->panel_bytes / (steps * tiles) + 1};
}

TMB_INLINE void tmb_fetch(tmb_ahead *ahead) {
    _mm_prefetch(ahead->next, _MM_HINT_T0);
    ahead->next += ahead->step;
}

#endif
