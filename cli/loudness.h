/* Level and loudness of a stream in constant memory. */
#ifndef TIMBRE_CLI_LOUDNESS_H
#define TIMBRE_CLI_LOUDNESS_H

#include <stddef.h>
#include <stdint.h>

typedef struct cli_loudness cli_loudness;

/* NULL: no memory. */
cli_loudness *cli_loudness_create(int rate, int channels);
/* `count` samples per channel, interleaved. */
void cli_loudness_push(cli_loudness *loudness, const float *samples, size_t count);
/* Samples per channel so far. */
uint64_t cli_loudness_length(const cli_loudness *loudness);
/* Largest absolute sample, and root mean square, in dB of full scale; -inf for silence. */
double cli_loudness_peak(const cli_loudness *loudness);
double cli_loudness_rms(const cli_loudness *loudness);
/* Integrated loudness in LUFS after ITU-R BS.1770-4; -inf for silence and for less than 0.4 s. All
 * channels weigh the same: files of more than two channels do not say which are the surrounds. */
double cli_loudness_integrated(const cli_loudness *loudness);
void cli_loudness_destroy(cli_loudness **loudness);

#endif
