#include "tts/qwen3/batch/engine_internal.h"

#include "base/error.h"
#include "tts/qwen3/voice/reference_rate.h"

#include <stdlib.h>
#include <string.h>

/* x-vector, and codes if there is a transcript. */
static tmb_status encode(tmb_qwen3_engine *engine, const float *samples, size_t count, const char *text,
                         tmb_voice **out, tmb_error *error) {
    const tmb_qwen3_model *model = &engine->model;
    size_t speaker_size = model->config.talker.transformer.hidden_size;
    float *speaker = calloc(speaker_size, sizeof *speaker);
    int16_t *codes = NULL;
    size_t frames = 0;
    tmb_qwen3_voice *voice = NULL;
    tmb_status status =
        speaker == NULL ? tmb_fail_memory(error, "an x-vector", speaker_size * sizeof *speaker) : TMB_OK;
    (void)pthread_rwlock_rdlock(&engine->net_lock);
    if (status == TMB_OK && engine->net == NULL) {
        status = tmb_fail(error, TMB_ERROR_INTERNAL, "the networks were lost with their device");
    }
    if (status == TMB_OK) {
        status = engine->backend->embed_speaker(engine->net, samples, count, speaker, error);
    }
    if (status == TMB_OK && text != NULL) {
        status = engine->backend->encode(engine->net, samples, count, &codes, &frames, error);
    }
    (void)pthread_rwlock_unlock(&engine->net_lock);
    if (status == TMB_OK) {
        tmb_voice_parts parts = {.family = model->family,
                                 .speaker = speaker,
                                 .speaker_size = speaker_size,
                                 .text = text,
                                 .codes = codes,
                                 .frames = frames,
                                 .books = model->config.talker.code_groups,
                                 .reference = samples,
                                 .reference_count = count,
                                 .reference_rate = model->config.speaker.sample_rate};
        status = tmb_qwen3_voice_create(&parts, &voice, error);
    }
    *out = status == TMB_OK ? &voice->base : NULL;
    free(speaker);
    free(codes);
    return status;
}

tmb_status tmb_engine_prepare_voice(tmb_engine *base, const tmb_reference *reference, bool x_vector_only,
                                    tmb_voice **out, tmb_error *error) {
    tmb_qwen3_engine *engine = (tmb_qwen3_engine *)base;
    *out = NULL;
    if (!tmb_qwen3_clones(&engine->model.config)) {
        return tmb_qwen3_refuse_cloning(&engine->model.config, error);
    }
    const char *text = x_vector_only || reference->text == NULL || reference->text[0] == 0 ? NULL : reference->text;
    tmb_status status = TMB_OK;
    if (text != NULL) {
        /* Found here, not when the voice is used. */
        tmb_template_ids transcript = {0};
        status = tmb_template_reference(engine->model.tokenizer, text, strlen(text), &transcript, error);
        tmb_template_ids_free(&transcript);
    }
    float *samples = NULL;
    size_t count = 0;
    if (status == TMB_OK) {
        status = tmb_reference_resample(reference->samples, reference->count, reference->rate,
                                        engine->model.config.speaker.sample_rate, &samples, &count, error);
    }
    if (status == TMB_OK) {
        status = encode(engine, samples, count, text, out, error);
    }
    free(samples);
    return status;
}

size_t tmb_engine_prepare_memory(tmb_engine *base, uint64_t samples, int rate, bool x_vector_only) {
    tmb_qwen3_engine *engine = (tmb_qwen3_engine *)base;
    if (!tmb_qwen3_clones(&engine->model.config)) {
        return 0; /* prepare_voice refuses */
    }
    uint64_t own = (uint64_t)engine->model.config.speaker.sample_rate;
    uint64_t count = 0;
    if (rate < 1 || samples > SIZE_MAX / 1024 / own) {
        return SIZE_MAX / 2;
    }
    count = samples * own / (uint64_t)rate + own;
    (void)pthread_rwlock_rdlock(&engine->net_lock);
    size_t encoding =
        engine->net == NULL ? 0 : engine->backend->encode_bytes(engine->net, (size_t)count, !x_vector_only);
    (void)pthread_rwlock_unlock(&engine->net_lock);
    /* In addition to the resampled reference and the 16-bit copy that the voice keeps. */
    return (size_t)count * (sizeof(float) + sizeof(int16_t)) + encoding;
}

tmb_status tmb_engine_voice_serialize(const tmb_voice *voice, void **data, size_t *size, tmb_error *error) {
    return tmb_qwen3_voice_save((const tmb_qwen3_voice *)voice, data, size, error);
}

/* What a file cannot know: whether it fits this model. */
static tmb_status check_fit(const tmb_qwen3_engine *engine, const tmb_qwen3_voice *voice, tmb_error *error) {
    const tmb_qwen3_model *model = &engine->model;
    if (strcmp(voice->family, model->family) != 0) {
        return tmb_fail(error, TMB_ERROR_MODEL, "this voice was made for %s and the model is %s: make the voice again",
                        voice->family, model->family);
    }
    bool fits = voice->speaker_size == model->config.talker.transformer.hidden_size &&
                (voice->frames == 0 || (voice->books == model->config.talker.code_groups && voice->text != NULL));
    for (size_t i = 0; fits && i < voice->frames * voice->books; i++) {
        fits = voice->codes[i] >= 0 && (size_t)voice->codes[i] < model->config.predictor.vocab_size;
    }
    return fits ? TMB_OK
                : tmb_fail(error, TMB_ERROR_FORMAT,
                           "the voice file is damaged: its sizes or codes are not this model's");
}

tmb_status tmb_engine_voice_deserialize(tmb_engine *base, const void *data, size_t size, tmb_voice **out,
                                        tmb_error *error) {
    tmb_qwen3_engine *engine = (tmb_qwen3_engine *)base;
    tmb_qwen3_voice *voice = NULL;
    *out = NULL;
    if (!tmb_qwen3_clones(&engine->model.config)) {
        return tmb_qwen3_refuse_cloning(&engine->model.config, error);
    }
    tmb_status status = tmb_qwen3_voice_load(data, size, &voice, error);
    if (status != TMB_OK) {
        return status;
    }
    tmb_voice *loaded = &voice->base;
    status = check_fit(engine, voice, error);
    if (status != TMB_OK) {
        tmb_voice_release(&loaded);
    }
    *out = loaded;
    return status;
}
