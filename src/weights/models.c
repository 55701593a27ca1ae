#include "weights/models.h"

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "weights/hf_cache.h"
#include "weights/paths.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

/* What a distribution's package brings. */
#define PACKAGE_FOLDER "/usr/share/timbre"

/* Checkpoints from small to large. */
static const tmb_known_model known[] = {
    {"qwen3-tts-0.6b", "0.6b", "Qwen3-TTS 12Hz 0.6B Base: voice cloning", "Apache-2.0", "Qwen/Qwen3-TTS-12Hz-0.6B-Base",
     "base", UINT64_C(2520000000)},
    {"qwen3-tts-1.7b", "1.7b", "Qwen3-TTS 12Hz 1.7B Base: voice cloning, larger", "Apache-2.0",
     "Qwen/Qwen3-TTS-12Hz-1.7B-Base", "base", UINT64_C(4540000000)},
    {"qwen3-tts-0.6b-customvoice", "0.6b-customvoice", "Qwen3-TTS 12Hz 0.6B CustomVoice: nine built-in speakers",
     "Apache-2.0", "Qwen/Qwen3-TTS-12Hz-0.6B-CustomVoice", "custom_voice", UINT64_C(2500000000)},
    {"qwen3-tts-1.7b-customvoice", "1.7b-customvoice",
     "Qwen3-TTS 12Hz 1.7B CustomVoice: nine built-in speakers that follow instructions", "Apache-2.0",
     "Qwen/Qwen3-TTS-12Hz-1.7B-CustomVoice", "custom_voice", UINT64_C(4520000000)},
    {"qwen3-tts-1.7b-voicedesign", "1.7b-voicedesign", "Qwen3-TTS 12Hz 1.7B VoiceDesign: voices from a description",
     "Apache-2.0", "Qwen/Qwen3-TTS-12Hz-1.7B-VoiceDesign", "voice_design", UINT64_C(4520000000)},
    {"dfn3", NULL, "DeepFilterNet3: noise suppression at 48 kHz", "MIT or Apache-2.0", NULL, NULL, UINT64_C(13000000)},
};

const tmb_known_model *tmb_models_at(size_t index) {
    return index < sizeof known / sizeof known[0] ? &known[index] : NULL;
}

static bool is_name(const char *name, const char *text) { return name != NULL && strcasecmp(name, text) == 0; }

const tmb_known_model *tmb_models_by_name(const char *name) {
    const tmb_known_model *model;
    for (size_t i = 0; (model = tmb_models_at(i)) != NULL; i++) {
        if (is_name(model->name, name) || is_name(model->short_name, name) || is_name(model->repository, name)) {
            return model;
        }
    }
    return NULL;
}

const char *tmb_models_system_folder(void) {
    const char *folder = getenv("TIMBRE_SYSTEM_MODELS");
    return folder != NULL && folder[0] != '\0' ? folder : "/var/lib/timbre-models";
}

static tmb_status join(const char *folder, const char *name, char **out, tmb_error *error) {
    *out = tmb_asprintf("%s/%s", folder, name);
    return *out != NULL ? TMB_OK : tmb_fail_memory(error, "a path", 0);
}

tmb_status tmb_models_dfn3_target(bool system, char **out, tmb_error *error) {
    return system ? join(tmb_models_system_folder(), TMB_DFN3_FILE, out, error)
                  : tmb_path_xdg("XDG_DATA_HOME", ".local/share", "timbre/models/" TMB_DFN3_FILE, out, error);
}

tmb_status tmb_models_hub(bool system, char **out, tmb_error *error) {
    return system ? join(tmb_models_system_folder(), "hub", out, error) : tmb_hf_cache_folder(out, error);
}

/* The places where something may lie, in the order of looking: this user's, the machine's, beside the program, the
 * package's. TMB_ERROR_IO:
 * there is no such place for this user (no home folder). */
enum { PLACES_OF_DFN3 = 5, PLACES_OF_HUBS = 3 };

/* ../share/timbre of the program's own folder: a tree that was unpacked anywhere brings its weights along. */
static tmb_status beside_program(const char *name, char **out, tmb_error *error) {
    char path[4096];
    ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
    path[length > 0 ? length : 0] = '\0';
    char *slash = strrchr(path, '/');
    if (length <= 0 || (size_t)length == sizeof path - 1 || slash == NULL) {
        return tmb_fail(error, TMB_ERROR_IO, "the program's own folder is not known");
    }
    *slash = '\0';
    *out = tmb_asprintf("%s/../share/timbre/%s", path, name);
    return *out != NULL ? TMB_OK : tmb_fail_memory(error, "a path", 0);
}

