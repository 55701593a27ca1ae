/* The public calls about models: what is installed, downloads, and the tokenizer of a checkpoint. */
#include "weights/models.h"
#include "tts/qwen3/plan/pack_file.h"
#include "tts/qwen3/qwen3.h"
#include "tts/qwen3/text/tokenizer.h"
#include "weights/hf_cache.h"
#include "weights/pull.h"
#include "weights/remove.h"

#include "base/error.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

tmb_status tmb_models(void (*each)(void *user, const tmb_model_info *model), void *user, tmb_error *error) {
    if (each == NULL) {
        return tmb_fail(error, TMB_ERROR_ARGUMENT, "tmb_models needs a callback");
    }
    return tmb_models_list(each, user, error);
}

tmb_status tmb_find_model(const char *model, tmb_model_state *state, char **path, tmb_error *error) {
    char *found = NULL;
    tmb_status status = tmb_models_find_checkpoint(model, state, &found, error);
    if (path != NULL) {
        *path = found;
    } else {
        free(found);
    }
    return status;
}

tmb_status tmb_find_denoiser(const char *path_or_null, tmb_model_state *state, char **path, tmb_error *error) {
    char *found = NULL;
    tmb_status status = tmb_models_find_denoiser(path_or_null, state, &found, error);
    if (path != NULL) {
        *path = found;
    } else {
        free(found);
    }
    return status;
}

tmb_status tmb_model_spec_parse(const char *text, char **name, const char **model, tmb_error *error) {
    struct stat about;
    const char *equals = strchr(text, '=');
    *name = NULL;
    *model = text;
    if (equals == NULL || stat(text, &about) == 0 || memchr(text, '/', (size_t)(equals - text)) != NULL) {
        return TMB_OK;
    }
    if (equals == text || equals[1] == '\0') {
        return tmb_fail_field(error, TMB_ERROR_ARGUMENT, "model", "\"%.200s\" is not NAME=MODEL: %s is missing", text,
                              equals == text ? "the name" : "the model");
    }
    *name = strndup(text, (size_t)(equals - text));
    *model = equals + 1;
    return *name != NULL ? TMB_OK : tmb_fail_memory(error, "a name", strlen(text));
}

/* The older call's callback. */
typedef struct simple_progress {
    bool (*progress)(void *user, const char *file, uint64_t done, uint64_t total);
    void *user;
} simple_progress;

static bool pass_simple(void *user, const tmb_pull_progress *progress) {
    const simple_progress *simple = user;
    return simple->progress == NULL || simple->progress(simple->user, progress->file, progress->done, progress->total);
}

tmb_status tmb_pull(const char *name, bool (*progress)(void *user, const char *file, uint64_t done, uint64_t total),
                    void *user, tmb_error *error) {
    simple_progress simple = {.progress = progress, .user = user};
    tmb_pull_request request;
    tmb_pull_request_default(&request);
    request.name = name;
    request.progress = pass_simple;
    request.user = &simple;
    return tmb_pull_model_with(&request, error);
}

void tmb_pull_request_default(tmb_pull_request *request) {
    *request = (tmb_pull_request){.struct_size = sizeof *request};
}

tmb_status tmb_pull_model_with(const tmb_pull_request *request, tmb_error *error) {
    tmb_pull_request complete;
    tmb_pull_request_default(&complete);
    if (request == NULL || request->struct_size == 0 || request->struct_size > sizeof complete ||
        request->name == NULL) {
        return tmb_fail(error, TMB_ERROR_ARGUMENT, "a download needs a request with a model's name");
    }
    memcpy(&complete, request, request->struct_size);
    const tmb_pull_options options = {
        .progress = complete.progress, .note = complete.note, .user = complete.user, .system = complete.system};
    return tmb_pull_model(complete.name, &options, error);
}

static void remove_packs_of(void *user, const char *snapshot) {
    tmb_removal *out = user;
    char *directory = tmb_qwen3_pack_directory();
    char *folder = realpath(snapshot, NULL);
    if (directory != NULL && folder != NULL) {
        tmb_pack_pruning done = tmb_packs_remove_of(directory, folder);
        out->bytes += done.bytes;
        out->files += done.files;
    }
    free(directory);
    free(folder);
}

/* The archive that pull wrote; not one that a variable or a package brings. */
static tmb_status remove_denoiser(bool system, tmb_removal *out, tmb_error *error) {
    char *path = NULL;
    struct stat about;
    tmb_status status = tmb_models_dfn3_target(system, &path, error);
    if (status == TMB_OK && lstat(path, &about) != 0) {
        status = tmb_fail(error, TMB_ERROR_MODEL, "%.300s is not there: nothing to remove", path);
    } else if (status == TMB_OK && unlink(path) != 0) {
        status = tmb_fail(error, TMB_ERROR_IO, "%.300s: cannot be removed: %s", path, strerror(errno));
    } else if (status == TMB_OK) {
        out->files++;
        out->bytes += (uint64_t)about.st_size;
    }
    free(path);
    return status;
}

