#include "server/item.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/utf8.h"
#include "server/json_text.h"
#include "server/state.h"
#include "server/voice_prepare.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The fields that may be lists; custom_id may be shorter than the others. */
static const char *const list_fields[] = {"text",  "ref_audio", "ref_text", "language",
                                          "voice", "speaker",   "instruct", "model"};

size_t tmb_item_count(const json_t *arguments, tmb_problem *problem) {
    size_t count = 1;
    const char *longest = "text";
    for (size_t i = 0; i < sizeof list_fields / sizeof list_fields[0]; i++) {
        const json_t *value = json_object_get(arguments, list_fields[i]);
        if (json_is_array(value) && json_array_size(value) > count) {
            count = json_array_size(value);
            longest = list_fields[i];
        }
    }
    for (size_t i = 0; i < sizeof list_fields / sizeof list_fields[0]; i++) {
        const json_t *value = json_object_get(arguments, list_fields[i]);
        size_t size = json_is_array(value) ? json_array_size(value) : 1;
        if (size != 1 && size != count) {
            (void)tmb_problem_set(problem, list_fields[i], 400, "has %zu elements but %s has %zu", size, longest,
                                  count);
            return 0;
        }
    }
    const json_t *names = json_object_get(arguments, "custom_id");
    if (json_is_array(names) && json_array_size(names) > count) {
        (void)tmb_problem_set(problem, "custom_id", 400, "has %zu elements for %zu items", json_array_size(names),
                              count);
        return 0;
    }
    return count;
}

const char *tmb_item_custom_id(const json_t *arguments, size_t index) {
    const json_t *value = json_object_get(arguments, "custom_id");
    /* Unlike the other lists, a list of one is for the first item only. */
    return json_string_value(json_is_array(value) ? json_array_get(value, index) : value);
}

bool tmb_item_check_language(tmb_server *server, const json_t *arguments, size_t index, tmb_problem *problem) {
    tmb_error error;
    const json_t *value = json_object_get(arguments, "language");
    const char *language = tmb_text_at(arguments, "language", index, NULL);
    if (tmb_check_language(server->timbre, language, &error) == TMB_OK) {
        return true;
    }
    char field[sizeof problem->field] = "language";
    if (json_is_array(value)) {
        (void)snprintf(field, sizeof field, "language[%zu]", json_array_size(value) == 1 ? 0 : index);
    }
    return tmb_problem_set(problem, field, 400, "%s", error.message);
}

bool tmb_item_voice(tmb_server *server, const json_t *arguments, size_t index, char name[TMB_NAME_SIZE], bool *given,
                    tmb_problem *problem) {
    const char *voice = tmb_text_at(arguments, "voice", index, NULL);
    const char *what = NULL;
    name[0] = 0;
    if (voice != NULL && !tmb_name_normalise(voice, name, &what)) {
        return tmb_problem_set(problem, "voice", 400, "%s", what);
    }
    *given = tmb_voices_resolve(&server->voices, server->store, voice != NULL ? name : NULL, name);
    return true;
}

static bool fill_voice(tmb_server *server, const char *name, tmb_references *references, tmb_item_inputs *out,
                       tmb_problem *problem) {
    int descriptor = -1;
    tmb_store_status status = tmb_store_voice_get(server->store, name, &descriptor, &out->voice);
    if (status == TMB_STORE_NOT_FOUND) {
        return tmb_problem_set(problem, "voice", 400, "there is no voice \"%.120s\": see GET /api/v1/voices", name);
    }
    if (status != TMB_STORE_OK) {
        problem->status = tmb_store_problem(status, "voice", problem->message, sizeof problem->message);
        return tmb_problem_name(problem, "voice");
    }
    /* What was prepared is used if it can be, otherwise the recording; both stay readable if the voice is removed. */
    tmb_clone_request *request = &out->request;
    char *model = tmb_voice_model(server, request->model);
    int prepared = -1;
    if (model != NULL && tmb_store_prepared_open(server->store, &out->voice, model, &prepared) == TMB_STORE_OK) {
        request->voice = tmb_references_hold(references, prepared);
    }
    free(model);
    request->ref_audio = tmb_references_hold(references, descriptor);
    request->ref_text = out->voice.ref_text;
    request->x_vector_only = out->voice.x_vector_only;
    /* A voice sounds as it was saved, whether what was prepared of it is there or is made anew of the recording. */
    request->run_pre_processing =
        out->voice.run_pre_processing && (request->run_pre_processing || tmb_voice_is_saved(server, request->model));
    return request->ref_audio != NULL || tmb_problem_set(problem, "voice", 503, "not enough memory");
}

