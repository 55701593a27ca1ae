/* Pinned memory through which a stream's copies go up: what the driver does with memory that is not pinned is its own
 * affair (it may wait for the stream, and with unified memory it may read later), so it never gets any.
 *
 * Parts are filled one after the other, with as many copies as fit; one that comes round is waited for.
 */
#ifndef TMB_GPU_STAGING_H
#define TMB_GPU_STAGING_H

#include "gpu/driver.h"

enum { TMB_STAGING_PARTS = 4, TMB_STAGING_PART_BYTES = 512 << 10 };

typedef struct tmb_staging {
    void *memory; /* [TMB_STAGING_PARTS, TMB_STAGING_PART_BYTES] */
    void *events[TMB_STAGING_PARTS];
    bool awaited[TMB_STAGING_PARTS]; /* copies out of it were put on the stream before its event */
    size_t part, used;               /* the one that is filled; bytes in it */
} tmb_staging;

/* Zeros before; what there is of it is closed by the caller if it fails. */
tmb_cuda_result tmb_staging_open(const tmb_cuda *cuda, tmb_staging *staging);
/* After the last copy is done. */
void tmb_staging_close(const tmb_cuda *cuda, tmb_staging *staging);

/* Puts a copy on the stream, always the same one. `from` is no longer used when this returns. */
tmb_cuda_result tmb_staging_upload(const tmb_cuda *cuda, tmb_staging *staging, void *stream, uint64_t to,
                                   const void *from, size_t bytes);

#endif
