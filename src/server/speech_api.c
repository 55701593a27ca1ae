/* /v1/audio/speech and /v1/models as OpenAI's clients know them. */
#include "server/clone.h"
#include "server/handlers.h"
#include "server/output.h"
#include "server/state.h"

#include <string.h>

/* OpenAI's fields under our names. */
static json_t *translate(const json_t *speech) {
    json_t *arguments = json_pack("{s:O}", "text", json_object_get(speech, "input"));
    static const char *const same[] = {"language",           "seed",        "temperature",   "top_k",     "top_p",
                                       "repetition_penalty", "max_seconds", "x_vector_only", "ref_audio", "ref_text"};
    for (size_t i = 0; arguments && i < sizeof(same) / sizeof(same[0]); i++) {
        json_t *value = json_object_get(speech, same[i]);
        if (value && !json_is_null(value)) {
            (void)json_object_set(arguments, same[i], value);
        }
    }
    if (json_is_boolean(json_object_get(speech, "x_vector_only_mode"))) {
        (void)json_object_set(arguments, "x_vector_only", json_object_get(speech, "x_vector_only_mode"));
    }
    /* A reference of the request's own goes before the voice, which OpenAI's client cannot leave out. */
    json_t *voice = json_object_get(speech, "voice");
    if (!json_object_get(arguments, "ref_audio") && voice && !json_is_null(voice)) {
        (void)json_object_set(arguments, "voice", json_is_object(voice) ? json_object_get(voice, "id") : voice);
    }
    return arguments;
}

void tmb_handle_speech(tmb_request *request) {
    json_t *speech = request->arguments;
    const char *format = tmb_text_at(speech, "response_format", 0, "mp3");
    bool is_pcm = strcmp(format, "pcm") == 0;
    bool sse = strcmp(tmb_text_at(speech, "stream_format", 0, "audio"), "sse") == 0;
    if (json_is_string(json_object_get(speech, "instructions"))) {
        tmb_request_header(request, "X-Ignored", "instructions");
    }
    json_t *arguments = translate(speech);
    if (!arguments) {
        tmb_refuse_for_now(request, 503, 5, "Not enough memory");
        return;
    }
    tmb_clone_options options = {
        .mode = sse                                      ? TMB_CLONE_SPEECH_EVENTS
                : tmb_boolean_at(speech, "stream", true) ? TMB_CLONE_AUDIO
                                                         : TMB_CLONE_WHOLE,
        .enhanced = true,
        .format = tmb_format_find(format)->name,
        /* Clients of this endpoint take pcm for 24 kHz without asking. */
        .rate = (int)tmb_number_at(speech, "sample_rate", is_pcm ? 24000 : 0),
        .speed = tmb_number_at(speech, "speed", 1),
    };
    request->arguments = arguments;
    json_decref(speech);
    tmb_clone_start(request, &options);
}

void tmb_handle_models(tmb_request *request) {
    static const char *const names[] = {"tts-1", "tts-1-hd"};
    json_t *list = json_array();
    (void)json_array_append_new(list, json_pack("{s:s, s:s, s:i, s:s}", "id", request->server->model_name, "object",
                                                "model", "created", 1700000000, "owned_by", "timbre"));
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        (void)json_array_append_new(list, json_pack("{s:s, s:s, s:i, s:s}", "id", names[i], "object", "model",
                                                    "created", 1700000000, "owned_by", "timbre"));
    }
    tmb_answer_json(request, MHD_HTTP_OK, json_pack("{s:s, s:o}", "object", "list", "data", list));
}
