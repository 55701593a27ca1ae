#include "pipeline/reading.h"

#include "base/checked.h"
#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/utf8.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Samples per channel that are read at once. */
#define PIECE 16384
#define PIECES_PER_STEP 12
/* A saved voice's file. */
#define MAX_VOICE_BYTES ((size_t)256 << 20)

static tmb_status open_samples(tmb_reading *reading, const tmb_clone_request *request, const tmb_audio_limits *limits,
                               tmb_error *error) {
    double seconds = (double)request->ref_sample_count / request->ref_rate;
    size_t bytes = 0;
    if (limits->max_seconds > 0 && seconds > limits->max_seconds) {
        return tmb_fail(error, TMB_ERROR_LIMIT, "the reference has %.1f s, %.1f s are the limit", seconds,
                        limits->max_seconds);
    }
    if (!tmb_mul_size(request->ref_sample_count, sizeof(float), &bytes) ||
        (limits->max_bytes != 0 && bytes > limits->max_bytes)) {
        return tmb_fail(error, TMB_ERROR_LIMIT, "the reference has %zu samples, %llu are the limit",
                        request->ref_sample_count, (unsigned long long)(limits->max_bytes / sizeof(float)));
    }
    reading->rate = request->ref_rate;
    return TMB_OK;
}

static tmb_status open_audio(tmb_reading *reading, const tmb_item_request *request, const tmb_audio_limits *limits,
                             uint64_t *samples, tmb_error *error) {
    tmb_status status;
    if (request->source == TMB_SOURCE_FILE) {
        status = tmb_audio_open(request->public.ref_audio, NULL, limits, &reading->reader, &reading->info, error);
    } else {
        status = tmb_audio_open_memory(request->public.ref_data, request->public.ref_data_size, limits,
                                       &reading->reader, &reading->info, error);
    }
    if (status != TMB_OK) {
        return status;
    }
    reading->rate = reading->info.rate;
    reading->piece = tmb_calloc((size_t)reading->info.channels * PIECE, sizeof(float));
    if (reading->piece == NULL) {
        return tmb_fail_memory(error, "a reference", 0);
    }
    *samples = reading->info.length;
    return TMB_OK;
}

static tmb_status open_voice(const char *path, uint64_t *samples, tmb_error *error) {
    int file = -1;
    uint64_t bytes = 0;
    tmb_status status = tmb_file_open(path, &file, &bytes, error);
    if (status == TMB_OK) {
        (void)close(file);
        *samples = bytes / sizeof(float) + 1;
    }
    return status;
}

tmb_status tmb_reading_open(tmb_reading *reading, const tmb_item_request *request, const tmb_audio_limits *limits,
                            uint64_t *samples, tmb_error *error) {
    sha256_init(&reading->hash);
    *samples = 0;
    tmb_status status;
    switch (request->source) {
    case TMB_SOURCE_VOICE: return open_voice(request->public.voice, samples, error);
    case TMB_SOURCE_SAMPLES:
        *samples = request->public.ref_sample_count;
        status = open_samples(reading, &request->public, limits, error);
        break;
    default: status = open_audio(reading, request, limits, samples, error);
    }
    if (status == TMB_OK && request->public.run_pre_processing && request->public.pre.level == TMB_LEVEL_AUTO) {
        status = tmb_level_create(reading->rate, 1, &reading->level, error);
    }
    return status;
}

static void hash_text(struct sha256_ctx *hash, const char *text) {
    /* With its end, so that two texts never run into each other; NULL differs from "". */
    if (text == NULL) {
        sha256_update(hash, 1, (const uint8_t *)"\xff");
    } else {
        sha256_update(hash, strlen(text) + 1, (const uint8_t *)text);
    }
}

/* What the reader has to say of the file. It belongs to what is known of the voice, and so to its key. */
static void keep_notes(tmb_reading *reading) {
    const size_t count = reading->reader != NULL ? tmb_audio_warning_count(reading->reader) : 0;
    for (size_t i = 0; i < count && reading->note_count < TMB_REFERENCE_NOTES; i++) {
        const char *text = tmb_audio_warning(reading->reader, i);
        char *note = reading->notes[reading->note_count++];
        (void)tmb_utf8_clean(text, strlen(text), note, TMB_REFERENCE_NOTE);
        hash_text(&reading->hash, note);
    }
}

