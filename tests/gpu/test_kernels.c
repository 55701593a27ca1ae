/* Every kernel on small odd shapes, whole and ragged blocks, against plain C. */
#include "kernel_test.h"

/* ---- Products ---- */

/* Panels of 16 rows from w [rows, k], as kernels/matmul.h describes them. */
static uint8_t *pack(int type, float *w, int rows, int k, int *panel_bytes) {
    int panels = (rows + 15) / 16, blocks = (k + 31) / 32;
    *panel_bytes = type == TMB_GPU_F32    ? k * 64
                   : type == TMB_GPU_BF16 ? (k + 1) / 2 * 64
                   : type == TMB_GPU_Q8   ? (blocks + 1) / 2 * 1088
                                          : (blocks + 7) / 8 * (320 + 8 * 256);
    uint8_t *packed = memory((size_t)panels * (size_t)*panel_bytes);
    for (int row = 0; row < rows; row++) {
        uint8_t *panel = packed + row / 16 * *panel_bytes;
        for (int i = 0; i < k; i++) {
            float *value = &w[row * k + i];
            int block = i / 32, r = row % 16;
            if (type == TMB_GPU_F32) {
                ((float *)(void *)panel)[i * 16 + r] = *value;
            } else if (type == TMB_GPU_BF16) {
                uint16_t rounded = mma_round(*value);
                ((uint16_t *)(void *)panel)[i / 2 * 32 + r * 2 + i % 2] = rounded;
                *value = BF16_TO_FLOAT(rounded);
            } else if (type == TMB_GPU_Q8) {
                uint8_t *pair = panel + block / 2 * 1088;
                ((uint16_t *)(void *)(pair + block % 2 * 32))[r] = FLOAT_TO_HALF(0.0078125f);
                int q = (int)(*value * 127.0f);
                pair[64 + block % 2 * 512 + i % 32 / 4 * 64 + r * 4 + i % 4] = (uint8_t)(int8_t)q;
                *value = 0.0078125f * (float)q;
            } else {
                int here = blocks - block / 8 * 8 < 8 ? blocks - block / 8 * 8 : 8;
                uint8_t *super = panel + block / 8 * (320 + 8 * 256);
                uint8_t *q4 = super + (64 + here * 32 + 63) / 64 * 64 + block % 8 * 256;
                ((uint16_t *)(void *)super)[r] = ((uint16_t *)(void *)super)[16 + r] = FLOAT_TO_HALF(0.25f);
                super[64 + block % 8 * 32 + r] = 100;
                super[64 + block % 8 * 32 + 16 + r] = 200;
                int q = (int)((*value + 1.0f) * 7.5f) & 15;
                q4[i % 32 / 8 * 64 + r * 4 + i % 4] |= (uint8_t)(q << (i % 8 < 4 ? 0 : 4));
                *value = 0.25f * 0.00390625f * (100.0f * (float)q - 200.0f);
            }
        }
    }
    return packed;
}

/* The kernels with wide tiles: what the others made, to the bit. */
static void check_wide(tmb_linear_arguments a, bool rounded, const float *before, int threads) {
    const int blocks = (a.k + 31) / 32;
    const size_t bytes = (size_t)(a.columns * a.out_stride) * sizeof(float);
    const size_t row_bytes = (size_t)((a.columns + 7) / 8 * 8 * blocks * 32) * sizeof(float);
    float *out = memory(bytes), *rows = memory(row_bytes);
    const float *few = a.out;
    memcpy(out, before, bytes);
    memset(rows, 0xff, row_bytes); /* what no column is never counts */
    if (rounded || a.norm != NULL) {
        const tmb_wide_rows_arguments prepare = {.x = a.x,
                                                 .norm = a.norm,
                                                 .out = rows,
                                                 .type = !rounded                 ? TMB_GPU_F32
                                                         : a.type == TMB_GPU_BF16 ? TMB_GPU_BF16
                                                                                  : TMB_GPU_Q8,
                                                 .k = a.k,
                                                 .columns = a.columns,
                                                 .x_stride = a.x_stride,
                                                 .eps = a.eps};
        run(run_tmb_wide_rows, (unsigned)a.columns, 1, threads, &prepare);
        a.x = rows;
        a.x_stride = blocks * 32;
    }
    a.out = out;
    run(rounded ? run_tmb_linear_wide_mma : run_tmb_linear_wide, (unsigned)(a.rows + 63) / 64,
        (unsigned)(a.columns + 31) / 32, threads, &a);
    if (memcmp(out, few, bytes) != 0) {
        (void)printf("product %d, %d x %d, %d columns: wide tiles give another\n", a.type, a.rows, a.k, a.columns);
        failures++;
    }
    free(out);
    free(rows);
}

