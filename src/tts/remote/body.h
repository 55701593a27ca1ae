/* What a speech server is asked. */
#ifndef TMB_TTS_REMOTE_BODY_H
#define TMB_TTS_REMOTE_BODY_H

#include "tts/engine.h"

/* A reference as servers take it, "data:audio/wav;base64,...": 16-bit mono WAV at the reference's rate. *out is
 * allocated. TMB_ERROR_LIMIT for more than TMB_REMOTE_REFERENCE_SECONDS, TMB_ERROR_MEMORY. */
#define TMB_REMOTE_REFERENCE_SECONDS 60
tmb_status tmb_remote_reference(const tmb_reference *reference, char **out, tmb_error *error);

/* The JSON body, allocated. `audio` is a reference as above, `ref_text` its transcript or NULL. Only what the
 * request sets is sent: the rest is the server's default. TMB_ERROR_ARGUMENT for an unknown language,
 * TMB_ERROR_MEMORY. */
tmb_status tmb_remote_body(const tmb_speak_request *request, const char *audio, const char *ref_text, const char *model,
                           char **out, tmb_error *error);

/* What a server's error says, from its JSON body ({"error": {"message"}} or {"detail"}) or, if it is none, its
 * first line; never empty. */
void tmb_remote_complaint(const char *body, size_t bytes, char *out, size_t capacity);

#endif
