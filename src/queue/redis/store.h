/* The store that several processes share; see shared.h. */
#ifndef TMB_QUEUE_REDIS_STORE_H
#define TMB_QUEUE_REDIS_STORE_H

#include "queue/store.h"

/* As tmb_store_open, with options->queue; the folder is for what is being written. TMB_ERROR_ARGUMENT: the server is
 * set up so that it may drop keys (its maxmemory-policy must be noeviction), or refuses the password. */
tmb_status tmb_redis_store_open(const char *folder, const tmb_store_options *options, tmb_logger *logger,
                                tmb_store **out, tmb_error *error);

#endif