static void check_product(int type, bool rounded, int rows, int k, int columns, int mode, bool with_norm, int threads) {
    int panel_bytes = 0, stride = k + 3, out_stride = (rows + 15) / 16 * 16 + 5;
    bool gate = mode == TMB_LINEAR_GATE;
    float *w = floats((size_t)(rows * k)), *x = floats((size_t)(columns * stride)), *norm = floats((size_t)k);
    float *bias = floats((size_t)rows), *out = floats((size_t)(columns * out_stride));
    float *before = memory((size_t)(columns * out_stride) * sizeof *before);
    memcpy(before, out, (size_t)(columns * out_stride) * sizeof *before);
    uint8_t *packed = pack(type, w, rows, k, &panel_bytes);
    int wanted = gate ? rows / 2 - 3 : rows;
    int32_t *live = memory(sizeof *live);
    *live = columns;
    const tmb_linear_arguments arguments = {.weights = packed,
                                            .x = x,
                                            .norm = with_norm ? norm : NULL,
                                            .bias = gate || mode == TMB_LINEAR_ADD ? NULL : bias,
                                            .out = out,
                                            .live = live,
                                            .type = type,
                                            .rows = rows,
                                            .k = k,
                                            .panel_bytes = panel_bytes,
                                            .columns = columns,
                                            .columns_each = 1,
                                            .x_stride = stride,
                                            .out_stride = out_stride,
                                            .mode = mode,
                                            .wanted = wanted,
                                            .eps = 1e-6f};
    run(rounded ? run_tmb_linear_mma : run_tmb_linear, (unsigned)(rows + 31) / 32, (unsigned)(columns + 7) / 8 + 1,
        threads, &arguments);
    check_wide(arguments, rounded, before, threads);
    double *expected = memory((size_t)(columns * wanted) * sizeof *expected);
    float *made = memory((size_t)(columns * wanted) * sizeof *made);
    double *sums = memory((size_t)rows * sizeof *sums);
    for (int c = 0; c < columns; c++) {
        double square = 0;
        for (int i = 0; i < k; i++) {
            square += (double)x[c * stride + i] * x[c * stride + i];
        }
        double scale = with_norm ? 1 / sqrt(square / k + 1e-6) : 1;
        for (int row = 0; row < rows; row++) {
            sums[row] = 0;
            for (int i = 0; i < k; i++) {
                sums[row] += (double)w[row * k + i] * x[c * stride + i] * scale * (with_norm ? norm[i] : 1);
            }
        }
        for (int row = 0; row < wanted; row++) {
            int at = gate ? row / 16 * 32 + row % 16 : row;
            double sum = sums[at] + (arguments.bias != NULL ? bias[row] : 0), silu = sum / (1 + exp(-sum));
            expected[c * wanted + row] = mode == TMB_LINEAR_ADD    ? sum + before[c * out_stride + row]
                                         : mode == TMB_LINEAR_SILU ? silu
                                         : gate                    ? silu * sums[at + 16]
                                                                   : sum;
            made[c * wanted + row] = out[c * out_stride + row];
        }
    }
    char what[80];
    (void)snprintf(what, sizeof what, "product %d, %d x %d, %d columns, mode %d", type, rows, k, columns, mode);
    compare(what, made, expected, (size_t)(columns * wanted), !rounded ? 2e-6 : type == TMB_GPU_BF16 ? 6e-3 : 2e-2);
    void *all[] = {w, x, norm, bias, out, before, packed, live, expected, made, sums};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        free(all[i]);
    }
}

