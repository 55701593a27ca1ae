/* The models that timbre knows, and where they are. */
#ifndef TMB_WEIGHTS_MODELS_H
#define TMB_WEIGHTS_MODELS_H

#include "timbre/timbre.h"

/* The file that DeepFilterNet3's official export comes as. */
#define TMB_DFN3_FILE "DeepFilterNet3_onnx.tar.gz"
#define TMB_DFN3_SHA256 "c94d91f70911001c946e0fabb4aa9adc37045f45a03b56008cb0c8244cb63616"

typedef struct tmb_known_model {
    const char *name;       /* "qwen3-tts-0.6b" */
    const char *short_name; /* "0.6b"; NULL = none */
    const char *title, *license;
    const char *repository; /* on the Hugging Face Hub; NULL: not from there */
    const char *kind;       /* "base", "custom_voice", "voice_design"; NULL: it does not speak */
    uint64_t bytes;         /* of the download, about */
} tmb_known_model;

/* By name, short name or repository, in any case; NULL if there is no such model. NULL-terminated by index: the
 * i-th, or NULL.
 */
const tmb_known_model *tmb_models_by_name(const char *name);
const tmb_known_model *tmb_models_at(size_t index);

/* The folder for models of the whole machine, which every user and service looks in after its own:
 * $TIMBRE_SYSTEM_MODELS, otherwise /var/lib/timbre-models. In it lie DeepFilterNet3's archive and hub/, laid out as the
 * Hugging Face cache. */
const char *tmb_models_system_folder(void);

/* Where DeepFilterNet3's archive is, allocated: `path` if given; otherwise the variable TIMBRE_DENOISER; otherwise the
 * first that exists of $XDG_DATA_HOME/timbre/models, $XDG_CACHE_HOME/timbre, tmb_models_system_folder() and
 * /usr/share/timbre. Otherwise TMB_ERROR_MODEL, and how to get it. *state (may be NULL): COMPLETE with TMB_OK;
 * INCOMPLETE for a file that cannot be an archive. Reads only the file's first bytes. */
tmb_status tmb_models_find_denoiser(const char *path, tmb_model_state *state, char **out, tmb_error *error);

/* A whole checkpoint's folder, allocated. `model` is a name or short name of the list; a folder with the checkpoint's
 * files, or the cache's folder of a repository ("models--OWNER--NAME"), from which a whole snapshot is taken; the
 * repository's name on the hub ("OWNER/NAME"); or NULL for the smallest that clones voices and is complete. Names are
 * looked for in this user's cache, then in those of the machine. Otherwise TMB_ERROR_MODEL, and the message says what
 * is missing and what to do; *state (may be NULL) says whether a part is there. Loads nothing: weights' headers are
 * read (milliseconds). */
tmb_status tmb_models_find_checkpoint(const char *model, tmb_model_state *state, char **out, tmb_error *error);

/* Calls back once for each known model; what it gets is valid during the call. */
tmb_status tmb_models_list(void (*each)(void *user, const tmb_model_info *model), void *user, tmb_error *error);

/* Where DeepFilterNet3's archive goes when it is pulled: the machine's folder, or $XDG_DATA_HOME/timbre/models;
 * allocated. */
tmb_status tmb_models_dfn3_target(bool system, char **out, tmb_error *error);

/* The cache that a checkpoint is pulled into: the machine's, or this user's; allocated. */
tmb_status tmb_models_hub(bool system, char **out, tmb_error *error);

#endif
