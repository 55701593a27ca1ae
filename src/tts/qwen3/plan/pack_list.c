#include "tts/qwen3/plan/pack_file.h"

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "weights/safetensors.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static bool ends_with(const char *text, const char *ending) {
    size_t length = strlen(text);
    return length > strlen(ending) && strcmp(text + length - strlen(ending), ending) == 0;
}

static bool read_header(const char *path, tmb_pack_file_header *header) {
    static const char magic[] = TMB_PACK_FILE_MAGIC;
    int file = -1;
    uint64_t size = 0;
    if (tmb_file_open(path, &file, &size, NULL) != TMB_OK) {
        return false;
    }
    bool good = tmb_file_read_at(file, 0, header, sizeof *header, path, NULL) == TMB_OK &&
                memcmp(header->magic, magic, sizeof magic) == 0 && header->version == TMB_PACK_FILE_VERSION;
    header->source[sizeof header->source - 1] = '\0';
    (void)close(file);
    return good;
}

/* Why no model uses the pack, or NULL. */
static const char *find_fault(const tmb_pack_file_header *header) {
    tmb_safetensors *weights = NULL;
    struct stat about;
    if (header->source[0] == '\0') {
        return NULL; /* not known: kept */
    }
    if (stat(header->source, &about) != 0) {
        return errno == ENOENT || errno == ENOTDIR ? "its model is gone" : NULL;
    }
    if (tmb_safetensors_open(header->source, &weights, NULL) != TMB_OK) {
        return "its model is not complete any more";
    }
    bool changed = tmb_safetensors_stamp(weights) != header->stamp;
    tmb_safetensors_close(&weights);
    return changed ? "its model has changed" : NULL;
}

/* The process that writes a file named "….tmbpack.PID.tmp" or with mkstemp's letters is alive, or may be. */
static bool is_being_written(const char *name, const struct stat *about) {
    const char *ending = strstr(name, TMB_PACK_FILE_ENDING ".");
    char *after = NULL;
    long process = ending != NULL ? strtol(ending + sizeof TMB_PACK_FILE_ENDING, &after, 10) : 0;
    if (process > 0 && after != NULL && strcmp(after, ".tmp") == 0) {
        return kill((pid_t)process, 0) == 0 || errno == EPERM;
    }
    return time(NULL) - about->st_mtim.tv_sec < 3600;
}

/* Describes one file of the directory; false: packing did not make it. */
static bool describe(const char *path, const char *name, tmb_pack_file_header *header, tmb_pack_info *pack) {
    struct stat about;
    bool whole = ends_with(name, TMB_PACK_FILE_ENDING);
    if ((!whole && strstr(name, TMB_PACK_FILE_ENDING ".") == NULL) || lstat(path, &about) != 0 ||
        !S_ISREG(about.st_mode)) {
        return false;
    }
    *pack = (tmb_pack_info){.path = path, .bytes = (uint64_t)about.st_size};
    if (!whole) {
        pack->reason = is_being_written(name, &about) ? NULL : "it was never finished";
    } else if (!read_header(path, header)) {
        pack->reason = "another version of timbre made it";
    } else {
        pack->model = header->source[0] != '\0' ? header->source : NULL;
        pack->reason = find_fault(header);
    }
    pack->stale = pack->reason != NULL;
    return true;
}

tmb_status tmb_packs_each(const char *directory, void (*each)(void *user, const tmb_pack_info *pack), void *user,
                          tmb_error *error) {
    DIR *folder = opendir(directory);
    struct dirent *entry;
    if (folder == NULL) {
        return errno == ENOENT ? TMB_OK : tmb_fail(error, TMB_ERROR_IO, "%s: %s", directory, strerror(errno));
    }
    tmb_status status = TMB_OK;
    while (status == TMB_OK && (entry = readdir(folder)) != NULL) {
        tmb_pack_file_header header;
        tmb_pack_info pack;
        char *path = tmb_asprintf("%s/%s", directory, entry->d_name);
        if (path == NULL) {
            status = tmb_fail_memory(error, "a path", 0);
        } else if (describe(path, entry->d_name, &header, &pack)) {
            each(user, &pack);
        }
        free(path);
    }
    (void)closedir(folder);
    return status;
}

typedef struct removal {
    const char *model; /* NULL: whatever is stale */
    tmb_pack_pruning done;
} removal;

static void remove_one(void *user, const tmb_pack_info *pack) {
    removal *r = user;
    bool wanted = r->model == NULL ? pack->stale : pack->model != NULL && strcmp(pack->model, r->model) == 0;
    if (wanted && unlink(pack->path) == 0) {
        r->done.files++;
        r->done.bytes += pack->bytes;
    }
}

tmb_pack_pruning tmb_packs_prune(const char *directory) {
    removal r = {.model = NULL};
    (void)tmb_packs_each(directory, remove_one, &r, NULL);
    return r.done;
}

tmb_pack_pruning tmb_packs_remove_of(const char *directory, const char *folder) {
    removal r = {.model = folder};
    (void)tmb_packs_each(directory, remove_one, &r, NULL);
    return r.done;
}
