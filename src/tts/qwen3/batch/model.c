#include "tts/qwen3/batch/model.h"

#include "base/checked.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/thread.h"
#include "weights/safetensors.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void tmb_qwen3_options_default(tmb_qwen3_options *options) { memset(options, 0, sizeof *options); }

/* The cache's folder, allocated; NULL: no cache. */
static char *pack_directory(const tmb_qwen3_options *options) {
    if (options->pack_directory != NULL) {
        return options->pack_directory[0] == 0 ? NULL : tmb_strdup(options->pack_directory);
    }
    const char *cache = getenv("XDG_CACHE_HOME");
    if (cache != NULL && cache[0] == '/') {
        return tmb_asprintf("%s/timbre/packs", cache);
    }
    const char *home = getenv("HOME");
    return home != NULL && home[0] == '/' ? tmb_asprintf("%s/.cache/timbre/packs", home) : NULL;
}

/* Bytes of a model that are not what they should be are the model's failure, not that of the caller's input. */
static tmb_status of_model(tmb_status status, tmb_error *error) {
    if (status != TMB_ERROR_FORMAT) {
        return status;
    }
    if (error != NULL) {
        error->status = TMB_ERROR_MODEL;
    }
    return TMB_ERROR_MODEL;
}

/* Opens the codec's file. */
static tmb_status open_codec(const char *folder, tmb_safetensors **out, tmb_error *error) {
    *out = NULL;
    char *path = tmb_asprintf("%s/speech_tokenizer", folder);
    if (path == NULL) {
        return tmb_fail_memory(error, "a path", 0);
    }
    tmb_status status = tmb_safetensors_open(path, out, error);
    free(path);
    return status;
}

/* Networks that have to fit each other. */
static tmb_status check_fit(const tmb_qwen3_config *config, tmb_error *error) {
    if (config->codec.decoder.quantizers != config->talker.code_groups ||
        config->codec.valid_quantizers < config->talker.code_groups) {
        return tmb_fail(error, TMB_ERROR_MODEL,
                        "the talker makes %zu codes a frame and the codec has %zu: these files do not belong together",
                        config->talker.code_groups, config->codec.decoder.quantizers);
    }
    if (config->codec.decoder.codebook_size < config->predictor.vocab_size) {
        return tmb_fail(error, TMB_ERROR_MODEL,
                        "the predictor's books have %zu codes and the codec's %zu: these files do not belong together",
                        config->predictor.vocab_size, config->codec.decoder.codebook_size);
    }
    return TMB_OK;
}

static tmb_lm_options lm_options(const tmb_qwen3_options *options, const tmb_qwen3_precisions *precisions,
                                 const char *directory, tmb_team *team) {
    /* Packing without quantizing takes no longer than reading a pack. */
    bool quantizes = precisions->talker >= TMB_LM_INT8 || precisions->predictor >= TMB_LM_INT8;
    return (tmb_lm_options){.talker = precisions->talker,
                            .predictor = precisions->predictor,
                            .pack_directory = quantizes ? directory : NULL,
                            .team = team,
                            .logger = options->logger};
}

/* Everything else, beside the language model: each part by whichever thread is free. The codec encoder is only checked.
 */
enum { TOKENIZER, SPEAKER_ENCODER, CODEC_SIZES, DECODER_PARTS };

typedef struct others {
    tmb_qwen3_model *model;
    const char *folder;
    atomic_size_t next;
    atomic_bool failed;
    pthread_mutex_t lock; /* of what follows: of the failed part that comes first */
    size_t part;
    tmb_status status;
    tmb_error error;
} others;

static tmb_status load_other(const others *o, size_t which, tmb_error *error) {
    tmb_qwen3_model *m = o->model;
    tmb_status status = TMB_OK;
    switch (which) {
    case TOKENIZER:
        status = tmb_tokenizer_load(o->folder, TMB_TEXT_PATTERN_QWEN2, &m->tokenizer, error);
        return status != TMB_OK ? status : tmb_prompt_check(m->tokenizer, &m->config, error);
    case SPEAKER_ENCODER: return tmb_speaker_encoder_load(&m->config.speaker, m->weights, &m->speaker, error);
    case CODEC_SIZES: return tmb_codec_encoder_check(&m->config.codec, m->codec_weights, &m->codec_sizes, error);
    default: return tmb_codec_decoder_load_part(m->codec_decoder, m->codec_weights, which - DECODER_PARTS, error);
    }
}

