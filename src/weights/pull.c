#include "weights/pull.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/url.h"
#include "weights/digest.h"
#include "weights/download.h"
#include "weights/hf_cache.h"
#include "weights/hub_list.h"
#include "weights/models.h"
#include "weights/paths.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define ANSWER_BYTES_MAX ((size_t)8 << 20)
#define SHOWN_MAX 512 /* no message holds more of a URL */

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
    const char *repository;
    char *endpoint;        /* HF_ENDPOINT without a slash at its end */
    char shown[SHOWN_MAX]; /* and without a password, for messages */
    const tmb_pull_options *options;
    tmb_download_options download, quiet; /* with progress, and without */
    tmb_hub_list list;
    tmb_pull_progress progress; /* of the file that is being fetched, and of all */
    uint64_t before;            /* bytes of the files that are done */
    char *folder;               /* of the repository in the cache */
    tmb_error *error;
} pull;

static bool pass_progress(void *user, uint64_t done, uint64_t total) {
    pull *p = user;
    p->progress.done = done;
    p->progress.total = total;
    p->progress.all_done = p->before + done;
    return p->options->progress == NULL || p->options->progress(p->options->user, &p->progress);
}

/* The same if nothing comes yet: only asks whether to go on. */
static bool pass_nothing(void *user, uint64_t done, uint64_t total) {
    (void)done;
    (void)total;
    const pull *p = user;
    return p->options->progress == NULL || p->options->progress(p->options->user, &p->progress);
}

TMB_PRINTF(2, 3) static void note(const pull *p, const char *format, ...) {
    char line[1024];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    if (p->options->note != NULL) {
        p->options->note(p->options->user, line);
    }
}

static void pass_retry(void *user, const char *reason, double seconds) {
    note(user, "%s; trying again in %.0f s", reason, seconds < 1 ? 1 : seconds);
}

static bool pass_wait(void *user, double seconds) {
    const pull *p = user;
    return p->options->wait(p->options->user, seconds);
}

/* The checksum that a tag is: SHA-256 for large files, git's for small ones. */
static tmb_digest_kind tag_kind(const char *tag) { return strlen(tag) == 64 ? TMB_DIGEST_SHA256 : TMB_DIGEST_GIT; }

/* The bytes of a file of the list that are still to come. */
static uint64_t bytes_to_come(const pull *p, const tmb_hub_file *file) {
    uint64_t there = 0;
    for (int i = 0; i < 2; i++) {
        struct stat about;
        char *path = i == 0 ? tmb_asprintf("%s/blobs/%s", p->folder, file->tag)
                            : tmb_asprintf("%s/blobs/%s.incomplete", p->folder, file->tag);
        if (path != NULL && stat(path, &about) == 0 && (uint64_t)about.st_size > there) {
            there = (uint64_t)about.st_size;
        }
        free(path);
    }
    return file->bytes > there ? file->bytes - there : 0;
}

/* Before the first byte, and not after two gigabytes. */
static tmb_status check_room(const pull *p) {
    struct statvfs disk;
    uint64_t needed = 0;
    for (size_t i = 0; i < p->list.count; i++) {
        needed += bytes_to_come(p, &p->list.files[i]);
    }
    if (statvfs(p->folder, &disk) == 0 && (uint64_t)disk.f_bavail * disk.f_frsize < needed) {
        return tmb_fail(p->error, TMB_ERROR_IO, "%s: %llu more bytes are needed, but the disk has room for %llu",
                        p->folder, (unsigned long long)needed,
                        (unsigned long long)((uint64_t)disk.f_bavail * disk.f_frsize));
    }
    return TMB_OK;
}

