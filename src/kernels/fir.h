/* Polyphase FIR filter bank: the inner loop of resampling by a rational ratio. */
#ifndef TMB_KERNELS_FIR_H
#define TMB_KERNELS_FIR_H

#include <stddef.h>

/* Rows of taps are padded with zeros to a multiple of this many. */
#define TMB_FIR_UNIT 8

/* One row of taps a phase, and how the phase moves from one output to the next. */
typedef struct tmb_fir_bank {
    const float *taps; /* [phases, length], each row a filter in the order of the input */
    size_t phases;     /* > 0 */
    size_t length;     /* taps in a row, a multiple of TMB_FIR_UNIT, > 0 */
    size_t advance;    /* inputs that the next output is further on ... */
    size_t phase_step; /* ... and phases, < phases; past the last phase it is one more input */
} tmb_fir_bank;

typedef struct tmb_fir_kernels {
    /* out[n] = sum over k of taps[phase_n][k] * x[position_n + k], n in [0, count); position_0 = 0,
     * phase_0 = phase < phases. x has every sample that a row covers; neither x nor out need be aligned.
     * A sample's value depends on its window alone, never on `count` or its place in the run. */
    void (*polyphase)(float *out, size_t count, const float *x, const tmb_fir_bank *bank, size_t phase);
} tmb_fir_kernels;

/* The fastest variants for a CPU with `cpu_flags` (cpu/cpu.h); 0 gives plain C. */
void tmb_fir_kernels_init(tmb_fir_kernels *kernels, unsigned cpu_flags);

#endif