static tmb_status dfn3_place(int index, char **out, tmb_error *error) {
    switch (index) {
    case 0: return tmb_models_dfn3_target(false, out, error);
    case 1: return tmb_path_xdg("XDG_CACHE_HOME", ".cache", "timbre/" TMB_DFN3_FILE, out, error);
    case 2: return tmb_models_dfn3_target(true, out, error);
    case 3: return beside_program(TMB_DFN3_FILE, out, error);
    default: return join(PACKAGE_FOLDER, TMB_DFN3_FILE, out, error);
    }
}

static tmb_status hub_place(int index, char **out, tmb_error *error) {
    return index < 2 ? tmb_models_hub(index == 1, out, error) : join(PACKAGE_FOLDER, "hub", out, error);
}

/* *out NULL with TMB_OK: it is in none of the places. */
static tmb_status locate_dfn3(char **out, tmb_error *error) {
    for (int i = 0; i < PLACES_OF_DFN3; i++) {
        tmb_status status = dfn3_place(i, out, NULL);
        if (status == TMB_OK && access(*out, R_OK) == 0) {
            return TMB_OK;
        }
        free(*out);
        *out = NULL;
        if (status == TMB_ERROR_MEMORY) {
            return tmb_fail_memory(error, "a path", 0);
        }
    }
    return TMB_OK;
}

/* Why the file cannot be an archive, or NULL. Whether its contents are right is seen when it is loaded. *system gets
 * the errno of what could not be opened. */
static const char *archive_fault(const char *path, int *system) {
    unsigned char head[2] = {0};
    int file = -1;
    uint64_t size = 0;
    if (tmb_is_lfs_pointer(path)) {
        return "a Git LFS pointer, not the archive itself (`git lfs pull` brings that)";
    }
    tmb_error why = {0};
    if (tmb_file_open(path, &file, &size, &why) != TMB_OK) {
        *system = why.system;
        return "not a file that can be read";
    }
    bool good = size > sizeof head && tmb_file_read_at(file, 0, head, sizeof head, path, NULL) == TMB_OK &&
                head[0] == 0x1f && head[1] == 0x8b;
    (void)close(file);
    return good ? NULL : "not a .tar.gz archive";
}

/* Takes over `path`. */
static tmb_status check_archive(char *path, tmb_model_state *state, char **out, tmb_error *error) {
    int system = 0;
    const char *fault = archive_fault(path, &system);
    *state = fault == NULL ? TMB_MODEL_COMPLETE : TMB_MODEL_INCOMPLETE;
    if (fault == NULL) {
        *out = path;
        return TMB_OK;
    }
    tmb_status status =
        tmb_fail(error, TMB_ERROR_MODEL, "%.300s: %s; `timbre pull dfn3` brings the DeepFilterNet3 model", path, fault);
    if (error != NULL) {
        error->system = system; /* a descriptor that was missing for now is no model that is missing */
    }
    free(path);
    return status;
}

tmb_status tmb_models_find_denoiser(const char *path, tmb_model_state *state, char **out, tmb_error *error) {
    tmb_model_state unused;
    bool by_path = path != NULL && path[0] != '\0';
    const char *given = by_path ? path : getenv("TIMBRE_DENOISER");
    state = state == NULL ? &unused : state;
    *state = TMB_MODEL_ABSENT;
    *out = NULL;
    char *found = NULL;
    if (given != NULL && given[0] != '\0') {
        if (access(given, R_OK) != 0) {
            return tmb_fail(error, TMB_ERROR_MODEL, "no DeepFilterNet3 model at %.300s%s", given,
                            by_path ? "" : " (from the variable TIMBRE_DENOISER)");
        }
        found = tmb_strdup(given);
        return found != NULL ? check_archive(found, state, out, error)
                             : tmb_fail_memory(error, "a path", strlen(given));
    }
    tmb_status status = locate_dfn3(&found, error);
    if (status != TMB_OK) {
        return status;
    }
    if (found == NULL) {
        return tmb_fail(error, TMB_ERROR_MODEL,
                        "the DeepFilterNet3 model (%s) is not installed: run `timbre pull dfn3`, or set "
                        "TIMBRE_DENOISER to where it is",
                        TMB_DFN3_FILE);
    }
    return check_archive(found, state, out, error);
}

