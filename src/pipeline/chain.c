#include "pipeline/chain.h"

#include "base/error.h"

#include <math.h>

/* Samples that move at once. */
#define PIECE 4096

void tmb_chain_settings(const tmb_enhance_options *options, size_t block_frames, tmb_enhance_settings *out) {
    tmb_enhance_settings_default(out);
    out->attenuation_limit_db = options->attenuation_limit_db;
    out->post_filter_beta = options->post_filter_beta;
    out->compensate_delay = options->compensate_delay;
    out->block_frames = options->low_latency ? 1 : block_frames;
}

tmb_status tmb_chain_check(const tmb_enhance_options *options, const char *what, tmb_error *error) {
    if (!(options->attenuation_limit_db >= 0 && isfinite(options->attenuation_limit_db))) {
        return tmb_fail(error, TMB_ERROR_ARGUMENT, "%s: an attenuation limit of %g dB is not 0 or more", what,
                        (double)options->attenuation_limit_db);
    }
    if (!(options->post_filter_beta >= 0 && options->post_filter_beta <= 1)) {
        return tmb_fail(error, TMB_ERROR_ARGUMENT, "%s: a post-filter strength of %g is not in 0 to 1", what,
                        (double)options->post_filter_beta);
    }
    if (options->level != TMB_LEVEL_AUTO && options->level != TMB_LEVEL_OFF) {
        return tmb_fail(error, TMB_ERROR_ARGUMENT, "%s: there is no level mode number %d", what, (int)options->level);
    }
    if (options->resampler < TMB_RESAMPLER_AUTO || options->resampler > TMB_RESAMPLER_SINC) {
        return tmb_fail(error, TMB_ERROR_ARGUMENT, "%s: there is no resampler number %d", what,
                        (int)options->resampler);
    }
    return TMB_OK;
}

tmb_status tmb_chain_resampled_to_enhancer(tmb_resampler *from, tmb_enhancer *to, size_t *moved, tmb_error *error) {
    float piece[PIECE];
    for (;;) {
        size_t count = tmb_resampler_pull(from, piece, PIECE);
        if (count == 0) {
            return TMB_OK;
        }
        *moved += count;
        tmb_status status = tmb_enhancer_push(to, piece, count, error);
        if (status != TMB_OK) {
            return status;
        }
    }
}

tmb_status tmb_chain_enhanced_to_resampler(tmb_enhancer *from, tmb_resampler *to, size_t *moved, tmb_error *error) {
    float piece[PIECE];
    for (;;) {
        size_t count = tmb_enhancer_pull(from, piece, PIECE);
        if (count == 0) {
            return TMB_OK;
        }
        *moved += count;
        tmb_status status = tmb_resampler_push(to, piece, count, error);
        if (status != TMB_OK) {
            return status;
        }
    }
}

tmb_status tmb_chain_resampled_to_fifo(tmb_resampler *from, tmb_fifo *to, size_t *moved, tmb_error *error) {
    for (;;) {
        float *room = tmb_fifo_reserve(to, PIECE);
        if (room == NULL) {
            return tmb_fail_memory(error, "resampled audio", 0);
        }
        size_t count = tmb_resampler_pull(from, room, PIECE);
        tmb_fifo_commit(to, count);
        *moved += count;
        if (count == 0) {
            return TMB_OK;
        }
    }
}

tmb_status tmb_chain_enhanced_to_fifo(tmb_enhancer *from, tmb_fifo *to, size_t *moved, tmb_error *error) {
    for (;;) {
        float *room = tmb_fifo_reserve(to, PIECE);
        if (room == NULL) {
            return tmb_fail_memory(error, "enhanced audio", 0);
        }
        size_t count = tmb_enhancer_pull(from, room, PIECE);
        tmb_fifo_commit(to, count);
        *moved += count;
        if (count == 0) {
            return TMB_OK;
        }
    }
}
