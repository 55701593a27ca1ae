#include "weights/pull.h"

#include "base/error.h"
#include "base/memory.h"
#include "weights/digest.h"
#include "weights/download.h"
#include "weights/hf_cache.h"
#include "weights/json.h"
#include "weights/models.h"
#include "weights/paths.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define ANSWER_BYTES_MAX ((size_t)8 << 20)
#define FILES_MAX 256
#define FILE_BYTES_MAX (UINT64_C(1) << 40)

static const char *environment(const char *name, const char *otherwise) {
    const char *value = getenv(name);
    return value != NULL && value[0] != '\0' ? value : otherwise;
}

static bool is_offline(void) {
    const char *value = environment("HF_HUB_OFFLINE", "0");
    return strcmp(value, "1") == 0 || strcmp(value, "true") == 0 || strcmp(value, "TRUE") == 0 ||
           strcmp(value, "ON") == 0 || strcmp(value, "YES") == 0;
}

/* One pull of a repository. */
typedef struct pull {
    const char *repository, *endpoint;
    const tmb_pull_options *options;
    tmb_download_options download;
    const char *file; /* that is being fetched, for progress */
    char *folder;     /* of the repository in the cache */
    char commit[41];
    tmb_error *error;
} pull;

static bool pass_progress(void *user, uint64_t done, uint64_t total) {
    const pull *p = user;
    return p->options->progress == NULL || p->options->progress(p->options->user, p->file, done, total);
}

/* What of a repository timbre reads. */
static bool is_wanted(const char *path) {
    static const char *const endings[] = {".json", ".txt", ".safetensors"};
    size_t length = strlen(path);
    for (size_t i = 0; i < sizeof endings / sizeof endings[0]; i++) {
        size_t ending = strlen(endings[i]);
        if (length > ending && strcmp(path + length - ending, endings[i]) == 0) {
            return true;
        }
    }
    return false;
}

/* The checksum that a tag is: SHA-256 for large files, git's for small ones. */
static tmb_digest_kind tag_kind(const char *tag) { return strlen(tag) == 64 ? TMB_DIGEST_SHA256 : TMB_DIGEST_GIT; }

static tmb_status check_room(pull *p, const char *path, uint64_t bytes) {
    struct statvfs disk;
    struct stat half;
    uint64_t there = stat(path, &half) == 0 ? (uint64_t)half.st_size : 0;
    uint64_t needed = bytes > there ? bytes - there : 0;
    if (statvfs(p->folder, &disk) == 0 && (uint64_t)disk.f_bavail * disk.f_frsize < needed) {
        return tmb_fail(p->error, TMB_ERROR_IO, "%s: %llu more bytes are needed, but the disk has room for %llu", path,
                        (unsigned long long)needed, (unsigned long long)((uint64_t)disk.f_bavail * disk.f_frsize));
    }
    return TMB_OK;
}

/* Downloads to `half`, checks, and renames it to `blob`. */
static tmb_status fetch_blob(pull *p, const char *url, const char *tag, uint64_t bytes, const char *half,
                             const char *blob) {
    for (int attempt = 1;; attempt++) {
        tmb_status status = check_room(p, half, bytes);
        struct stat before;
        bool resumed = stat(half, &before) == 0 && before.st_size != 0;
        if (status == TMB_OK) {
            status = tmb_download_file(url, &p->download, half, bytes, p->error);
        }
        char sum[TMB_DIGEST_HEX_MAX];
        if (status == TMB_OK) {
            status = tmb_digest_file(tag_kind(tag), half, sum, p->error);
        }
        if (status != TMB_OK) {
            return status;
        }
        if (strcmp(sum, tag) == 0) {
            return rename(half, blob) == 0
                       ? TMB_OK
                       : tmb_fail_errno(p->error, TMB_ERROR_IO, errno, "%s: cannot be stored", blob);
        }
        (void)unlink(half);
        /* What an earlier call left may have been from another file: once more, from the start. */
        if (!resumed || attempt == 2) {
            return tmb_fail(p->error, TMB_ERROR_FORMAT,
                            "%s: what the server sent is damaged: its checksum is %s, but should be %s", url, sum, tag);
        }
    }
}

