/* The matrix kernels for AMX: one instruction multiplies 16 rows of up to 16 vectors, 32 columns of them.
 *
 * Panels and prepared vectors lie in memory as tiles want them. A block's products are whole numbers as in every other
 * kernel; they go through memory to be scaled and summed in the same order, so results are the same to the last bit.
 * BF16 sums stay in a tile; its order of additions is the processor's own, whatever the number of vectors. */
#include "kernels/x86/matmul_init.h"

#include "kernels/x86/ahead.h"

#include <string.h>

#define TILE_VECTORS 16
#define TILE_BYTES 1024
/* For fewer vectors VNNI, which needs no way through memory, is as fast. */
#define LEAST_VECTORS 5
#define LEAD_BYTES 8192
#define BF16_LEAD_BYTES 4096
/* A compiler may not know that a tile is loaded from memory it has just been told to fill. */
#define MEMORY_WRITTEN() __asm__ volatile("" : : : "memory")

/* As the instruction reads it. */
typedef struct tile_shapes {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} tile_shapes;

static void set_shape(tile_shapes *shapes, int tile, size_t rows, size_t row_bytes) {
    shapes->rows[tile] = (uint8_t)rows;
    shapes->row_bytes[tile] = (uint16_t)row_bytes;
}

/* ---- Q8 and Q4 -------------------------------------------------------------------------------- */

/* Products of `vectors` vectors and a block: tiles 0 and 1; vectors: 2 and 3; weights: 4 and 5. */
static void configure_quantized(size_t vectors) {
    _Alignas(64) tile_shapes shapes = {.palette = 1};
    for (int tile = 0; tile < 2; tile++) {
        set_shape(&shapes, tile, vectors, 64);
        set_shape(&shapes, 2 + tile, vectors, TMB_BLOCK_COLUMNS);
        set_shape(&shapes, 4 + tile, TMB_BLOCK_COLUMNS / 4, 64);
    }
    MEMORY_WRITTEN();
    _tile_loadconfig(&shapes);
}

/* A block's products, and room for the next ones while they are summed. */
typedef struct products {
    _Alignas(64) int32_t of[2][TILE_VECTORS][TMB_PANEL_ROWS];
} products;

/* Tile numbers are constants, so even and odd blocks have a function each. */
TMB_INLINE void multiply_even(const int8_t *bytes, size_t row_stride, const uint8_t *q, products *to) {
    _tile_loadd(2, bytes, row_stride);
    _tile_loadd(4, q, 64);
    _tile_zero(0);
    _tile_dpbssd(0, 2, 4);
    _tile_stored(0, to->of[0], 64);
}

TMB_INLINE void multiply_odd(const int8_t *bytes, size_t row_stride, const uint8_t *q, products *to) {
    _tile_loadd(3, bytes, row_stride);
    _tile_loadd(5, q, 64);
    _tile_zero(1);
    _tile_dpbssd(1, 3, 5);
    _tile_stored(1, to->of[1], 64);
}

TMB_INLINE void q8_pair(const uint8_t *w, size_t block, size_t blocks, const int8_t *bytes, size_t row_stride,
                        tmb_ahead *a, products *to) {
    TMB_UNROLL
    for (int i = 0; i < 17; i++) {
        tmb_fetch(a);
    }
    multiply_even(bytes + block * TMB_BLOCK_COLUMNS, row_stride, w + tmb_q8_weights(block), to);
    if (block + 1 < blocks) {
        multiply_odd(bytes + (block + 1) * TMB_BLOCK_COLUMNS, row_stride, w + tmb_q8_weights(block + 1), to);
    }
}

/* The prepared vectors of a tile; those beyond `count` repeat the last. */
TMB_INLINE void vectors_of(const void *rows, size_t row_stride, size_t blocks, size_t count, tmb_quantized *x,
                           int room) {
    TMB_UNROLL
    for (int i = 0; i < room; i++) {
        size_t row = (size_t)i < count ? (size_t)i : count - 1;
        x[i] = tmb_quantized_row((const uint8_t *)rows + row * row_stride, blocks);
    }
}

