/* Both encoders of a recording on a GPU: their memory, their stream, and who may use them. */
#include "tts/qwen3/cuda/cuda_encoders.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/sizes.h"
#include "base/thread.h"

#include <pthread.h>
#include <stdlib.h>

struct tmb_cuda_encoders {
    tmb_gpu *gpu;
    tmb_cpu_encoders *on_host;
    tmb_gpu_address arena, scratch;
    size_t bytes; /* of both */
    pthread_mutex_t lock;
    tmb_gpu_stream *stream; /* under the lock, as are the buffers */
    tmb_cuda_speaker speaker;
    tmb_cuda_codec_encoder codec;
    bool has_codec; /* its weights are there */
};

/* Both have the same scratch: they work one after the other. */
typedef struct stretches {
    tmb_cuda_stretch weights, speaker, codec;
} stretches;

/* From the addresses of arena and scratch on, which are 0 at first. */
static stretches lay_out(tmb_cuda_encoders *encoders, const tmb_qwen3_config *config) {
    stretches s = {.weights = {.from = encoders->arena},
                   .speaker = {.from = encoders->scratch},
                   .codec = {.from = encoders->scratch}};
    tmb_cuda_speaker_lay_out(&encoders->speaker, &config->speaker, &s.weights, &s.speaker);
    tmb_cuda_codec_encoder_lay_out(&encoders->codec, &config->codec, &s.weights, &s.codec);
    return s;
}

static tmb_status check(const stretches *s, tmb_error *error) {
    return s->weights.absurd || s->speaker.absurd || s->codec.absurd
               ? tmb_fail(error, TMB_ERROR_MODEL, "the encoders' sizes are absurd")
               : TMB_OK;
}

static size_t scratch_bytes(const stretches *s) { return tmb_max_size(s->speaker.used, s->codec.used); }

/* Without anything on the device. */
static tmb_status create(const tmb_qwen3_config *config, tmb_cuda_encoders **out, tmb_error *error) {
    *out = NULL;
    tmb_status status = tmb_cuda_codec_encoder_check(&config->codec, error);
    if (status != TMB_OK) {
        return status;
    }
    tmb_cuda_encoders *encoders = tmb_calloc(1, sizeof *encoders);
    size_t layers = config->codec.encoder.layers;
    if (encoders != NULL) {
        encoders->codec.layers = tmb_calloc(layers, sizeof *encoders->codec.layers);
    }
    if (encoders == NULL || encoders->codec.layers == NULL) {
        free(encoders);
        return tmb_fail_memory(error, "the encoders", sizeof *encoders + layers * sizeof *encoders->codec.layers);
    }
    (void)pthread_mutex_init(&encoders->lock, NULL);
    *out = encoders;
    return TMB_OK;
}

tmb_status tmb_cuda_encoders_estimate(const tmb_qwen3_config *config, size_t *bytes, tmb_error *error) {
    *bytes = 0;
    tmb_cuda_encoders *encoders = NULL;
    tmb_status status = create(config, &encoders, error);
    if (status == TMB_OK) {
        const stretches s = lay_out(encoders, config);
        *bytes = tmb_gpu_rounded(s.weights.used) + tmb_gpu_rounded(scratch_bytes(&s));
        status = check(&s, error);
        tmb_cuda_encoders_destroy(&encoders);
    }
    return status;
}

static tmb_status allocate(tmb_cuda_encoders *encoders, const tmb_qwen3_config *config, tmb_error *error) {
    const stretches s = lay_out(encoders, config); /* how much */
    tmb_status status = check(&s, error);
    if (status == TMB_OK) {
        status = tmb_gpu_allocate(encoders->gpu, s.weights.used, "the encoders' weights", &encoders->arena, error);
    }
    if (status == TMB_OK) {
        status = tmb_gpu_allocate(encoders->gpu, scratch_bytes(&s), "the encoders' buffers", &encoders->scratch, error);
    }
    encoders->bytes = tmb_gpu_rounded(s.weights.used) + tmb_gpu_rounded(scratch_bytes(&s));
    (void)lay_out(encoders, config); /* where */
    return status;
}

/* Waits for what is on the stream, whatever `status` it came to so far. */
static tmb_status finish(tmb_cuda_encoders *encoders, tmb_status status, tmb_error *error) {
    tmb_status done = tmb_gpu_synchronize(encoders->gpu, encoders->stream, status == TMB_OK ? error : NULL);
    return status == TMB_OK ? done : status;
}

