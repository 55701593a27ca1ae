/* The language model's weights as they lie in memory: one arena, everything in the order in which a frame reads
 * it.
 *
 * A plan lists what goes where, from the configuration and the tensors' headers alone. Filling an arena
 * quantizes and packs, or reads what an earlier run packed from the cache on disk.
 */
#ifndef TMB_TTS_QWEN3_PLAN_PACK_H
#define TMB_TTS_QWEN3_PLAN_PACK_H

#include "base/log.h"
#include "base/team.h"
#include "kernels/matmul.h"
#include "weights/safetensors.h"

/* Longest tensor name, with its 0. */
#define TMB_PACK_NAME_MAX 128
#define TMB_PACK_SOURCES 3

typedef enum tmb_pack_kind {
    TMB_PACK_MATRIX = 0, /* packed for tmb_matmul */
    TMB_PACK_VECTOR,     /* floats */
    TMB_PACK_TABLE       /* rows as in the file: bf16 if the tensor is, otherwise floats */
} tmb_pack_kind;

/* One thing in the arena. */
typedef struct tmb_pack_entry {
    tmb_pack_kind kind;
    /* MATRIX: its shape, the data's address once the arena is filled. Rows come from the sources one after the
     * other; `interleave`: 16 rows of the first, 16 of the second, and so on, each padded to whole panels. */
    tmb_matrix matrix;
    bool interleave;
    bool bf16;            /* TABLE: elements are bf16 */
    size_t rows, columns; /* VECTOR: 1, size */
    int source_count;
    const tmb_tensor *sources[TMB_PACK_SOURCES];
    size_t offset, bytes; /* in the arena; offsets are multiples of 64 */
} tmb_pack_entry;

typedef struct tmb_pack_plan {
    const tmb_safetensors *weights;
    tmb_pack_entry *entries;
    size_t count, capacity;
    size_t bytes;                     /* of the arena */
    const tmb_tensor *looked_through; /* used from its file, not packed: packing makes sure that it has numbers only */
} tmb_pack_plan;

void tmb_pack_plan_free(tmb_pack_plan *plan);

/* Appends; *index is the entry's number. Names are the tensors'. TMB_ERROR_MODEL if a tensor is missing, has
 * another shape or a dtype other than F32, F16, BF16. `exact` types keep every bit: BF16 if all tensors are, otherwise
 * F32. */
tmb_status tmb_pack_add_matrix(tmb_pack_plan *plan, tmb_weight_type type, bool exact, size_t columns, bool interleave,
                               int source_count, const char (*names)[TMB_PACK_NAME_MAX], const size_t *rows,
                               size_t *index, tmb_error *error);
tmb_status tmb_pack_add_vector(tmb_pack_plan *plan, const char *name, size_t size, size_t *index, tmb_error *error);
tmb_status tmb_pack_add_table(tmb_pack_plan *plan, const char *name, size_t rows, size_t columns, size_t *index,
                              tmb_error *error);

/* An arena in huge pages if the system has them. */
typedef struct tmb_pack_arena {
    uint8_t *data;
    size_t bytes;  /* used */
    size_t mapped; /* reserved */
} tmb_pack_arena;

/* Allocates and fills. `directory` (NULL: no cache) is searched for an earlier result and gets this one
 * if there is none; whatever goes wrong with the cache is logged, not an error. */
tmb_status tmb_pack_fill(tmb_pack_plan *plan, const char *directory, tmb_team *team, tmb_logger *logger,
                         tmb_pack_arena *arena, tmb_error *error);
void tmb_pack_arena_free(tmb_pack_arena *arena);

/* Row `row` of a table as floats; `data` is the entry's place in the arena. */
void tmb_pack_table_row(const tmb_pack_entry *entry, const uint8_t *data, size_t row, float *out);
/* The same, added to `out`. */
void tmb_pack_table_add(const tmb_pack_entry *entry, const uint8_t *data, size_t row, float *out);

/* ---- The cache, for pack.c ---- */

/* Reads the arena's bytes from a pack that was made from these very files by this version of the plan; false
 * if there is none that is whole. */
bool tmb_pack_cache_read(const tmb_pack_plan *plan, const char *directory, tmb_team *team, tmb_logger *logger,
                         uint8_t *data);
/* Writes it under a temporary name, then renames. */
void tmb_pack_cache_write(const tmb_pack_plan *plan, const char *directory, tmb_team *team, tmb_logger *logger,
                          const uint8_t *data);

#endif
