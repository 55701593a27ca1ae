/* Removing a model that was pulled. */
#ifndef TMB_WEIGHTS_REMOVE_H
#define TMB_WEIGHTS_REMOVE_H

#include "timbre/timbre.h"

/* Removes from the cache `hub` what tmb_pull_repository writes there: the snapshots' links to files that timbre reads,
 * the blobs that no other link of the repository leads to, half blobs, locks, and folders that are empty then. Files
 * that others put there stay and are counted in `out->kept`. `removed` (may be NULL) is called before with each
 * snapshot's folder. TMB_ERROR_MODEL: nothing of the repository is there. TMB_ERROR_IO: a file cannot be removed, or is
 * being downloaded now. */
tmb_status tmb_remove_repository(const char *hub, const char *repository,
                                 void (*removed)(void *user, const char *snapshot), void *user, tmb_removal *out,
                                 tmb_error *error);

#endif
