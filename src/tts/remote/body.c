#include "tts/remote/body.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/text.h"
#include "base/utf8.h"
#include "tts/language.h"
#include "tts/wav_bytes.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

tmb_status tmb_remote_reference(const tmb_reference *reference, char **out, tmb_error *error) {
    static const char prefix[] = "data:audio/wav;base64,";
    *out = NULL;
    if (reference->rate <= 0 || reference->count > (size_t)reference->rate * TMB_REMOTE_REFERENCE_SECONDS) {
        return tmb_fail(error, TMB_ERROR_LIMIT, "a reference for a speech server may be %d s long: cut it",
                        TMB_REMOTE_REFERENCE_SECONDS);
    }
    unsigned char *wav = NULL;
    size_t wav_bytes = 0;
    tmb_status status = tmb_wav_bytes(reference->samples, reference->count, reference->rate, &wav, &wav_bytes, error);
    if (status != TMB_OK) {
        return status;
    }
    size_t encoded = tmb_base64_encoded_size(wav_bytes);
    char *uri = malloc(sizeof prefix + encoded);
    if (uri == NULL) {
        free(wav);
        return tmb_fail_memory(error, "a reference to send", sizeof prefix + encoded);
    }
    memcpy(uri, prefix, sizeof prefix - 1);
    tmb_base64_encode(wav, wav_bytes, uri + sizeof prefix - 1);
    uri[sizeof prefix - 1 + encoded] = '\0';
    free(wav);
    *out = uri;
    return TMB_OK;
}

/* Takes `value`; the first failure sticks. */
static void set(json_t *body, const char *name, json_t *value, bool *good) {
    *good = json_object_set_new(body, name, value) == 0 && *good;
}

static void set_number(json_t *body, const char *name, double value, bool *good) {
    if (value >= 0) {
        set(body, name, json_real(value), good);
    }
}

static void set_sampling(json_t *body, const tmb_speak_request *request, bool *good) {
    /* Servers have no switch for it: the first candidate alone is the same. */
    set_number(body, "temperature", request->greedy ? 0 : request->temperature, good);
    if (request->greedy || request->top_k >= 0) {
        set(body, "top_k", json_integer(request->greedy ? 1 : request->top_k), good);
    }
    set_number(body, "top_p", request->top_p, good);
    set_number(body, "repetition_penalty", request->repetition_penalty, good);
    /* 31 bits, which every server takes. */
    set(body, "seed", json_integer((json_int_t)(request->seed & 0x7FFFFFFF)), good);
    if (request->max_frames > 0) {
        set(body, "max_new_tokens", json_integer(request->max_frames), good);
    }
}

tmb_status tmb_remote_body(const tmb_speak_request *request, const char *audio, const char *ref_text, const char *model,
                           char **out, tmb_error *error) {
    *out = NULL;
    const tmb_language *language = tmb_language_by_tag(request->language);
    if (language == NULL) {
        return tmb_fail(error, TMB_ERROR_ARGUMENT, "language \"%.40s\" is not known; known are " TMB_LANGUAGES,
                        request->language);
    }
    bool good = true;
    json_t *body = json_object();
    set(body, "input", json_string(request->text), &good);
    set(body, "task_type", json_string("Base"), &good);
    set(body, "language", json_string(language->name), &good);
    set(body, "ref_audio", json_string(audio), &good);
    if (ref_text != NULL && !request->x_vector_only) {
        set(body, "ref_text", json_string(ref_text), &good);
    } else {
        set(body, "x_vector_only_mode", json_true(), &good);
    }
    if (model != NULL) {
        set(body, "model", json_string(model), &good);
    }
    set(body, "response_format", json_string("pcm"), &good);
    set(body, "stream", json_true(), &good);
    set_sampling(body, request, &good);
    *out = good ? json_dumps(body, JSON_COMPACT) : NULL;
    json_decref(body);
    return *out != NULL ? TMB_OK : tmb_fail_memory(error, "a request to the speech server", 0);
}

void tmb_remote_complaint(const char *body, size_t bytes, char *out, size_t capacity) {
    json_t *root = json_loadb(body, bytes, 0, NULL);
    json_t *failure = json_object_get(root, "error");
    const char *text = json_string_value(json_object_get(failure, "message"));
    if (text == NULL) {
        text = json_string_value(failure);
    }
    if (text == NULL) {
        text = json_string_value(json_object_get(root, "detail"));
    }
    if (text != NULL) {
        (void)tmb_utf8_clean(text, strlen(text), out, capacity);
    } else {
        size_t line = 0;
        while (line < bytes && (unsigned char)body[line] >= ' ') {
            line++;
        }
        /* It is shown to clients in JSON: any bytes become text. */
        (void)tmb_utf8_clean(body, line, out, capacity);
    }
    json_decref(root);
    if (out[0] == '\0') {
        (void)snprintf(out, capacity, "it says no more");
    }
}
