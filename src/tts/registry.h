/* The engines that there are: one row each, and which one a context uses. docs/internals/add-an-engine.md says what a
 * new one needs.
 */
#ifndef TMB_TTS_REGISTRY_H
#define TMB_TTS_REGISTRY_H

#include "base/log.h"
#include "tts/engine.h"

typedef struct tmb_engine_kind tmb_engine_kind;

/* A setting that one engine alone understands. */
typedef struct tmb_engine_option {
    const char *engine, *name, *value;
} tmb_engine_option;

typedef struct tmb_engine_settings {
    const char *name;                 /* an engine's, or "auto" */
    const char *model;                /* a model's folder or name; NULL or "": any */
    const char *precision;            /* of the networks; NULL = "auto" */
    int threads;                      /* 0 = the CPUs of this process */
    size_t max_batch;                 /* sequences at once; 0 = the engine's default */
    bool no_preview;                  /* "auto" never comes to an engine that clones no voice */
    const tmb_engine_option *options; /* [option_count] */
    size_t option_count;
    uint64_t device_memory;     /* bytes that a GPU's pool has; 0: not known */
    const char *without_device; /* why no GPU can be used: an engine that may, goes without; NULL: one may be */
    tmb_logger *logger;         /* outlives the engine; may be NULL */
} tmb_engine_settings;

/* What the settings come to with the models that are installed at the moment. */
typedef struct tmb_engine_choice {
    const tmb_engine_kind *kind;
    char *folder; /* of its model, or NULL; the owner of the choice frees it */
} tmb_engine_choice;

struct tmb_engine_kind {
    const char *name;    /* "qwen3" */
    const char *summary; /* one line, for people */
    bool clones_voice;
    bool automatic; /* "auto" may come to it, in the table's order */

    /* Settings that it cannot take. TMB_ERROR_ARGUMENT. */
    tmb_status (*check)(const tmb_engine_settings *settings, tmb_error *error);
    /* Looks for its model and loads nothing. TMB_ERROR_MODEL says how to get it; *absent: nothing of it is there, so
     * that "auto" may go on to the next engine. NULL: it needs none. */
    tmb_status (*find)(const tmb_engine_settings *settings, char **folder, bool *absent, tmb_error *error);
    /* Whether the programs that it runs are installed; NULL: none. TMB_ERROR_MODEL. */
    tmb_status (*check_programs)(tmb_error *error);
    /* Whether it speaks a language that is not one of tmb_language_find; NULL: it does not. `folder` may be NULL. */
    tmb_status (*check_language)(const char *folder, const char *language, tmb_error *error);
    /* What the model in `folder` can do, in one block that free() frees, under this name; NULL: it clones, and that is
     * all. TMB_ERROR_MODEL. */
    tmb_status (*describe)(const char *folder, const char *name, tmb_model_description **out, tmb_error *error);
    /* Whether a described model has a speaker of that name; NULL: none has. */
    bool (*has_speaker)(const tmb_model_description *description, const char *speaker);
    /* The name under which clients see its model, such as "qwen3-tts-0.6b": written to `out`; NULL: the engine's. */
    void (*model_label)(const char *folder, char *out, size_t size);
    /* Bytes of memory that the engine will hold. */
    tmb_status (*estimate)(const tmb_engine_settings *settings, const char *folder, uint64_t *bytes, tmb_error *error);
    /* The same of a device's memory; NULL: none. */
    tmb_status (*estimate_device)(const tmb_engine_settings *settings, const char *folder, uint64_t *bytes,
                                  tmb_error *error);
    /* The device that the settings ask for, held while a model is looked at and loaded, so that every step finds it
     * ready; *held is NULL if that is the CPU. These three are NULL if there is never a device. */
    tmb_status (*hold_device)(const tmb_engine_settings *settings, void **held, tmb_error *error);
    /* What there is of its memory for this process, in use or free. */
    tmb_status (*device_room)(void *held, uint64_t *bytes, tmb_error *error);
    void (*release_device)(void *held);
    tmb_status (*create)(const tmb_engine_settings *settings, const char *folder, tmb_engine **out, tmb_error *error);
    /* Calls back for each server that the engine asks; `engine` NULL: it is not loaded. NULL: it asks none. Any thread.
     */
    void (*servers)(const tmb_engine_settings *settings, tmb_engine *engine,
                    void (*each)(void *user, const tmb_server_statistics *statistics), void *user);
};

/* What an engine without weights of its own takes, about. */
#define TMB_LIGHT_ENGINE_BYTES ((uint64_t)256 << 10)

/* The rows, each in its engine's folder. */
extern const tmb_engine_kind tmb_qwen3_kind, tmb_preview_kind, tmb_remote_kind;

/* The engine number `index`, in the order in which "auto" tries them; NULL behind the last. */
const tmb_engine_kind *tmb_engine_kind_at(size_t index);
/* By name; NULL if there is none. */
const tmb_engine_kind *tmb_engine_kind_find(const char *name);

/* The value of an option, or NULL. */
const char *tmb_engine_option_get(const tmb_engine_settings *settings, const char *engine, const char *name);

/* TMB_ERROR_ARGUMENT for a name that no engine has, or settings that the engine cannot take. */
tmb_status tmb_engine_check(const tmb_engine_settings *settings, tmb_error *error);

/* Which engine it is, and its model. "auto" is the first automatic one whose model is there; one whose model is named,
 * or only partly there, is an error and not another voice. `out` has the kind even if that fails. */
tmb_status tmb_engine_choose(const tmb_engine_settings *settings, tmb_engine_choice *out, tmb_error *error);

/* Whether the chosen engine knows the language. TMB_ERROR_ARGUMENT lists the languages that it knows. */
tmb_status tmb_engine_check_language(const tmb_engine_choice *choice, const char *language, tmb_error *error);

#endif
