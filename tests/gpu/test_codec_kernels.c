/* The codec decoder's kernels on small odd shapes, cut into launches in different ways, against plain C. */
#include "kernel_test.h"

enum { STREAMS = 3, MOST_FRAMES = 7, MOST_LAUNCH = 4, STATE_FLOATS = 4096 };

/* Frames of each stream in each launch; the same frames in one launch each, too. */
static const int cuts[][STREAMS] = {{1, 4, 0}, {4, 1, 2}, {2, 2, 3}, {0, 0, 2}};

/* The columns of one launch, and where its streams' frames are in the whole. */
typedef struct columns {
    tmb_gpu_frames frames;
    tmb_gpu_frame *table;
    int32_t *live;
    int stream[STREAMS * MOST_LAUNCH], frame[STREAMS * MOST_LAUNCH]; /* of each column */
} columns;

static float *states[STREAMS];

static void open_states(void) {
    for (int s = 0; s < STREAMS; s++) {
        states[s] = memory(STATE_FLOATS * sizeof(float));
        memset(states[s], 0xff, STATE_FLOATS * sizeof(float)); /* what was before a stream's beginning is never used */
    }
}

static void close_states(void) {
    for (int s = 0; s < STREAMS; s++) {
        free(states[s]);
    }
}

static columns columns_of(const int counts[STREAMS], const int done[STREAMS]) {
    columns c = {.table = memory(STREAMS * MOST_LAUNCH * sizeof *c.table), .live = memory(sizeof *c.live)};
    for (int s = 0; s < STREAMS; s++) {
        const int first = *c.live;
        for (int f = 0; f < counts[s]; f++) {
            c.stream[*c.live] = s;
            c.frame[*c.live] = done[s] + f;
            c.table[(*c.live)++] = (tmb_gpu_frame){
                .state = states[s], .position = done[s], .first = first, .within = f, .frames = counts[s]};
        }
    }
    c.frames = (tmb_gpu_frames){c.table, c.live};
    return c;
}

static void close_columns(columns *c) {
    free(c->table);
    free(c->live);
}

/* `launch` takes the columns of each cut; `rows` floats of a column come from `in` and go to `out`, [streams][frames].
 */
typedef void (*launcher)(const columns *c, const float *in, float *out, void *argument);

static void run_cuts(launcher launch, const float *in, int in_floats, float *out, int out_floats, void *argument) {
    int done[STREAMS] = {0};
    open_states();
    for (size_t i = 0; i < sizeof cuts / sizeof cuts[0]; i++) {
        columns c = columns_of(cuts[i], done);
        float *from = memory((size_t)(STREAMS * MOST_LAUNCH * in_floats) * sizeof *from);
        float *to = memory((size_t)(STREAMS * MOST_LAUNCH * out_floats) * sizeof *to);
        for (int k = 0; k < *c.live; k++) {
            memcpy(from + k * in_floats, in + (c.stream[k] * MOST_FRAMES + c.frame[k]) * in_floats,
                   (size_t)in_floats * sizeof *from);
        }
        launch(&c, from, to, argument);
        for (int k = 0; k < *c.live; k++) {
            memcpy(out + (c.stream[k] * MOST_FRAMES + c.frame[k]) * out_floats, to + k * out_floats,
                   (size_t)out_floats * sizeof *out);
        }
        for (int s = 0; s < STREAMS; s++) {
            done[s] += cuts[i][s];
        }
        free(from);
        free(to);
        close_columns(&c);
    }
    close_states();
}

/* ---- Convolutions ---- */

typedef struct shape {
    int taps, dilation, in, out, rate, becomes;
    bool half, with_norm, with_rest; /* scale, what is added, sums */
    int across, threads;
} shape;

typedef struct convolution {
    shape shape;
    float *w, *bias, *norm, *scale, *add, *frequency, *gain; /* w [taps * in][out] */
    void *packed;
    int panel;
} convolution;

static int panel_of(int out) { return out > 16 ? 32 : out > 8 ? 16 : out > 1 ? 8 : 1; }

static double silu(double x) { return x / (1 + exp(-x)); }

