/* Speech in the format that a client asked for: into a file, or as bytes while it is made. */
#ifndef TMB_SERVER_OUTPUT_H
#define TMB_SERVER_OUTPUT_H

#include "timbre/timbre.h"

/* A format by its name in the API. */
typedef struct tmb_format {
    const char *name;         /* "wav" */
    const char *content_type; /* "audio/wav" */
    const char *ending;       /* of a file name, ".wav" */
    tmb_container container;
} tmb_format;

/* NULL: no such format. */
const tmb_format *tmb_format_find(const char *name);
/* "wav", "flac", ... NULL. */
extern const char *const tmb_format_names[];
/* Those that OpenAI's endpoint has. */
extern const char *const tmb_speech_format_names[];
/* Why this server does not write the format, or NULL: AAC needs ffmpeg. */
const char *tmb_format_problem(const tmb_format *format, bool no_ffmpeg);
/* What is sent as Content-Type: pcm needs its rate with it. */
void tmb_format_content_type(const tmb_format *format, int rate, char out[80]);

/* The lowest rate that the format has and that is not below `rate`, or its highest. */
int tmb_format_rate(const tmb_format *format, int rate);

typedef struct tmb_output tmb_output;
struct tmb_store;
/* Takes encoded bytes that stand for `seconds` of audio; false ends the output with
 * TMB_ERROR_CANCELLED. */
typedef bool (*tmb_output_sink)(void *user, const void *data, size_t size, double seconds);

/* Into a file: complete (renamed into place) after finish. `rate` 0: as the samples come. In both cases
 * tmb_format_rate decides. `speed` 2: twice as fast at the same pitch; 1: as it comes. */
tmb_status tmb_output_to_file(const tmb_format *format, int rate, double speed, const char *path, tmb_output **out,
                              tmb_error *error);
/* As bytes. Nothing is read from a file's end: a WAV header says "length unknown". */
tmb_status tmb_output_to_sink(const tmb_format *format, int rate, double speed, tmb_output_sink sink, void *user,
                              tmb_output **out, tmb_error *error);

/* Books the bytes of a file with the store as they are written (as many as 16-bit samples have), until the output is
 * destroyed or they are given back. What finds no room fails as on a full disk. */
void tmb_output_book(tmb_output *output, struct tmb_store *store);
void tmb_output_unbook(tmb_output *output);
/* They stay on the books, as part of *booked, whose owner gives them back. */
void tmb_output_keep_booked(tmb_output *output, uint64_t *booked);

/* Mono samples, always at the same rate. */
tmb_status tmb_output_write(tmb_output *output, const float *samples, size_t count, int rate, tmb_error *error);
/* Flushes. TMB_ERROR_FORMAT if nothing was written. */
tmb_status tmb_output_finish(tmb_output *output, tmb_error *error);
/* Samples that were beyond full scale, so far: each output has 16 bits or a codec that players limit. */
uint64_t tmb_output_clipped(const tmb_output *output);
/* Rate of what comes out (0 before the first write), and seconds so far. */
int tmb_output_rate(const tmb_output *output);
double tmb_output_seconds(const tmb_output *output);
/* An unfinished file is removed. */
void tmb_output_destroy(tmb_output **output);

#endif
