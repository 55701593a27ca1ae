/* What turns the bytes of a container into samples. */
#ifndef TMB_IO_DECODER_H
#define TMB_IO_DECODER_H

#include "io/mp3_frames.h"
#include "io/notes.h"
#include "io/parts.h"
#include "io/tags.h"

typedef struct tmb_decoder {
    /* Appends up to `capacity` samples per channel, interleaved, to out[*count]; less than that is the end. */
    tmb_status (*read)(void *state, float *out, size_t capacity, size_t *count, tmb_error *error);
    void (*close)(void *state);
} tmb_decoder;

/* A decoder at work, and what it decodes. */
typedef struct tmb_decoding {
    const tmb_decoder *decoder; /* NULL: none was opened */
    void *state;
    int rate, channels;
    uint32_t channel_mask; /* as in WAVE_FORMAT_EXTENSIBLE; 0: not said */
    uint64_t length;       /* samples per channel, 0 when it is not known */
    bool exact;            /* the length is counted, not a header's */
    char format[48];       /* "WAV, 16-bit PCM" */
} tmb_decoding;

/* All of them borrow source, parts and notes until close. */

/* By libsndfile: the parts one after the other, which must be alike. `raw` 0: each is a file of its own (FLAC, Ogg).
 * Otherwise each is headerless samples, SF_FORMAT_RAW with subtype and endianness, at out->rate with out->channels. */
tmb_status tmb_decoder_sndfile(tmb_source *source, const tmb_parts *parts, int raw, tmb_notes *notes, tmb_tags *tags,
                               tmb_decoding *out, tmb_error *error);

/* By libmpg123: exactly the samples that the plan counts. */
tmb_status tmb_decoder_mp3(tmb_source *source, const tmb_mp3_plan *plan, tmb_notes *notes, tmb_decoding *out,
                           tmb_error *error);

/* Headerless PCM; the source may be sequential. */
tmb_status tmb_decoder_raw(tmb_source *source, const tmb_raw_format *raw, tmb_notes *notes, tmb_decoding *out,
                           tmb_error *error);

/* By an installed ffmpeg as a child process; `demuxer` is its name for the container, `name` ours. */
tmb_status tmb_decoder_ffmpeg(tmb_source *source, const char *demuxer, const char *name, tmb_notes *notes,
                              tmb_decoding *out, tmb_error *error);

#endif