static void make_key(tmb_reading *reading, const tmb_item_request *request, const char *engine) {
    struct settings {
        uint64_t count;
        int32_t rate, source, x_vector_only, pre, resampler, trim, level;
        float attenuation_limit_db, post_filter_beta, silence;
    } settings;
    memset(&settings, 0, sizeof settings);
    settings.count = reading->count;
    settings.rate = reading->rate;
    settings.source = request->source == TMB_SOURCE_VOICE;
    if (request->source != TMB_SOURCE_VOICE) {
        settings.x_vector_only = tmb_item_request_x_vector_only(request);
        settings.pre = request->public.run_pre_processing;
        settings.trim = request->public.trim_reference;
        settings.silence = (float)request->public.reference_silence;
    }
    if (settings.pre) {
        settings.resampler = (int32_t)request->public.pre.resampler;
        settings.level = (int32_t)request->public.pre.level;
        settings.attenuation_limit_db = request->public.pre.attenuation_limit_db;
        settings.post_filter_beta = request->public.pre.post_filter_beta;
    }
    sha256_update(&reading->hash, sizeof settings, (const uint8_t *)&settings);
    hash_text(&reading->hash, settings.x_vector_only ? NULL : request->public.ref_text);
    hash_text(&reading->hash, engine);
    sha256_digest(&reading->hash, sizeof reading->key.bytes, reading->key.bytes);
}

/* Room for `more` samples. */
static tmb_status make_room(tmb_reading *reading, size_t more, tmb_error *error) {
    if (more <= reading->capacity - reading->count) {
        return TMB_OK;
    }
    size_t capacity = 0;
    if (!tmb_add_size(reading->count, more, &capacity) || !tmb_add_size(capacity, reading->capacity / 2, &capacity)) {
        return tmb_fail_memory(error, "a reference", 0);
    }
    float *samples = tmb_realloc(reading->samples, capacity, sizeof(float));
    if (samples == NULL) {
        return tmb_fail_memory(error, "a reference", capacity * sizeof(float));
    }
    reading->samples = samples;
    if (reading->info.channels > 1) {
        float *first = tmb_realloc(reading->first, capacity, sizeof(float));
        if (first == NULL) {
            return tmb_fail_memory(error, "a reference", capacity * sizeof(float));
        }
        reading->first = first;
    }
    reading->capacity = capacity;
    return TMB_OK;
}

static tmb_status read_piece(tmb_reading *reading, size_t *count, tmb_error *error) {
    tmb_status status = tmb_audio_read(reading->reader, reading->piece, PIECE, count, error);
    if (status == TMB_OK) {
        status = make_room(reading, *count, error);
    }
    if (status != TMB_OK || *count == 0) { /* an empty reference has no buffer to point into */
        return status;
    }
    size_t channels = (size_t)reading->info.channels;
    float *out = reading->samples + reading->count;
    for (size_t i = 0; i < *count; i++) {
        float sum = 0;
        double power = 0;
        for (size_t c = 0; c < channels; c++) {
            const float sample = reading->piece[i * channels + c];
            const double step = (double)sample - (double)reading->last[c];
            reading->last[c] = sample;
            sum += sample;
            power += step * step;
        }
        out[i] = channels == 1 ? sum : sum / (float)channels;
        if (channels > 1) {
            const double step = (double)out[i] - (double)reading->last_mixed;
            reading->last_mixed = out[i];
            reading->first[reading->count + i] = reading->piece[i * channels];
            reading->mixed_power += step * step;
            reading->channel_power += power / (double)channels;
        }
    }
    return TMB_OK;
}

/* The mix of channels that have nothing to do with one another keeps one part in `channels` of their power. If it keeps
 * less than this share of that, they are opposite: the first one alone is used. */
static const double opposite = 0.2;
/* ... and less than this is worth a word. */
static const double partly_opposite = 0.5;

