#include "tts/qwen3/cpu/encoders.h"

#include "base/checked.h"
#include "base/error.h"
#include "base/thread.h"

#include <string.h>

tmb_status tmb_cpu_encoders_open(const tmb_net_files *files, const tmb_net_options *options, tmb_cpu_encoders *out,
                                 tmb_error *error) {
    memset(out, 0, sizeof *out);
    tmb_status status = tmb_team_create(options->threads, &out->team, error);
    if (status == TMB_OK) {
        (void)pthread_mutex_init(&out->lock, NULL);
        out->config = files->config;
        out->codec_weights = files->codec_weights;
        out->logger = options->logger;
    }
    return status;
}

void tmb_cpu_encoders_close(tmb_cpu_encoders *encoders) {
    if (encoders->team != NULL) {
        tmb_codec_encoder_destroy(&encoders->codec);
        tmb_team_destroy(&encoders->team);
        (void)pthread_mutex_destroy(&encoders->lock);
    }
}

tmb_status tmb_encoders_embed_speaker(tmb_cpu_encoders *encoders, const float *samples, size_t count, float *embedding,
                                      tmb_error *error) {
    if (encoders->speaker == NULL) {
        return tmb_fail(error, TMB_ERROR_UNSUPPORTED, "this model has no speaker encoder");
    }
    (void)pthread_mutex_lock(&encoders->lock);
    tmb_status status = tmb_speaker_embed(encoders->speaker, encoders->team, samples, count, embedding, error);
    (void)pthread_mutex_unlock(&encoders->lock);
    return status;
}

tmb_status tmb_encoders_mel(tmb_cpu_encoders *encoders, const float *samples, size_t count, float **mel, size_t *rows,
                            tmb_error *error) {
    *mel = NULL;
    if (encoders->speaker == NULL) {
        return tmb_fail(error, TMB_ERROR_UNSUPPORTED, "this model has no speaker encoder");
    }
    (void)pthread_mutex_lock(&encoders->lock);
    tmb_status status = tmb_speaker_mel(encoders->speaker, encoders->team, samples, count, mel, rows, error);
    (void)pthread_mutex_unlock(&encoders->lock);
    return status;
}

/* Under the lock. */
static tmb_status load_codec(tmb_cpu_encoders *encoders, tmb_error *error) {
    if (encoders->codec != NULL) {
        return TMB_OK;
    }
    double started = tmb_now();
    tmb_status status =
        tmb_codec_encoder_load(&encoders->config->codec, encoders->codec_weights, &encoders->codec, error);
    if (status == TMB_OK) {
        tmb_log(encoders->logger, TMB_LOG_DEBUG, "codec encoder loaded in %.2f s", tmb_now() - started);
    }
    return status;
}

tmb_status tmb_encoders_encode(tmb_cpu_encoders *encoders, const float *samples, size_t count, int16_t **codes,
                               size_t *frames, tmb_error *error) {
    (void)pthread_mutex_lock(&encoders->lock);
    tmb_status status = load_codec(encoders, error);
    if (status == TMB_OK) {
        status = tmb_codec_encode(encoders->codec, encoders->team, samples, count, codes, frames, error);
    }
    (void)pthread_mutex_unlock(&encoders->lock);
    return status;
}

/* What the speaker encoder takes: its activations for each frame of the mel spectrogram, some of all layers at once. */
#define SPEAKER_BYTES_PER_FRAME (48u << 10)
#define MEL_HOP 256

size_t tmb_encoders_encode_bytes(const tmb_cpu_encoders *encoders, size_t count, bool codes) {
    size_t speaker = 0;
    if (!tmb_mul_size(count / MEL_HOP + 1, SPEAKER_BYTES_PER_FRAME, &speaker)) {
        return SIZE_MAX / 2;
    }
    size_t codec = codes && encoders->codec_sizes != NULL ? tmb_codec_encode_bytes(encoders->codec_sizes, count) : 0;
    /* One after the other. */
    return speaker > codec ? speaker : codec;
}
