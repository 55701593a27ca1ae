/* Fast Fourier transform of real signals whose length is even with no prime factor above 5. */
#ifndef TMB_KERNELS_FFT_H
#define TMB_KERNELS_FFT_H

#include "timbre/timbre.h"

/* Immutable, to be shared by threads. */
typedef struct tmb_fft tmb_fft;

/* `length` in [2, 65536]. `cpu_flags` as in cpu/cpu.h. TMB_ERROR_UNSUPPORTED for other lengths. */
tmb_status tmb_fft_create(size_t length, unsigned cpu_flags, tmb_fft **out, tmb_error *error);
void tmb_fft_destroy(tmb_fft **fft);

/* Floats that a transform needs to work in. */
size_t tmb_fft_scratch_floats(const tmb_fft *fft);
size_t tmb_fft_bytes(const tmb_fft *fft);

/* re + i im [length / 2 + 1] = sum over n of samples[n] * window[n] * exp(-2 pi i k n / length). `scratch` is aligned
 * to 64 bytes. */
void tmb_fft_forward(const tmb_fft *fft, const float *samples, const float *window, float *re, float *im,
                     float *scratch);

/* samples [length] = the inverse, times length; im[0] and im[length / 2] are taken for 0. */
void tmb_fft_inverse(const tmb_fft *fft, const float *re, const float *im, float *samples, float *scratch);

/* One pass of the transform. With r the radix, for p in [0, m), q in [0, s), j and k in [0, r):
 *     y[q + s (r p + k)] = w[k][p] * sum over j of x[q + s (p + m j)] exp(-2 pi i j k / r)
 * w[0] is 1 and not stored; twiddles are [r - 1, m]. */
typedef struct tmb_fft_pass tmb_fft_pass;
typedef void (*tmb_fft_pass_function)(const tmb_fft_pass *pass, const float *x_re, const float *x_im, float *y_re,
                                      float *y_im);
struct tmb_fft_pass {
    size_t radix; /* 2, 3, 4 or 5 */
    size_t m, s;
    const float *w_re, *w_im;
    tmb_fft_pass_function run;
};

/* How a pass's vectors can lie, from the most general on. */
typedef enum tmb_fft_shape {
    TMB_FFT_ANY = 0,
    TMB_FFT_FIRST, /* s = 1, radix 4, m a multiple of 8 */
    TMB_FFT_FOUR,  /* s = 4, m even */
    TMB_FFT_WIDE,  /* s a multiple of 8 */
    TMB_FFT_SHAPES
} tmb_fft_shape;
tmb_fft_shape tmb_fft_shape_of(size_t radix, size_t m, size_t s);

typedef struct tmb_fft_kernels {
    tmb_fft_pass_function pass[TMB_FFT_SHAPES][4]; /* the second index is radix - 2 */
} tmb_fft_kernels;

/* The fastest variants for a CPU with `cpu_flags` (cpu/cpu.h); 0 gives plain C. */
void tmb_fft_kernels_init(tmb_fft_kernels *kernels, unsigned cpu_flags);

#endif
