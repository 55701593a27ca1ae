#include "server/item.h"

#include "base/error.h"
#include "base/utf8.h"
#include "server/json_text.h"
#include "server/state.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool fail(tmb_item_problem *problem, const char *field, unsigned status, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
static bool fail(tmb_item_problem *problem, const char *field, unsigned status, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    problem->field = field;
    problem->status = status;
    (void)vsnprintf(problem->message, sizeof(problem->message), format, arguments);
    va_end(arguments);
    return false;
}

/* The fields that may be lists; custom_id may be shorter than the others. */
static const char *const list_fields[] = {"text", "ref_audio", "ref_text", "language", "voice"};

size_t tmb_item_count(const json_t *arguments, tmb_item_problem *problem) {
    size_t count = 1;
    const char *longest = "text";
    for (size_t i = 0; i < sizeof(list_fields) / sizeof(list_fields[0]); i++) {
        const json_t *value = json_object_get(arguments, list_fields[i]);
        if (json_is_array(value) && json_array_size(value) > count) {
            count = json_array_size(value);
            longest = list_fields[i];
        }
    }
    for (size_t i = 0; i < sizeof(list_fields) / sizeof(list_fields[0]); i++) {
        const json_t *value = json_object_get(arguments, list_fields[i]);
        size_t size = json_is_array(value) ? json_array_size(value) : 1;
        if (size != 1 && size != count) {
            (void)fail(problem, list_fields[i], 400, "has %zu elements but %s has %zu", size, longest, count);
            return 0;
        }
    }
    const json_t *names = json_object_get(arguments, "custom_id");
    if (json_is_array(names) && json_array_size(names) > count) {
        (void)fail(problem, "custom_id", 400, "has %zu elements for %zu items", json_array_size(names), count);
        return 0;
    }
    return count;
}

const char *tmb_item_custom_id(const json_t *arguments, size_t index) {
    const json_t *value = json_object_get(arguments, "custom_id");
    /* Unlike the other lists, a list of one is for the first item only. */
    return json_string_value(json_is_array(value) ? json_array_get(value, index) : value);
}

void tmb_item_model_key(tmb_server *server, char key[256]) {
    const tmb_server_config *config = server->config;
    (void)snprintf(key, 256, "%.40s|%.120s|%.60s", config->engine, config->model, config->precision);
}

static bool fill_voice(tmb_server *server, const char *name, tmb_references *references, tmb_item_inputs *out,
                       tmb_item_problem *problem) {
    int descriptor = -1;
    tmb_store_status status = tmb_store_voice_get(server->store, name, &descriptor, &out->voice);
    if (status == TMB_STORE_NOT_FOUND) {
        return fail(problem, "voice", 400, "there is no voice \"%.64s\": see GET /api/v1/voices", name);
    }
    if (status != TMB_STORE_OK) {
        problem->field = "voice";
        problem->status = tmb_store_problem(status, "voice", problem->message, sizeof(problem->message));
        return false;
    }
    char key[256];
    tmb_item_model_key(server, key);
    tmb_store_voice_prepared_path(server->store, &out->voice, key, out->prepared);
    tmb_clone_request *request = &out->request;
    if (access(out->prepared, R_OK) == 0) {
        (void)close(descriptor);
        request->voice = out->prepared;
        return true;
    }
    request->ref_audio = tmb_references_hold(references, name, descriptor);
    request->ref_text = out->voice.ref_text;
    request->x_vector_only = out->voice.x_vector_only;
    request->run_pre_processing = request->run_pre_processing && out->voice.run_pre_processing;
    return request->ref_audio || fail(problem, "voice", 503, "not enough memory");
}

static bool fill_reference(const json_t *arguments, size_t index, tmb_references *references, tmb_item_inputs *out,
                           tmb_item_problem *problem) {
    const char *ref_audio = tmb_text_at(arguments, "ref_audio", index, NULL);
    tmb_reference_problem reason;
    tmb_clone_request *request = &out->request;
    request->ref_audio = tmb_references_open(references, ref_audio, &reason);
    if (!request->ref_audio) {
        return fail(problem, "ref_audio", reason.status, "%s", reason.message);
    }
    request->ref_text = tmb_text_at(arguments, "ref_text", index, NULL);
    if (request->ref_text && strspn(request->ref_text, " \t\r\n\v\f") == strlen(request->ref_text)) {
        request->ref_text = NULL;
    }
    request->x_vector_only = tmb_boolean_at(arguments, "x_vector_only", false) || !request->ref_text;
    return true;
}

