#include "gpu/slabs.h"

#include "base/checked.h"
#include "base/memory.h"

#include <stdlib.h>

/* A slab is the pool's 256th part, so that the one that is counted with a model is little of it; at most 64 MB. In
 * small pools it has four units, if they are no more than the pool's 32nd part. */
enum { SLABS_IN_POOL = 256, FEW_SLABS_IN_POOL = 32, FEW_UNITS = 4, MEGABYTES = 2 << 20, SLAB_MOST = 64 << 20 };

/* Something that the driver gave: a slab, or one piece. */
struct tmb_slab {
    tmb_slab *next;
    uint64_t address;
    size_t bytes;
    size_t unit, count, in_use; /* of units; of one piece: its bytes, 1, 1 */
    bool *used;                 /* [count] */
};

/* ---- Sizes ------------------------------------------------------------------------------------ */

size_t tmb_slabs_rounded(size_t bytes) {
    size_t rounded = 0;
    bytes = bytes > 0 ? bytes : 1;
    return tmb_pad_size(bytes, bytes < MEGABYTES ? TMB_SLAB_GRANULE : MEGABYTES, &rounded) ? rounded : SIZE_MAX;
}

tmb_gpu_units tmb_slabs_plan(uint64_t pool, size_t unit) {
    const tmb_gpu_units none = {0, 0, 0};
    size_t rounded = 0;
    if (unit == 0 || unit > SLAB_MOST / 2 || pool / SLABS_IN_POOL < MEGABYTES ||
        !tmb_pad_size(unit, TMB_SLAB_GRANULE, &rounded)) {
        return none;
    }
    uint64_t room = pool / SLABS_IN_POOL;
    uint64_t few = FEW_UNITS * (uint64_t)rounded < pool / FEW_SLABS_IN_POOL ? FEW_UNITS * (uint64_t)rounded : 0;
    room = room > few ? room : few;
    room = (room < SLAB_MOST ? room : SLAB_MOST) / MEGABYTES * MEGABYTES;
    size_t count = (size_t)room / rounded;
    if (count < 2) {
        return none;
    }
    size_t slab = tmb_slabs_rounded(count * rounded);
    return (tmb_gpu_units){rounded, slab, (slab + count - 1) / count};
}

size_t tmb_slabs_counted(const tmb_gpu_units *units, size_t bytes) {
    return bytes <= units->unit && units->unit != 0 ? units->each : tmb_slabs_rounded(bytes);
}

/* ---- What the driver gave --------------------------------------------------------------------- */

static bool is_empty(const tmb_slab *slab) { return slab->in_use == 0; }

static tmb_cuda_result add(tmb_slabs *slabs, size_t bytes, size_t unit, tmb_slab **out) {
    tmb_slab *slab = tmb_calloc(1, sizeof *slab);
    bool *used = tmb_calloc(bytes / unit, sizeof *used);
    tmb_cuda_result result = TMB_CUDA_OUT_OF_MEMORY;
    if (slab != NULL && used != NULL) {
        result = slabs->cuda->memory_allocate(&slab->address, bytes);
    }
    if (result != TMB_CUDA_SUCCESS) {
        free(used);
        free(slab);
        return result;
    }
    slab->bytes = bytes;
    slab->unit = unit;
    slab->count = bytes / unit;
    slab->used = used;
    slab->next = slabs->first;
    slabs->first = slab;
    slabs->held += bytes;
    *out = slab;
    return TMB_CUDA_SUCCESS;
}

static tmb_cuda_result drop(tmb_slabs *slabs, tmb_slab *slab) {
    tmb_slab **link = &slabs->first;
    while (*link != slab) {
        link = &(*link)->next;
    }
    *link = slab->next;
    slabs->held -= slab->bytes;
    tmb_cuda_result result = slabs->cuda->memory_free(slab->address);
    free(slab->used);
    free(slab);
    return result;
}