/* The official client takes the same lock, so the two do not write into one file. */
static int lock_blob(pull *p, const char *tag) {
    const char *name = strrchr(p->folder, '/');
    char *path = tmb_asprintf("%.*s/.locks%s/%s.lock", (int)(name - p->folder), p->folder, name, tag);
    int file = -1;
    if (path != NULL && tmb_path_make_parent(path, NULL) == TMB_OK) {
        file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
        if (file >= 0) {
            while (flock(file, LOCK_EX) != 0 && errno == EINTR) {
            }
        }
    }
    free(path);
    return file;
}

static tmb_status ensure_blob(pull *p, const char *url, const char *tag, uint64_t bytes) {
    char *blob = tmb_asprintf("%s/blobs/%s", p->folder, tag);
    char *half = tmb_asprintf("%s/blobs/%s.incomplete", p->folder, tag);
    tmb_status status = TMB_OK;
    if (blob == NULL || half == NULL) {
        status = tmb_fail_memory(p->error, "a path", 0);
    } else {
        status = tmb_path_make_parent(blob, p->error);
    }
    if (status == TMB_OK) {
        int lock = lock_blob(p, tag);
        struct stat about;
        if (stat(blob, &about) != 0 || (uint64_t)about.st_size != bytes) {
            status = fetch_blob(p, url, tag, bytes, half, blob);
        }
        if (lock >= 0) {
            (void)close(lock);
        }
    }
    free(blob);
    free(half);
    return status;
}

static tmb_status pull_file(pull *p, const char *path) {
    char url[TMB_URL_MAX];
    p->file = path;
    int length = snprintf(url, sizeof url, "%s/%s/resolve/%s/%s", p->endpoint, p->repository, p->commit, path);
    if (length < 0 || (size_t)length >= sizeof url) {
        return tmb_fail(p->error, TMB_ERROR_ARGUMENT, "HF_ENDPOINT is too long");
    }
    tmb_download_about about;
    tmb_download_options quiet = p->download;
    quiet.progress = NULL;
    tmb_status status = tmb_download_head(url, &quiet, &about, p->error);
    if (status != TMB_OK) {
        return status;
    }
    if (!tmb_hf_is_tag(about.etag)) {
        return tmb_fail(p->error, TMB_ERROR_FORMAT, "%s: the server names no checksum (ETag \"%.80s\")", url,
                        about.etag);
    }
    if (!about.has_bytes || about.bytes > FILE_BYTES_MAX) {
        return tmb_fail(p->error, TMB_ERROR_FORMAT, "%s: the server names no size", url);
    }
    status = ensure_blob(p, url, about.etag, about.bytes);
    if (status == TMB_OK) {
        status = tmb_hf_link(p->folder, p->commit, path, about.etag, p->error);
    }
    if (status == TMB_OK && !pass_progress(p, about.bytes, about.bytes)) {
        status = tmb_fail(p->error, TMB_ERROR_CANCELLED, "cancelled");
    }
    return status;
}