/* Downloads to `half`, checks, and renames it to `blob`. */
static tmb_status fetch_blob(pull *p, const char *url, const char *tag, uint64_t bytes, const char *half,
                             const char *blob) {
    for (int attempt = 1;; attempt++) {
        struct stat before;
        bool resumed = stat(half, &before) == 0 && before.st_size != 0;
        tmb_status status = tmb_download_file(url, &p->download, half, bytes, p->error);
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
            char shown[SHOWN_MAX];
            return tmb_fail(p->error, TMB_ERROR_FORMAT,
                            "%s: what the server sent is damaged: its checksum is %s, but should be %s",
                            tmb_url_show(url, strlen(url), shown, sizeof shown), sum, tag);
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

static tmb_status ensure_blob(pull *p, const char *url, const tmb_hub_file *file) {
    const char *tag = file->tag;
    uint64_t bytes = file->has_bytes ? file->bytes : TMB_DOWNLOAD_BYTES_UNKNOWN;
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
        if (stat(blob, &about) != 0 || (file->has_bytes && (uint64_t)about.st_size != bytes)) {
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

static tmb_status file_url(const pull *p, const char *path, char url[TMB_URL_MAX]) {
    int length = snprintf(url, TMB_URL_MAX, "%s/%s/resolve/%s/%s", p->endpoint, p->repository, p->list.commit, path);
    return length < 0 || length >= TMB_URL_MAX ? tmb_fail(p->error, TMB_ERROR_ARGUMENT, "HF_ENDPOINT is too long")
                                               : TMB_OK;
}

/* Asks for what the list does not tell of a file. */
static tmb_status complete_entry(pull *p, tmb_hub_file *file) {
    char url[TMB_URL_MAX];
    char shown[SHOWN_MAX];
    tmb_download_about about;
    if (file->tag[0] != '\0' && file->has_bytes) {
        return TMB_OK;
    }
    tmb_status status = file_url(p, file->path, url);
    if (status == TMB_OK) {
        status = tmb_download_head(url, &p->quiet, &about, p->error);
    }
    if (status != TMB_OK) {
        return status;
    }
    (void)tmb_url_show(url, strlen(url), shown, sizeof shown);
    if (file->tag[0] == '\0' && !tmb_hf_is_tag(about.etag)) {
        return tmb_fail(p->error, TMB_ERROR_FORMAT, "%s: the server names no checksum (ETag \"%.80s\")", shown,
                        about.etag);
    }
    if (file->tag[0] == '\0') {
        memcpy(file->tag, about.etag, strlen(about.etag) + 1);
    }
    if (!file->has_bytes && about.has_bytes) {
        if (about.bytes > TMB_HUB_FILE_BYTES_MAX) {
            return tmb_fail(p->error, TMB_ERROR_FORMAT, "%s: %llu bytes are more than any file of a model has", shown,
                            (unsigned long long)about.bytes);
        }
        file->bytes = about.bytes;
        file->has_bytes = true;
    }
    return TMB_OK; /* without a size the checksum alone tells whether the file is whole */
}

static tmb_status pull_file(pull *p, const tmb_hub_file *file) {
    char url[TMB_URL_MAX];
    p->progress.file = file->path;
    p->progress.done = 0;
    p->progress.total = file->bytes;
    p->progress.all_done = p->before;
    tmb_status status = file_url(p, file->path, url);
    if (status == TMB_OK) {
        status = ensure_blob(p, url, file);
    }
    if (status == TMB_OK) {
        status = tmb_hf_link(p->folder, p->list.commit, file->path, file->tag, p->error);
    }
    if (status == TMB_OK && !pass_progress(p, file->bytes, file->bytes)) {
        status = tmb_fail(p->error, TMB_ERROR_CANCELLED, "cancelled");
    }
    p->before += file->bytes;
    return status;
}

/* The snapshot becomes "main" when it is a whole checkpoint. */
static tmb_status publish(const pull *p) {
    char reason[TMB_CHECKPOINT_REASON_MAX];
    char *snapshot = tmb_asprintf("%s/snapshots/%s", p->folder, p->list.commit);
    char *reference = tmb_asprintf("%s/refs/main", p->folder);
    tmb_status status = TMB_OK;
    if (snapshot == NULL || reference == NULL) {
        status = tmb_fail_memory(p->error, "a path", 0);
    } else if (tmb_checkpoint_state(snapshot, reason) != TMB_MODEL_COMPLETE) {
        status = tmb_fail(p->error, TMB_ERROR_MODEL, "%s at %s: not a whole Qwen3-TTS checkpoint: %s", p->repository,
                          p->shown, reason);
    } else {
        status = tmb_path_publish(reference, p->list.commit, 40, p->error);
    }
    free(snapshot);
    free(reference);
    return status;
}

static tmb_status fetch_list(pull *p) {
    char url[TMB_URL_MAX];
    char shown[SHOWN_MAX];
    char *text = NULL;
    size_t bytes = 0;
    int length = snprintf(url, sizeof url, "%s/api/models/%s/revision/main?blobs=true", p->endpoint, p->repository);
    if (length < 0 || (size_t)length >= sizeof url) {
        return tmb_fail(p->error, TMB_ERROR_ARGUMENT, "HF_ENDPOINT is too long");
    }
    note(p, "fetching the file list of %s from %s", p->repository, p->shown);
    p->progress.file = "file list";
    tmb_status status = tmb_download_text(url, &p->quiet, ANSWER_BYTES_MAX, &text, &bytes, p->error);
    if (status == TMB_OK) {
        status =
            tmb_hub_list_parse(tmb_url_show(url, strlen(url), shown, sizeof shown), text, bytes, &p->list, p->error);
    }
    free(text);
    for (size_t i = 0; status == TMB_OK && i < p->list.count; i++) {
        status = complete_entry(p, &p->list.files[i]);
        p->progress.all_total += p->list.files[i].bytes;
    }
    return status;
}

static tmb_status pull_files(pull *p, const char *license) {
    uint64_t to_come = 0;
    tmb_status status = tmb_path_make_folder(p->folder, p->error);
    if (status == TMB_OK) {
        status = check_room(p);
    }
    for (size_t i = 0; status == TMB_OK && i < p->list.count; i++) {
        to_come += bytes_to_come(p, &p->list.files[i]);
    }
    if (status == TMB_OK) {
        note(p, "%s: %zu files, %.1f MB, of which %.1f MB are to come%s%s; into %s", p->repository, p->list.count,
             (double)p->progress.all_total / 1e6, (double)to_come / 1e6, license != NULL ? "; licence " : "",
             license != NULL ? license : "", p->folder);
    }
    for (size_t i = 0; status == TMB_OK && i < p->list.count; i++) {
        status = pull_file(p, &p->list.files[i]);
    }
    return status == TMB_OK ? publish(p) : status;
}

/* HF_ENDPOINT without slashes at its end: "//api/…" is another address to a strict server. */
static tmb_status find_endpoint(char **out, tmb_error *error) {
    const char *endpoint = environment("HF_ENDPOINT", "https://huggingface.co");
    size_t length = strlen(endpoint);
    while (length > 0 && endpoint[length - 1] == '/') {
        length--;
    }
    *out = NULL;
    if (strncasecmp(endpoint, "https://", 8) != 0 && strncasecmp(endpoint, "http://", 7) != 0) {
        char shown[201];
        return tmb_fail(error, TMB_ERROR_ARGUMENT, "HF_ENDPOINT is \"%s\", but must begin with https:// (or http://)",
                        tmb_url_show(endpoint, strlen(endpoint), shown, sizeof shown));
    }
    *out = tmb_asprintf("%.*s", (int)(length < TMB_URL_MAX ? length : TMB_URL_MAX), endpoint);
    return *out == NULL ? tmb_fail_memory(error, "a URL", 0) : TMB_OK;
}

tmb_status tmb_pull_repository(const char *repository, const char *license, const tmb_pull_options *options,
                               tmb_error *error) {
    if (is_offline()) {
        return tmb_fail(
            error, TMB_ERROR_UNSUPPORTED,
            "HF_HUB_OFFLINE is set: nothing is downloaded (--model DIR uses a folder that was copied here)");
    }
    pull p = {.repository = repository, .options = options, .error = error};
    p.download = (tmb_download_options){.token = environment("HF_TOKEN", environment("HUGGING_FACE_HUB_TOKEN", NULL)),
                                        .token_variable = "HF_TOKEN",
                                        .retry_delay = options->retry_delay,
                                        .progress = pass_progress,
                                        .retry = pass_retry,
                                        .wait = options->wait != NULL ? pass_wait : NULL,
                                        .user = &p};
    p.quiet = p.download;
    p.quiet.progress = pass_nothing;
    char *hub = NULL;
    tmb_status status = find_endpoint(&p.endpoint, error);
    if (status == TMB_OK) {
        (void)tmb_url_show(p.endpoint, strlen(p.endpoint), p.shown, sizeof p.shown);
        status = tmb_models_hub(options->system, &hub, error);
    }
    if (status == TMB_OK) {
        status = tmb_hf_repository_folder(hub, repository, &p.folder, error);
    }
    if (status == TMB_OK) {
        status = fetch_list(&p);
    }
    if (status == TMB_OK) {
        status = pull_files(&p, license);
    }
    tmb_hub_list_free(&p.list);
    free(hub);
    free(p.folder);
    free(p.endpoint);
    return status;
}

/* The denoiser, for a model that is there: without it `clone` would refuse to work. */
static tmb_status bring_denoiser(const char *name, const tmb_pull_options *options, tmb_error *error) {
    char *path = NULL;
    tmb_status status = options->system ? TMB_ERROR_MODEL : tmb_models_find_denoiser(NULL, NULL, &path, NULL);
    free(path);
    if (status == TMB_OK) {
        return TMB_OK;
    }
    status = tmb_pull_dfn3(options, error);
    if (status != TMB_OK && status != TMB_ERROR_CANCELLED) {
        tmb_error_prefix(error, "%s is installed, but DeepFilterNet3, which cleans recording and speech, is not", name);
    }
    return status;
}

tmb_status tmb_pull_model(const char *name, const tmb_pull_options *options, tmb_error *error) {
    static const tmb_pull_options none = {0};
    const tmb_known_model *model = tmb_models_by_name(name);
    options = options == NULL ? &none : options;
    if (model == NULL && !tmb_hf_is_repository(name)) {
        return tmb_fail(error, TMB_ERROR_ARGUMENT,
                        "there is no model \"%.60s\": it is %s, %s or another that `timbre models` lists", name,
                        tmb_models_at(0)->name, tmb_models_at(1)->name);
    }
    if (model != NULL && model->repository == NULL) {
        return tmb_pull_dfn3(options, error);
    }
    const char *title = model != NULL ? model->name : name;
    tmb_status status = tmb_pull_repository(model != NULL ? model->repository : name,
                                            model != NULL ? model->license : NULL, options, error);
    return status == TMB_OK ? bring_denoiser(title, options, error) : status;
}
