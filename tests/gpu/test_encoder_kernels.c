/* The encoders' kernels on small odd shapes against plain C. */
#include "kernel_test.h"

/* ---- Convolutions ---- */

typedef struct shape {
    int taps, stride, dilation, before, in, out, rows, edge, becomes;
    bool plus, bias;
    int add;   /* 0: nothing; 1: one row for all; 2: each its own; 3: the same, scaled, and kept there */
    int apart; /* floats between the channels that are meant */
    int first; /* rows before the first */
} shape;

enum { NOWHERE = -1000000 };

static int edge_of(const shape *s, int at, int end) {
    if (at >= -s->first && at < end) {
        return at;
    }
    if (s->edge == TMB_ENCODE_REPEAT) {
        return at < 0 ? -s->first : end - 1;
    }
    return s->edge == TMB_ENCODE_REFLECT ? (at < 0 ? -at : 2 * (end - 1) - at) : NOWHERE;
}

static double becomes(int what, double v) {
    const double positive = v > 0 ? v : 0;
    switch (what) {
    case TMB_ENCODE_RELU: return positive;
    case TMB_ENCODE_RELU_TANH: return tanh(positive);
    case TMB_ENCODE_SIGMOID: return 1 / (1 + exp(-v));
    case TMB_ENCODE_ELU: return v > 0 ? v : expm1(v);
    case TMB_ENCODE_GELU: return v * (1 + erf(v / sqrt(2))) / 2;
    default: return v;
    }
}

/* w [taps * in][panels * 32] to panels. */
static float *pack(const float *w, int depth, int panels) {
    float *packed = memory((size_t)(depth * panels * TMB_ENCODE_OUTPUTS) * sizeof *packed);
    for (int k = 0; k < depth; k++) {
        for (int o = 0; o < panels * TMB_ENCODE_OUTPUTS; o++) {
            packed[((o / TMB_ENCODE_OUTPUTS) * depth + k) * TMB_ENCODE_OUTPUTS + o % TMB_ENCODE_OUTPUTS] =
                w[k * panels * TMB_ENCODE_OUTPUTS + o];
        }
    }
    return packed;
}

static void check_convolution(shape s) {
    const int depth = s.taps * s.in, panels = (s.out + TMB_ENCODE_OUTPUTS - 1) / TMB_ENCODE_OUTPUTS;
    const int end = s.edge == TMB_ENCODE_REFLECT ? s.rows : s.rows * s.stride - s.stride / 2;
    const int x_pitch = s.in + s.apart, out_pitch = s.out + 2 * s.apart, wide = panels * TMB_ENCODE_OUTPUTS;
    const int x_rows = s.first + end;
    float *x = floats((size_t)(x_rows * x_pitch)), *plus = floats((size_t)(x_rows * x_pitch));
    float *w = floats((size_t)(depth * wide)), *bias = floats((size_t)s.out), *add = floats((size_t)(s.rows * s.out));
    float *scale = floats((size_t)s.out), *sums = floats((size_t)(s.rows * s.out));
    float *out = floats((size_t)(s.rows * out_pitch)), *packed = pack(w, depth, panels);
    double *expected = memory((size_t)(s.rows * out_pitch) * sizeof *expected);
    double *expected_sums = memory((size_t)(s.rows * s.out) * sizeof *expected_sums);
    memcpy(sums, add, (size_t)(s.rows * s.out) * sizeof *sums);
    const tmb_encode_convolve_arguments a = {.x = x + s.first * x_pitch,
                                             .plus = s.plus ? plus + s.first * x_pitch : NULL,
                                             .weights = packed,
                                             .bias = s.bias ? bias : NULL,
                                             .scale = s.add == 3 ? scale : NULL,
                                             .add = s.add == 3   ? sums
                                                    : s.add != 0 ? add
                                                                 : NULL,
                                             .sum = s.add == 3 ? sums : NULL,
                                             .out = out,
                                             .x_pitch = x_pitch,
                                             .add_pitch = s.add >= 2 ? s.out : 0,
                                             .out_pitch = out_pitch,
                                             .in = s.in,
                                             .taps = s.taps,
                                             .stride = s.stride,
                                             .dilation = s.dilation,
                                             .before = s.before,
                                             .first = -s.first,
                                             .end = end,
                                             .edge = s.edge,
                                             .rows = s.rows,
                                             .outputs = s.out,
                                             .becomes = s.becomes};
    for (int i = 0; i < s.rows * out_pitch; i++) {
        expected[i] = out[i]; /* what is beside is left alone */
    }
    for (int row = 0; row < s.rows; row++) {
        for (int o = 0; o < s.out; o++) {
            double sum = s.bias ? bias[o] : 0;
            for (int k = 0; k < depth; k++) {
                const int at = edge_of(&s, row * s.stride + k / s.in * s.dilation - s.before, end);
                const int from = (at + s.first) * x_pitch + k % s.in;
                sum += at == NOWHERE ? 0 : ((double)x[from] + (s.plus ? plus[from] : 0)) * w[k * wide + o];
            }
            sum = sum * (s.add == 3 ? scale[o] : 1) + (s.add == 0 ? 0 : add[(s.add >= 2 ? row * s.out : 0) + o]);
            expected_sums[row * s.out + o] = s.add == 3 ? sum : add[row * s.out + o];
            expected[row * out_pitch + o] = becomes(s.becomes, sum);
        }
    }
    run(run_tmb_encode_convolve, (unsigned)((s.rows + TMB_ENCODE_ROWS - 1) / TMB_ENCODE_ROWS), (unsigned)panels, 128,
        &a);
    compare("a convolution of an encoder", out, expected, (size_t)(s.rows * out_pitch), 1e-6);
    compare("its sums", sums, expected_sums, (size_t)(s.rows * s.out), 1e-6);
    void *all[] = {x, plus, w, bias, add, scale, sums, out, packed, expected, expected_sums};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        free(all[i]);
    }
}

