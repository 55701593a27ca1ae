/* The store of one machine; see database.h. */
#ifndef TMB_QUEUE_SQLITE_SQLITE_H
#define TMB_QUEUE_SQLITE_SQLITE_H

#include "queue/store.h"

/* As tmb_store_open, with a folder. */
tmb_status tmb_sqlite_open(const char *folder, const tmb_store_options *options, tmb_logger *logger, tmb_store **out,
                           tmb_error *error);

#endif
