/* /v1/audio/speech and /v1/models as OpenAI's clients know them. */
#include "server/body_fields.h"
#include "server/clone.h"
#include "server/handlers.h"
#include "server/item.h"
#include "server/json_text.h"
#include "server/output.h"
#include "server/state.h"

#include <string.h>
#include <strings.h>

/* ---- Whose voice ---- */

/* What the request asks for, once it is known who could speak it. */
typedef struct speech {
    tmb_who who;
    bool follows; /* instructions are used */
} speech;

/* Whether one of the models has voices of the kind that `task_type` names: otherwise it is ignored. */
static bool has_task(const tmb_server *server, const char *task) {
    for (size_t i = 0; i < server->models.count; i++) {
        const tmb_model_description *model = server->models.list[i];
        if (strcasecmp(task, "CustomVoice") == 0 ? model->speaker_count > 0
                                                 : strcasecmp(task, "VoiceDesign") == 0 && model->designs) {
            return true;
        }
    }
    return strcasecmp(task, "Base") == 0;
}

static bool is_text(const json_t *value, const char *text) {
    return json_is_string(value) && strcasecmp(json_string_value(value), text) == 0;
}

/* The model that a request of these arguments goes to; NULL: none can. */
static const tmb_model_description *find_model(tmb_server *server, const json_t *arguments, tmb_who who) {
    tmb_clone_request request;
    const tmb_model_description *model = NULL;
    tmb_clone_request_default(&request);
    request.text = "-";
    request.who = who;
    request.speaker = tmb_text_at(arguments, "speaker", 0, NULL);
    request.instruct = tmb_text_at(arguments, "instruct", 0, NULL);
    request.model = tmb_text_at(arguments, "model", 0, NULL);
    return tmb_clone_model(server->timbre, &request, &model, NULL) == TMB_OK ? model : NULL;
}

/* Whether a stored voice, or an alias of one, has this name. */
static bool is_stored(tmb_server *server, const char *voice) {
    char name[TMB_NAME_SIZE];
    const char *what = NULL;
    tmb_voice_info info;
    if (!tmb_name_normalise(voice, name, &what) || !tmb_voices_resolve(&server->voices, server->store, name, name) ||
        tmb_store_voice_get(server->store, name, NULL, &info) != TMB_STORE_OK) {
        return false;
    }
    tmb_voice_info_free(&info);
    return true;
}

/* Whether `voice` is a speaker: then it is one of the arguments. */
static bool take_speaker(tmb_server *server, json_t *arguments, const char *voice) {
    (void)json_object_set_new(arguments, "speaker", json_string(voice));
    const tmb_model_description *model = find_model(server, arguments, TMB_WHO_SPEAKER);
    if (model != NULL && model->speaker_count > 0) {
        return true;
    }
    (void)json_object_del(arguments, "speaker");
    return false;
}

/* A voice from the instructions, for clients that cannot leave the voice out. */
static bool take_description(tmb_server *server, json_t *arguments, const json_t *instructions) {
    if (!json_string_length(instructions)) {
        return false;
    }
    (void)json_object_set(arguments, "instruct", (json_t *)(uintptr_t)instructions);
    const tmb_model_description *model = find_model(server, arguments, TMB_WHO_DESCRIPTION);
    if (model != NULL && model->designs) {
        return true;
    }
    (void)json_object_del(arguments, "instruct");
    return false;
}

/* A stored voice goes before a speaker of that name, and a speaker before the default voice. */
static speech find_voice(tmb_server *server, const json_t *asked, json_t *arguments) {
    const json_t *instructions = json_object_get(asked, "instructions");
    const json_t *task = json_object_get(asked, "task_type");
    json_t *voice = json_object_get(asked, "voice");
    voice = json_is_object(voice) ? json_object_get(voice, "id") : voice;
    const char *name = json_string_length(voice) ? json_string_value(voice) : NULL;
    bool clones = is_text(task, "Base");
    bool speaks = is_text(task, "CustomVoice") && has_task(server, "CustomVoice");
    if (is_text(task, "VoiceDesign") && has_task(server, "VoiceDesign")) {
        (void)json_object_set(arguments, "instruct", (json_t *)(uintptr_t)instructions);
        return (speech){TMB_WHO_DESCRIPTION, true};
    }
    bool stored = name != NULL && !speaks && is_stored(server, name);
    if (name != NULL && !stored && !clones && (take_speaker(server, arguments, name) || speaks)) {
        (void)json_object_set(arguments, "speaker", voice);
        const tmb_model_description *model = NULL;
        if (json_string_length(instructions)) {
            (void)json_object_set(arguments, "instruct", (json_t *)(uintptr_t)instructions);
            model = find_model(server, arguments, TMB_WHO_SPEAKER);
            if (model == NULL || !model->follows_instruct) {
                (void)json_object_del(arguments, "instruct");
            }
        }
        return (speech){TMB_WHO_SPEAKER, model != NULL && model->follows_instruct};
    }
    if (!stored && !clones && !speaks && !server->voices.fallback[0] &&
        take_description(server, arguments, instructions)) {
        return (speech){TMB_WHO_DESCRIPTION, true};
    }
    if (name != NULL) {
        (void)json_object_set(arguments, "voice", voice);
    }
    return (speech){TMB_WHO_AUTO, false};
}

