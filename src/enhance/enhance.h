/* DeepFilterNet3: noise and reverberation out of 48 kHz mono speech, as a stream.
 *
 * Several channels: one enhancer for each, over the same model. They hold their own state only; the weights are shared.
 */
#ifndef TMB_ENHANCE_ENHANCE_H
#define TMB_ENHANCE_ENHANCE_H

#include "base/log.h"
#include "enhance/level.h"
#include "timbre/timbre.h"

/* The weights and the settings of config.ini. Immutable once loaded, counted, shared by all threads. */
typedef struct tmb_dfn_model tmb_dfn_model;

/* Reads an official export (a tar.gz of enc.onnx, erb_dec.onnx, df_dec.onnx, config.ini), the low-latency and
 * fine-tuned ones too: sizes, rates and lookaheads are the export's. Errors name the member and what is wrong with it:
 * TMB_ERROR_MODEL, TMB_ERROR_FORMAT, TMB_ERROR_LIMIT, TMB_ERROR_IO, TMB_ERROR_MEMORY, and TMB_ERROR_UNSUPPORTED for
 * another network than DeepFilterNet3. */
tmb_status tmb_dfn_model_load(const char *path, tmb_dfn_model **out, tmb_error *error);
tmb_dfn_model *tmb_dfn_model_retain(tmb_dfn_model *model);
void tmb_dfn_model_release(tmb_dfn_model **model);

/* Bytes that the model holds; bytes that one enhancer holds in addition (blocks included), as long as no more than one
 * block's output waits to be pulled. block_frames as in the settings; 0 also if that many do not fit. */
size_t tmb_dfn_model_bytes(const tmb_dfn_model *model);
size_t tmb_enhancer_bytes(const tmb_dfn_model *model, size_t block_frames);

/* The rate inside the model, 48000 for the official one. */
int tmb_dfn_model_rate(const tmb_dfn_model *model);

/* Frames that are evaluated together if the settings say 0. */
#define TMB_ENHANCE_BLOCK_FRAMES 48

typedef struct tmb_enhance_settings {
    float attenuation_limit_db; /* no bin is lowered by more; >= 100 is no limit (default), 0 (< 0.01) is a bypass */
    float post_filter_beta;     /* 0 is off (default); 0.02 is the official strength; not negative */
    float min_db_threshold;     /* local SNR below it: silence (default -15) */
    float max_db_erb_threshold; /* above it: untouched (default 35) */
    float max_db_df_threshold;  /* above it: mask only (default 35) */
    bool compensate_delay;      /* true (default): output is aligned with the input and as long; otherwise it comes
                                   tmb_dfn_config_delay later, and is longer by that */
    const tmb_level *level;     /* what the networks should hear the input louder or softer by; borrowed as long as the
                                   enhancer lives, shared by the channels of one recording; NULL (default): as it is */
    double level_ahead;         /* seconds that a live level has always had more than the samples; 0 is the default */
    size_t block_frames;        /* frames of 10 ms evaluated together, 1 = lowest latency; 0 = default (files) */
} tmb_enhance_settings;

/* The official runtime's: no limit, no post filter, thresholds that no local SNR passes. */
void tmb_enhance_settings_default(tmb_enhance_settings *settings);

/* One stream, one channel; used by one thread at a time. The same stream stage as resample.h: what
 * comes out does not depend on how the input was cut, nor on block_frames (but for a
 * live level, which larger blocks let look further ahead). */
typedef struct tmb_enhancer tmb_enhancer;

/* Retains the model. TMB_ERROR_ARGUMENT for settings that make no sense, naming the field. */
tmb_status tmb_enhancer_create(tmb_dfn_model *model, const tmb_enhance_settings *settings, tmb_enhancer **out,
                               tmb_error *error);

/* With a level, that must have had the samples' time already (tmb_level_push). Output becomes ready whenever
 * block_frames frames are complete. NaN, infinity or a value beyond 1e10: TMB_ERROR_FORMAT naming the sample's
 * position; out of memory: TMB_ERROR_MEMORY, possible only while more output waits than one block has. Nothing of the
 * push is taken then. After flush: TMB_ERROR_ARGUMENT. */
tmb_status tmb_enhancer_push(tmb_enhancer *enhancer, const float *samples, size_t count, tmb_error *error);

/* Takes up to `capacity` samples that are ready; returns how many. */
size_t tmb_enhancer_pull(tmb_enhancer *enhancer, float *out, size_t capacity);

/* The input is complete: what remains becomes ready, so that as many samples come out as went in. A second call does
 * nothing. */
tmb_status tmb_enhancer_flush(tmb_enhancer *enhancer, tmb_error *error);

/* Back to the state after create, for another stream. What was not pulled is dropped. */
void tmb_enhancer_reset(tmb_enhancer *enhancer);
void tmb_enhancer_destroy(tmb_enhancer **enhancer);

/* The local SNR in dB of the last frame that was processed, for display; 35 in a bypass, -15 before the first. */
float tmb_enhancer_local_snr(const tmb_enhancer *enhancer);

#endif
