/* The encoders: convolutions over one signal, and what the speaker encoder has besides.
 *
 * Every sum's order depends on a layer's shape, and over time on the signal's length, alone.
 */
#define ENCODE_THREADS 128
#define ENCODE_DEPTH 32                    /* inputs that are in shared memory at a time */
#define ENCODE_PITCH (TMB_ENCODE_ROWS + 4) /* so that neighbouring inputs of a row lie in different banks */
#define ENCODE_NOWHERE (-0x7fffffff)

typedef struct __attribute__((aligned(16))) encode_shared {
    float x[ENCODE_DEPTH * ENCODE_PITCH];       /* [depth][rows] */
    float w[ENCODE_DEPTH * TMB_ENCODE_OUTPUTS]; /* [depth][outputs] */
} encode_shared;

/* tanh(x) for x >= 0. */
DEVICE float TANH(float x) { return 1.0f - 2.0f / (EXP(2.0f * x) + 1.0f); }

/* x, or e^x - 1 if x < 0. */
DEVICE float ELU(float x) {
    if (x < -0.34f) {
        return EXP(x) - 1.0f;
    }
    float p = FMA(x, 1.9841270e-4f, 1.3888889e-3f);
    p = FMA(p, x, 8.3333333e-3f);
    p = FMA(p, x, 4.1666667e-2f);
    p = FMA(p, x, 1.6666667e-1f);
    p = FMA(p, x, 5.0e-1f);
    return x >= 0 ? x : FMA(p, x * x, x);
}

/* The row that is meant by row `at`. */
DEVICE int encode_row(const tmb_encode_convolve_arguments *a, int at) {
    if (at >= a->first && at < a->end) {
        return at;
    }
    if (a->edge == TMB_ENCODE_REFLECT) {
        return at < a->first ? 2 * a->first - at : 2 * (a->end - 1) - at;
    }
    return a->edge != TMB_ENCODE_REPEAT ? ENCODE_NOWHERE : at < a->first ? a->first : a->end - 1;
}

/* Inputs [base, base + count) of the block's rows, and the weights of the block's outputs. */
DEVICE void encode_fetch(const tmb_encode_convolve_arguments *a, encode_shared *s, int depth, int base, int count) {
    const int lane = THREAD % 32, warp = THREAD / 32, first = BLOCK_X * TMB_ENCODE_ROWS;
    if (lane < count) {
        const int tap = (base + lane) / a->in, i = (base + lane) % a->in;
        for (int r = warp; r < TMB_ENCODE_ROWS; r += ENCODE_THREADS / 32) {
            const int row = first + r;
            const int at =
                row < a->rows ? encode_row(a, row * a->stride + tap * a->dilation - a->before) : ENCODE_NOWHERE;
            float value = 0;
            if (at != ENCODE_NOWHERE) {
                value = a->x[(int64_t)at * a->x_pitch + i];
                value += a->plus != 0 ? a->plus[(int64_t)at * a->x_pitch + i] : 0.0f;
            }
            s->x[lane * ENCODE_PITCH + r] = value;
        }
    }
    const float *weights = a->weights + ((int64_t)BLOCK_Y * depth + base) * TMB_ENCODE_OUTPUTS;
    for (int k = warp; k < count; k += ENCODE_THREADS / 32) {
        s->w[k * TMB_ENCODE_OUTPUTS + lane] = weights[k * TMB_ENCODE_OUTPUTS + lane];
    }
}

DEVICE void encode_finish(const tmb_encode_convolve_arguments *a, int row, int o, float v) {
    v += a->bias != 0 ? a->bias[o] : 0.0f;
    v *= a->scale != 0 ? a->scale[o] : 1.0f;
    v += a->add != 0 ? a->add[(int64_t)row * a->add_pitch + o] : 0.0f;
    if (a->sum != 0) {
        a->sum[(int64_t)row * a->outputs + o] = v;
    }
    if (a->becomes == TMB_ENCODE_RELU) {
        v = MAX_OF(v, 0.0f);
    } else if (a->becomes == TMB_ENCODE_RELU_TANH) {
        v = TANH(MAX_OF(v, 0.0f));
    } else if (a->becomes == TMB_ENCODE_SIGMOID) {
        v = 1.0f / (1.0f + EXP(-v));
    } else if (a->becomes == TMB_ENCODE_ELU) {
        v = ELU(v);
    } else if (a->becomes == TMB_ENCODE_GELU) {
        v = GELU(v);
    }
    a->out[(int64_t)row * a->out_pitch + o] = v;
}

