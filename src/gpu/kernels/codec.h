/* The codec decoder but for its transformer's attention: codes to vectors, convolutions, what is remembered.
 *
 * Every sum's order depends on a layer's shape alone: how codes are cut into launches, and what else is in a launch,
 * never changes a bit of the result.
 */
#define CONVOLVE_FLOATS 4096 /* of input in shared memory */
#define CONVOLVE_ROWS_MOST (32 * TMB_CONVOLVE_ROWS)
#define CONVOLVE_WARPS 4

/* Where rows that a row wants are to be found. */
typedef struct plane_row {
    const float *rows;    /* of its stream in this launch: the first */
    const float *history; /* behind the last row of it */
    int32_t at;           /* among the stream's rows in this launch */
    int32_t before;       /* rows of the stream before this launch, or more than any layer asks for */
} plane_row;

typedef struct convolve_shared {
    float x[CONVOLVE_FLOATS];                            /* [depth][rows] */
    float sums[CONVOLVE_WARPS * TMB_CONVOLVE_ROWS * 32]; /* [warp][row of the lane][lane] */
    plane_row rows[CONVOLVE_ROWS_MOST];
    float scale[CONVOLVE_ROWS_MOST];
} convolve_shared;

DEVICE plane_row plane_row_of(const tmb_gpu_frames *columns, const tmb_gpu_plane *plane, int row) {
    const tmb_gpu_frame *frame = &columns->frames[row / plane->rate];
    const int64_t before = frame->position * plane->rate;
    plane_row r;
    r.rows = plane->rows + (int64_t)frame->first * plane->rate * plane->width;
    r.history = frame->state + plane->history + (int64_t)plane->history_rows * plane->width;
    r.at = frame->within * plane->rate + row % plane->rate;
    r.before = before < 1 << 30 ? (int32_t)before : 1 << 30;
    return r;
}

/* Value k of the row `back` rows before; zero before the stream's beginning. */
DEVICE float plane_value(const plane_row *row, int width, int back, int k) {
    const int at = row->at - back;
    return at >= 0              ? row->rows[(int64_t)at * width + k]
           : -at <= row->before ? row->history[(int64_t)at * width + k]
                                : 0.0f;
}

/* sin^2(x); errors as those of sines of |x| < 8192 in f32. */
DEVICE float SINE_SQUARED(float x) {
    const float n = ROUND(x * 0.318309886f);
    float r = FMA(n, -3.14159274f, x);
    r = FMA(n, 8.74227766e-8f, r);
    const float square = r * r;
    float p = FMA(square, -2.50521084e-8f, 2.75573192e-6f);
    p = FMA(p, square, -1.98412698e-4f);
    p = FMA(p, square, 8.33333333e-3f);
    p = FMA(p, square, -1.66666667e-1f);
    const float sine = FMA(p * square, r, r);
    return sine * sine;
}

/* x (1 + erf(x / sqrt 2)) / 2; Abramowitz and Stegun 7.1.26, error 1.5e-7 of erf. */
DEVICE float GELU(float x) {
    const float z = (x < 0 ? -x : x) * 0.707106781f;
    const float t = 1.0f / FMA(0.3275911f, z, 1.0f);
    float p = FMA(t, 1.061405429f, -1.453152027f);
    p = FMA(p, t, 1.421413741f);
    p = FMA(p, t, -0.284496736f);
    p = FMA(p, t, 0.254829592f);
    const float rest = p * t * EXP(-z * z); /* 1 - erf(z) */
    return 0.5f * x * (x < 0 ? rest : 2.0f - rest);
}

/* ---- Convolutions ---- */

DEVICE float convolve_weight(const tmb_convolve_arguments *a, int64_t index) {
    return a->half ? HALF_TO_FLOAT(((const uint16_t *)a->weights)[index]) : ((const float *)a->weights)[index];
}

/* A warp for a row: 1 / the root of its mean square. */
DEVICE void convolve_scales(const tmb_convolve_arguments *a, convolve_shared *s, int here) {
    const int lane = THREAD % 32, warps = THREADS / 32, width = a->from.width;
    for (int r = THREAD / 32; r < here; r += warps) {
        float sum = 0;
        for (int k = lane; k < width; k += 32) {
            const float x = plane_value(&s->rows[r], width, 0, k);
            sum = FMA(x, x, sum);
        }
        sum = WARP_SUM(sum);
        if (lane == 0) {
            s->scale[r] = 1.0f / SQRT(sum / (float)width + a->eps);
        }
    }
}

/* Inputs [base, base + depth) of the block's rows. */
DEVICE void convolve_fetch(const tmb_convolve_arguments *a, convolve_shared *s, int here, int rows, int base,
                           int depth) {
    const int width = a->from.width;
    for (int k = THREAD; k < depth; k += THREADS) {
        const int tap = (base + k) / width, i = (base + k) % width;
        const int back = (a->taps - 1 - tap) * a->dilation;
        for (int r = 0; r < here; r++) {
            float x = plane_value(&s->rows[r], width, back, i);
            if (a->norm != 0) {
                x = x * s->scale[r] * a->norm[i];
            }
            s->x[k * rows + r] = x;
        }
    }
}