/* The weights as the kernel takes them; those that are rounded are rounded in `w`, too. */
static void *pack(const shape *s, float *w, int panel) {
    const bool gates = s->becomes == TMB_CONVOLVE_GATE;
    const int depth = s->taps * s->in, half = s->out, outputs = gates ? (s->out + 15) / 16 * 32 : s->out;
    const int panels = (outputs + panel - 1) / panel;
    float *packed = memory((size_t)(panels * panel * depth) * sizeof *packed);
    uint16_t *halves = (uint16_t *)(void *)packed;
    for (int k = 0; k < depth; k++) {
        for (int o = 0; o < panels * panel; o++) {
            const int own = gates ? o / 32 * 16 + o % 16 : o, width = gates ? 2 * half : half;
            const int64_t at = ((int64_t)(o / panel) * depth + k) * panel + o % panel;
            if (own >= half) {
                continue;
            }
            float *value = &w[k * width + own + (gates && o % 32 >= 16 ? half : 0)];
            if (s->half) {
                halves[at] = FLOAT_TO_HALF(*value);
                *value = HALF_TO_FLOAT(halves[at]);
            } else {
                packed[at] = *value;
            }
        }
    }
    return packed;
}

static void launch_convolution(const columns *c, const float *in, float *out, void *argument) {
    const convolution *v = argument;
    const shape *s = &v->shape;
    const int rows = (s->taps - 1) * s->dilation, group = 32 / v->panel * TMB_CONVOLVE_ROWS;
    const tmb_gpu_plane plane = {
        .rows = (float *)(uintptr_t)in, .history = 8, .width = s->in, .rate = s->rate, .history_rows = rows};
    tmb_gpu_plane *table = memory(sizeof *table);
    *table = plane;
    float *sums = memory((size_t)(*c->live * s->rate * s->out) * sizeof *sums);
    const tmb_convolve_arguments a = {.columns = c->frames,
                                      .from = plane,
                                      .weights = v->packed,
                                      .norm = s->with_norm ? v->norm : NULL,
                                      .bias = s->becomes == TMB_CONVOLVE_GATE ? NULL : v->bias,
                                      .scale = s->with_rest ? v->scale : NULL,
                                      .add = s->with_rest ? sums : NULL,
                                      .sum = s->with_rest ? sums : NULL,
                                      .out = out,
                                      .frequency = v->frequency,
                                      .gain = v->gain,
                                      .taps = s->taps,
                                      .dilation = s->dilation,
                                      .outputs = s->out,
                                      .panel_outputs = v->panel,
                                      .across = s->across,
                                      .half = s->half,
                                      .becomes = s->becomes,
                                      .channels = s->out % 2 == 0 ? s->out / 2 : s->out,
                                      .eps = 1e-5f};
    const int panels = s->becomes == TMB_CONVOLVE_GATE ? (s->out + 15) / 16 : (s->out + v->panel - 1) / v->panel;
    for (int i = 0; s->with_rest && i < *c->live * s->rate * s->out; i++) {
        sums[i] = 0.25f;
    }
    run(run_tmb_convolve, (unsigned)((panels + s->across - 1) / s->across),
        (unsigned)((*c->live * s->rate + group - 1) / group + 1), s->threads, &a);
    if (rows > 0) {
        const tmb_keep_history_arguments keep = {c->frames, table};
        run(run_tmb_keep_history, 1, (unsigned)(*c->live + 1), 32, &keep);
    }
    free(sums);
    free(table);
}

static double expected_value(const convolution *v, const float *in, int row, int o) {
    const shape *s = &v->shape;
    const int width = s->becomes == TMB_CONVOLVE_GATE ? 2 * s->out : s->out;
    double sum = s->becomes == TMB_CONVOLVE_GATE ? 0 : v->bias[o % s->out];
    for (int p = 0; p < s->taps; p++) {
        const int from = row - (s->taps - 1 - p) * s->dilation;
        double square = 0;
        for (int i = 0; from >= 0 && i < s->in; i++) {
            square += (double)in[from * s->in + i] * in[from * s->in + i];
        }
        for (int i = 0; from >= 0 && i < s->in; i++) {
            const double norm = s->with_norm ? v->norm[i] / sqrt(square / s->in + 1e-5) : 1;
            sum += in[from * s->in + i] * norm * v->w[(p * s->in + i) * width + o];
        }
    }
    return s->with_rest ? sum * v->scale[o] + 0.25 : sum;
}

static double expected_output(const convolution *v, const float *in, int row, int o) {
    const shape *s = &v->shape;
    const double value = expected_value(v, in, row, o);
    const int channel = o % (s->out % 2 == 0 ? s->out / 2 : s->out);
    const double sine = sin(value * v->frequency[channel]);
    switch (s->becomes) {
    case TMB_CONVOLVE_SNAKE: return value + sine * sine * v->gain[channel];
    case TMB_CONVOLVE_GELU: return value * (1 + erf(value / sqrt(2))) / 2;
    case TMB_CONVOLVE_GATE: return silu(value) * expected_value(v, in, row, o + s->out);
    case TMB_CONVOLVE_CLAMP: return value > 1 ? 1 : value < -1 ? -1 : value;
    default: return value;
    }
}

