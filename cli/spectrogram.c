#include "spectrogram.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAXIMUM_COLUMNS = 2 * CLI_SPECTROGRAM_WIDTH, MAXIMUM_SIZE = 8192 };

static const double pi = 3.14159265358979323846;

struct cli_spectrogram {
    int rate;
    double top;
    size_t size, hop;        /* samples of a window, and from one to the next */
    size_t filled;           /* samples in `window` */
    float *window;           /* [size] the newest samples */
    float *shape;            /* [size] Hann, scaled to unit power */
    float *real, *imaginary; /* [size] */
    float *twiddle;          /* [size] cosines, then sines, of 2 pi k / size, k < size / 2 */
    float *cells;            /* [MAXIMUM_COLUMNS, CLI_SPECTROGRAM_ROWS] power */
    float *pending;          /* [CLI_SPECTROGRAM_ROWS] the sum of the windows in the column that is being made */
    size_t merged;           /* windows that make a column: a power of two */
    size_t pending_count;
    size_t columns;
};

cli_spectrogram *cli_spectrogram_create(int rate, double top) {
    cli_spectrogram *s = calloc(1, sizeof *s);
    if (s == NULL) {
        return NULL;
    }
    /* About 21 ms at every rate. */
    s->rate = rate;
    s->top = top;
    s->size = 128;
    while (s->size < MAXIMUM_SIZE && (double)s->size < 0.016 * rate) {
        s->size *= 2;
    }
    s->hop = s->size / 8;
    s->merged = 1;
    /* The first window is centred on the first sample, half of it silence. */
    s->filled = s->size / 2;
    s->window = calloc(s->size, sizeof(float));
    s->shape = calloc(s->size, sizeof(float));
    s->real = calloc(s->size, sizeof(float));
    s->imaginary = calloc(s->size, sizeof(float));
    s->twiddle = calloc(s->size, sizeof(float));
    s->cells = malloc(MAXIMUM_COLUMNS * CLI_SPECTROGRAM_ROWS * sizeof(float));
    s->pending = calloc(CLI_SPECTROGRAM_ROWS, sizeof(float));
    if (s->window == NULL || s->shape == NULL || s->real == NULL || s->imaginary == NULL || s->twiddle == NULL ||
        s->cells == NULL || s->pending == NULL) {
        cli_spectrogram_destroy(&s);
        return NULL;
    }
    double scale = sqrt(8.0 / 3.0) / (double)s->size; /* the mean square of a Hann window is 3 / 8 */
    for (size_t i = 0; i < s->size; i++) {
        s->shape[i] = (float)(scale * (0.5 - 0.5 * cos(2 * pi * (double)i / (double)s->size)));
    }
    for (size_t k = 0; k < s->size / 2; k++) {
        s->twiddle[k] = (float)cos(2 * pi * (double)k / (double)s->size);
        s->twiddle[s->size / 2 + k] = (float)-sin(2 * pi * (double)k / (double)s->size);
    }
    return s;
}

void cli_spectrogram_destroy(cli_spectrogram **spectrogram) {
    cli_spectrogram *s = *spectrogram;
    if (s == NULL) {
        return;
    }
    free(s->window);
    free(s->shape);
    free(s->real);
    free(s->imaginary);
    free(s->twiddle);
    free(s->cells);
    free(s->pending);
    free(s);
    *spectrogram = NULL;
}

/* In place, decimation in time, radix 2. */
static void transform(const cli_spectrogram *s) {
    float *re = s->real, *im = s->imaginary;
    size_t n = s->size;
    for (size_t i = 1, j = 0; i < n; i++) {
        size_t bit = n >> 1;
        for (; (j & bit) != 0; bit >>= 1) {
            j ^= bit;
        }
        j ^= bit;
        if (i < j) {
            float swap = re[i];
            re[i] = re[j];
            re[j] = swap;
        }
    }
    for (size_t half = 1; half < n; half *= 2) {
        size_t step = n / (2 * half);
        for (size_t start = 0; start < n; start += 2 * half) {
            for (size_t k = 0; k < half; k++) {
                float c = s->twiddle[k * step], d = s->twiddle[n / 2 + k * step];
                size_t a = start + k, b = a + half;
                float x = re[b] * c - im[b] * d, y = re[b] * d + im[b] * c;
                re[b] = re[a] - x;
                im[b] = im[a] - y;
                re[a] += x;
                im[a] += y;
            }
        }
    }
}

/* Halves the number of columns: each is the mean of two from now on. */
static void merge_columns(cli_spectrogram *s) {
    for (size_t c = 0; c < s->columns / 2; c++) {
        for (size_t r = 0; r < CLI_SPECTROGRAM_ROWS; r++) {
            s->cells[c * CLI_SPECTROGRAM_ROWS + r] =
                0.5F * (s->cells[2 * c * CLI_SPECTROGRAM_ROWS + r] + s->cells[(2 * c + 1) * CLI_SPECTROGRAM_ROWS + r]);
        }
    }
    s->columns /= 2;
    s->merged *= 2;
}

static void add_window(cli_spectrogram *s) {
    for (size_t i = 0; i < s->size; i++) {
        s->real[i] = s->window[i] * s->shape[i];
    }
    memset(s->imaginary, 0, s->size * sizeof(float));
    transform(s);
    double bins_per_row = s->top / CLI_SPECTROGRAM_ROWS * (double)s->size / s->rate;
    for (size_t r = 0; r < CLI_SPECTROGRAM_ROWS; r++) {
        /* The bins whose centres lie in the row, or the nearest one if rows are finer than bins. */
        size_t first = (size_t)(bins_per_row * (double)r + 0.5), end = (size_t)(bins_per_row * (double)(r + 1) + 0.5);
        float power = 0;
        if (end <= first) {
            end = first + 1;
        }
        for (size_t k = first; k < end && k <= s->size / 2; k++) {
            power += s->real[k] * s->real[k] + s->imaginary[k] * s->imaginary[k];
        }
        s->pending[r] += power / (float)(end - first);
    }
    if (++s->pending_count < s->merged) {
        return;
    }
    if (s->columns == MAXIMUM_COLUMNS) {
        merge_columns(s);
        if (s->pending_count < s->merged) {
            return;
        }
    }
    for (size_t r = 0; r < CLI_SPECTROGRAM_ROWS; r++) {
        s->cells[s->columns * CLI_SPECTROGRAM_ROWS + r] = s->pending[r] / (float)s->pending_count;
    }
    memset(s->pending, 0, CLI_SPECTROGRAM_ROWS * sizeof(float));
    s->pending_count = 0;
    s->columns++;
}

void cli_spectrogram_push(cli_spectrogram *s, const float *samples, size_t count, int channels) {
    for (size_t i = 0; i < count; i++) {
        float sum = 0;
        for (int c = 0; c < channels; c++) {
            sum += samples[i * (size_t)channels + (size_t)c];
        }
        s->window[s->filled++] = sum / (float)channels;
        if (s->filled < s->size) {
            continue;
        }
        add_window(s);
        memmove(s->window, s->window + s->hop, (s->size - s->hop) * sizeof(float));
        s->filled -= s->hop;
    }
}

size_t cli_spectrogram_columns(const cli_spectrogram *s, double *column_seconds) {
    *column_seconds = (double)(s->hop * s->merged) / s->rate;
    return s->columns;
}

float cli_spectrogram_power(const cli_spectrogram *s, size_t column, size_t row) {
    return s->cells[column * CLI_SPECTROGRAM_ROWS + row];
}

double cli_spectrogram_top(const cli_spectrogram *s) { return s->top; }
