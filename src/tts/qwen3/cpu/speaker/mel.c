#include "tts/qwen3/cpu/speaker/mel.h"

#include "base/error.h"
#include "base/memory.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define RATE 24000.0
#define FRAME 1024
#define HOP 256
#define REFLECTED 384 /* (FRAME - HOP) / 2 */
#define HALF (FRAME / 2)
#define BINS (HALF + 1)
#define PI 3.14159265358979323846

typedef struct complex_value {
    double re, im;
} complex_value;

typedef struct triangle {
    size_t first, count; /* bins with weight */
    size_t offset;       /* of its weights */
} triangle;

struct tmb_mel {
    size_t bands;
    double window[FRAME];
    complex_value roots[HALF]; /* exp(-2 pi i k / FRAME) */
    size_t reversed[HALF];     /* bit reversal of HALF values */
    triangle *triangles;       /* [bands] */
    float *weights;
};

/* Slaney's scale: linear below 1 kHz, logarithmic above. */
static double mel_to_hertz(double mel) {
    return mel < 15 ? mel * 200.0 / 3.0 : 1000.0 * exp((mel - 15) * log(6.4) / 27.0);
}

static double hertz_to_mel(double hertz) {
    return hertz < 1000 ? hertz * 3.0 / 200.0 : 15.0 + log(hertz / 1000.0) * 27.0 / log(6.4);
}

/* Weight of a bin in the triangle with these corners, its area being 1 Hz. */
static double triangle_weight(double hertz, const double corners[3]) {
    double rising = (hertz - corners[0]) / (corners[1] - corners[0]);
    double falling = (corners[2] - hertz) / (corners[2] - corners[1]);
    double weight = rising < falling ? rising : falling;
    return weight > 0 ? weight * 2 / (corners[2] - corners[0]) : 0;
}

tmb_status tmb_mel_create(size_t bands, tmb_mel **out, tmb_error *error) {
    *out = NULL;
    tmb_mel *mel = tmb_calloc(1, sizeof *mel);
    if (mel != NULL) {
        mel->bands = bands;
        mel->triangles = tmb_calloc(bands, sizeof *mel->triangles);
        mel->weights = tmb_calloc(bands, BINS * sizeof *mel->weights);
    }
    if (mel == NULL || mel->triangles == NULL || mel->weights == NULL) {
        tmb_mel_destroy(&mel);
        return tmb_fail_memory(error, "the mel filters", bands * BINS * sizeof(float));
    }
    for (size_t i = 0; i < FRAME; i++) {
        mel->window[i] = 0.5 - 0.5 * cos(2 * PI * (double)i / FRAME);
    }
    for (size_t i = 0; i < HALF; i++) {
        mel->roots[i] = (complex_value){cos(2 * PI * (double)i / FRAME), -sin(2 * PI * (double)i / FRAME)};
        for (size_t bit = 1, from = i; bit < HALF; bit *= 2, from /= 2) {
            mel->reversed[i] = 2 * mel->reversed[i] + (from & 1);
        }
    }
    double highest = hertz_to_mel(RATE / 2);
    size_t used = 0;
    for (size_t band = 0; band < bands; band++) {
        double corners[3];
        for (size_t i = 0; i < 3; i++) {
            corners[i] = mel_to_hertz(highest * (double)(band + i) / (double)(bands + 1));
        }
        triangle *t = &mel->triangles[band];
        t->offset = used;
        for (size_t bin = 0; bin < BINS; bin++) {
            double weight = triangle_weight((double)bin * RATE / FRAME, corners);
            if (weight > 0) {
                t->first = t->count == 0 ? bin : t->first;
                t->count++;
                mel->weights[used++] = (float)weight;
            }
        }
    }
    *out = mel;
    return TMB_OK;
}

void tmb_mel_destroy(tmb_mel **address) {
    tmb_mel *mel = *address;
    *address = NULL;
    if (mel != NULL) {
        free(mel->triangles);
        free(mel->weights);
        free(mel);
    }
}

