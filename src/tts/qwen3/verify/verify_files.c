#include "tts/qwen3/verify/verify.h"

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "weights/checkpoint.h"
#include "weights/digest.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

/* Files a checkpoint has, whether it was released or not. */
static const char *const usual[] = {"config.json",
                                    "model.safetensors",
                                    "vocab.json",
                                    "merges.txt",
                                    "tokenizer_config.json",
                                    "speech_tokenizer/config.json",
                                    "speech_tokenizer/model.safetensors"};

static bool size_of(const char *folder, const char *name, uint64_t *bytes) {
    char *path = tmb_asprintf("%s/%s", folder, name);
    struct stat about;
    bool there = path != NULL && stat(path, &about) == 0 && S_ISREG(about.st_mode);
    *bytes = there ? (uint64_t)about.st_size : 0;
    free(path);
    return there;
}

static bool sum_is(const char *folder, const tmb_released_file *file) {
    char sum[TMB_DIGEST_HEX_MAX];
    char *path = tmb_asprintf("%s/%s", folder, file->path);
    bool equal =
        path != NULL && tmb_digest_file(TMB_DIGEST_SHA256, path, sum, NULL) == TMB_OK && strcmp(sum, file->sha256) == 0;
    free(path);
    return equal;
}

/* The cache's folder of a repository is named "models--OWNER--NAME". */
static bool lies_in_repository(const char *folder, const char *repository) {
    char part[160];
    const char *slash = strchr(repository, '/');
    (void)snprintf(part, sizeof part, "models--%.*s--%s/", (int)(slash - repository), repository, slash + 1);
    return strstr(folder, part) != NULL;
}

const tmb_released *tmb_verify_identify(const char *folder, const char *name) {
    const tmb_released *model;
    for (size_t i = 0; (model = tmb_released_at(i)) != NULL; i++) {
        uint64_t bytes = 0;
        if ((name != NULL && strcasecmp(name, model->name) == 0) || lies_in_repository(folder, model->repository) ||
            (size_of(folder, model->files[1].path, &bytes) && bytes == model->files[1].bytes) ||
            sum_is(folder, &model->files[0])) {
            return model;
        }
    }
    return NULL;
}

/* Why the file is no file with contents, or NULL. */
static const char *plain_fault(const char *path) {
    struct stat about;
    if (lstat(path, &about) != 0) {
        return "is missing";
    }
    if (stat(path, &about) != 0) {
        return "is a link to a file that is not there";
    }
    if (!S_ISREG(about.st_mode)) {
        return "is not a file";
    }
    if (about.st_size == 0) {
        return "is empty";
    }
    if (access(path, R_OK) != 0) {
        return "may not be read by this user";
    }
    return tmb_is_lfs_pointer(path) ? "is a Git LFS pointer, not the file itself: `git lfs pull` brings that" : NULL;
}

static void check_released(const char *path, const tmb_released_file *file, tmb_verify_report *report) {
    struct stat about;
    char sum[TMB_DIGEST_HEX_MAX];
    tmb_error error = {0};
    const char *fault = plain_fault(path);
    if (fault != NULL) {
        tmb_verify_add(report, file->path, TMB_VERIFY_FAULT, "%s", fault);
    } else if (stat(path, &about) == 0 && (uint64_t)about.st_size != file->bytes) {
        tmb_verify_add(report, file->path, TMB_VERIFY_FAULT, "has %llu bytes, the released file has %llu: %s",
                       (unsigned long long)about.st_size, (unsigned long long)file->bytes,
                       (uint64_t)about.st_size < file->bytes ? "it was cut, or is another file" : "it is another file");
    } else if (tmb_digest_file(TMB_DIGEST_SHA256, path, sum, &error) != TMB_OK) {
        tmb_verify_add(report, file->path, TMB_VERIFY_FAULT, "%s", error.message);
    } else if (strcmp(sum, file->sha256) != 0) {
        tmb_verify_add(report, file->path, TMB_VERIFY_FAULT,
                       "has the released size and another SHA-256: %s instead of %s", sum, file->sha256);
    } else {
        tmb_verify_add(report, file->path, TMB_VERIFY_OK, "%llu bytes and SHA-256 %.8s… as released",
                       (unsigned long long)file->bytes, sum);
    }
    (void)tmb_verify_advance(report, file->bytes);
}

void tmb_verify_files(const char *folder, const tmb_released *released, tmb_verify_report *report) {
    size_t count = released != NULL ? released->file_count : sizeof usual / sizeof usual[0];
    for (size_t i = 0; i < count && !report->cancelled; i++) {
        const char *name = released != NULL ? released->files[i].path : usual[i];
        char *path = tmb_asprintf("%s/%s", folder, name);
        if (path == NULL) {
            continue;
        }
        if (released != NULL) {
            check_released(path, &released->files[i], report);
        } else {
            const char *fault = plain_fault(path);
            /* Shards and tokenizer.json may take the place of these. */
            bool replaced = fault != NULL && tmb_checkpoint_state(folder, NULL) == TMB_MODEL_COMPLETE;
            if (!replaced) {
                tmb_verify_add(report, name, fault != NULL ? TMB_VERIFY_FAULT : TMB_VERIFY_OK, "%s",
                               fault != NULL ? fault : "is there");
            }
        }
        free(path);
    }
}