/* What is on the stream, and then its result: a copy to memory that is not pinned waits in the driver, where it might
 * keep the other streams' threads out. */
static tmb_status fetch(tmb_cuda_encoders *encoders, tmb_status status, tmb_gpu_address from, size_t bytes, void *to,
                        tmb_error *error) {
    status = finish(encoders, status, error);
    if (status == TMB_OK) {
        status = tmb_gpu_download(encoders->gpu, encoders->stream, to, from, bytes, error);
    }
    return status == TMB_OK ? finish(encoders, status, error) : status;
}

static tmb_status fill_speaker(tmb_cuda_encoders *encoders, tmb_error *error) {
    tmb_cuda_filling filling = {.gpu = encoders->gpu, .stream = encoders->stream, .error = error};
    tmb_cuda_speaker_fill(&encoders->speaker, &filling, encoders->on_host->speaker);
    return finish(encoders, filling.status, error);
}

tmb_status tmb_cuda_encoders_load(tmb_gpu *gpu, const tmb_qwen3_config *config, tmb_cpu_encoders *on_host,
                                  tmb_cuda_encoders **out, tmb_error *error) {
    *out = NULL;
    tmb_cuda_encoders *encoders = NULL;
    tmb_status status = create(config, &encoders, error);
    if (status != TMB_OK) {
        return status;
    }
    encoders->gpu = gpu;
    encoders->on_host = on_host;
    if ((status = tmb_gpu_stream_create(gpu, true, &encoders->stream, error)) != TMB_OK ||
        (status = allocate(encoders, config, error)) != TMB_OK || (status = fill_speaker(encoders, error)) != TMB_OK) {
        tmb_cuda_encoders_destroy(&encoders);
        return status;
    }
    *out = encoders;
    return TMB_OK;
}

void tmb_cuda_encoders_destroy(tmb_cuda_encoders **encoders_address) {
    tmb_cuda_encoders *encoders = *encoders_address;
    *encoders_address = NULL;
    if (encoders == NULL) {
        return;
    }
    if (encoders->stream != NULL) {
        (void)tmb_gpu_synchronize(encoders->gpu, encoders->stream, NULL);
    }
    if (encoders->gpu != NULL) {
        tmb_gpu_free(encoders->gpu, encoders->arena);
        tmb_gpu_free(encoders->gpu, encoders->scratch);
        tmb_gpu_stream_destroy(encoders->gpu, &encoders->stream);
    }
    (void)pthread_mutex_destroy(&encoders->lock);
    free(encoders->codec.layers);
    free(encoders);
}

size_t tmb_cuda_encoders_bytes(const tmb_cuda_encoders *encoders) { return encoders->bytes; }

/* Whether a recording goes to the CPU: it is longer than the buffers, or the device is lost, until the engine's next
 * utterance makes it again. */
static bool is_for_host(const tmb_cuda_encoders *encoders, size_t count) {
    return count > encoders->codec.samples || tmb_gpu_lost(encoders->gpu, NULL);
}

/* ---- The speaker encoder ---- */

/* With the device current on this thread; what is on the stream has been done when this returns, however it ends. */
static tmb_status embed(tmb_cuda_encoders *encoders, const float *mel, size_t rows, float *embedding,
                        tmb_error *error) {
    const tmb_cuda_speaker *speaker = &encoders->speaker;
    tmb_gpu *gpu = encoders->gpu;
    tmb_status status =
        tmb_gpu_upload(gpu, encoders->stream, speaker->mel, mel, rows * speaker->config.mel_bands * sizeof *mel, error);
    if (status != TMB_OK) {
        return status;
    }
    tmb_gpu_recorder recorder = tmb_gpu_direct(gpu, encoders->stream);
    tmb_cuda_speaker_run(speaker, &recorder, rows);
    status = tmb_gpu_recorder_end(&recorder, NULL, error);
    return fetch(encoders, status, speaker->embedding, speaker->config.embedding_size * sizeof *embedding, embedding,
                 error);
}

