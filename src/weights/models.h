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
    uint64_t bytes;         /* of the download, about */
} tmb_known_model;

/* By name or short name, in any case; NULL where there is no such model. NULL-terminated by index: the i-th, or NULL.
 */
const tmb_known_model *tmb_models_by_name(const char *name);
const tmb_known_model *tmb_models_at(size_t index);

/* Where an installed model is (a checkpoint's folder, or DeepFilterNet3's archive); allocated. *out NULL with TMB_OK
 * where it is not installed. */
tmb_status tmb_models_locate(const tmb_known_model *model, char **out, tmb_error *error);

/* Where DeepFilterNet3's archive is, allocated: `path` if given; else the variable TIMBRE_DENOISER; else the first that
 * exists of $XDG_DATA_HOME/timbre/models, $XDG_CACHE_HOME/timbre and /usr/share/timbre. TMB_ERROR_MODEL, and how to get
 * it, where it is in none. Opens nothing. */
tmb_status tmb_models_find_denoiser(const char *path, char **out, tmb_error *error);

/* A checkpoint's folder: `model` is one of the names, a folder, or NULL for the smallest that is installed; allocated.
 * TMB_ERROR_MODEL says what to do where there is none. */
tmb_status tmb_models_find_checkpoint(const char *model, char **out, tmb_error *error);

/* Calls back once for each known model; what it gets is valid during the call. */
tmb_status tmb_models_list(void (*each)(void *user, const tmb_model_info *model), void *user, tmb_error *error);

/* Where DeepFilterNet3's archive goes when it is pulled: $XDG_DATA_HOME/timbre/models; allocated. */
tmb_status tmb_models_dfn3_target(char **out, tmb_error *error);

#endif
