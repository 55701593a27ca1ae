/* Samples between float and little-endian PCM. */
#ifndef TMB_IO_PCM_H
#define TMB_IO_PCM_H

#include "timbre/timbre.h"

/* Bytes of a sample, 2, 3 or 4; 0 for an unknown encoding. */
size_t tmb_pcm_bytes(tmb_encoding encoding);

/* `count` samples. Full scale is 2^15 and 2^23: integers survive decoding and encoding unchanged. */
void tmb_pcm_decode(tmb_encoding encoding, const uint8_t *bytes, size_t count, float *samples);

/* Integers round to nearest even and clip; floats are copied. */
void tmb_pcm_encode(tmb_encoding encoding, const float *samples, size_t count, uint8_t *bytes);

/* One sample as an integer of 16 or 24 bits, as tmb_pcm_encode makes it. */
int32_t tmb_pcm_integer(tmb_encoding encoding, float sample);

/* The first sample that is NaN or infinite; `count` if there is none. */
size_t tmb_pcm_find_not_finite(const float *samples, size_t count);

#endif