/* What a search found: a whole checkpoint's folder, or why there is none. */
typedef struct finding {
    tmb_model_state state;
    char *folder; /* COMPLETE: allocated */
    char *place;  /* INCOMPLETE: where the part is; allocated */
    char reason[TMB_CHECKPOINT_REASON_MAX];
} finding;

static void clear(finding *f) {
    free(f->folder);
    free(f->place);
    *f = (finding){0};
}

/* Looks through the caches for a repository: a whole one goes before a part that lies in an earlier cache. */
static tmb_status find_repository(const char *repository, finding *f, tmb_error *error) {
    *f = (finding){0};
    for (int i = 0; i < PLACES_OF_HUBS && f->state != TMB_MODEL_COMPLETE; i++) {
        char *hub = NULL;
        char *folder = NULL;
        char reason[TMB_CHECKPOINT_REASON_MAX];
        tmb_status status = hub_place(i, &hub, error);
        if (status == TMB_OK) {
            status = tmb_hf_repository_folder(hub, repository, &folder, error);
        }
        free(hub);
        if (status == TMB_ERROR_IO) {
            continue; /* no home folder */
        }
        if (status != TMB_OK) {
            clear(f);
            return status;
        }
        tmb_model_state state = tmb_hf_find_snapshot(folder, &f->folder, reason);
        if (state == TMB_MODEL_INCOMPLETE && f->state == TMB_MODEL_ABSENT) {
            f->place = folder;
            folder = NULL;
            memcpy(f->reason, reason, sizeof reason);
        }
        f->state = state > f->state ? state : f->state;
        free(folder);
    }
    return TMB_OK;
}

/* The error for a model of the list that is not there, or not whole. */
static tmb_status fail_known(const tmb_known_model *model, const finding *f, tmb_error *error) {
    if (f->state == TMB_MODEL_INCOMPLETE) {
        return tmb_fail(error, TMB_ERROR_MODEL,
                        "%s is not complete (%s): run `timbre pull %s`, which goes on where the download stopped",
                        model->name, f->reason, model->name);
    }
    return tmb_fail(error, TMB_ERROR_MODEL, "%s is not installed: run `timbre pull %s` (%.1f GB)", model->name,
                    model->name, (double)model->bytes / 1e9);
}

/* Ends a search: hands the folder out, or leaves the state. */
static void conclude(finding *f, tmb_model_state *state, char **out) {
    *state = f->state;
    *out = f->folder;
    f->folder = NULL;
    clear(f);
}

static tmb_status find_known(const tmb_known_model *model, tmb_model_state *state, char **out, tmb_error *error) {
    finding f;
    if (model->repository == NULL) {
        return tmb_fail(error, TMB_ERROR_MODEL, "%s speaks no text: it is not a Qwen3-TTS model", model->name);
    }
    tmb_status status = find_repository(model->repository, &f, error);
    if (status == TMB_OK && f.state != TMB_MODEL_COMPLETE) {
        status = fail_known(model, &f, error);
    }
    conclude(&f, state, out);
    return status;
}

/* The smallest that clones voices and is whole. A part of one is an error when there is no whole one: whoever began a
 * download wants that model, not another voice. */
static tmb_status find_smallest(tmb_model_state *state, char **out, tmb_error *error) {
    const tmb_known_model *model;
    tmb_error first = {0};
    for (size_t i = 0; (model = tmb_models_at(i)) != NULL; i++) {
        tmb_model_state here = TMB_MODEL_ABSENT;
        tmb_error why = {0};
        bool clones = model->kind != NULL && strcmp(model->kind, "base") == 0;
        tmb_status status = clones ? find_known(model, &here, out, &why) : TMB_ERROR_MODEL;
        if (status == TMB_OK || status != TMB_ERROR_MODEL) {
            *state = here;
            return status == TMB_OK ? status : tmb_fail(error, status, "%s", why.message);
        }
        if (here == TMB_MODEL_INCOMPLETE && *state == TMB_MODEL_ABSENT) {
            *state = here;
            first = why;
        }
    }
    if (*state == TMB_MODEL_INCOMPLETE) {
        return tmb_fail(error, TMB_ERROR_MODEL, "%s", first.message);
    }
    return tmb_fail(error, TMB_ERROR_MODEL,
                    "no Qwen3-TTS model is installed: run `timbre pull %s` (%.1f GB), or give a "
                    "checkpoint's folder with --model",
                    known[0].name, (double)known[0].bytes / 1e9);
}

