/* The power of a recording in frames of 10 ms: what the level and the judgement of a reference are made of.
 *
 * It is taken above 120 Hz, so that an offset or a hum's fundamental does not count, and is the median of five frames,
 * in which a click has no part. */
#ifndef TMB_ENHANCE_FRAMES_H
#define TMB_ENHANCE_FRAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Frames a second. */
#define TMB_FRAME_RATE 100
/* Frames of the median. Odd. */
#define TMB_FRAME_SMOOTH 5
#define TMB_FRAME_CHANNELS 64

typedef struct tmb_frames {
    int rate, channels;
    double b0, b1, b2, a1, a2; /* a Butterworth high pass of second order, transposed */
    double state[TMB_FRAME_CHANNELS][2];
    uint64_t samples, begun, end; /* per channel: so far; the frame's first; where it ends */
    double power;                 /* sum of the frame's squares */
    uint64_t count;               /* frames so far */
    double powers[TMB_FRAME_SMOOTH];
} tmb_frames;

/* `rate` 4000 to 192000 Hz, 1 to TMB_FRAME_CHANNELS channels. Also for the next recording. */
void tmb_frames_start(tmb_frames *frames, int rate, int channels);

/* Takes samples (interleaved, finite, `count` per channel) until a frame is complete or there are no more; returns how
 * many per channel. *complete: *power is the new frame's, the mean over the channels. */
size_t tmb_frames_take(tmb_frames *frames, const float *samples, size_t count, bool *complete, double *power);

/* 10 log10, finite for silence too. */
double tmb_frames_decibel(double power);

#endif
