/* The stream around the stages: it keeps the inputs that are still needed, moves on to the next stage
 * if one fails, and holds the output until it is pulled. */
#include "resample/resample.h"

#include "base/error.h"
#include "base/memory.h"
#include "resample/ratio.h"
#include "resample/stage.h"

#include <stdlib.h>
#include <string.h>

#define MAX_RATE 768000
/* Inputs that are taken in at a time: what is kept of a long push stays small. */
#define BLOCK 4096

struct tmb_resampler {
    int input_rate, output_rate;
    const tmb_resampler_stage *const *cascade;
    size_t cascade_count;
    size_t active; /* the stage that runs */
    void *state;   /* its state; NULL at equal rates */
    tmb_logger *logger;
    tmb_fifo input; /* what a stage of the cascade may still need */
    uint64_t input_start;
    tmb_fifo output; /* what was not pulled yet */
    uint64_t taken;  /* inputs so far */
    uint64_t made;   /* outputs of all stages so far */
    bool complete;
    tmb_error failure; /* set once every stage failed */
};

static const tmb_resampler_stage *const all_stages[] = {&tmb_stage_soxr, &tmb_stage_polyphase, &tmb_stage_sinc};

/* Starts the stage `first` or, if it cannot be created, one behind it. */
static tmb_status start_stage(tmb_resampler *resampler, size_t first, tmb_error *error) {
    tmb_status status = TMB_ERROR_INTERNAL;
    for (size_t i = first; i < resampler->cascade_count; i++) {
        const tmb_resampler_stage *stage = resampler->cascade[i];
        tmb_error reason = {0};
        status =
            stage->create(resampler->input_rate, resampler->output_rate, resampler->made, &resampler->state, &reason);
        if (status == TMB_OK) {
            resampler->active = i;
            tmb_log(resampler->logger, TMB_LOG_DEBUG, "resampling %d to %d Hz with %s", resampler->input_rate,
                    resampler->output_rate, stage->name);
            return TMB_OK;
        }
        resampler->state = NULL;
        if (i + 1 < resampler->cascade_count) {
            tmb_log(resampler->logger, TMB_LOG_WARNING, "resampler %s is not available for %d to %d Hz (%s); trying %s",
                    stage->name, resampler->input_rate, resampler->output_rate, reason.message,
                    resampler->cascade[i + 1]->name);
        } else {
            (void)tmb_fail(error, status, "resampling %d to %d Hz with %s: %s", resampler->input_rate,
                           resampler->output_rate, stage->name, reason.message);
        }
    }
    return status;
}

tmb_status tmb_resampler_create_cascade(int input_rate, int output_rate, const tmb_resampler_stage *const *cascade,
                                        size_t count, tmb_logger *logger, tmb_resampler **out, tmb_error *error) {
    *out = NULL;
    if (input_rate < 1 || input_rate > MAX_RATE || output_rate < 1 || output_rate > MAX_RATE) {
        return tmb_fail(error, TMB_ERROR_ARGUMENT, "cannot resample from %d to %d Hz: rates are 1 to %d Hz", input_rate,
                        output_rate, MAX_RATE);
    }
    tmb_resampler *resampler = tmb_calloc(1, sizeof *resampler);
    if (resampler == NULL) {
        return tmb_fail_memory(error, "a resampler", sizeof *resampler);
    }
    resampler->input_rate = input_rate;
    resampler->output_rate = output_rate;
    resampler->cascade = cascade;
    resampler->cascade_count = count;
    resampler->logger = logger;
    tmb_status status = input_rate == output_rate ? TMB_OK : start_stage(resampler, 0, error);
    if (status != TMB_OK) {
        tmb_resampler_destroy(&resampler);
        return status;
    }
    *out = resampler;
    return TMB_OK;
}

tmb_status tmb_resampler_create(int input_rate, int output_rate, tmb_resampler_kind kind, tmb_logger *logger,
                                tmb_resampler **out, tmb_error *error) {
    switch (kind) {
    case TMB_RESAMPLER_AUTO:
        return tmb_resampler_create_cascade(input_rate, output_rate, all_stages,
                                            sizeof all_stages / sizeof all_stages[0], logger, out, error);
    case TMB_RESAMPLER_SOXR:
    case TMB_RESAMPLER_POLYPHASE:
    case TMB_RESAMPLER_SINC:
        return tmb_resampler_create_cascade(input_rate, output_rate, &all_stages[(int)kind - 1], 1, logger, out, error);
    }
    *out = NULL;
    return tmb_fail(error, TMB_ERROR_ARGUMENT, "unknown resampler %d", (int)kind);
}

