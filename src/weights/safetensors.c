#include "weights/safetensors.h"

#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/memory.h"
#include "weights/json.h"
#include "weights/safetensors_header.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define INDEX_BYTES_MAX (64u << 20)
#define SHARDS_MAX 1024

typedef struct shard {
    char *path;
    int file;
    void *mapping;
    uint64_t size;
} shard;

struct tmb_safetensors {
    char *path;
    shard *shards;
    size_t shard_count;
    tmb_tensor *tensors; /* sorted by name */
    size_t count;
    uint64_t bytes;
};

static int compare_names(const void *a, const void *b) {
    return strcmp(((const tmb_tensor *)a)->name, ((const tmb_tensor *)b)->name);
}

/* Takes over `tensors` (not its array). */
static tmb_status append_tensors(tmb_safetensors *safetensors, tmb_tensor *tensors, size_t count, int file,
                                 tmb_error *error) {
    tmb_tensor *all = tmb_realloc(safetensors->tensors, safetensors->count + count + 1, sizeof *all);
    if (all == NULL) {
        tmb_safetensors_header_free(tensors, count);
        return tmb_fail_memory(error, "the list of tensors", 0);
    }
    for (size_t i = 0; i < count; i++) {
        tensors[i].file = file;
        all[safetensors->count + i] = tensors[i];
        safetensors->bytes += tensors[i].bytes;
    }
    free(tensors);
    safetensors->tensors = all;
    safetensors->count += count;
    return TMB_OK;
}

/* Takes over `path`. */
static tmb_status add_shard(tmb_safetensors *safetensors, char *path, tmb_error *error) {
    shard *shards =
        path == NULL ? NULL : tmb_realloc(safetensors->shards, safetensors->shard_count + 1, sizeof *shards);
    if (shards == NULL) {
        free(path);
        return tmb_fail_memory(error, "a list of weight files", 0);
    }
    safetensors->shards = shards;
    shard *one = &shards[safetensors->shard_count++];
    *one = (shard){.path = path, .file = -1, .mapping = NULL};
    tmb_status status = tmb_file_open(path, &one->file, &one->size, error);
    if (status != TMB_OK) {
        return status;
    }
    if (one->size < 8) {
        return tmb_fail_named(error, TMB_ERROR_FORMAT, path, "not a safetensors file: only %llu bytes",
                              (unsigned long long)one->size);
    }
    void *mapping = mmap(NULL, (size_t)one->size, PROT_READ, MAP_PRIVATE, one->file, 0);
    if (mapping == MAP_FAILED) {
        return tmb_fail_memory(error, path, (size_t)one->size);
    }
    one->mapping = mapping;
    tmb_tensor *tensors = NULL;
    size_t count = 0;
    status = tmb_safetensors_header_parse(path, mapping, one->size, &tensors, &count, error);
    return status != TMB_OK ? status : append_tensors(safetensors, tensors, count, one->file, error);
}

/* Sorts by name and refuses two tensors of one name (in two shards). */
static tmb_status sort_tensors(tmb_safetensors *safetensors, tmb_error *error) {
    if (safetensors->count != 0) {
        qsort(safetensors->tensors, safetensors->count, sizeof *safetensors->tensors, compare_names);
    }
    for (size_t i = 1; i < safetensors->count; i++) {
        if (strcmp(safetensors->tensors[i - 1].name, safetensors->tensors[i].name) == 0) {
            return tmb_fail_named(error, TMB_ERROR_FORMAT, safetensors->path, "tensor \"%.100s\" is in two files",
                                  safetensors->tensors[i].name);
        }
    }
    return TMB_OK;
}

static bool is_plain_name(const char *name) {
    return name[0] != '\0' && strchr(name, '/') == NULL && strcmp(name, ".") != 0 && strcmp(name, "..") != 0 &&
           strlen(name) < 256;
}

static tmb_status open_shards(tmb_safetensors *safetensors, const char *folder, const char *index_path,
                              const json_t *map, tmb_error *error) {
    const char *tensor = NULL;
    json_t *value = NULL;
    json_object_foreach((json_t *)map, tensor, value) {
        const char *name = json_string_value(value);
        if (name == NULL || !is_plain_name(name)) {
            return tmb_fail_named(error, TMB_ERROR_FORMAT, index_path,
                                  "\"%.100s\" is not the name of a file in this folder", name == NULL ? "" : name);
        }
        size_t known = 0;
        while (known < safetensors->shard_count &&
               strcmp(safetensors->shards[known].path + strlen(folder) + 1, name) != 0) {
            known++;
        }
        if (known < safetensors->shard_count) {
            continue;
        }
        if (safetensors->shard_count == SHARDS_MAX) {
            return tmb_fail_named(error, TMB_ERROR_LIMIT, index_path, "more than %d weight files", SHARDS_MAX);
        }
        tmb_status status = add_shard(safetensors, tmb_asprintf("%s/%s", folder, name), error);
        if (status != TMB_OK) {
            return status;
        }
    }
    tmb_status status = sort_tensors(safetensors, error);
    if (status != TMB_OK) {
        return status;
    }
    json_object_foreach((json_t *)map, tensor, value) {
        if (tmb_safetensors_find(safetensors, tensor) == NULL) {
            return tmb_fail_named(error, TMB_ERROR_FORMAT, index_path, "tensor \"%.100s\" is in none of the files",
                                  tensor);
        }
    }
    return TMB_OK;
}

