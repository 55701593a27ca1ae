#include "gpu/slabs.h"

#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

/* A stretch of a slab, in use or free; no two free ones are neighbours. */
typedef struct piece {
    size_t begin, bytes;
    bool used;
} piece;

struct tmb_slab {
    tmb_slab *next;
    uint64_t address;
    size_t bytes;
    piece *pieces; /* [count], in their order */
    size_t count, capacity;
};

static bool is_empty(const tmb_slab *slab) { return slab->count == 1 && !slab->pieces[0].used; }

/* Room in the list for one more. */
static bool grow(tmb_slab *slab) {
    if (slab->count < slab->capacity) {
        return true;
    }
    size_t capacity = 2 * slab->capacity + 8;
    piece *pieces = tmb_realloc(slab->pieces, capacity, sizeof *pieces);
    if (pieces == NULL) {
        return false;
    }
    slab->pieces = pieces;
    slab->capacity = capacity;
    return true;
}

static void insert(tmb_slab *slab, size_t index, piece p) {
    memmove(slab->pieces + index + 1, slab->pieces + index, (slab->count - index) * sizeof p);
    slab->pieces[index] = p;
    slab->count++;
}

static void take_out(tmb_slab *slab, size_t index) {
    slab->count--;
    memmove(slab->pieces + index, slab->pieces + index + 1, (slab->count - index) * sizeof slab->pieces[0]);
}

static tmb_cuda_result add_slab(tmb_slabs *slabs, size_t bytes, tmb_slab **out) {
    tmb_slab *slab = tmb_calloc(1, sizeof *slab);
    if (slab == NULL || !grow(slab)) {
        free(slab);
        return TMB_CUDA_OUT_OF_MEMORY;
    }
    tmb_cuda_result result = slabs->cuda->memory_allocate(&slab->address, bytes);
    if (result != TMB_CUDA_SUCCESS) {
        free(slab->pieces);
        free(slab);
        return result;
    }
    slab->bytes = bytes;
    insert(slab, 0, (piece){0, bytes, false});
    slab->next = slabs->first;
    slabs->first = slab;
    slabs->held += bytes;
    *out = slab;
    return TMB_CUDA_SUCCESS;
}

static tmb_cuda_result drop_slab(tmb_slabs *slabs, tmb_slab *slab) {
    tmb_slab **link = &slabs->first;
    while (*link != slab) {
        link = &(*link)->next;
    }
    *link = slab->next;
    slabs->held -= slab->bytes;
    tmb_cuda_result result = slabs->cuda->memory_free(slab->address);
    free(slab->pieces);
    free(slab);
    return result;
}

/* The smallest free piece that is large enough. */
static tmb_slab *find_room(const tmb_slabs *slabs, size_t bytes, size_t *index) {
    tmb_slab *found = NULL;
    for (tmb_slab *slab = slabs->first; slab != NULL; slab = slab->next) {
        for (size_t i = 0; i < slab->count; i++) {
            const piece *p = &slab->pieces[i];
            if (!p->used && p->bytes >= bytes && (found == NULL || p->bytes < found->pieces[*index].bytes)) {
                found = slab;
                *index = i;
            }
        }
    }
    return found;
}

/* Gives the empty slab that was kept back to the device. */
static bool drop_empty(tmb_slabs *slabs) {
    for (tmb_slab *slab = slabs->first; slab != NULL; slab = slab->next) {
        if (is_empty(slab)) {
            return drop_slab(slabs, slab) == TMB_CUDA_SUCCESS;
        }
    }
    return false;
}

static tmb_cuda_result find_or_add(tmb_slabs *slabs, size_t bytes, tmb_slab **out, size_t *index) {
    bool alone = bytes >= slabs->size / 2;
    *index = 0;
    *out = alone ? NULL : find_room(slabs, bytes, index);
    if (*out != NULL) {
        return TMB_CUDA_SUCCESS;
    }
    tmb_cuda_result result = alone ? TMB_CUDA_OUT_OF_MEMORY : add_slab(slabs, slabs->size, out);
    if (result == TMB_CUDA_OUT_OF_MEMORY) { /* what is left of the device may be less than a slab */
        result = add_slab(slabs, bytes, out);
    }
    return result == TMB_CUDA_OUT_OF_MEMORY && drop_empty(slabs) ? add_slab(slabs, bytes, out) : result;
}

tmb_cuda_result tmb_slabs_take(tmb_slabs *slabs, size_t bytes, uint64_t *address) {
    tmb_slab *slab = NULL;
    size_t index = 0;
    *address = 0;
    tmb_cuda_result result = find_or_add(slabs, bytes, &slab, &index);
    if (result != TMB_CUDA_SUCCESS) {
        return result;
    }
    if (!grow(slab)) {
        return TMB_CUDA_OUT_OF_MEMORY;
    }
    piece *p = &slab->pieces[index];
    size_t rest = p->bytes - bytes;
    p->bytes = bytes;
    p->used = true;
    *address = slab->address + p->begin;
    if (rest > 0) {
        insert(slab, index + 1, (piece){p->begin + bytes, rest, false});
    }
    return TMB_CUDA_SUCCESS;
}

/* A free piece and its free neighbours become one. */
static void join(tmb_slab *slab, size_t index) {
    if (index + 1 < slab->count && !slab->pieces[index + 1].used) {
        slab->pieces[index].bytes += slab->pieces[index + 1].bytes;
        take_out(slab, index + 1);
    }
    if (index > 0 && !slab->pieces[index - 1].used) {
        slab->pieces[index - 1].bytes += slab->pieces[index].bytes;
        take_out(slab, index);
    }
}

/* Whether an empty slab is worth keeping: a usual one, if no other is empty. */
static bool is_kept(const tmb_slabs *slabs, const tmb_slab *slab) {
    bool kept = slab->bytes == slabs->size;
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
        for (size_t i = 0; i < slab->count; i++) {
            piece *p = &slab->pieces[i];
            if (p->used && slab->address + p->begin == address) {
                size_t bytes = p->bytes;
                p->used = false;
                join(slab, i);
                if (is_empty(slab) && !is_kept(slabs, slab)) {
                    *result = drop_slab(slabs, slab);
                }
                return bytes;
            }
        }
    }
    return 0;
}

void tmb_slabs_clear(tmb_slabs *slabs) {
    while (slabs->first != NULL) {
        (void)drop_slab(slabs, slabs->first);
    }
}
