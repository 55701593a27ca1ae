/* AVX-512 intrinsics that Debian's SIMDe (0.7.4) lacks, for the option `simde`. Macros, since the compiler's own
 * declarations have the names. */
#ifndef TMB_KERNELS_X86_SIMDE_GAPS_H
#define TMB_KERNELS_X86_SIMDE_GAPS_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline simde__m512 tmb_gap_maskz_loadu_ps(simde__mmask16 mask, const float *p) {
    float lanes[16];
    for (size_t i = 0; i < 16; i++) {
        lanes[i] = (mask >> i & 1) != 0 ? p[i] : 0;
    }
    return simde_mm512_loadu_ps(lanes);
}
#define _mm512_maskz_loadu_ps(mask, p) tmb_gap_maskz_loadu_ps(mask, p)

static inline void tmb_gap_mask_storeu_ps(float *p, simde__mmask16 mask, simde__m512 v) {
    float lanes[16];
    simde_mm512_storeu_ps(lanes, v);
    for (size_t i = 0; i < 16; i++) {
        if ((mask >> i & 1) != 0) {
            p[i] = lanes[i];
        }
    }
}
#define _mm512_mask_storeu_ps(p, mask, v) tmb_gap_mask_storeu_ps(p, mask, v)

static inline simde__m256 tmb_gap_extractf32x8_ps(simde__m512 v, int half) {
    float lanes[16];
    simde_mm512_storeu_ps(lanes, v);
    return simde_mm256_loadu_ps(lanes + 8 * half);
}
#define _mm512_extractf32x8_ps(v, half) tmb_gap_extractf32x8_ps(v, half)

static inline float tmb_gap_reduce_add_ps(simde__m512 v) {
    float lanes[16];
    simde_mm512_storeu_ps(lanes, v);
    for (size_t width = 8; width > 0; width /= 2) {
        for (size_t i = 0; i < width; i++) {
            lanes[i] += lanes[i + width];
        }
    }
    return lanes[0];
}
#define _mm512_reduce_add_ps(v) tmb_gap_reduce_add_ps(v)

static inline float tmb_gap_reduce_max_ps(simde__m512 v) {
    float lanes[16];
    simde_mm512_storeu_ps(lanes, v);
    for (size_t i = 1; i < 16; i++) {
        lanes[0] = lanes[i] > lanes[0] ? lanes[i] : lanes[0];
    }
    return lanes[0];
}
#define _mm512_reduce_max_ps(v) tmb_gap_reduce_max_ps(v)

static inline simde__m512i tmb_gap_cvtps_epi32(simde__m512 v) {
    float lanes[16];
    int32_t whole[16];
    simde_mm512_storeu_ps(lanes, v);
    for (size_t i = 0; i < 16; i++) {
        whole[i] = (int32_t)lrintf(lanes[i]);
    }
    return simde_mm512_loadu_si512(whole);
}
#define _mm512_cvtps_epi32(v) tmb_gap_cvtps_epi32(v)

static inline simde__m512 tmb_gap_cvtph_ps(simde__m256i halves) {
    float lanes[16];
    _mm256_storeu_ps(lanes, _mm256_cvtph_ps(_mm256_castsi256_si128(halves)));
    _mm256_storeu_ps(lanes + 8, _mm256_cvtph_ps(_mm256_extracti128_si256(halves, 1)));
    return simde_mm512_loadu_ps(lanes);
}
#define _mm512_cvtph_ps(halves) tmb_gap_cvtph_ps(halves)

static inline simde__m512 tmb_gap_cvtepi32_ps(simde__m512i v) {
    int32_t whole[16];
    float lanes[16];
    simde_mm512_storeu_si512(whole, v);
    for (size_t i = 0; i < 16; i++) {
        lanes[i] = (float)whole[i];
    }
    return simde_mm512_loadu_ps(lanes);
}
#define _mm512_cvtepi32_ps(v) tmb_gap_cvtepi32_ps(v)

static inline simde__m512i tmb_gap_cvtepu8_epi32(__m128i v) {
    uint8_t bytes[16];
    int32_t whole[16];
    memcpy(bytes, &v, sizeof bytes);
    for (size_t i = 0; i < 16; i++) {
        whole[i] = bytes[i];
    }
    return simde_mm512_loadu_si512(whole);
}
#define _mm512_cvtepu8_epi32(v) tmb_gap_cvtepu8_epi32(v)

#endif
