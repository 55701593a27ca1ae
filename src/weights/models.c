#include "weights/models.h"

#include "base/error.h"
#include "base/memory.h"
#include "weights/hf_cache.h"
#include "weights/paths.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

/* Checkpoints from small to large. */
static const tmb_known_model known[] = {
    {"qwen3-tts-0.6b", "0.6b", "Qwen3-TTS 12Hz 0.6B Base: voice cloning", "Apache-2.0", "Qwen/Qwen3-TTS-12Hz-0.6B-Base",
     UINT64_C(2520000000)},
    {"qwen3-tts-1.7b", "1.7b", "Qwen3-TTS 12Hz 1.7B Base: voice cloning, larger", "Apache-2.0",
     "Qwen/Qwen3-TTS-12Hz-1.7B-Base", UINT64_C(4540000000)},
    {"dfn3", NULL, "DeepFilterNet3: noise suppression at 48 kHz", "MIT or Apache-2.0", NULL, UINT64_C(13000000)},
};

const tmb_known_model *tmb_models_at(size_t index) {
    return index < sizeof known / sizeof known[0] ? &known[index] : NULL;
}

const tmb_known_model *tmb_models_by_name(const char *name) {
    const tmb_known_model *model;
    for (size_t i = 0; (model = tmb_models_at(i)) != NULL; i++) {
        if (strcasecmp(model->name, name) == 0 ||
            (model->short_name != NULL && strcasecmp(model->short_name, name) == 0)) {
            return model;
        }
    }
    return NULL;
}

tmb_status tmb_models_dfn3_target(char **out, tmb_error *error) {
    return tmb_path_xdg("XDG_DATA_HOME", ".local/share", "timbre/models/" TMB_DFN3_FILE, out, error);
}

/* Where the archive may lie, in the order of looking; without a home directory the system's place alone. */
static tmb_status locate_dfn3(char **out, tmb_error *error) {
    static const struct {
        const char *variable, *home, *rest;
    } places[] = {{"XDG_DATA_HOME", ".local/share", "timbre/models/" TMB_DFN3_FILE},
                  {"XDG_CACHE_HOME", ".cache", "timbre/" TMB_DFN3_FILE}};
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        tmb_status status = tmb_path_xdg(places[i].variable, places[i].home, places[i].rest, out, error);
        if (status == TMB_OK && access(*out, R_OK) == 0) {
            return TMB_OK;
        }
        free(*out);
        *out = NULL;
        if (status == TMB_ERROR_MEMORY) {
            return status;
        }
    }
    static const char system_place[] = "/usr/share/timbre/" TMB_DFN3_FILE;
    if (access(system_place, R_OK) == 0) {
        *out = tmb_strdup(system_place);
        return *out != NULL ? TMB_OK : tmb_fail_memory(error, "a path", sizeof system_place);
    }
    return TMB_OK;
}

tmb_status tmb_models_find_denoiser(const char *path, char **out, tmb_error *error) {
    *out = NULL;
    bool by_path = path != NULL && path[0] != '\0';
    const char *given = by_path ? path : getenv("TIMBRE_DENOISER");
    if (given != NULL && given[0] != '\0') {
        if (access(given, R_OK) != 0) {
            return tmb_fail(error, TMB_ERROR_MODEL, "no DeepFilterNet3 model at %.300s%s", given,
                            by_path ? "" : " (from the variable TIMBRE_DENOISER)");
        }
        *out = tmb_strdup(given);
        return *out != NULL ? TMB_OK : tmb_fail_memory(error, "a path", strlen(given));
    }
    tmb_status status = locate_dfn3(out, error);
    if (status == TMB_OK && *out == NULL) {
        status = tmb_fail(error, TMB_ERROR_MODEL,
                          "the DeepFilterNet3 model (%s) is not installed: run `timbre pull dfn3`, or set "
                          "TIMBRE_DENOISER to where it is",
                          TMB_DFN3_FILE);
    }
    return status;
}

tmb_status tmb_models_locate(const tmb_known_model *model, char **out, tmb_error *error) {
    if (model->repository != NULL) {
        return tmb_hf_find_snapshot(model->repository, out, error);
    }
    tmb_status status = tmb_models_find_denoiser(NULL, out, error);
    return status == TMB_ERROR_MODEL ? TMB_OK : status;
}

static tmb_status find_smallest(char **out, tmb_error *error) {
    const tmb_known_model *model;
    *out = NULL;
    for (size_t i = 0; (model = tmb_models_at(i)) != NULL; i++) {
        tmb_status status = model->repository != NULL ? tmb_models_locate(model, out, error) : TMB_OK;
        if (status != TMB_OK || *out != NULL) {
            return status;
        }
    }
    return tmb_fail(error, TMB_ERROR_MODEL,
                    "no Qwen3-TTS model is installed: run `timbre pull %s` (%.1f GB), or give a "
                    "checkpoint's folder with --model",
                    known[0].name, (double)known[0].bytes / 1e9);
}

tmb_status tmb_models_find_checkpoint(const char *model, char **out, tmb_error *error) {
    *out = NULL;
    if (model == NULL || model[0] == '\0') {
        return find_smallest(out, error);
    }
    const tmb_known_model *found = strchr(model, '/') == NULL ? tmb_models_by_name(model) : NULL;
    if (found != NULL && found->repository != NULL) {
        tmb_status status = tmb_models_locate(found, out, error);
        if (status == TMB_OK && *out == NULL) {
            status = tmb_fail(error, TMB_ERROR_MODEL, "%s is not installed: run `timbre pull %s` (%.1f GB)",
                              found->name, found->name, (double)found->bytes / 1e9);
        }
        return status;
    }
    char missing[64];
    struct stat about;
    if (stat(model, &about) != 0 || !S_ISDIR(about.st_mode)) {
        return tmb_fail(error, TMB_ERROR_MODEL, "%.300s: neither a checkpoint's folder nor one of %s, %s", model,
                        known[0].name, known[1].name);
    }
    if (!tmb_hf_is_checkpoint(model, missing)) {
        return tmb_fail(error, TMB_ERROR_MODEL, "%.300s: not a Qwen3-TTS checkpoint: %s is missing", model, missing);
    }
    *out = tmb_strdup(model);
    return *out == NULL ? tmb_fail_memory(error, "a path", 0) : TMB_OK;
}

static uint64_t bytes_at(const char *path) {
    struct stat about;
    if (stat(path, &about) != 0) {
        return 0;
    }
    return S_ISDIR(about.st_mode) ? tmb_hf_folder_bytes(path) : (uint64_t)about.st_size;
}

tmb_status tmb_models_list(void (*each)(void *user, const tmb_model_info *model), void *user, tmb_error *error) {
    const tmb_known_model *model;
    for (size_t i = 0; (model = tmb_models_at(i)) != NULL; i++) {
        char *path = NULL;
        tmb_status status = tmb_models_locate(model, &path, error);
        if (status != TMB_OK) {
            return status;
        }
        tmb_model_info info = {
            .name = model->name,
            .title = model->title,
            .license = model->license,
            .path = path,
            .bytes = path != NULL ? bytes_at(path) : model->bytes,
            .installed = path != NULL,
        };
        each(user, &info);
        free(path);
    }
    return TMB_OK;
}
