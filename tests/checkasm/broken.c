/* Kernels that are wrong on purpose, each in one small way that a variant could be: checkasm must find every one.
 * They do what the reference does and then spoil it. */
#include "checkasm.h"

#include "kernels/conv.h"
#include "kernels/depthwise.h"
#include "kernels/elementwise.h"
#include "kernels/fft.h"
#include "kernels/fir.h"
#include "kernels/gemm_f32.h"
#include "kernels/matmul.h"

#include <string.h>

#define REFERENCE(type) ((type)checkasm_current_reference)

typedef void (*gemm_function)(const tmb_gemm_f32 *);
typedef void (*activation_function)(float *, size_t);
typedef void (*gates_function)(float *, const float *, const float *, size_t);
typedef void (*scale_function)(float *, const float *, const float *, const float *, const float *, size_t, size_t);
typedef float (*dot_function)(const float *, const float *, size_t);
typedef void (*depthwise_function)(const tmb_depthwise *);
typedef void (*matmul_function)(const tmb_matrix *, size_t, size_t, const void *, size_t, size_t, float *, size_t);
typedef void (*conv_panel)(const float *, size_t, size_t, size_t, size_t, size_t, const float *, const float *, float *,
                           size_t, const void *, size_t);
typedef void (*conv_dot)(const float *, size_t, size_t, size_t, const float *, float, float *, size_t);
typedef void (*half_panel)(const uint16_t *, size_t, const float *, size_t, size_t, const uint16_t *, const float *,
                           const float *, float *, size_t, const void *, size_t);
typedef void (*convert_function)(const float *, size_t, uint16_t *, float *);
typedef void (*fir_function)(float *, size_t, const float *, const tmb_fir_bank *, size_t);

static float *last_of_product(const tmb_gemm_f32 *product) {
    return product->c + (product->m - 1) * product->c_row + product->n - 1;
}

/* A sum that lost some of its precision. */
static void gemm_inexact(const tmb_gemm_f32 *product) {
    REFERENCE(gemm_function)(product);
    if (product->m > 0) {
        *last_of_product(product) += 2e-5f;
    }
}

/* A tile as high as usual if fewer rows are left: the results are right. */
static void gemm_overrun(const tmb_gemm_f32 *product) {
    REFERENCE(gemm_function)(product);
    if (product->m > 0) {
        volatile float *behind = last_of_product(product) + 1;
        *behind = *behind;
    }
}

static void gemm_underrun(const tmb_gemm_f32 *product) {
    REFERENCE(gemm_function)(product);
    if (product->m > 0) {
        product->c[-1] = 0;
    }
}

/* Whole registers stored at the end of each row, over what lies between the rows. */
static void gemm_between_rows(const tmb_gemm_f32 *product) {
    REFERENCE(gemm_function)(product);
    for (size_t i = 0; i + 1 < product->m; i++) {
        if (product->c_row > product->n) {
            product->c[i * product->c_row + product->n] = 1;
        }
    }
}

/* Results that depend on how many rows there are, by one rounding. */
static void gemm_by_rows(const tmb_gemm_f32 *product) {
    REFERENCE(gemm_function)(product);
    for (size_t i = 0; product->m > 1 && i < product->n; i++) {
        product->c[i] *= 1 + 0x1p-22f;
    }
}

static void sigmoid_inexact(float *x, size_t count) {
    REFERENCE(activation_function)(x, count);
    for (size_t i = 0; i < count; i++) {
        x[i] *= 1 + 1e-6f;
    }
}

/* Only whole registers. */
static void gates_without_tail(float *h, const float *x, const float *r, size_t hidden) {
    float tail[8];
    const size_t left = hidden % 8;
    memcpy(tail, h + hidden - left, left * sizeof(float));
    REFERENCE(gates_function)(h, x, r, hidden);
    memcpy(h + hidden - left, tail, left * sizeof(float));
}

/* add was forgotten if the rectifier cuts. */
static void scale_without_add(float *out, const float *x, const float *scale, const float *bias, const float *add,
                              size_t rows, size_t channels) {
    REFERENCE(scale_function)(out, x, scale, bias, add, rows, channels);
    for (size_t i = 0; i < rows * channels; i++) {
        out[i] = out[i] == add[i] ? 0 : out[i];
    }
}

static float dot_without_last(const float *a, const float *b, size_t count) {
    return REFERENCE(dot_function)(a, b, count > 0 ? count - 1 : 0);
}

static void depthwise_wrong_pad(const tmb_depthwise *job) {
    tmb_depthwise wrong = *job;
    wrong.pad = job->pad > 0 ? job->pad - 1 : 0;
    REFERENCE(depthwise_function)(&wrong);
}

static void fft_wrong_sign(const tmb_fft_pass *pass, const float *x_re, const float *x_im, float *y_re, float *y_im) {
    REFERENCE(tmb_fft_pass_function)(pass, x_re, x_im, y_re, y_im);
    const size_t last = pass->radix * pass->m * pass->s - 1;
    y_im[last] = -y_im[last];
}

static void fir_wrong_phase(float *out, size_t count, const float *x, const tmb_fir_bank *bank, size_t phase) {
    REFERENCE(fir_function)(out, count, x, bank, bank->phases > 1 ? (phase + bank->phases - 1) % bank->phases : phase);
}

/* What a tile of two rows does with an odd one. */
static void matmul_without_odd(const tmb_matrix *weights, size_t first, size_t end, const void *rows, size_t row_stride,
                               size_t count, float *out, size_t out_stride) {
    REFERENCE(matmul_function)(weights, first, end, rows, row_stride, count > 1 ? count / 2 * 2 : 1, out, out_stride);
}