static tmb_status find_in_folder(const char *folder, tmb_model_state *state, char **out, tmb_error *error) {
    char reason[TMB_CHECKPOINT_REASON_MAX];
    if (tmb_hf_is_repository_folder(folder)) {
        *state = tmb_hf_find_snapshot(folder, out, reason);
        if (*state == TMB_MODEL_COMPLETE) {
            return TMB_OK;
        }
        return tmb_fail(error, TMB_ERROR_MODEL, "%.300s: no snapshot in this folder is a whole checkpoint%s%s", folder,
                        reason[0] != '\0' ? ": " : "", reason);
    }
    tmb_status status = tmb_checkpoint_examine(folder, state, reason, error);
    if (status != TMB_OK) {
        return status;
    }
    if (*state != TMB_MODEL_COMPLETE) {
        return tmb_fail(error, TMB_ERROR_MODEL, "%.300s: %s Qwen3-TTS checkpoint: %s", folder,
                        *state == TMB_MODEL_INCOMPLETE ? "not a whole" : "not a", reason);
    }
    *out = tmb_strdup(folder);
    return *out != NULL ? TMB_OK : tmb_fail_memory(error, "a path", 0);
}

/* A repository that is not in the list. */
static tmb_status find_other_repository(const char *repository, tmb_model_state *state, char **out, tmb_error *error) {
    finding f;
    tmb_status status = find_repository(repository, &f, error);
    if (status == TMB_OK && f.state == TMB_MODEL_INCOMPLETE) {
        status = tmb_fail(error, TMB_ERROR_MODEL, "%.200s is not complete in %.200s (%s): run `timbre pull %.200s`",
                          repository, f.place, f.reason, repository);
    } else if (status == TMB_OK && f.state == TMB_MODEL_ABSENT) {
        status = tmb_fail(error, TMB_ERROR_MODEL,
                          "%.200s: neither a folder nor in the Hugging Face cache: run `timbre pull %.200s`",
                          repository, repository);
    }
    conclude(&f, state, out);
    return status;
}

tmb_status tmb_models_find_checkpoint(const char *model, tmb_model_state *state, char **out, tmb_error *error) {
    tmb_model_state unused;
    struct stat about;
    state = state == NULL ? &unused : state;
    *state = TMB_MODEL_ABSENT;
    *out = NULL;
    if (model == NULL || model[0] == '\0') {
        return find_smallest(state, out, error);
    }
    const tmb_known_model *found = tmb_models_by_name(model);
    bool is_folder = stat(model, &about) == 0 && S_ISDIR(about.st_mode);
    /* A folder goes before a repository of that name, as with the official client; a plain name before a folder. */
    if (found != NULL && !(is_folder && strchr(model, '/') != NULL)) {
        return find_known(found, state, out, error);
    }
    if (is_folder) {
        return find_in_folder(model, state, out, error);
    }
    if (tmb_hf_is_repository(model)) {
        return find_other_repository(model, state, out, error);
    }
    return tmb_fail(error, TMB_ERROR_MODEL,
                    "%.300s: neither a checkpoint's folder nor one of those that `timbre models` lists (%s, …)", model,
                    known[0].name);
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
        tmb_model_state state = TMB_MODEL_ABSENT;
        tmb_error why = {0};
        tmb_status status = model->repository != NULL ? find_known(model, &state, &path, &why)
                                                      : tmb_models_find_denoiser(NULL, &state, &path, &why);
        if (status != TMB_OK && status != TMB_ERROR_MODEL) {
            return tmb_fail(error, status, "%s", why.message);
        }
        tmb_model_info info = {
            .name = model->name,
            .title = model->title,
            .license = model->license,
            .path = path,
            .bytes = path != NULL ? bytes_at(path) : model->bytes,
            .installed = path != NULL,
            .state = state,
            .short_name = model->short_name,
            .repository = model->repository,
            .reason = status == TMB_OK ? NULL : why.message,
            .kind = model->kind,
        };
        each(user, &info);
        free(path);
    }
    return TMB_OK;
}