static bool fill_reference(const json_t *arguments, size_t index, const char *ref_audio, tmb_references *references,
                           tmb_item_inputs *out, tmb_problem *problem) {
    tmb_clone_request *request = &out->request;
    tmb_references_salvage(references, request->salvage);
    request->ref_audio = tmb_references_open(references, ref_audio, problem);
    if (request->ref_audio == NULL) {
        return tmb_problem_name(problem, "ref_audio");
    }
    request->ref_text = tmb_text_at(arguments, "ref_text", index, NULL);
    if (request->ref_text != NULL && strspn(request->ref_text, " \t\r\n\v\f") == strlen(request->ref_text)) {
        request->ref_text = NULL;
    }
    return true;
}

bool tmb_item_has_own_voice(const json_t *arguments, size_t index) {
    bool own = tmb_text_at(arguments, "speaker", index, NULL) != NULL ||
               tmb_text_at(arguments, "instruct", index, NULL) != NULL;
    return own && tmb_text_at(arguments, "ref_audio", index, NULL) == NULL &&
           tmb_text_at(arguments, "voice", index, NULL) == NULL;
}

static bool fill_source(tmb_server *server, const json_t *arguments, size_t index, tmb_references *references,
                        tmb_item_inputs *out, tmb_problem *problem) {
    const char *ref_audio = tmb_text_at(arguments, "ref_audio", index, NULL);
    char voice[TMB_NAME_SIZE];
    bool given = false;
    if (tmb_item_has_own_voice(arguments, index)) {
        out->request.who = TMB_WHO_OWN;
        return true;
    }
    if (ref_audio != NULL && tmb_text_at(arguments, "voice", index, NULL) != NULL) {
        return tmb_problem_set(problem, "voice", 400, "name either a voice or ref_audio, not both");
    }
    if (ref_audio != NULL) {
        return fill_reference(arguments, index, ref_audio, references, out, problem);
    }
    if (!tmb_item_voice(server, arguments, index, voice, &given, problem)) {
        return false;
    }
    return given ? fill_voice(server, voice, references, out, problem)
                 : tmb_problem_set(problem, "ref_audio", 400, "is missing (or name a stored voice)");
}

static void set_field(const tmb_clone_field *row, const json_t *value, tmb_clone_request *request) {
    void *place = (char *)request + row->offset;
    switch (row->type) {
    case TMB_CLONE_NUMBER: *(double *)place = json_number_value(value); break;
    case TMB_CLONE_INTEGER: *(int *)place = (int)json_number_value(value); break;
    case TMB_CLONE_LENGTH: *(size_t *)place = (size_t)json_number_value(value); break;
    case TMB_CLONE_BOOLEAN: *(bool *)place = json_is_true(value); break;
    case TMB_CLONE_SEED:
        request->has_seed = true;
        request->seed = (uint64_t)json_number_value(value);
        break;
    case TMB_CLONE_LEVEL:
        for (int i = 0; json_is_string(value) && row->choices[i] != NULL; i++) {
            if (strcmp(row->choices[i], json_string_value(value)) == 0) {
                request->pre.level = request->post.level = (tmb_level_mode)i;
            }
        }
        break;
    case TMB_CLONE_TEXT:
    case TMB_CLONE_LANGUAGE:
    case TMB_CLONE_FORMAT:
    default: break;
    }
}

/* What is alike for every item, by the library's table; a server's own default if it has one. */
static void fill_settings(const json_t *arguments, tmb_clone_request *request) {
    size_t count = 0;
    const tmb_clone_field *rows = tmb_clone_fields(&count);
    for (size_t i = 0; i < count; i++) {
        const json_t *given = json_object_get(arguments, rows[i].name);
        bool absent = given == NULL || json_is_null(given);
        json_t *fallback = absent && rows[i].server_fallback != NULL
                               ? json_loads(rows[i].server_fallback, JSON_DECODE_ANY, NULL)
                               : NULL;
        if (fallback != NULL || !absent) {
            set_field(&rows[i], fallback != NULL ? fallback : given, request);
        }
        json_decref(fallback);
    }
}

