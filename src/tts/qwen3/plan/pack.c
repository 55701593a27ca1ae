#include "tts/qwen3/plan/pack.h"

#include "base/checked.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/thread.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define HUGE_PAGE ((size_t)2 << 20)

void tmb_pack_plan_free(tmb_pack_plan *plan) {
    free(plan->entries);
    memset(plan, 0, sizeof *plan);
}

/* Places `entry` behind the others. */
static tmb_status append(tmb_pack_plan *plan, tmb_pack_entry *entry, size_t *index, tmb_error *error) {
    if (plan->count == plan->capacity) {
        size_t capacity = plan->capacity == 0 ? 64 : 2 * plan->capacity;
        tmb_pack_entry *entries = tmb_realloc(plan->entries, capacity, sizeof *entries);
        if (entries == NULL) {
            return tmb_fail_memory(error, "the list of weights", capacity * sizeof *entries);
        }
        plan->entries = entries;
        plan->capacity = capacity;
    }
    size_t padded = 0;
    entry->offset = plan->bytes;
    if (!tmb_pad_size(entry->bytes, 64, &padded) || !tmb_add_size(plan->bytes, padded, &plan->bytes)) {
        return tmb_fail(error, TMB_ERROR_MODEL, "the weights' sizes are absurd");
    }
    *index = plan->count;
    plan->entries[plan->count++] = *entry;
    return TMB_OK;
}

static tmb_status require(const tmb_pack_plan *plan, const char *name, int rank, const size_t *dims,
                          const tmb_tensor **tensor, tmb_error *error) {
    tmb_status status = tmb_tensor_require(plan->weights, name, rank, dims, tensor, error);
    if (status != TMB_OK) {
        return status;
    }
    tmb_dtype dtype = (*tensor)->dtype;
    if (dtype != TMB_DTYPE_F32 && dtype != TMB_DTYPE_F16 && dtype != TMB_DTYPE_BF16) {
        return tmb_fail(error, TMB_ERROR_MODEL, "tensor %s is %s, only F32, F16 and BF16 are supported", name,
                        tmb_dtype_name(dtype));
    }
    return TMB_OK;
}

static size_t whole_panels(size_t rows) { return (rows + TMB_PANEL_ROWS - 1) / TMB_PANEL_ROWS * TMB_PANEL_ROWS; }

tmb_status tmb_pack_add_matrix(tmb_pack_plan *plan, tmb_weight_type type, bool exact, size_t columns, bool interleave,
                               int source_count, const char (*names)[TMB_PACK_NAME_MAX], const size_t *rows,
                               size_t *index, tmb_error *error) {
    tmb_pack_entry entry = {
        .kind = TMB_PACK_MATRIX, .interleave = interleave, .columns = columns, .source_count = source_count};
    bool all_bf16 = true;
    for (int i = 0; i < source_count; i++) {
        size_t dims[2] = {rows[i], columns};
        tmb_status status = require(plan, names[i], 2, dims, &entry.sources[i], error);
        if (status != TMB_OK) {
            return status;
        }
        all_bf16 = all_bf16 && entry.sources[i]->dtype == TMB_DTYPE_BF16;
        entry.rows += interleave ? whole_panels(rows[i]) : rows[i];
    }
    if (exact) {
        type = all_bf16 ? TMB_WEIGHT_BF16 : TMB_WEIGHT_F32;
    }
    if (!tmb_matrix_shape(&entry.matrix, type, entry.rows, columns)) {
        return tmb_fail(error, TMB_ERROR_MODEL, "tensor %s is absurdly large", names[0]);
    }
    entry.bytes = tmb_matrix_bytes(&entry.matrix);
    return append(plan, &entry, index, error);
}

tmb_status tmb_pack_add_vector(tmb_pack_plan *plan, const char *name, size_t size, size_t *index, tmb_error *error) {
    tmb_pack_entry entry = {.kind = TMB_PACK_VECTOR, .rows = 1, .columns = size, .source_count = 1};
    tmb_status status = require(plan, name, 1, &size, &entry.sources[0], error);
    if (status != TMB_OK) {
        return status;
    }
    entry.bytes = size * sizeof(float);
    return append(plan, &entry, index, error);
}

tmb_status tmb_pack_add_table(tmb_pack_plan *plan, const char *name, size_t rows, size_t columns, size_t *index,
                              tmb_error *error) {
    tmb_pack_entry entry = {.kind = TMB_PACK_TABLE, .rows = rows, .columns = columns, .source_count = 1};
    size_t dims[2] = {rows, columns};
    tmb_status status = require(plan, name, 2, dims, &entry.sources[0], error);
    if (status != TMB_OK) {
        return status;
    }
    entry.bf16 = entry.sources[0]->dtype == TMB_DTYPE_BF16;
    entry.bytes = entry.sources[0]->count * (entry.bf16 ? 2 : 4);
    return append(plan, &entry, index, error);
}