bool tmb_item_fill(tmb_server *server, const json_t *arguments, size_t index, bool enhanced, tmb_references *references,
                   tmb_item_inputs *out, tmb_item_problem *problem) {
    memset(out, 0, sizeof(*out));
    tmb_clone_request *request = &out->request;
    tmb_clone_request_default(request);
    request->run_pre_processing = enhanced && tmb_boolean_at(arguments, "run_pre_processing", true);
    request->run_post_processing = enhanced && tmb_boolean_at(arguments, "run_post_processing", true);
    request->custom_id = tmb_item_custom_id(arguments, index);
    request->text = tmb_text_at(arguments, "text", index, "");
    request->language = tmb_text_at(arguments, "language", index, "auto");
    const char *voice = tmb_text_at(arguments, "voice", index, NULL);
    const char *ref_audio = tmb_text_at(arguments, "ref_audio", index, NULL);
    if (voice && ref_audio) {
        return fail(problem, "voice", 400, "name either a voice or ref_audio, not both");
    }
    if (!voice && !ref_audio) {
        return fail(problem, "ref_audio", 400, "is missing (or name a stored voice)");
    }
    if (!(voice ? fill_voice(server, voice, references, out, problem)
                : fill_reference(arguments, index, references, out, problem))) {
        return false;
    }
    request->temperature = tmb_number_at(arguments, "temperature", 1.0);
    request->greedy = request->temperature == 0;
    request->temperature = request->greedy ? 1.0 : request->temperature;
    request->top_p = tmb_number_at(arguments, "top_p", -1);
    request->top_k = (int)tmb_number_at(arguments, "top_k", -1);
    request->repetition_penalty = tmb_number_at(arguments, "repetition_penalty", -1);
    request->max_seconds = tmb_number_at(arguments, "max_seconds", server->config->max_speech_seconds);
    request->guard_runaway = true;
    request->deadline = server->config->job_deadline;
    request->want_samples = false;
    request->has_seed = true;
    const json_t *seed = json_object_get(arguments, "seed");
    uint32_t random[2] = {0};
    if (json_is_number(seed)) {
        request->seed = (uint64_t)json_number_value(seed);
    } else if (tmb_random_bytes(random, sizeof(random))) {
        /* Small enough for every JSON reader, so that it can be sent back to us. */
        request->seed = ((uint64_t)random[0] << 20 ^ random[1]) & ((UINT64_C(1) << 48) - 1);
    }
    return true;
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
        const char *text = error->message + error->name_bytes;
        (void)tmb_utf8_clean(text, strlen(text), message, 512);
        return 400;
    }
    case TMB_ERROR_MEMORY: {
        char text[600];
        (void)snprintf(text, sizeof(text), "Not enough memory: %s", error->message);
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
        (void)snprintf(message, 512, "The server is busy");
        return 503;
    }
    (void)snprintf(message, 512, "Internal Error");
    return 500;
}

/* Milliseconds are as exact as these times are. */
static json_t *seconds(double value) { return json_real((double)(long long)(value * 1000 + 0.5) / 1000); }

void tmb_json_reference(json_t *object, const tmb_reference_info *info) {
    char *text = info ? tmb_reference_to_json(info) : NULL;
    json_t *reference = text ? json_loads(text, 0, NULL) : NULL;
    tmb_free(text);
    if (reference) {
        (void)json_object_set(object, "warnings", json_object_get(reference, "warnings"));
        (void)json_object_set_new(object, "reference", reference);
    }
}

void tmb_json_clipped(json_t *object, uint64_t clipped) {
    json_t *warnings = json_object_get(object, "warnings");
    (void)json_object_set_new(object, "clipped", json_integer((json_int_t)clipped));
    if (!warnings) {
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
    if (!item || error_message) {
        if (item) {
            (void)json_object_set_new(item, "error", tmb_json_text(error_message));
            tmb_json_reference(item, result->reference);
        }
        return item;
    }
    (void)json_object_set_new(item, "sample_rate", json_integer(sample_rate));
    (void)json_object_set_new(item, "duration", seconds(duration));
    (void)json_object_set_new(item, "engine", json_string(result->engine ? result->engine : ""));
    (void)json_object_set_new(item, "is_clone", json_boolean(result->is_clone));
    (void)json_object_set_new(item, "finish_reason",
                              json_string(result->finish_reason ? result->finish_reason : "stop"));
    (void)json_object_set_new(item, "seed", json_integer((json_int_t)result->seed));
    json_t *timings = json_object();
    for (int stage = 0; stage < TMB_STAGE_DONE; stage++) {
        (void)json_object_set_new(timings, tmb_stage_name((tmb_stage)stage), seconds(result->timings[stage]));
    }
    (void)json_object_set_new(timings, "first_audio", seconds(result->first_audio));
    (void)json_object_set_new(timings, "total", seconds(result->total));
    (void)json_object_set_new(item, "timings", timings);
    tmb_json_reference(item, result->reference);
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