bool tmb_item_fill(tmb_server *server, const json_t *arguments, size_t index, bool enhanced, tmb_who who,
                   tmb_references *references, tmb_item_inputs *out, tmb_problem *problem) {
    memset(out, 0, sizeof *out);
    tmb_clone_request *request = &out->request;
    tmb_clone_request_default(request);
    request->max_seconds = server->config->max_speech_seconds;
    fill_settings(arguments, request);
    request->run_pre_processing = enhanced && request->run_pre_processing;
    request->run_post_processing = enhanced && request->run_post_processing;
    request->custom_id = tmb_item_custom_id(arguments, index);
    request->text = tmb_text_at(arguments, "text", index, "");
    request->language = tmb_text_at(arguments, "language", index, "auto");
    request->speaker = tmb_text_at(arguments, "speaker", index, NULL);
    request->instruct = tmb_text_at(arguments, "instruct", index, NULL);
    request->model = tmb_text_at(arguments, "model", index, NULL);
    request->deadline = server->config->job_deadline;
    request->want_samples = false;
    request->who = who;
    if (!tmb_item_check_language(server, arguments, index, problem) ||
        (who == TMB_WHO_AUTO && !fill_source(server, arguments, index, references, out, problem))) {
        return false;
    }
    uint32_t random[2] = {0};
    if (!request->has_seed && tmb_random_bytes(random, sizeof random)) {
        /* Small enough for every JSON reader, so that it can be sent back to us. */
        request->seed = ((uint64_t)random[0] << 20 ^ random[1]) & ((UINT64_C(1) << 48) - 1);
    }
    request->has_seed = true;
    return true;
}

char *tmb_item_need(const tmb_server *server, const json_t *arguments, size_t index) {
    const char *need = server->config->need;
    const char *model = tmb_text_at(arguments, "model", index, tmb_text_at(arguments, TMB_MODEL_IF_THERE, 0, ""));
    /* A label with a comma cannot be. */
    bool asks = model[0] != 0 && strchr(model, ',') == NULL;
    return asks ? tmb_asprintf("%s%s?model=%s", need, need[0] != 0 ? "," : "", model) : tmb_strdup(need);
}

char *tmb_item_whose(const char *file, const char *voice) {
    bool own = file != NULL && file[0] != 0;
    bool stored = voice != NULL && voice[0] != 0;
    return own ? tmb_asprintf("file:%s", file) : stored ? tmb_asprintf("voice:%s", voice) : tmb_strdup("");
}

void tmb_item_inputs_free(tmb_item_inputs *inputs) { tmb_voice_info_free(&inputs->voice); }

unsigned tmb_item_error(tmb_server *server, const tmb_error *error, char message[512]) {
    if (tmb_error_is_full(error)) {
        (void)snprintf(message, 512, "There is no room left for the audio");
        return 507;
    }
    switch (error->status) {
    case TMB_ERROR_ARGUMENT:
    case TMB_ERROR_FORMAT:
    case TMB_ERROR_UNSUPPORTED:
    case TMB_ERROR_LIMIT: {
        if (tmb_error_is_exhausted(error)) {
            break; /* a limit of others, at the moment */
        }
        const char *text = error->message + error->name_bytes;
        (void)tmb_utf8_clean(text, strlen(text), message, 512);
        return 400;
    }
    case TMB_ERROR_MEMORY: {
        char text[600];
        (void)snprintf(text, sizeof text, "Not enough memory: %s", error->message);
        (void)tmb_utf8_clean(text, strlen(text), message, 512);
        return 503;
    }
    case TMB_ERROR_TIMEOUT: (void)snprintf(message, 512, "The deadline passed"); return 504;
    case TMB_ERROR_CANCELLED: (void)snprintf(message, 512, "Cancelled"); return 503;
    case TMB_ERROR_MODEL:
        tmb_log(&server->logger, TMB_LOG_ERROR, "%s", error->message);
        (void)snprintf(message, 512, "The model is not available on this server");
        return 503;
    case TMB_OK:
    case TMB_ERROR_IO:
    case TMB_ERROR_INTERNAL:
    default: break;
    }
    tmb_log(&server->logger, TMB_LOG_ERROR, "%s: %s", tmb_status_name(error->status), error->message);
    if (tmb_error_is_exhausted(error)) {
        (void)snprintf(message, 512, "%s",
                       error->system == ENOMEM ? "Not enough memory for now" : "The server is busy");
        return 503;
    }
    (void)snprintf(message, 512, "Internal Error");
    return 500;
}

