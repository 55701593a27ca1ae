#include "weights/checkpoint.h"

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "weights/hf_cache.h"
#include "weights/json.h"
#include "weights/safetensors.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define INDEX_BYTES_MAX (64u << 20)
#define LFS_POINTER_BYTES_MAX 1024

/* One look at a folder. */
typedef struct inspection {
    const char *folder;
    size_t seen; /* files of a checkpoint that are there in any form */
    bool faulty;
    bool starved; /* of memory or descriptors: what was seen says nothing */
    char *reason;
} inspection;

/* Keeps the first fault only: it is the one to mend first. */
TMB_PRINTF(2, 3) static void find_fault(inspection *i, const char *format, ...) {
    if (i->faulty) {
        return;
    }
    i->faulty = true;
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(i->reason, TMB_CHECKPOINT_REASON_MAX, format, arguments);
    va_end(arguments);
}

bool tmb_is_lfs_pointer(const char *path) {
    static const char beginning[] = "version https://git-lfs.github.com/spec/";
    char head[sizeof beginning];
    int file = -1;
    uint64_t size = 0;
    if (tmb_file_open(path, &file, &size, NULL) != TMB_OK) {
        return false;
    }
    bool pointer = size >= sizeof beginning && size <= LFS_POINTER_BYTES_MAX &&
                   tmb_file_read_at(file, 0, head, sizeof head, path, NULL) == TMB_OK &&
                   memcmp(head, beginning, sizeof beginning - 1) == 0;
    (void)close(file);
    return pointer;
}

static bool is_there(inspection *i, const char *name) {
    char *path = tmb_asprintf("%s/%s", i->folder, name);
    struct stat about;
    bool there = path != NULL && lstat(path, &about) == 0;
    i->starved = i->starved || path == NULL;
    free(path);
    return there;
}

/* A file that is needed; *path is its allocated name when it can be read on. */
static bool need_file(inspection *i, const char *name, char **path) {
    struct stat about;
    *path = tmb_asprintf("%s/%s", i->folder, name);
    if (*path == NULL) {
        i->starved = true;
        find_fault(i, "%s: out of memory", name);
        return false;
    }
    if (lstat(*path, &about) != 0) {
        find_fault(i, "%s is missing", name);
    } else {
        i->seen++;
        if (stat(*path, &about) != 0) {
            find_fault(i, "%s is a link to a file that is not there", name);
        } else if (!S_ISREG(about.st_mode)) {
            find_fault(i, "%s is not a file", name);
        } else if (about.st_size == 0) {
            find_fault(i, "%s is empty", name);
        } else if (access(*path, R_OK) != 0) {
            find_fault(i, "%s may not be read by this user", name);
        } else if (tmb_is_lfs_pointer(*path)) {
            find_fault(i, "%s is a Git LFS pointer, not the file itself (`git lfs pull` brings that)", name);
        } else {
            return true;
        }
    }
    free(*path);
    *path = NULL;
    return false;
}

static void need_plain_file(inspection *i, const char *name) {
    char *path = NULL;
    (void)need_file(i, name, &path);
    free(path);
}

/* A file of weights, which must be as long as its header says. */
static void need_weights(inspection *i, const char *name) {
    char *path = NULL;
    tmb_safetensors *weights = NULL;
    tmb_error error = {0};
    if (need_file(i, name, &path)) {
        if (tmb_safetensors_open(path, &weights, &error) != TMB_OK) {
            tmb_error reason = {0};
            i->starved = i->starved || error.status == TMB_ERROR_MEMORY || tmb_error_is_exhausted(&error);
            if (error.system != 0) {
                (void)tmb_fail_errno(&reason, error.status, error.system, "%s", name);
            } else {
                (void)tmb_fail(&reason, error.status, "%s: %s", name,
                               error.name_bytes > 0 ? error.message + error.name_bytes : "cannot be opened");
            }
            find_fault(i, "%s", reason.message);
        }
        tmb_safetensors_close(&weights);
    }
    free(path);
}

