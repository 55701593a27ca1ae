/* Stored voices: /api/v1/voices, and /v1/audio/voices as OpenAI's clients know them. */
#include "base/error.h"
#include "server/arguments.h"
#include "server/form.h"
#include "server/handlers.h"
#include "server/item.h"
#include "server/json_text.h"
#include "server/voice_prepare.h"
#include "server/voice_store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool is_prepared(tmb_server *server, const tmb_voice_info *info) {
    char *model = tmb_voice_model(server, NULL);
    bool is = model != NULL && tmb_store_prepared_exists(server->store, info, model);
    free(model);
    return is;
}

/* Adds `reference` (null: the voice was never measured) and its `warnings`. */
static void add_reference(tmb_server *server, const tmb_voice_info *info, json_t *voice) {
    int descriptor = -1;
    json_t *reference = NULL;
    if (tmb_store_prepared_open(server->store, info, tmb_voice_measured, &descriptor) == TMB_STORE_OK) {
        reference = json_loadfd(descriptor, 0, NULL);
        (void)close(descriptor);
    }
    json_t *warnings = json_object_get(reference, "warnings");
    (void)json_object_set_new(voice, "warnings", warnings != NULL ? json_incref(warnings) : json_array());
    (void)json_object_set_new(voice, "reference", reference != NULL ? reference : json_null());
}

static json_t *voice_json(tmb_server *server, const tmb_voice_info *info) {
    char name[3 * TMB_NAME_SIZE];
    char url[sizeof name + 32];
    tmb_percent_encode(info->name, name, sizeof name);
    (void)snprintf(url, sizeof url, "/api/v1/voices/%s/audio", name);
    json_t *voice =
        json_pack("{s:o, s:s, s:o, s:o, s:b, s:b, s:b, s:f, s:f}", "name", tmb_json_text(info->name), "url", url,
                  "ref_text", tmb_json_text(info->ref_text), "language", tmb_json_text(info->language), "x_vector_only",
                  info->x_vector_only, "run_pre_processing", info->run_pre_processing, "prepared",
                  is_prepared(server, info), "duration", info->duration, "created", info->created);
    if (voice != NULL) {
        add_reference(server, info, voice);
    }
    return voice;
}

static json_t *openai_voice(const char *name) {
    return json_pack("{s:o, s:o}", "id", tmb_json_text(name), "name", tmb_json_text(name));
}

static json_t *openai_json(tmb_server *server, const tmb_voice_info *info) {
    (void)server;
    return openai_voice(info->name);
}

static json_t *name_json(tmb_server *server, const tmb_voice_info *info) {
    (void)server;
    return tmb_json_text(info->name);
}

/* The stored voices; NULL: answered. */
static json_t *list(tmb_request *request, json_t *(*describe)(tmb_server *server, const tmb_voice_info *info)) {
    tmb_voice_info *voices = NULL;
    size_t count = 0;
    tmb_store_status status = tmb_store_voice_list(request->server->store, &voices, &count);
    if (status != TMB_STORE_OK) {
        tmb_refuse_store(request, status, "voice");
        return NULL;
    }
    json_t *array = json_array();
    bool good = array != NULL;
    for (size_t i = 0; i < count && good; i++) {
        good = json_array_append_new(array, describe(request->server, &voices[i])) == 0;
    }
    tmb_voice_list_free(voices, count);
    if (!good) {
        json_decref(array);
        tmb_refuse_for_now(request, 503, 5, "Not enough memory");
        return NULL;
    }
    return array;
}

void tmb_handle_voices_list(tmb_request *request) {
    json_t *voices = list(request, voice_json);
    if (voices != NULL) {
        json_t *speakers = json_array();
        tmb_server_models_list_speakers(&request->server->models, speakers);
        tmb_answer_json(request, MHD_HTTP_OK, json_pack("{s:o, s:o}", "voices", voices, "speakers", speakers));
    }
}

static bool has_id(const json_t *voices, const char *name) {
    size_t index = 0;
    json_t *voice = NULL;
    json_array_foreach(voices, index, voice) {
        const json_t *id = json_is_object(voice) ? json_object_get(voice, "id") : voice;
        if (json_is_string(id) && strcmp(json_string_value(id), name) == 0) {
            return true;
        }
    }
    return false;
}

/* The speakers that are in the models, but for those whose name is a stored voice's: that one speaks. */
static void add_speakers(const tmb_server *server, bool legacy, json_t *voices) {
    json_t *speakers = json_array();
    size_t index = 0;
    json_t *speaker = NULL;
    tmb_server_models_list_speakers(&server->models, speakers);
    json_array_foreach(speakers, index, speaker) {
        json_t *name = json_object_get(speaker, "name");
        if (!json_is_string(name) || has_id(voices, json_string_value(name))) {
            continue;
        }
        (void)json_object_set(speaker, "id", name);
        (void)json_array_append(voices, legacy ? name : speaker);
    }
    json_decref(speakers);
}

