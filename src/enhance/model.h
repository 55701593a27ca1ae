/* A loaded DeepFilterNet3: settings, weights, tables and kernels. The inside of tmb_dfn_model, for the files of this
 * folder and the tests. */
#ifndef TMB_ENHANCE_MODEL_H
#define TMB_ENHANCE_MODEL_H

#include "enhance/config.h"
#include "enhance/enhance.h"
#include "enhance/networks.h"
#include "kernels/depthwise.h"
#include "kernels/elementwise.h"
#include "kernels/fft.h"
#include "kernels/gemm_f32.h"
#include "kernels/gemm_fixed.h"

#include <stdatomic.h>

struct tmb_dfn_model {
    atomic_int references;
    tmb_dfn_config config;
    tmb_dfn_encoder encoder;
    tmb_dfn_erb_decoder erb_decoder;
    tmb_dfn_df_decoder df_decoder;

    /* Sizes that follow. */
    size_t channels;
    size_t erb_rows[4]; /* frequencies of e0 to e3 */
    size_t df_rows;     /* frequencies after df_conv1 */
    size_t embedding;   /* of one frame */
    size_t upper_band;  /* the first band with bins that deep filtering does not replace, = erb_bands if none */

    tmb_gemm_f32_kernels gemm;
    tmb_gemm_fixed_kernels gemm_fixed;
    tmb_elementwise_kernels elementwise;
    tmb_depthwise_kernels depthwise;
    tmb_fft *fft;
    float *analysis_window;  /* [fft_size], with the transform's scale */
    float *synthesis_window; /* [fft_size] */

    float *weights[3]; /* the networks' arenas */
    size_t bytes;
};

#endif
