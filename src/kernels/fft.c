#include "kernels/fft.h"

#include "base/error.h"
#include "base/memory.h"
#include "cpu/cpu.h"
#include "kernels/generic/init.h"
#if defined(__x86_64__)
#include "kernels/x86/fft_init.h"
#endif

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define FFT_V float
#define FFT_ADD(a, b) ((a) + (b))
#define FFT_SUB(a, b) ((a) - (b))
#define FFT_MUL(a, b) ((a) * (b))
#define FFT_MULADD(a, b, c) ((a) * (b) + (c))
#define FFT_MULSUB(a, b, c) ((c) - (a) * (b))
#define FFT_SET(constant) (constant)
#include "kernels/forms/fft_butterfly.h"

/* 65536 has 16 factors of two, in pairs. */
enum { MAX_LENGTH = 65536, MAX_PASSES = 16 };
static const double pi = 3.14159265358979323846;

/* A real signal of n samples is taken for n/2 complex ones, even samples real, odd ones imaginary; the spectrum of the
 * whole follows from theirs. Passes are Stockham's, decimation in frequency: the order comes out right by itself. */
struct tmb_fft {
    size_t half; /* complex points */
    size_t passes;
    tmb_fft_pass pass[MAX_PASSES];
    const float *turn_re, *turn_im; /* exp(-2 pi i k / length), [half + 1] */
    size_t bytes;
    float *tables;
};

static inline __attribute__((always_inline)) void pass_c(const tmb_fft_pass *pass, const float *x_re, const float *x_im,
                                                         float *y_re, float *y_im, const int radix) {
    const size_t m = pass->m;
    const size_t s = pass->s;
    for (size_t p = 0; p < m; p++) {
        for (size_t q = 0; q < s; q++) {
            fft_complex a[5];
            for (int j = 0; j < radix; j++) {
                const size_t from = q + s * (p + m * (size_t)j);
                a[j] = (fft_complex){x_re[from], x_im[from]};
            }
            fft_butterfly(a, radix);
            for (int k = 0; k < radix; k++) {
                const size_t to = q + s * ((size_t)radix * p + (size_t)k);
                if (k > 0) {
                    const size_t w = (size_t)(k - 1) * m + p;
                    a[k] = fft_multiply(a[k], pass->w_re[w], pass->w_im[w]);
                }
                y_re[to] = a[k].re;
                y_im[to] = a[k].im;
            }
        }
    }
}

static void pass2_c(const tmb_fft_pass *pass, const float *x_re, const float *x_im, float *y_re, float *y_im) {
    pass_c(pass, x_re, x_im, y_re, y_im, 2);
}

static void pass3_c(const tmb_fft_pass *pass, const float *x_re, const float *x_im, float *y_re, float *y_im) {
    pass_c(pass, x_re, x_im, y_re, y_im, 3);
}

static void pass4_c(const tmb_fft_pass *pass, const float *x_re, const float *x_im, float *y_re, float *y_im) {
    pass_c(pass, x_re, x_im, y_re, y_im, 4);
}

static void pass5_c(const tmb_fft_pass *pass, const float *x_re, const float *x_im, float *y_re, float *y_im) {
    pass_c(pass, x_re, x_im, y_re, y_im, 5);
}

tmb_fft_shape tmb_fft_shape_of(size_t radix, size_t m, size_t s) {
    if (s % 8 == 0) {
        return TMB_FFT_WIDE;
    }
    if (s == 4 && m % 2 == 0) {
        return TMB_FFT_FOUR;
    }
    return s == 1 && radix == 4 && m % 8 == 0 ? TMB_FFT_FIRST : TMB_FFT_ANY;
}

void tmb_fft_kernels_init(tmb_fft_kernels *kernels, unsigned cpu_flags) {
    for (size_t shape = 0; shape < TMB_FFT_SHAPES; shape++) {
        static const tmb_fft_pass_function plain[4] = {pass2_c, pass3_c, pass4_c, pass5_c};
        memcpy(kernels->pass[shape], plain, sizeof plain);
    }
    if ((cpu_flags & TMB_CPU_GENERIC) != 0) {
        tmb_fft_kernels_init_generic(kernels);
    }
#if defined(__x86_64__)
    tmb_fft_kernels_init_x86(kernels, cpu_flags);
#endif
}

/* The factors of `half`, fours first; 0 if another one is left. */
static size_t factorize(size_t half, size_t *factors) {
    static const size_t radices[] = {4, 5, 3, 2};
    size_t count = 0;
    for (size_t i = 0; i < 4; i++) {
        while (half % radices[i] == 0) {
            factors[count++] = radices[i];
            half /= radices[i];
        }
    }
    return half == 1 ? count : 0;
}

