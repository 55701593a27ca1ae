/* Speech servers with the OpenAI API as engine: vLLM-Omni with Qwen3-TTS Base on a GPU, or another timbre.
 *
 * Each sequence is one POST to URL/v1/audio/speech that carries the reference with it and answers with 16-bit
 * PCM at 24 kHz while the server speaks; what the server makes of many at once is its own affair. A listener
 * that falls behind holds up its own connection only, down to the server. If there are several servers, pool.h
 * says which is asked; until the first audio another may be asked in its place, afterwards the sequence lives and dies
 * with it.
 */
#ifndef TMB_TTS_REMOTE_REMOTE_H
#define TMB_TTS_REMOTE_REMOTE_H

#include "tts/engine.h"
#include "tts/remote/address.h"

typedef struct tmb_remote_options {
    const char *urls;     /* one or more, as in address.h */
    const char *key;      /* Bearer key for all of them, or NULL */
    const char *model;    /* the servers' name of their model, or NULL: their only one */
    size_t max_sequences; /* requests at once; 0 = what the servers' limits add up to */
    double stall_seconds; /* without a byte from the server; 0 = 120 */
    double max_seconds;   /* of speech per sequence; 0 = 1800 */
    double retry_delay;   /* seconds before a busy server (429, 503) is asked again, doubled each time; 0 = 1 */
    double hedge_seconds; /* without audio, after which a second server is asked too; 0 = never */
    tmb_logger *logger;   /* may be NULL; outlives the engine */
} tmb_remote_options;

/* Opens no connection yet. TMB_ERROR_ARGUMENT for a URL that is none, TMB_ERROR_UNSUPPORTED without libcurl,
 * TMB_ERROR_MEMORY. */
tmb_status tmb_remote_engine_create(const tmb_remote_options *options, tmb_engine **out, tmb_error *error);

/* Bytes that an engine for these servers holds; `max_sequences` as above. */
size_t tmb_remote_engine_bytes(const tmb_remote_addresses *addresses, size_t max_sequences);

/* Calls back for each server of an engine that tmb_remote_engine_create made. Any thread. */
void tmb_remote_engine_servers(tmb_engine *engine, void (*each)(void *user, const tmb_server_statistics *statistics),
                               void *user);

#endif
