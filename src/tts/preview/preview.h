/* The preview voice: espeak-ng as a child process. It needs no download, speaks every language that timbre
 * knows, and takes pitch and liveliness from the reference. It is no clone, and says so.
 */
#ifndef TMB_TTS_PREVIEW_PREVIEW_H
#define TMB_TTS_PREVIEW_PREVIEW_H

#include "tts/engine.h"

typedef struct tmb_preview_options {
    const char *program;  /* NULL = "espeak-ng"; found on PATH unless it has a slash */
    size_t max_sequences; /* children at once; 0 = 8 */
    double silence_limit; /* seconds that a child may take without a sample; 0 = 30 */
    double max_seconds;   /* of speech per sequence, whatever the request says; 0 = 1800 */
    tmb_logger *logger;   /* may be NULL; outlives the engine */
} tmb_preview_options;

/* Whether espeak-ng is installed: TMB_ERROR_MODEL if it is not. */
tmb_status tmb_preview_check(tmb_error *error);

/* TMB_ERROR_MODEL if the program is not installed, TMB_ERROR_MEMORY. */
tmb_status tmb_preview_engine_create(const tmb_preview_options *options, tmb_engine **out, tmb_error *error);

#endif
