/* Device memory from the driver, which makes the whole device wait when it takes some back, and divides it into pieces
 * of two megabytes.
 *
 * What stays is asked of it as it is. What comes and goes has units of one size, of which a slab holds several: a slab
 * is asked for only when every unit is in use, so that the slabs are never more than the most units that were in use at
 * once, and one slab. Pieces larger than a unit are asked of the driver one by one.
 */
#ifndef TMB_GPU_SLABS_H
#define TMB_GPU_SLABS_H

#include "gpu/driver.h"

#define TMB_SLAB_GRANULE 512

typedef struct tmb_slab tmb_slab;

typedef struct tmb_gpu_units {
    size_t unit; /* bytes; 0: everything is asked of the driver */
    size_t slab; /* bytes of a slab */
    size_t each; /* bytes of a slab for each of its units */
} tmb_gpu_units;

typedef struct tmb_slabs {
    const tmb_cuda *cuda;
    tmb_gpu_units units;
    tmb_slab *first;
    size_t held;  /* bytes that the driver gave */
    size_t given; /* those that pieces take */
} tmb_slabs;

/* Bytes that a piece that stays takes; SIZE_MAX if that does not fit into size_t. */
size_t tmb_slabs_rounded(size_t bytes);
/* Units for a pool of so many bytes (0: unknown), of which pieces have `unit` bytes at most. */
tmb_gpu_units tmb_slabs_plan(uint64_t pool, size_t unit);
/* Bytes that a piece that comes and goes takes. */
size_t tmb_slabs_counted(const tmb_gpu_units *units, size_t bytes);

/* A piece that stays; one that comes and goes. TMB_CUDA_OUT_OF_MEMORY if the device has no room for it, or the host
 * none for the list of them. */
tmb_cuda_result tmb_slabs_allocate(tmb_slabs *slabs, size_t bytes, uint64_t *address);
tmb_cuda_result tmb_slabs_take(tmb_slabs *slabs, size_t bytes, uint64_t *address);
/* Bytes that the piece at `address` took; 0 if there is none. *result is the driver's if something went back to it. */
size_t tmb_slabs_give_back(tmb_slabs *slabs, uint64_t address, tmb_cuda_result *result);
/* Gives everything back to the driver. */
void tmb_slabs_clear(tmb_slabs *slabs);

#endif