/* Lets go of the inputs that neither the stage that runs nor one that may take over needs. */
static void drop_inputs(tmb_resampler *resampler) {
    uint64_t keep = resampler->cascade[resampler->active]->needed(resampler->state);
    for (size_t i = resampler->active + 1; i < resampler->cascade_count; i++) {
        const uint64_t needed =
            resampler->cascade[i]->needed_from(resampler->input_rate, resampler->output_rate, resampler->made);
        keep = needed < keep ? needed : keep;
    }
    if (keep > resampler->input_start) {
        const uint64_t surplus = keep - resampler->input_start;
        resampler->input_start +=
            tmb_fifo_read(&resampler->input, NULL, surplus < SIZE_MAX ? (size_t)surplus : SIZE_MAX);
    }
}

/* Makes all outputs that the inputs settle, with the next stage if one fails. */
static tmb_status run(tmb_resampler *resampler, tmb_error *error) {
    for (;;) {
        const tmb_resampler_stage *stage = resampler->cascade[resampler->active];
        const tmb_resample_window window = {.samples = tmb_fifo_peek(&resampler->input),
                                            .count = resampler->input.count,
                                            .start = resampler->input_start,
                                            .complete = resampler->complete};
        const size_t before = resampler->output.count;
        tmb_error reason = {0};
        tmb_status status = stage->process(resampler->state, &window, &resampler->output, &reason);
        resampler->made += resampler->output.count - before;
        if (status == TMB_OK) {
            drop_inputs(resampler);
            return TMB_OK;
        }
        stage->destroy(resampler->state);
        resampler->state = NULL;
        if (resampler->active + 1 == resampler->cascade_count) {
            return tmb_fail(error, status, "resampling %d to %d Hz with %s: %s", resampler->input_rate,
                            resampler->output_rate, stage->name, reason.message);
        }
        tmb_log(resampler->logger, TMB_LOG_WARNING,
                "resampler %s failed after %llu samples (%s); %s goes on from there", stage->name,
                (unsigned long long)resampler->made, reason.message, resampler->cascade[resampler->active + 1]->name);
        status = start_stage(resampler, resampler->active + 1, error);
        if (status != TMB_OK) {
            return status;
        }
    }
}

/* Keeps a failure, so that every later call reports it too. */
static tmb_status remember(tmb_resampler *resampler, tmb_status status, tmb_error *reason, tmb_error *error) {
    if (status != TMB_OK) {
        resampler->failure = *reason;
        if (error != NULL) {
            *error = *reason;
        }
    }
    return status;
}

static tmb_status push_block(tmb_resampler *resampler, const float *samples, size_t count, tmb_error *error) {
    tmb_fifo *fifo = resampler->input_rate == resampler->output_rate ? &resampler->output : &resampler->input;
    if (!tmb_fifo_write(fifo, samples, count)) {
        return tmb_fail_memory(error, "audio to resample", count * sizeof(float));
    }
    resampler->taken += count;
    return fifo == &resampler->output ? TMB_OK : run(resampler, error);
}

tmb_status tmb_resampler_push(tmb_resampler *resampler, const float *samples, size_t count, tmb_error *error) {
    if (resampler->failure.status != TMB_OK) {
        return remember(resampler, resampler->failure.status, &resampler->failure, error);
    }
    if (resampler->complete) {
        return tmb_fail(error, TMB_ERROR_ARGUMENT, "the resampler was flushed: reset it before pushing more");
    }
    while (count > 0) {
        const size_t block = count < BLOCK ? count : BLOCK;
        tmb_error reason = {0};
        tmb_status status = push_block(resampler, samples, block, &reason);
        if (status != TMB_OK) {
            return remember(resampler, status, &reason, error);
        }
        samples += block;
        count -= block;
    }
    return TMB_OK;
}

size_t tmb_resampler_pull(tmb_resampler *resampler, float *out, size_t capacity) {
    return tmb_fifo_read(&resampler->output, out, capacity);
}

