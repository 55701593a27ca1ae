#include "tts/qwen3/batch/model.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/thread.h"
#include "weights/safetensors.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST_THREADS 256

void tmb_qwen3_options_default(tmb_qwen3_options *options) { memset(options, 0, sizeof *options); }

/* The cache's folder, allocated; NULL: no cache. */
static char *pack_directory(const tmb_qwen3_options *options) {
    if (options->pack_directory != NULL) {
        return options->pack_directory[0] == 0 ? NULL : tmb_strdup(options->pack_directory);
    }
    return tmb_qwen3_pack_directory();
}

char *tmb_qwen3_pack_directory(void) {
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

static tmb_net_options net_options(const tmb_qwen3_options *options, const tmb_qwen3_precisions *precisions,
                                   size_t sequences, const char *directory) {
    int threads = options->threads > 0 ? options->threads : tmb_cpu_count();
    return (tmb_net_options){.precisions = *precisions,
                             .threads = threads < MOST_THREADS ? threads : MOST_THREADS,
                             .sequences = sequences,
                             .pack_directory = directory,
                             .logger = options->logger};
}

/* The tokenizer is read while the backend loads its networks. */
typedef struct reading {
    tmb_qwen3_model *model;
    const char *folder;
    tmb_status status;
    tmb_error error;
} reading;

static void *read_tokenizer(void *argument) {
    reading *r = argument;
    tmb_qwen3_model *m = r->model;
    r->status = tmb_tokenizer_load(r->folder, TMB_TEXT_PATTERN_QWEN2, &m->tokenizer, &r->error);
    if (r->status == TMB_OK) {
        r->status = tmb_template_check(m->tokenizer, &m->config, &r->error);
    }
    return NULL;
}

static tmb_status load_parts(const tmb_qwen3_options *options, size_t sequences, const char *directory,
                             tmb_qwen3_model *m, tmb_error *error) {
    tmb_net_files files = {.config = &m->config, .weights = m->weights, .codec_weights = m->codec_weights};
    tmb_net_options settings = net_options(options, &m->precisions, sequences, directory);
    reading r = {.model = m, .folder = options->model};
    pthread_t thread;
    bool beside = settings.threads > 1 && pthread_create(&thread, NULL, read_tokenizer, &r) == 0;
    tmb_status status = m->backend->load(&files, &settings, &m->net, error);
    if (beside) {
        (void)pthread_join(thread, NULL);
    } else {
        (void)read_tokenizer(&r);
    }
    if (r.status != TMB_OK) {
        if (error != NULL) {
            *error = r.error;
        }
        return r.status;
    }
    return status;
}

tmb_status tmb_qwen3_model_load(const tmb_qwen3_options *options, size_t sequences, tmb_qwen3_model *out,
                                tmb_error *error) {
    tmb_qwen3_model *m = out;
    memset(m, 0, sizeof *m);
    m->backend = tmb_qwen3_backends()[0];
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
        (status = load_parts(options, sequences, directory, m, error)) != TMB_OK) {
        tmb_qwen3_model_unload(m);
    } else {
        (void)snprintf(m->family, sizeof m->family, "qwen3-tts-12hz/%s/%zu/%zu/%zu", m->config.size_name,
                       m->config.talker.transformer.hidden_size, m->config.talker.code_groups,
                       m->config.predictor.vocab_size);
        tmb_log(options->logger, TMB_LOG_INFO, "loaded %s in %.2f s", options->model, tmb_now() - begin);
    }
    free(directory);
    return of_model(status, error);
}

void tmb_qwen3_model_unload(tmb_qwen3_model *m) {
    if (m->backend != NULL) {
        m->backend->destroy(&m->net);
    }
    tmb_safetensors_close(&m->codec_weights);
    tmb_tokenizer_destroy(&m->tokenizer);
    tmb_safetensors_close(&m->weights);
    memset(m, 0, sizeof *m);
}

tmb_status tmb_qwen3_model_bytes(const tmb_qwen3_options *options, uint64_t *bytes, tmb_error *error) {
    *bytes = 0;
    if (options->model == NULL || options->model[0] == 0) {
        return tmb_fail(error, TMB_ERROR_ARGUMENT, "no model folder was given");
    }
    tmb_qwen3_config *config = tmb_calloc(1, sizeof *config);
    tmb_qwen3_precisions precisions;
    tmb_safetensors *weights = NULL;
    tmb_net_bytes held = {0, 0};
    tmb_status status = config == NULL ? tmb_fail_memory(error, "a configuration", sizeof *config) : TMB_OK;
    if (status == TMB_OK && (status = tmb_qwen3_parse_precision(options->precision, &precisions, error)) == TMB_OK &&
        (status = tmb_qwen3_config_read(options->model, config, error)) == TMB_OK &&
        (status = tmb_safetensors_open(options->model, &weights, error)) == TMB_OK) {
        tmb_net_files files = {.config = config, .weights = weights};
        tmb_net_options settings = net_options(options, &precisions, 1, NULL);
        status = tmb_qwen3_backends()[0]->estimate(&files, &settings, &held, error);
    }
    *bytes = held.host;
    tmb_safetensors_close(&weights);
    free(config);
    return of_model(status, error);
}
