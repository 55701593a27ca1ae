/* One channel's way through resampling and denoising: rate → the denoiser's rate → clean → rate. */
#ifndef TMB_PIPELINE_CHAIN_H
#define TMB_PIPELINE_CHAIN_H

#include "base/fifo.h"
#include "enhance/enhance.h"
#include "resample/resample.h"

/* Settings of the stages 2 and 5 from the public options; `block_frames` as in enhance.h. */
void tmb_chain_settings(const tmb_enhance_options *options, size_t block_frames, tmb_enhance_settings *out);

/* TMB_ERROR_ARGUMENT if the strengths are not in their ranges. `what` names them in the message. */
tmb_status tmb_chain_check(const tmb_enhance_options *options, const char *what, tmb_error *error);

/* Moves everything that is ready from a stage to the next; *moved counts it. */
tmb_status tmb_chain_resampled_to_enhancer(tmb_resampler *from, tmb_enhancer *to, size_t *moved, tmb_error *error);
tmb_status tmb_chain_enhanced_to_resampler(tmb_enhancer *from, tmb_resampler *to, size_t *moved, tmb_error *error);
tmb_status tmb_chain_resampled_to_fifo(tmb_resampler *from, tmb_fifo *to, size_t *moved, tmb_error *error);
tmb_status tmb_chain_enhanced_to_fifo(tmb_enhancer *from, tmb_fifo *to, size_t *moved, tmb_error *error);

#endif