static tmb_status pull_files(pull *p, const char *url, const json_t *root) {
    const char *commit = json_string_value(json_object_get(root, "sha"));
    const json_t *files = json_object_get(root, "siblings");
    if (commit == NULL || !tmb_hf_is_commit(commit) || !json_is_array(files) || json_array_size(files) > FILES_MAX) {
        return tmb_fail(p->error, TMB_ERROR_FORMAT, "%s: not the description of a model", url);
    }
    memcpy(p->commit, commit, sizeof p->commit);
    for (size_t i = 0; i < json_array_size(files); i++) {
        const char *path = json_string_value(json_object_get(json_array_get(files, i), "rfilename"));
        if (path == NULL) {
            return tmb_fail(p->error, TMB_ERROR_FORMAT, "%s: a file without a name", url);
        }
        if (!is_wanted(path)) {
            continue;
        }
        if (!tmb_hf_is_path(path)) {
            return tmb_fail(p->error, TMB_ERROR_FORMAT, "%s: \"%.80s\" is not a file's name in a repository", url,
                            path);
        }
        tmb_status status = pull_file(p, path);
        if (status != TMB_OK) {
            return status;
        }
    }
    char reason[TMB_CHECKPOINT_REASON_MAX];
    char *snapshot = tmb_asprintf("%s/snapshots/%s", p->folder, p->commit);
    char *reference = tmb_asprintf("%s/refs/main", p->folder);
    tmb_status status = TMB_OK;
    if (snapshot == NULL || reference == NULL) {
        status = tmb_fail_memory(p->error, "a path", 0);
    } else if (tmb_checkpoint_state(snapshot, reason) != TMB_MODEL_COMPLETE) {
        status = tmb_fail(p->error, TMB_ERROR_MODEL, "%s: not a whole Qwen3-TTS checkpoint: %s", url, reason);
    } else {
        status = tmb_path_publish(reference, p->commit, 40, p->error);
    }
    free(snapshot);
    free(reference);
    return status;
}

tmb_status tmb_pull_repository(const char *repository, const tmb_pull_options *options, tmb_error *error) {
    if (is_offline()) {
        return tmb_fail(error, TMB_ERROR_UNSUPPORTED, "HF_HUB_OFFLINE is set: nothing is downloaded");
    }
    pull p = {.repository = repository,
              .endpoint = environment("HF_ENDPOINT", "https://huggingface.co"),
              .options = options,
              .error = error};
    p.download = (tmb_download_options){.token = environment("HF_TOKEN", NULL),
                                        .retry_delay = options->retry_delay,
                                        .progress = pass_progress,
                                        .user = &p};
    char url[TMB_URL_MAX];
    char *text = NULL;
    size_t bytes = 0;
    json_t *root = NULL;
    int length = snprintf(url, sizeof url, "%s/api/models/%s/revision/main", p.endpoint, repository);
    if (length < 0 || (size_t)length >= sizeof url) {
        return tmb_fail(error, TMB_ERROR_ARGUMENT, "HF_ENDPOINT is too long");
    }
    tmb_download_options quiet = p.download;
    quiet.progress = NULL;
    char *hub = NULL;
    tmb_status status = tmb_models_hub(false, &hub, error);
    if (status == TMB_OK) {
        status = tmb_hf_repository_folder(hub, repository, &p.folder, error);
    }
    free(hub);
    if (status == TMB_OK) {
        status = tmb_download_text(url, &quiet, ANSWER_BYTES_MAX, &text, &bytes, error);
    }
    if (status == TMB_OK) {
        status = tmb_json_parse(url, text, bytes, &root, error);
    }
    if (status == TMB_OK) {
        status = tmb_path_make_folder(p.folder, error);
    }
    if (status == TMB_OK) {
        status = pull_files(&p, url, root);
    }
    json_decref(root);
    free(text);
    free(p.folder);
    return status;
}

tmb_status tmb_pull_model(const char *name, const tmb_pull_options *options, tmb_error *error) {
    static const tmb_pull_options none = {0};
    const tmb_known_model *model = tmb_models_by_name(name);
    options = options == NULL ? &none : options;
    if (model == NULL) {
        return tmb_fail(error, TMB_ERROR_ARGUMENT, "there is no model \"%.60s\": it is one of %s, %s, %s", name,
                        tmb_models_at(0)->name, tmb_models_at(1)->name, tmb_models_at(2)->name);
    }
    return model->repository != NULL ? tmb_pull_repository(model->repository, options, error)
                                     : tmb_pull_dfn3(TMB_DFN3_SHA256, options, error);
}
