/* The engines that there are, and which one a context uses. */
#ifndef TMB_PIPELINE_ENGINES_H
#define TMB_PIPELINE_ENGINES_H

#include "base/log.h"
#include "tts/engine.h"

typedef struct tmb_engine_settings {
    const char *name; /* "auto", "preview", "qwen3", "remote" */
    const char *model, *precision, *remote_url, *remote_key;
    int threads;
    size_t max_batch;
    tmb_logger *logger; /* outlives the engine */
} tmb_engine_settings;

/* How an engine comes to be: tests put their own in place of it. `estimate` says how many bytes of memory it will
 * hold, before it is made. */
typedef struct tmb_engine_maker {
    tmb_status (*estimate)(const tmb_engine_settings *settings, uint64_t *bytes, tmb_error *error);
    tmb_status (*create)(const tmb_engine_settings *settings, tmb_engine **out, tmb_error *error);
    /* The name of the engine that create would make, static storage. */
    const char *(*name)(const tmb_engine_settings *settings);
} tmb_engine_maker;

extern const tmb_engine_maker tmb_engine_default_maker;

/* TMB_ERROR_ARGUMENT for a name or precision that no engine has, or a remote engine without URL. */
tmb_status tmb_engine_check(const tmb_engine_settings *settings, tmb_error *error);

#endif
