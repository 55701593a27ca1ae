/* One thing to say: from a request's fields to the library's request, and from the library's result to
 * the fields of an answer. Shared by requests that wait and jobs that don't. */
#ifndef TMB_SERVER_ITEM_H
#define TMB_SERVER_ITEM_H

#include "base/name.h"
#include "queue/voices.h"
#include "server/output.h"
#include "server/references.h"

/* What tmb_clone_submit gets, with what it borrows until then. */
typedef struct tmb_item_inputs {
    tmb_clone_request request;
    tmb_voice_info voice;
} tmb_item_inputs;

/* How many items the fields describe; 0 if lists disagree (`problem`). */
size_t tmb_item_count(const json_t *arguments, tmb_problem *problem);

/* Whether an item asks for a voice of a model's own, by speaker or instruct. */
bool tmb_item_has_own_voice(const json_t *arguments, size_t index);

/* Fills in item `index`. `enhanced` false: neither pre- nor post-processing. `who`: what the route is for; TMB_WHO_AUTO
 * is as the fields say. The seed is always set. */
bool tmb_item_fill(tmb_server *server, const json_t *arguments, size_t index, bool enhanced, tmb_who who,
                   tmb_references *references, tmb_item_inputs *out, tmb_problem *problem);
void tmb_item_inputs_free(tmb_item_inputs *inputs);

/* Whether the engine speaks the language that item `index` asks for. */
bool tmb_item_check_language(tmb_server *server, const json_t *arguments, size_t index, tmb_problem *problem);

/* The stored voice that item `index` asks for, aliases and the default applied, in `name`. *given: there is one. False:
 * what is asked for cannot be a name. */
bool tmb_item_voice(tmb_server *server, const json_t *arguments, size_t index, char name[TMB_NAME_SIZE], bool *given,
                    tmb_problem *problem);

/* An error as a client may see it: the status that a request of this one item would get, and the text.
 * Internal details are logged; the client sees only "Internal Error". */
unsigned tmb_item_error(tmb_server *server, const tmb_error *error, char message[512]);

/* custom_id, sample_rate, duration, engine, timings and so on; for a failed item custom_id and error. New
 * reference or NULL. */
json_t *tmb_item_json(const tmb_clone_result *result, const char *custom_id, int sample_rate, double duration,
                      const char *error_message);

/* Adds `reference` and its `warnings` (nothing for NULL); adds `clipped`, and a sentence about it to the `warnings`. */
void tmb_json_reference(json_t *object, const tmb_reference_info *info);
void tmb_json_clipped(json_t *object, uint64_t clipped);

/* "/api/v1/files/ID" */
void tmb_file_url(const char *id, char url[64]);
/* Adds that as `url` (nothing to NULL). */
void tmb_json_url(json_t *object, const char *id);

/* custom_id of an item, or NULL. */
const char *tmb_item_custom_id(const json_t *arguments, size_t index);

/* What a worker must have to run an item, and whose voice it is, as tmb_new_job has them. `file` is the id of the
 * item's own reference; NULL or "": it names a stored `voice` (NULL or "": neither). New texts; NULL without memory. */
char *tmb_item_need(const tmb_server *server, const json_t *arguments, size_t index);
/* The argument that a call has in place of "model" if any worker may speak it when none has a model of this name. */
#define TMB_MODEL_IF_THERE "model_if_there"
char *tmb_item_whose(const char *file, const char *voice);

#endif