static void check_convolution(shape s) {
    const int floats_in = s.rate * s.in, floats_out = s.rate * s.out;
    convolution v = {.shape = s,
                     .w = floats((size_t)(s.taps * s.in * 2 * s.out)),
                     .bias = floats((size_t)s.out),
                     .norm = floats((size_t)s.in),
                     .scale = floats((size_t)s.out),
                     .frequency = floats((size_t)s.out),
                     .gain = floats((size_t)s.out),
                     .panel = s.becomes == TMB_CONVOLVE_GATE ? 32 : panel_of(s.out)};
    v.packed = pack(&s, v.w, v.panel);
    float *in = floats((size_t)(STREAMS * MOST_FRAMES * floats_in));
    float *out = memory((size_t)(STREAMS * MOST_FRAMES * floats_out) * sizeof *out);
    double *expected = memory((size_t)(STREAMS * MOST_FRAMES * floats_out) * sizeof *expected);
    run_cuts(launch_convolution, in, floats_in, out, floats_out, &v);
    for (int stream = 0; stream < STREAMS; stream++) {
        for (int row = 0; row < MOST_FRAMES * s.rate; row++) {
            for (int o = 0; o < s.out; o++) {
                expected[(stream * MOST_FRAMES * s.rate + row) * s.out + o] =
                    expected_output(&v, in + stream * MOST_FRAMES * floats_in, row, o);
            }
        }
    }
    char what[80];
    (void)snprintf(what, sizeof what, "convolution of %d taps, %d to %d, %d rows, becomes %d", s.taps, s.in, s.out,
                   s.rate, s.becomes);
    compare(what, out, expected, (size_t)(STREAMS * MOST_FRAMES * floats_out), 3e-6);
    void *all[] = {v.w, v.bias, v.norm, v.scale, v.frequency, v.gain, v.packed, in, out, expected};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        free(all[i]);
    }
}

static void check_convolutions(void) {
    check_convolution((shape){.taps = 1, .dilation = 1, .in = 21, .out = 45, .rate = 1, .across = 1, .threads = 32});
    check_convolution((shape){.taps = 3, .dilation = 1, .in = 150, .out = 20, .rate = 1, .across = 1, .threads = 128});
    check_convolution((shape){.taps = 7,
                              .dilation = 3,
                              .in = 12,
                              .out = 12,
                              .rate = 5,
                              .across = 1,
                              .threads = 32,
                              .becomes = TMB_CONVOLVE_SNAKE});
    check_convolution((shape){.taps = 7,
                              .dilation = 9,
                              .in = 6,
                              .out = 6,
                              .rate = 2,
                              .across = 1,
                              .threads = 32,
                              .half = true,
                              .becomes = TMB_CONVOLVE_SNAKE,
                              .with_rest = true});
    check_convolution((shape){.taps = 2,
                              .dilation = 1,
                              .in = 33,
                              .out = 70,
                              .rate = 3,
                              .across = 3,
                              .threads = 96,
                              .becomes = TMB_CONVOLVE_GELU});
    check_convolution((shape){.taps = 7,
                              .dilation = 1,
                              .in = 5,
                              .out = 1,
                              .rate = 40,
                              .across = 1,
                              .threads = 32,
                              .becomes = TMB_CONVOLVE_CLAMP});
    check_convolution((shape){.taps = 1,
                              .dilation = 1,
                              .in = 30,
                              .out = 19,
                              .rate = 1,
                              .across = 1,
                              .threads = 128,
                              .with_norm = true,
                              .becomes = TMB_CONVOLVE_GATE});
    check_convolution((shape){.taps = 1,
                              .dilation = 1,
                              .in = 40,
                              .out = 33,
                              .rate = 1,
                              .across = 1,
                              .threads = 64,
                              .half = true,
                              .with_norm = true,
                              .with_rest = true});
}

/* ---- Depthwise ---- */

enum { DEPTHWISE_WIDTH = 70, DEPTHWISE_RATE = 2 };

static float *depthwise_vectors[4]; /* weights, bias, norm, its bias */