/* OpenAI's fields under our names: what an item has it keeps. */
static json_t *translate(tmb_server *server, const json_t *asked, speech *out) {
    json_t *arguments = json_pack("{s:O}", "text", json_object_get(asked, "input"));
    for (const tmb_field *field = tmb_job_item_body; arguments != NULL && field->name != NULL; field++) {
        json_t *value = json_object_get(asked, field->name);
        if (value != NULL && field->kind != TMB_FIELD_NAME && strcmp(field->name, "response_format") != 0 &&
            strcmp(field->name, "model") != 0 && tmb_field_find(tmb_speech_body, field->name) != NULL) {
            (void)json_object_set(arguments, field->name, value);
        }
    }
    /* Other names than ours are those of OpenAI's models, which clients have built in. */
    const char *model = tmb_text_at(asked, "model", 0, NULL);
    if (arguments != NULL && model != NULL && tmb_server_models_find(&server->models, model) != NULL) {
        (void)json_object_set_new(arguments, "model", json_string(model));
    }
    /* A reference of the request's own goes before the voice, which OpenAI's client cannot leave out: then it is a
     * label and nothing is looked up. */
    *out = (speech){TMB_WHO_AUTO, false};
    if (arguments != NULL && json_object_get(arguments, "ref_audio") == NULL) {
        *out = find_voice(server, asked, arguments);
    }
    /* A worker may have a model of this name. */
    if (arguments != NULL && model != NULL && server->calls != NULL && json_object_get(arguments, "model") == NULL) {
        (void)json_object_set_new(arguments, TMB_MODEL_IF_THERE, json_string(model));
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
static bool is_ignored(const tmb_server *server, const char *name, const json_t *value, const speech *how) {
    if (strcmp(name, "instructions") == 0) {
        return json_string_length(value) > 0 && !how->follows;
    }
    if (strcmp(name, "task_type") == 0) {
        return !json_is_string(value) || !has_task(server, json_string_value(value));
    }
    return tmb_field_find(tmb_speech_body, name) == NULL && !json_is_null(value);
}

static void tell_ignored(tmb_request *request, const speech *how) {
    char list[160] = "";
    const char *name = NULL;
    json_t *value = NULL;
    json_object_foreach(request->arguments, name, value) {
        if (is_ignored(request->server, name, value, how)) {
            list_ignored(list, name);
        }
    }
    if (list[0]) {
        tmb_request_header(request, "X-Ignored", list);
    }
}

void tmb_handle_speech(tmb_request *request) {
    json_t *asked = request->arguments;
    speech how;
    const char *format = tmb_text_at(asked, "response_format", 0, "mp3");
    bool is_pcm = strcmp(format, "pcm") == 0;
    bool sse = strcmp(tmb_text_at(asked, "stream_format", 0, "audio"), "sse") == 0;
    bool stream = tmb_boolean_at(asked, "stream", true);
    json_t *arguments = translate(request->server, asked, &how);
    if (arguments == NULL) {
        tmb_refuse_for_now(request, 503, 5, "Not enough memory");
        return;
    }
    tell_ignored(request, &how);
    tmb_clone_options options = {
        .mode = sse      ? TMB_CLONE_SPEECH_EVENTS
                : stream ? TMB_CLONE_AUDIO
                         : TMB_CLONE_WHOLE,
        .enhanced = true,
        .who = how.who,
        .format = tmb_format_find(format)->name,
        /* Clients of this endpoint take pcm for 24 kHz without asking. */
        .rate = (int)tmb_number_at(asked, "sample_rate", is_pcm ? 24000 : 0),
        .speed = tmb_number_at(asked, "speed", 1),
    };
    request->arguments = arguments;
    json_decref(asked);
    tmb_clone_start(request, &options);
}

/* ---- Models ---- */

/* The names under which the models are known: their own, and those that OpenAI's clients have built in. */
static const char *model_name(const tmb_server *server, size_t index) {
    static const char *const names[] = {"tts-1", "tts-1-hd"};
    size_t count = sizeof names / sizeof names[0];
    size_t own = server->models.count;
    return index < own ? server->models.list[index]->name : index < own + count ? names[index - own] : NULL;
}

static json_t *model_json(const tmb_server *server, const char *name) {
    json_t *object = json_pack("{s:o, s:s, s:i, s:s}", "id", tmb_json_text(name), "object", "model", "created",
                               1700000000, "owned_by", "timbre");
    const tmb_model_description *model = tmb_server_models_find(&server->models, name);
    if (object != NULL && model != NULL) {
        tmb_server_models_add(model, object);
    }
    return object;
}

void tmb_handle_models(tmb_request *request) {
    json_t *list = json_array();
    const char *name = NULL;
    for (size_t i = 0; (name = model_name(request->server, i)) != NULL; i++) {
        (void)json_array_append_new(list, model_json(request->server, name));
    }
    tmb_answer_json(request, MHD_HTTP_OK, json_pack("{s:s, s:o}", "object", "list", "data", list));
}

void tmb_handle_model(tmb_request *request) {
    const char *name = NULL;
    for (size_t i = 0; (name = model_name(request->server, i)) != NULL; i++) {
        if (strcmp(name, request->path_value) == 0) {
            tmb_answer_json(request, MHD_HTTP_OK, model_json(request->server, name));
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
        (void)json_array_append_new(list,
                                    json_pack("{s:o, s:o}", "id", tmb_json_text(name), "name", tmb_json_text(name)));
    }
    tmb_answer_json(request, MHD_HTTP_OK, json_pack("{s:o}", "models", list));
}
