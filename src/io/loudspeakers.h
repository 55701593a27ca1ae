/* Vorbis and Opus keep the channels of surround sound in an order of their own. */
#ifndef TMB_IO_LOUDSPEAKERS_H
#define TMB_IO_LOUDSPEAKERS_H

#include <stddef.h>
#include <stdint.h>

/* The loudspeakers of `channels` channels there, as in WAVE_FORMAT_EXTENSIBLE; 0: the format says none. */
uint32_t tmb_vorbis_mask(int channels);

/* Puts `count` interleaved samples of all channels from Vorbis' order into WAV's, and back. */
void tmb_vorbis_to_wave(float *samples, size_t count, int channels);
void tmb_wave_to_vorbis(float *samples, size_t count, int channels);

#endif
