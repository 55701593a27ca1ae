#include "tts/qwen3/batch/model.h"

#include "base/checked.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/thread.h"
#include "tts/qwen3/batch/voice_memory.h"
#include "tts/qwen3/device.h"
#include "weights/safetensors.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST_THREADS 256
#define USUAL_SEQUENCES 8
/* Positions of an utterance for which a GPU must have room to be chosen: more than a minute. */
#define USUAL_POSITIONS 1024

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
                                   size_t sequences, const char *directory, int device) {
    int threads = options->threads > 0 ? options->threads : tmb_cpu_count();
    return (tmb_net_options){.precisions = *precisions,
                             .threads = threads < MOST_THREADS ? threads : MOST_THREADS,
                             .sequences = sequences,
                             .pack_directory = directory,
                             .device = device,
                             .device_memory = options->gpu_memory,
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

/* What computes the networks; *device says whether that is certain. TMB_ERROR_UNSUPPORTED if it is not there. */
static tmb_status choose_backend(const tmb_qwen3_options *options, const tmb_qwen3_backend **out,
                                 tmb_qwen3_device *device, tmb_error *error) {
    tmb_status status = tmb_qwen3_parse_device(options->device, device, error);
    if (status != TMB_OK) {
        return status;
    }
    tmb_error reason = {0};
    *out = tmb_qwen3_backend_find(device->backend);
    status = options->without_gpu != NULL && device->automatic
                 ? tmb_fail(&reason, TMB_ERROR_UNSUPPORTED, "%s", options->without_gpu)
                 : (*out)->available(device->index, &reason);
    if (status != TMB_OK && device->automatic) {
        tmb_log(options->logger, TMB_LOG_INFO, "device auto: the CPU (%s)", reason.message);
        *out = &tmb_qwen3_cpu_backend;
        return TMB_OK;
    }
    if (status != TMB_OK && error != NULL) {
        *error = reason;
    }
    return status;
}

/* A GPU that lacks something, unless it is the only choice. */
static bool falls_back(const tmb_qwen3_model *m, const tmb_qwen3_device *device, tmb_status status) {
    return device->automatic && m->backend != &tmb_qwen3_cpu_backend &&
           (status == TMB_ERROR_UNSUPPORTED || status == TMB_ERROR_MEMORY || status == TMB_ERROR_INTERNAL);
}

/* Leaves another network to the CPU, and says which; NULL: none is left that could be. The encoders go first, since
 * they work but once for each recording, then the codec decoder. */
static const char *leave_network(const tmb_qwen3_config *config, tmb_net_options *settings) {
    if (tmb_qwen3_clones(config) && !settings->encoders_on_host) {
        settings->encoders_on_host = true;
        return "encoders";
    }
    if (!settings->codec_on_host) {
        settings->codec_on_host = true;
        return "codec decoder";
    }
    return NULL;
}

/* Whether the rest is tried without one of the networks on the GPU. */
static bool leaves_network(const tmb_qwen3_options *options, const tmb_qwen3_config *config, tmb_status status,
                           tmb_net_options *settings, const tmb_error *reason) {
    const char *left = status == TMB_ERROR_INTERNAL ? NULL : leave_network(config, settings);
    if (left != NULL) {
        tmb_log(options->logger, TMB_LOG_INFO, "device auto: the %s on the CPU (%s)", left, reason->message);
    }
    return left != NULL;
}

/* Device bytes of an utterance, and of all voices that are remembered. */
static tmb_status estimate_room(const tmb_qwen3_backend *backend, const tmb_net_files *files,
                                const tmb_net_options *settings, size_t *utterance, size_t *voices, tmb_error *error) {
    tmb_net_bytes one = {0, 0}, voice = {0, 0};
    tmb_status status = TMB_OK;
    if (backend->estimate_utterance != NULL) {
        status = backend->estimate_utterance(files, settings, USUAL_POSITIONS, &one, error);
        if (status == TMB_OK) {
            status = backend->estimate_utterance(files, settings, TMB_VOICE_MEMORY_POSITIONS, &voice, error);
        }
    }
    *utterance = one.device;
    *voices = TMB_VOICE_MEMORY_ENTRIES * voice.device;
    return status;
}

/* As the backend's, with the memory of voices, and TMB_ERROR_MEMORY if the GPU is one of two choices and has no room
 * for the model and an utterance. */
static tmb_status estimate(const tmb_qwen3_backend *backend, const tmb_qwen3_options *options,
                           const tmb_qwen3_device *device, const tmb_net_files *files, const tmb_net_options *settings,
                           tmb_net_bytes *held, tmb_error *error) {
    size_t utterance = 0, voices = 0, whole = 0;
    tmb_status status = backend->estimate(files, settings, held, error);
    if (status == TMB_OK) {
        status = estimate_room(backend, files, settings, &utterance, &voices, error);
    }
    if (status == TMB_OK &&
        (!tmb_add_size(held->device, voices, &held->device) || !tmb_add_size(held->device, utterance, &whole))) {
        status = tmb_fail(error, TMB_ERROR_MODEL, "the model's sizes are absurd");
    }
    if (status == TMB_OK && device->automatic && options->gpu_memory != 0 && whole > options->gpu_memory) {
        status = tmb_fail(error, TMB_ERROR_MEMORY,
                          "the model needs %.2f GB of the GPU with room for an utterance, which has %.2f",
                          (double)whole / 1e9, (double)options->gpu_memory / 1e9);
    }
    return status;
}

static tmb_status load_parts(const tmb_qwen3_options *options, const tmb_qwen3_device *device, size_t sequences,
                             const char *directory, tmb_qwen3_model *m, tmb_error *error) {
    tmb_net_files files = {.config = &m->config, .weights = m->weights, .codec_weights = m->codec_weights};
    tmb_net_options settings = net_options(options, &m->precisions, sequences, directory, device->index);
    tmb_error reason = {0};
    m->settings = settings;
    m->settings.pack_directory = NULL;
    reading r = {.model = m, .folder = options->model};
    pthread_t thread;
    bool beside = settings.threads > 1 && pthread_create(&thread, NULL, read_tokenizer, &r) == 0;
    tmb_net_bytes held = {0, 0};
    tmb_status status = TMB_OK;
    do {
        status = estimate(m->backend, options, device, &files, &settings, &held, &reason);
        if (status == TMB_OK) {
            status = m->backend->load(&files, &settings, &m->net, &reason);
        }
    } while (falls_back(m, device, status) && leaves_network(options, &m->config, status, &settings, &reason));
    m->settings.encoders_on_host = settings.encoders_on_host;
    m->settings.codec_on_host = settings.codec_on_host;
    if (falls_back(m, device, status)) {
        tmb_log(options->logger, TMB_LOG_INFO, "device auto: the CPU (%s)", reason.message);
        m->backend = &tmb_qwen3_cpu_backend;
        settings.device = 0;
        status = m->backend->load(&files, &settings, &m->net, &reason);
    }
    if (status != TMB_OK && error != NULL) {
        *error = reason;
    }
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
    tmb_qwen3_device device;
    if (options->model == NULL || options->model[0] == 0) {
        return tmb_fail(error, TMB_ERROR_ARGUMENT, "no model folder was given");
    }
    double begin = tmb_now();
    char *directory = pack_directory(options);
    tmb_status status = choose_backend(options, &m->backend, &device, error);
    if (status != TMB_OK || (status = tmb_qwen3_parse_precision(options->precision, &m->precisions, error)) != TMB_OK ||
        (status = tmb_qwen3_config_read(options->model, &m->config, error)) != TMB_OK ||
        (status = check_fit(&m->config, error)) != TMB_OK ||
        (status = tmb_safetensors_open(options->model, &m->weights, error)) != TMB_OK ||
        (status = open_codec(options->model, &m->codec_weights, error)) != TMB_OK ||
        (status = load_parts(options, &device, sequences, directory, m, error)) != TMB_OK) {
        tmb_qwen3_model_unload(m);
    } else {
        (void)snprintf(m->family, sizeof m->family, "qwen3-tts-12hz/%s/%zu/%zu/%zu", m->config.size_name,
                       m->config.talker.transformer.hidden_size, m->config.talker.code_groups,
                       m->config.predictor.vocab_size);
        tmb_log(options->logger, TMB_LOG_INFO, "loaded %s in %.2f s%s", options->model, tmb_now() - begin,
                m->backend == &tmb_qwen3_cpu_backend ? "" : " on the GPU");
    }
    free(directory);
    return of_model(status, error);
}

tmb_status tmb_qwen3_model_reload(tmb_qwen3_model *m, tmb_error *error) {
    tmb_net_files files = {.config = &m->config, .weights = m->weights, .codec_weights = m->codec_weights};
    tmb_error reason = {0};
    m->backend->destroy(&m->net);
    m->losses++;
    tmb_status status = m->losses > 1 ? TMB_ERROR_INTERNAL : m->backend->load(&files, &m->settings, &m->net, &reason);
    if (status != TMB_OK) {
        tmb_log(m->settings.logger, TMB_LOG_WARNING, "the GPU was lost %zu times: the CPU goes on", m->losses);
        m->backend = &tmb_qwen3_cpu_backend;
        m->settings.device = 0;
        return m->backend->load(&files, &m->settings, &m->net, error);
    }
    tmb_log(m->settings.logger, TMB_LOG_WARNING, "the GPU was lost: the model is loaded once more");
    return TMB_OK;
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

tmb_status tmb_qwen3_model_bytes(const tmb_qwen3_options *options, uint64_t *host, uint64_t *device_bytes,
                                 tmb_error *error) {
    *host = *device_bytes = 0;
    if (options->model == NULL || options->model[0] == 0) {
        return tmb_fail(error, TMB_ERROR_ARGUMENT, "no model folder was given");
    }
    tmb_qwen3_config *config = tmb_calloc(1, sizeof *config);
    tmb_qwen3_precisions precisions;
    tmb_safetensors *weights = NULL;
    tmb_net_bytes held = {0, 0};
    const tmb_qwen3_backend *backend = NULL;
    tmb_qwen3_device device;
    tmb_status status = config == NULL ? tmb_fail_memory(error, "a configuration", sizeof *config) : TMB_OK;
    if (status == TMB_OK && (status = choose_backend(options, &backend, &device, error)) == TMB_OK &&
        (status = tmb_qwen3_parse_precision(options->precision, &precisions, error)) == TMB_OK &&
        (status = tmb_qwen3_config_read(options->model, config, error)) == TMB_OK &&
        (status = tmb_safetensors_open(options->model, &weights, error)) == TMB_OK) {
        tmb_net_files files = {.config = config, .weights = weights};
        size_t sequences = options->max_sequences > 0 ? options->max_sequences : USUAL_SEQUENCES;
        tmb_net_options settings = net_options(options, &precisions, sequences, NULL, device.index);
        bool falls = false;
        do { /* as load_parts */
            status = estimate(backend, options, &device, &files, &settings, &held, error);
            falls = (status == TMB_ERROR_UNSUPPORTED || status == TMB_ERROR_MEMORY) && device.automatic;
        } while (falls && leave_network(config, &settings) != NULL);
        if (falls) {
            status = tmb_qwen3_cpu_backend.estimate(&files, &settings, &held, error);
        }
    }
    *host = held.host;
    *device_bytes = held.device;
    tmb_safetensors_close(&weights);
    free(config);
    return of_model(status, error);
}
