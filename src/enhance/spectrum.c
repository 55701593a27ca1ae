/* From samples to features, and from spectra back to samples. */
#include "enhance/block.h"

#include <float.h>
#include <math.h>
#include <string.h>

/* The features' running means at a stream's start, first and last band or bin (dB; magnitude). */
static const float erb_mean_start[2] = {-60, -90};
static const float df_mean_start[2] = {1e-3f, 1e-4f};

static float on_line(size_t i, size_t count, const float *ends) {
    return ends[0] + (float)i * ((ends[1] - ends[0]) / (float)(count - 1));
}

static void set_line(float *values, size_t count, const float *ends) {
    for (size_t i = 0; i < count; i++) {
        values[i] = on_line(i, count, ends);
    }
}

/* Clears the state and sets what does not begin with zero. */
void tmb_dfn_block_reset(tmb_dfn_block *block) {
    memset(block->memory, 0, block->state_floats * sizeof(float));
    block->conv_sums_newest = 0;
    set_line(block->erb_mean, block->model->config.erb_bands, erb_mean_start);
    set_line(block->df_mean, block->model->config.df_bins, df_mean_start);
    for (size_t t = 0; t < block->capacity; t++) {
        block->gain[t] = 1;
    }
    block->gain_before = 0;
    block->start_weight = 1;
}

/* 10 log10(p) for normal p > 0. */
static inline float decibel(float p) {
    /* log(1 + t) = t - t^2 / 2 + t^3 (c[0] + c[1] t + ...) for 1 + t in [sqrt(1/2), sqrt(2)): a weighted minimax fit.
     */
    static const float c[8] = {0.33333316f, -0.2500081f,  0.20002286f, -0.16624554f,
                               0.14181197f, -0.13128768f, 0.12881622f, -0.078595437f};
    uint32_t bits;
    memcpy(&bits, &p, sizeof bits);
    const int exponent = (int)((bits + (0x3f800000u - 0x3f3504f3u)) >> 23) - 127; /* of p / sqrt(1/2) */
    bits -= (uint32_t)exponent << 23;
    float mantissa;
    memcpy(&mantissa, &bits, sizeof mantissa);
    const float t = mantissa - 1;
    float q = c[7];
    for (int i = 6; i >= 0; i--) {
        q = q * t + c[i];
    }
    const float n = (float)exponent;
    const float logarithm = n * TMB_LOG2_HIGH + ((t * t * (q * t - 0.5f) + n * TMB_LOG2_LOW) + t);
    return logarithm * 4.3429448f; /* 10 / log(10) */
}

/* Mean powers of the bands, in dB, less their running mean, which this frame is part of. */
static void erb_features(tmb_dfn_block *block, const float *re, const float *im, float gain, float *features) {
    const tmb_dfn_config *config = &block->model->config;
    const float alpha = config->alpha;
    const float square = gain * gain;
    float *power = block->frame;
    for (size_t i = 0; i < config->bins; i++) {
        power[i] = re[i] * re[i] + im[i] * im[i];
    }
    for (size_t band = 0; band < config->erb_bands; band++) {
        const size_t start = config->band_edges[band];
        const size_t end = config->band_edges[band + 1];
        float sum = 0;
        for (size_t i = start; i < end; i++) {
            sum += power[i];
        }
        features[band] = sum / (float)(end - start) * square + 1e-10f;
    }
    for (size_t band = 0; band < config->erb_bands; band++) {
        const float level = decibel(features[band]);
        block->erb_mean[band] = level * (1 - alpha) + block->erb_mean[band] * alpha;
        features[band] = (level - block->erb_mean[band]) * (1 / 40.0f);
    }
}

/* Bins divided by the root of their magnitude's running mean. That mean decays to zero in a long silence (denormals are
 * flushed here), so it is kept from there in the division. */
static void df_features(tmb_dfn_block *block, const float *re, const float *im, float gain, float *out_re,
                        float *out_im) {
    const tmb_dfn_config *config = &block->model->config;
    const float alpha = config->alpha;
    float *mean = block->df_mean;
    for (size_t i = 0; i < config->df_bins; i++) {
        const float x_re = re[i] * gain;
        const float x_im = im[i] * gain;
        const float magnitude = sqrtf(x_re * x_re + x_im * x_im);
        mean[i] = magnitude * (1 - alpha) + mean[i] * alpha;
        const float root = sqrtf(mean[i] > FLT_MIN ? mean[i] : FLT_MIN);
        out_re[i] = x_re / root;
        out_im[i] = x_im / root;
    }
}

