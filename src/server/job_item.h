/* How the worker's items are run: an item of a job becomes a request of the library's, and its speech a file. */
#ifndef TMB_SERVER_JOB_ITEM_H
#define TMB_SERVER_JOB_ITEM_H

#include "server/state.h"
#include "worker/worker.h"

/* What the worker needs of the server. */
tmb_worker_trade tmb_job_item_trade(tmb_server *server);

#endif
