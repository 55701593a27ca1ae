#include "pipeline/request.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/thread.h"
#include "base/utf8.h"
#include "pipeline/chain.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <utf8proc.h>

/* Bytes of a text; engines have limits of their own. */
#define MAX_TEXT (16u << 20)
#define MAX_INSTRUCT (16u << 10)

void tmb_clone_request_default(tmb_clone_request *request) {
    tmb_speak_request speak;
    tmb_speak_request_default(&speak);
    memset(request, 0, sizeof *request);
    request->struct_size = sizeof *request;
    request->language = "auto";
    request->temperature = speak.temperature;
    request->top_p = speak.top_p;
    request->repetition_penalty = speak.repetition_penalty;
    request->top_k = speak.top_k;
    request->subtalker_temperature = speak.subtalker_temperature;
    request->subtalker_top_p = speak.subtalker_top_p;
    request->subtalker_top_k = speak.subtalker_top_k;
    request->run_pre_processing = true;
    request->run_post_processing = true;
    tmb_enhance_options_default(&request->pre);
    tmb_enhance_options_default(&request->post);
    /* Speech from an engine is clean: docs/enhance-quality.md has what each limit does to it. */
    request->post.attenuation_limit_db = 12;
    request->want_samples = true;
    request->do_sample = true;
    request->subtalker_dosample = true;
}

/* White space of any kind, and characters that nobody sees: byte order marks, joiners, fillers, controls. */
static bool is_unseen(utf8proc_int32_t code) {
    static const utf8proc_int32_t blanks[] = {0x115f, 0x1160, 0x2800, 0x3164, 0xffa0};
    for (size_t i = 0; i < sizeof blanks / sizeof blanks[0]; i++) {
        if (code == blanks[i]) {
            return true;
        }
    }
    switch (utf8proc_category(code)) {
    case UTF8PROC_CATEGORY_ZS:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF: return true;
    default: return utf8proc_get_property(code)->ignorable;
    }
}

static bool is_blank(const char *text) {
    utf8proc_int32_t code;
    for (utf8proc_ssize_t length; *text != '\0'; text += length) {
        length = utf8proc_iterate((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)strnlen(text, 4), &code);
        if (length <= 0 || !is_unseen(code)) {
            return false;
        }
    }
    return true;
}

static bool is_utf8(const char *text) {
    size_t bytes = strlen(text);
    return tmb_utf8_valid_prefix(text, bytes) == bytes;
}

static tmb_status check_text(const char *name, const char *text, tmb_error *error) {
    if (text == NULL || is_blank(text)) {
        return tmb_fail_field(error, TMB_ERROR_ARGUMENT, name, "%s is empty", name);
    }
    if (strlen(text) > MAX_TEXT) {
        return tmb_fail_field(error, TMB_ERROR_LIMIT, name, "%s has %zu bytes, %u are the limit", name, strlen(text),
                              MAX_TEXT);
    }
    if (!is_utf8(text)) {
        return tmb_fail_field(error, TMB_ERROR_ARGUMENT, name, "%s is not valid UTF-8", name);
    }
    return TMB_OK;
}

/* A description may be blank: the model is then given a blank one, as officially. */
static tmb_status check_instruct(const char *instruct, tmb_error *error) {
    if (strlen(instruct) > MAX_INSTRUCT) {
        return tmb_fail_field(error, TMB_ERROR_LIMIT, "instruct", "instruct has %zu bytes, %u are the limit",
                              strlen(instruct), MAX_INSTRUCT);
    }
    return is_utf8(instruct) ? TMB_OK
                             : tmb_fail_field(error, TMB_ERROR_ARGUMENT, "instruct", "instruct is not valid UTF-8");
}

