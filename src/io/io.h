/* Audio files: any format in, any format out, as streams. */
#ifndef TMB_IO_IO_H
#define TMB_IO_IO_H

#include "base/log.h"
#include "timbre/timbre.h"

/* What is in an audio file. */
typedef struct tmb_audio_info {
    int rate;          /* Hz */
    int channels;
    uint64_t length;   /* samples per channel as the header says; a hint, 0 = unknown */
    char format[48];   /* "WAV, 16-bit PCM" */
} tmb_audio_info;

/* Limits on what is decoded, against decompression bombs. */
typedef struct tmb_audio_limits {
    double max_seconds;   /* default 1800; <= 0 = none */
    uint64_t max_bytes;   /* of decoded float samples, all channels; 0 = none */
} tmb_audio_limits;

/* Headerless PCM input. */
typedef struct tmb_raw_format {
    int rate, channels;
    int bits;             /* 16, 24, 32 signed little-endian, or -32 for float */
} tmb_raw_format;

/* Reads one file front to back; used by one thread at a time. */
typedef struct tmb_audio_reader tmb_audio_reader;

/* `path` "-" is standard input. `raw` NULL: the format is read from the file. Refuses, each with one
 * clear error: empty, not audio, truncated headers, rates outside 4000 to 192000 Hz, more than 8
 * channels, compressed subformats outside PCM, float, A-law, u-law, FLAC, Vorbis, Opus, MP3. */
tmb_status tmb_audio_open(const char *path, const tmb_raw_format *raw, const tmb_audio_limits *limits,
                          tmb_audio_reader **out, tmb_audio_info *info, tmb_error *error);
/* The same from memory; `data` is borrowed until close. */
tmb_status tmb_audio_open_memory(const void *data, size_t size, const tmb_audio_limits *limits, tmb_audio_reader **out,
                                 tmb_audio_info *info, tmb_error *error);

/* Up to `capacity` samples per channel, interleaved, into `out` [capacity, channels]; *count = 0 is the
 * end. NaN or infinity: TMB_ERROR_FORMAT with its position. Over a limit: TMB_ERROR_LIMIT. */
tmb_status tmb_audio_read(tmb_audio_reader *reader, float *out, size_t capacity, size_t *count, tmb_error *error);
void tmb_audio_close(tmb_audio_reader **reader);

/* Everything, mixed to mono (mean of the channels); *samples is allocated (free()). */
tmb_status tmb_audio_read_mono(tmb_audio_reader *reader, const tmb_audio_info *info, float **samples, size_t *count,
                               tmb_error *error);

typedef enum tmb_container {
    TMB_CONTAINER_AUTO = 0, /* from the file name's ending; WAV for "-" */
    TMB_CONTAINER_WAV, TMB_CONTAINER_FLAC, TMB_CONTAINER_OGG, TMB_CONTAINER_OPUS, TMB_CONTAINER_MP3,
    TMB_CONTAINER_RAW
} tmb_container;

typedef enum tmb_encoding { TMB_ENCODING_S16 = 0, TMB_ENCODING_S24, TMB_ENCODING_FLOAT } tmb_encoding;

/* Writes one file front to back; used by one thread at a time. */
typedef struct tmb_audio_writer tmb_audio_writer;

/* `path` "-" streams to standard output. A file is written beside its final name under a temporary
 * one and renamed by finish; abort (or a failure) leaves nothing. Integer encodings clip. */
tmb_status tmb_audio_create(const char *path, tmb_container container, tmb_encoding encoding, int rate, int channels,
                            tmb_audio_writer **out, tmb_error *error);
/* The same into memory that grows up to `max_bytes`. */
tmb_status tmb_audio_create_memory(tmb_container container, tmb_encoding encoding, int rate, int channels,
                                   size_t max_bytes, tmb_audio_writer **out, tmb_error *error);
tmb_status tmb_audio_write(tmb_audio_writer *writer, const float *samples, size_t count, tmb_error *error);

/* Completes the file and frees the writer; on failure nothing is left and the writer is freed too. */
tmb_status tmb_audio_finish(tmb_audio_writer **writer, tmb_error *error);
/* The same for a writer into memory; *data is allocated (free()). */
tmb_status tmb_audio_finish_memory(tmb_audio_writer **writer, void **data, size_t *size, tmb_error *error);
void tmb_audio_abort(tmb_audio_writer **writer);

/* Removes the temporary files of all writers that are open; async-signal-safe, for signal handlers. */
void tmb_audio_remove_temporary_files(void);

#endif
