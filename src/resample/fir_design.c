#include "resample/fir_design.h"

#include "base/error.h"
#include "base/memory.h"

#include <math.h>
#include <stdlib.h>

/* scipy: half the length of the filter, in periods of the lower rate. */
#define POLYPHASE_HALF_LENGTH 10
#define KAISER_BETA 5.0
/* torchaudio: zero crossings on either side, and how far below Nyquist the cut-off lies. */
#define SINC_WIDTH 6.0
#define SINC_ROLLOFF 0.99

static double sinc(double x) { return x == 0 ? 1 : sin(M_PI * x) / (M_PI * x); }

/* The modified Bessel function of order 0 by its series; x is small here. */
static double bessel_i0(double x) {
    const double quarter = x * x / 4;
    double term = 1;
    double sum = 1;
    for (int k = 1; term > sum * 1e-18; k++) {
        term *= quarter / ((double)k * (double)k);
        sum += term;
    }
    return sum;
}

size_t tmb_fir_centre_polyphase(size_t up, size_t down) { return POLYPHASE_HALF_LENGTH * (up > down ? up : down); }

/* Input samples within six zero crossings of the sinc, times `up`: 6 * up * down / (0.99 * min). */
size_t tmb_fir_centre_sinc(size_t up, size_t down) {
    return (size_t)ceil(SINC_WIDTH * (double)(up > down ? up : down) / SINC_ROLLOFF);
}

static tmb_status allocate(size_t up, size_t down, size_t centre, tmb_fir_design *design, tmb_error *error) {
    *design = (tmb_fir_design){.up = up, .down = down, .centre = centre};
    design->half = tmb_calloc(centre + 1, sizeof(double));
    return design->half != NULL ? TMB_OK : tmb_fail_memory(error, "a resampling filter", (centre + 1) * sizeof(double));
}

tmb_status tmb_fir_design_polyphase(size_t up, size_t down, tmb_fir_design *design, tmb_error *error) {
    const size_t centre = tmb_fir_centre_polyphase(up, down);
    tmb_status status = allocate(up, down, centre, design, error);
    if (status != TMB_OK) {
        return status;
    }
    const double lower = (double)(up > down ? up : down);
    double sum = 0;
    for (size_t n = 0; n <= centre; n++) {
        const double place = (double)n / (double)centre;
        const double window = bessel_i0(KAISER_BETA * sqrt(1 - place * place)) / bessel_i0(KAISER_BETA);
        design->half[n] = sinc((double)n / lower) / lower * window;
        sum += n == 0 ? design->half[n] : 2 * design->half[n];
    }
    /* Unit gain at DC, and the energy that the zeros between the samples took. */
    for (size_t n = 0; n <= centre; n++) {
        design->half[n] *= (double)up / sum;
    }
    return TMB_OK;
}

tmb_status tmb_fir_design_sinc(size_t up, size_t down, tmb_fir_design *design, tmb_error *error) {
    tmb_status status = allocate(up, down, tmb_fir_centre_sinc(up, down), design, error);
    if (status != TMB_OK) {
        return status;
    }
    const double base = SINC_ROLLOFF * (double)(up < down ? up : down);
    const double grid = (double)up * (double)down;
    for (size_t n = 0; n <= design->centre; n++) {
        const double crossing = base * (double)n / grid;
        const double window = crossing < SINC_WIDTH ? cos(M_PI * crossing / (2 * SINC_WIDTH)) : 0;
        design->half[n] = base / (double)down * window * window * sinc(crossing);
    }
    return TMB_OK;
}

void tmb_fir_design_free(tmb_fir_design *design) {
    free(design->half);
    design->half = NULL;
}
