/* The bookkeeping that the variants of fir.h share. */
#ifndef TMB_KERNELS_FORMS_FIR_WINDOWS_H
#define TMB_KERNELS_FORMS_FIR_WINDOWS_H

#include "kernels/fir.h"

/* The windows of the next four outputs and their rows of taps. If only `lanes` are left, the last
 * one is repeated. Moves *x and *phase behind them. */
static inline void tmb_fir_windows(const tmb_fir_bank *bank, size_t lanes, const float **x, size_t *phase,
                                   const float *windows[4], const float *taps[4]) {
    for (size_t i = 0; i < 4; i++) {
        if (i >= lanes) {
            windows[i] = windows[i - 1];
            taps[i] = taps[i - 1];
            continue;
        }
        windows[i] = *x;
        taps[i] = bank->taps + *phase * bank->length;
        *x += bank->advance;
        *phase += bank->phase_step;
        if (*phase >= bank->phases) {
            *phase -= bank->phases;
            *x += 1;
        }
    }
}

#endif
