/* Stored voices: /api/v1/voices, and /v1/audio/voices as OpenAI's clients know them. */
#include "base/error.h"
#include "base/file.h"
#include "server/arguments.h"
#include "server/form.h"
#include "server/handlers.h"
#include "server/item.h"
#include "server/json_text.h"
#include "server/state.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool is_prepared(tmb_server *server, const tmb_voice_info *info) {
    char key[256];
    char path[TMB_STORE_PATH];
    tmb_item_model_key(server, key);
    tmb_store_voice_prepared_path(server->store, info, key, path);
    return access(path, R_OK) == 0;
}

/* What was measured of a voice's reference is kept beside it, under this name instead of a model's. */
static const char measured[] = "reference";

static void keep_reference(tmb_server *server, const tmb_voice_info *info, const tmb_reference_info *reference) {
    char path[TMB_STORE_PATH];
    tmb_error error = {.status = TMB_OK};
    char *text = tmb_reference_to_json(reference);
    tmb_store_voice_prepared_path(server->store, info, measured, path);
    if (text && tmb_file_write(path, text, strlen(text), &error) != TMB_OK) {
        tmb_log(&server->logger, TMB_LOG_WARNING, "what was measured of voice %s is not kept: %s", info->name,
                error.message);
    }
    tmb_free(text);
}

/* Adds `reference` (null: the voice was never measured) and its `warnings`. */
static void add_reference(tmb_server *server, const tmb_voice_info *info, json_t *voice) {
    char path[TMB_STORE_PATH];
    tmb_store_voice_prepared_path(server->store, info, measured, path);
    json_t *reference = json_load_file(path, 0, NULL);
    json_t *warnings = json_object_get(reference, "warnings");
    (void)json_object_set_new(voice, "warnings", warnings ? json_incref(warnings) : json_array());
    (void)json_object_set_new(voice, "reference", reference ? reference : json_null());
}

static json_t *voice_json(tmb_server *server, const tmb_voice_info *info) {
    char name[3 * TMB_NAME_SIZE];
    char url[sizeof(name) + 32];
    tmb_percent_encode(info->name, name, sizeof(name));
    (void)snprintf(url, sizeof(url), "/api/v1/voices/%s/audio", name);
    json_t *voice =
        json_pack("{s:o, s:s, s:o, s:o, s:b, s:b, s:b, s:f, s:f}", "name", tmb_json_text(info->name), "url", url,
                  "ref_text", tmb_json_text(info->ref_text), "language", tmb_json_text(info->language), "x_vector_only",
                  info->x_vector_only, "run_pre_processing", info->run_pre_processing, "prepared",
                  is_prepared(server, info), "duration", info->duration, "created", info->created);
    if (voice) {
        add_reference(server, info, voice);
    }
    return voice;
}

typedef struct listing {
    tmb_server *server;
    json_t *list;
} listing;

static bool add_voice(void *user, const tmb_voice_info *info) {
    listing *to = user;
    return json_array_append_new(to->list, voice_json(to->server, info)) == 0;
}

static json_t *openai_voice(const char *name) {
    return json_pack("{s:o, s:o}", "id", tmb_json_text(name), "name", tmb_json_text(name));
}

static bool add_openai_voice(void *user, const tmb_voice_info *info) {
    listing *to = user;
    return json_array_append_new(to->list, openai_voice(info->name)) == 0;
}

static bool add_name(void *user, const tmb_voice_info *info) {
    listing *to = user;
    return json_array_append_new(to->list, tmb_json_text(info->name)) == 0;
}

/* The stored voices; NULL: answered. */
static json_t *list(tmb_request *request, bool (*add)(void *user, const tmb_voice_info *info)) {
    listing to = {.server = request->server, .list = json_array()};
    tmb_store_status status = to.list ? tmb_store_voice_each(request->server->store, add, &to) : TMB_STORE_FAILED;
    if (status != TMB_STORE_OK) {
        json_decref(to.list);
        tmb_refuse_store(request, status, "voice");
        return NULL;
    }
    return to.list;
}

