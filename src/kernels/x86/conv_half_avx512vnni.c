#include "kernels/x86/conv_init.h"

#include "kernels/x86/intrinsics.h"

#include <string.h>

typedef __m512i sum_vec;

static inline sum_vec sum_zero(void) { return _mm512_setzero_si512(); }

static inline sum_vec sum_add(sum_vec sum, __m512i pair, __m512i weights) {
    return _mm512_dpwssd_epi32(sum, pair, weights);
}

static inline __m512 sum_finish(sum_vec sum, float row, const float *columns, __m512 base) {
    return _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), _mm512_mul_ps(_mm512_set1_ps(row), _mm512_loadu_ps(columns)), base);
}

#include "kernels/x86/conv_half_wide.h"

void tmb_conv_half_kernels_init_avx512vnni(tmb_conv_half_kernels *kernels) {
    *kernels = (tmb_conv_half_kernels){
        .width = WIDTH,
        .rows = ROWS,
        .depth_unit = 2,
        .depth_max = TMB_CONV_DEPTH_MAX,
        .whole_numbers = true,
        .convert = tmb_conv_half_whole_numbers_avx2,
        .panel = panel,
    };
}
