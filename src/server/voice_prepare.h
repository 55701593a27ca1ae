/* What is prepared from a stored voice, so that speaking need not: stages 1 and 2 and the encoders' work, in a file
 * beside the recording. It is a cache. Whatever is wrong with it, the recording is used, and it is made again. */
#ifndef TMB_SERVER_VOICE_PREPARE_H
#define TMB_SERVER_VOICE_PREPARE_H

#include "server/state.h"

typedef struct tmb_voice_maker tmb_voice_maker;

tmb_status tmb_voice_maker_create(tmb_server *server, tmb_voice_maker **out, tmb_error *error);
/* After the pools of the server have ended. */
void tmb_voice_maker_destroy(tmb_voice_maker **maker);

/* What was measured of a voice's reference, as JSON, is kept under this name instead of a model's. */
extern const char tmb_voice_measured[];

/* The model that prepared voices belong to: the one of that `name`, or that a recording without a name goes to (NULL).
 * free() it; NULL out of memory, or if none clones voices. */
char *tmb_voice_model(tmb_server *server, const char *name);
/* Whether that model's voices can be saved: only Qwen3-TTS has such. */
bool tmb_voice_is_saved(tmb_server *server, const char *name);

/* Prepares a voice and keeps what comes out; waits for it. `error` is set if the recording itself is to blame or the
 * library failed. *status: TMB_STORE_OK, TMB_STORE_NOT_FOUND if the voice was removed meanwhile; a quota without room
 * or an engine without saved voices leave the recording alone, which is fine. */
tmb_status tmb_voice_prepare(tmb_server *server, const tmb_voice_info *voice, tmb_store_status *status,
                             tmb_error *error);

/* Item `index` of `arguments` was spoken: if what was prepared for its voice could not be used, it is dropped and made
 * again, in the background. */
void tmb_voice_note_result(tmb_server *server, const json_t *arguments, size_t index, const tmb_clone_result *result);

#endif
