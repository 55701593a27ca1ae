#include "tts/qwen3/batch/engine_internal.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/thread.h"

#include <stdlib.h>
#include <string.h>

#define DEFAULT_SEQUENCES 8
#define MOST_SEQUENCES 256

static int sample_rate(const tmb_engine *base) { return ((const tmb_qwen3_engine *)base)->model.config.codec.sample_rate; }

static size_t max_sequences(const tmb_engine *base) { return ((const tmb_qwen3_engine *)base)->max_sequences; }

static size_t memory_needed(tmb_engine *base, const tmb_speak_request *request, const tmb_voice *voice) {
    return tmb_speech_bytes((const tmb_qwen3_engine *)base, request, (const tmb_qwen3_voice *)voice);
}

static tmb_status admit(tmb_engine *base, const tmb_speak_request *request, tmb_voice *voice, uint64_t *sequence, tmb_error *error) {
    tmb_qwen3_engine *engine = (tmb_qwen3_engine *)base;
    if (engine->live == engine->max_sequences) {
        return tmb_fail(error, TMB_ERROR_LIMIT, "%zu utterances are under way, no more fit", engine->live);
    }
    tmb_speech *speech = NULL;
    tmb_status status = tmb_speech_create(engine, request, voice, &speech, error);
    if (status != TMB_OK) {
        return status;
    }
    speech->id = ++engine->next_id;
    *sequence = speech->id;
    engine->speeches[engine->count++] = speech;
    engine->live++;
    return TMB_OK;
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
    if (speech == NULL || speech->cancelled) {
        return;
    }
    speech->cancelled = true;
    engine->live--;
    if (!speech->in_flight) {
        for (size_t i = 0; i < engine->count; i++) {
            if (engine->speeches[i] == speech) {
                engine->speeches[i] = engine->speeches[--engine->count];
                break;
            }
        }
        tmb_speech_destroy(&speech);
    }
}

static void hold(tmb_engine *base, uint64_t sequence, bool held) {
    tmb_speech *speech = find((tmb_qwen3_engine *)base, sequence);
    if (speech != NULL) {
        speech->held = held;
    }
}

/* Weights, and the buffers that serve every utterance. */
static size_t model_bytes(const tmb_engine *base) {
    const tmb_qwen3_engine *engine = (const tmb_qwen3_engine *)base;
    return tmb_qwen3_model_size(&engine->model) + tmb_lm_context_bytes(engine->context) + tmb_codec_job_bytes(engine->job) +
           tmb_codec_workspace_bytes(engine->encode_workspace);
}

static void destroy(tmb_engine *base) {
    tmb_qwen3_engine *engine = (tmb_qwen3_engine *)base;
    tmb_codec_job_destroy(&engine->job);
    for (size_t i = 0; i < engine->count; i++) {
        tmb_speech_destroy(&engine->speeches[i]);
    }
    tmb_voice_memory_destroy(&engine->memory);
    tmb_lm_context_destroy(&engine->context);
    tmb_codec_workspace_destroy(&engine->encode_workspace);
    tmb_team_destroy(&engine->encode_team);
    tmb_team_destroy(&engine->team);
    tmb_qwen3_model_unload(&engine->model);
    (void)pthread_mutex_destroy(&engine->encode_lock);
    free(engine->speeches);
    free(engine->stepped);
    free(engine->sequences);
    free(engine->codes);
    free(engine->outcomes);
    free(engine->silence);
    free(engine);
}

static const tmb_engine_operations operations = {
    .name = "qwen3",
    .clones_voice = true,
    .sample_rate = sample_rate,
    .max_sequences = max_sequences,
    .prepare_voice = tmb_engine_prepare_voice,
    .memory_needed = memory_needed,
    .admit = admit,
    .step = tmb_engine_step,
    .cancel = cancel,
    .model_bytes = model_bytes,
    .destroy = destroy,
    .voice_serialize = tmb_engine_voice_serialize,
    .voice_deserialize = tmb_engine_voice_deserialize,
    .hold = hold,
};

/* The language model is bound by memory and one thread draws most of what there is, the codec by arithmetic: beside each other
 * on their own CPUs they take less than one after the other on all. */
static void share_threads(int threads, int *lm, int *codec) {
    *codec = threads / 2;
    *lm = threads - *codec;
}

static tmb_status open_engine(tmb_qwen3_engine *engine, const tmb_qwen3_options *options, tmb_error *error) {
    int threads = options->threads > 0 ? options->threads : tmb_cpu_count();
    threads = threads < 256 ? threads : 256;
    int lm_threads = 0, codec_threads = 0;
    share_threads(threads, &lm_threads, &codec_threads);
    size_t sequences = engine->max_sequences;
    tmb_status status = tmb_team_create(threads, &engine->encode_team, error);
    if (status != TMB_OK || (status = tmb_qwen3_model_load(options, engine->encode_team, &engine->model, error)) != TMB_OK) {
        return status;
    }
    const tmb_qwen3_model *model = &engine->model;
    engine->official = model->precisions.talker == TMB_LM_F32 && model->precisions.predictor == TMB_LM_F32 &&
                       model->precisions.codec == TMB_CODEC_F32;
    engine->speeches = tmb_calloc(2 * sequences, sizeof(tmb_speech *));
    engine->stepped = tmb_calloc(sequences, sizeof(tmb_speech *));
    engine->sequences = tmb_calloc(sequences, sizeof(tmb_lm_sequence *));
    engine->codes = tmb_calloc(sequences * tmb_lm_code_groups(model->lm), sizeof *engine->codes);
    engine->outcomes = tmb_calloc(sequences, sizeof *engine->outcomes);
    engine->silence = tmb_calloc((size_t)model->config.codec.sample_rate, sizeof *engine->silence);
    if (engine->speeches == NULL || engine->stepped == NULL || engine->sequences == NULL || engine->codes == NULL ||
        engine->outcomes == NULL || engine->silence == NULL) {
        return tmb_fail_memory(error, "the engine", 0);
    }
    if ((status = tmb_team_create(lm_threads, &engine->team, error)) != TMB_OK ||
        (status = tmb_lm_context_create(model->lm, sequences, engine->team, &engine->context, error)) != TMB_OK ||
        (status = tmb_codec_job_create(model->codec_decoder, sequences, codec_threads, engine->team, &engine->job, error)) != TMB_OK ||
        (status = tmb_voice_memory_create(&engine->memory, error)) != TMB_OK) {
        return status;
    }
    return tmb_codec_workspace_create(model->codec_decoder, TMB_CODEC_JOB_FRAMES, engine->encode_team, &engine->encode_workspace, error);
}

tmb_status tmb_qwen3_engine_create(const tmb_qwen3_options *options, tmb_engine **out, tmb_error *error) {
    *out = NULL;
    tmb_qwen3_engine *engine = tmb_calloc(1, sizeof *engine);
    if (engine == NULL) {
        return tmb_fail_memory(error, "the engine", sizeof *engine);
    }
    engine->base.operations = &operations;
    engine->logger = options->logger;
    engine->max_sequences = options->max_sequences > 0 ? options->max_sequences : DEFAULT_SEQUENCES;
    engine->max_sequences = engine->max_sequences < MOST_SEQUENCES ? engine->max_sequences : MOST_SEQUENCES;
    (void)pthread_mutex_init(&engine->encode_lock, NULL);
    tmb_status status = open_engine(engine, options, error);
    if (status != TMB_OK) {
        destroy(&engine->base);
        return status;
    }
    *out = &engine->base;
    return TMB_OK;
}