tmb_status tmb_remove_model(const char *name, bool system, tmb_removal *out, tmb_error *error) {
    tmb_removal unused;
    out = out == NULL ? &unused : out;
    *out = (tmb_removal){0};
    const tmb_known_model *model = name != NULL ? tmb_models_by_name(name) : NULL;
    if (model != NULL && model->repository == NULL) {
        return remove_denoiser(system, out, error);
    }
    if (name == NULL || (model == NULL && !tmb_hf_is_repository(name))) {
        return tmb_fail(
            error, TMB_ERROR_ARGUMENT,
            "\"%.200s\" is no model that was pulled: only those are removed (a folder of your own is yours to "
            "delete)",
            name != NULL ? name : "");
    }
    char *hub = NULL;
    tmb_status status = tmb_models_hub(system, &hub, error);
    if (status == TMB_OK) {
        status = tmb_remove_repository(hub, model != NULL ? model->repository : name, remove_packs_of, out, out, error);
    }
    free(hub);
    return status;
}

tmb_status tmb_packs(void (*each)(void *user, const tmb_pack_info *pack), void *user, tmb_error *error) {
    if (each == NULL) {
        return tmb_fail(error, TMB_ERROR_ARGUMENT, "tmb_packs needs a callback");
    }
    char *directory = tmb_qwen3_pack_directory();
    tmb_status status = directory != NULL ? tmb_packs_each(directory, each, user, error) : TMB_OK;
    free(directory);
    return status;
}

tmb_status tmb_packs_prune_stale(tmb_removal *out, tmb_error *error) {
    (void)error;
    char *directory = tmb_qwen3_pack_directory();
    tmb_pack_pruning done = {0};
    if (directory != NULL) {
        done = tmb_packs_prune(directory);
    }
    free(directory);
    if (out != NULL) {
        *out = (tmb_removal){.bytes = done.bytes, .files = done.files};
    }
    return TMB_OK;
}

/* The tokenizer that was used last, so that many texts in a row read its files once. */
static struct {
    pthread_mutex_t lock;
    char *folder;
    struct timespec changed; /* of the folder's tokenizer files, the latest */
    tmb_tokenizer *tokenizer;
} last = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* When the newest of the files that make a tokenizer changed. */
static struct timespec tokenizer_changed(const char *folder) {
    static const char *const files[] = {"vocab.json", "merges.txt", "tokenizer.json", "tokenizer_config.json",
                                        "added_tokens.json"};
    struct timespec newest = {0};
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        char path[4096];
        struct stat about;
        int length = snprintf(path, sizeof path, "%s/%s", folder, files[i]);
        if (length > 0 && (size_t)length < sizeof path && stat(path, &about) == 0 &&
            (about.st_mtim.tv_sec > newest.tv_sec ||
             (about.st_mtim.tv_sec == newest.tv_sec && about.st_mtim.tv_nsec > newest.tv_nsec))) {
            newest = about.st_mtim;
        }
    }
    return newest;
}

/* With the lock held. Takes over `folder`. */
static tmb_status use_tokenizer(char *folder, tmb_error *error) {
    struct timespec changed = tokenizer_changed(folder);
    if (last.tokenizer != NULL && strcmp(last.folder, folder) == 0 && changed.tv_sec == last.changed.tv_sec &&
        changed.tv_nsec == last.changed.tv_nsec) {
        free(folder);
        return TMB_OK;
    }
    tmb_tokenizer_destroy(&last.tokenizer);
    free(last.folder);
    last.folder = folder;
    last.changed = changed;
    return tmb_tokenizer_load(folder, TMB_TEXT_PATTERN_QWEN2, &last.tokenizer, error);
}

/* When the library goes: nothing stays behind. */
__attribute__((destructor)) static void forget_tokenizer(void) {
    tmb_tokenizer_destroy(&last.tokenizer);
    free(last.folder);
    last.folder = NULL;
}

tmb_status tmb_tokenize(const char *model, const char *text, size_t text_bytes, int32_t **ids, size_t *count,
                        tmb_error *error) {
    if (ids == NULL || count == NULL || (text == NULL && text_bytes != 0)) {
        return tmb_fail(error, TMB_ERROR_ARGUMENT, "tmb_tokenize needs a text and a place for its ids");
    }
    *ids = NULL;
    *count = 0;
    char *folder = NULL;
    tmb_status status = tmb_models_find_checkpoint(model, NULL, &folder, error);
    if (status != TMB_OK) {
        return status;
    }
    (void)pthread_mutex_lock(&last.lock);
    status = use_tokenizer(folder, error);
    if (status == TMB_OK) {
        status = tmb_tokenizer_encode(last.tokenizer, text == NULL ? "" : text, text_bytes, ids, count, error);
    }
    (void)pthread_mutex_unlock(&last.lock);
    return status;
}
