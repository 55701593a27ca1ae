/* Runs queued jobs: takes items from the store, a few at a time, job after job in turn, behind the
 * requests that wait. */
#ifndef TMB_SERVER_RUNNER_H
#define TMB_SERVER_RUNNER_H

#include "server/state.h"

tmb_status tmb_runner_start(tmb_server *server, tmb_runner **out, tmb_error *error);
/* There may be something new in the queue. */
void tmb_runner_wake(tmb_runner *runner);
/* Takes nothing new from now on. */
void tmb_runner_drain(tmb_runner *runner);
size_t tmb_runner_running(tmb_runner *runner);
/* Cancels the running items of a job that was removed (NULL: of all jobs; they go back into the queue). */
void tmb_runner_cancel(tmb_runner *runner, const char *job);
/* Cancels what runs, puts it back into the queue, ends the thread. */
void tmb_runner_stop(tmb_runner **runner);

#endif
