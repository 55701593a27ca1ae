/* Both encoders of a recording on a GPU: their memory, their stream, and who may use them. */
#include "tts/qwen3/cuda/cuda_encoders.h"

#include "base/error.h"
#include "base/memory.h"

#include <pthread.h>
#include <stdlib.h>

struct tmb_cuda_encoders {
    tmb_gpu *gpu;
    tmb_cpu_encoders *on_host;
    size_t samples; /* of the longest recording */
    tmb_gpu_address arena, scratch;
    size_t bytes; /* of both */
    pthread_mutex_t lock;
    tmb_gpu_stream *stream; /* under the lock, as are the buffers */
    tmb_cuda_speaker speaker;
};

typedef struct stretches {
    tmb_cuda_stretch weights, speaker;
} stretches;

/* From the addresses of arena and scratch on, which are 0 at first. */
static stretches lay_out(tmb_cuda_encoders *encoders, const tmb_qwen3_config *config) {
    stretches s = {.weights = {.from = encoders->arena}, .speaker = {.from = encoders->scratch}};
    encoders->samples = TMB_CUDA_REFERENCE_SECONDS * (size_t)config->speaker.sample_rate;
    tmb_cuda_speaker_lay_out(&encoders->speaker, &config->speaker, &s.weights, &s.speaker);
    return s;
}

static tmb_status check(const stretches *s, tmb_error *error) {
    return s->weights.absurd || s->speaker.absurd ? tmb_fail(error, TMB_ERROR_MODEL, "the encoders' sizes are absurd")
                                                  : TMB_OK;
}

static size_t scratch_bytes(const stretches *s) { return s->speaker.used; }

tmb_status tmb_cuda_encoders_estimate(const tmb_qwen3_config *config, size_t *bytes, tmb_error *error) {
    *bytes = 0;
    tmb_cuda_encoders *encoders = tmb_calloc(1, sizeof *encoders);
    if (encoders == NULL) {
        return tmb_fail_memory(error, "the encoders", sizeof *encoders);
    }
    const stretches s = lay_out(encoders, config);
    *bytes = tmb_gpu_rounded(s.weights.used) + tmb_gpu_rounded(scratch_bytes(&s));
    free(encoders);
    return check(&s, error);
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

static tmb_status fill(tmb_cuda_encoders *encoders, tmb_error *error) {
    tmb_cuda_filling filling = {.gpu = encoders->gpu, .stream = encoders->stream, .error = error};
    tmb_cuda_speaker_fill(&encoders->speaker, &filling, encoders->on_host->speaker);
    return filling.status == TMB_OK ? tmb_gpu_synchronize(encoders->gpu, encoders->stream, error) : filling.status;
}

tmb_status tmb_cuda_encoders_load(tmb_gpu *gpu, const tmb_qwen3_config *config, tmb_cpu_encoders *on_host,
                                  tmb_cuda_encoders **out, tmb_error *error) {
    *out = NULL;
    tmb_cuda_encoders *encoders = tmb_calloc(1, sizeof *encoders);
    if (encoders == NULL) {
        return tmb_fail_memory(error, "the encoders", sizeof *encoders);
    }
    (void)pthread_mutex_init(&encoders->lock, NULL);
    encoders->gpu = gpu;
    encoders->on_host = on_host;
    tmb_status status = TMB_OK;
    if ((status = tmb_gpu_stream_create(gpu, true, &encoders->stream, error)) != TMB_OK ||
        (status = allocate(encoders, config, error)) != TMB_OK || (status = fill(encoders, error)) != TMB_OK) {
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
    tmb_gpu_free(encoders->gpu, encoders->arena);
    tmb_gpu_free(encoders->gpu, encoders->scratch);
    tmb_gpu_stream_destroy(encoders->gpu, &encoders->stream);
    (void)pthread_mutex_destroy(&encoders->lock);
    free(encoders);
}

size_t tmb_cuda_encoders_bytes(const tmb_cuda_encoders *encoders) { return encoders->bytes; }

/* Whether a recording goes to the CPU: it is longer than the buffers, or the device is lost, until the engine's next
 * utterance makes it again. */
static bool is_for_host(const tmb_cuda_encoders *encoders, size_t count) {
    return count > encoders->samples || tmb_gpu_lost(encoders->gpu, NULL);
}

/* ---- The speaker encoder ---- */

/* What is on the stream has been done when this returns, however it ends. */
static tmb_status embed(tmb_cuda_encoders *encoders, const float *mel, size_t rows, float *embedding,
                        tmb_error *error) {
    const tmb_cuda_speaker *speaker = &encoders->speaker;
    tmb_gpu *gpu = encoders->gpu;
    tmb_status status = TMB_OK;
    if ((status = tmb_gpu_enter(gpu, error)) != TMB_OK ||
        (status = tmb_gpu_upload(gpu, encoders->stream, speaker->mel, mel,
                                 rows * speaker->config.mel_bands * sizeof *mel, error)) != TMB_OK) {
        return status;
    }
    tmb_gpu_recorder recorder = tmb_gpu_direct(gpu, encoders->stream);
    tmb_cuda_speaker_run(speaker, &recorder, rows);
    status = tmb_gpu_recorder_end(&recorder, NULL, error);
    if (status == TMB_OK) {
        status = tmb_gpu_download(gpu, encoders->stream, embedding, speaker->embedding,
                                  speaker->config.embedding_size * sizeof *embedding, error);
    }
    tmb_status done = tmb_gpu_synchronize(gpu, encoders->stream, status == TMB_OK ? error : NULL);
    return status == TMB_OK ? done : status;
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
        status = embed(encoders, mel, rows, embedding, error);
        (void)pthread_mutex_unlock(&encoders->lock);
    }
    free(mel);
    return status;
}

/* The mel spectrogram, and the samples with what is reflected; or what the CPU takes. */
size_t tmb_cuda_encode_bytes(const tmb_cuda_encoders *encoders, size_t count, bool codes) {
    if (codes || is_for_host(encoders, count)) {
        return tmb_encoders_encode_bytes(encoders->on_host, count, codes);
    }
    return tmb_mel_bytes(count, encoders->speaker.config.mel_bands);
}
