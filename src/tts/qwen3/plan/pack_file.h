/* Files of packed weights: what each holds and whether anything still uses it.
 *
 * FILE: the header, a checksum for each chunk of the arena, padding to 4096, the arena.
 */
#ifndef TMB_TTS_QWEN3_PLAN_PACK_FILE_H
#define TMB_TTS_QWEN3_PLAN_PACK_FILE_H

#include "timbre/timbre.h"

#define TMB_PACK_FILE_VERSION 4u
#define TMB_PACK_FILE_MAGIC                                                                                            \
    { 'T', 'M', 'B', 'P', 'A', 'C', 'K', '\n' }
#define TMB_PACK_FILE_ENDING ".tmbpack"

typedef struct tmb_pack_file_header {
    char magic[8];
    uint32_t version;
    uint32_t chunks;
    uint64_t key[2];   /* of everything that the pack depends on; the file's name too */
    uint64_t bytes;    /* of the arena */
    uint64_t checksum; /* of the chunks' checksums */
    uint64_t stamp;    /* tmb_safetensors_stamp of the model */
    char source[1024]; /* the model's folder; "" if it is longer than this */
} tmb_pack_file_header;

/* Calls back for each file in `directory` that packing has made, also unfinished ones. What it gets is valid during the
 * call. A directory that is not there holds none. */
tmb_status tmb_packs_each(const char *directory, void (*each)(void *user, const tmb_pack_info *pack), void *user,
                          tmb_error *error);

typedef struct tmb_pack_pruning {
    size_t files;
    uint64_t bytes;
} tmb_pack_pruning;

/* Removes the packs that nothing uses any more: those whose model is gone or has changed, those of another version, and
 * what a process that has ended left unfinished. */
tmb_pack_pruning tmb_packs_prune(const char *directory);

/* Removes the packs of the model in `folder`. */
tmb_pack_pruning tmb_packs_remove_of(const char *directory, const char *folder);

#endif