void tmb_handle_voices_list(tmb_request *request) {
    json_t *voices = list(request, add_voice);
    if (voices) {
        tmb_answer_json(request, MHD_HTTP_OK, json_pack("{s:o}", "voices", voices));
    }
}

/* The stored voices and, behind them, the operator's aliases. */
void tmb_handle_openai_voices(tmb_request *request) {
    bool legacy = tmb_boolean_at(request->query, "legacy", false);
    const tmb_voices *known = &request->server->voices;
    json_t *voices = list(request, legacy ? add_name : add_openai_voice);
    for (size_t i = 0; voices && i < known->count; i++) {
        const char *alias = known->aliases[i].alias;
        (void)json_array_append_new(voices, legacy ? json_string(alias) : openai_voice(alias));
    }
    if (voices) {
        tmb_answer_json(request, MHD_HTTP_OK, json_pack("{s:o}", "voices", voices));
    }
}

/* The bytes behind `path` as an upload of the store. */
static tmb_upload *copy_file(tmb_server *server, const char *path, tmb_store_status *status) {
    tmb_upload *upload = NULL;
    int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    *status = descriptor < 0 ? (tmb_errno_is_exhausted(errno) ? TMB_STORE_BUSY : TMB_STORE_FAILED)
                             : tmb_upload_begin(server->store, server->config->max_upload_bytes, &upload);
    char block[32 * 1024];
    for (ssize_t got = 1; *status == TMB_STORE_OK && got > 0;) {
        got = read(descriptor, block, sizeof(block));
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
    tmb_upload *upload = request->form ? tmb_form_take_file(request->form, part, NULL, NULL) : NULL;
    tmb_reference_problem problem = {.status = 0};
    const char *ref_audio = tmb_text_at(request->arguments, part, 0, NULL);
    if (!upload && !ref_audio) {
        tmb_refuse(request, 400, part, "is missing");
        return NULL;
    }
    if (!upload) {
        tmb_references *references = tmb_references_create(server, request_is_gone, request);
        const char *path = references ? tmb_references_open(references, ref_audio, &problem) : NULL;
        tmb_store_status status = TMB_STORE_FAILED;
        upload = path ? copy_file(server, path, &status) : NULL;
        tmb_references_destroy(references);
        if (!upload && !problem.status) {
            tmb_refuse_store(request, status, "voice");
            return NULL;
        }
    }
    if (problem.status || !tmb_check_audio(server->config, tmb_upload_path(upload),
                                           server->config->max_reference_seconds, false, audio, &problem)) {
        tmb_upload_abort(&upload);
        tmb_refuse(request, problem.status, problem.status < 500 && problem.status != 413 ? part : NULL, "%s",
                   problem.message);
        return NULL;
    }
    return upload;
}

/* Runs stages 1 and 2 and the encoders now and keeps what comes out, so that speaking need not. Where the
 * engine keeps no voices, or the model is not there, the reference alone does. */
static tmb_status prepare(tmb_server *server, const tmb_voice_info *info, tmb_error *error) {
    char reference[TMB_STORE_PATH];
    char prepared[TMB_STORE_PATH];
    char key[256];
    int descriptor = -1;
    tmb_voice_info again;
    if (tmb_store_voice_get(server->store, info->name, &descriptor, &again) != TMB_STORE_OK) {
        return TMB_OK;
    }
    (void)snprintf(reference, sizeof(reference), "/proc/self/fd/%d", descriptor);
    tmb_item_model_key(server, key);
    tmb_store_voice_prepared_path(server->store, &again, key, prepared);
    tmb_clone_request request;
    tmb_clone_request_default(&request);
    request.ref_audio = reference;
    request.ref_text = again.ref_text;
    request.x_vector_only = again.x_vector_only;
    request.run_pre_processing = again.run_pre_processing;
    request.text = "-";
    tmb_reference_info judged = {.duration = 0};
    tmb_status status = tmb_voice_create(server->timbre, &request, prepared, &judged, error);
    if (judged.duration > 0 && judged.usable) {
        keep_reference(server, &again, &judged);
    }
    (void)close(descriptor);
    tmb_voice_info_free(&again);
    if (status == TMB_ERROR_UNSUPPORTED) {
        return TMB_OK;
    }
    if (status != TMB_OK) {
        tmb_log(&server->logger, TMB_LOG_WARNING, "voice %s is not prepared: %s", info->name, error->message);
    }
    return status;
}

static void create(tmb_request *request, const char *part, bool openai) {
    tmb_server *server = request->server;
    const json_t *arguments = request->arguments;
    tmb_audio_info audio = {.rate = 1};
    tmb_voice_info info = {.x_vector_only = tmb_boolean_at(arguments, "x_vector_only", false),
                           .run_pre_processing = tmb_boolean_at(arguments, "run_pre_processing", true)};
    const char *name = tmb_text_at(arguments, "name", 0, "");
    const char *ref_text = tmb_text_at(arguments, "ref_text", 0, NULL);
    (void)snprintf(info.name, sizeof(info.name), "%s", name);
    (void)snprintf(info.language, sizeof(info.language), "%s", tmb_text_at(arguments, "language", 0, "auto"));
    info.ref_text = ref_text && ref_text[strspn(ref_text, " \t\r\n\v\f")] ? (char *)(uintptr_t)ref_text : NULL;
    info.x_vector_only = info.x_vector_only || !info.ref_text;
    tmb_item_problem problem = {.status = 0};
    if (!tmb_item_check_language(server, arguments, 0, &problem)) {
        tmb_refuse(request, problem.status, problem.field, "%s", problem.message);
        return;
    }
    tmb_upload *upload = take_reference(request, part, &audio);
    if (!upload) {
        return;
    }
    info.duration = (double)audio.length / audio.rate;
    (void)snprintf(info.content_type, sizeof(info.content_type), "%s",
                   strncmp(audio.format, "WAV", 3) == 0 ? "audio/wav" : "application/octet-stream");
    tmb_store_status status = tmb_store_voice_add(server->store, &upload, &info);
    if (status != TMB_STORE_OK) {
        tmb_refuse_store(request, status, "voice");
        return;
    }
    tmb_error error = {.status = TMB_OK};
    tmb_status prepared = prepare(server, &info, &error);
    if (prepared == TMB_ERROR_FORMAT || prepared == TMB_ERROR_ARGUMENT || prepared == TMB_ERROR_LIMIT) {
        char message[512];
        (void)tmb_store_voice_remove(server->store, info.name);
        tmb_refuse(request, tmb_item_error(server, &error, message), part, "%s", message);
        return;
    }
    tmb_answer_json(request, MHD_HTTP_CREATED,
                    openai ? json_pack("{s:s, s:s, s:s}", "id", info.name, "name", info.name, "object", "audio.voice")
                           : voice_json(server, &info));
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
    memcpy(file.id, info.id, sizeof(file.id));
    (void)snprintf(file.content_type, sizeof(file.content_type), "%s", info.content_type);
    (void)snprintf(file.name, sizeof(file.name), "%s", info.name);
    tmb_answer_file(request, descriptor, &file);
    tmb_voice_info_free(&info);
}

void tmb_handle_voice_delete(tmb_request *request) {
    tmb_voice_info info;
    if (!find_named(request, NULL, &info)) {
        return;
    }
    tmb_store_status status = tmb_store_voice_remove(request->server->store, info.name);
    tmb_voice_info_free(&info);
    if (status != TMB_STORE_OK) {
        tmb_refuse_store(request, status, "voice");
        return;
    }
    tmb_answer_empty(request, MHD_HTTP_NO_CONTENT);
}
