/* A clone request as the pipeline keeps it: checked, and a copy of its own. */
#ifndef TMB_PIPELINE_REQUEST_H
#define TMB_PIPELINE_REQUEST_H

#include "tts/engine.h"

typedef enum tmb_source_kind {
    TMB_SOURCE_FILE,    /* ref_audio */
    TMB_SOURCE_DATA,    /* ref_data */
    TMB_SOURCE_SAMPLES, /* ref_samples */
    TMB_SOURCE_VOICE,   /* voice: a saved one */
    TMB_SOURCE_NONE     /* a voice of the model's own */
} tmb_source_kind;

/* Seconds that a request may put behind the reference. */
#define TMB_REFERENCE_SILENCE_MAX 5.0

typedef struct tmb_item_request {
    tmb_clone_request public; /* its strings are copies; ref_data and ref_samples are borrowed */
    tmb_source_kind source;
    uint64_t seed;
    bool transcribes; /* a service writes the transcript that is missing */
    char *strings[9];
} tmb_item_request;

/* Checks `request` and copies it. `needs_text`: false if only its reference counts.
 * TMB_ERROR_ARGUMENT names the field and what it may be. */
tmb_status tmb_item_request_copy(const tmb_clone_request *request, bool needs_text, tmb_item_request *out,
                                 tmb_error *error);
void tmb_item_request_free(tmb_item_request *request);

/* Without a transcript only the speaker's embedding can be used; a saved voice, and one whose transcript is still to be
 * written, knows itself what it has. */
bool tmb_item_request_x_vector_only(const tmb_item_request *request);

/* Whether stages 1 and 2 run. */
bool tmb_item_request_cleans_reference(const tmb_item_request *request);

/* What the engine is asked for; strings are the request's. */
void tmb_item_request_speak(const tmb_item_request *request, tmb_speak_request *out);

#endif
