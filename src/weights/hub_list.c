#include "weights/hub_list.h"

#include "base/error.h"
#include "base/memory.h"
#include "weights/hf_cache.h"
#include "weights/json.h"

#include <stdlib.h>
#include <string.h>

bool tmb_hub_is_wanted(const char *path) {
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

static void read_size(const json_t *number, tmb_hub_file *file) {
    json_int_t bytes = json_integer_value(number);
    if (json_is_integer(number) && bytes >= 0 && (uint64_t)bytes <= TMB_HUB_FILE_BYTES_MAX) {
        file->bytes = (uint64_t)bytes;
        file->has_bytes = true;
    }
}

/* {"rfilename": …, "size": …, "blobId": …, "lfs": {"sha256": …, "size": …}}: large files have the last, and blobId is
 * then that of the pointer. */
static void read_blob(const json_t *entry, tmb_hub_file *file) {
    const json_t *lfs = json_object_get(entry, "lfs");
    bool large = json_is_object(lfs);
    const char *tag = json_string_value(json_object_get(large ? lfs : entry, large ? "sha256" : "blobId"));
    read_size(json_object_get(entry, "size"), file);
    if (large) {
        read_size(json_object_get(lfs, "size"), file);
    }
    if (tag != NULL && tmb_hf_is_tag(tag)) {
        memcpy(file->tag, tag, strlen(tag) + 1);
    }
}

static tmb_status read_file(const char *url, const json_t *entry, tmb_hub_list *list, tmb_error *error) {
    const char *path = json_string_value(json_object_get(entry, "rfilename"));
    if (path == NULL) {
        return tmb_fail(error, TMB_ERROR_FORMAT, "%s: a file without a name", url);
    }
    if (!tmb_hub_is_wanted(path)) {
        return TMB_OK;
    }
    if (!tmb_hf_is_path(path)) {
        return tmb_fail(error, TMB_ERROR_FORMAT, "%s: \"%.80s\" is not a file's name in a repository", url, path);
    }
    tmb_hub_file *file = &list->files[list->count];
    read_blob(entry, file);
    file->path = tmb_strdup(path);
    if (file->path == NULL) {
        return tmb_fail_memory(error, "a list of files", 0);
    }
    list->count++;
    return TMB_OK;
}

tmb_status tmb_hub_list_parse(const char *url, const char *text, size_t bytes, tmb_hub_list *out, tmb_error *error) {
    json_t *root = NULL;
    *out = (tmb_hub_list){.count = 0};
    tmb_status status = tmb_json_parse(url, text, bytes, &root, error);
    if (status != TMB_OK) {
        return status;
    }
    const char *commit = json_string_value(json_object_get(root, "sha"));
    const json_t *files = json_object_get(root, "siblings");
    if (commit == NULL || !tmb_hf_is_commit(commit) || !json_is_array(files) ||
        json_array_size(files) > TMB_HUB_FILES_MAX) {
        status = tmb_fail(error, TMB_ERROR_FORMAT, "%s: not the description of a model", url);
    } else {
        memcpy(out->commit, commit, sizeof out->commit);
        out->files = tmb_calloc(json_array_size(files) + 1, sizeof *out->files);
        status = out->files == NULL ? tmb_fail_memory(error, "a list of files", 0) : TMB_OK;
    }
    for (size_t i = 0; status == TMB_OK && i < json_array_size(files); i++) {
        status = read_file(url, json_array_get(files, i), out, error);
    }
    json_decref(root);
    return status;
}

void tmb_hub_list_free(tmb_hub_list *list) {
    for (size_t i = 0; i < list->count; i++) {
        free(list->files[i].path);
    }
    free(list->files);
    *list = (tmb_hub_list){.count = 0};
}