/* The stored voices and, behind them, the operator's aliases. */
void tmb_handle_openai_voices(tmb_request *request) {
    bool legacy = tmb_boolean_at(request->query, "legacy", false);
    const tmb_voices *known = &request->server->voices;
    json_t *voices = list(request, legacy ? name_json : openai_json);
    for (size_t i = 0; voices != NULL && i < known->count; i++) {
        const char *alias = known->aliases[i].alias;
        (void)json_array_append_new(voices, legacy ? json_string(alias) : openai_voice(alias));
    }
    if (voices != NULL) {
        add_speakers(request->server, legacy, voices);
    }
    if (voices != NULL) {
        tmb_answer_json(request, MHD_HTTP_OK, json_pack("{s:o}", "voices", voices));
    }
}

/* The bytes behind `path` as an upload of the store. */
tmb_upload *tmb_voice_copy_file(tmb_server *server, const char *path, tmb_store_status *status) {
    tmb_upload *upload = NULL;
    int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    *status = descriptor < 0 ? (tmb_errno_is_exhausted(errno) ? TMB_STORE_BUSY : TMB_STORE_FAILED)
                             : tmb_upload_begin(server->store, server->config->max_upload_bytes, &upload);
    char block[32 * 1024];
    for (ssize_t got = 1; *status == TMB_STORE_OK && got > 0;) {
        got = read(descriptor, block, sizeof block);
        *status = got > 0 ? tmb_upload_write(upload, block, (size_t)got) : got < 0 ? TMB_STORE_FAILED : TMB_STORE_OK;
    }
    if (descriptor >= 0) {
        (void)close(descriptor);
    }
    if (*status != TMB_STORE_OK) {
        tmb_upload_abort(&upload);
    }
    return upload;
}

static bool request_is_gone(void *user) { return tmb_request_gone(user); }

/* The reference of a new voice, from the form's file or whatever ref_audio names; NULL: answered. */
static tmb_upload *take_reference(tmb_request *request, const char *part, tmb_audio_info *audio) {
    tmb_server *server = request->server;
    tmb_upload *upload = request->form != NULL ? tmb_form_take_file(request->form, part, NULL, NULL) : NULL;
    tmb_problem problem = {.status = 0};
    const char *ref_audio = tmb_text_at(request->arguments, part, 0, NULL);
    if (upload == NULL && ref_audio == NULL) {
        tmb_refuse(request, 400, part, "is missing");
        return NULL;
    }
    if (upload == NULL) {
        tmb_references *references = tmb_references_create(server, request_is_gone, request);
        const char *path = references != NULL ? tmb_references_open(references, ref_audio, &problem) : NULL;
        tmb_store_status status = TMB_STORE_FAILED;
        upload = path != NULL ? tmb_voice_copy_file(server, path, &status) : NULL;
        tmb_references_destroy(references);
        if (upload == NULL && !problem.status) {
            tmb_refuse_store(request, status, "voice");
            return NULL;
        }
    }
    if (problem.status || !tmb_check_kept_audio(server->config, tmb_upload_path(upload),
                                                server->config->max_reference_seconds, audio, &problem)) {
        tmb_upload_abort(&upload);
        tmb_refuse(request, problem.status, problem.status < 500 && problem.status != 413 ? part : NULL, "%s",
                   problem.message);
        return NULL;
    }
    return upload;
}

/* Whether the name still stands for this voice: not if it was deleted meanwhile. */
static bool still_there(tmb_server *server, const tmb_voice_info *info) {
    tmb_voice_info now;
    tmb_store_status status = tmb_store_voice_get(server->store, info->name, NULL, &now);
    if (status == TMB_STORE_OK) {
        tmb_voice_info_free(&now);
    }
    return status != TMB_STORE_NOT_FOUND && (status != TMB_STORE_OK || strcmp(now.id, info->id) == 0);
}

