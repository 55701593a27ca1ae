#include "tts/preview/pitch.h"

#include "base/error.h"
#include "base/memory.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define LOWEST 60.0   /* Hz */
#define HIGHEST 500.0 /* Hz */
/* The rate that it works at is at least this, and less than twice. */
#define WORKING_RATE 8000
#define MAX_SECONDS 60
/* A frame whose difference function does not dip below this share of its mean has no pitch. */
#define APERIODIC 0.15
/* Frames this far (in power) below the loudest are pauses. */
#define QUIET 1e-3

/* Means of `factor` samples: enough of a low-pass for the first harmonics of speech. */
static float *decimate(const float *samples, size_t count, int factor, size_t *out_count) {
    *out_count = count / (size_t)factor;
    float *out = tmb_calloc(*out_count, sizeof *out);
    for (size_t i = 0; out != NULL && i < *out_count; i++) {
        double sum = 0;
        for (int k = 0; k < factor; k++) {
            sum += samples[i * (size_t)factor + (size_t)k];
        }
        out[i] = (float)(sum / factor);
    }
    return out;
}

/* Where the parabola through three neighbours has its least value, as an offset from the middle one. */
static double parabola(double left, double middle, double right) {
    double bend = left - 2 * middle + right;
    return bend <= 0 ? 0 : 0.5 * (left - right) / bend;
}

/* The period of a frame in samples, or 0. `x` has window + longest samples; `difference` [longest + 1]. */
static double find_period(const float *x, size_t window, size_t shortest, size_t longest, double *difference) {
    difference[0] = 1;
    double sum = 0;
    for (size_t lag = 1; lag <= longest; lag++) {
        double d = 0;
        for (size_t i = 0; i < window; i++) {
            double e = (double)x[i] - (double)x[i + lag];
            d += e * e;
        }
        sum += d;
        difference[lag] = sum > 0 ? d * (double)lag / sum : 1;
    }
    for (size_t lag = shortest; lag < longest; lag++) {
        if (difference[lag] < APERIODIC && difference[lag] <= difference[lag + 1]) {
            return (double)lag + parabola(difference[lag - 1], difference[lag], difference[lag + 1]);
        }
    }
    return 0;
}

static double power(const float *x, size_t count) {
    double sum = 0;
    for (size_t i = 0; i < count; i++) {
        sum += (double)x[i] * (double)x[i];
    }
    return sum / (double)count;
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a;
    double y = *(const double *)b;
    return (x > y) - (x < y);
}

static void summarize(double *hertz, size_t voiced, tmb_pitch *out) {
    out->voiced = voiced;
    if (voiced == 0) {
        return;
    }
    qsort(hertz, voiced, sizeof *hertz, compare);
    out->median = hertz[voiced / 2];
    out->semitones = 12 * log2(hertz[(voiced - 1) * 9 / 10] / hertz[(voiced - 1) / 10]);
}

tmb_status tmb_pitch_measure(const float *samples, size_t count, int rate, tmb_pitch *out, tmb_error *error) {
    *out = (tmb_pitch){0};
    if (count > (size_t)rate * MAX_SECONDS) {
        count = (size_t)rate * MAX_SECONDS;
    }
    int factor = rate / WORKING_RATE;
    factor = factor < 1 ? 1 : factor;
    double working = (double)rate / factor;
    size_t shortest = (size_t)(working / HIGHEST);
    size_t longest = (size_t)ceil(working / LOWEST) + 1;
    size_t window = (size_t)(working * 0.025);
    size_t hop = (size_t)(working / 100);
    shortest = shortest < 2 ? 2 : shortest;

    size_t length = 0;
    float *x = decimate(samples, count, factor, &length);
    size_t frames = length < window + longest ? 0 : (length - window - longest) / hop + 1;
    double *hertz = tmb_calloc(frames, sizeof *hertz);
    double *difference = tmb_calloc(longest + 1, sizeof *difference);
    if (x == NULL || hertz == NULL || difference == NULL) {
        free(x);
        free(hertz);
        free(difference);
        return tmb_fail_memory(error, "measuring the pitch", 0);
    }
    double loudest = 0;
    for (size_t i = 0; i < frames; i++) {
        loudest = fmax(loudest, power(x + i * hop, window));
    }
    size_t voiced = 0;
    for (size_t i = 0; i < frames; i++) {
        if (power(x + i * hop, window) <= loudest * QUIET) {
            continue;
        }
        double period = find_period(x + i * hop, window, shortest, longest, difference);
        if (period > 0) {
            hertz[voiced++] = working / period;
        }
    }
    summarize(hertz, voiced, out);
    free(x);
    free(hertz);
    free(difference);
    return TMB_OK;
}