/* All shards that an index names. */
static void need_shards(inspection *i, const char *index_name) {
    char *path = NULL;
    json_t *index = NULL;
    if (!need_file(i, index_name, &path)) {
        return;
    }
    const char *tensor = NULL;
    json_t *value = NULL;
    const char *last = "";
    tmb_status status = tmb_json_read(path, INDEX_BYTES_MAX, &index, NULL);
    i->starved = i->starved || status == TMB_ERROR_MEMORY;
    if (status != TMB_OK || json_object_size(json_object_get(index, "weight_map")) == 0) {
        find_fault(i, "%s is not a list of tensors", index_name);
    }
    json_object_foreach(json_object_get(index, "weight_map"), tensor, value) {
        const char *file = json_string_value(value);
        if (file == NULL || !tmb_hf_is_path(file)) {
            find_fault(i, "%s names no file for a tensor", index_name);
        } else if (!i->faulty && strcmp(file, last) != 0) {
            /* Most tensors lie in the file of the one before them. */
            need_weights(i, file);
            last = file;
        }
    }
    json_decref(index);
    free(path);
}

static void need_tokenizer(inspection *i) {
    if (!is_there(i, "vocab.json") && is_there(i, "tokenizer.json")) {
        need_plain_file(i, "tokenizer.json");
        return;
    }
    need_plain_file(i, "vocab.json");
    need_plain_file(i, "merges.txt");
    if (!i->faulty && !is_there(i, "added_tokens.json") && !is_there(i, "tokenizer_config.json")) {
        find_fault(i, "tokenizer_config.json is missing (it has the tokens that steer the model)");
    }
    static const char *const optional[] = {"added_tokens.json", "tokenizer_config.json"};
    for (size_t k = 0; k < sizeof optional / sizeof optional[0]; k++) {
        if (is_there(i, optional[k])) {
            need_plain_file(i, optional[k]);
        }
    }
}

/* What adapters are trained into and nothing else: a base model is needed to speak with them. */
static bool is_adapter_alone(inspection *i) {
    static const char *const files[] = {"adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"};
    bool adapter = false;
    for (size_t k = 0; k < sizeof files / sizeof files[0]; k++) {
        adapter = adapter || is_there(i, files[k]);
    }
    return adapter && !is_there(i, "model.safetensors") && !is_there(i, "model.safetensors.index.json");
}

tmb_status tmb_checkpoint_examine(const char *folder, tmb_model_state *state, char reason[TMB_CHECKPOINT_REASON_MAX],
                                  tmb_error *error) {
    char unused[TMB_CHECKPOINT_REASON_MAX];
    struct stat about;
    inspection i = {.folder = folder, .reason = reason == NULL ? unused : reason};
    i.reason[0] = '\0';
    if (stat(folder, &about) != 0 || !S_ISDIR(about.st_mode)) {
        find_fault(&i, "not a folder");
        *state = TMB_MODEL_ABSENT;
        return TMB_OK;
    }
    if (is_adapter_alone(&i)) {
        find_fault(&i, "a LoRA adapter alone, which only changes a base model: merge it into that model (with peft, "
                       "merge_and_unload and save_pretrained) and give the merged folder");
        *state = TMB_MODEL_ABSENT;
        return TMB_OK;
    }
    need_plain_file(&i, "config.json");
    bool sharded = !is_there(&i, "model.safetensors") && is_there(&i, "model.safetensors.index.json");
    if (sharded) {
        need_shards(&i, "model.safetensors.index.json");
    } else {
        need_weights(&i, "model.safetensors");
    }
    need_plain_file(&i, "speech_tokenizer/config.json");
    need_weights(&i, "speech_tokenizer/model.safetensors");
    need_tokenizer(&i);
    *state = !i.faulty ? TMB_MODEL_COMPLETE : i.seen != 0 ? TMB_MODEL_INCOMPLETE : TMB_MODEL_ABSENT;
    return i.starved ? tmb_fail_memory(error, "a look at a checkpoint's files", 0) : TMB_OK;
}

tmb_model_state tmb_checkpoint_state(const char *folder, char reason[TMB_CHECKPOINT_REASON_MAX]) {
    tmb_model_state state = TMB_MODEL_ABSENT;
    (void)tmb_checkpoint_examine(folder, &state, reason, NULL);
    return state;
}
