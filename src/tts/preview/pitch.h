/* The fundamental frequency of a voice. */
#ifndef TMB_TTS_PREVIEW_PITCH_H
#define TMB_TTS_PREVIEW_PITCH_H

#include "timbre/timbre.h"

typedef struct tmb_pitch {
    double median;    /* Hz; 0 if nothing was voiced */
    double semitones; /* from the tenth to the ninetieth percentile */
    size_t voiced;    /* frames of 10 ms that were voiced */
} tmb_pitch;

/* The pitch of mono samples at `rate` Hz, the first minute of them: the cumulative mean normalized difference of
 * YIN (de Cheveigné and Kawahara, 2002, steps 2 to 5) from 60 to 500 Hz, and percentiles over the
 * voiced frames. TMB_ERROR_MEMORY. */
tmb_status tmb_pitch_measure(const float *samples, size_t count, int rate, tmb_pitch *out, tmb_error *error);

#endif
