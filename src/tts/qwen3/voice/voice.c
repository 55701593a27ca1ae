#include "tts/qwen3/voice/voice.h"

#include "base/error.h"
#include "base/hash.h"
#include "base/memory.h"

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static void destroy(tmb_voice *base) {
    tmb_qwen3_voice *voice = (tmb_qwen3_voice *)base;
    free(voice->speaker);
    free(voice->text);
    free(voice->codes);
    free(voice->reference);
    free(voice);
}

static tmb_status check(const tmb_voice_parts *parts, tmb_error *error) {
    if (parts->speaker_size < 1 || parts->speaker_size > TMB_VOICE_SPEAKER_MAX ||
        parts->frames > TMB_VOICE_FRAMES_MAX || parts->books > TMB_VOICE_BOOKS_MAX ||
        parts->reference_count > TMB_VOICE_SAMPLES_MAX || (parts->frames > 0 && parts->books < 1) ||
        (parts->text != NULL && strlen(parts->text) > TMB_VOICE_TEXT_MAX) ||
        strlen(parts->family) >= TMB_VOICE_FAMILY_MAX) {
        return tmb_fail(error, TMB_ERROR_LIMIT, "the reference is too long for a voice: %zu frames, %zu samples",
                        parts->frames, parts->reference_count);
    }
    return TMB_OK;
}

static void set_fingerprint(tmb_qwen3_voice *voice) {
    for (uint64_t i = 0; i < 2; i++) {
        uint64_t hash = tmb_hash_bytes(voice->family, strlen(voice->family), i);
        hash = tmb_hash_mix(hash, tmb_hash_bytes(voice->speaker, voice->speaker_size * sizeof *voice->speaker, i));
        hash = tmb_hash_mix(hash, voice->text == NULL ? 0 : tmb_hash_bytes(voice->text, strlen(voice->text), i + 1));
        hash = tmb_hash_mix(hash, tmb_hash_bytes(voice->codes, voice->frames * voice->books * sizeof *voice->codes, i));
        voice->fingerprint[i] = hash;
    }
}

tmb_status tmb_qwen3_voice_create(const tmb_voice_parts *parts, tmb_qwen3_voice **out, tmb_error *error) {
    *out = NULL;
    tmb_status status = check(parts, error);
    if (status != TMB_OK) {
        return status;
    }
    tmb_qwen3_voice *voice = tmb_calloc(1, sizeof *voice);
    if (voice == NULL) {
        return tmb_fail_memory(error, "a voice", sizeof *voice);
    }
    voice->base.destroy = destroy;
    atomic_init(&voice->base.references, 1);
    memcpy(voice->family, parts->family, strlen(parts->family) + 1);
    voice->speaker_size = parts->speaker_size;
    voice->frames = parts->frames;
    voice->books = parts->books;
    voice->reference_count = parts->reference_count;
    voice->reference_rate = parts->reference_rate;
    size_t codes = voice->frames * voice->books;
    voice->speaker = tmb_calloc(voice->speaker_size, sizeof *voice->speaker);
    voice->codes = tmb_calloc(codes, sizeof *voice->codes);
    voice->reference = tmb_calloc(voice->reference_count, sizeof *voice->reference);
    voice->text = tmb_strdup(parts->text);
    voice->base.bytes = sizeof *voice + voice->speaker_size * sizeof *voice->speaker + codes * sizeof *voice->codes +
                        voice->reference_count * sizeof *voice->reference +
                        (parts->text == NULL ? 0 : strlen(parts->text) + 1);
    if (voice->speaker == NULL || voice->codes == NULL || voice->reference == NULL ||
        (parts->text != NULL && voice->text == NULL)) {
        size_t bytes = voice->base.bytes;
        destroy(&voice->base);
        return tmb_fail_memory(error, "a voice", bytes);
    }
    memcpy(voice->speaker, parts->speaker, voice->speaker_size * sizeof *voice->speaker);
    if (codes > 0) {
        memcpy(voice->codes, parts->codes, codes * sizeof *voice->codes);
    }
    for (size_t i = 0; i < voice->reference_count; i++) {
        float clipped = fminf(fmaxf(parts->reference[i] * 32768.0f, -32768.0f), 32767.0f);
        voice->reference[i] = (int16_t)lrintf(clipped);
    }
    set_fingerprint(voice);
    *out = voice;
    return TMB_OK;
}