static void launch_depthwise(const columns *c, const float *in, float *out, void *argument) {
    const int threads = *(int *)argument;
    const tmb_gpu_plane plane = {.rows = (float *)(uintptr_t)in,
                                 .history = 16,
                                 .width = DEPTHWISE_WIDTH,
                                 .rate = DEPTHWISE_RATE,
                                 .history_rows = 6};
    tmb_gpu_plane *table = memory(sizeof *table);
    *table = plane;
    const tmb_depthwise_norm_arguments a = {.columns = c->frames,
                                            .from = plane,
                                            .weights = depthwise_vectors[0],
                                            .bias = depthwise_vectors[1],
                                            .norm = depthwise_vectors[2],
                                            .norm_bias = depthwise_vectors[3],
                                            .out = out,
                                            .taps = 7,
                                            .eps = 1e-6f};
    run(run_tmb_depthwise_norm, (unsigned)(*c->live * DEPTHWISE_RATE + 1), 1, threads, &a);
    const tmb_keep_history_arguments keep = {c->frames, table};
    run(run_tmb_keep_history, 1, (unsigned)*c->live, 32, &keep);
    free(table);
}

static void check_depthwise(int threads) {
    enum { WIDTH = DEPTHWISE_WIDTH, ROWS = MOST_FRAMES * DEPTHWISE_RATE };
    float *in = floats(STREAMS * ROWS * WIDTH), *out = memory(STREAMS * ROWS * WIDTH * sizeof *out);
    double *expected = memory(STREAMS * ROWS * WIDTH * sizeof *expected);
    for (int i = 0; i < 4; i++) {
        depthwise_vectors[i] = floats(i == 0 ? 7 * WIDTH : WIDTH);
    }
    run_cuts(launch_depthwise, in, DEPTHWISE_RATE * WIDTH, out, DEPTHWISE_RATE * WIDTH, &threads);
    for (int row = 0; row < STREAMS * ROWS; row++) {
        double *to = expected + row * WIDTH, mean = 0, square = 0;
        for (int k = 0; k < WIDTH; k++) {
            to[k] = depthwise_vectors[1][k];
            for (int p = 0; p < 7; p++) {
                const int back = 6 - p;
                to[k] += row % ROWS >= back ? in[(row - back) * WIDTH + k] * depthwise_vectors[0][p * WIDTH + k] : 0;
            }
            mean += to[k] / WIDTH;
        }
        for (int k = 0; k < WIDTH; k++) {
            square += (to[k] - mean) * (to[k] - mean) / WIDTH;
        }
        for (int k = 0; k < WIDTH; k++) {
            to[k] = (to[k] - mean) / sqrt(square + 1e-6) * depthwise_vectors[2][k] + depthwise_vectors[3][k];
        }
    }
    compare("depthwise convolution", out, expected, STREAMS * ROWS * WIDTH, 2e-6);
    for (int i = 0; i < 4; i++) {
        free(depthwise_vectors[i]);
    }
    free(in);
    free(out);
    free(expected);
}

/* ---- Attention ---- */

typedef struct attention {
    int heads, key_heads, size, window, threads;
} attention;

static void launch_attention(const columns *c, const float *in, float *out, void *argument) {
    const attention *t = argument;
    const int ring = t->window - 1 + MOST_LAUNCH;
    float *angles = memory((size_t)(*c->live * t->size) * sizeof *angles);
    for (int k = 0; k < *c->live; k++) {
        for (int i = 0; i < t->size / 2; i++) {
            angles[k * t->size + i] = (float)cos(c->frame[k] * 0.3 / (i + 1));
            angles[k * t->size + t->size / 2 + i] = (float)sin(c->frame[k] * 0.3 / (i + 1));
        }
    }
    const tmb_codec_attend_arguments a = {.columns = c->frames,
                                          .qkv = in,
                                          .angles = angles,
                                          .out = out,
                                          .keys = 4,
                                          .values = 4 + (int64_t)ring * t->key_heads * t->size,
                                          .heads = t->heads,
                                          .key_heads = t->key_heads,
                                          .head_dim = t->size,
                                          .window = t->window,
                                          .ring = ring,
                                          .scale = 0.7f};
    run(run_tmb_codec_attend, (unsigned)t->key_heads, (unsigned)(*c->live + 1), t->threads, &a);
    free(angles);
}

static double rotated(const float *from, int size, int frame, int k) {
    const int half = size / 2, i = k % half;
    const double angle = frame * 0.3 / (i + 1);
    return k < half ? from[k] * cos(angle) - from[k + half] * sin(angle)
                    : from[k] * cos(angle) + from[k - half] * sin(angle);
}

