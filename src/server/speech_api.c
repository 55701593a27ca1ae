/* /v1/audio/speech and /v1/models as OpenAI's clients know them. */
#include "server/body_fields.h"
#include "server/clone.h"
#include "server/handlers.h"
#include "server/output.h"
#include "server/state.h"

#include <string.h>
#include <strings.h>

/* OpenAI's fields under our names: what an item has it keeps. */
static json_t *translate(const json_t *speech) {
    json_t *arguments = json_pack("{s:O}", "text", json_object_get(speech, "input"));
    for (const tmb_field *field = tmb_job_item_body; arguments && field->name; field++) {
        json_t *value = json_object_get(speech, field->name);
        if (value && field->kind != TMB_FIELD_NAME && strcmp(field->name, "response_format") != 0 &&
            tmb_field_find(tmb_speech_body, field->name)) {
            (void)json_object_set(arguments, field->name, value);
        }
    }
    /* A reference of the request's own goes before the voice, which OpenAI's client cannot leave out: then it is a
     * label and nothing is looked up. */
    json_t *voice = json_object_get(speech, "voice");
    voice = json_is_object(voice) ? json_object_get(voice, "id") : voice;
    if (!json_object_get(arguments, "ref_audio") && json_string_length(voice)) {
        (void)json_object_set(arguments, "voice", voice);
    }
    return arguments;
}

/* Adds `name` to the list, if a header can carry it. */
static void list_ignored(char list[160], const char *name) {
    size_t used = strlen(list);
    size_t length = strlen(name);
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)name[i];
        if (c <= 0x20 || c >= 0x7f || c == ',') {
            return;
        }
    }
    if (used + length + 3 <= 160) {
        (void)snprintf(list + used, 160 - used, "%s%s", used ? ", " : "", name);
    }
}

/* Whether the client asks for something by this field that it does not get. */
static bool is_ignored(const char *name, const json_t *value) {
    if (strcmp(name, "instructions") == 0) {
        return json_string_length(value) > 0;
    }
    if (strcmp(name, "task_type") == 0) {
        return strcasecmp(json_string_value(value), "Base") != 0;
    }
    return !tmb_field_find(tmb_speech_body, name) && !json_is_null(value);
}

static void tell_ignored(tmb_request *request) {
    char list[160] = "";
    const char *name = NULL;
    json_t *value = NULL;
    json_object_foreach(request->arguments, name, value) {
        if (is_ignored(name, value)) {
            list_ignored(list, name);
        }
    }
    if (list[0]) {
        tmb_request_header(request, "X-Ignored", list);
    }
}

void tmb_handle_speech(tmb_request *request) {
    json_t *speech = request->arguments;
    const char *format = tmb_text_at(speech, "response_format", 0, "mp3");
    bool is_pcm = strcmp(format, "pcm") == 0;
    bool sse = strcmp(tmb_text_at(speech, "stream_format", 0, "audio"), "sse") == 0;
    bool stream = tmb_boolean_at(speech, "stream", true);
    tell_ignored(request);
    json_t *arguments = translate(speech);
    if (!arguments) {
        tmb_refuse_for_now(request, 503, 5, "Not enough memory");
        return;
    }
    tmb_clone_options options = {
        .mode = sse      ? TMB_CLONE_SPEECH_EVENTS
                : stream ? TMB_CLONE_AUDIO
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

/* The names under which the one model is known; the first is its own. */
static const char *model_name(const tmb_server *server, size_t index) {
    static const char *const names[] = {"tts-1", "tts-1-hd"};
    size_t count = sizeof(names) / sizeof(names[0]);
    return index == 0 ? server->model_name : index <= count ? names[index - 1] : NULL;
}

static json_t *model_json(const char *name) {
    return json_pack("{s:s, s:s, s:i, s:s}", "id", name, "object", "model", "created", 1700000000, "owned_by",
                     "timbre");
}

void tmb_handle_models(tmb_request *request) {
    json_t *list = json_array();
    const char *name = NULL;
    for (size_t i = 0; (name = model_name(request->server, i)) != NULL; i++) {
        (void)json_array_append_new(list, model_json(name));
    }
    tmb_answer_json(request, MHD_HTTP_OK, json_pack("{s:s, s:o}", "object", "list", "data", list));
}

void tmb_handle_model(tmb_request *request) {
    const char *name = NULL;
    for (size_t i = 0; (name = model_name(request->server, i)) != NULL; i++) {
        if (strcmp(name, request->path_value) == 0) {
            tmb_answer_json(request, MHD_HTTP_OK, model_json(name));
            return;
        }
    }
    tmb_refuse(request, 404, NULL, "There is no such model: see GET /v1/models");
}

/* As servers with several models list those that speak: {"models": [{"id", "name"}]}. */
void tmb_handle_audio_models(tmb_request *request) {
    json_t *list = json_array();
    const char *name = NULL;
    for (size_t i = 0; (name = model_name(request->server, i)) != NULL; i++) {
        (void)json_array_append_new(list, json_pack("{s:s, s:s}", "id", name, "name", name));
    }
    tmb_answer_json(request, MHD_HTTP_OK, json_pack("{s:o}", "models", list));
}