static void check_convolutions(void) {
    static const shape shapes[] = {
        {5, 1, 1, 2, 7, 33, 67, TMB_ENCODE_REFLECT, TMB_ENCODE_RELU, false, true, 0, 0, 0},
        {3, 1, 4, 4, 12, 12, 9, TMB_ENCODE_REFLECT, TMB_ENCODE_RELU, true, true, 0, 5, 0},
        {1, 1, 1, 0, 40, 5, 1, TMB_ENCODE_ZERO, TMB_ENCODE_SIGMOID, false, true, 0, 0, 0},
        {1, 1, 1, 0, 3, 66, 65, TMB_ENCODE_ZERO, TMB_ENCODE_RELU_TANH, false, true, 1, 0, 0},
        {1, 1, 1, 0, 65, 2, 64, TMB_ENCODE_ZERO, TMB_ENCODE_PLAIN, false, false, 2, 0, 0},
        {8, 4, 1, 4, 3, 6, 17, TMB_ENCODE_ZERO, TMB_ENCODE_PLAIN, false, true, 0, 1, 0},
        {8, 4, 1, 4, 3, 6, 17, TMB_ENCODE_ZERO, TMB_ENCODE_ELU, false, true, 3, 0, 4},
        {5, 1, 2, 8, 6, 35, 70, TMB_ENCODE_ZERO, TMB_ENCODE_ELU, false, true, 3, 0, 3},
        {1, 1, 1, 0, 9, 20, 3, TMB_ENCODE_ZERO, TMB_ENCODE_GELU, false, false, 0, 0, 0},
        {4, 2, 1, 2, 5, 5, 6, TMB_ENCODE_REPEAT, TMB_ENCODE_PLAIN, false, false, 0, 0, 0},
        {4, 2, 1, 2, 5, 5, 1, TMB_ENCODE_REPEAT, TMB_ENCODE_PLAIN, false, false, 0, 0, 0},
    };
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        check_convolution(shapes[i]);
    }
}

/* ---- Over time ---- */

static void check_statistics_of(int rows, int width, bool weighted) {
    float *x = floats((size_t)(rows * width)), *scores = floats((size_t)(rows * width));
    float *mean = floats((size_t)width), *deviation = floats((size_t)width);
    double *means = memory((size_t)width * sizeof *means), *deviations = memory((size_t)width * sizeof *deviations);
    for (int c = 0; c < width; c++) {
        double weights = 0, sum = 0, squares = 0;
        for (int row = 0; row < rows; row++) {
            const double weight = weighted ? exp(9.0 * scores[row * width + c]) : 1;
            weights += weight;
            sum += weight * x[row * width + c];
        }
        means[c] = sum / weights;
        for (int row = 0; row < rows; row++) {
            const double weight = weighted ? exp(9.0 * scores[row * width + c]) : 1;
            squares += weight * (x[row * width + c] - means[c]) * (x[row * width + c] - means[c]);
        }
        deviations[c] = fmax(sqrt(squares / weights), 1e-6);
    }
    for (int i = 0; i < rows * width; i++) {
        scores[i] *= 9;
    }
    tmb_encode_statistics_arguments a = {
        .x = x, .scores = weighted ? scores : NULL, .mean = mean, .deviation = deviation, .rows = rows, .width = width};
    run(run_tmb_encode_statistics, (unsigned)(width + 31) / 32, 1, 256, &a);
    compare("means over time", mean, means, (size_t)width, 1e-5);
    compare("deviations over time", deviation, deviations, (size_t)width, 1e-5);
    const float kept = deviation[0];
    a.deviation = NULL;
    a.mean = deviation + 1;
    a.width = width - 1;
    run(run_tmb_encode_statistics, (unsigned)(width + 30) / 32, 1, 256, &a);
    failures += deviation[0] != kept;
    void *all[] = {x, scores, mean, deviation, means, deviations};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        free(all[i]);
    }
}

