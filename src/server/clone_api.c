/* /api/v1/voice-clone, /voice-clone-enhanced, and their forms; /custom-voice, /voice-design. */
#include "server/clone.h"
#include "server/fields.h"
#include "server/handlers.h"
#include "server/output.h"

#include <string.h>

static void start(tmb_request *request, bool enhanced, tmb_who who) {
    const json_t *arguments = request->arguments;
    bool sse = strcmp(tmb_text_at(arguments, "stream_format", 0, "audio"), "sse") == 0;
    const char *accepted = NULL;
    bool audio = tmb_accepts_audio(request->accept, &accepted);
    tmb_clone_options options = {
        .mode = !tmb_boolean_at(arguments, "stream", false) ? audio ? TMB_CLONE_WHOLE : TMB_CLONE_COLLECT
                : sse                                       ? TMB_CLONE_EVENTS
                                                            : TMB_CLONE_AUDIO,
        .enhanced = enhanced,
        .who = who,
        /* The body's word goes before the head's. */
        .format = tmb_text_at(arguments, "response_format", 0, audio && accepted != NULL ? accepted : "wav"),
    };
    if (tmb_format_find(options.format) == NULL) {
        tmb_refuse(request, MHD_HTTP_NOT_ACCEPTABLE, NULL, "This server does not write %s", options.format);
        return;
    }
    tmb_clone_start(request, &options);
}

void tmb_handle_voice_clone(tmb_request *request) { start(request, false, TMB_WHO_AUTO); }
void tmb_handle_voice_clone_enhanced(tmb_request *request) { start(request, true, TMB_WHO_AUTO); }
void tmb_handle_custom_voice(tmb_request *request) { start(request, true, TMB_WHO_SPEAKER); }
void tmb_handle_voice_design(tmb_request *request) { start(request, true, TMB_WHO_DESCRIPTION); }