/* Row `row` of a matrix entry: its tensor and the row there; NULL for one that only pads. */
static const tmb_tensor *source_row(const tmb_pack_entry *entry, size_t row, size_t *tensor_row) {
    if (entry->interleave) {
        size_t panel = row / TMB_PANEL_ROWS;
        const tmb_tensor *tensor = entry->sources[panel % (size_t)entry->source_count];
        *tensor_row = panel / (size_t)entry->source_count * TMB_PANEL_ROWS + row % TMB_PANEL_ROWS;
        return *tensor_row < tensor->dims[0] ? tensor : NULL;
    }
    for (int i = 0; i < entry->source_count; i++) {
        if (row < entry->sources[i]->dims[0]) {
            *tensor_row = row;
            return entry->sources[i];
        }
        row -= entry->sources[i]->dims[0];
    }
    return NULL;
}

/* Work is cut into units of one panel, 16 rows of a table, or a vector. */
static size_t unit_count(const tmb_pack_entry *entry) {
    return entry->kind == TMB_PACK_MATRIX ? entry->matrix.panels : (entry->rows + 15) / 16;
}

static tmb_status fill_panel(const tmb_pack_entry *entry, size_t panel, float *rows, uint8_t *data, tmb_error *error) {
    size_t columns = entry->columns;
    memset(rows, 0, TMB_PANEL_ROWS * columns * sizeof *rows);
    for (size_t r = 0; r < TMB_PANEL_ROWS;) {
        size_t tensor_row = 0;
        const tmb_tensor *tensor = source_row(entry, panel * TMB_PANEL_ROWS + r, &tensor_row);
        if (tensor == NULL) {
            r++;
            continue;
        }
        size_t count = tensor->dims[0] - tensor_row;
        count = count < TMB_PANEL_ROWS - r ? count : TMB_PANEL_ROWS - r;
        tmb_status status =
            tmb_tensor_read_f32(tensor, tensor_row * columns, count * columns, rows + r * columns, error);
        if (status != TMB_OK) {
            return status;
        }
        r += count;
    }
    tmb_matrix_pack_panel(&entry->matrix, rows, columns, TMB_PANEL_ROWS,
                          data + entry->offset + panel * entry->matrix.panel_bytes);
    return TMB_OK;
}

static tmb_status fill_unit(const tmb_pack_entry *entry, size_t unit, float *scratch, uint8_t *data, tmb_error *error) {
    if (entry->kind == TMB_PACK_MATRIX) {
        return fill_panel(entry, unit, scratch, data, error);
    }
    size_t first = unit * 16;
    size_t count = entry->rows - first < 16 ? entry->rows - first : 16;
    size_t begin = first * entry->columns;
    if (entry->bf16) {
        uint8_t *rows = data + entry->offset + begin * 2;
        tmb_status status = tmb_tensor_read(entry->sources[0], begin * 2, count * entry->columns * 2, rows, error);
        return status == TMB_OK ? tmb_tensor_check_finite(entry->sources[0], rows, begin, count * entry->columns, error)
                                : status;
    }
    return tmb_tensor_read_f32(entry->sources[0], begin, count * entry->columns,
                               (float *)(void *)(data + entry->offset) + begin, error);
}

/* Reads a part of a tensor that is not packed. */
#define LOOK_ELEMENTS ((size_t)1 << 14)

static tmb_status look_through(const tmb_tensor *tensor, int part, int parts, tmb_error *error) {
    float elements[LOOK_ELEMENTS]; /* of any dtype: none is wider */
    size_t size = tmb_dtype_size(tensor->dtype);
    size_t end = tmb_team_begin(tensor->count, LOOK_ELEMENTS, part + 1, parts);
    size_t at = tmb_team_begin(tensor->count, LOOK_ELEMENTS, part, parts);
    tmb_status status = TMB_OK;
    while (at < end && status == TMB_OK) {
        size_t count = end - at < LOOK_ELEMENTS ? end - at : LOOK_ELEMENTS;
        status = tmb_tensor_read(tensor, at * size, count * size, elements, error);
        if (status == TMB_OK) {
            status = tmb_tensor_check_finite(tensor, elements, at, count, error);
        }
        at += count;
    }
    return status;
}

typedef struct filling {
    const tmb_pack_entry *entry;
    const tmb_tensor *looked_through;
    uint8_t *data;
    float *scratch; /* [parts, scratch_stride] */
    size_t scratch_stride;
    atomic_int failed;
    tmb_error error; /* the first one; written by whoever set failed */
} filling;

static void fill_part(void *argument, int part, int parts) {
    filling *f = argument;
    size_t end = tmb_team_begin(unit_count(f->entry), 1, part + 1, parts);
    for (size_t unit = tmb_team_begin(unit_count(f->entry), 1, part, parts); unit < end; unit++) {
        tmb_error error = {0};
        if (fill_unit(f->entry, unit, f->scratch + (size_t)part * f->scratch_stride, f->data, &error) != TMB_OK) {
            if (atomic_exchange(&f->failed, 1) == 0) {
                f->error = error;
            }
            return;
        }
    }
}

