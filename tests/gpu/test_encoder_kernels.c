/* The encoders' kernels on small odd shapes against plain C. */
#include "kernel_test.h"

/* ---- Convolutions ---- */

typedef struct shape {
    int taps, stride, dilation, before, in, out, rows, edge, becomes;
    bool plus, bias;
    int add;   /* 0: nothing; 1: one row for all; 2: each its own */
    int apart; /* floats between the channels that are meant */
} shape;

static int edge_of(const shape *s, int at, int end) {
    if (at >= 0 && at < end) {
        return at;
    }
    return s->edge == TMB_ENCODE_REFLECT ? (at < 0 ? -at : 2 * (end - 1) - at) : -1;
}

static double becomes(int what, double v) {
    const double positive = v > 0 ? v : 0;
    switch (what) {
    case TMB_ENCODE_RELU: return positive;
    case TMB_ENCODE_RELU_TANH: return tanh(positive);
    case TMB_ENCODE_SIGMOID: return 1 / (1 + exp(-v));
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
    float *x = floats((size_t)(end * x_pitch)), *plus = floats((size_t)(end * x_pitch));
    float *w = floats((size_t)(depth * wide)), *bias = floats((size_t)s.out), *add = floats((size_t)(s.rows * s.out));
    float *out = floats((size_t)(s.rows * out_pitch)), *packed = pack(w, depth, panels);
    double *expected = memory((size_t)(s.rows * out_pitch) * sizeof *expected);
    const tmb_encode_convolve_arguments a = {.x = x,
                                             .plus = s.plus ? plus : NULL,
                                             .weights = packed,
                                             .bias = s.bias ? bias : NULL,
                                             .add = s.add != 0 ? add : NULL,
                                             .out = out,
                                             .x_pitch = x_pitch,
                                             .add_pitch = s.add == 2 ? s.out : 0,
                                             .out_pitch = out_pitch,
                                             .in = s.in,
                                             .taps = s.taps,
                                             .stride = s.stride,
                                             .dilation = s.dilation,
                                             .before = s.before,
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
            double sum = (s.bias ? bias[o] : 0) + (s.add == 0 ? 0 : add[(s.add == 2 ? row * s.out : 0) + o]);
            for (int k = 0; k < depth; k++) {
                const int at = edge_of(&s, row * s.stride + k / s.in * s.dilation - s.before, end);
                const int from = at * x_pitch + k % s.in;
                sum += at < 0 ? 0 : ((double)x[from] + (s.plus ? plus[from] : 0)) * w[k * wide + o];
            }
            expected[row * out_pitch + o] = becomes(s.becomes, sum);
        }
    }
    run(run_tmb_encode_convolve, (unsigned)((s.rows + TMB_ENCODE_ROWS - 1) / TMB_ENCODE_ROWS), (unsigned)panels, 128,
        &a);
    compare("a convolution of an encoder", out, expected, (size_t)(s.rows * out_pitch), 1e-6);
    void *all[] = {x, plus, w, bias, add, out, packed, expected};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        free(all[i]);
    }
}

static void check_convolutions(void) {
    static const shape shapes[] = {
        {5, 1, 1, 2, 7, 33, 67, TMB_ENCODE_REFLECT, TMB_ENCODE_RELU, false, true, 0, 0},
        {3, 1, 4, 4, 12, 12, 9, TMB_ENCODE_REFLECT, TMB_ENCODE_RELU, true, true, 0, 5},
        {1, 1, 1, 0, 40, 5, 1, TMB_ENCODE_ZERO, TMB_ENCODE_SIGMOID, false, true, 0, 0},
        {1, 1, 1, 0, 3, 66, 65, TMB_ENCODE_ZERO, TMB_ENCODE_RELU_TANH, false, true, 1, 0},
        {1, 1, 1, 0, 65, 2, 64, TMB_ENCODE_ZERO, TMB_ENCODE_PLAIN, false, false, 2, 0},
        {8, 4, 1, 4, 3, 6, 17, TMB_ENCODE_ZERO, TMB_ENCODE_PLAIN, false, true, 0, 1},
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

static void check_all(void) {
    check_convolutions();
    check_statistics();
    check_gate();
}

int main(void) { return test_main(check_all); }
