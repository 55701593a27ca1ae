/* Spectrograms of streams of any length in constant memory, and the picture of two of them. */
#ifndef TIMBRE_CLI_SPECTROGRAM_H
#define TIMBRE_CLI_SPECTROGRAM_H

#include "timbre/timbre.h"

#include <stdbool.h>
#include <stddef.h>

enum {
    CLI_SPECTROGRAM_ROWS = 256,  /* equal steps of frequency from 0 */
    CLI_SPECTROGRAM_WIDTH = 1000 /* columns that are kept at least, once there are as many */
};

typedef struct cli_spectrogram cli_spectrogram;

/* Rows reach from 0 to `top` Hz; rows above half of `rate` stay silent. NULL: no memory. */
cli_spectrogram *cli_spectrogram_create(int rate, double top);
/* `count` samples per channel, interleaved; the channels are averaged. */
void cli_spectrogram_push(cli_spectrogram *spectrogram, const float *samples, size_t count, int channels);
/* Columns so far, and how many seconds one spans. */
size_t cli_spectrogram_columns(const cli_spectrogram *spectrogram, double *column_seconds);
/* Mean power of one cell. */
float cli_spectrogram_power(const cli_spectrogram *spectrogram, size_t column, size_t row);
double cli_spectrogram_top(const cli_spectrogram *spectrogram);
void cli_spectrogram_destroy(cli_spectrogram **spectrogram);

/* Draws both, one above the other, over the same seconds and with the same colours, as a PNG; false:
 * said why. */
bool cli_plot_write(const char *path, const cli_spectrogram *before, const cli_spectrogram *after, tmb_error *error);

/* One character in a cell of 5 x 7 points: bit 4 of a row is its left point. Characters that the
 * pictures do not use are blank. */
enum { CLI_FONT_WIDTH = 5, CLI_FONT_HEIGHT = 7 };
unsigned cli_font_row(char character, int row);

#endif