/* `room` (constant) sums in registers for `count` <= room vectors. */
TMB_INLINE void q8_tile(const uint8_t *w, size_t blocks, const void *rows, size_t row_stride, float *out,
                        size_t out_stride, size_t count, tmb_ahead a, int room) {
    products dots[2];
    tmb_quantized x[TILE_VECTORS];
    __m512 sums[TILE_VECTORS];
    vectors_of(rows, row_stride, blocks, count, x, room);
    TMB_UNROLL
    for (int i = 0; i < room; i++) {
        sums[i] = _mm512_setzero_ps();
    }
    q8_pair(w, 0, blocks, rows, row_stride, &a, &dots[0]);
    for (size_t pair = 0; pair < blocks; pair += 2) {
        const products *done = &dots[pair / 2 % 2];
        if (pair + 2 < blocks) {
            q8_pair(w, pair + 2, blocks, rows, row_stride, &a, &dots[(pair / 2 + 1) % 2]);
        }
        for (size_t b = pair; b < blocks && b < pair + 2; b++) {
            __m512 scales = _mm512_cvtph_ps(_mm256_load_si256((const __m256i *)(const void *)(w + tmb_q8_scales(b))));
            TMB_UNROLL
            for (int i = 0; i < room; i++) {
                __m512 dot = _mm512_cvtepi32_ps(_mm512_load_si512((const void *)done->of[b % 2][i]));
                __m512 scale = _mm512_mul_ps(scales, _mm512_set1_ps(x[i].scales[b]));
                sums[i] = _mm512_add_ps(sums[i], _mm512_mul_ps(scale, dot));
            }
        }
    }
    TMB_UNROLL
    for (int i = 0; i < room; i++) {
        if ((size_t)i < count) {
            _mm512_storeu_ps(out + (size_t)i * out_stride, sums[i]);
        }
    }
}

static void multiply_q8(const tmb_matrix *weights, size_t first, size_t end, const void *rows, size_t row_stride,
                        size_t count, float *out, size_t out_stride) {
    if (count < LEAST_VECTORS) {
        tmb_matmul_q8_avx512vnni(weights, first, end, rows, row_stride, count, out, out_stride);
        return;
    }
    size_t blocks = tmb_block_count(weights->columns);
    size_t tiles = (count + TILE_VECTORS - 1) / TILE_VECTORS;
    size_t configured = 0;
    for (size_t panel = first; panel < end; panel++) {
        const uint8_t *w = weights->data + panel * weights->panel_bytes;
        for (size_t tile = 0; tile < tiles; tile++) {
            size_t i = tile * TILE_VECTORS;
            size_t here = count - i < TILE_VECTORS ? count - i : TILE_VECTORS;
            if (here != configured) {
                configure_quantized(here);
                configured = here;
            }
            const void *x = (const uint8_t *)rows + i * row_stride;
            float *to = out + i * out_stride + panel * TMB_PANEL_ROWS;
            tmb_ahead a = tmb_ahead_of(weights, w, (blocks + 1) / 2 * 17, tile, tiles, LEAD_BYTES);
            switch ((here + 3) / 4) {
            case 1: q8_tile(w, blocks, x, row_stride, to, out_stride, here, a, 4); break;
            case 2: q8_tile(w, blocks, x, row_stride, to, out_stride, here, a, 8); break;
            case 3: q8_tile(w, blocks, x, row_stride, to, out_stride, here, a, 12); break;
            default: q8_tile(w, blocks, x, row_stride, to, out_stride, here, a, 16); break;
            }
        }
    }
    _tile_release();
}

/* ---- BF16 ------------------------------------------------------------------------------------- */

/* Up to 16 vectors: sums of four panels in tiles 0 to 3. Up to 32: of two panels, the first 16 vectors' in 0 and 2, the
 * others' in 1 and 3. Vectors: tiles 4 and 5; weights: 5 (narrow), 6 and 7. */
static void configure_bf16(size_t vectors) {
    _Alignas(64) tile_shapes shapes = {.palette = 1};
    for (int tile = 0; tile < 8; tile++) {
        size_t rows = 16;
        if (vectors <= TILE_VECTORS) {
            rows = tile < 5 ? vectors : 16;
        } else if (tile == 1 || tile == 3 || tile == 5) {
            rows = vectors - TILE_VECTORS;
        }
        set_shape(&shapes, tile, rows, 64);
    }
    MEMORY_WRITTEN();
    _tile_loadconfig(&shapes);
}

/* A tile's worth of a panel's weights; a panel's last tile that is not full goes through `padded`, which is filled up
 * with zeros. */
TMB_INLINE const uint8_t *bf16_weights(const uint8_t *w, size_t begin, size_t panel_bytes, uint8_t *padded) {
    TMB_UNROLL
    for (size_t line = 0; line < TILE_BYTES; line += 64) {
        _mm_prefetch((const char *)w + begin + line + BF16_LEAD_BYTES, _MM_HINT_T0);
    }
    if (panel_bytes - begin >= TILE_BYTES) {
        return w + begin;
    }
    memset(padded, 0, TILE_BYTES);
    memcpy(padded, w + begin, panel_bytes - begin);
    MEMORY_WRITTEN();
    return padded;
}

