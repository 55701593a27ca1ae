#include "kernels/matmul.h"

#include "cpu/cpu.h"
#include "kernels/matmul_forms.h"

#include <stdint.h>

bool tmb_matrix_shape(tmb_matrix *matrix, tmb_weight_type type, size_t rows, size_t columns) {
    /* Far above every real matrix, and no product below can wrap. */
    const size_t most = (size_t)1 << 28;
    if (rows < 1 || columns < 1 || rows > most || columns > most) {
        return false;
    }
    size_t blocks = tmb_block_count(columns);
    size_t bytes = 0;
    switch (type) {
    case TMB_WEIGHT_F32: bytes = columns * TMB_PANEL_ROWS * 4; break;
    case TMB_WEIGHT_BF16: bytes = (columns + 1) / 2 * TMB_PANEL_ROWS * 4; break;
    case TMB_WEIGHT_Q8: bytes = (blocks + 1) / 2 * TMB_Q8_PAIR_BYTES; break;
    case TMB_WEIGHT_Q4:
        bytes = blocks / TMB_SUPER_BLOCKS * TMB_Q4_SUPER_BYTES;
        if (blocks % TMB_SUPER_BLOCKS != 0) {
            bytes += tmb_q4_head_bytes(blocks % TMB_SUPER_BLOCKS) + blocks % TMB_SUPER_BLOCKS * 256;
        }
        break;
    default: return false;
    }
    *matrix = (tmb_matrix){.type = type,
                           .rows = rows,
                           .columns = columns,
                           .panels = (rows + TMB_PANEL_ROWS - 1) / TMB_PANEL_ROWS,
                           .panel_bytes = bytes};
    size_t total = 0;
    return !__builtin_mul_overflow(matrix->panels, bytes, &total) && total <= SIZE_MAX / 2;
}

bool tmb_matmul_has_bf16_dot(void) { return (tmb_cpu_flags() & (TMB_CPU_AVX512BF16 | TMB_CPU_AMX)) != 0; }

const tmb_matmul *tmb_matmul_get(tmb_weight_type type, bool bf16_dot) {
#if defined(__x86_64__)
    unsigned flags = tmb_cpu_flags();
    bool quantized = type == TMB_WEIGHT_Q8 || type == TMB_WEIGHT_Q4;
#ifndef TMB_EMULATE_AVX512
    if ((quantized || (type == TMB_WEIGHT_BF16 && bf16_dot)) && (flags & TMB_CPU_AMX) != 0) {
        return &tmb_matmul_amx[type];
    }
#endif
    if (type == TMB_WEIGHT_BF16 && bf16_dot && (flags & TMB_CPU_AVX512BF16) != 0) {
        return &tmb_matmul_avx512bf16;
    }
    if (quantized && (flags & TMB_CPU_AVX512VNNI) != 0) {
        return &tmb_matmul_avx512vnni[type];
    }
    if (!quantized && (flags & TMB_CPU_AVX512) != 0) {
        return &tmb_matmul_avx512[type];
    }
    if ((flags & TMB_CPU_AVX2) != 0) {
        return &tmb_matmul_avx2[type];
    }
#else
    (void)bf16_dot;
#endif
    return &tmb_matmul_portable[type];
}