static void check_products(void) {
    for (int type = TMB_GPU_F32; type <= TMB_GPU_Q4; type++) {
        for (int rounded = type >= TMB_GPU_Q8; rounded <= (type >= TMB_GPU_BF16); rounded++) {
            check_product(type, rounded, 40, 70, 1, TMB_LINEAR_STORE, false, 32);
            check_product(type, rounded, 64, 96, 3, TMB_LINEAR_GATE, true, 32);
            check_product(type, rounded, 33, 601, 11, TMB_LINEAR_ADD, true, 128);
            check_product(type, rounded, 130, 150, 35, TMB_LINEAR_STORE, true, 128);
            check_product(type, rounded, 50, 530, 2, TMB_LINEAR_SILU, false, 128);
        }
    }
}

/* ---- Attention ---- */

/* By rows one after the other (tile 0), or as a prompt, so many rows in a block. */
static void attend(tmb_attend_arguments a, int tile) {
    const unsigned heads = (unsigned)a.key_heads, rows = (unsigned)a.rows_each;
    a.rows_tile = tile;
    if (tile == 0) {
        run(run_tmb_attend, heads, 1, 64, &a);
        return;
    }
    run(run_tmb_store_keys, heads, rows, 64, &a);
    run(run_tmb_attend_rows, heads, (rows + (unsigned)tile - 1) / (unsigned)tile, 64, &a);
}

/* Rows [first, first + rows) behind those before them, in tiles of `tile` and one by one. */
static void check_attention(int heads, int key_heads, int size, int page, bool half, int tile, int first, int rows) {
    int width = (heads + 2 * key_heads) * size, positions = first + rows, group = heads / key_heads;
    size_t layer = (size_t)(2 * key_heads * page * size) * (half ? 2 : 4);
    int pages = (positions + page - 1) / page;
    float *qkv = floats((size_t)(positions * width)), *out = floats((size_t)(positions * heads * size));
    float *query_norm = floats((size_t)size), *key_norm = floats((size_t)size);
    float *other = floats((size_t)(rows * heads * size));
    float *cosines = floats((size_t)(positions * size)), *sines = floats((size_t)(positions * size));
    uint8_t *cache = memory((size_t)pages * layer);
    uint8_t **table = memory((size_t)pages * sizeof *table);
    for (int i = 0; i < pages; i++) {
        table[i] = cache + (size_t)(pages - 1 - i) * layer; /* in another order */
    }
    tmb_gpu_slot *slot = memory(sizeof *slot);
    *slot = (tmb_gpu_slot){.pages = table, .talks = 1};
    const int tiles[] = {tile, 1, 0};
    for (int part = 0; part < 4; part++) { /* what was there before, then the rows in every way */
        slot->position = part == 0 ? 0 : first;
        const tmb_attend_arguments arguments = {
            .cache = {.slots = slot, .page_bytes = (int64_t)layer, .page_positions = page, .half = half},
            .qkv = qkv + (part == 0 ? 0 : first * width),
            .out = part < 2 ? out + (part == 0 ? 0 : first * heads * size) : other,
            .query_norm = query_norm,
            .key_norm = key_norm,
            .cosines = cosines,
            .sines = sines,
            .qkv_stride = width,
            .out_stride = heads * size,
            .heads = heads,
            .key_heads = key_heads,
            .head_dim = size,
            .rows_each = part == 0 ? first : rows,
            .eps = 1e-6f,
            .scale = 1.0f / sqrtf((float)size)};
        attend(arguments, tiles[part == 0 ? 0 : part - 1]);
        if (part >= 2 && memcmp(other, out + first * heads * size, (size_t)(rows * heads * size) * sizeof *out) != 0) {
            (void)printf("attention: rows alone and %d together differ\n", tile);
            failures++;
        }
    }
    double *expected = memory((size_t)(positions * heads * size) * sizeof *expected);
    double *prepared = memory((size_t)(positions * width) * sizeof *prepared);
    for (int p = 0; p < positions; p++) {
        for (int h = 0; h < heads + key_heads; h++) {
            const float *from = qkv + p * width + h * size, *norm = h < heads ? query_norm : key_norm;
            double square = 0;
            for (int i = 0; i < size; i++) {
                square += (double)from[i] * from[i];
            }
            double scale = 1 / sqrt(square / size + 1e-6);
            for (int i = 0; i < size / 2; i++) {
                double low = from[i] * scale * norm[i], high = from[i + size / 2] * scale * norm[i + size / 2];
                double cosine = cosines[p * (size / 2) + i], sine = sines[p * (size / 2) + i];
                prepared[p * width + h * size + i] = low * cosine - high * sine;
                prepared[p * width + h * size + i + size / 2] = high * cosine + low * sine;
            }
        }
    }
    double *weights = memory((size_t)positions * sizeof *weights);
    for (int p = 0; p < positions; p++) {
        for (int h = 0; h < heads; h++) {
            double total = 0;
            for (int j = 0; j <= p; j++) {
                double dot = 0;
                for (int i = 0; i < size; i++) {
                    dot += prepared[p * width + h * size + i] * prepared[j * width + (heads + h / group) * size + i];
                }
                total += weights[j] = exp(dot / sqrt(size));
            }
            for (int i = 0; i < size; i++) {
                double sum = 0;
                for (int j = 0; j <= p; j++) {
                    sum += weights[j] * qkv[j * width + (heads + key_heads + h / group) * size + i];
                }
                expected[(p * heads + h) * size + i] = sum / total;
            }
        }
    }
    compare("attention", out, expected, (size_t)(positions * heads * size), half ? 2e-3 : 1e-5);
    void *all[] = {qkv,   out,   other, query_norm, key_norm, cosines, sines,
                   cache, table, slot,  expected,   prepared, weights};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        free(all[i]);
    }
}

