/* What kind of file the bytes are, decided before any decoder sees them. */
#ifndef TMB_IO_SNIFF_H
#define TMB_IO_SNIFF_H

#include "io/notes.h"
#include "io/source.h"

typedef enum tmb_file_kind {
    TMB_FILE_WAV = 1, /* RIFF, RIFX (big-endian), RF64 and BW64 */
    TMB_FILE_AIFF,    /* AIFF and AIFC */
    TMB_FILE_W64,
    TMB_FILE_CAF,
    TMB_FILE_AU,
    TMB_FILE_FLAC,
    TMB_FILE_OGG, /* Vorbis, Opus or FLAC inside */
    TMB_FILE_MP3,
    TMB_FILE_FOREIGN /* what an installed ffmpeg reads */
} tmb_file_kind;

typedef struct tmb_sniffed {
    tmb_file_kind kind;
    uint64_t start;      /* where the file begins, behind tags, zeros and junk */
    const char *name;    /* FOREIGN: for people */
    const char *demuxer; /* FOREIGN: ffmpeg's name */
} tmb_sniffed;

/* Whether a file that timbre reads itself begins with these bytes (12 are enough, 4 for MP3). */
bool tmb_sniff_is(const uint8_t *data, size_t size, tmb_file_kind *kind);

/* Recognizes a file. Tags and zeros before it are passed over; so is anything else of up to 64 KiB, with a warning, if
 * something certain follows. `partial`: the source has only the file's first bytes, and what they do not settle is
 * taken for MP3. TMB_ERROR_FORMAT says what the file is instead, if that can be told. */
tmb_status tmb_sniff(tmb_source *source, bool partial, tmb_notes *notes, tmb_sniffed *out, tmb_error *error);

#endif
