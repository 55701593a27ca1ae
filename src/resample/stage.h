/* One resampler of the cascade, as resample.c drives it. */
#ifndef TMB_RESAMPLE_STAGE_H
#define TMB_RESAMPLE_STAGE_H

#include "base/fifo.h"
#include "resample/resample.h"

/* What is kept of the input. Samples before the stream's start and, when it is complete, behind its
 * end are zeros that are not stored. */
typedef struct tmb_resample_window {
    const float *samples;
    size_t count;
    uint64_t start; /* place of samples[0] in the stream */
    bool complete;  /* the stream ends with this window */
} tmb_resample_window;

/* All three have no delay: output j lies at input j * input_rate / output_rate. So one can take over
 * from another in the middle of a stream, at the output where that one stopped. */
typedef struct tmb_resampler_stage {
    tmb_resampler_kind kind;
    const char *name;

    /* A stream whose first output is number `first_output` (not 0: it takes over). Rates are in range
     * and differ. */
    tmb_status (*create)(int input_rate, int output_rate, uint64_t first_output, void **state, tmb_error *error);

    /* Appends every output that the window settles. The next window continues this one and begins
     * no later than `needed`. What was appended before a failure counts. */
    tmb_status (*process)(void *state, const tmb_resample_window *window, tmb_fifo *out, tmb_error *error);

    /* The first input that later calls still look at. */
    uint64_t (*needed)(const void *state);

    /* The same for a stream that would begin with `first_output`, for what must be kept in reserve. */
    uint64_t (*needed_from)(int input_rate, int output_rate, uint64_t first_output);
    void (*destroy)(void *state); /* NULL allowed */
} tmb_resampler_stage;

extern const tmb_resampler_stage tmb_stage_soxr, tmb_stage_polyphase, tmb_stage_sinc;

/* tmb_resampler_create with a cascade of one's own (borrowed for the handle's life): how tests make
 * stages fail. */
tmb_status tmb_resampler_create_cascade(int input_rate, int output_rate, const tmb_resampler_stage *const *cascade,
                                        size_t count, tmb_logger *logger, tmb_resampler **out, tmb_error *error);

#endif
