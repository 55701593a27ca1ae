/* --allow-pull: one model at a time is downloaded in the background, because somebody at the page asked for it. */
#ifndef TMB_SERVER_PULL_H
#define TMB_SERVER_PULL_H

#include "timbre/timbre.h"

#include <jansson.h>

struct tmb_server;
typedef struct tmb_puller tmb_puller;

tmb_status tmb_puller_create(struct tmb_server *server, tmb_puller **out, tmb_error *error);
/* Cancels what is under way; what has come is kept for the next try. */
void tmb_puller_destroy(tmb_puller **puller);

/* Starts. TMB_ERROR_LIMIT: another download is under way. */
tmb_status tmb_puller_start(tmb_puller *puller, const char *name, tmb_error *error);
/* Asks the download that is under way to end; nothing without one. */
void tmb_puller_stop(tmb_puller *puller);

/* The last download as JSON: name, state ("running", "done", "failed", "stopped"), file, done, total (bytes), error;
 * null if there was none. */
json_t *tmb_puller_json(tmb_puller *puller);

#endif
