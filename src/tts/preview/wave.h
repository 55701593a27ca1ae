/* The beginning of the WAV stream that espeak-ng writes: its sizes are not known then, and not looked at. */
#ifndef TMB_TTS_PREVIEW_WAVE_H
#define TMB_TTS_PREVIEW_WAVE_H

#include "timbre/timbre.h"

#define TMB_WAVE_HEADER_MAX 512

typedef enum tmb_wave_result { TMB_WAVE_MORE, TMB_WAVE_DATA, TMB_WAVE_BAD } tmb_wave_result;

/* Looks for the samples in the first `bytes` of a stream: TMB_WAVE_MORE if they are not among them yet;
 * TMB_WAVE_DATA: *offset is where they begin, *rate in Hz. Anything but 16-bit mono PCM is
 * TMB_WAVE_BAD, as is a header beyond TMB_WAVE_HEADER_MAX bytes. */
tmb_wave_result tmb_wave_begin(const unsigned char *data, size_t bytes, size_t *offset, int *rate);

#endif