/* Gives the empty slab that was kept back to the device. */
static bool drop_empty(tmb_slabs *slabs) {
    for (tmb_slab *slab = slabs->first; slab != NULL; slab = slab->next) {
        if (is_empty(slab)) {
            return drop(slabs, slab) == TMB_CUDA_SUCCESS;
        }
    }
    return false;
}

/* A unit of the slab that has the fewest free, so that others become empty. */
static tmb_slab *find_room(const tmb_slabs *slabs) {
    tmb_slab *found = NULL;
    for (tmb_slab *slab = slabs->first; slab != NULL; slab = slab->next) {
        if (slab->in_use < slab->count &&
            (found == NULL || slab->count - slab->in_use < found->count - found->in_use)) {
            found = slab;
        }
    }
    return found;
}

/* Bytes that a piece of it takes. */
static size_t piece_bytes(const tmb_slabs *slabs, const tmb_slab *slab) {
    return slab->count > 1 ? slabs->units.each : slab->bytes;
}

static uint64_t use(tmb_slabs *slabs, tmb_slab *slab) {
    size_t i = 0;
    while (slab->used[i]) {
        i++;
    }
    slab->used[i] = true;
    slab->in_use++;
    slabs->given += piece_bytes(slabs, slab);
    return slab->address + i * slab->unit;
}

tmb_cuda_result tmb_slabs_allocate(tmb_slabs *slabs, size_t bytes, uint64_t *address) {
    tmb_slab *slab = NULL;
    *address = 0;
    bytes = tmb_slabs_rounded(bytes);
    tmb_cuda_result result = add(slabs, bytes, bytes, &slab);
    if (result == TMB_CUDA_OUT_OF_MEMORY && drop_empty(slabs)) {
        result = add(slabs, bytes, bytes, &slab);
    }
    *address = result == TMB_CUDA_SUCCESS ? use(slabs, slab) : 0;
    return result;
}

tmb_cuda_result tmb_slabs_take(tmb_slabs *slabs, size_t bytes, uint64_t *address) {
    *address = 0;
    if (bytes > slabs->units.unit || slabs->units.unit == 0) {
        return tmb_slabs_allocate(slabs, bytes, address);
    }
    tmb_slab *slab = find_room(slabs);
    tmb_cuda_result result = slab != NULL ? TMB_CUDA_SUCCESS : add(slabs, slabs->units.slab, slabs->units.unit, &slab);
    if (result == TMB_CUDA_OUT_OF_MEMORY) { /* what is left of the device may be less than a slab */
        return tmb_slabs_allocate(slabs, bytes, address);
    }
    *address = result == TMB_CUDA_SUCCESS ? use(slabs, slab) : 0;
    return result;
}

/* Whether something empty is worth keeping: a slab, if no other is empty. */
static bool is_kept(const tmb_slabs *slabs, const tmb_slab *slab) {
    bool kept = slab->count > 1;
    for (const tmb_slab *other = slabs->first; other != NULL && kept; other = other->next) {
        kept = other == slab || !is_empty(other);
    }
    return kept;
}

size_t tmb_slabs_give_back(tmb_slabs *slabs, uint64_t address, tmb_cuda_result *result) {
    *result = TMB_CUDA_SUCCESS;
    for (tmb_slab *slab = slabs->first; slab != NULL; slab = slab->next) {
        if (address < slab->address || address >= slab->address + slab->bytes) {
            continue;
        }
        size_t index = (size_t)(address - slab->address) / slab->unit;
        if (index >= slab->count || !slab->used[index]) {
            return 0;
        }
        size_t bytes = piece_bytes(slabs, slab);
        slab->used[index] = false;
        slab->in_use--;
        slabs->given -= bytes;
        if (is_empty(slab) && !is_kept(slabs, slab)) {
            *result = drop(slabs, slab);
        }
        return bytes;
    }
    return 0;
}

void tmb_slabs_clear(tmb_slabs *slabs) {
    while (slabs->first != NULL) {
        (void)drop(slabs, slabs->first);
    }
}
