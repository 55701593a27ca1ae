#include "kernels/x86/conv_init.h"

#include "kernels/x86/intrinsics.h"

#include <string.h>

typedef __m512 sum_vec;

static inline sum_vec sum_zero(void) { return _mm512_setzero_ps(); }

static inline __m512bh as_bf16(__m512i v) {
    __m512bh result;
    memcpy(&result, &v, sizeof result);
    return result;
}

static inline sum_vec sum_add(sum_vec sum, __m512i pair, __m512i weights) {
    return _mm512_dpbf16_ps(sum, as_bf16(pair), as_bf16(weights));
}

static inline __m512 sum_finish(sum_vec sum, float row, const float *columns, __m512 base) {
    (void)row;
    (void)columns;
    return _mm512_add_ps(base, sum);
}

#include "kernels/x86/conv_half_wide.h"

void tmb_conv_half_kernels_init_avx512bf16(tmb_conv_half_kernels *kernels) {
    *kernels = (tmb_conv_half_kernels){
        .width = WIDTH,
        .rows = ROWS,
        .depth_unit = 2,
        .depth_max = TMB_CONV_DEPTH_MAX,
        .whole_numbers = false,
        .convert = tmb_conv_half_bf16_avx2,
        .panel = panel,
    };
}
