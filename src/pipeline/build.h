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
#include "tts/transcribe/transcribe.h"

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
    bool antiphase; /* this to the notes: see tmb_reading */
    double cancelled;
    size_t note_count;
    char notes[TMB_REFERENCE_NOTES][TMB_REFERENCE_NOTE];
    bool x_vector_only;
    bool transcribes; /* the transcript is to be written by the service */
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
    char untranscribed[192]; /* why there is no transcript after all: the x-vector alone is used; "" otherwise */
    tmb_voice *voice;
    double seconds[TMB_STAGE_COUNT]; /* spent in stages 1, 2 and 3 */
} tmb_build;

/* Where the speech in `samples` begins and ends, with a margin of 50 ms: what lies before and after is 40 dB below the
 * loudest part. Everything, if nothing is loud. */
void tmb_trim_silence(const float *samples, size_t count, int rate, size_t *begin, size_t *end);

/* Bytes that stages 1 and 2 need for `samples` at `rate`, with what the reading holds. */
uint64_t tmb_build_bytes(const tmb_dfn_model *denoiser, uint64_t samples, int rate);

/* Takes the samples (or the voice's file) out of `reading`. `denoiser` NULL: no pre-processing. */
tmb_status tmb_build_create(tmb_reading *reading, const tmb_item_request *request, tmb_dfn_model *denoiser,
                            tmb_build **out, tmb_error *error);

/* Stage 1 on the next second of the reference (into the enhancer's queue), and stage 2 on what it made. *complete: both
 * are finished. Stage 1 first, then 2, then 1 again. */
tmb_status tmb_build_resample(tmb_build *build, tmb_logger *logger, tmb_error *error);
tmb_status tmb_build_enhance(tmb_build *build, bool *complete, tmb_error *error);
/* 0 to 1. */
double tmb_build_fraction(const tmb_build *build);

/* Whether there is speech in the reference, and how good it is: build->info. TMB_ERROR_FORMAT if there is none. */
tmb_status tmb_build_judge(tmb_build *build, tmb_error *error);

/* Asks the service for the transcript. If it cannot be had, the build goes on with the x-vector alone, and
 * build->untranscribed says why. A reference without speech is not sent. `stop` as in tmb_transcribe_samples. */
void tmb_build_transcribe(tmb_build *build, const tmb_transcriber *transcriber, tmb_logger *logger,
                          const atomic_bool *stop);
/* Asks for the transcript of a reference that was judged: the failure is the caller's. */
tmb_status tmb_build_ask(const tmb_build *build, const tmb_transcriber *transcriber, tmb_logger *logger,
                         const atomic_bool *stop, char **text, tmb_error *error);
/* What became of it, into build->info. */
void tmb_build_tell_transcript(tmb_build *build);
/* Bytes that asking takes. */
uint64_t tmb_build_transcribe_bytes(uint64_t samples, int rate);

/* Judges the reference, then runs the engine's encoders. Afterwards build->voice is set. */
tmb_status tmb_build_voice(tmb_build *build, tmb_engine *engine, tmb_error *error);

/* The clean reference and its share of the reservation; NULL if there is none or no memory. */
tmb_clean *tmb_build_take_clean(tmb_build *build, tmb_budget *budget);

/* Releases the rest of the reservation. */
void tmb_build_destroy(tmb_build **build, tmb_budget *budget);

#endif