/* Threads that only make ready what others multiply; few where ThreadSanitizer makes a fiber of each. */
#if defined(TMB_TEST_BARRIERS)
enum { MANY_THREADS = 128 };
#else
enum { MANY_THREADS = TMB_FEW_THREADS };
#endif

/* Attention as a part of the product behind it: what the two kernels come to one after the other. */
static void check_few(int type, bool rounded, int heads, int key_heads, int size, int before, int rows, int threads) {
    enum { PAGE = 17, SEQUENCES = 5, OUTS = 40 };
    const int width = (heads + 2 * key_heads) * size, k = heads * size, columns = SEQUENCES * rows;
    const size_t page_floats = (size_t)(2 * key_heads * PAGE * size);
    float *qkv = floats((size_t)(columns * width)), *w = floats((size_t)(OUTS * k));
    float *query_norm = floats((size_t)size), *key_norm = floats((size_t)size);
    float *cosines = floats(PAGE * (size_t)size), *sines = floats(PAGE * (size_t)size);
    float *cache = floats(SEQUENCES * page_floats), *copy = memory(SEQUENCES * page_floats * sizeof *copy);
    float *attended = memory((size_t)(columns * k) * sizeof *attended);
    float *one = memory((size_t)(columns * OUTS) * sizeof *one), *two = memory((size_t)(columns * OUTS) * sizeof *two);
    double *expected = memory((size_t)(columns * OUTS) * sizeof *expected);
    int panel_bytes = 0;
    uint8_t *packed = pack(type, w, OUTS, k, &panel_bytes);
    memcpy(copy, cache, SEQUENCES * page_floats * sizeof *copy);
    tmb_attend_linear_arguments a = {.linear = {.weights = packed,
                                                .x = attended,
                                                .out = one,
                                                .type = type,
                                                .rows = OUTS,
                                                .k = k,
                                                .panel_bytes = panel_bytes,
                                                .columns = columns,
                                                .columns_each = 1,
                                                .x_stride = k,
                                                .out_stride = OUTS,
                                                .wanted = OUTS},
                                     .attend = {.cache = {.page = (uint8_t *)(void *)cache,
                                                          .page_bytes = (int64_t)(page_floats * sizeof(float)),
                                                          .page_positions = PAGE,
                                                          .position = before},
                                                .qkv = qkv,
                                                .out = attended,
                                                .query_norm = query_norm,
                                                .key_norm = key_norm,
                                                .cosines = cosines,
                                                .sines = sines,
                                                .qkv_stride = width,
                                                .out_stride = k,
                                                .heads = heads,
                                                .key_heads = key_heads,
                                                .head_dim = size,
                                                .rows_each = rows,
                                                .eps = 1e-6f,
                                                .scale = 0.3f}};
    run(run_tmb_attend, (unsigned)key_heads, SEQUENCES, 64, &a.attend);
    run(rounded ? run_tmb_linear_mma : run_tmb_linear, (OUTS + 31) / 32, (unsigned)(columns + 7) / 8, 64, &a.linear);
    a.linear.x = NULL;
    a.linear.out = two;
    a.linear.warps = threads > 64 ? 2 : 0;
    a.attend.cache.page = (uint8_t *)(void *)copy;
    run(rounded ? run_tmb_attend_linear_mma : run_tmb_attend_linear, (OUTS + 31) / 32, (unsigned)(columns + 7) / 8,
        threads, &a);
    for (int i = 0; i < columns * OUTS; i++) {
        expected[i] = one[i];
    }
    compare("attention in a product", two, expected, (size_t)(columns * OUTS), rounded ? 2e-2 : 1e-5);
    if (memcmp(cache, copy, SEQUENCES * page_floats * sizeof *cache) != 0) {
        (void)printf("attention in a product keeps other keys or values\n");
        failures++;
    }
    void *all[] = {qkv, w, query_norm, key_norm, cosines, sines, cache, copy, attended, one, two, expected, packed};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        free(all[i]);
    }
}