static void *load_others(void *argument) {
    others *o = argument;
    size_t count = DECODER_PARTS + tmb_codec_decoder_parts(o->model->codec_decoder);
    while (!atomic_load(&o->failed)) {
        size_t which = atomic_fetch_add(&o->next, 1);
        if (which >= count) {
            break;
        }
        tmb_error error = {0};
        tmb_status status = load_other(o, which, &error);
        if (status != TMB_OK) {
            (void)pthread_mutex_lock(&o->lock);
            /* Parts are begun in order, and those before this one end too: which error it is does not depend on time.
             */
            if (!atomic_exchange(&o->failed, true) || o->status == TMB_OK || which < o->part) {
                o->part = which;
                o->status = status;
                o->error = error;
            }
            (void)pthread_mutex_unlock(&o->lock);
        }
    }
    return NULL;
}

static tmb_status load_networks(const tmb_qwen3_options *options, tmb_team *team, const char *directory,
                                tmb_qwen3_model *m, tmb_error *error) {
    tmb_lm_options lm = lm_options(options, &m->precisions, directory, team);
    tmb_status status = tmb_codec_decoder_create(&m->config.codec, m->precisions.codec, &m->codec_decoder, error);
    if (status != TMB_OK) {
        return status;
    }
    others o = {.model = m, .folder = options->model, .lock = PTHREAD_MUTEX_INITIALIZER};
    pthread_t thread;
    bool beside = tmb_team_threads(team) > 1 && pthread_create(&thread, NULL, load_others, &o) == 0;
    status = tmb_lm_load(&m->config, m->weights, &lm, &m->lm, error);
    if (status == TMB_OK) {
        (void)load_others(&o);
    } else {
        atomic_store(&o.failed, true);
    }
    if (beside) {
        (void)pthread_join(thread, NULL);
    }
    if (status == TMB_OK && o.status != TMB_OK) {
        status = o.status;
        if (error != NULL) {
            *error = o.error;
        }
    }
    if (status == TMB_OK) {
        tmb_codec_decoder_loaded(m->codec_decoder);
    }
    (void)pthread_mutex_destroy(&o.lock);
    return status;
}

tmb_status tmb_qwen3_model_load(const tmb_qwen3_options *options, tmb_team *team, tmb_qwen3_model *out,
                                tmb_error *error) {
    tmb_qwen3_model *m = out;
    memset(m, 0, sizeof *m);
    if (options->model == NULL || options->model[0] == 0) {
        return tmb_fail(error, TMB_ERROR_ARGUMENT, "no model folder was given");
    }
    double begin = tmb_now();
    char *directory = pack_directory(options);
    tmb_status status = tmb_qwen3_parse_precision(options->precision, &m->precisions, error);
    if (status != TMB_OK || (status = tmb_qwen3_config_read(options->model, &m->config, error)) != TMB_OK ||
        (status = check_fit(&m->config, error)) != TMB_OK ||
        (status = tmb_safetensors_open(options->model, &m->weights, error)) != TMB_OK ||
        (status = open_codec(options->model, &m->codec_weights, error)) != TMB_OK ||
        (status = load_networks(options, team, directory, m, error)) != TMB_OK) {
        tmb_qwen3_model_unload(m);
    } else {
        (void)snprintf(m->family, sizeof m->family, "qwen3-tts-12hz/%s/%zu/%zu/%zu", m->config.size_name,
                       tmb_lm_hidden_size(m->lm), m->config.talker.code_groups, m->config.predictor.vocab_size);
        tmb_log(options->logger, TMB_LOG_INFO, "loaded %s in %.2f s", options->model, tmb_now() - begin);
    }
    free(directory);
    return of_model(status, error);
}