static tmb_status check_source(const tmb_clone_request *request, tmb_source_kind *kind, tmb_error *error) {
    int sources = (request->ref_audio != NULL) + (request->ref_data != NULL) + (request->ref_samples != NULL) +
                  (request->voice != NULL);
    if (sources == 0 && (request->speaker != NULL || request->instruct != NULL || request->who != TMB_WHO_AUTO)) {
        *kind = TMB_SOURCE_NONE;
        return TMB_OK;
    }
    if (request->voice != NULL && request->ref_audio != NULL && sources == 2) {
        *kind = TMB_SOURCE_VOICE; /* with something to fall back on */
        return TMB_OK;
    }
    if (sources != 1) {
        return tmb_fail(error, TMB_ERROR_ARGUMENT,
                        "%s reference: give one of ref_audio, ref_data, ref_samples and voice",
                        sources == 0 ? "no" : "more than one");
    }
    if (request->ref_audio != NULL) {
        *kind = TMB_SOURCE_FILE;
    } else if (request->voice != NULL) {
        *kind = TMB_SOURCE_VOICE;
    } else if (request->ref_data != NULL) {
        *kind = TMB_SOURCE_DATA;
        if (request->ref_data_size == 0) {
            return tmb_fail_field(error, TMB_ERROR_ARGUMENT, "ref_data_size",
                                  "ref_data_size is 0: there is no reference audio");
        }
    } else {
        *kind = TMB_SOURCE_SAMPLES;
        if (request->ref_sample_count == 0) {
            return tmb_fail_field(error, TMB_ERROR_ARGUMENT, "ref_sample_count",
                                  "ref_sample_count is 0: there is no reference audio");
        }
        if (request->ref_rate < 4000 || request->ref_rate > 192000) {
            return tmb_fail_field(error, TMB_ERROR_ARGUMENT, "ref_rate", "ref_rate is %d Hz, it must be 4000 to 192000",
                                  request->ref_rate);
        }
    }
    return TMB_OK;
}

/* A number within its field's range, or (if the default is the model's) negative. */
static tmb_status check_number(const tmb_clone_field *field, double value, tmb_error *error) {
    bool models = field->fallback == NULL && field->type != TMB_CLONE_LENGTH;
    if ((models && value < 0) || (value >= field->minimum && value <= field->maximum)) {
        return TMB_OK;
    }
    return tmb_fail_field(error, TMB_ERROR_ARGUMENT, field->name, "%s is %g, it must be %g to %g%s", field->name, value,
                          field->minimum, field->maximum, models ? " (or negative: the model's)" : "");
}

static tmb_status check_sampling(const tmb_clone_request *request, tmb_error *error) {
    size_t count = 0;
    const tmb_clone_field *fields = tmb_clone_fields(&count);
    tmb_status status = TMB_OK;
    for (size_t i = 0; status == TMB_OK && i < count; i++) {
        const void *place = (const char *)request + fields[i].offset;
        if (fields[i].type == TMB_CLONE_NUMBER) {
            status = check_number(&fields[i], *(const double *)place, error);
        } else if (fields[i].type == TMB_CLONE_INTEGER) {
            status = check_number(&fields[i], *(const int *)place, error);
        }
    }
    if (status == TMB_OK && !(request->max_seconds >= 0)) {
        status = tmb_fail_field(error, TMB_ERROR_ARGUMENT, "max_seconds",
                                "max_seconds is %g, it must be 0 (no limit) or more", request->max_seconds);
    }
    if (status == TMB_OK && !(request->deadline >= 0 && isfinite(request->deadline))) {
        status = tmb_fail_field(error, TMB_ERROR_ARGUMENT, "deadline",
                                "the deadline is %g s, it must be 0 (none) or more", request->deadline);
    }
    return status;
}

static tmb_status check(const tmb_clone_request *request, bool needs_text, tmb_source_kind *source, tmb_error *error) {
    tmb_status status = check_source(request, source, error);
    if (status == TMB_OK && needs_text) {
        status = check_text("text", request->text, error);
    }
    if (status == TMB_OK && request->ref_text != NULL && request->ref_text[0] != '\0' && !request->x_vector_only) {
        status = check_text("ref_text", request->ref_text, error);
    }
    if (status == TMB_OK && request->instruct != NULL && request->instruct[0] != '\0') {
        status = check_instruct(request->instruct, error);
    }
    if (status == TMB_OK && request->speaker != NULL && !is_utf8(request->speaker)) {
        status = tmb_fail_field(error, TMB_ERROR_ARGUMENT, "speaker", "speaker is not valid UTF-8");
    }
    if (status == TMB_OK && request->streaming_text && request->non_streaming_text) {
        status = tmb_fail_field(error, TMB_ERROR_ARGUMENT, "streaming_text",
                                "streaming_text and non_streaming_text exclude each other");
    }
    if (status == TMB_OK) {
        status = check_sampling(request, error);
    }
    if (status == TMB_OK && request->run_pre_processing) {
        status = tmb_chain_check(&request->pre, "pre-processing", error);
    }
    if (status == TMB_OK && request->run_post_processing) {
        status = tmb_chain_check(&request->post, "post-processing", error);
    }
    return status;
}