static void check_attention(attention t) {
    const int width = (t.heads + 2 * t.key_heads) * t.size, outs = t.heads * t.size;
    float *in = floats((size_t)(STREAMS * MOST_FRAMES * width));
    float *out = memory((size_t)(STREAMS * MOST_FRAMES * outs) * sizeof *out);
    double *expected = memory((size_t)(STREAMS * MOST_FRAMES * outs) * sizeof *expected);
    run_cuts(launch_attention, in, width, out, outs, &t);
    for (int i = 0; i < STREAMS * MOST_FRAMES * t.heads; i++) {
        const int head = i % t.heads, row = i / t.heads, frame = row % MOST_FRAMES;
        const int key_head = t.heads + head / (t.heads / t.key_heads);
        double weights[MOST_FRAMES], total = 0;
        for (int j = frame + 1 > t.window ? frame + 1 - t.window : 0; j <= frame; j++) {
            const float *other = in + (row - frame + j) * width + key_head * t.size;
            double dot = 0;
            for (int k = 0; k < t.size; k++) {
                dot += rotated(in + row * width + head * t.size, t.size, frame, k) * rotated(other, t.size, j, k);
            }
            total += weights[j] = exp(dot * 0.7);
        }
        for (int k = 0; k < t.size; k++) {
            double sum = 0;
            for (int j = frame + 1 > t.window ? frame + 1 - t.window : 0; j <= frame; j++) {
                sum += weights[j] * in[(row - frame + j) * width + (key_head + t.key_heads) * t.size + k];
            }
            expected[i * t.size + k] = sum / total;
        }
    }
    compare("the codec's attention", out, expected, (size_t)(STREAMS * MOST_FRAMES * outs), 2e-6);
    free(in);
    free(out);
    free(expected);
}

/* ---- Codes ---- */

static void check_codes(void) {
    enum { BOOKS = 5, SEMANTIC = 2, SIZE = 9, WIDTH = 70, HALF = 5 };
    static const int counts[STREAMS] = {1, 2, 1}, done[STREAMS] = {0, 5, 100000};
    open_states();
    columns c = columns_of(counts, done);
    const int count = *c.live;
    int16_t *codes = memory((size_t)count * BOOKS * sizeof *codes);
    float *entries = floats(BOOKS * SIZE * WIDTH), *frequencies = floats(HALF);
    float *sums = memory((size_t)count * 2 * WIDTH * sizeof *sums);
    float *angles = memory((size_t)count * 2 * HALF * sizeof *angles);
    double *expected = memory((size_t)count * 2 * WIDTH * sizeof *expected);
    for (int i = 0; i < count * BOOKS; i++) {
        codes[i] = (int16_t)(i * 5 % SIZE);
        for (int k = 0; k < WIDTH; k++) {
            expected[i / BOOKS * 2 * WIDTH + (i % BOOKS < SEMANTIC ? 0 : WIDTH) + k] +=
                entries[(i % BOOKS * SIZE + codes[i]) * WIDTH + k];
        }
    }
    for (int i = 0; i < HALF; i++) {
        frequencies[i] = fabsf(frequencies[i]);
    }
    const tmb_codec_codes_arguments a = {.columns = c.frames,
                                         .codes = codes,
                                         .entries = entries,
                                         .frequencies = frequencies,
                                         .sums = sums,
                                         .angles = angles,
                                         .books = BOOKS,
                                         .semantic = SEMANTIC,
                                         .size = SIZE,
                                         .width = WIDTH,
                                         .half = HALF};
    run(run_tmb_codec_codes, (unsigned)count + 1, 1, 64, &a);
    compare("sums of entries", sums, expected, (size_t)(count * 2 * WIDTH), 1e-6);
    for (int i = 0; i < count; i++) {
        for (int k = 0; k < HALF; k++) {
            const double angle = (double)c.frame[i] * (double)frequencies[k];
            expected[i * 2 * HALF + k] = cos(angle);
            expected[i * 2 * HALF + HALF + k] = sin(angle);
        }
    }
    compare("angles", angles, expected, (size_t)(count * 2 * HALF), 1e-7);
    void *all[] = {codes, entries, frequencies, sums, angles, expected};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        free(all[i]);
    }
    close_columns(&c);
    close_states();
}

static void check_all(void) {
    check_convolutions();
    check_depthwise(32);
    check_depthwise(96);
    check_attention((attention){4, 2, 10, 5, 64});
    check_attention((attention){2, 2, 40, 3, 32});
    check_attention((attention){3, 1, 6, 9, 128});
    check_codes();
}

int main(void) { return test_main(check_all); }
