#include "tts/qwen3/batch/engine_internal.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/thread.h"

#include <stdlib.h>
#include <string.h>

#define DEFAULT_SEQUENCES 8
#define MOST_SEQUENCES 256
/* How long the end of an engine waits for the codec before it looks again. */
#define DRAIN_SECONDS 1.0

static int sample_rate(const tmb_engine *base) {
    return ((const tmb_qwen3_engine *)base)->model.config.codec.sample_rate;
}

static size_t max_sequences(const tmb_engine *base) { return ((const tmb_qwen3_engine *)base)->max_sequences; }

static size_t memory_needed(tmb_engine *base, const tmb_speak_request *request, const tmb_voice *voice) {
    const tmb_qwen3_engine *engine = (const tmb_qwen3_engine *)base;
    return engine->net == NULL ? 0 : tmb_speech_bytes(engine, request, (const tmb_qwen3_voice *)voice, NULL);
}

static size_t device_needed(tmb_engine *base, const tmb_speak_request *request, const tmb_voice *voice) {
    const tmb_qwen3_engine *engine = (const tmb_qwen3_engine *)base;
    size_t needed = 0;
    if (engine->net != NULL) {
        (void)tmb_speech_bytes(engine, request, (const tmb_qwen3_voice *)voice, &needed);
    }
    return needed;
}

/* Ends an utterance without an event; one that the codec works on is destroyed when the codec has finished. */
static void drop(tmb_qwen3_engine *engine, tmb_speech *speech) {
    speech->cancelled = true;
    engine->live--;
    if (!speech->in_flight) {
        for (size_t i = 0; i < engine->count; i++) {
            if (engine->speeches[i] == speech) {
                engine->speeches[i] = engine->speeches[--engine->count];
                break;
            }
        }
        tmb_speech_destroy(engine, &speech);
    }
}

/* Waits for the codec and forgets what it made: no job may run while its streams go. */
static void drain(const tmb_qwen3_engine *engine) {
    while (engine->net != NULL && !engine->backend->decode_idle(engine->net)) {
        if (engine->backend->decode_done(engine->net, DRAIN_SECONDS)) {
            engine->backend->decode_clear(engine->net);
        }
    }
}

/* Ends utterances without an event, whatever the codec is at. */
static void drop_all(tmb_qwen3_engine *engine) {
    drain(engine);
    for (size_t i = 0; i < engine->count; i++) {
        tmb_speech_destroy(engine, &engine->speeches[i]);
    }
    engine->count = 0;
}

/* A device that was lost is made again, once those who were on it have failed; cancelled ones that the codec was at go
 * now, since no step would collect them. */
static tmb_status recover(tmb_qwen3_engine *engine, tmb_error *error) {
    if (engine->net != NULL && (engine->backend->lost == NULL || !engine->backend->lost(engine->net, error))) {
        return TMB_OK;
    }
    if (engine->live > 0) {
        return error != NULL && error->status != TMB_OK ? error->status : TMB_ERROR_INTERNAL;
    }
    drop_all(engine);
    (void)pthread_rwlock_wrlock(&engine->net_lock);
    tmb_voice_memory_destroy(&engine->memory);
    tmb_status status = tmb_qwen3_model_reload(&engine->model, error);
    engine->backend = engine->model.backend;
    engine->net = engine->model.net;
    if (status == TMB_OK) {
        status = tmb_voice_memory_create(engine->backend, engine->net, &engine->memory, error);
    }
    (void)pthread_rwlock_unlock(&engine->net_lock);
    return status;
}

static tmb_status admit(tmb_engine *base, const tmb_speak_request *request, tmb_voice *voice, uint64_t *sequence,
                        tmb_error *error) {
    tmb_qwen3_engine *engine = (tmb_qwen3_engine *)base;
    if (engine->live == engine->max_sequences) {
        return tmb_fail(error, TMB_ERROR_LIMIT, "%zu utterances are under way, no more fit", engine->live);
    }
    tmb_speech *speech = NULL;
    tmb_status status = recover(engine, error);
    if (status != TMB_OK) {
        return status;
    }
    status = tmb_speech_create(engine, request, voice, &speech, error);
    if (status != TMB_OK) {
        return status;
    }
    speech->id = ++engine->next_id;
    *sequence = speech->id;
    engine->speeches[engine->count++] = speech;
    engine->live++;
    /* The reference goes through the codec while the prompt goes through the language model. */
    tmb_engine_start_codec(engine);
    status = speech->finished ? TMB_OK : tmb_speech_begin_piece(engine, speech, error);
    if (status != TMB_OK) {
        drop(engine, speech);
    }
    return status;
}

static tmb_speech *find(tmb_qwen3_engine *engine, uint64_t id) {
    for (size_t i = 0; i < engine->count; i++) {
        if (engine->speeches[i]->id == id) {
            return engine->speeches[i];
        }
    }
    return NULL;
}

static void cancel(tmb_engine *base, uint64_t sequence) {
    tmb_qwen3_engine *engine = (tmb_qwen3_engine *)base;
    tmb_speech *speech = find(engine, sequence);
    if (speech != NULL && !speech->cancelled) {
        drop(engine, speech);
    }
}

static void hold(tmb_engine *base, uint64_t sequence, bool held) {
    tmb_speech *speech = find((tmb_qwen3_engine *)base, sequence);
    if (speech != NULL) {
        speech->held = held;
    }
}