static void check_rows(void) {
    enum { WIDTH = 75, COLUMNS = 3 };
    float *x = floats(COLUMNS * WIDTH), *norm = floats(WIDTH), *hidden = floats(COLUMNS * WIDTH);
    tmb_gpu_slot *slots = memory(COLUMNS * sizeof *slots);
    double expected[COLUMNS * WIDTH];
    for (int c = 0; c < COLUMNS; c++) {
        slots[c] = (tmb_gpu_slot){.hidden = hidden + c * WIDTH, .talks = 1};
        double square = 0;
        for (int k = 0; k < WIDTH; k++) {
            square += (double)x[c * WIDTH + k] * x[c * WIDTH + k];
        }
        for (int k = 0; k < WIDTH; k++) {
            expected[c * WIDTH + k] = x[c * WIDTH + k] * norm[k] / sqrt(square / WIDTH + 1e-6);
        }
    }
    const tmb_norm_rows_arguments arguments = {
        .slots = slots, .x = x, .norm = norm, .width = WIDTH, .x_stride = WIDTH, .eps = 1e-6f};
    run(run_tmb_norm_rows, COLUMNS, 1, 64, &arguments);
    compare("norm of rows", hidden, expected, COLUMNS * WIDTH, 1e-6);
    free(x);
    free(norm);
    free(hidden);
    free(slots);
}

static void check_all(void) {
    check_products();
    check_rows();
    check_attention(4, 2, 16, 64, false, 3, 70, 5);
    check_attention(6, 2, 10, 17, true, 5, 20, 23);
    check_attention(2, 2, 12, 9, false, 16, 17, 20);
    check_attention(8, 1, 20, 64, true, 2, 3, 1);
    check_few(TMB_GPU_F32, false, 4, 2, 10, 0, 2, 64);
    check_few(TMB_GPU_F32, false, 4, 2, 10, 15, 1, MANY_THREADS);
    check_few(TMB_GPU_BF16, false, 6, 2, 12, 15, 1, 64);
    check_few(TMB_GPU_Q8, true, 4, 4, 20, 3, 1, MANY_THREADS);
    check_few(TMB_GPU_BF16, true, 2, 1, 34, 0, 2, 128);
}

int main(void) { return test_main(check_all); }
