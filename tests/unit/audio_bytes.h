/* Audio files made in memory for the tests of io. */
#ifndef TMB_TESTS_AUDIO_BYTES_H
#define TMB_TESTS_AUDIO_BYTES_H

#include "test.h"

#include <sndfile.h>

typedef struct audio_bytes {
    uint8_t *data; /* owned */
    size_t size, capacity, place;
} audio_bytes;

void audio_bytes_put(audio_bytes *bytes, const void *data, size_t size);
void audio_bytes_text(audio_bytes *bytes, const char *text);               /* without the final 0 */
void audio_bytes_number(audio_bytes *bytes, uint64_t value, size_t count); /* little-endian */
/* A copy of data that is not ours. */
audio_bytes audio_bytes_of(const void *data, size_t size);
/* `second` behind `first`; both are used up. */
audio_bytes audio_bytes_join(audio_bytes first, audio_bytes second);
/* The part [from, to) of a file that is used up. */
audio_bytes audio_bytes_cut(audio_bytes bytes, size_t from, size_t to);
void audio_bytes_free(audio_bytes *bytes);

/* A file of any format that libsndfile writes, SF_FORMAT_*. */
audio_bytes audio_bytes_sndfile(int format, int rate, int channels, const float *samples, size_t count);

/* A WAV file whose header says what it is told: 16-bit PCM, sizes as given, `size` bytes behind. */
audio_bytes audio_bytes_wav(uint32_t riff_size, uint32_t rate, uint16_t channels, uint32_t data_size, size_t size);

/* 0.5 sin(2 pi 440 t), the same in each of the interleaved channels but for its sign; free(). */
float *audio_tone(int rate, int channels, size_t count);

#endif
