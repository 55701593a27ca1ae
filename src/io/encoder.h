/* What turns samples into the bytes of a container. */
#ifndef TMB_IO_ENCODER_H
#define TMB_IO_ENCODER_H

#include "io/sink.h"
#include "io/tags.h"

typedef struct tmb_audio_shape {
    tmb_container container; /* not AUTO */
    tmb_encoding encoding;
    int rate, channels;
    /* What goes with the samples, as far as the container has a place: borrowed for the encoder's life, NULL: nothing;
     * the channels' loudspeakers, 0: not said. */
    const tmb_tags *tags;
    uint32_t channel_mask;
} tmb_audio_shape;

typedef struct tmb_encoder {
    /* `count` samples per channel, interleaved and finite. */
    tmb_status (*write)(void *state, const float *samples, size_t count, tmb_error *error);
    /* The last bytes, headers that were waiting for the length. `destroy` follows in any case. */
    tmb_status (*finish)(void *state, tmb_error *error);
    void (*destroy)(void *state);
} tmb_encoder;

/* Both borrow the sink for the encoder's life; its failures are reported from there. */

/* WAV and headerless PCM, by timbre itself. A stream gets sizes of 0xffffffff, a file the true ones behind the plain
 * head of 44 bytes (16 bits, one or two channels); beyond 4 GiB it becomes RF64, for which its samples move once. */
tmb_status tmb_encoder_pcm(const tmb_audio_shape *shape, tmb_sink *sink, const tmb_encoder **encoder, void **state,
                           tmb_error *error);

/* The same with another size at which a file becomes RF64, for tests without 4 GiB. */
tmb_status tmb_encoder_pcm_until(const tmb_audio_shape *shape, uint64_t riff_maximum, tmb_sink *sink,
                                 const tmb_encoder **encoder, void **state, tmb_error *error);

/* AAC (ADTS), by an installed ffmpeg. */
tmb_status tmb_encoder_ffmpeg(const tmb_audio_shape *shape, tmb_sink *sink, const tmb_encoder **encoder, void **state,
                              tmb_error *error);

/* FLAC, Ogg Vorbis, Opus and MP3, by libsndfile. */
tmb_status tmb_encoder_sndfile(const tmb_audio_shape *shape, tmb_sink *sink, const tmb_encoder **encoder, void **state,
                               tmb_error *error);

#endif