/* Weights, the buffers that serve every utterance, and room for what is remembered of voices. */
static tmb_net_bytes held_bytes(const tmb_engine *base) {
    const tmb_qwen3_engine *engine = (const tmb_qwen3_engine *)base;
    const tmb_qwen3_backend *backend = engine->backend;
    const tmb_net *net = engine->net;
    if (net == NULL) {
        return (tmb_net_bytes){0, 0};
    }
    tmb_net_bytes held = backend->bytes(net);
    tmb_net_bytes voices = tmb_voice_memory_most(backend, net);
    held.host += voices.host;
    held.device += voices.device;
    return held;
}

static size_t model_bytes(const tmb_engine *base) { return held_bytes(base).host; }
static size_t device_bytes(const tmb_engine *base) { return held_bytes(base).device; }

static uint64_t device_room(tmb_engine *base, bool alone) {
    tmb_qwen3_engine *engine = (tmb_qwen3_engine *)base;
    uint64_t bytes = 0;
    if (engine->net == NULL || engine->backend->room == NULL) {
        return 0;
    }
    if (alone) {
        tmb_voice_memory_clear(engine->memory);
    }
    return engine->backend->room(engine->net, &bytes, NULL) == TMB_OK ? bytes : 0;
}

static bool device_lost(const tmb_engine *base) {
    const tmb_qwen3_engine *engine = (const tmb_qwen3_engine *)base;
    return engine->net != NULL && engine->backend->lost != NULL && engine->backend->lost(engine->net, NULL);
}

static const char *device(const tmb_engine *base) { return ((const tmb_qwen3_engine *)base)->backend->name; }

static void destroy(tmb_engine *base) {
    tmb_qwen3_engine *engine = (tmb_qwen3_engine *)base;
    drop_all(engine);
    tmb_voice_memory_destroy(&engine->memory);
    tmb_qwen3_model_unload(&engine->model);
    free(engine->speeches);
    free(engine->stepped);
    free(engine->sequences);
    free(engine->codes);
    free(engine->outcomes);
    free(engine->silence);
    (void)pthread_rwlock_destroy(&engine->net_lock);
    free(engine);
}

static const tmb_engine_operations operations = {
    .name = "qwen3",
    .clones_voice = true,
    .pauses = true,
    .own_voices = true,
    .sample_rate = sample_rate,
    .max_sequences = max_sequences,
    .prepare_voice = tmb_engine_prepare_voice,
    .prepare_memory = tmb_engine_prepare_memory,
    .memory_needed = memory_needed,
    .device_needed = device_needed,
    .admit = admit,
    .step = tmb_engine_step,
    .cancel = cancel,
    .model_bytes = model_bytes,
    .device_bytes = device_bytes,
    .device_room = device_room,
    .device_lost = device_lost,
    .device = device,
    .destroy = destroy,
    .voice_serialize = tmb_engine_voice_serialize,
    .voice_deserialize = tmb_engine_voice_deserialize,
    .hold = hold,
};

static tmb_status open_engine(tmb_qwen3_engine *engine, const tmb_qwen3_options *options, tmb_error *error) {
    size_t sequences = engine->max_sequences;
    tmb_status status = tmb_qwen3_model_load(options, sequences, &engine->model, error);
    if (status != TMB_OK) {
        return status;
    }
    engine->backend = engine->model.backend;
    engine->net = engine->model.net;
    const tmb_qwen3_model *model = &engine->model;
    engine->official = model->precisions.talker == TMB_LM_F32 && model->precisions.predictor == TMB_LM_F32 &&
                       model->precisions.codec == TMB_CODEC_F32;
    engine->speeches = tmb_calloc(2 * sequences, sizeof(tmb_speech *));
    engine->stepped = tmb_calloc(sequences, sizeof(tmb_speech *));
    engine->sequences = tmb_calloc(sequences, sizeof(tmb_net_sequence *));
    engine->codes = tmb_calloc(sequences * model->config.talker.code_groups, sizeof *engine->codes);
    engine->outcomes = tmb_calloc(sequences, sizeof *engine->outcomes);
    engine->silence = tmb_calloc((size_t)model->config.codec.sample_rate, sizeof *engine->silence);
    if (engine->speeches == NULL || engine->stepped == NULL || engine->sequences == NULL || engine->codes == NULL ||
        engine->outcomes == NULL || engine->silence == NULL) {
        return tmb_fail_memory(error, "the engine", 0);
    }
    return tmb_voice_memory_create(engine->backend, engine->net, &engine->memory, error);
}

tmb_status tmb_qwen3_engine_create(const tmb_qwen3_options *options, tmb_engine **out, tmb_error *error) {
    *out = NULL;
    tmb_qwen3_engine *engine = tmb_calloc(1, sizeof *engine);
    if (engine == NULL) {
        return tmb_fail_memory(error, "the engine", sizeof *engine);
    }
    engine->base.operations = &operations;
    (void)pthread_rwlock_init(&engine->net_lock, NULL);
    engine->logger = options->logger;
    engine->max_sequences = options->max_sequences > 0 ? options->max_sequences : DEFAULT_SEQUENCES;
    engine->max_sequences = engine->max_sequences < MOST_SEQUENCES ? engine->max_sequences : MOST_SEQUENCES;
    tmb_status status = open_engine(engine, options, error);
    if (status != TMB_OK) {
        destroy(&engine->base);
        return status;
    }
    *out = &engine->base;
    return TMB_OK;
}
