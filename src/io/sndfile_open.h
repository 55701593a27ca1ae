/* What reading and writing with libsndfile share. */
#ifndef TMB_IO_SNDFILE_OPEN_H
#define TMB_IO_SNDFILE_OPEN_H

#include "timbre/timbre.h"

#include <sndfile.h>
#include <stddef.h>
#include <stdint.h>

/* TMB_ERROR_MEMORY if there is no room for what its decoders and encoders allocate when a file is opened, or for a
 * block. Some of them write through NULL then, and an open that fails for that says that the file is damaged. */
tmb_status tmb_sndfile_ready(tmb_error *error);

/* sf_open_virtual; if it fails (NULL), `reason` [size] says why. libsndfile keeps that reason in one
 * place for all threads, so opens take turns. */
SNDFILE *tmb_sndfile_open(SF_VIRTUAL_IO *callbacks, int mode, SF_INFO *info, void *user, char *reason, size_t size);

/* The `seek` of a file that is `size` bytes long: moves *position, and returns it; -1 if that is before the start.
 */
sf_count_t tmb_sndfile_seek(uint64_t *position, uint64_t size, sf_count_t offset, int whence);

#endif
