#include "loudness.h"

#include <math.h>
#include <stdlib.h>

enum {
    MAXIMUM_CHANNELS = 8,
    STEPS = 4,  /* a block of 400 ms is four steps of 100 ms */
    BINS = 1100 /* blocks by loudness, a tenth of a LU each, from -70 LUFS */
};
static const double lowest = -70, bin_width = 0.1;

typedef struct biquad {
    double b0, b1, b2, a1, a2;
} biquad;

struct cli_loudness {
    int channels;
    size_t step_length, step_filled;
    biquad shelf, highpass;
    double state[MAXIMUM_CHANNELS][4]; /* two of each filter, transposed form */
    double steps[STEPS];               /* sums of squares, all channels; the newest last */
    size_t steps_seen;
    double bin_power[BINS]; /* sum of the mean squares of the blocks in it */
    uint64_t bin_count[BINS];
    double squares, peak;
    uint64_t length;
};

/* The two filters of BS.1770 are given at 48 kHz only; these are the analogue ones behind them (a shelf
 * of 4 dB from 1.7 kHz and a high pass at 38 Hz), transformed for any rate. */
static void design(cli_loudness *l, double rate) {
    const double pi = 3.14159265358979323846;
    double k = tan(pi * 1681.974450955533 / rate), q = 0.7071752369554196;
    double high = pow(10, 3.999843853973347 / 20), band = pow(high, 0.4996667741545416);
    double a0 = 1 + k / q + k * k;
    l->shelf = (biquad){(high + band * k / q + k * k) / a0, 2 * (k * k - high) / a0, (high - band * k / q + k * k) / a0,
                        2 * (k * k - 1) / a0, (1 - k / q + k * k) / a0};
    k = tan(pi * 38.13547087602444 / rate);
    q = 0.5003270373238773;
    a0 = 1 + k / q + k * k;
    l->highpass = (biquad){1, -2, 1, 2 * (k * k - 1) / a0, (1 - k / q + k * k) / a0};
}

cli_loudness *cli_loudness_create(int rate, int channels) {
    cli_loudness *l = channels <= MAXIMUM_CHANNELS ? calloc(1, sizeof *l) : NULL;
    if (l == NULL) {
        return NULL;
    }
    l->channels = channels;
    l->step_length = (size_t)rate / 10;
    design(l, rate);
    return l;
}

void cli_loudness_destroy(cli_loudness **loudness) {
    free(*loudness);
    *loudness = NULL;
}

static double filter(const biquad *f, double *state, double x) {
    double y = f->b0 * x + state[0];
    state[0] = f->b1 * x - f->a1 * y + state[1];
    state[1] = f->b2 * x - f->a2 * y;
    return y;
}

static double loudness_of(double power) { return -0.691 + 10 * log10(power); }

static void end_step(cli_loudness *l) {
    l->step_filled = 0;
    if (++l->steps_seen >= STEPS) {
        double power = 0;
        for (int i = 0; i < STEPS; i++) {
            power += l->steps[i];
        }
        power /= (double)(STEPS * l->step_length);
        double bin = power > 0 ? (loudness_of(power) - lowest) / bin_width : -1;
        if (bin >= 0) {
            size_t index = bin < BINS ? (size_t)bin : BINS - 1;
            l->bin_power[index] += power;
            l->bin_count[index]++;
        }
    }
    for (int i = 0; i + 1 < STEPS; i++) {
        l->steps[i] = l->steps[i + 1];
    }
    l->steps[STEPS - 1] = 0;
}

void cli_loudness_push(cli_loudness *l, const float *samples, size_t count) {
    for (size_t i = 0; i < count; i++) {
        for (int c = 0; c < l->channels; c++) {
            double x = samples[i * (size_t)l->channels + (size_t)c];
            l->squares += x * x;
            if (fabs(x) > l->peak) {
                l->peak = fabs(x);
            }
            double y = filter(&l->highpass, l->state[c] + 2, filter(&l->shelf, l->state[c], x));
            l->steps[STEPS - 1] += y * y;
        }
        if (++l->step_filled == l->step_length) {
            end_step(l);
        }
    }
    l->length += count;
}

uint64_t cli_loudness_length(const cli_loudness *l) { return l->length; }

double cli_loudness_peak(const cli_loudness *l) { return 20 * log10(l->peak); }

double cli_loudness_rms(const cli_loudness *l) {
    double samples = (double)l->length * l->channels;
    return samples > 0 ? 10 * log10(l->squares / samples) : -INFINITY;
}

/* Mean power of the blocks from `first` on. */
static double mean_power(const cli_loudness *l, size_t first) {
    double power = 0;
    uint64_t count = 0;
    for (size_t i = first; i < BINS; i++) {
        power += l->bin_power[i];
        count += l->bin_count[i];
    }
    return count > 0 ? power / (double)count : 0;
}

double cli_loudness_integrated(const cli_loudness *l) {
    double absolute = mean_power(l, 0);
    if (absolute <= 0) {
        return -INFINITY;
    }
    /* Blocks more than 10 LU below the mean do not count. */
    double gate = (loudness_of(absolute) - 10 - lowest) / bin_width;
    return loudness_of(mean_power(l, gate > 0 ? (size_t)gate : 0));
}