static void check_statistics(void) {
    check_statistics_of(1, 3, true);
    check_statistics_of(7, 33, false);
    check_statistics_of(50, 40, true);
}

static void check_gate(void) {
    enum { ROWS = 5, WIDTH = 37, X_PITCH = 40, OUT_PITCH = 41 };
    float *x = floats(ROWS * X_PITCH), *y = floats(ROWS * WIDTH), *gate = floats(WIDTH),
          *out = floats(ROWS * OUT_PITCH);
    double expected[ROWS * OUT_PITCH];
    for (int i = 0; i < ROWS * OUT_PITCH; i++) {
        const int row = i / OUT_PITCH, c = i % OUT_PITCH;
        expected[i] = c < WIDTH ? x[row * X_PITCH + c] + (double)y[row * WIDTH + c] * gate[c] : out[i];
    }
    const tmb_encode_gate_arguments a = {
        .x = x, .y = y, .gate = gate, .out = out, .width = WIDTH, .x_pitch = X_PITCH, .out_pitch = OUT_PITCH};
    run(run_tmb_encode_gate, ROWS, 1, 32, &a);
    compare("gated rows", out, expected, ROWS * OUT_PITCH, 1e-7);
    free(x);
    free(y);
    free(gate);
    free(out);
}

/* ---- The transformer and the codebooks ---- */

static void check_norm(void) {
    enum { ROWS = 3, WIDTH = 70 };
    float *x = floats(ROWS * WIDTH), *norm = floats(WIDTH), *bias = floats(WIDTH), *out = floats(ROWS * WIDTH);
    double expected[ROWS * WIDTH];
    for (int row = 0; row < ROWS; row++) {
        const float *from = x + row * WIDTH;
        double mean = 0, square = 0;
        for (int c = 0; c < WIDTH; c++) {
            mean += from[c] / WIDTH;
        }
        for (int c = 0; c < WIDTH; c++) {
            square += (from[c] - mean) * (from[c] - mean) / WIDTH;
        }
        for (int c = 0; c < WIDTH; c++) {
            expected[row * WIDTH + c] = (from[c] - mean) / sqrt(square + 1e-5) * norm[c] + bias[c];
        }
    }
    const tmb_encode_norm_arguments a = {.x = x, .norm = norm, .bias = bias, .out = out, .width = WIDTH, .eps = 1e-5f};
    run(run_tmb_encode_norm, ROWS, 1, 64, &a);
    compare("rows through layer norm", out, expected, ROWS * WIDTH, 1e-6);
    free(x);
    free(norm);
    free(bias);
    free(out);
}

/* Element k of the row's head, rotated by the row's number. */
static double rotated(const float *head, const float *frequencies, int size, int row, int k) {
    const int half = size / 2, i = k % half;
    const double angle = row * (double)frequencies[i];
    return k < half ? head[k] * cos(angle) - head[k + half] * sin(angle)
                    : head[k] * cos(angle) + head[k - half] * sin(angle);
}