static void bf16_narrow(const tmb_matrix *weights, size_t panel, size_t panels, const uint8_t *x, size_t row_stride,
                        float *out, size_t out_stride) {
    _Alignas(64) uint8_t padded[TILE_BYTES];
    const size_t bytes = weights->panel_bytes;
    const uint8_t *w = weights->data + panel * bytes;
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (size_t begin = 0; begin < bytes; begin += TILE_BYTES, x += 64) {
        _tile_loadd(4, x, row_stride);
        _tile_loadd(5, bf16_weights(w, begin, bytes, padded), 64);
        _tile_dpbf16ps(0, 4, 5);
        if (panels > 1) {
            _tile_loadd(6, bf16_weights(w + bytes, begin, bytes, padded), 64);
            _tile_dpbf16ps(1, 4, 6);
        }
        if (panels > 2) {
            _tile_loadd(7, bf16_weights(w + 2 * bytes, begin, bytes, padded), 64);
            _tile_dpbf16ps(2, 4, 7);
        }
        if (panels > 3) {
            _tile_loadd(5, bf16_weights(w + 3 * bytes, begin, bytes, padded), 64);
            _tile_dpbf16ps(3, 4, 5);
        }
    }
    out += panel * TMB_PANEL_ROWS;
    _tile_stored(0, out, out_stride * sizeof *out);
    if (panels > 1) {
        _tile_stored(1, out + TMB_PANEL_ROWS, out_stride * sizeof *out);
    }
    if (panels > 2) {
        _tile_stored(2, out + 2 * TMB_PANEL_ROWS, out_stride * sizeof *out);
    }
    if (panels > 3) {
        _tile_stored(3, out + 3 * TMB_PANEL_ROWS, out_stride * sizeof *out);
    }
}

static void bf16_wide(const tmb_matrix *weights, size_t panel, size_t panels, const uint8_t *x, size_t row_stride,
                      float *out, size_t out_stride) {
    _Alignas(64) uint8_t padded[TILE_BYTES];
    const size_t bytes = weights->panel_bytes;
    const uint8_t *w = weights->data + panel * bytes;
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (size_t begin = 0; begin < bytes; begin += TILE_BYTES, x += 64) {
        _tile_loadd(4, x, row_stride);
        _tile_loadd(5, x + TILE_VECTORS * row_stride, row_stride);
        _tile_loadd(6, bf16_weights(w, begin, bytes, padded), 64);
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 5, 6);
        if (panels > 1) {
            _tile_loadd(7, bf16_weights(w + bytes, begin, bytes, padded), 64);
            _tile_dpbf16ps(2, 4, 7);
            _tile_dpbf16ps(3, 5, 7);
        }
    }
    out += panel * TMB_PANEL_ROWS;
    float *second = out + TILE_VECTORS * out_stride;
    _tile_stored(0, out, out_stride * sizeof *out);
    _tile_stored(1, second, out_stride * sizeof *out);
    if (panels > 1) {
        _tile_stored(2, out + TMB_PANEL_ROWS, out_stride * sizeof *out);
        _tile_stored(3, second + TMB_PANEL_ROWS, out_stride * sizeof *out);
    }
}

static void multiply_bf16(const tmb_matrix *weights, size_t first, size_t end, const void *rows, size_t row_stride,
                          size_t count, float *out, size_t out_stride) {
    size_t most = count > TILE_VECTORS ? 2 : 4;
    size_t configured = 0;
    for (size_t panel = first; panel < end; panel += most) {
        size_t panels = end - panel < most ? end - panel : most;
        for (size_t i = 0; i < count; i += 2 * TILE_VECTORS) {
            size_t here = count - i < 2 * TILE_VECTORS ? count - i : 2 * TILE_VECTORS;
            const uint8_t *x = (const uint8_t *)rows + i * row_stride;
            if (here != configured) {
                configure_bf16(here);
                configured = here;
            }
            if (here > TILE_VECTORS) {
                bf16_wide(weights, panel, panels, x, row_stride, out + i * out_stride, out_stride);
            } else {
                bf16_narrow(weights, panel, panels, x, row_stride, out + i * out_stride, out_stride);
            }
        }
    }
    _tile_release();
}

static size_t bf16_row_bytes(size_t columns) { return tmb_bf16_row_bytes(columns); }

/* Four bits have to be unpacked first: VNNI does that on the way, so that the products of Q4 stay as they are. */
void tmb_matmul_kernels_init_amx(tmb_matmul_kernels *kernels) {
    kernels->bf16_dot = (tmb_matmul){bf16_row_bytes, tmb_matmul_bf16_prepare_avx512bf16, multiply_bf16};
    kernels->q8 = (tmb_matmul){tmb_matmul_quantized_row_bytes, tmb_matmul_quantized_prepare_avx2, multiply_q8};
}