tmb_status tmb_fft_create(size_t length, unsigned cpu_flags, tmb_fft **out, tmb_error *error) {
    *out = NULL;
    size_t factors[MAX_PASSES];
    const bool fits = length >= 2 && length <= MAX_LENGTH && length % 2 == 0;
    const size_t half = length / 2;
    const size_t passes = fits ? factorize(half, factors) : 0;
    if (!fits || (passes == 0 && half > 1)) {
        return tmb_fail(
            error, TMB_ERROR_UNSUPPORTED,
            "a Fourier transform of %zu points is not supported (even, at most %d, prime factors 2, 3 and 5)", length,
            MAX_LENGTH);
    }
    tmb_fft_kernels kernels;
    tmb_fft_kernels_init(&kernels, cpu_flags);
    tmb_fft *fft = tmb_calloc(1, sizeof *fft);
    /* Every pass has fewer than `half` twiddles; halving m, all of them have fewer than twice that. */
    const size_t floats = 2 * (2 * half + half + 1);
    float *next = fft != NULL ? tmb_alloc_aligned(floats, sizeof(float)) : NULL;
    if (next == NULL) {
        free(fft);
        return tmb_fail_memory(error, "the Fourier transform's tables", floats * sizeof(float));
    }
    fft->half = half;
    fft->passes = passes;
    fft->tables = next;
    fft->bytes = sizeof *fft + floats * sizeof(float);
    fft->turn_re = next;
    fft->turn_im = next + half + 1;
    for (size_t k = 0; k <= half; k++) {
        const double angle = -2 * pi * (double)k / (double)length;
        next[k] = (float)cos(angle);
        next[half + 1 + k] = (float)sin(angle);
    }
    next += 2 * (half + 1);
    size_t s = 1;
    for (size_t i = 0; i < passes; i++) {
        const size_t radix = factors[i];
        const size_t points = half / s; /* = radix * m */
        const size_t m = points / radix;
        const size_t twiddles = (radix - 1) * m;
        for (size_t k = 1; k < radix; k++) {
            for (size_t p = 0; p < m; p++) {
                const double angle = -2 * pi * (double)(k * p) / (double)points;
                next[(k - 1) * m + p] = (float)cos(angle);
                next[twiddles + (k - 1) * m + p] = (float)sin(angle);
            }
        }
        const tmb_fft_pass_function run = kernels.pass[tmb_fft_shape_of(radix, m, s)][radix - 2];
        fft->pass[i] = (tmb_fft_pass){radix, m, s, next, next + twiddles, run};
        next += 2 * twiddles;
        s *= radix;
    }
    *out = fft;
    return TMB_OK;
}

void tmb_fft_destroy(tmb_fft **fft) {
    if (fft == NULL || *fft == NULL) {
        return;
    }
    free((*fft)->tables);
    free(*fft);
    *fft = NULL;
}

size_t tmb_fft_scratch_floats(const tmb_fft *fft) { return 4 * (fft->half + 16); }

size_t tmb_fft_bytes(const tmb_fft *fft) { return fft->bytes; }

/* Two buffers of complex points in the caller's scratch, each part aligned to 64 bytes. */
typedef struct points {
    float *re, *im;
} points;

static points scratch_points(const tmb_fft *fft, float *scratch, size_t which) {
    const size_t part = (fft->half + 15) & ~(size_t)15;
    return (points){scratch + 2 * which * part, scratch + (2 * which + 1) * part};
}

/* Transforms from[0] with from[1] to work in; returns where the result is. */
static points transform(const tmb_fft *fft, points from, points other) {
    for (size_t i = 0; i < fft->passes; i++) {
        fft->pass[i].run(&fft->pass[i], from.re, from.im, other.re, other.im);
        const points result = other;
        other = from;
        from = result;
    }
    return from;
}

void tmb_fft_forward(const tmb_fft *fft, const float *samples, const float *window, float *re, float *im,
                     float *scratch) {
    const size_t half = fft->half;
    const points packed = scratch_points(fft, scratch, 0);
    for (size_t k = 0; k < half; k++) {
        packed.re[k] = samples[2 * k] * window[2 * k];
        packed.im[k] = samples[2 * k + 1] * window[2 * k + 1];
    }
    const points z = transform(fft, packed, scratch_points(fft, scratch, 1));
    re[0] = z.re[0] + z.im[0];
    im[0] = 0;
    re[half] = z.re[0] - z.im[0];
    im[half] = 0;
    /* With e and o the spectra of the even and odd samples: X[k] = e[k] + exp(-2 pi i k / length) o[k],
     * e[k] = (z[k] + conj z[half - k]) / 2, o[k] = (z[k] - conj z[half - k]) / 2i. */
    for (size_t k = 1; k < half; k++) {
        const float e_re = 0.5f * (z.re[k] + z.re[half - k]);
        const float e_im = 0.5f * (z.im[k] - z.im[half - k]);
        const float o_re = 0.5f * (z.im[k] + z.im[half - k]);
        const float o_im = 0.5f * (z.re[half - k] - z.re[k]);
        re[k] = e_re + (o_re * fft->turn_re[k] - o_im * fft->turn_im[k]);
        im[k] = e_im + (o_re * fft->turn_im[k] + o_im * fft->turn_re[k]);
    }
}

void tmb_fft_inverse(const tmb_fft *fft, const float *re, const float *im, float *samples, float *scratch) {
    const size_t half = fft->half;
    const points packed = scratch_points(fft, scratch, 0);
    const points other = scratch_points(fft, scratch, 1);
    packed.re[0] = re[0] + re[half];
    packed.im[0] = re[0] - re[half];
    for (size_t k = 1; k < half; k++) {
        const float e_re = re[k] + re[half - k];
        const float e_im = im[k] - im[half - k];
        const float d_re = re[k] - re[half - k];
        const float d_im = im[k] + im[half - k];
        /* o = d exp(+2 pi i k / length); z = e + i o */
        const float o_re = d_re * fft->turn_re[k] + d_im * fft->turn_im[k];
        const float o_im = d_im * fft->turn_re[k] - d_re * fft->turn_im[k];
        packed.re[k] = e_re - o_im;
        packed.im[k] = e_im + o_re;
    }
    /* With real and imaginary parts exchanged on both sides the forward transform is the inverse. */
    const points z = transform(fft, (points){packed.im, packed.re}, (points){other.im, other.re});
    for (size_t k = 0; k < half; k++) {
        samples[2 * k] = z.im[k];
        samples[2 * k + 1] = z.re[k];
    }
}
