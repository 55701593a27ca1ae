/* What the tests of io share: a second of tone, an empty folder, files in memory written and read by timbre. */
#ifndef TMB_TESTS_IO_FIXTURE_H
#define TMB_TESTS_IO_FIXTURE_H

#include "audio_bytes.h"

#include "io/io.h"

extern float *tone; /* one second of mono at 48 kHz */
extern const size_t second;
extern char folder[];

/* Make both; the folder must be empty again in the end. */
int set_up(void **state);
int tear_down(void **state);

void path_in_folder(char *path, size_t size, const char *name);
size_t files_in_folder(void);

enum { CONTAINERS = 6 };
extern const tmb_container containers[CONTAINERS];
extern const char *const endings[]; /* by tmb_container */

void write_in_pieces(tmb_audio_writer *writer, const float *samples, int channels, size_t count, size_t piece);
audio_bytes encode(tmb_container container, tmb_encoding encoding, int rate, int channels, const float *samples,
                   size_t count, size_t piece);
/* Everything in the file, interleaved, as many channels as it should have; free(). `format` may be NULL. */
float *decode(const audio_bytes *bytes, const char *format, int rate, int channels, size_t *count);

/* 32 bits, little-endian. */
uint32_t number_at(const uint8_t *data, size_t place);

#endif
