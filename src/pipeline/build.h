/* From a reference to a voice: stage 1 (resampling), stage 2 (denoising), the engine's encoders.
 *
 * The steps are small, so that references share the workers piece by piece. One thread at a time.
 */
#ifndef TMB_PIPELINE_BUILD_H
#define TMB_PIPELINE_BUILD_H

#include "pipeline/budget.h"
#include "pipeline/chain.h"
#include "pipeline/reading.h"
#include "pipeline/reference.h"

/* The reference after stage 2, counted, shared by the items that waited for it. It keeps its part of the
 * build's reservation. */
typedef struct tmb_clean {
    _Atomic(int) references;
    tmb_budget *budget;
    uint64_t reserved;
    float *samples; /* at the denoiser's rate */
    size_t count;
} tmb_clean;

tmb_clean *tmb_clean_retain(tmb_clean *clean);
void tmb_clean_release(tmb_clean **clean);

typedef struct tmb_build {
    tmb_voice_key key;
    /* What it starts from: taken over from a reading. */
    float *samples;
    size_t count;
    int rate;
    tmb_level *level; /* of the samples, or NULL */
    void *voice_file;
    size_t voice_file_size;
    char *text;     /* transcript, or NULL */
    bool antiphase; /* see tmb_reading */
    bool x_vector_only;
    bool run_pre_processing;
    tmb_enhance_options pre;
    bool trim;         /* what is still at both ends */
    double silence;    /* seconds to put behind */
    uint64_t reserved; /* bytes of the budget */

    /* Under way. */
    tmb_dfn_model *denoiser; /* borrowed; NULL without pre-processing */
    tmb_resampler *resampler;
    tmb_enhancer *enhancer;
    tmb_fifo clean;
    size_t done;    /* samples that went into stage 1 */
    bool complete1; /* stage 1 was flushed */

    /* What came of it. */
    bool judged;
    tmb_reference_info info;
    tmb_voice *voice;
    double seconds[TMB_STAGE_COUNT]; /* spent in stages 1, 2 and 3 */
} tmb_build;

/* Where the speech in `samples` begins and ends, with a margin of 50 ms: what lies before and after is 40 dB below the
 * loudest part. Everything, where nothing is loud. */
void tmb_trim_silence(const float *samples, size_t count, int rate, size_t *begin, size_t *end);

/* Bytes that stages 1 and 2 need for `samples` at `rate`, with what the reading holds. */
uint64_t tmb_build_bytes(const tmb_dfn_model *denoiser, uint64_t samples, int rate);

/* Takes the samples (or the voice's file) out of `reading`. `denoiser` NULL: no pre-processing. */
tmb_status tmb_build_create(tmb_reading *reading, const tmb_request *request, tmb_dfn_model *denoiser, tmb_build **out,
                            tmb_error *error);

/* Stage 1 on the next second of the reference (into the enhancer's queue), and stage 2 on what it made. *complete: both
 * are through. Stage 1 first, then 2, then 1 again. */
tmb_status tmb_build_resample(tmb_build *build, tmb_logger *logger, tmb_error *error);
tmb_status tmb_build_enhance(tmb_build *build, bool *complete, tmb_error *error);
/* 0 to 1. */
double tmb_build_fraction(const tmb_build *build);

/* Whether there is speech in the reference, and how good it is: build->info. TMB_ERROR_FORMAT if there is none. */
tmb_status tmb_build_judge(tmb_build *build, tmb_error *error);

/* Judges the reference, then runs the engine's encoders. Afterwards build->voice is set. */
tmb_status tmb_build_voice(tmb_build *build, tmb_engine *engine, tmb_error *error);

/* The clean reference and its share of the reservation; NULL where there is none or no memory. */
tmb_clean *tmb_build_take_clean(tmb_build *build, tmb_budget *budget);

/* Releases the rest of the reservation. */
void tmb_build_destroy(tmb_build **build, tmb_budget *budget);

#endif
