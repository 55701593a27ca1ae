#include "weights/hf_cache.h"

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "weights/json.h"
#include "weights/paths.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FOLDER_DEPTH_MAX 4
#define INDEX_BYTES_MAX (64u << 20)

tmb_status tmb_hf_cache_folder(char **out, tmb_error *error) {
    const char *hub = getenv("HF_HUB_CACHE");
    const char *home = getenv("HF_HOME");
    *out = NULL;
    if (hub != NULL && hub[0] != '\0') {
        *out = tmb_strdup(hub);
    } else if (home != NULL && home[0] != '\0') {
        *out = tmb_asprintf("%s/hub", home);
    } else {
        return tmb_path_xdg("XDG_CACHE_HOME", ".cache", "huggingface/hub", out, error);
    }
    return *out == NULL ? tmb_fail_memory(error, "a path", 0) : TMB_OK;
}

tmb_status tmb_hf_repository_folder(const char *repository, char **out, tmb_error *error) {
    char *hub = NULL;
    *out = NULL;
    tmb_status status = tmb_hf_cache_folder(&hub, error);
    const char *slash = strchr(repository, '/');
    if (status == TMB_OK && slash == NULL) {
        status = tmb_fail(error, TMB_ERROR_ARGUMENT, "%s: not OWNER/NAME", repository);
    }
    if (status == TMB_OK) {
        *out = tmb_asprintf("%s/models--%.*s--%s", hub, (int)(slash - repository), repository, slash + 1);
        status = *out == NULL ? tmb_fail_memory(error, "a path", 0) : TMB_OK;
    }
    free(hub);
    return status;
}

static size_t hex_digits(const char *text) { return strspn(text, "0123456789abcdef"); }

bool tmb_hf_is_commit(const char *text) { return hex_digits(text) == 40 && text[40] == '\0'; }

bool tmb_hf_is_tag(const char *text) {
    size_t digits = hex_digits(text);
    return (digits == 40 || digits == 64) && text[digits] == '\0';
}

bool tmb_hf_is_path(const char *path) {
    size_t components = 0;
    if (strlen(path) > 200) {
        return false;
    }
    for (const char *begin = path;; begin++) {
        size_t length = strcspn(begin, "/");
        for (size_t i = 0; i < length; i++) {
            if ((unsigned char)begin[i] <= 0x20 || begin[i] == 0x7f || begin[i] == '\\') {
                return false;
            }
        }
        /* No "", ".", ".." and nothing hidden. */
        if (length == 0 || begin[0] == '.' || ++components > FOLDER_DEPTH_MAX) {
            return false;
        }
        begin += length;
        if (*begin == '\0') {
            return true;
        }
    }
}

static bool has_file(const char *folder, const char *name, uint64_t *bytes) {
    char *path = tmb_asprintf("%s/%s", folder, name);
    struct stat about;
    bool there = path != NULL && stat(path, &about) == 0 && S_ISREG(about.st_mode);
    if (there && bytes != NULL) {
        *bytes = (uint64_t)about.st_size;
    }
    free(path);
    return there;
}

/* Whether all shards of an index are there; the first that is not goes to `missing`. */
static bool has_shards(const char *folder, const char *index_name, char missing[64]) {
    char *path = tmb_asprintf("%s/%s", folder, index_name);
    json_t *index = NULL;
    bool good = path != NULL && tmb_json_read(path, INDEX_BYTES_MAX, &index, NULL) == TMB_OK;
    free(path);
    const char *tensor = NULL;
    json_t *file = NULL;
    json_t *map = json_object_get(index, "weight_map");
    good = good && json_object_size(map) != 0;
    json_object_foreach(map, tensor, file) {
        const char *name = json_string_value(file);
        if (good && (name == NULL || !tmb_hf_is_path(name) || !has_file(folder, name, NULL))) {
            (void)snprintf(missing, 64, "%s", name == NULL ? index_name : name);
            good = false;
        }
    }
    json_decref(index);
    return good;
}

bool tmb_hf_is_checkpoint(const char *folder, char missing[64]) {
    static const char *const needed[] = {"config.json", "speech_tokenizer/config.json",
                                         "speech_tokenizer/model.safetensors"};
    char unused[64];
    missing = missing == NULL ? unused : missing;
    for (size_t i = 0; i < sizeof needed / sizeof needed[0]; i++) {
        if (!has_file(folder, needed[i], NULL)) {
            (void)snprintf(missing, 64, "%s", needed[i]);
            return false;
        }
    }
    (void)snprintf(missing, 64, "%s", "vocab.json");
    if (!(has_file(folder, "vocab.json", NULL) && has_file(folder, "merges.txt", NULL)) &&
        !has_file(folder, "tokenizer.json", NULL)) {
        return false;
    }
    (void)snprintf(missing, 64, "%s", "model.safetensors");
    return has_file(folder, "model.safetensors", NULL) || (has_file(folder, "model.safetensors.index.json", NULL) &&
                                                           has_shards(folder, "model.safetensors.index.json", missing));
}