static uint64_t random_seed(void) {
    uint64_t seed = 0;
    if (getrandom(&seed, sizeof seed, GRND_NONBLOCK) != (ssize_t)sizeof seed) {
        seed = (uint64_t)(tmb_now() * 1e9) << 16;
    }
    return seed >> 11; /* 53 bits: every JSON reader hands it back unchanged */
}

tmb_status tmb_item_request_copy(const tmb_clone_request *request, bool needs_text, tmb_item_request *out,
                                 tmb_error *error) {
    memset(out, 0, sizeof *out);
    if (request->struct_size == 0 || request->struct_size > sizeof *request) {
        return tmb_fail(error, TMB_ERROR_ARGUMENT, "fill the request with tmb_clone_request_default first");
    }
    tmb_clone_request_default(&out->public);
    memcpy(&out->public, request, request->struct_size);
    if (out->public.ref_text != NULL && is_blank(out->public.ref_text)) {
        out->public.ref_text = NULL; /* an empty transcript is none */
    }
    tmb_status status = check(&out->public, needs_text, &out->source, error);
    if (status != TMB_OK) {
        return status;
    }
    if (out->public.temperature == 0) {
        /* The limit of ever lower temperatures; by the formula it would be a division by zero. */
        out->public.greedy = true;
        out->public.temperature = -1;
    }
    if (out->public.ref_text != NULL && out->public.ref_text[0] == '\0') {
        out->public.ref_text = NULL;
    }
    const char **fields[] = {&out->public.custom_id, &out->public.text,     &out->public.language,
                             &out->public.ref_audio, &out->public.ref_text, &out->public.voice,
                             &out->public.speaker,   &out->public.instruct, &out->public.model};
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        out->strings[i] = tmb_strdup(*fields[i]);
        if (*fields[i] != NULL && out->strings[i] == NULL) {
            tmb_item_request_free(out);
            return tmb_fail_memory(error, "a request", 0);
        }
        *fields[i] = out->strings[i];
    }
    out->seed = out->public.has_seed ? out->public.seed : random_seed();
    return TMB_OK;
}

void tmb_item_request_free(tmb_item_request *request) {
    for (size_t i = 0; i < sizeof request->strings / sizeof request->strings[0]; i++) {
        free(request->strings[i]);
        request->strings[i] = NULL;
    }
}

bool tmb_item_request_x_vector_only(const tmb_item_request *request) {
    return request->public.x_vector_only ||
           (request->source != TMB_SOURCE_VOICE && request->public.ref_text == NULL && !request->transcribes);
}

bool tmb_item_request_cleans_reference(const tmb_item_request *request) {
    return request->public.run_pre_processing && request->source != TMB_SOURCE_VOICE &&
           request->source != TMB_SOURCE_NONE;
}

void tmb_item_request_speak(const tmb_item_request *request, tmb_speak_request *out) {
    const tmb_clone_request *public = &request->public;
    tmb_speak_request_default(out);
    out->text = public->text;
    out->language = public->language;
    out->greedy = public->greedy;
    out->temperature = public->do_sample ? public->temperature : 0;
    out->top_p = public->top_p;
    out->top_k = public->top_k;
    out->repetition_penalty = public->repetition_penalty;
    out->subtalker_temperature = public->subtalker_dosample ? public->subtalker_temperature : 0;
    out->subtalker_top_p = public->subtalker_top_p;
    out->subtalker_top_k = public->subtalker_top_k;
    out->seed = request->seed;
    out->max_frames = public->max_frames;
    out->max_seconds = public->max_seconds;
    out->who = public->who;
    out->speaker = public->speaker;
    out->instruct = public->instruct;
    out->text_layout = public->non_streaming_text ? TMB_TEXT_WHOLE
                       : public->streaming_text   ? TMB_TEXT_STREAMING
                                                  : TMB_TEXT_DEFAULT;
    out->x_vector_only = tmb_item_request_x_vector_only(request);
    out->want_codes = public->want_codes;
    out->guard_runaway = public->guard_runaway;
    out->stream = public->stream;
    out->first_chunk_frames = public->first_chunk_frames;
    out->split_length = public->split_length;
    out->pauses = public->pauses;
}