/* Brings the running means to what they would be if the stream had had this gain from its start, but for the share that
 * they still have of their first values. The spectra themselves are never scaled, so a gain may change from one frame
 * to the next without a trace in the sound. */
static void change_gain(tmb_dfn_block *block, float gain) {
    const tmb_dfn_config *config = &block->model->config;
    const float before = block->gain_before;
    block->gain_before = gain;
    if (before == 0 || before == gain) {
        return;
    }
    const float ratio = gain / before;
    const float shift = (1 - block->start_weight) * 20 * log10f(ratio);
    for (size_t band = 0; band < config->erb_bands; band++) {
        block->erb_mean[band] += shift;
    }
    for (size_t i = 0; i < config->df_bins; i++) {
        const float start = block->start_weight * on_line(i, config->df_bins, df_mean_start);
        const float grown = start + (block->df_mean[i] - start) * ratio;
        block->df_mean[i] = grown > 0 ? grown : 0;
    }
}

void tmb_dfn_analyse(tmb_dfn_block *block, size_t frames) {
    const tmb_dfn_model *model = block->model;
    const tmb_dfn_encoder *encoder = &model->encoder;
    for (size_t t = 0; t < frames; t++) {
        float *re = block->spectra + (block->history + t) * 2 * block->bin_stride;
        float *im = re + block->bin_stride;
        tmb_fft_forward(model->fft, block->samples + t * model->config.hop, model->analysis_window, re, im,
                        block->transform);
        const float gain = block->gain[t];
        change_gain(block, gain);
        float *erb = block->erb_feature + (encoder->erb_conv0.frames - 1 + t) * block->erb_stride;
        erb_features(block, re, im, gain, erb + encoder->erb_conv0.pad);
        float *df =
            block->df_feature + (encoder->df_conv0.frames - 1 + t) * 2 * block->df_stride + encoder->df_conv0.pad;
        df_features(block, re, im, gain, df, df + block->df_stride);
        block->start_weight *= model->config.alpha;
    }
}

/* out = gains of the bands times `noisy`, from bin `first` on; gains NULL: zeros. */
static void apply_mask(const tmb_dfn_block *block, const float *noisy, const float *gains, size_t first, float *out) {
    const tmb_dfn_config *config = &block->model->config;
    for (size_t band = 0; band < config->erb_bands; band++) {
        const size_t end = config->band_edges[band + 1];
        size_t i = config->band_edges[band] > first ? config->band_edges[band] : first;
        for (; i < end; i++) {
            out[i] = gains != NULL ? noisy[i] * gains[band] : 0;
            out[block->bin_stride + i] = gains != NULL ? noisy[block->bin_stride + i] * gains[band] : 0;
        }
    }
}

/* out[bin] = sum over the newest df_order frames, the oldest first, of coefficient times noisy bin. */
static void apply_filter(const tmb_dfn_block *block, size_t t, float *out) {
    const tmb_dfn_config *config = &block->model->config;
    const size_t order = config->df_order;
    const float *oldest = block->spectra + (block->history + t + 1 - order) * 2 * block->bin_stride;
    const float *coefficients = block->coefficients + t * config->df_bins * order * 2;
    float *out_im = out + block->bin_stride;
    for (size_t bin = 0; bin < config->df_bins; bin++) {
        float re = 0;
        float im = 0;
        for (size_t k = 0; k < order; k++) {
            const float *noisy = oldest + k * 2 * block->bin_stride + bin;
            const float c_re = coefficients[(bin * order + k) * 2];
            const float c_im = coefficients[(bin * order + k) * 2 + 1];
            re += noisy[0] * c_re - noisy[block->bin_stride] * c_im;
            im += noisy[0] * c_im + noisy[block->bin_stride] * c_re;
        }
        out[bin] = re;
        out_im[bin] = im;
    }
}

/* sin(pi / 2 g) for g in [0, 1]: an odd minimax polynomial, good to 1e-8. */
static inline float quarter_sine(float g) {
    const float u = g * g;
    return g *
           (1.5707964f +
            u * (-0.64596409f + u * (0.079692603f + u * (-0.004681658f + u * (0.00016025479f + u * -3.4318696e-6f)))));
}