/* The reference is complete: of channels that cancelled each other the first one counts. */
static tmb_status finish_channels(tmb_reading *reading, tmb_error *error) {
    tmb_status status = TMB_OK;
    const double share =
        reading->channel_power > 0 ? reading->mixed_power * (double)reading->info.channels / reading->channel_power : 1;
    if (reading->first != NULL && share >= opposite && share < partly_opposite) {
        reading->cancelled = -10 * log10(share / (double)reading->info.channels);
    }
    if (reading->first != NULL && share < opposite) {
        float *mixed = reading->samples;
        reading->samples = reading->first;
        reading->first = mixed;
        reading->antiphase = true;
        sha256_init(&reading->hash);
        sha256_update(&reading->hash, reading->count * sizeof(float), (const uint8_t *)reading->samples);
        if (reading->level != NULL) {
            tmb_level_reset(reading->level);
            status = tmb_level_push(reading->level, reading->samples, reading->count, error);
        }
    }
    free(reading->first);
    reading->first = NULL;
    return status;
}

/* The caller's samples: its memory may change after the result, so they are copied. */
static tmb_status copy_piece(tmb_reading *reading, const tmb_clone_request *request, size_t *count, tmb_error *error) {
    size_t left = request->ref_sample_count - reading->count;
    *count = left < PIECE ? left : PIECE;
    tmb_status status = make_room(reading, *count, error);
    if (status != TMB_OK) {
        return status;
    }
    const float *source = request->ref_samples + reading->count;
    for (size_t i = 0; i < *count; i++) {
        if (!isfinite(source[i])) {
            return tmb_fail(error, TMB_ERROR_FORMAT, "ref_samples: sample %zu is not a finite number",
                            reading->count + i);
        }
        reading->samples[reading->count + i] = source[i];
    }
    return TMB_OK;
}

static tmb_status read_voice(tmb_reading *reading, const tmb_item_request *request, tmb_error *error) {
    char *data = NULL;
    tmb_status status = tmb_file_read(request->public.voice, MAX_VOICE_BYTES, &data, &reading->voice_size, error);
    if (status == TMB_OK) {
        reading->voice = data;
        sha256_update(&reading->hash, reading->voice_size, reading->voice);
    }
    return status;
}

/* From here on the caller's memory is not touched. */
static void close_source(tmb_reading *reading) {
    tmb_audio_close(&reading->reader);
    free(reading->piece);
    reading->piece = NULL;
}

tmb_status tmb_reading_step(tmb_reading *reading, const tmb_item_request *request, const char *engine, bool *complete,
                            tmb_error *error) {
    *complete = false;
    tmb_status status = TMB_OK;
    if (request->source == TMB_SOURCE_VOICE) {
        status = read_voice(reading, request, error);
        *complete = status == TMB_OK;
    }
    for (int i = 0; i < PIECES_PER_STEP && status == TMB_OK && !*complete; i++) {
        size_t count = 0;
        if (request->source == TMB_SOURCE_SAMPLES) {
            status = copy_piece(reading, &request->public, &count, error);
        } else {
            status = read_piece(reading, &count, error);
        }
        if (status == TMB_OK && count != 0) {
            sha256_update(&reading->hash, count * sizeof(float), (const uint8_t *)(reading->samples + reading->count));
            if (reading->level != NULL) {
                status = tmb_level_push(reading->level, reading->samples + reading->count, count, error);
            }
            reading->count += count;
        }
        *complete = status == TMB_OK && count == 0;
    }
    if (*complete && request->source != TMB_SOURCE_VOICE && reading->count == 0) {
        *complete = false;
        return tmb_fail(error, TMB_ERROR_FORMAT, "the reference holds no audio");
    }
    if (*complete) {
        status = finish_channels(reading, error);
    }
    *complete = *complete && status == TMB_OK;
    if (*complete) {
        keep_notes(reading);
        make_key(reading, request, engine);
        close_source(reading);
    }
    return status;
}

void tmb_reading_close(tmb_reading *reading) {
    close_source(reading);
    tmb_level_destroy(&reading->level);
    free(reading->samples);
    free(reading->first);
    free(reading->voice);
    reading->samples = reading->first = NULL;
    reading->voice = NULL;
    reading->count = reading->capacity = reading->voice_size = 0;
}