/* The stream is as long as tmb_resampler_output_length says, whatever a library made of its last sample. */
static tmb_status settle_length(tmb_resampler *resampler, tmb_error *error) {
    size_t up = 0;
    size_t down = 0;
    tmb_ratio(resampler->input_rate, resampler->output_rate, &up, &down);
    const bool rounds = resampler->cascade[resampler->active]->kind == TMB_RESAMPLER_SOXR;
    const uint64_t promised =
        rounds ? tmb_ratio_round(resampler->taken, up, down) : tmb_ratio_ceil(resampler->taken, up, down);
    while (resampler->made < promised) {
        static const float zeros[64];
        const uint64_t missing = promised - resampler->made;
        const size_t part = missing < sizeof zeros / sizeof zeros[0] ? (size_t)missing : sizeof zeros / sizeof zeros[0];
        if (!tmb_fifo_write(&resampler->output, zeros, part)) {
            return tmb_fail_memory(error, "resampled audio", part * sizeof(float));
        }
        resampler->made += part;
    }
    const uint64_t surplus = resampler->made - promised;
    const size_t dropped = surplus < resampler->output.count ? (size_t)surplus : resampler->output.count;
    resampler->output.count -= dropped;
    resampler->made -= dropped;
    return TMB_OK;
}

tmb_status tmb_resampler_flush(tmb_resampler *resampler, tmb_error *error) {
    if (resampler->failure.status != TMB_OK) {
        return remember(resampler, resampler->failure.status, &resampler->failure, error);
    }
    if (resampler->complete) {
        return TMB_OK;
    }
    resampler->complete = true;
    if (resampler->input_rate == resampler->output_rate) {
        return TMB_OK;
    }
    tmb_error reason = {0};
    tmb_status status = run(resampler, &reason);
    if (status == TMB_OK) {
        status = settle_length(resampler, &reason);
    }
    return remember(resampler, status, &reason, error);
}

tmb_status tmb_resampler_reset(tmb_resampler *resampler, tmb_error *error) {
    tmb_fifo_clear(&resampler->input);
    tmb_fifo_clear(&resampler->output);
    resampler->input_start = 0;
    resampler->taken = 0;
    resampler->made = 0;
    resampler->complete = false;
    resampler->failure = (tmb_error){0};
    if (resampler->input_rate == resampler->output_rate) {
        return TMB_OK;
    }
    resampler->cascade[resampler->active]->destroy(resampler->state);
    resampler->state = NULL;
    tmb_error reason = {0};
    return remember(resampler, start_stage(resampler, 0, &reason), &reason, error);
}

void tmb_resampler_destroy(tmb_resampler **resampler) {
    if (*resampler != NULL) {
        if ((*resampler)->state != NULL) {
            (*resampler)->cascade[(*resampler)->active]->destroy((*resampler)->state);
        }
        tmb_fifo_free(&(*resampler)->input);
        tmb_fifo_free(&(*resampler)->output);
        free(*resampler);
        *resampler = NULL;
    }
}

tmb_resampler_kind tmb_resampler_active(const tmb_resampler *resampler) {
    return resampler->cascade[resampler->active]->kind;
}

const char *tmb_resampler_name(const tmb_resampler *resampler) {
    return resampler->input_rate == resampler->output_rate ? "none" : resampler->cascade[resampler->active]->name;
}

size_t tmb_resampler_output_length(tmb_resampler_kind kind, int input_rate, int output_rate, size_t count) {
    size_t up = 0, down = 0;
    tmb_ratio(input_rate, output_rate, &up, &down);
    const bool rounds = kind == TMB_RESAMPLER_AUTO || kind == TMB_RESAMPLER_SOXR;
    return rounds ? tmb_ratio_round(count, up, down) : tmb_ratio_ceil(count, up, down);
}

tmb_status tmb_resample(const float *samples, size_t count, int input_rate, int output_rate, tmb_resampler_kind kind,
                        tmb_logger *logger, float **out, size_t *out_count, tmb_error *error) {
    *out = NULL;
    *out_count = 0;
    tmb_resampler *resampler = NULL;
    tmb_status status = tmb_resampler_create(input_rate, output_rate, kind, logger, &resampler, error);
    if (status != TMB_OK) {
        return status;
    }
    /* The output grows in place to the length that is known, and becomes the result. */
    const size_t length = tmb_resampler_output_length(TMB_RESAMPLER_POLYPHASE, input_rate, output_rate, count);
    if (tmb_fifo_reserve(&resampler->output, length + BLOCK < length ? SIZE_MAX : length + BLOCK) == NULL) {
        status =
            tmb_fail_memory(error, "resampled audio", length < SIZE_MAX / sizeof(float) ? length * sizeof(float) : 0);
    }
    if (status == TMB_OK) {
        status = tmb_resampler_push(resampler, samples, count, error);
    }
    if (status == TMB_OK) {
        status = tmb_resampler_flush(resampler, error);
    }
    if (status == TMB_OK) {
        *out = resampler->output.samples; /* nothing was pulled: it starts at 0 */
        *out_count = resampler->output.count;
        resampler->output = (tmb_fifo){0};
    }
    tmb_resampler_destroy(&resampler);
    return status;
}
