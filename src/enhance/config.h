/* What config.ini of a DeepFilterNet3 export says about signals and sizes. */
#ifndef TMB_ENHANCE_CONFIG_H
#define TMB_ENHANCE_CONFIG_H

#include "timbre/timbre.h"

enum { TMB_DFN_MAX_BANDS = 256, TMB_DFN_MAX_ORDER = 16, TMB_DFN_MAX_LOOKAHEAD = 16 };

typedef struct tmb_dfn_config {
    int rate;        /* Hz */
    size_t fft_size; /* samples of a window */
    size_t hop;      /* samples from one window to the next, at most half of one */
    size_t bins;     /* fft_size / 2 + 1 */
    size_t erb_bands;
    size_t min_band_bins;
    size_t df_bins;  /* bins that deep filtering replaces, from 0 */
    size_t df_order; /* frames that it combines */
    size_t conv_lookahead, df_lookahead;
    size_t lookahead;          /* frames that the output is behind the input, in addition to the window */
    float alpha;               /* of the features' running means */
    double lsnr_min, lsnr_max; /* dB */

    /* Sizes that the networks must agree with. */
    size_t conv_channels, emb_hidden, emb_layers, df_hidden, df_layers;
    size_t df_kernel_frames; /* of the convolution parallel to the deep filter's network */

    size_t band_edges[TMB_DFN_MAX_BANDS + 1]; /* band b has bins [band_edges[b], band_edges[b + 1]) */
} tmb_dfn_config;

/* `text` is the content of config.ini. TMB_ERROR_UNSUPPORTED for another architecture than deepfilternet3 or a variant
 * of it; TMB_ERROR_MODEL for values that are missing or absurd; each names the setting. */
tmb_status tmb_dfn_config_parse(const char *text, size_t length, tmb_dfn_config *config, tmb_error *error);

/* Samples that the output is behind the input: the window's overlap and the lookahead. */
static inline size_t tmb_dfn_config_delay(const tmb_dfn_config *config) {
    return config->fft_size - config->hop + config->lookahead * config->hop;
}

#endif