void tmb_voice_store(tmb_request *request, tmb_upload *upload, tmb_voice_info *info, const char *part, bool openai,
                     const uint64_t *seed) {
    tmb_server *server = request->server;
    tmb_store_status status = tmb_store_voice_add(server->store, &upload, info);
    if (status != TMB_STORE_OK) {
        tmb_refuse_store(request, status, "voice");
        return;
    }
    tmb_error error = {.status = TMB_OK};
    /* What is prepared is kept with the voice; if it cannot be, the recording alone does. */
    tmb_status prepared = tmb_voice_prepare(server, info, &status, &error);
    if (prepared == TMB_ERROR_FORMAT || prepared == TMB_ERROR_ARGUMENT || prepared == TMB_ERROR_LIMIT) {
        char message[512];
        (void)tmb_store_voice_remove(server->store, info->name, info->id);
        tmb_refuse(request, tmb_item_error(server, &error, message), part, "%s", message);
        return;
    }
    if (status == TMB_STORE_NOT_FOUND || !still_there(server, info)) {
        tmb_refuse(request, MHD_HTTP_CONFLICT, NULL, "The voice was deleted while it was being prepared");
        return;
    }
    json_t *answer = openai
                         ? json_pack("{s:s, s:s, s:s}", "id", info->name, "name", info->name, "object", "audio.voice")
                         : voice_json(server, info);
    if (answer != NULL && seed != NULL) {
        (void)json_object_set_new(answer, "seed", json_integer((json_int_t)*seed));
    }
    tmb_answer_json(request, MHD_HTTP_CREATED, answer);
}

static void create(tmb_request *request, const char *part, bool openai) {
    tmb_server *server = request->server;
    const json_t *arguments = request->arguments;
    tmb_audio_info audio = {.rate = 1};
    tmb_voice_info info = {.x_vector_only = tmb_boolean_at(arguments, "x_vector_only", false),
                           .run_pre_processing = tmb_boolean_at(arguments, "run_pre_processing", true)};
    const char *name = tmb_text_at(arguments, "name", 0, "");
    const char *ref_text = tmb_text_at(arguments, "ref_text", 0, NULL);
    (void)snprintf(info.name, sizeof info.name, "%s", name);
    (void)snprintf(info.language, sizeof info.language, "%s", tmb_text_at(arguments, "language", 0, "auto"));
    info.ref_text = ref_text != NULL && ref_text[strspn(ref_text, " \t\r\n\v\f")] ? (char *)(uintptr_t)ref_text : NULL;
    /* With a transcription service there will be a text. */
    info.x_vector_only = info.x_vector_only || (info.ref_text == NULL && !request->server->config->transcribe_url[0]);
    tmb_problem problem = {.status = 0};
    if (!tmb_item_check_language(server, arguments, 0, &problem)) {
        tmb_refuse(request, problem.status, problem.field, "%s", problem.message);
        return;
    }
    tmb_upload *upload = take_reference(request, part, &audio);
    if (upload == NULL) {
        return;
    }
    info.duration = (double)audio.length / audio.rate;
    (void)snprintf(info.content_type, sizeof info.content_type, "%s",
                   strncmp(audio.format, "WAV", 3) == 0 ? "audio/wav" : "application/octet-stream");
    tmb_voice_store(request, upload, &info, part, openai, NULL);
}

void tmb_handle_voice_create(tmb_request *request) { create(request, "ref_audio", false); }
void tmb_handle_openai_voice_create(tmb_request *request) { create(request, "audio_sample", true); }

/* The voice that the path names; false: answered. */
static bool find_named(tmb_request *request, int *descriptor, tmb_voice_info *info) {
    char name[TMB_NAME_SIZE];
    const char *what = NULL;
    tmb_store_status status = tmb_name_normalise(request->path_value, name, &what)
                                  ? tmb_store_voice_get(request->server->store, name, descriptor, info)
                                  : TMB_STORE_NOT_FOUND;
    if (status != TMB_STORE_OK) {
        tmb_refuse_store(request, status, "voice");
    }
    return status == TMB_STORE_OK;
}

void tmb_handle_voice_get(tmb_request *request) {
    tmb_voice_info info;
    if (find_named(request, NULL, &info)) {
        tmb_answer_json(request, MHD_HTTP_OK, voice_json(request->server, &info));
        tmb_voice_info_free(&info);
    }
}

void tmb_handle_voice_audio(tmb_request *request) {
    int descriptor = -1;
    tmb_voice_info info;
    if (!find_named(request, &descriptor, &info)) {
        return;
    }
    tmb_file_info file = {.bytes = info.bytes};
    memcpy(file.id, info.id, sizeof file.id);
    (void)snprintf(file.content_type, sizeof file.content_type, "%s", info.content_type);
    (void)snprintf(file.name, sizeof file.name, "%s", info.name);
    tmb_answer_file(request, descriptor, &file);
    tmb_voice_info_free(&info);
}

void tmb_handle_voice_delete(tmb_request *request) {
    tmb_voice_info info;
    if (!find_named(request, NULL, &info)) {
        return;
    }
    tmb_store_status status = tmb_store_voice_remove(request->server->store, info.name, info.id);
    tmb_voice_info_free(&info);
    if (status != TMB_STORE_OK) {
        tmb_refuse_store(request, status, "voice");
        return;
    }
    tmb_answer_empty(request, MHD_HTTP_NO_CONTENT);
}