tmb_status tmb_cuda_embed_speaker(tmb_cuda_encoders *encoders, const float *samples, size_t count, float *embedding,
                                  tmb_error *error) {
    if (is_for_host(encoders, count)) {
        return tmb_encoders_embed_speaker(encoders->on_host, samples, count, embedding, error);
    }
    float *mel = NULL;
    size_t rows = 0;
    tmb_status status = tmb_encoders_mel(encoders->on_host, samples, count, &mel, &rows, error);
    if (status == TMB_OK) {
        (void)pthread_mutex_lock(&encoders->lock);
        status = tmb_gpu_enter(encoders->gpu, error);
        status = status == TMB_OK ? embed(encoders, mel, rows, embedding, error) : status;
        tmb_gpu_leave(encoders->gpu);
        (void)pthread_mutex_unlock(&encoders->lock);
    }
    free(mel);
    return status;
}

/* ---- The codec encoder ---- */

/* Under the lock. The CPU's weights are there while they go up. */
static tmb_status fill_codec(tmb_cuda_encoders *encoders, tmb_error *error) {
    if (encoders->has_codec) {
        return TMB_OK;
    }
    double started = tmb_now();
    tmb_codec_encoder *from = NULL;
    tmb_status status =
        tmb_codec_encoder_load(&encoders->on_host->config->codec, encoders->on_host->codec_weights, &from, error);
    if (status == TMB_OK) {
        tmb_cuda_filling filling = {.gpu = encoders->gpu, .stream = encoders->stream, .error = error};
        tmb_cuda_codec_encoder_fill(&encoders->codec, &filling, from);
        status = finish(encoders, filling.status, error);
    }
    tmb_codec_encoder_destroy(&from);
    encoders->has_codec = status == TMB_OK;
    if (status == TMB_OK) {
        tmb_log(encoders->on_host->logger, TMB_LOG_DEBUG, "codec encoder loaded in %.2f s", tmb_now() - started);
    }
    return status;
}

/* Under the lock, with the device current on this thread; what is on the stream has been done when this returns,
 * however it ends. */
static tmb_status encode(tmb_cuda_encoders *encoders, const float *samples, size_t count, int16_t *codes, size_t bytes,
                         tmb_error *error) {
    const tmb_cuda_codec_encoder *codec = &encoders->codec;
    tmb_gpu *gpu = encoders->gpu;
    tmb_status status = fill_codec(encoders, error);
    if (status != TMB_OK) {
        return status;
    }
    status = tmb_gpu_upload(gpu, encoders->stream, codec->signal, samples, count * sizeof *samples, error);
    if (status == TMB_OK) {
        status = tmb_cuda_codec_encoder_run(codec, gpu, encoders->stream, count, error);
    }
    return fetch(encoders, status, codec->codes, bytes, codes, error);
}

static size_t code_bytes(const tmb_cuda_encoders *encoders, size_t count) {
    return tmb_cuda_codec_encoder_frames(&encoders->codec, count) * encoders->codec.books * sizeof(int16_t);
}

tmb_status tmb_cuda_encode(tmb_cuda_encoders *encoders, const float *samples, size_t count, int16_t **codes,
                           size_t *frames, tmb_error *error) {
    if (is_for_host(encoders, count)) {
        return tmb_encoders_encode(encoders->on_host, samples, count, codes, frames, error);
    }
    *codes = NULL;
    *frames = 0;
    tmb_status status = tmb_codec_encode_check(samples, count, error);
    if (status != TMB_OK) {
        return status;
    }
    size_t bytes = code_bytes(encoders, count);
    int16_t *out = tmb_calloc(1, bytes);
    if (out == NULL) {
        return tmb_fail_memory(error, "the reference's codes", bytes);
    }
    (void)pthread_mutex_lock(&encoders->lock);
    status = tmb_gpu_enter(encoders->gpu, error);
    status = status == TMB_OK ? encode(encoders, samples, count, out, bytes, error) : status;
    tmb_gpu_leave(encoders->gpu);
    (void)pthread_mutex_unlock(&encoders->lock);
    if (status != TMB_OK) {
        free(out);
        return status;
    }
    *codes = out;
    *frames = tmb_cuda_codec_encoder_frames(&encoders->codec, count);
    return TMB_OK;
}

/* The mel spectrogram, with the samples and what is reflected; the codes; or what the CPU takes. */
size_t tmb_cuda_encode_bytes(const tmb_cuda_encoders *encoders, size_t count, bool codes) {
    if (is_for_host(encoders, count)) {
        return tmb_encoders_encode_bytes(encoders->on_host, count, codes);
    }
    return tmb_max_size(tmb_mel_bytes(count, encoders->speaker.config.mel_bands),
                        codes ? code_bytes(encoders, count) : 0);
}
