/* Files that are written under a temporary name and get their own when they are complete. */
#ifndef TMB_IO_TEMPORARY_H
#define TMB_IO_TEMPORARY_H

#include "timbre/timbre.h"

typedef struct tmb_temporary tmb_temporary;

/* Creates a hidden file beside `path` (whose links are followed), with the permissions of the file
 * that it will replace, those of a new file if there is none, open for writing at *fd. It is removed by
 * tmb_audio_remove_temporary_files until it is committed. TMB_ERROR_IO: why not. */
tmb_status tmb_temporary_create(const char *path, tmb_temporary **out, int *fd, tmb_error *error);

/* Gives the file its name. On failure it is removed. Frees the handle, not the descriptor. */
tmb_status tmb_temporary_commit(tmb_temporary **temporary, tmb_error *error);

/* Removes the file and frees the handle (NULL allowed), not the descriptor. */
void tmb_temporary_discard(tmb_temporary **temporary);

#endif