static tmb_status open_index(tmb_safetensors *safetensors, const char *folder, const char *index_path,
                             tmb_error *error) {
    json_t *index = NULL;
    tmb_status status = tmb_json_read(index_path, INDEX_BYTES_MAX, &index, error);
    if (status != TMB_OK) {
        return status;
    }
    const json_t *map = json_object_get(index, "weight_map");
    if (!json_is_object(map) || json_object_size(map) == 0) {
        status = tmb_fail_named(error, TMB_ERROR_FORMAT, index_path, "no weight_map");
    } else {
        status = open_shards(safetensors, folder, index_path, map, error);
    }
    json_decref(index);
    return status;
}

static tmb_status open_folder(tmb_safetensors *safetensors, const char *folder, tmb_error *error) {
    char *single = tmb_asprintf("%s/model.safetensors", folder);
    char *index = tmb_asprintf("%s/model.safetensors.index.json", folder);
    tmb_status status = TMB_OK;
    if (single == NULL || index == NULL) {
        status = tmb_fail_memory(error, "a path", 0);
    } else if (access(single, F_OK) == 0) {
        status = add_shard(safetensors, single, error);
        single = NULL;
        if (status == TMB_OK) {
            status = sort_tensors(safetensors, error);
        }
    } else if (access(index, F_OK) == 0) {
        status = open_index(safetensors, folder, index, error);
    } else {
        status = tmb_fail_named(error, TMB_ERROR_MODEL, folder,
                                "neither model.safetensors nor model.safetensors.index.json is there");
    }
    free(single);
    free(index);
    return status;
}

tmb_status tmb_safetensors_open(const char *path, tmb_safetensors **out, tmb_error *error) {
    *out = NULL;
    tmb_safetensors *safetensors = tmb_calloc(1, sizeof *safetensors);
    char *copy = tmb_strdup(path);
    if (safetensors == NULL || copy == NULL) {
        free(safetensors);
        free(copy);
        return tmb_fail_memory(error, "a weight file", 0);
    }
    safetensors->path = copy;
    struct stat about;
    tmb_status status;
    if (stat(path, &about) == 0 && S_ISDIR(about.st_mode)) {
        status = open_folder(safetensors, path, error);
    } else {
        status = add_shard(safetensors, tmb_strdup(path), error);
        if (status == TMB_OK) {
            status = sort_tensors(safetensors, error);
        }
    }
    if (status != TMB_OK) {
        tmb_safetensors_close(&safetensors);
        return status;
    }
    *out = safetensors;
    return TMB_OK;
}

void tmb_safetensors_close(tmb_safetensors **safetensors_address) {
    tmb_safetensors *safetensors = *safetensors_address;
    *safetensors_address = NULL;
    if (safetensors == NULL) {
        return;
    }
    for (size_t i = 0; i < safetensors->shard_count; i++) {
        shard *one = &safetensors->shards[i];
        if (one->mapping != NULL) {
            (void)munmap(one->mapping, (size_t)one->size);
        }
        if (one->file >= 0) {
            (void)close(one->file);
        }
        free(one->path);
    }
    free(safetensors->shards);
    tmb_safetensors_header_free(safetensors->tensors, safetensors->count);
    free(safetensors->path);
    free(safetensors);
}

const tmb_tensor *tmb_safetensors_find(const tmb_safetensors *safetensors, const char *name) {
    tmb_tensor key = {.name = name};
    return safetensors->count == 0 ? NULL
                                   : bsearch(&key, safetensors->tensors, safetensors->count, sizeof key, compare_names);
}

size_t tmb_safetensors_count(const tmb_safetensors *safetensors) { return safetensors->count; }

const tmb_tensor *tmb_safetensors_at(const tmb_safetensors *safetensors, size_t index) {
    return &safetensors->tensors[index];
}

uint64_t tmb_safetensors_bytes(const tmb_safetensors *safetensors) { return safetensors->bytes; }

const char *tmb_safetensors_path(const tmb_safetensors *safetensors) { return safetensors->path; }

uint64_t tmb_safetensors_stamp(const tmb_safetensors *safetensors) {
    uint64_t stamp = safetensors->shard_count;
    for (size_t i = 0; i < safetensors->shard_count; i++) {
        struct stat about = {0};
        (void)fstat(safetensors->shards[i].file, &about);
        const uint64_t facts[] = {(uint64_t)about.st_size, (uint64_t)about.st_mtim.tv_sec,
                                  (uint64_t)about.st_mtim.tv_nsec};
        stamp = tmb_hash_mix(stamp, tmb_hash_bytes(facts, sizeof facts, i));
    }
    return stamp;
}

tmb_status tmb_safetensors_check(const tmb_safetensors *safetensors, tmb_error *error) {
    for (size_t i = 0; i < safetensors->shard_count; i++) {
        struct stat about;
        if (fstat(safetensors->shards[i].file, &about) != 0 || (uint64_t)about.st_size != safetensors->shards[i].size) {
            return tmb_fail(error, TMB_ERROR_IO, "%s: the file was changed while it was in use",
                            safetensors->shards[i].path);
        }
    }
    return TMB_OK;
}
