/* /api/v1/voice-clone, /voice-clone-enhanced, and their forms. */
#include "server/clone.h"
#include "server/fields.h"
#include "server/handlers.h"

#include <string.h>

static void start(tmb_request *request, bool enhanced) {
    const json_t *arguments = request->arguments;
    bool sse = strcmp(tmb_text_at(arguments, "stream_format", 0, "audio"), "sse") == 0;
    tmb_clone_options options = {
        .mode = !tmb_boolean_at(arguments, "stream", false) ? TMB_CLONE_COLLECT
                : sse                                       ? TMB_CLONE_EVENTS
                                                            : TMB_CLONE_AUDIO,
        .enhanced = enhanced,
        .format = tmb_text_at(arguments, "response_format", 0, "wav"),
    };
    tmb_clone_start(request, &options);
}

void tmb_handle_voice_clone(tmb_request *request) { start(request, false); }
void tmb_handle_voice_clone_enhanced(tmb_request *request) { start(request, true); }
