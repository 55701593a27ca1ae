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
    bool no_preview;    /* "auto" never comes to the preview voice */
    tmb_logger *logger; /* outlives the engine */
} tmb_engine_settings;

/* What the settings come to with the models that are installed at the moment. */
typedef struct tmb_engine_choice {
    const char *name; /* "preview", "qwen3", "remote": static storage */
    char *folder;     /* of qwen3's checkpoint; the owner of the choice frees it */
} tmb_engine_choice;

/* How an engine comes to be: tests put their own in place of it. */
typedef struct tmb_engine_maker {
    /* Looks for the model. `out` has the name even where that fails; TMB_ERROR_MODEL says how to get the model. */
    tmb_status (*choose)(const tmb_engine_settings *settings, tmb_engine_choice *out, tmb_error *error);
    /* Bytes of memory that the engine will hold. */
    tmb_status (*estimate)(const tmb_engine_settings *settings, const tmb_engine_choice *choice, uint64_t *bytes,
                           tmb_error *error);
    tmb_status (*create)(const tmb_engine_settings *settings, const tmb_engine_choice *choice, tmb_engine **out,
                         tmb_error *error);
} tmb_engine_maker;

extern const tmb_engine_maker tmb_engine_default_maker;

/* Whether the chosen engine knows the language. TMB_ERROR_ARGUMENT lists the languages that it knows. */
tmb_status tmb_engine_check_language(const tmb_engine_choice *choice, const char *language, tmb_error *error);

/* Whether the programs that the chosen engine runs are installed. */
tmb_status tmb_engine_check_programs(const tmb_engine_choice *choice, tmb_error *error);

/* TMB_ERROR_ARGUMENT for a name or precision that no engine has, or a remote engine without URL. */
tmb_status tmb_engine_check(const tmb_engine_settings *settings, tmb_error *error);

#endif
