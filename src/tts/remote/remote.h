/* A speech server with the OpenAI API as engine: vLLM-Omni with Qwen3-TTS Base on a GPU, or another timbre.
 *
 * Each sequence is one POST to URL/v1/audio/speech that carries the reference with it and answers with 16-bit
 * PCM at 24 kHz while the server speaks; what the server makes of many at once is its own affair. A listener
 * that falls behind holds up its own connection only, down to the server.
 */
#ifndef TMB_TTS_REMOTE_REMOTE_H
#define TMB_TTS_REMOTE_REMOTE_H

#include "tts/engine.h"

typedef struct tmb_remote_options {
    const char *url;      /* http:// or https://; with or without /v1 at its end */
    const char *key;      /* Bearer key, or NULL */
    const char *model;    /* the server's name of its model, or NULL: its only one */
    size_t max_sequences; /* requests at once; 0 = 16 */
    double stall_seconds; /* without a byte from the server; 0 = 120 */
    double max_seconds;   /* of speech per sequence; 0 = 1800 */
    double retry_delay;   /* seconds before a busy server (429, 503) is asked again, doubled each time; 0 = 1 */
    tmb_logger *logger;   /* may be NULL; outlives the engine */
} tmb_remote_options;

/* Opens no connection yet. TMB_ERROR_ARGUMENT for a URL that is none, TMB_ERROR_UNSUPPORTED without libcurl,
 * TMB_ERROR_MEMORY. */
tmb_status tmb_remote_engine_create(const tmb_remote_options *options, tmb_engine **out, tmb_error *error);

/* Bytes that an engine of so many sequences holds; 0 as above. */
size_t tmb_remote_engine_bytes(size_t max_sequences);

/* The URL of its speech endpoint, allocated; TMB_ERROR_ARGUMENT where the base is no HTTP URL. */
tmb_status tmb_remote_endpoint(const char *url, char **out, tmb_error *error);

#endif
