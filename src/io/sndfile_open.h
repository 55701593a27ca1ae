/* Opening libsndfile from several threads. */
#ifndef TMB_IO_SNDFILE_OPEN_H
#define TMB_IO_SNDFILE_OPEN_H

#include <sndfile.h>
#include <stddef.h>

/* sf_open_virtual; where it fails (NULL), `reason` [size] says why. libsndfile keeps that reason in one
 * place for all threads, so opens take turns. */
SNDFILE *tmb_sndfile_open(SF_VIRTUAL_IO *callbacks, int mode, SF_INFO *info, void *user, char *reason, size_t size);

#endif