/* Output `o` of row `row` is `v`; `up`: what goes with it, of a gate. */
DEVICE void convolve_finish(const tmb_convolve_arguments *a, int64_t row, int o, float v, float up) {
    const int64_t at = row * a->outputs + o;
    v += a->bias != 0 ? a->bias[o] : 0.0f;
    if (a->scale != 0) {
        v *= a->scale[o];
    }
    if (a->add != 0) {
        v += a->add[at];
    }
    if (a->sum != 0) {
        a->sum[at] = v;
    }
    if (a->out == 0) {
        return;
    }
    if (a->becomes == TMB_CONVOLVE_SNAKE) {
        const int channel = o % a->channels;
        v = FMA(SINE_SQUARED(v * a->frequency[channel]), a->gain[channel], v);
    } else if (a->becomes == TMB_CONVOLVE_GELU) {
        v = GELU(v);
    } else if (a->becomes == TMB_CONVOLVE_GATE) {
        v = SILU(v) * up;
    } else if (a->becomes == TMB_CONVOLVE_CLAMP) {
        v = v > 1.0f ? 1.0f : v < -1.0f ? -1.0f : v;
    }
    a->out[at] = v;
}

KERNEL(tmb_convolve) {
    SHARED(convolve_shared, s);
    AWAIT();
    const int lane = THREAD % 32, warp = THREAD / 32, parts = THREADS / 32 / a.across;
    const int groups = 32 / a.panel_outputs, rows = groups * TMB_CONVOLVE_ROWS;
    const int64_t first = (int64_t)BLOCK_Y * rows, all = (int64_t)*a.columns.live * a.from.rate;
    if (first >= all) {
        return;
    }
    const int here = all - first < rows ? (int)(all - first) : rows;
    for (int r = THREAD; r < here; r += THREADS) {
        s->rows[r] = plane_row_of(&a.columns, &a.from, (int)first + r);
    }
    BARRIER();
    if (a.norm != 0) {
        convolve_scales(&a, s, here);
        BARRIER();
    }
    /* A lane has output `o` of its panel, and rows from `begin` on. */
    const int gates = a.becomes == TMB_CONVOLVE_GATE;
    const int panels = gates ? (a.outputs + 15) / 16 : (a.outputs + a.panel_outputs - 1) / a.panel_outputs;
    const int panel = MIN_OF(BLOCK_X * a.across + warp % a.across, panels - 1), part = warp / a.across;
    const int o = lane % a.panel_outputs, begin = lane / a.panel_outputs * TMB_CONVOLVE_ROWS;
    const int depth = a.taps * a.from.width, most = CONVOLVE_FLOATS / rows;
    float sum[TMB_CONVOLVE_ROWS] = {0, 0, 0, 0, 0, 0, 0, 0};
    for (int base = 0; base < depth; base += most) {
        const int count = MIN_OF(depth - base, most);
        convolve_fetch(&a, s, here, rows, base, count);
        BARRIER();
        const int64_t weights = ((int64_t)panel * depth + base) * a.panel_outputs + o;
        for (int k = part; k < count && begin < here; k += parts) {
            const float w = convolve_weight(&a, weights + (int64_t)k * a.panel_outputs);
            const float *x = s->x + k * rows + begin;
            UNROLL
            for (int c = 0; c < TMB_CONVOLVE_ROWS; c++) {
                sum[c] = FMA(w, x[c], sum[c]); /* what lies behind `here` comes to nothing */
            }
        }
        BARRIER();
    }
    UNROLL
    for (int c = 0; c < TMB_CONVOLVE_ROWS; c++) {
        s->sums[(warp * TMB_CONVOLVE_ROWS + c) * 32 + lane] = sum[c];
    }
    BARRIER();
    for (int i = warp; i < a.across * TMB_CONVOLVE_ROWS; i += THREADS / 32) {
        const int c = i / a.across, which = BLOCK_X * a.across + i % a.across, row = begin + c;
        if (which >= panels || row >= here) {
            continue;
        }
        float total = 0, up = 0;
        for (int p = 0; p < parts; p++) {
            const float *sums = s->sums + ((p * a.across + i % a.across) * TMB_CONVOLVE_ROWS + c) * 32;
            total += sums[lane];
            up += gates ? sums[lane % 16 + 16] : 0.0f;
        }
        const int out = gates ? which * 16 + o : which * a.panel_outputs + o;
        if (out < a.outputs && (!gates || lane < 16)) {
            convolve_finish(&a, first + row, out, total, up);
        }
    }
}

/* ---- Others ---- */

/* Every thread's value added up, in an order that only their number decides: to every thread. */
DEVICE float block_sum(float *sums, float x) {
    const int warps = THREADS / 32;
    x = WARP_SUM(x);
    if (THREAD % 32 == 0) {
        sums[THREAD / 32] = x;
    }
    BARRIER();
    x = 0;
    for (int w = 0; w < warps; w++) {
        x += sums[w];
    }
    BARRIER();
    return x;
}

