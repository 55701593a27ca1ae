#include "tts/engine.h"

#include <stdatomic.h>
#include <string.h>

tmb_voice *tmb_voice_retain(tmb_voice *voice) {
    if (voice != NULL) {
        (void)atomic_fetch_add_explicit(&voice->references, 1, memory_order_relaxed);
    }
    return voice;
}

void tmb_voice_release(tmb_voice **voice_address) {
    tmb_voice *voice = *voice_address;
    *voice_address = NULL;
    if (voice != NULL && atomic_fetch_sub_explicit(&voice->references, 1, memory_order_acq_rel) == 1) {
        voice->destroy(voice);
    }
}

bool tmb_engine_device_lost(const tmb_engine *engine) {
    return engine->operations->device_lost != NULL && engine->operations->device_lost(engine);
}

void tmb_speak_request_default(tmb_speak_request *request) {
    memset(request, 0, sizeof *request);
    request->temperature = -1;
    request->top_p = -1;
    request->repetition_penalty = -1;
    request->top_k = -1;
    request->subtalker_temperature = -1;
    request->subtalker_top_p = -1;
    request->subtalker_top_k = -1;
}

double tmb_expected_seconds(const char *text) {
    double seconds = 0.5;
    for (const unsigned char *c = (const unsigned char *)text; *c != '\0'; c++) {
        if ((*c & 0xC0) != 0x80) {
            seconds += *c >= 0xE3 ? 0.22 : 0.065;
        }
    }
    return seconds;
}
