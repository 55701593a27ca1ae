#include "enhance/config.h"

#include "base/error.h"
#include "weights/ini.h"

#include <math.h>
#include <string.h>

static tmb_status unsupported(const char *section, const char *key, const char *value, const char *expected,
                              tmb_error *error) {
    return tmb_fail(error, TMB_ERROR_UNSUPPORTED, "[%s] %s = %.60s is not supported (%s is)", section, key,
                    value != NULL ? value : "(missing)", expected);
}

/* A setting that must have one value. If it is missing, older exports had that value too. */
static tmb_status expect(const tmb_ini *ini, const char *section, const char *key, const char *expected,
                         tmb_error *error) {
    const char *value = tmb_ini_find(ini, section, key);
    return value == NULL || strcasecmp(value, expected) == 0 ? TMB_OK
                                                             : unsupported(section, key, value, expected, error);
}

static tmb_status check_architecture(const tmb_ini *ini, tmb_error *error) {
    const char *model = tmb_ini_find(ini, "train", "model");
    if (model == NULL || strcmp(model, "deepfilternet3") != 0) {
        return unsupported("train", "model", model, "deepfilternet3", error);
    }
    static const struct {
        const char *section, *key, *value;
    } fixed[] = {
        {"train", "mask_only", "false"},
        {"train", "df_only", "false"},
        {"deepfilternet", "conv_depthwise", "true"},
        {"deepfilternet", "enc_concat", "false"},
        {"deepfilternet", "group_shuffle", "false"},
        {"deepfilternet", "emb_gru_skip", "none"},
        {"deepfilternet", "mask_pf", "false"},
        {"deepfilternet", "df_n_iter", "1"},
        {"deepfilternet", "conv_dec_mode", "transposed"},
    };
    for (size_t i = 0; i < sizeof fixed / sizeof fixed[0]; i++) {
        tmb_status status = expect(ini, fixed[i].section, fixed[i].key, fixed[i].value, error);
        if (status != TMB_OK) {
            return status;
        }
    }
    const char *skip = tmb_ini_find(ini, "deepfilternet", "df_gru_skip");
    if (skip != NULL && strcmp(skip, "groupedlinear") != 0 && strcmp(skip, "none") != 0) {
        return unsupported("deepfilternet", "df_gru_skip", skip, "groupedlinear or none", error);
    }
    return TMB_OK;
}

/* Settings that moved from one section to another over the versions. */
static const char *section_of(const tmb_ini *ini, const char *key) {
    return tmb_ini_find(ini, "df", key) != NULL ? "df" : "deepfilternet";
}

static tmb_status read_sizes(const tmb_ini *ini, tmb_dfn_config *config, tmb_error *error) {
    size_t rate = 0;
    size_t conv_lookahead = 0;
    size_t df_lookahead = 0;
    const struct {
        const char *section, *key;
        size_t low, high;
        size_t *out;
    } sizes[] = {
        {"df", "sr", 8000, 192000, &rate},
        {"df", "fft_size", 16, 8192, &config->fft_size},
        {"df", "hop_size", 8, 4096, &config->hop},
        {"df", "nb_erb", 2, TMB_DFN_MAX_BANDS, &config->erb_bands},
        {"df", "min_nb_erb_freqs", 1, 64, &config->min_band_bins},
        {"df", "nb_df", 2, 4096, &config->df_bins},
        {section_of(ini, "df_order"), "df_order", 1, TMB_DFN_MAX_ORDER, &config->df_order},
        {section_of(ini, "df_lookahead"), "df_lookahead", 0, TMB_DFN_MAX_LOOKAHEAD, &df_lookahead},
        {"deepfilternet", "conv_lookahead", 0, TMB_DFN_MAX_LOOKAHEAD, &conv_lookahead},
        {"deepfilternet", "conv_ch", 1, 1024, &config->conv_channels},
        {"deepfilternet", "emb_hidden_dim", 1, 2048, &config->emb_hidden},
        {"deepfilternet", "emb_num_layers", 2, 16, &config->emb_layers},
        {"deepfilternet", "df_hidden_dim", 1, 2048, &config->df_hidden},
        {"deepfilternet", "df_num_layers", 1, 16, &config->df_layers},
        {"deepfilternet", "df_pathway_kernel_size_t", 1, 32, &config->df_kernel_frames},
    };
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        tmb_status status =
            tmb_ini_size(ini, sizes[i].section, sizes[i].key, sizes[i].low, sizes[i].high, sizes[i].out, error);
        if (status != TMB_OK) {
            return status;
        }
    }
    config->rate = (int)rate;
    config->bins = config->fft_size / 2 + 1;
    config->lookahead = df_lookahead;
    if (config->fft_size % 2 != 0 || config->hop * 2 > config->fft_size || config->fft_size % config->hop != 0) {
        return tmb_fail(error, TMB_ERROR_MODEL, "[df] fft_size = %zu is not an even multiple of hop_size = %zu",
                        config->fft_size, config->hop);
    }
    if (config->df_bins > config->bins) {
        return tmb_fail(error, TMB_ERROR_MODEL, "[df] nb_df = %zu is more than the %zu bins of fft_size = %zu",
                        config->df_bins, config->bins, config->fft_size);
    }
    /* The mask would belong to another frame than the filter: the official runtime does not line them up either. */
    if (conv_lookahead != df_lookahead) {
        return tmb_fail(error, TMB_ERROR_UNSUPPORTED,
                        "[deepfilternet] conv_lookahead = %zu and df_lookahead = %zu differ: not supported",
                        conv_lookahead, df_lookahead);
    }
    /* The deep filter looks at df_order frames, the last of which is the newest one. */
    if (config->lookahead >= config->df_order) {
        return tmb_fail(error, TMB_ERROR_MODEL, "a lookahead of %zu frames needs [df] df_order above it, not %zu",
                        config->lookahead, config->df_order);
    }
    return TMB_OK;
}