static void check_attention_of(int rows, int heads, int key_heads, int size) {
    const int pitch = (heads + 2 * key_heads) * size;
    float *qkv = floats((size_t)(rows * pitch)), *frequencies = floats((size_t)size / 2);
    float *before = memory((size_t)(rows * pitch) * sizeof *before), *out = floats((size_t)(rows * heads * size));
    double *expected = memory((size_t)(rows * heads * size) * sizeof *expected);
    double *weights = memory((size_t)rows * sizeof *weights);
    for (int i = 0; i < size / 2; i++) {
        frequencies[i] = fabsf(frequencies[i]); /* angles are not negative */
    }
    for (int i = 0; i < rows * pitch; i++) {
        qkv[i] *= 3;
    }
    memcpy(before, qkv, (size_t)(rows * pitch) * sizeof *before);
    for (int row = 0; row < rows; row++) {
        for (int head = 0; head < heads; head++) {
            const int key_head = head / (heads / key_heads);
            double most = -1e30, total = 0;
            for (int at = 0; at <= row; at++) {
                weights[at] = 0;
                for (int k = 0; k < size; k++) {
                    weights[at] += rotated(before + row * pitch + head * size, frequencies, size, row, k) *
                                   rotated(before + at * pitch + (heads + key_head) * size, frequencies, size, at, k) /
                                   sqrt(size);
                }
                most = fmax(most, weights[at]);
            }
            for (int at = 0; at <= row; at++) {
                weights[at] = exp(weights[at] - most);
                total += weights[at];
            }
            for (int k = 0; k < size; k++) {
                double sum = 0;
                for (int at = 0; at <= row; at++) {
                    sum += weights[at] / total * before[at * pitch + (heads + key_heads + key_head) * size + k];
                }
                expected[(row * heads + head) * size + k] = sum;
            }
        }
    }
    const tmb_encode_rotate_arguments rotate = {
        .qkv = qkv, .frequencies = frequencies, .heads = heads, .key_heads = key_heads, .head_dim = size};
    const tmb_encode_attend_arguments attend = {.qkv = qkv,
                                                .out = out,
                                                .rows = rows,
                                                .heads = heads,
                                                .key_heads = key_heads,
                                                .head_dim = size,
                                                .scale = 1 / sqrtf((float)size)};
    run(run_tmb_encode_rotate, (unsigned)rows, 1, 32, &rotate);
    run(run_tmb_encode_attend, (unsigned)(rows + 3) / 4, (unsigned)heads, 128, &attend);
    compare("rows that see those before them", out, expected, (size_t)(rows * heads * size), 3e-6);
    void *all[] = {qkv, frequencies, before, out, expected, weights};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        free(all[i]);
    }
}

static void check_attention(void) {
    check_attention_of(1, 2, 1, 6);
    check_attention_of(70, 2, 2, 20);
    check_attention_of(9, 4, 2, 72);
}

/* Whole numbers, so that distances are exact; entries that are there twice, so that the first must be taken. */
static void check_codes(void) {
    enum { FRAMES = 6, BOOKS = 5, SEMANTIC = 2, SIZE = 300, WIDTH = 7, PANELS = (SIZE + 31) / 32 };
    float *entries = floats(BOOKS * SIZE * WIDTH), *packed = memory(BOOKS * PANELS * 32 * WIDTH * sizeof *packed);
    float *lengths = memory(BOOKS * SIZE * sizeof *lengths), *residuals = floats(2 * FRAMES * WIDTH);
    int16_t *codes = memory(FRAMES * BOOKS * sizeof *codes);
    for (int i = 0; i < 2 * FRAMES * WIDTH; i++) {
        residuals[i] = rintf(residuals[i] * 4);
    }
    for (int i = 0; i < BOOKS * SIZE; i++) {
        const int book = i / SIZE, index = i % SIZE;
        for (int k = 0; k < WIDTH; k++) {
            float *value = &entries[i * WIDTH + k];
            *value = index >= 40 ? entries[(i - 40) * WIDTH + k] : rintf(*value * 3);
            lengths[i] += *value * *value;
            packed[((book * PANELS + index / 32) * WIDTH + k) * 32 + index % 32] = *value;
        }
    }
    const tmb_encode_quantize_arguments a = {.residuals = residuals,
                                             .entries = packed,
                                             .lengths = lengths,
                                             .codes = codes,
                                             .frames = FRAMES,
                                             .books = BOOKS,
                                             .semantic = SEMANTIC,
                                             .size = SIZE,
                                             .width = WIDTH};
    run(run_tmb_encode_quantize, (FRAMES + 3) / 4, 2, 256, &a);
    for (int frame = 0; frame < FRAMES; frame++) {
        float left[WIDTH];
        for (int book = 0; book < BOOKS; book++) {
            if (book == 0 || book == SEMANTIC) {
                memcpy(left, residuals + ((book > 0) * FRAMES + frame) * WIDTH, sizeof left);
            }
            int nearest = 0;
            float least = 1e30f;
            for (int index = 0; index < SIZE; index++) {
                float distance = 0;
                for (int k = 0; k < WIDTH; k++) {
                    const float apart = left[k] - entries[(book * SIZE + index) * WIDTH + k];
                    distance += apart * apart;
                }
                nearest = distance < least ? index : nearest;
                least = distance < least ? distance : least;
            }
            failures += codes[frame * BOOKS + book] != nearest;
            for (int k = 0; k < WIDTH; k++) {
                left[k] -= entries[(book * SIZE + nearest) * WIDTH + k];
            }
        }
    }
    free(entries);
    free(packed);
    free(lengths);
    free(residuals);
    free(codes);
}

static void check_all(void) {
    check_norm();
    check_attention();
    check_codes();
    check_convolutions();
    check_statistics();
    check_gate();
}

int main(void) { return test_main(check_all); }