size_t tmb_mel_frames(size_t count) { return count / HOP; }

size_t tmb_mel_bytes(size_t count, size_t bands) {
    return (tmb_mel_frames(count) * bands + count + 2 * REFLECTED) * sizeof(float);
}

/* Discrete Fourier transform of HALF complex values, decimation in time; input in bit-reversed places. */
static void transform(const tmb_mel *mel, complex_value *x) {
    for (size_t size = 2; size <= HALF; size *= 2) {
        size_t step = FRAME / size;
        for (size_t block = 0; block < HALF; block += size) {
            for (size_t k = 0; k < size / 2; k++) {
                const complex_value root = mel->roots[k * step];
                complex_value *low = &x[block + k];
                complex_value *high = low + size / 2;
                double re = high->re * root.re - high->im * root.im;
                double im = high->re * root.im + high->im * root.re;
                *high = (complex_value){low->re - re, low->im - im};
                *low = (complex_value){low->re + re, low->im + im};
            }
        }
    }
}

/* Magnitudes of a windowed frame: two real values to a complex one, taken apart afterwards. */
static void magnitudes(const tmb_mel *mel, const float *frame, float *out) {
    complex_value x[HALF];
    for (size_t i = 0; i < HALF; i++) {
        size_t to = mel->reversed[i];
        x[to].re = (double)frame[2 * i] * mel->window[2 * i];
        x[to].im = (double)frame[2 * i + 1] * mel->window[2 * i + 1];
    }
    transform(mel, x);
    for (size_t k = 0; k <= HALF; k++) {
        const complex_value a = x[k % HALF];
        const complex_value b = x[(HALF - k) % HALF];
        const complex_value root = k < HALF ? mel->roots[k] : (complex_value){-1, 0};
        double even_re = (a.re + b.re) / 2;
        double even_im = (a.im - b.im) / 2;
        double odd_re = (a.im + b.im) / 2;
        double odd_im = (b.re - a.re) / 2;
        double re = even_re + odd_re * root.re - odd_im * root.im;
        double im = even_im + odd_re * root.im + odd_im * root.re;
        out[k] = (float)sqrt(re * re + im * im + 1e-9);
    }
}

typedef struct job {
    const tmb_mel *mel;
    const float *padded;
    size_t frames;
    float *out;
} job;

static void compute_part(void *argument, int part, int parts) {
    const job *j = argument;
    size_t bands = j->mel->bands;
    size_t end = tmb_team_begin(j->frames, 1, part + 1, parts);
    for (size_t frame = tmb_team_begin(j->frames, 1, part, parts); frame < end; frame++) {
        float spectrum[BINS];
        magnitudes(j->mel, j->padded + frame * HOP, spectrum);
        for (size_t band = 0; band < bands; band++) {
            const triangle *t = &j->mel->triangles[band];
            float sum = 0;
            for (size_t i = 0; i < t->count; i++) {
                sum += spectrum[t->first + i] * j->mel->weights[t->offset + i];
            }
            j->out[frame * bands + band] = logf(fmaxf(sum, 1e-5f));
        }
    }
}

tmb_status tmb_mel_compute(const tmb_mel *mel, tmb_team *team, const float *samples, size_t count, float *out,
                           tmb_error *error) {
    float *padded = tmb_calloc(count + 2 * REFLECTED, sizeof *padded);
    if (padded == NULL) {
        return tmb_fail_memory(error, "the mel spectrogram", (count + 2 * REFLECTED) * sizeof *padded);
    }
    for (size_t i = 0; i < REFLECTED; i++) {
        padded[i] = samples[REFLECTED - i];
        padded[REFLECTED + count + i] = samples[count - 2 - i];
    }
    memcpy(padded + REFLECTED, samples, count * sizeof *padded);
    job j = {mel, padded, tmb_mel_frames(count), out};
    tmb_team_run(team, compute_part, &j);
    free(padded);
    return TMB_OK;
}
