/* Polyphase and windowed sinc: one engine, two designs.
 *
 * With c = centre of the prototype and t = j * down + c, output j is the sum over the inputs i from
 * floor(t / up) - (taps - 1) to floor(t / up) of x[i] h[t - i * up]. t mod up picks the row of the bank.
 * Rows are padded with zeros to whole vectors, and an output waits for its padded window: so its value
 * is computed from the same numbers in the same order however the input was cut.
 */
#include "base/error.h"
#include "base/memory.h"
#include "cpu/cpu.h"
#include "kernels/fir.h"
#include "resample/fir_design.h"
#include "resample/ratio.h"
#include "resample/stage.h"

#include <stdlib.h>
#include <string.h>

/* Outputs in one call of the kernel. */
#define BLOCK 4096

typedef struct fir_state {
    tmb_fir_kernels kernels;
    tmb_fir_bank bank;
    float *taps; /* the bank's, owned */
    float *edge; /* [bank.length] a window that pokes out of the stream */
    size_t up, down, centre;
    size_t row;    /* taps in a row without padding */
    uint64_t next; /* the output that comes next */
} fir_state;

static void destroy(void *pointer) {
    fir_state *state = pointer;
    if (state != NULL) {
        free(state->taps);
        free(state->edge);
        free(state);
    }
}

/* The row of phase p: h[p + (row - 1 - k) * up - c] for k = 0 .. row - 1. */
static tmb_status build_bank(fir_state *state, const tmb_fir_design *design, tmb_error *error) {
    const size_t up = design->up;
    state->up = up;
    state->down = design->down;
    state->centre = design->centre;
    state->row = 2 * design->centre / up + 1;
    const size_t length = (state->row + TMB_FIR_UNIT - 1) / TMB_FIR_UNIT * TMB_FIR_UNIT;
    state->taps = tmb_alloc_aligned(up * length, sizeof(float)); /* both are bounded by TMB_FIR_MAX_RATIO */
    state->edge = tmb_alloc_aligned(length, sizeof(float));
    if (state->taps == NULL || state->edge == NULL) {
        return tmb_fail_memory(error, "a resampling filter", up * length * sizeof(float));
    }
    for (size_t phase = 0; phase < up; phase++) {
        for (size_t k = 0; k < state->row; k++) {
            const size_t index = phase + (state->row - 1 - k) * up;
            if (index <= 2 * design->centre) {
                const size_t distance = index > design->centre ? index - design->centre : design->centre - index;
                state->taps[phase * length + k] = (float)design->half[distance];
            }
        }
    }
    state->bank = (tmb_fir_bank){.taps = state->taps,
                                 .phases = up,
                                 .length = length,
                                 .advance = state->down / up,
                                 .phase_step = state->down % up};
    return TMB_OK;
}

typedef tmb_status (*design_function)(size_t up, size_t down, tmb_fir_design *design, tmb_error *error);

static tmb_status create(design_function make_design, int input_rate, int output_rate, uint64_t first_output,
                         void **out, tmb_error *error) {
    size_t up = 0, down = 0;
    tmb_ratio(input_rate, output_rate, &up, &down);
    if (up > TMB_FIR_MAX_RATIO || down > TMB_FIR_MAX_RATIO) {
        return tmb_fail(error, TMB_ERROR_UNSUPPORTED, "the ratio %zu/%zu needs too large a filter (at most %d)", up,
                        down, TMB_FIR_MAX_RATIO);
    }
    fir_state *state = tmb_calloc(1, sizeof *state);
    if (state == NULL) {
        return tmb_fail_memory(error, "a resampler", sizeof *state);
    }
    tmb_fir_design design;
    tmb_status status = make_design(up, down, &design, error);
    if (status == TMB_OK) {
        status = build_bank(state, &design, error);
    }
    tmb_fir_design_free(&design);
    if (status != TMB_OK) {
        destroy(state);
        return status;
    }
    tmb_fir_kernels_init(&state->kernels, tmb_cpu_flags());
    state->next = first_output;
    *out = state;
    return TMB_OK;
}

static tmb_status create_polyphase(int input_rate, int output_rate, uint64_t first_output, void **out,
                                   tmb_error *error) {
    return create(tmb_fir_design_polyphase, input_rate, output_rate, first_output, out, error);
}

