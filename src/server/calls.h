/* Speech that somebody waits for: spoken here, or by a worker that takes it from the queue. Whoever asks gets the same
 * callbacks in both cases. */
#ifndef TMB_SERVER_CALLS_H
#define TMB_SERVER_CALLS_H

#include "server/item.h"
#include "server/state.h"

typedef struct tmb_calls tmb_calls; /* that are under way through the queue */

tmb_status tmb_calls_create(tmb_server *server, tmb_calls **out, tmb_error *error);
/* Cancels them and waits until they have ended. */
void tmb_calls_destroy(tmb_calls **calls);

/* As tmb_clone_submit, for item `index` of the arguments that `inputs` were filled from. */
tmb_status tmb_speak_submit(tmb_server *server, const json_t *arguments, size_t index, const tmb_item_inputs *inputs,
                            const tmb_clone_callbacks *callbacks, uint64_t *number, tmb_error *error);
/* As tmb_clone_cancel. */
void tmb_speak_cancel(tmb_server *server, uint64_t number);

/* A request as the queue has it, from an item's fields; NULL out of memory. `progress`: somebody wants to know it.
 * `deadline` in seconds since 1970. */
char *tmb_call_write(const json_t *item, bool stream, bool progress, double deadline);

#endif