static uint64_t add_folder_bytes(const char *folder, int depth) {
    uint64_t total = 0;
    DIR *open_folder = opendir(folder);
    struct dirent *entry;
    while (open_folder != NULL && (entry = readdir(open_folder)) != NULL) {
        if (entry->d_name[0] == '.') {
            continue;
        }
        char *path = tmb_asprintf("%s/%s", folder, entry->d_name);
        struct stat about;
        if (path != NULL && stat(path, &about) == 0) {
            if (S_ISREG(about.st_mode)) {
                total += (uint64_t)about.st_size;
            } else if (S_ISDIR(about.st_mode) && depth < FOLDER_DEPTH_MAX) {
                total += add_folder_bytes(path, depth + 1);
            }
        }
        free(path);
    }
    if (open_folder != NULL) {
        (void)closedir(open_folder);
    }
    return total;
}

uint64_t tmb_hf_folder_bytes(const char *folder) { return add_folder_bytes(folder, 0); }

/* snapshots/COMMIT where that is a whole checkpoint, else NULL. */
static char *try_snapshot(const char *repository_folder, const char *commit) {
    char *folder = tmb_asprintf("%s/snapshots/%s", repository_folder, commit);
    if (folder != NULL && !tmb_hf_is_checkpoint(folder, NULL)) {
        free(folder);
        return NULL;
    }
    return folder;
}

static char *main_snapshot(const char *repository_folder) {
    char *path = tmb_asprintf("%s/refs/main", repository_folder);
    char *text = NULL;
    size_t bytes = 0;
    char *found = NULL;
    if (path != NULL && tmb_file_read(path, 256, &text, &bytes, NULL) == TMB_OK) {
        text[strcspn(text, " \r\n")] = '\0';
        found = tmb_hf_is_commit(text) ? try_snapshot(repository_folder, text) : NULL;
    }
    free(text);
    free(path);
    return found;
}

tmb_status tmb_hf_find_snapshot(const char *repository, char **out, tmb_error *error) {
    char *folder = NULL;
    *out = NULL;
    tmb_status status = tmb_hf_repository_folder(repository, &folder, error);
    if (status != TMB_OK) {
        return status;
    }
    *out = main_snapshot(folder);
    char *snapshots = tmb_asprintf("%s/snapshots", folder);
    DIR *open_folder = *out == NULL && snapshots != NULL ? opendir(snapshots) : NULL;
    struct dirent *entry;
    while (open_folder != NULL && *out == NULL && (entry = readdir(open_folder)) != NULL) {
        *out = tmb_hf_is_commit(entry->d_name) ? try_snapshot(folder, entry->d_name) : NULL;
    }
    if (open_folder != NULL) {
        (void)closedir(open_folder);
    }
    free(snapshots);
    free(folder);
    return TMB_OK;
}

tmb_status tmb_hf_link(const char *repository_folder, const char *commit, const char *path, const char *tag,
                       tmb_error *error) {
    char up[3 * (FOLDER_DEPTH_MAX + 2) + 1] = "../../";
    for (const char *c = path; *c != '\0'; c++) {
        if (*c == '/') {
            strcat(up, "../");
        }
    }
    char *link_path = tmb_asprintf("%s/snapshots/%s/%s", repository_folder, commit, path);
    char *temporary = tmb_asprintf("%s/snapshots/%s/%s.%ld.link", repository_folder, commit, path, (long)getpid());
    char *target = tmb_asprintf("%sblobs/%s", up, tag);
    tmb_status status = TMB_OK;
    if (link_path == NULL || temporary == NULL || target == NULL) {
        status = tmb_fail_memory(error, "a path", 0);
    } else {
        status = tmb_path_make_parent(link_path, error);
    }
    if (status == TMB_OK) {
        (void)unlink(temporary);
        if (symlink(target, temporary) != 0 || rename(temporary, link_path) != 0) {
            status = tmb_fail(error, TMB_ERROR_IO, "%s: cannot be linked: %s", link_path, strerror(errno));
            (void)unlink(temporary);
        }
    }
    free(link_path);
    free(temporary);
    free(target);
    return status;
}
