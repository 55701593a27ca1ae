/* DeepFilterNet3: noise and reverberation out of 48 kHz mono speech, as a stream. */
#ifndef TMB_ENHANCE_ENHANCE_H
#define TMB_ENHANCE_ENHANCE_H

#include "base/log.h"
#include "timbre/timbre.h"

/* The weights and the settings of config.ini. Immutable once loaded, counted, shared by all threads. */
typedef struct tmb_dfn_model tmb_dfn_model;

/* Reads an official export (a tar.gz of enc.onnx, erb_dec.onnx, df_dec.onnx, config.ini). Errors name
 * the member and what is wrong with it: TMB_ERROR_MODEL, TMB_ERROR_FORMAT, TMB_ERROR_IO. */
tmb_status tmb_dfn_model_load(const char *path, tmb_dfn_model **out, tmb_error *error);
tmb_dfn_model *tmb_dfn_model_retain(tmb_dfn_model *model);
void tmb_dfn_model_release(tmb_dfn_model **model);

/* Bytes that the model holds; bytes that one enhancer holds beside it (blocks included). */
size_t tmb_dfn_model_bytes(const tmb_dfn_model *model);
size_t tmb_enhancer_bytes(const tmb_dfn_model *model, size_t block_frames);

/* The rate inside the model, 48000 for the official one. */
int tmb_dfn_model_rate(const tmb_dfn_model *model);

typedef struct tmb_enhance_settings {
    float attenuation_limit_db; /* no bin is lowered by more; >= 100 is no limit (default), 0 is a bypass */
    float post_filter_beta;     /* 0 is off (default); 0.02 is the official strength */
    float min_db_threshold;     /* local SNR below it: silence (default -15) */
    float max_db_erb_threshold; /* above it: untouched (default 35) */
    float max_db_df_threshold;  /* above it: mask only (default 35) */
    bool compensate_delay;      /* true (default): output is aligned with the input and as long */
    size_t block_frames;        /* frames of 10 ms evaluated together, 1 = lowest latency; 0 = default (files) */
} tmb_enhance_settings;

void tmb_enhance_settings_default(tmb_enhance_settings *settings);

/* One stream, one channel; used by one thread at a time. The same stream stage as resample.h: what
 * comes out does not depend on how the input was cut, nor on block_frames. */
typedef struct tmb_enhancer tmb_enhancer;

/* Retains the model. */
tmb_status tmb_enhancer_create(tmb_dfn_model *model, const tmb_enhance_settings *settings, tmb_enhancer **out,
                               tmb_error *error);
/* NaN or infinity: TMB_ERROR_FORMAT naming the sample's position; nothing of the push is taken. */
tmb_status tmb_enhancer_push(tmb_enhancer *enhancer, const float *samples, size_t count, tmb_error *error);
size_t tmb_enhancer_pull(tmb_enhancer *enhancer, float *out, size_t capacity);
tmb_status tmb_enhancer_flush(tmb_enhancer *enhancer, tmb_error *error);
void tmb_enhancer_reset(tmb_enhancer *enhancer);
void tmb_enhancer_destroy(tmb_enhancer **enhancer);

/* The local SNR in dB of the last frame that was processed. */
float tmb_enhancer_local_snr(const tmb_enhancer *enhancer);

#endif
