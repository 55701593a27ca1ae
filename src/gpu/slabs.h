/* Device memory in slabs: the driver is asked for few large ones, since it makes the whole device wait when it takes
 * memory back, and gives out no less than megabytes. What is given out lies at multiples of 512 bytes.
 *
 * A request of half a slab or more is one of its own. A slab that is empty is kept if it is the only one.
 */
#ifndef TMB_GPU_SLABS_H
#define TMB_GPU_SLABS_H

#include "gpu/driver.h"

#define TMB_SLAB_GRANULE 512

typedef struct tmb_slab tmb_slab;

typedef struct tmb_slabs {
    const tmb_cuda *cuda;
    size_t size; /* of a slab; 0: every request is one of its own */
    tmb_slab *first;
    size_t held; /* bytes that the driver gave */
} tmb_slabs;

/* `bytes` is a multiple of the granule. TMB_CUDA_OUT_OF_MEMORY if the device has no room for so many, or the host none
 * for the list of them. */
tmb_cuda_result tmb_slabs_take(tmb_slabs *slabs, size_t bytes, uint64_t *address);
/* Bytes that were given out at `address`; 0 if none were. *result is the driver's if a slab went back to it. */
size_t tmb_slabs_give_back(tmb_slabs *slabs, uint64_t address, tmb_cuda_result *result);
/* Gives everything back to the driver. */
void tmb_slabs_clear(tmb_slabs *slabs);

#endif
