/* Packed weights on disk.
 *
 * FILE: as pack_file.h says. The file's name is the key, which covers everything that a pack depends on: the
 * plan, the tensors' names, dtypes, shapes and places, the weight files' sizes and times of change, and some of each
 * tensor's bytes. Anything that does not fit is as if it were not there.
 */
#include "tts/qwen3/plan/pack.h"
#include "tts/qwen3/plan/pack_file.h"

#include "base/file.h"
#include "base/hash.h"
#include "base/memory.h"
#include "base/thread.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define VERSION TMB_PACK_FILE_VERSION
#define CHUNK_BYTES ((size_t)1 << 19)
#define ALIGNMENT 4096
static const char magic[8] = TMB_PACK_FILE_MAGIC;
typedef tmb_pack_file_header cache_header;

/* Adds a tensor and its file to the key; false if it cannot be read. */
static bool hash_tensor(const tmb_tensor *tensor, uint64_t key[2]) {
    struct stat status;
    uint8_t probe[512];
    size_t bytes = tensor->bytes < sizeof probe ? tensor->bytes : sizeof probe;
    tmb_error error;
    if (fstat(tensor->file, &status) != 0 ||
        tmb_tensor_read(tensor, (tensor->bytes - bytes) / 2, bytes, probe, &error) != TMB_OK) {
        return false;
    }
    uint64_t facts[16] = {(uint64_t)status.st_size, (uint64_t)status.st_mtim.tv_sec, (uint64_t)status.st_mtim.tv_nsec,
                          tensor->offset,           (uint64_t)tensor->dtype,         (uint64_t)tensor->rank};
    for (int i = 0; i < tensor->rank; i++) {
        facts[6 + i] = tensor->dims[i];
    }
    for (int i = 0; i < 2; i++) {
        key[i] = tmb_hash_mix(key[i], tmb_hash_bytes(tensor->name, strlen(tensor->name), (uint64_t)i));
        key[i] = tmb_hash_mix(key[i], tmb_hash_bytes(facts, sizeof facts, (uint64_t)i));
        key[i] = tmb_hash_mix(key[i], tmb_hash_bytes(probe, bytes, (uint64_t)i));
    }
    return true;
}

static bool make_key(const tmb_pack_plan *plan, uint64_t key[2]) {
    key[0] = VERSION;
    key[1] = ~(uint64_t)VERSION;
    for (size_t e = 0; e < plan->count; e++) {
        const tmb_pack_entry *entry = &plan->entries[e];
        uint64_t facts[6] = {(uint64_t)entry->kind, (uint64_t)entry->matrix.type,
                             entry->rows,           entry->columns,
                             entry->offset,         entry->interleave};
        for (int i = 0; i < 2; i++) {
            key[i] = tmb_hash_mix(key[i], tmb_hash_bytes(facts, sizeof facts, 7 + (uint64_t)i));
        }
        for (int s = 0; s < entry->source_count; s++) {
            if (!hash_tensor(entry->sources[s], key)) {
                return false;
            }
        }
    }
    return true;
}

static char *pack_path(const char *directory, const uint64_t key[2]) {
    return tmb_asprintf("%s/%016llx%016llx.tmbpack", directory, (unsigned long long)key[0], (unsigned long long)key[1]);
}