static tmb_status create_sinc(int input_rate, int output_rate, uint64_t first_output, void **out, tmb_error *error) {
    return create(tmb_fir_design_sinc, input_rate, output_rate, first_output, out, error);
}

/* The first input of the next output's window; negative near the stream's start. */
static int64_t window_start(const fir_state *state) {
    const uint64_t time = state->next * state->down + state->centre;
    return (int64_t)(time / state->up) - (int64_t)(state->row - 1);
}

static uint64_t needed(const void *pointer) {
    const int64_t start = window_start(pointer);
    return start > 0 ? (uint64_t)start : 0;
}

static uint64_t needed_from(size_t up, size_t down, size_t centre, uint64_t first_output) {
    const uint64_t last = (first_output * down + centre) / up;
    const uint64_t row = 2 * centre / up;
    return last > row ? last - row : 0;
}

static uint64_t needed_from_polyphase(int input_rate, int output_rate, uint64_t first_output) {
    size_t up = 0, down = 0;
    tmb_ratio(input_rate, output_rate, &up, &down);
    return needed_from(up, down, tmb_fir_centre_polyphase(up, down), first_output);
}

static uint64_t needed_from_sinc(int input_rate, int output_rate, uint64_t first_output) {
    size_t up = 0, down = 0;
    tmb_ratio(input_rate, output_rate, &up, &down);
    return needed_from(up, down, tmb_fir_centre_sinc(up, down), first_output);
}

static size_t current_phase(const fir_state *state) { return (state->next * state->down + state->centre) % state->up; }

/* One output whose window pokes out of the stream: from a copy with the zeros written out. */
static void make_edge(fir_state *state, const tmb_resample_window *window, float *out) {
    const int64_t start = window_start(state) - (int64_t)window->start;
    for (size_t k = 0; k < state->bank.length; k++) {
        const int64_t place = start + (int64_t)k;
        state->edge[k] = place >= 0 && place < (int64_t)window->count ? window->samples[place] : 0;
    }
    state->kernels.polyphase(out, 1, state->edge, &state->bank, current_phase(state));
}

static tmb_status process(void *pointer, const tmb_resample_window *window, tmb_fifo *out, tmb_error *error) {
    fir_state *state = pointer;
    const uint64_t end = window->start + window->count;
    const uint64_t total = window->complete ? tmb_ratio_ceil(end, state->up, state->down) : UINT64_MAX;
    const int64_t length = (int64_t)state->bank.length;
    while (state->next < total) {
        const int64_t start = window_start(state);
        const bool inside = start + length <= (int64_t)end;
        if (!inside && !window->complete) {
            break;
        }
        uint64_t count = 1;
        if (inside && start >= 0) {
            /* The last output whose window ends by `end`: its t is below (end - length + row) * up. */
            const uint64_t last_time = (end - (uint64_t)length + state->row) * state->up - 1;
            count = (last_time - state->centre) / state->down - state->next + 1;
            count = count < total - state->next ? count : total - state->next;
            count = count < BLOCK ? count : BLOCK;
        }
        float *samples = tmb_fifo_reserve(out, (size_t)count);
        if (samples == NULL) {
            return tmb_fail_memory(error, "resampled audio", (size_t)count * sizeof(float));
        }
        if (inside && start >= 0) {
            state->kernels.polyphase(samples, (size_t)count, window->samples + ((uint64_t)start - window->start),
                                     &state->bank, current_phase(state));
        } else {
            make_edge(state, window, samples);
        }
        tmb_fifo_commit(out, (size_t)count);
        state->next += count;
    }
    return TMB_OK;
}

const tmb_resampler_stage tmb_stage_polyphase = {
    .kind = TMB_RESAMPLER_POLYPHASE,
    .name = "polyphase",
    .create = create_polyphase,
    .process = process,
    .needed = needed,
    .needed_from = needed_from_polyphase,
    .destroy = destroy,
};

const tmb_resampler_stage tmb_stage_sinc = {
    .kind = TMB_RESAMPLER_SINC,
    .name = "sinc",
    .create = create_sinc,
    .process = process,
    .needed = needed,
    .needed_from = needed_from_sinc,
    .destroy = destroy,
};