/* Milliseconds are as exact as these times are. */
static json_t *seconds(double value) { return json_real((double)(long long)(value * 1000 + 0.5) / 1000); }

void tmb_json_reference(json_t *object, const tmb_reference_info *info) {
    char *text = info != NULL ? tmb_reference_to_json(info) : NULL;
    json_t *reference = text != NULL ? json_loads(text, 0, NULL) : NULL;
    tmb_free(text);
    if (reference != NULL) {
        (void)json_object_set(object, "warnings", json_object_get(reference, "warnings"));
        (void)json_object_set_new(object, "reference", reference);
    }
}

void tmb_json_clipped(json_t *object, uint64_t clipped) {
    json_t *warnings = json_object_get(object, "warnings");
    (void)json_object_set_new(object, "clipped", json_integer((json_int_t)clipped));
    if (warnings == NULL) {
        warnings = json_array();
        (void)json_object_set_new(object, "warnings", warnings);
    }
    if (clipped) {
        (void)json_array_append_new(warnings, json_sprintf("%llu samples were beyond full scale and were clipped",
                                                           (unsigned long long)clipped));
    }
}

json_t *tmb_item_json(const tmb_clone_result *result, const char *custom_id, int sample_rate, double duration,
                      const char *error_message) {
    json_t *item = json_pack("{s:s?}", "custom_id", custom_id);
    if (item == NULL || error_message != NULL) {
        if (item != NULL) {
            (void)json_object_set_new(item, "error", tmb_json_text(error_message));
            tmb_json_reference(item, result->reference);
        }
        return item;
    }
    (void)json_object_set_new(item, "sample_rate", json_integer(sample_rate));
    (void)json_object_set_new(item, "duration", seconds(duration));
    (void)json_object_set_new(item, "engine", json_string(result->engine != NULL ? result->engine : ""));
    if (result->model != NULL) {
        (void)json_object_set_new(item, "model", tmb_json_text(result->model));
    }
    (void)json_object_set_new(item, "is_clone", json_boolean(result->is_clone));
    (void)json_object_set_new(item, "finish_reason",
                              json_string(result->finish_reason != NULL ? result->finish_reason : "stop"));
    (void)json_object_set_new(item, "seed", json_integer((json_int_t)result->seed));
    json_t *timings = json_object();
    for (int stage = 0; stage < TMB_STAGE_DONE; stage++) {
        (void)json_object_set_new(timings, tmb_stage_name((tmb_stage)stage), seconds(result->timings[stage]));
    }
    (void)json_object_set_new(timings, "first_audio", seconds(result->first_audio));
    (void)json_object_set_new(timings, "total", seconds(result->total));
    (void)json_object_set_new(item, "timings", timings);
    tmb_json_reference(item, result->reference);
    if (result->instruct_dropped) {
        (void)json_object_set_new(item, "warnings",
                                  json_pack("[s]", "the model does not follow instructions: it spoke without"));
    }
    if (result->segment_count) {
        json_t *segments = json_array();
        for (size_t i = 0; i < result->segment_count; i++) {
            (void)json_array_append_new(
                segments, json_pack("{s:o, s:o, s:o}", "text", tmb_json_text(result->segments[i].text), "start",
                                    seconds(result->segments[i].start), "end", seconds(result->segments[i].end)));
        }
        (void)json_object_set_new(item, "segments", segments);
    }
    return item;
}

void tmb_file_url(const char *id, char url[64]) { (void)snprintf(url, 64, "/api/v1/files/%s", id); }

void tmb_json_url(json_t *object, const char *id) {
    char url[64];
    tmb_file_url(id, url);
    (void)json_object_set_new(object, "url", json_string(url));
}
