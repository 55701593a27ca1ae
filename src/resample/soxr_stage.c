/* libsoxr with its very-high-quality recipe, one thread, float in and out. */
#include "base/error.h"
#include "base/memory.h"
#include "resample/ratio.h"
#include "resample/stage.h"

#include <soxr.h>
#include <stdlib.h>

/* Two to three times as fast as one large call: what a call touches stays in the cache. */
#define BLOCK 4096

/* More than its buffers grow in a call. After some calls they have their sizes, but for the end. */
#define GROWTH ((size_t)1 << 20)
#define GROWING_CALLS 64

typedef struct soxr_state {
    soxr_t soxr;
    size_t up, down;   /* the rates' ratio */
    uint64_t consumed; /* inputs given to it */
    unsigned calls;    /* up to GROWING_CALLS */
    bool finished;     /* it was told the end and gave the rest */
} soxr_state;

static void destroy(void *pointer) {
    soxr_state *state = pointer;
    if (state != NULL) {
        soxr_delete(state->soxr);
        free(state);
    }
}

static tmb_status create(int input_rate, int output_rate, uint64_t first_output, void **out, tmb_error *error) {
    if (first_output != 0) {
        return tmb_fail(error, TMB_ERROR_UNSUPPORTED, "soxr cannot begin in the middle of a stream");
    }
    soxr_state *state = tmb_calloc(1, sizeof *state);
    if (state == NULL) {
        return tmb_fail_memory(error, "a resampler", sizeof *state);
    }
    const soxr_io_spec_t samples = soxr_io_spec(SOXR_FLOAT32_I, SOXR_FLOAT32_I);
    const soxr_quality_spec_t quality = soxr_quality_spec(SOXR_VHQ, 0);
    const soxr_runtime_spec_t runtime = soxr_runtime_spec(1);
    soxr_error_t reason = NULL;
    tmb_ratio(input_rate, output_rate, &state->up, &state->down);
    state->soxr = soxr_create((double)input_rate, (double)output_rate, 1, &reason, &samples, &quality, &runtime);
    if (state->soxr == NULL || reason != NULL) {
        destroy(state);
        return tmb_fail(error, TMB_ERROR_UNSUPPORTED, "libsoxr: %s", reason != NULL ? reason : "cannot be created");
    }
    *out = state;
    return TMB_OK;
}

/* Gives `count` inputs (NULL: the end) and appends what comes out. */
static tmb_status feed(soxr_state *state, const float *samples, size_t count, tmb_fifo *out, tmb_error *error) {
    for (;;) {
        float *room = tmb_fifo_reserve(out, BLOCK);
        const bool grows = samples == NULL || state->calls < GROWING_CALLS;
        state->calls += state->calls < GROWING_CALLS;
        if (room == NULL || (grows && !tmb_memory_is_free(GROWTH))) {
            return tmb_fail_memory(error, "resampled audio", BLOCK * sizeof(float));
        }
        size_t taken = 0;
        size_t made = 0;
        const soxr_error_t reason = soxr_process(state->soxr, samples, count, &taken, room, BLOCK, &made);
        if (reason != NULL) {
            return tmb_fail(error, TMB_ERROR_INTERNAL, "libsoxr: %s", reason);
        }
        tmb_fifo_commit(out, made);
        if (samples == NULL) {
            if (made == 0) {
                return TMB_OK;
            }
            continue;
        }
        state->consumed += taken;
        samples += taken;
        count -= taken;
        if (count == 0 && made < BLOCK) {
            return TMB_OK;
        }
    }
}

static tmb_status process(void *pointer, const tmb_resample_window *window, tmb_fifo *out, tmb_error *error) {
    soxr_state *state = pointer;
    size_t place = (size_t)(state->consumed - window->start);
    while (place < window->count) {
        const size_t count = window->count - place < BLOCK ? window->count - place : BLOCK;
        tmb_status status = feed(state, window->samples + place, count, out, error);
        if (status != TMB_OK) {
            return status;
        }
        place += count;
    }
    if (window->complete && !state->finished) {
        state->finished = true;
        /* Exactly between two lengths libsoxr takes now the one and now the other. A zero more settles it, and what
         * that makes too much is dropped by who asked. */
        const unsigned __int128 exact = (unsigned __int128)state->consumed * state->up * 2;
        if (exact % ((unsigned __int128)state->down * 2) == state->down) {
            const uint64_t consumed = state->consumed;
            const float zero = 0;
            tmb_status status = feed(state, &zero, 1, out, error);
            state->consumed = consumed;
            if (status != TMB_OK) {
                return status;
            }
        }
        return feed(state, NULL, 0, out, error);
    }
    return TMB_OK;
}

static uint64_t needed(const void *pointer) { return ((const soxr_state *)pointer)->consumed; }

static uint64_t needed_from(int input_rate, int output_rate, uint64_t first_output) {
    (void)input_rate;
    (void)output_rate;
    (void)first_output;
    return UINT64_MAX; /* it never takes over */
}

const tmb_resampler_stage tmb_stage_soxr = {
    .kind = TMB_RESAMPLER_SOXR,
    .name = "soxr",
    .create = create,
    .process = process,
    .needed = needed,
    .needed_from = needed_from,
    .destroy = destroy,
};
