#include "tts/qwen3/cpu/cpu_load.h"

#include "base/checked.h"
#include "base/error.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

static tmb_lm_options lm_options(const tmb_net_options *options, tmb_team *team) {
    const tmb_qwen3_precisions *precisions = &options->precisions;
    /* Packing without quantizing takes no longer than reading a pack. */
    bool quantizes = precisions->talker >= TMB_LM_INT8 || precisions->predictor >= TMB_LM_INT8;
    return (tmb_lm_options){.talker = precisions->talker,
                            .predictor = precisions->predictor,
                            .pack_directory = quantizes ? options->pack_directory : NULL,
                            .team = team,
                            .logger = options->logger};
}

/* Everything but the language model: each part by whichever thread is free. The codec encoder is only checked. */
enum { SPEAKER_ENCODER, CODEC_SIZES, DECODER_PARTS };

typedef struct others {
    const tmb_net_files *files;
    tmb_cpu_networks *networks;
    atomic_size_t next;
    atomic_bool failed;
    pthread_mutex_t lock; /* of what follows: of the failed part that comes first */
    size_t part;
    tmb_status status;
    tmb_error error;
} others;

static tmb_status load_other(const others *o, size_t which, tmb_error *error) {
    const tmb_qwen3_config *config = o->files->config;
    tmb_cpu_networks *n = o->networks;
    if (which < DECODER_PARTS && !tmb_qwen3_clones(config)) {
        return TMB_OK;
    }
    switch (which) {
    case SPEAKER_ENCODER: return tmb_speaker_encoder_load(&config->speaker, o->files->weights, &n->speaker, error);
    case CODEC_SIZES: return tmb_codec_encoder_check(&config->codec, o->files->codec_weights, &n->codec_sizes, error);
    default:
        return tmb_codec_decoder_load_part(n->codec_decoder, o->files->codec_weights, which - DECODER_PARTS, error);
    }
}

static void *load_others(void *argument) {
    others *o = argument;
    size_t count = DECODER_PARTS + tmb_codec_decoder_parts(o->networks->codec_decoder);
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

tmb_status tmb_cpu_networks_load(const tmb_net_files *files, const tmb_net_options *options, tmb_team *team,
                                 tmb_cpu_networks *out, tmb_error *error) {
    memset(out, 0, sizeof *out);
    tmb_lm_options lm = lm_options(options, team);
    tmb_status status =
        tmb_codec_decoder_create(&files->config->codec, options->precisions.codec, &out->codec_decoder, error);
    if (status != TMB_OK) {
        return status;
    }
    others o = {.files = files, .networks = out, .lock = PTHREAD_MUTEX_INITIALIZER};
    pthread_t thread;
    bool beside = tmb_team_threads(team) > 1 && pthread_create(&thread, NULL, load_others, &o) == 0;
    status = tmb_lm_load(files->config, files->weights, &lm, &out->lm, error);
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
        tmb_codec_decoder_loaded(out->codec_decoder);
    }
    (void)pthread_mutex_destroy(&o.lock);
    return status;
}

void tmb_cpu_networks_unload(tmb_cpu_networks *n) {
    tmb_codec_decoder_destroy(&n->codec_decoder);
    tmb_codec_encoder_destroy(&n->codec_sizes);
    tmb_speaker_encoder_destroy(&n->speaker);
    tmb_lm_destroy(&n->lm);
}

/* The codec encoder counts from the beginning, though it is loaded when a recording is first encoded. */
size_t tmb_cpu_networks_bytes(const tmb_cpu_networks *n) {
    return tmb_lm_bytes(n->lm) + (n->speaker == NULL ? 0 : tmb_speaker_encoder_bytes(n->speaker)) +
           (n->codec_sizes == NULL ? 0 : tmb_codec_encoder_bytes(n->codec_sizes)) +
           tmb_codec_decoder_bytes(n->codec_decoder);
}

tmb_status tmb_cpu_networks_estimate(const tmb_net_files *files, const tmb_net_options *options, size_t *bytes,
                                     tmb_error *error) {
    *bytes = 0;
    tmb_lm_options lm_settings = lm_options(options, NULL);
    size_t lm = 0;
    tmb_status status = tmb_lm_estimate(files->config, files->weights, &lm_settings, &lm, error);
    if (status != TMB_OK) {
        return status;
    }
    bool clones = tmb_qwen3_clones(files->config);
    const size_t parts[] = {
        lm,
        lm / 8, /* buffers and what is remembered of voices; the loaded engine says it exactly */
        clones ? tmb_speaker_encoder_estimate(files->weights) : 0,
        clones ? tmb_codec_encoder_estimate(&files->config->codec) : 0,
        tmb_codec_decoder_estimate(&files->config->codec, options->precisions.codec),
    };
    size_t sum = 0;
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        if (!tmb_add_size(sum, parts[i], &sum)) {
            return tmb_fail(error, TMB_ERROR_MODEL, "the model's sizes are absurd");
        }
    }
    *bytes = sum;
    return TMB_OK;
}
