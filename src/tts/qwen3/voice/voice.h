/* A voice: what the encoders made of a reference, and saving it.
 *
 * A .tmbvoice file is a voice as bytes, little-endian: "TMBVOICE", a version, the family of models that it
 * belongs to, the x-vector, the transcript, the codes, the reference itself (16 bits), and checksums. Readers
 * take every byte for hostile.
 */
#ifndef TMB_TTS_QWEN3_VOICE_VOICE_H
#define TMB_TTS_QWEN3_VOICE_VOICE_H

#include "tts/engine.h"

/* Longest family name, with its 0; and limits of what a voice holds, beyond every use. */
#define TMB_VOICE_FAMILY_MAX 64
#define TMB_VOICE_SPEAKER_MAX 65536
#define TMB_VOICE_TEXT_MAX ((size_t)1 << 20)
#define TMB_VOICE_FRAMES_MAX ((size_t)1 << 16)
#define TMB_VOICE_BOOKS_MAX 64
#define TMB_VOICE_SAMPLES_MAX ((size_t)1 << 27)

/* What a voice is made of; everything is copied. */
typedef struct tmb_voice_parts {
    const char *family;
    const float *speaker; /* [speaker_size] x-vector */
    size_t speaker_size;
    const char *text;     /* transcript, or NULL */
    const int16_t *codes; /* [frames, books]; frames 0: x-vector only */
    size_t frames, books;
    const float *reference; /* mono samples that were encoded */
    size_t reference_count;
    int reference_rate;
} tmb_voice_parts;

typedef struct tmb_qwen3_voice {
    tmb_voice base;
    char family[TMB_VOICE_FAMILY_MAX];
    uint64_t fingerprint[2]; /* of everything that speech depends on */
    float *speaker;
    size_t speaker_size;
    char *text; /* NULL: none */
    int16_t *codes;
    size_t frames, books;
    int16_t *reference;
    size_t reference_count;
    int reference_rate;
} tmb_qwen3_voice;

/* One reference, the caller's. TMB_ERROR_LIMIT, TMB_ERROR_MEMORY. */
tmb_status tmb_qwen3_voice_create(const tmb_voice_parts *parts, tmb_qwen3_voice **out, tmb_error *error);

/* *data is allocated (free()). */
tmb_status tmb_qwen3_voice_save(const tmb_qwen3_voice *voice, void **data, size_t *size, tmb_error *error);

/* TMB_ERROR_FORMAT for what is no voice file, or a damaged one; TMB_ERROR_UNSUPPORTED for a newer version. The family
 * is not looked at. */
tmb_status tmb_qwen3_voice_load(const void *data, size_t size, tmb_qwen3_voice **out, tmb_error *error);

#endif