KERNEL(tmb_encode_convolve) {
    SHARED(encode_shared, s);
    AWAIT();
    /* A thread has 4 rows and 4 outputs. */
    const int begin = THREAD / 8 * 4, o = THREAD % 8 * 4, depth = a.taps * a.in;
    const int row = BLOCK_X * TMB_ENCODE_ROWS + begin, output = BLOCK_Y * TMB_ENCODE_OUTPUTS + o;
    const int busy = row < a.rows && output < a.outputs;
    float sum[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
    for (int base = 0; base < depth; base += ENCODE_DEPTH) {
        const int count = MIN_OF(depth - base, ENCODE_DEPTH);
        encode_fetch(&a, s, depth, base, count);
        BARRIER();
        for (int k = 0; k < count && busy; k++) {
            const four_floats x = LOAD_FOUR(s->x + k * ENCODE_PITCH + begin);
            const four_floats w = LOAD_FOUR(s->w + k * TMB_ENCODE_OUTPUTS + o);
            UNROLL
            for (int i = 0; i < 16; i++) {
                sum[i] = FMA(x.of[i / 4], w.of[i % 4], sum[i]);
            }
        }
        BARRIER();
    }
    UNROLL
    for (int i = 0; i < 16; i++) {
        if (row + i / 4 < a.rows && output + i % 4 < a.outputs) {
            encode_finish(&a, row + i / 4, output + i % 4, sum[i]);
        }
    }
}

/* ---- Over time ---- */

#define STATISTICS_WARPS 8

typedef struct statistics_shared {
    float parts[STATISTICS_WARPS * 32];
} statistics_shared;

/* The sum, or the largest, of the warps' values for a column, in the warps' order: to every warp. */
DEVICE float statistics_join(statistics_shared *s, float x, int largest) {
    const int lane = THREAD % 32;
    s->parts[THREAD] = x;
    BARRIER();
    x = s->parts[lane];
    for (int w = 1; w < STATISTICS_WARPS; w++) {
        const float other = s->parts[w * 32 + lane];
        x = largest ? MAX_OF(x, other) : x + other;
    }
    BARRIER();
    return x;
}

KERNEL(tmb_encode_statistics) {
    SHARED(statistics_shared, s);
    AWAIT();
    const int warp = THREAD / 32, column = BLOCK_X * 32 + THREAD % 32;
    const int rows = column < a.width ? a.rows : 0;
    const float *x = a.x + column, *scores = a.scores != 0 ? a.scores + column : 0;
    float most = -1e30f, weights = 0, sum = 0, squares = 0;
    if (scores != 0) {
        for (int row = warp; row < rows; row += STATISTICS_WARPS) {
            most = MAX_OF(most, scores[(int64_t)row * a.width]);
        }
        most = statistics_join(s, most, 1);
    }
    for (int row = warp; row < rows; row += STATISTICS_WARPS) {
        const float weight = scores != 0 ? EXP(scores[(int64_t)row * a.width] - most) : 1.0f;
        weights += weight;
        sum = FMA(weight, x[(int64_t)row * a.width], sum);
    }
    weights = statistics_join(s, weights, 0);
    const float mean = statistics_join(s, sum, 0) / weights;
    for (int row = warp; row < rows && a.deviation != 0; row += STATISTICS_WARPS) {
        const float weight = scores != 0 ? EXP(scores[(int64_t)row * a.width] - most) : 1.0f;
        const float centred = x[(int64_t)row * a.width] - mean;
        squares = FMA(weight * centred, centred, squares);
    }
    squares = statistics_join(s, squares, 0);
    if (warp == 0 && column < a.width) {
        a.mean[column] = mean;
        if (a.deviation != 0) {
            a.deviation[column] = SQRT(MAX_OF(squares / weights, 1e-12f));
        }
    }
}

KERNEL(tmb_encode_gate) {
    AWAIT();
    const int64_t row = BLOCK_X;
    for (int c = THREAD; c < a.width; c += THREADS) {
        a.out[row * a.out_pitch + c] = FMA(a.y[row * a.width + c], a.gate[c], a.x[row * a.x_pitch + c]);
    }
}