void tmb_qwen3_model_unload(tmb_qwen3_model *m) {
    tmb_codec_decoder_destroy(&m->codec_decoder);
    tmb_codec_encoder_destroy(&m->codec_sizes);
    tmb_codec_encoder_destroy(&m->codec_encoder);
    tmb_safetensors_close(&m->codec_weights);
    tmb_speaker_encoder_destroy(&m->speaker);
    tmb_lm_destroy(&m->lm);
    tmb_tokenizer_destroy(&m->tokenizer);
    tmb_safetensors_close(&m->weights);
    memset(m, 0, sizeof *m);
}

tmb_status tmb_qwen3_model_codec_encoder(tmb_qwen3_model *m, tmb_logger *logger, const tmb_codec_encoder **out,
                                         tmb_error *error) {
    tmb_status status = TMB_OK;
    if (m->codec_encoder == NULL) {
        double begin = tmb_now();
        status = tmb_codec_encoder_load(&m->config.codec, m->codec_weights, &m->codec_encoder, error);
        if (status == TMB_OK) {
            tmb_log(logger, TMB_LOG_DEBUG, "codec encoder loaded in %.2f s", tmb_now() - begin);
            tmb_safetensors_close(&m->codec_weights);
        }
    }
    *out = m->codec_encoder;
    return of_model(status, error);
}

size_t tmb_qwen3_model_size(const tmb_qwen3_model *m) {
    return tmb_lm_bytes(m->lm) + tmb_speaker_encoder_bytes(m->speaker) + tmb_codec_encoder_bytes(m->codec_sizes) +
           tmb_codec_decoder_bytes(m->codec_decoder);
}

tmb_status tmb_qwen3_model_bytes(const tmb_qwen3_options *options, uint64_t *bytes, tmb_error *error) {
    *bytes = 0;
    if (options->model == NULL || options->model[0] == 0) {
        return tmb_fail(error, TMB_ERROR_ARGUMENT, "no model folder was given");
    }
    tmb_qwen3_config *config = tmb_calloc(1, sizeof *config);
    tmb_qwen3_precisions precisions;
    tmb_safetensors *weights = NULL;
    size_t lm = 0;
    tmb_status status = config == NULL ? tmb_fail_memory(error, "a configuration", sizeof *config) : TMB_OK;
    if (status == TMB_OK && (status = tmb_qwen3_parse_precision(options->precision, &precisions, error)) == TMB_OK &&
        (status = tmb_qwen3_config_read(options->model, config, error)) == TMB_OK &&
        (status = tmb_safetensors_open(options->model, &weights, error)) == TMB_OK) {
        tmb_lm_options lm_settings = lm_options(options, &precisions, NULL, NULL);
        status = tmb_lm_estimate(config, weights, &lm_settings, &lm, error);
    }
    if (status == TMB_OK) {
        /* The speaker encoder's tensors become floats. */
        size_t speaker = 0;
        for (size_t i = 0; i < tmb_safetensors_count(weights); i++) {
            const tmb_tensor *tensor = tmb_safetensors_at(weights, i);
            speaker += strncmp(tensor->name, "speaker_encoder.", 16) == 0 ? tensor->count * sizeof(float) : 0;
        }
        size_t encoder = tmb_codec_encoder_estimate(&config->codec);
        size_t decoder = tmb_codec_decoder_estimate(&config->codec, precisions.codec);
        size_t sum = 0;
        /* Buffers and what is remembered of voices; the loaded engine says it exactly. */
        speaker += lm / 8;
        if (!tmb_add_size(lm, speaker, &sum) || !tmb_add_size(sum, encoder, &sum) ||
            !tmb_add_size(sum, decoder, &sum)) {
            status = tmb_fail(error, TMB_ERROR_MODEL, "the model's sizes are absurd");
        }
        *bytes = sum;
    }
    tmb_safetensors_close(&weights);
    free(config);
    return of_model(status, error);
}
