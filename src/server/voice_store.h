/* What the two ways to a stored voice have in common: a recording that came, and one that is made from a description.
 */
#ifndef TMB_SERVER_VOICE_STORE_H
#define TMB_SERVER_VOICE_STORE_H

#include "queue/blobs.h"
#include "queue/voices.h"
#include "server/request.h"

/* The bytes behind `path` as an upload of the store; NULL: *status says why. */
tmb_upload *tmb_voice_copy_file(tmb_server *server, const char *path, tmb_store_status *status);

/* Stores a voice with its recording (taken over), prepares it, and answers the request. `part` is the field to blame if
 * the recording is refused, `openai` the shape of the answer; `seed` (may be NULL) is told in it. */
void tmb_voice_store(tmb_request *request, tmb_upload *upload, tmb_voice_info *info, const char *part, bool openai,
                     const uint64_t *seed);

#endif
