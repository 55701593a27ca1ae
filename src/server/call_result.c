#include "server/call_result.h"

#include "base/error.h"
#include "base/memory.h"
#include "server/fields.h"
#include "server/json_text.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* JSON has no infinity: null stands for it, and for what was not measured. */
static json_t *number(double value) { return isfinite(value) ? json_real(value) : json_null(); }

/* In static storage, because an error only borrows its field: the names that the library has. */
static const char *static_field(const char *name) {
    size_t count = 0;
    const tmb_clone_field *rows = tmb_clone_fields(&count);
    for (size_t i = 0; name != NULL && i < count; i++) {
        if (strcmp(rows[i].name, name) == 0) {
            return rows[i].name;
        }
    }
    return NULL;
}

static json_t *write_reference(const tmb_reference_info *info) {
    json_t *warnings = json_array();
    for (size_t i = 0; warnings != NULL && i < info->warning_count; i++) {
        (void)json_array_append_new(warnings, tmb_json_text(info->warnings[i]));
    }
    return json_pack("{s:b, s:b, s:f, s:f, s:o, s:o, s:o, s:o, s:o, s:I, s:o, s:o}", "usable", info->usable, "cleaned",
                     info->cleaned, "duration", info->duration, "speech", info->speech, "peak", number(info->peak),
                     "level", number(info->level), "level_clean", number(info->level_clean), "noise",
                     number(info->noise), "noise_clean", number(info->noise_clean), "clipped",
                     (json_int_t)info->clipped, "warnings", warnings, "transcript", tmb_json_text(info->transcript));
}

static char *to_text(json_t *object) {
    char *text = object != NULL ? json_dumps(object, JSON_COMPACT | JSON_REAL_PRECISION(17)) : NULL;
    json_decref(object);
    return text;
}

char *tmb_call_reference_write(const tmb_reference_info *info) { return to_text(write_reference(info)); }

char *tmb_call_result_write(const tmb_clone_result *result, uint64_t pieces) {
    const tmb_error *error = &result->error;
    json_t *timings = json_array();
    json_t *segments = json_array();
    for (int stage = 0; stage < TMB_STAGE_COUNT; stage++) {
        (void)json_array_append_new(timings, json_real(result->timings[stage]));
    }
    for (size_t i = 0; i < result->segment_count; i++) {
        (void)json_array_append_new(segments,
                                    json_pack("{s:o, s:f, s:f}", "text", tmb_json_text(result->segments[i].text),
                                              "start", result->segments[i].start, "end", result->segments[i].end));
    }
    json_t *object = json_pack(
        "{s:i, s:i, s:s?, s:I, s:s?, s:s?, s:b, s:b, s:s?, s:I, s:i, s:f, s:f, s:f, s:b, s:o, s:o}", "status",
        (int)error->status, "system", error->system, "field", error->field, "name_bytes", (json_int_t)error->name_bytes,
        "engine", result->engine, "model", result->model, "is_clone", result->is_clone, "instruct_dropped",
        result->instruct_dropped, "finish_reason", result->finish_reason, "seed", (json_int_t)result->seed,
        "sample_rate", result->sample_rate, "duration", result->duration, "first_audio", result->first_audio, "total",
        result->total, "voice_unusable", result->voice_unusable, "timings", timings, "segments", segments);
    (void)json_object_set_new(object, "pieces", json_integer((json_int_t)pieces));
    if (object != NULL && error->status != TMB_OK) {
        (void)json_object_set_new(object, "message", tmb_json_text(error->message));
    }
    if (object != NULL && result->reference != NULL) {
        (void)json_object_set_new(object, "reference", write_reference(result->reference));
    }
    return to_text(object);
}

static void read_reference(const json_t *object, tmb_reference_info *out) {
    const json_t *warnings = json_object_get(object, "warnings");
    out->usable = json_is_true(json_object_get(object, "usable"));
    out->cleaned = json_is_true(json_object_get(object, "cleaned"));
    out->duration = tmb_number_at(object, "duration", 0);
    out->speech = tmb_number_at(object, "speech", 0);
    out->peak = tmb_number_at(object, "peak", -INFINITY);
    out->level = tmb_number_at(object, "level", -INFINITY);
    out->level_clean = tmb_number_at(object, "level_clean", (double)NAN);
    out->noise = tmb_number_at(object, "noise", -INFINITY);
    out->noise_clean = tmb_number_at(object, "noise_clean", (double)NAN);
    out->clipped = (uint64_t)tmb_number_at(object, "clipped", 0);
    for (size_t i = 0; i < json_array_size(warnings) && i < sizeof out->warnings / sizeof out->warnings[0]; i++) {
        const char *text = json_string_value(json_array_get(warnings, i));
        (void)snprintf(out->warnings[out->warning_count++], sizeof out->warnings[0], "%s", text != NULL ? text : "");
    }
    const char *transcript = json_string_value(json_object_get(object, "transcript"));
    (void)snprintf(out->transcript, sizeof out->transcript, "%s", transcript != NULL ? transcript : "");
}