/* Lowers further what the networks have lowered (Valin et al., "A Perceptually-Motivated Approach for Low-Complexity,
 * Real-Time Enhancement of Fullband Speech", 2020). The official loop goes by four bins and leaves the rest alone. */
static void post_filter(const tmb_dfn_block *block, const float *noisy, float beta, float *out) {
    const size_t bins = block->model->config.bins / 4 * 4;
    const size_t stride = block->bin_stride;
    const float eps = 1e-12f;
    for (size_t i = 0; i < bins; i++) {
        const float enhanced = sqrtf(out[i] * out[i] + out[stride + i] * out[stride + i]);
        const float magnitude = sqrtf(noisy[i] * noisy[i] + noisy[stride + i] * noisy[stride + i]);
        float g = enhanced / (magnitude + eps);
        g = g < 1 ? g : 1;
        g = g > eps ? g : eps;
        const float sine = quarter_sine(g); /* g / (g sine) = 1 / sine */
        const float factor = (1 + beta) / (1 + beta / (sine * sine));
        out[i] *= factor;
        out[stride + i] *= factor;
    }
}

/* Adds a share of the noisy spectrum, so that nothing is lowered by more. */
static void limit_attenuation(const tmb_dfn_block *block, const float *noisy, float mix, float *out) {
    for (size_t part = 0; part < 2; part++) {
        for (size_t i = part * block->bin_stride; i < part * block->bin_stride + block->model->config.bins; i++) {
            out[i] = out[i] * (1 - mix) + noisy[i] * mix;
        }
    }
}

static void overlap_add(tmb_dfn_block *block, float *out) {
    const tmb_dfn_model *model = block->model;
    const size_t hop = model->config.hop;
    const size_t overlap = model->config.fft_size - hop;
    float *frame = block->frame;
    tmb_fft_inverse(model->fft, block->spectrum, block->spectrum + block->bin_stride, frame, block->transform);
    for (size_t i = 0; i < hop + overlap; i++) {
        frame[i] *= model->synthesis_window[i];
    }
    for (size_t i = 0; i < overlap; i++) {
        frame[i] += block->overlap_add[i];
    }
    memcpy(out, frame, hop * sizeof(float));
    memcpy(block->overlap_add, frame + hop, overlap * sizeof(float));
}

tmb_dfn_stage tmb_dfn_stage_of(const tmb_dfn_rules *rules, float local_snr) {
    if (local_snr < rules->min_db) {
        return TMB_DFN_SILENCE;
    }
    if (local_snr > rules->max_db_erb) {
        return TMB_DFN_UNTOUCHED;
    }
    return local_snr > rules->max_db_df ? TMB_DFN_MASK : TMB_DFN_MASK_AND_FILTER;
}

void tmb_dfn_synthesise(tmb_dfn_block *block, const tmb_dfn_rules *rules, size_t t, tmb_dfn_stage stage, float *out) {
    const tmb_dfn_config *config = &block->model->config;
    const float *noisy = block->spectra + (block->history + t - config->lookahead) * 2 * block->bin_stride;
    float *spectrum = block->spectrum;
    switch (stage) {
    case TMB_DFN_UNTOUCHED: memcpy(spectrum, noisy, 2 * block->bin_stride * sizeof(float)); break;
    case TMB_DFN_SILENCE: apply_mask(block, noisy, NULL, 0, spectrum); break;
    case TMB_DFN_MASK: apply_mask(block, noisy, block->mask + t * config->erb_bands, 0, spectrum); break;
    case TMB_DFN_MASK_AND_FILTER:
        apply_filter(block, t, spectrum);
        apply_mask(block, noisy, block->mask + t * config->erb_bands, config->df_bins, spectrum);
        break;
    }
    if (rules->post_filter_beta > 0 && (stage == TMB_DFN_MASK || stage == TMB_DFN_MASK_AND_FILTER)) {
        post_filter(block, noisy, rules->post_filter_beta, spectrum);
    }
    if (rules->mix > 0) {
        limit_attenuation(block, noisy, rules->mix, spectrum);
    }
    overlap_add(block, out);
}