/* alpha = exp(-hop / rate / tau), rounded to three decimals, or more if that would make it 1. */
static float smoothing(const tmb_dfn_config *config, double tau) {
    const float exact = expf(-(float)config->hop / (float)config->rate / (float)tau);
    float alpha = 1;
    for (float scale = 1000; alpha >= 1 && scale < 1e8f; scale *= 10) {
        alpha = roundf(exact * scale) / scale;
    }
    return alpha;
}

static tmb_status read_numbers(const tmb_ini *ini, tmb_dfn_config *config, tmb_error *error) {
    tmb_status status = tmb_ini_number(ini, "df", "lsnr_min", -200, 200, &config->lsnr_min, error);
    if (status == TMB_OK) {
        status = tmb_ini_number(ini, "df", "lsnr_max", -200, 200, &config->lsnr_max, error);
    }
    if (status != TMB_OK) {
        return status;
    }
    double value = 0;
    if (tmb_ini_find(ini, "df", "norm_alpha") != NULL) {
        status = tmb_ini_number(ini, "df", "norm_alpha", 0, 1, &value, error);
        config->alpha = (float)value;
    } else {
        status = tmb_ini_number(ini, "df", "norm_tau", 1e-3, 1e3, &value, error);
        config->alpha = status == TMB_OK ? smoothing(config, value) : 0;
    }
    return status;
}

/* Bands of equal width on the scale of equivalent rectangular bandwidths, erb(f) = 9.265 log(1 + f / (24.7 * 9.265)),
 * rounded to bins; a band that would be too narrow takes bins from those after it. */
static tmb_status divide_bands(tmb_dfn_config *config, tmb_error *error) {
    const float scale = 9.265f;
    const float corner = 24.7f * 9.265f;
    const float nyquist = (float)(config->rate / 2);
    const float bin_width = (float)config->rate / (float)config->fft_size;
    const float step = scale * logf(1 + nyquist / corner) / (float)config->erb_bands;
    const size_t least = config->min_band_bins;
    size_t before = 0; /* the bin where the band before would end by its frequency */
    size_t taken = 0;  /* bins of this band that the one before has taken */
    size_t edge = 0;
    for (size_t band = 0; band < config->erb_bands; band++) {
        const float end_frequency = corner * (expf((float)(band + 1) * step / scale) - 1);
        const size_t end = (size_t)roundf(end_frequency / bin_width);
        const size_t width = end > before + taken ? end - before - taken : 0;
        const size_t debt = before + taken > end ? before + taken - end : 0;
        if (width < least) {
            taken = least - width + debt;
            edge += least;
        } else {
            taken = 0;
            edge += width;
        }
        config->band_edges[band + 1] = edge;
        before = end;
    }
    /* The last band gets the bin at half the rate, and gives back what is too much. */
    const size_t last = config->erb_bands;
    config->band_edges[last] = config->bins;
    if (edge + 1 < config->bins || config->band_edges[last - 1] >= config->bins) {
        return tmb_fail(error, TMB_ERROR_MODEL,
                        "[df] nb_erb = %zu bands of min_nb_erb_freqs = %zu bins do not fit %zu bins", config->erb_bands,
                        least, config->bins);
    }
    return TMB_OK;
}

tmb_status tmb_dfn_config_parse(const char *text, size_t length, tmb_dfn_config *config, tmb_error *error) {
    *config = (tmb_dfn_config){.rate = 0};
    tmb_ini *ini = NULL;
    tmb_status status = tmb_ini_parse(text, length, &ini, error);
    if (status == TMB_OK) {
        status = check_architecture(ini, error);
    }
    if (status == TMB_OK) {
        status = read_sizes(ini, config, error);
    }
    if (status == TMB_OK) {
        status = read_numbers(ini, config, error);
    }
    if (status == TMB_OK) {
        status = divide_bands(config, error);
    }
    tmb_ini_free(&ini);
    return status;
}
