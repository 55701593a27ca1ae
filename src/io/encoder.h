/* What turns samples into the bytes of a container. */
#ifndef TMB_IO_ENCODER_H
#define TMB_IO_ENCODER_H

#include "io/sink.h"

typedef struct tmb_audio_shape {
    tmb_container container; /* not AUTO */
    tmb_encoding encoding;
    int rate, channels;
} tmb_audio_shape;

typedef struct tmb_encoder {
    /* `count` samples per channel, interleaved and finite. */
    tmb_status (*write)(void *state, const float *samples, size_t count, tmb_error *error);
    /* The last bytes, headers that were waiting for the length. `destroy` follows in any case. */
    tmb_status (*finish)(void *state, tmb_error *error);
    void (*destroy)(void *state);
} tmb_encoder;

/* Both borrow the sink for the encoder's life; its failures are reported from there. */

/* WAV and headerless PCM, by timbre itself: a stream gets sizes of 0xffffffff, a file the true ones
 * (RF64 beyond 4 GiB). */
tmb_status tmb_encoder_pcm(const tmb_audio_shape *shape, tmb_sink *sink, const tmb_encoder **encoder, void **state,
                           tmb_error *error);

/* The same with another size at which a file becomes RF64, for tests without 4 GiB. */
tmb_status tmb_encoder_pcm_until(const tmb_audio_shape *shape, uint64_t riff_maximum, tmb_sink *sink,
                                 const tmb_encoder **encoder, void **state, tmb_error *error);

/* FLAC, Ogg Vorbis, Opus and MP3, by libsndfile. */
tmb_status tmb_encoder_sndfile(const tmb_audio_shape *shape, tmb_sink *sink, const tmb_encoder **encoder, void **state,
                               tmb_error *error);

#endif