typedef struct depthwise_shared {
    float sums[8];
} depthwise_shared;

KERNEL(tmb_depthwise_norm) {
    SHARED(depthwise_shared, s);
    AWAIT();
    const int row = BLOCK_X, width = a.from.width;
    if (row >= *a.columns.live * a.from.rate) {
        return;
    }
    const plane_row from = plane_row_of(&a.columns, &a.from, row);
    float *out = a.out + (int64_t)row * width;
    float sum = 0, square = 0;
    for (int c = THREAD; c < width; c += THREADS) {
        float value = a.bias[c];
        for (int p = 0; p < a.taps; p++) {
            value = FMA(plane_value(&from, width, a.taps - 1 - p, c), a.weights[p * width + c], value);
        }
        out[c] = value;
        sum += value;
    }
    const float mean = block_sum(s->sums, sum) / (float)width;
    for (int c = THREAD; c < width; c += THREADS) {
        const float centred = out[c] - mean;
        square = FMA(centred, centred, square);
    }
    const float factor = 1.0f / SQRT(block_sum(s->sums, square) / (float)width + a.eps);
    for (int c = THREAD; c < width; c += THREADS) {
        out[c] = FMA((out[c] - mean) * factor, a.norm[c], a.norm_bias[c]);
    }
}

/* Cosine and sine of an angle >= 0. */
DEVICE void ANGLE(double angle, float *cosine, float *sine) {
    const double n = (angle * 0.63661977236758134 + 6755399441055744.0) - 6755399441055744.0;
    double r = FMA64(n, -1.5707963267948966, angle);
    r = FMA64(n, -6.123233995736766e-17, r);
    const double square = r * r;
    double s = FMA64(square, 1.0 / 6227020800.0, -1.0 / 39916800.0);
    s = FMA64(s, square, 1.0 / 362880.0);
    s = FMA64(s, square, -1.0 / 5040.0);
    s = FMA64(s, square, 1.0 / 120.0);
    s = FMA64(s, square, -1.0 / 6.0);
    s = FMA64(s * square, r, r);
    double c = FMA64(square, -1.0 / 87178291200.0, 1.0 / 479001600.0);
    c = FMA64(c, square, -1.0 / 3628800.0);
    c = FMA64(c, square, 1.0 / 40320.0);
    c = FMA64(c, square, -1.0 / 720.0);
    c = FMA64(c, square, 1.0 / 24.0);
    c = FMA64(c, square, -0.5);
    c = FMA64(c, square, 1.0);
    const int quarter = (int)((int64_t)n & 3);
    *cosine = (float)(quarter == 0 ? c : quarter == 1 ? -s : quarter == 2 ? -c : s);
    *sine = (float)(quarter == 0 ? s : quarter == 1 ? c : quarter == 2 ? -s : -c);
}

KERNEL(tmb_codec_codes) {
    AWAIT();
    const int column = BLOCK_X;
    if (column >= *a.columns.live) {
        return;
    }
    const int16_t *codes = a.codes + (int64_t)column * a.books;
    const double position = (double)(a.columns.frames[column].position + a.columns.frames[column].within);
    float *sums = a.sums + (int64_t)column * 2 * a.width, *angles = a.angles + (int64_t)column * 2 * a.half;
    for (int k = THREAD; k < a.width; k += THREADS) {
        float sum[2] = {0, 0};
        for (int book = 0; book < a.books; book++) {
            const float entry = a.entries[((int64_t)book * a.size + codes[book]) * a.width + k];
            sum[0] += book < a.semantic ? entry : 0.0f;
            sum[1] += book < a.semantic ? 0.0f : entry;
        }
        sums[k] = sum[0];
        sums[a.width + k] = sum[1];
    }
    for (int k = THREAD; k < a.half; k += THREADS) {
        ANGLE(position * (double)a.frequencies[k], &angles[k], &angles[a.half + k]);
    }
}

KERNEL(tmb_keep_history) {
    AWAIT();
    const int column = BLOCK_Y;
    if (column >= *a.columns.live || a.columns.frames[column].within != 0) {
        return;
    }
    const tmb_gpu_frame *frame = &a.columns.frames[column];
    const tmb_gpu_plane *plane = &a.planes[BLOCK_X];
    const int fresh = frame->frames * plane->rate, kept = plane->history_rows;
    const float *rows = plane->rows + (int64_t)column * plane->rate * plane->width;
    float *history = frame->state + plane->history;
    for (int k = THREAD; k < plane->width; k += THREADS) {
        for (int r = 0; r < kept; r++) {
            /* From what is nearer to the end: not yet overwritten. */
            const int from = r + fresh - kept;
            history[(int64_t)r * plane->width + k] =
                from >= 0 ? rows[(int64_t)from * plane->width + k] : history[(int64_t)(r + fresh) * plane->width + k];
        }
    }
}
