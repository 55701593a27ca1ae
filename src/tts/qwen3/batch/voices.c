#include "tts/qwen3/batch/engine_internal.h"

#include "base/error.h"
#include "tts/qwen3/voice/reference_rate.h"

#include <stdlib.h>
#include <string.h>

/* Decodes the reference and remembers the state after it. Under the encode lock. */
static tmb_status remember_state(tmb_qwen3_engine *engine, const tmb_qwen3_voice *voice, tmb_error *error) {
    const tmb_codec_decoder *decoder = engine->model.codec_decoder;
    if (voice->frames == 0 || tmb_voice_memory_get_state(engine->memory, voice, NULL, NULL)) {
        return TMB_OK;
    }
    tmb_codec_state *state = NULL;
    float last = 0;
    tmb_status status = tmb_codec_state_create(decoder, &state, error);
    if (status == TMB_OK) {
        status = tmb_codec_decode_reference(engine->encode_workspace, decoder, state, voice->codes, voice->frames, engine->official,
                                            &last, error);
    }
    if (status != TMB_OK) {
        tmb_codec_state_destroy(&state);
        return status;
    }
    tmb_voice_memory_put_state(engine->memory, voice, state, tmb_codec_state_bytes(decoder), last);
    return TMB_OK;
}

tmb_status tmb_engine_state_after_reference(tmb_qwen3_engine *engine, const tmb_qwen3_voice *voice, tmb_codec_state *state,
                                            float *last, tmb_error *error) {
    /* Another voice may push it out between the two, so more than once; each time it was there in between. */
    for (int attempt = 0; attempt < 8; attempt++) {
        if (tmb_voice_memory_get_state(engine->memory, voice, state, last)) {
            return TMB_OK;
        }
        (void)pthread_mutex_lock(&engine->encode_lock);
        tmb_status status = remember_state(engine, voice, error);
        bool known = status == TMB_OK && tmb_voice_memory_get_state(engine->memory, voice, state, last);
        (void)pthread_mutex_unlock(&engine->encode_lock);
        if (status != TMB_OK || known) {
            return status;
        }
    }
    return tmb_fail(error, TMB_ERROR_INTERNAL, "the voice's state does not stay in memory");
}

/* x-vector, and codes where there is a transcript. */
static tmb_status encode(tmb_qwen3_engine *engine, const float *samples, size_t count, const char *text, tmb_voice **out,
                         tmb_error *error) {
    const tmb_qwen3_model *model = &engine->model;
    size_t speaker_size = tmb_speaker_size(model->speaker);
    float *speaker = calloc(speaker_size, sizeof *speaker);
    int16_t *codes = NULL;
    size_t frames = 0;
    tmb_qwen3_voice *voice = NULL;
    tmb_status status = speaker == NULL ? tmb_fail_memory(error, "an x-vector", speaker_size * sizeof *speaker) : TMB_OK;
    if (status == TMB_OK) {
        status = tmb_speaker_embed(model->speaker, engine->encode_team, samples, count, speaker, error);
    }
    if (status == TMB_OK && text != NULL) {
        status = tmb_codec_encode(model->codec_encoder, engine->encode_team, samples, count, &codes, &frames, error);
    }
    if (status == TMB_OK) {
        tmb_voice_parts parts = {.family = model->family, .speaker = speaker, .speaker_size = speaker_size, .text = text,
                                 .codes = codes, .frames = frames, .books = tmb_lm_code_groups(model->lm), .reference = samples,
                                 .reference_count = count, .reference_rate = model->config.speaker.sample_rate};
        status = tmb_qwen3_voice_create(&parts, &voice, error);
    }
    if (status == TMB_OK) {
        status = remember_state(engine, voice, error);
        *out = &voice->base;
        if (status != TMB_OK) {
            tmb_voice_release(out);
        }
    }
    free(speaker);
    free(codes);
    return status;
}

tmb_status tmb_engine_prepare_voice(tmb_engine *base, const tmb_reference *reference, bool x_vector_only, tmb_voice **out,
                                    tmb_error *error) {
    tmb_qwen3_engine *engine = (tmb_qwen3_engine *)base;
    *out = NULL;
    const char *text = x_vector_only || reference->text == NULL || reference->text[0] == 0 ? NULL : reference->text;
    tmb_status status = TMB_OK;
    if (text != NULL) {
        /* Found here, not when the voice is used. */
        tmb_prompt_ids transcript = {0};
        status = tmb_prompt_reference(engine->model.tokenizer, text, strlen(text), &transcript, error);
        tmb_prompt_ids_free(&transcript);
    }
    float *samples = NULL;
    size_t count = 0;
    if (status == TMB_OK) {
        status = tmb_reference_resample(reference->samples, reference->count, reference->rate, engine->model.config.speaker.sample_rate,
                                        &samples, &count, error);
    }
    if (status == TMB_OK) {
        (void)pthread_mutex_lock(&engine->encode_lock);
        status = encode(engine, samples, count, text, out, error);
        (void)pthread_mutex_unlock(&engine->encode_lock);
    }
    free(samples);
    return status;
}

tmb_status tmb_engine_voice_serialize(const tmb_voice *voice, void **data, size_t *size, tmb_error *error) {
    return tmb_qwen3_voice_save((const tmb_qwen3_voice *)voice, data, size, error);
}

/* What a file cannot know: whether it fits this model. */
static tmb_status check_fit(const tmb_qwen3_engine *engine, const tmb_qwen3_voice *voice, tmb_error *error) {
    const tmb_qwen3_model *model = &engine->model;
    if (strcmp(voice->family, model->family) != 0) {
        return tmb_fail(error, TMB_ERROR_MODEL, "this voice was made for %s and the model is %s: make the voice again", voice->family,
                        model->family);
    }
    bool fits = voice->speaker_size == tmb_speaker_size(model->speaker) &&
                (voice->frames == 0 || (voice->books == tmb_lm_code_groups(model->lm) && voice->text != NULL));
    for (size_t i = 0; fits && i < voice->frames * voice->books; i++) {
        fits = voice->codes[i] >= 0 && (size_t)voice->codes[i] < model->config.predictor.vocab_size;
    }
    return fits ? TMB_OK : tmb_fail(error, TMB_ERROR_FORMAT, "the voice file is damaged: its sizes or codes are not this model's");
}

tmb_status tmb_engine_voice_deserialize(tmb_engine *base, const void *data, size_t size, tmb_voice **out, tmb_error *error) {
    tmb_qwen3_engine *engine = (tmb_qwen3_engine *)base;
    tmb_qwen3_voice *voice = NULL;
    *out = NULL;
    tmb_status status = tmb_qwen3_voice_load(data, size, &voice, error);
    if (status != TMB_OK) {
        return status;
    }
    tmb_voice *loaded = &voice->base;
    status = check_fit(engine, voice, error);
    if (status == TMB_OK) {
        (void)pthread_mutex_lock(&engine->encode_lock);
        status = remember_state(engine, voice, error);
        (void)pthread_mutex_unlock(&engine->encode_lock);
    }
    if (status != TMB_OK) {
        tmb_voice_release(&loaded);
    }
    *out = loaded;
    return status;
}
