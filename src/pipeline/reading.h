/* Reading a reference: decoded to mono (or, of a saved voice, the file's bytes), piece by piece, and the
 * key that its prepared voice is kept under. */
#ifndef TMB_PIPELINE_READING_H
#define TMB_PIPELINE_READING_H

#include "base/log.h"
#include "enhance/level.h"
#include "io/io.h"
#include "pipeline/reference.h"
#include "pipeline/request.h"

#include <nettle/sha2.h>

/* SHA-256 of the samples, their rate, the transcript and every setting that the voice depends on. */
typedef struct tmb_voice_key {
    uint8_t bytes[SHA256_DIGEST_SIZE];
} tmb_voice_key;

/* Zero-initialised; used by one thread at a time. */
typedef struct tmb_reading {
    tmb_audio_reader *reader;
    tmb_audio_info info;
    float *piece;   /* interleaved, as the file has it */
    float *samples; /* mono [count] */
    float *first;   /* of more than one channel, the first one's [count], in case they cancel each other */
    /* Sums of squares, of the mix and of the channels in their mean: of the steps from sample to sample, in which an
     * offset or hum that the channels share has no part. */
    double mixed_power, channel_power;
    float last_mixed, last[TMB_AUDIO_MAX_CHANNELS];
    bool antiphase;    /* they did: `samples` are the first channel's */
    double cancelled;  /* dB that the mix lost because they did in part; 0: nothing worth saying */
    size_t note_count; /* what the reader says of the file, once it is complete */
    char notes[TMB_REFERENCE_NOTES][TMB_REFERENCE_NOTE];
    size_t count, capacity;
    int rate;    /* Hz */
    void *voice; /* a saved voice's file [voice_size] */
    size_t voice_size;
    tmb_level *level; /* of the samples; NULL without stages 1 and 2, or with --level off */
    struct sha256_ctx hash;
    tmb_voice_key key; /* once it is complete */
} tmb_reading;

/* Opens the source. *samples = how many the reference is likely to have, 0 = not known; for a saved voice its
 * file's bytes / 4, so that the count is comparable with samples. */
tmb_status tmb_reading_open(tmb_reading *reading, const tmb_item_request *request, const tmb_audio_limits *limits,
                            uint64_t *samples, tmb_error *error);

/* Reads the next piece (about four seconds); *complete: there was none, and the key is known. */
tmb_status tmb_reading_step(tmb_reading *reading, const tmb_item_request *request, const char *engine, bool *complete,
                            tmb_error *error);

void tmb_reading_close(tmb_reading *reading);

#endif