/* Products that depend on how many vectors there are, by one rounding. */
static void matmul_by_count(const tmb_matrix *weights, size_t first, size_t end, const void *rows, size_t row_stride,
                            size_t count, float *out, size_t out_stride) {
    REFERENCE(matmul_function)(weights, first, end, rows, row_stride, count, out, out_stride);
    for (size_t i = 0; count > 1 && i < TMB_PANEL_ROWS; i++) {
        out[first * TMB_PANEL_ROWS + i] *= 1 + 0x1p-22f;
    }
}

/* What c holds is added to, though there is a start. */
static void conv_adds_always(const float *a, size_t a_pitch, size_t rows, size_t taps, size_t tap_pitch, size_t depth,
                             const float *b, const float *start, float *c, size_t c_pitch, const void *next,
                             size_t next_bytes) {
    (void)start;
    REFERENCE(conv_panel)(a, a_pitch, rows, taps, tap_pitch, depth, b, NULL, c, c_pitch, next, next_bytes);
}

/* The taps lie next to each other, as they do in most layers. */
static void conv_dense_taps(const float *a, size_t a_pitch, size_t rows, size_t taps, size_t tap_pitch, size_t depth,
                            const float *b, const float *start, float *c, size_t c_pitch, const void *next,
                            size_t next_bytes) {
    (void)tap_pitch;
    REFERENCE(conv_panel)(a, a_pitch, rows, taps, depth, depth, b, start, c, c_pitch, next, next_bytes);
}

static void conv_dot_without_last(const float *a, size_t a_pitch, size_t rows, size_t count, const float *b,
                                  float start, float *c, size_t c_pitch) {
    REFERENCE(conv_dot)(a, a_pitch, rows, count - 1, b, start, c, c_pitch);
}

static void half_first_scale(const uint16_t *a, size_t a_pitch, const float *row_scales, size_t rows, size_t pairs,
                             const uint16_t *b, const float *column_scales, const float *start, float *c,
                             size_t c_pitch, const void *next, size_t next_bytes) {
    for (size_t r = 0; r < rows; r++) {
        REFERENCE(half_panel)
        (a + r * a_pitch, a_pitch, row_scales, 1, pairs, b, column_scales, start, c + r * c_pitch, c_pitch, next,
         next_bytes);
    }
}

/* The values behind the last are not made zero. */
static void convert_without_tail(const float *x, size_t count, uint16_t *out, float *scale) {
    uint16_t row[256];
    REFERENCE(convert_function)(x, count, row, scale);
    memcpy(out, row, count * sizeof *out);
}

static void fixed_without_bias(const tmb_gemm_f32 *product) {
    float a[4096];
    tmb_gemm_f32 without = *product;
    memset(a, 0, product->k * sizeof *a);
    without.a = a;
    REFERENCE(gemm_function)(product);
    float bias[4096];
    without.c = bias;
    without.relu = false;
    REFERENCE(gemm_function)(&without);
    for (size_t i = 0; i < product->n; i++) {
        product->c[i] -= bias[i];
    }
}

static const struct {
    const char *name, *kernel; /* what the kernel's name begins with */
    checkasm_any function;
} broken[] = {
    {"gemm_inexact", "gemm_f32", (checkasm_any)gemm_inexact},
    {"gemm_overrun", "gemm_f32", (checkasm_any)gemm_overrun},
    {"gemm_underrun", "gemm_f32", (checkasm_any)gemm_underrun},
    {"gemm_between_rows", "gemm_f32", (checkasm_any)gemm_between_rows},
    {"gemm_by_rows", "gemm_f32", (checkasm_any)gemm_by_rows},
    {"sigmoid_inexact", "dfn_sigmoid", (checkasm_any)sigmoid_inexact},
    {"gates_without_tail", "gru_gates", (checkasm_any)gates_without_tail},
    {"scale_without_add", "scale_relu_add", (checkasm_any)scale_without_add},
    {"dot_without_last", "dot_f32", (checkasm_any)dot_without_last},
    {"depthwise_wrong_pad", "depthwise", (checkasm_any)depthwise_wrong_pad},
    {"fft_wrong_sign", "fft_radix", (checkasm_any)fft_wrong_sign},
    {"fir_wrong_phase", "fir_polyphase", (checkasm_any)fir_wrong_phase},
    {"matmul_without_odd", "matmul_f32", (checkasm_any)matmul_without_odd},
    {"matmul_by_count", "matmul_f32", (checkasm_any)matmul_by_count},
    {"quantized_by_count", "matmul_q4", (checkasm_any)matmul_by_count},
    {"conv_adds_always", "conv_panel", (checkasm_any)conv_adds_always},
    {"conv_dense_taps", "conv_panel", (checkasm_any)conv_dense_taps},
    {"conv_dot_without_last", "conv_dot", (checkasm_any)conv_dot_without_last},
    {"half_first_scale", "conv_half_panel", (checkasm_any)half_first_scale},
    {"convert_without_tail", "conv_convert", (checkasm_any)convert_without_tail},
    {"fixed_without_bias", "gemm_fixed_row", (checkasm_any)fixed_without_bias},
};

const char *checkasm_broken_name(size_t i, const char **kernel) {
    if (i >= sizeof broken / sizeof broken[0]) {
        return NULL;
    }
    *kernel = broken[i].kernel;
    return broken[i].name;
}

checkasm_any checkasm_broken(const char *name, const char *kernel) {
    for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++) {
        if (strcmp(broken[i].name, name) == 0 && strncmp(broken[i].kernel, kernel, strlen(broken[i].kernel)) == 0) {
            return broken[i].function;
        }
    }
    return NULL;
}
