/* Containers of chunks: where the samples lie, what they are, and what else is said of them. timbre reads these heads
 * itself; libsndfile gets the samples alone. */
#ifndef TMB_IO_LAYOUT_H
#define TMB_IO_LAYOUT_H

#include "io/notes.h"
#include "io/sniff.h"
#include "io/tags.h"

typedef enum tmb_codec {
    TMB_CODEC_SAMPLES, /* PCM, float, A-law, u-law: `format` */
    TMB_CODEC_MP3,
    TMB_CODEC_OTHER /* `codec_name`; ffmpeg may know it */
} tmb_codec;

typedef struct tmb_layout {
    const char *container; /* "WAV", "RF64", "Wave64", "AIFF", "CAF", "AU" */
    tmb_codec codec;
    char codec_name[48]; /* with the container's: "WAV with IMA ADPCM" */
    const char *demuxer; /* ffmpeg's name for the container; NULL: it has nothing for this codec either */
    int format;          /* SF_FORMAT_RAW with subtype and endianness */
    int rate, channels;
    unsigned frame;        /* SAMPLES: bytes of one of all channels */
    uint32_t channel_mask; /* 0: not said */
    uint64_t start, end;   /* bytes of the samples */
    uint64_t next;         /* where a file begins that was appended to this one; 0: none */
    bool unfinished;       /* the head says "until the end" */
    tmb_tags tags;
} tmb_layout;

/* Reads the file in [start, end) of the source. The rule about lengths, for all of them: samples that the head promises
 * and that are not there are a loss, unless the head's length is one that only a writer leaves that could not go back
 * (0, a number that is round in binary from 1 GiB on, one that contradicts the length of the whole): that means "until
 * the end". A length of 32 bits that is too small by a multiple of 4 GiB is completed. What lies behind the samples and
 * is neither a chunk nor a tag is said. `tags` may be filled even then; the caller frees them. */
tmb_status tmb_layout_read(tmb_source *source, uint64_t start, uint64_t end, tmb_file_kind kind, tmb_notes *notes,
                           tmb_layout *out, tmb_error *error);

#endif
