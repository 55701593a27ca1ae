/* Butterflies of 2 to 5 points, written once for all vector widths. The includer defines, as macros or inline
 * functions, the type FFT_V of a vector of floats and FFT_ADD, FFT_SUB, FFT_MUL on it, FFT_MULADD(a, b, c) = a b + c,
 * FFT_MULSUB(a, b, c) = c - a b and FFT_SET(constant). */
#ifndef TMB_KERNELS_FORMS_FFT_BUTTERFLY_H
#define TMB_KERNELS_FORMS_FFT_BUTTERFLY_H

typedef struct fft_complex {
    FFT_V re, im;
} fft_complex;

static inline __attribute__((always_inline)) fft_complex fft_add(fft_complex a, fft_complex b) {
    return (fft_complex){FFT_ADD(a.re, b.re), FFT_ADD(a.im, b.im)};
}

static inline __attribute__((always_inline)) fft_complex fft_sub(fft_complex a, fft_complex b) {
    return (fft_complex){FFT_SUB(a.re, b.re), FFT_SUB(a.im, b.im)};
}

/* a + b * c for a real c; a - i b, a + i b. */
static inline __attribute__((always_inline)) fft_complex fft_add_scaled(fft_complex a, fft_complex b, FFT_V c) {
    return (fft_complex){FFT_MULADD(b.re, c, a.re), FFT_MULADD(b.im, c, a.im)};
}

static inline __attribute__((always_inline)) fft_complex fft_sub_turned(fft_complex a, fft_complex b) {
    return (fft_complex){FFT_ADD(a.re, b.im), FFT_SUB(a.im, b.re)};
}

static inline __attribute__((always_inline)) fft_complex fft_add_turned(fft_complex a, fft_complex b) {
    return (fft_complex){FFT_SUB(a.re, b.im), FFT_ADD(a.im, b.re)};
}

static inline __attribute__((always_inline)) fft_complex fft_multiply(fft_complex a, FFT_V w_re, FFT_V w_im) {
    return (fft_complex){FFT_MULSUB(a.im, w_im, FFT_MUL(a.re, w_re)), FFT_MULADD(a.re, w_im, FFT_MUL(a.im, w_re))};
}

/* a = the transform of a[0 .. radix). */
static inline __attribute__((always_inline)) void fft_butterfly(fft_complex *a, const int radix) {
    if (radix == 2) {
        const fft_complex sum = fft_add(a[0], a[1]);
        a[1] = fft_sub(a[0], a[1]);
        a[0] = sum;
    } else if (radix == 3) {
        const FFT_V half = FFT_SET(-0.5f);
        const FFT_V root = FFT_SET(0.86602540378443865f); /* sin(2 pi / 3) */
        const fft_complex sum = fft_add(a[1], a[2]);
        const fft_complex difference = fft_sub(a[1], a[2]);
        const fft_complex turned = {FFT_MUL(difference.re, root), FFT_MUL(difference.im, root)};
        const fft_complex middle = fft_add_scaled(a[0], sum, half);
        a[0] = fft_add(a[0], sum);
        a[1] = fft_sub_turned(middle, turned);
        a[2] = fft_add_turned(middle, turned);
    } else if (radix == 4) {
        const fft_complex even = fft_add(a[0], a[2]);
        const fft_complex even_difference = fft_sub(a[0], a[2]);
        const fft_complex odd = fft_add(a[1], a[3]);
        const fft_complex odd_difference = fft_sub(a[1], a[3]);
        a[0] = fft_add(even, odd);
        a[2] = fft_sub(even, odd);
        a[1] = fft_sub_turned(even_difference, odd_difference);
        a[3] = fft_add_turned(even_difference, odd_difference);
    } else {
        const FFT_V cos1 = FFT_SET(0.30901699437494742f); /* cos(2 pi / 5), cos(4 pi / 5), and the sines */
        const FFT_V cos2 = FFT_SET(-0.80901699437494742f);
        const FFT_V sin1 = FFT_SET(0.95105651629515357f);
        const FFT_V sin2 = FFT_SET(0.58778525229247313f);
        const fft_complex sum1 = fft_add(a[1], a[4]);
        const fft_complex difference1 = fft_sub(a[1], a[4]);
        const fft_complex sum2 = fft_add(a[2], a[3]);
        const fft_complex difference2 = fft_sub(a[2], a[3]);
        const fft_complex middle1 = fft_add_scaled(fft_add_scaled(a[0], sum1, cos1), sum2, cos2);
        const fft_complex middle2 = fft_add_scaled(fft_add_scaled(a[0], sum1, cos2), sum2, cos1);
        const fft_complex turned1 = {FFT_MULADD(difference2.re, sin2, FFT_MUL(difference1.re, sin1)),
                                     FFT_MULADD(difference2.im, sin2, FFT_MUL(difference1.im, sin1))};
        const fft_complex turned2 = {FFT_MULSUB(difference2.re, sin1, FFT_MUL(difference1.re, sin2)),
                                     FFT_MULSUB(difference2.im, sin1, FFT_MUL(difference1.im, sin2))};
        a[0] = fft_add(a[0], fft_add(sum1, sum2));
        a[1] = fft_sub_turned(middle1, turned1);
        a[4] = fft_add_turned(middle1, turned1);
        a[2] = fft_sub_turned(middle2, turned2);
        a[3] = fft_add_turned(middle2, turned2);
    }
}

#endif