static size_t chunk_count(const tmb_pack_plan *plan) { return (plan->bytes + CHUNK_BYTES - 1) / CHUNK_BYTES; }
static size_t data_offset(size_t chunks) {
    return (sizeof(cache_header) + chunks * sizeof(uint64_t) + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

static bool read_whole(int file, void *out, size_t bytes, size_t offset) {
    tmb_error error; /* whatever it is, the weights are packed again */
    return tmb_file_read_at(file, offset, out, bytes, "a pack", &error) == TMB_OK;
}

typedef struct chunk_work {
    int file; /* -1: hash only */
    uint8_t *data;
    size_t bytes, offset;
    uint64_t *checksums; /* compared if a file is read, otherwise written */
    atomic_int damaged;
} chunk_work;

static void chunk_part(void *argument, int part, int parts) {
    chunk_work *work = argument;
    size_t chunks = (work->bytes + CHUNK_BYTES - 1) / CHUNK_BYTES;
    size_t end = tmb_team_begin(chunks, 1, part + 1, parts);
    for (size_t c = tmb_team_begin(chunks, 1, part, parts); c < end; c++) {
        size_t begin = c * CHUNK_BYTES;
        size_t bytes = work->bytes - begin < CHUNK_BYTES ? work->bytes - begin : CHUNK_BYTES;
        if (work->file >= 0 && !read_whole(work->file, work->data + begin, bytes, work->offset + begin)) {
            atomic_store(&work->damaged, 1);
            return;
        }
        uint64_t checksum = tmb_hash_bytes(work->data + begin, bytes, c);
        if (work->file < 0) {
            work->checksums[c] = checksum;
        } else if (work->checksums[c] != checksum) {
            atomic_store(&work->damaged, 1);
            return;
        }
    }
}

static bool header_fits(const cache_header *header, const tmb_pack_plan *plan, const uint64_t key[2]) {
    return memcmp(header->magic, magic, sizeof magic) == 0 && header->version == VERSION && header->key[0] == key[0] &&
           header->key[1] == key[1] && header->bytes == plan->bytes && header->chunks == chunk_count(plan);
}

static bool read_pack(int file, const tmb_pack_plan *plan, const uint64_t key[2], uint64_t *checksums, tmb_team *team,
                      uint8_t *data) {
    cache_header header;
    size_t chunks = chunk_count(plan);
    if (!read_whole(file, &header, sizeof header, 0) || !header_fits(&header, plan, key) ||
        !read_whole(file, checksums, chunks * sizeof *checksums, sizeof header) ||
        tmb_hash_bytes(checksums, chunks * sizeof *checksums, 0) != header.checksum) {
        return false;
    }
    chunk_work work = {
        .file = file, .data = data, .bytes = plan->bytes, .offset = data_offset(chunks), .checksums = checksums};
    tmb_team_run(team, chunk_part, &work);
    return atomic_load(&work.damaged) == 0;
}

bool tmb_pack_cache_read(const tmb_pack_plan *plan, const char *directory, tmb_team *team, tmb_logger *logger,
                         uint8_t *data) {
    uint64_t key[2];
    if (!make_key(plan, key)) {
        return false;
    }
    char *path = pack_path(directory, key);
    uint64_t *checksums = tmb_calloc(chunk_count(plan), sizeof *checksums);
    int file = path == NULL || checksums == NULL ? -1 : open(path, O_RDONLY | O_CLOEXEC);
    bool whole = false;
    if (file >= 0) {
        double begin = tmb_now();
        whole = read_pack(file, plan, key, checksums, team, data);
        (void)close(file);
        if (whole) {
            tmb_log(logger, TMB_LOG_INFO, "read %.0f MB of packed weights in %.2f s", (double)plan->bytes / 1e6,
                    tmb_now() - begin);
        } else {
            tmb_log(logger, TMB_LOG_WARNING, "%s is damaged; packing the weights again", path);
        }
    }
    free(checksums);
    free(path);
    return whole;
}

static bool write_pack(int file, const tmb_pack_plan *plan, const uint64_t key[2], const uint64_t *checksums,
                       const uint8_t *data) {
    static const uint8_t zeros[ALIGNMENT];
    size_t chunks = chunk_count(plan);
    cache_header header = {.version = VERSION,
                           .chunks = (uint32_t)chunks,
                           .key = {key[0], key[1]},
                           .bytes = plan->bytes,
                           .stamp = tmb_safetensors_stamp(plan->weights)};
    memcpy(header.magic, magic, sizeof magic);
    char *source = realpath(tmb_safetensors_path(plan->weights), NULL);
    if (source != NULL && strlen(source) < sizeof header.source) {
        memcpy(header.source, source, strlen(source) + 1);
    }
    free(source);
    header.checksum = tmb_hash_bytes(checksums, chunks * sizeof *checksums, 0);
    size_t used = sizeof header + chunks * sizeof *checksums;
    return tmb_file_write_all(file, &header, sizeof header) &&
           tmb_file_write_all(file, checksums, chunks * sizeof *checksums) &&
           tmb_file_write_all(file, zeros, data_offset(chunks) - used) && tmb_file_write_all(file, data, plan->bytes) &&
           fsync(file) == 0;
}

/* Seconds after which a file that nobody writes any more is not one that was just made and not locked yet. */
#define STALE_SECONDS 60

/* What killed processes left half-written, gigabytes maybe. Whoever writes one holds a lock on it. */
static void remove_stale(const char *directory) {
    DIR *folder = opendir(directory);
    if (folder == NULL) {
        return;
    }
    for (struct dirent *entry = NULL; (entry = readdir(folder)) != NULL;) {
        const size_t length = strlen(entry->d_name);
        if (strstr(entry->d_name, ".tmbpack.") == NULL || length < 4 ||
            strcmp(entry->d_name + length - 4, ".tmp") != 0) {
            continue;
        }
        struct stat status;
        int file = openat(dirfd(folder), entry->d_name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
        if (file < 0) {
            continue;
        }
        if (fstat(file, &status) == 0 && S_ISREG(status.st_mode) && time(NULL) - status.st_mtime > STALE_SECONDS &&
            flock(file, LOCK_EX | LOCK_NB) == 0) {
            (void)unlinkat(dirfd(folder), entry->d_name, 0);
        }
        (void)close(file);
    }
    (void)closedir(folder);
}

/* A file of a random name, so that no other process's, living or dead, is in the way; locked while it is written. */
static int create_temporary(char *template) {
    int file = mkostemps(template, 4, O_CLOEXEC);
    if (file >= 0) {
        (void)flock(file, LOCK_EX | LOCK_NB);
        (void)fchmod(file, 0644);
    }
    return file;
}

void tmb_pack_cache_write(const tmb_pack_plan *plan, const char *directory, tmb_team *team, tmb_logger *logger,
                          const uint8_t *data) {
    uint64_t key[2];
    if (!make_key(plan, key) || !tmb_make_folders(directory, 0777)) {
        tmb_log(logger, TMB_LOG_WARNING, "packed weights are not cached: %s cannot be made", directory);
        return;
    }
    char *path = pack_path(directory, key);
    char *temporary = path == NULL ? NULL : tmb_asprintf("%s.XXXXXX.tmp", path);
    uint64_t *checksums = tmb_calloc(chunk_count(plan), sizeof *checksums);
    remove_stale(directory);
    int file = temporary == NULL || checksums == NULL ? -1 : create_temporary(temporary);
    if (file >= 0) {
        chunk_work work = {
            .file = -1, .data = (uint8_t *)(uintptr_t)data, .bytes = plan->bytes, .checksums = checksums};
        tmb_team_run(team, chunk_part, &work);
        bool written = write_pack(file, plan, key, checksums, data);
        written = close(file) == 0 && written;
        if (!written || rename(temporary, path) != 0) {
            tmb_log(logger, TMB_LOG_WARNING, "packed weights are not cached: writing %s: %s", temporary,
                    strerror(errno));
            (void)unlink(temporary);
        } else {
            /* The model may have replaced another one under the same name. */
            tmb_pack_pruning pruned = tmb_packs_prune(directory);
            if (pruned.files != 0) {
                tmb_log(logger, TMB_LOG_INFO, "removed %zu packs that nothing uses any more, %.0f MB", pruned.files,
                        (double)pruned.bytes / 1e6);
            }
        }
    } else {
        tmb_log(logger, TMB_LOG_WARNING, "packed weights are not cached: %s cannot be written", directory);
    }
    free(checksums);
    free(temporary);
    free(path);
}
