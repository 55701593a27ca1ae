/* The two filters of the polyphase engine, designed in double precision. */
#ifndef TMB_RESAMPLE_FIR_DESIGN_H
#define TMB_RESAMPLE_FIR_DESIGN_H

#include "timbre/timbre.h"

/* Larger reduced ratios are refused: their filters would take hundreds of megabytes. */
#define TMB_FIR_MAX_RATIO 192000

/* A symmetric prototype h[-centre..centre] on the common grid of both rates: output j of the ratio
 * up / down is the sum over i of x[i] h[j * down - i * up]. */
typedef struct tmb_fir_design {
    size_t up, down; /* reduced */
    size_t centre;
    double *half; /* h[0..centre], owned */
} tmb_fir_design;

/* As scipy.signal.resample_poly with its default window ('kaiser', 5.0). */
tmb_status tmb_fir_design_polyphase(size_t up, size_t down, tmb_fir_design *design, tmb_error *error);

/* As torchaudio.functional.resample with its defaults (width 6, rolloff 0.99, Hann), which computes
 * its kernel in the waveform's type; this one is nearer to the formula. */
tmb_status tmb_fir_design_sinc(size_t up, size_t down, tmb_fir_design *design, tmb_error *error);

void tmb_fir_design_free(tmb_fir_design *design);

/* `centre` alone. */
size_t tmb_fir_centre_polyphase(size_t up, size_t down);
size_t tmb_fir_centre_sinc(size_t up, size_t down);

#endif
