/* What kind of file the bytes are, and whether all of it is there: decided here, before libsndfile
 * sees anything. */
#ifndef TMB_IO_SNIFF_H
#define TMB_IO_SNIFF_H

#include "io/source.h"

typedef enum tmb_file_kind {
    TMB_FILE_WAV = 1, /* RIFF, RIFX (big-endian) and RF64 */
    TMB_FILE_AIFF,    /* AIFF and AIFC */
    TMB_FILE_FLAC,
    TMB_FILE_OGG, /* Vorbis, Opus or FLAC inside */
    TMB_FILE_MP3
} tmb_file_kind;

/* Recognizes a file by its first bytes ([size], 4 KiB are enough). TMB_ERROR_FORMAT says what it is
 * instead, where that can be told. */
tmb_status tmb_sniff(const uint8_t *data, size_t size, tmb_file_kind *kind, tmb_error *error);

/* The same as a tmb_source_check. */
tmb_status tmb_sniff_check(const uint8_t *data, size_t size, tmb_error *error);

/* TMB_ERROR_FORMAT where the headers promise more audio than there is, or none is there at all. WAV and
 * AIFF: the data chunk, unless its size is one of those that streams carry; a recording that was never
 * finished (size 0 and data behind) gets such a size by patching the source. MP3: the byte count of a
 * Xing header, and files of nothing but an ID3 tag. FLAC is counted while it is decoded, Ogg looked
 * through by tmb_ogg_scan. */
tmb_status tmb_sniff_complete(tmb_source *source, tmb_file_kind kind, tmb_error *error);

#endif