bool tmb_call_reference_read(const char *text, tmb_reference_info *out) {
    json_t *object = json_loads(text, 0, NULL);
    bool good = json_is_object(object);
    memset(out, 0, sizeof *out);
    if (good) {
        read_reference(object, out);
    }
    json_decref(object);
    return good;
}

static bool read_segments(const json_t *list, tmb_call_result *out) {
    size_t count = json_array_size(list);
    out->segments = count ? tmb_calloc(count, sizeof *out->segments) : NULL;
    for (size_t i = 0; i < count && out->segments != NULL; i++) {
        const json_t *segment = json_array_get(list, i);
        const char *text = json_string_value(json_object_get(segment, "text"));
        out->segments[i] = (tmb_segment){.text = text != NULL ? text : "",
                                         .start = tmb_number_at(segment, "start", 0),
                                         .end = tmb_number_at(segment, "end", 0)};
    }
    out->result.segments = out->segments;
    out->result.segment_count = out->segments != NULL ? count : 0;
    return out->segments != NULL || !count;
}

static void read_error(const json_t *object, tmb_error *out) {
    const char *message = json_string_value(json_object_get(object, "message"));
    double status = tmb_number_at(object, "status", TMB_ERROR_INTERNAL);
    *out = (tmb_error){.status =
                           status >= 0 && status <= TMB_ERROR_INTERNAL ? (tmb_status)(int)status : TMB_ERROR_INTERNAL,
                       .system = (int)tmb_number_at(object, "system", 0),
                       .field = static_field(json_string_value(json_object_get(object, "field")))};
    (void)snprintf(out->message, sizeof out->message, "%s", message != NULL ? message : "");
    double name_bytes = tmb_number_at(object, "name_bytes", 0);
    out->name_bytes = name_bytes > 0 && name_bytes <= (double)strlen(out->message) ? (size_t)name_bytes : 0;
    if (out->status != TMB_OK && !out->message[0]) {
        (void)snprintf(out->message, sizeof out->message, "the worker does not say why");
    }
}

bool tmb_call_result_read(const char *text, tmb_call_result *out) {
    memset(out, 0, sizeof *out);
    out->object = json_loads(text, 0, NULL);
    if (!json_is_object(out->object) || !read_segments(json_object_get(out->object, "segments"), out)) {
        (void)tmb_fail(&out->result.error, TMB_ERROR_INTERNAL, "what a worker answered cannot be read");
        return false;
    }
    const json_t *object = out->object;
    const json_t *timings = json_object_get(object, "timings");
    tmb_clone_result *result = &out->result;
    read_error(object, &result->error);
    out->pieces = (uint64_t)json_integer_value(json_object_get(object, "pieces"));
    result->engine = json_string_value(json_object_get(object, "engine"));
    result->model = json_string_value(json_object_get(object, "model"));
    result->finish_reason = json_string_value(json_object_get(object, "finish_reason"));
    result->is_clone = json_is_true(json_object_get(object, "is_clone"));
    result->instruct_dropped = json_is_true(json_object_get(object, "instruct_dropped"));
    result->voice_unusable = json_is_true(json_object_get(object, "voice_unusable"));
    result->seed = (uint64_t)json_integer_value(json_object_get(object, "seed"));
    result->sample_rate = (int)tmb_number_at(object, "sample_rate", 0);
    result->duration = tmb_number_at(object, "duration", 0);
    result->first_audio = tmb_number_at(object, "first_audio", 0);
    result->total = tmb_number_at(object, "total", 0);
    for (size_t stage = 0; stage < TMB_STAGE_COUNT; stage++) {
        result->timings[stage] = json_number_value(json_array_get(timings, stage));
    }
    if (json_is_object(json_object_get(object, "reference"))) {
        read_reference(json_object_get(object, "reference"), &out->reference);
        result->reference = &out->reference;
    }
    return true;
}

void tmb_call_result_free(tmb_call_result *result) {
    json_decref(result->object);
    free(result->segments);
    result->object = NULL;
    result->segments = NULL;
}