static void look_part(void *argument, int part, int parts) {
    filling *f = argument;
    tmb_error error = {0};
    if (look_through(f->looked_through, part, parts, &error) != TMB_OK && atomic_exchange(&f->failed, 1) == 0) {
        f->error = error;
    }
}

static tmb_status pack_all(tmb_pack_plan *plan, tmb_team *team, uint8_t *data, tmb_error *error) {
    size_t widest = 0;
    for (size_t i = 0; i < plan->count; i++) {
        widest = plan->entries[i].kind == TMB_PACK_MATRIX && plan->entries[i].columns > widest
                     ? plan->entries[i].columns
                     : widest;
    }
    filling f = {.data = data, .scratch_stride = widest * TMB_PANEL_ROWS};
    int parts = tmb_team_threads(team);
    f.scratch = tmb_calloc((size_t)parts * f.scratch_stride, sizeof *f.scratch);
    if (f.scratch == NULL) {
        return tmb_fail_memory(error, "packing weights", (size_t)parts * f.scratch_stride * sizeof *f.scratch);
    }
    for (size_t i = 0; i < plan->count && atomic_load(&f.failed) == 0; i++) {
        f.entry = &plan->entries[i];
        tmb_team_run(team, fill_part, &f);
    }
    f.looked_through = plan->looked_through;
    if (f.looked_through != NULL && atomic_load(&f.failed) == 0) {
        tmb_team_run(team, look_part, &f);
    }
    free(f.scratch);
    if (atomic_load(&f.failed) != 0) {
        if (error != NULL) {
            *error = f.error;
        }
        return f.error.status;
    }
    return TMB_OK;
}

static tmb_status arena_create(tmb_pack_arena *arena, size_t bytes, tmb_error *error) {
    size_t padded = 0;
    memset(arena, 0, sizeof *arena);
    if (!tmb_pad_size(bytes + HUGE_PAGE, HUGE_PAGE, &padded)) {
        return tmb_fail(error, TMB_ERROR_MODEL, "the weights' sizes are absurd");
    }
    uint8_t *base = mmap(NULL, padded, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED) {
        return tmb_fail_memory(error, "the language model's weights", bytes);
    }
    /* Begin at a huge page; what lies before is given back. */
    size_t skip = (HUGE_PAGE - (uintptr_t)base % HUGE_PAGE) % HUGE_PAGE;
    if (skip > 0) {
        (void)munmap(base, skip);
    }
    arena->data = base + skip;
    arena->mapped = padded - skip;
    arena->bytes = bytes;
    (void)madvise(arena->data, arena->mapped, MADV_HUGEPAGE);
    return TMB_OK;
}

void tmb_pack_arena_free(tmb_pack_arena *arena) {
    if (arena->data != NULL) {
        (void)munmap(arena->data, arena->mapped);
    }
    memset(arena, 0, sizeof *arena);
}

tmb_status tmb_pack_fill(tmb_pack_plan *plan, const char *directory, tmb_team *team, tmb_logger *logger,
                         tmb_pack_arena *arena, tmb_error *error) {
    tmb_status status = arena_create(arena, plan->bytes, error);
    if (status != TMB_OK) {
        return status;
    }
    double begin = tmb_now();
    if (directory == NULL || !tmb_pack_cache_read(plan, directory, team, logger, arena->data)) {
        status = pack_all(plan, team, arena->data, error);
        if (status != TMB_OK) {
            tmb_pack_arena_free(arena);
            return status;
        }
        tmb_log(logger, TMB_LOG_INFO, "packed %.0f MB of weights in %.1f s", (double)plan->bytes / 1e6,
                tmb_now() - begin);
        if (directory != NULL) {
            tmb_pack_cache_write(plan, directory, team, logger, arena->data);
        }
    }
    for (size_t i = 0; i < plan->count; i++) {
        plan->entries[i].matrix.data = arena->data + plan->entries[i].offset;
    }
    return TMB_OK;
}

void tmb_pack_table_row(const tmb_pack_entry *entry, const uint8_t *data, size_t row, float *out) {
    if (!entry->bf16) {
        memcpy(out, (const float *)(const void *)data + row * entry->columns, entry->columns * sizeof *out);
        return;
    }
    const uint16_t *values = (const uint16_t *)(const void *)data + row * entry->columns;
    for (size_t i = 0; i < entry->columns; i++) {
        out[i] = tmb_bf16_to_float(values[i]);
    }
}

void tmb_pack_table_add(const tmb_pack_entry *entry, const uint8_t *data, size_t row, float *out) {
    if (!entry->bf16) {
        const float *values = (const float *)(const void *)data + row * entry->columns;
        for (size_t i = 0; i < entry->columns; i++) {
            out[i] += values[i];
        }
        return;
    }
    const uint16_t *values = (const uint16_t *)(const void *)data + row * entry->columns;
    for (size_t i = 0; i < entry->columns; i++) {
        out[i] += tmb_bf16_to_float(values[i]);
    }
}
