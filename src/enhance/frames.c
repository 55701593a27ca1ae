#include "enhance/frames.h"

#include <math.h>
#include <string.h>

static const double highpass_hz = 120;

double tmb_frames_decibel(double power) { return 10 * log10(power + 1e-20); }

static uint64_t end_of(const tmb_frames *frames, uint64_t frame) {
    return (frame + 1) * (uint64_t)frames->rate / TMB_FRAME_RATE;
}

void tmb_frames_start(tmb_frames *frames, int rate, int channels) {
    const double pi = 3.14159265358979323846;
    const double k = tan(pi * highpass_hz / rate);
    const double norm = 1 / (1 + sqrt(2) * k + k * k);
    memset(frames, 0, sizeof *frames);
    frames->rate = rate;
    frames->channels = channels;
    frames->b0 = norm;
    frames->b1 = -2 * norm;
    frames->b2 = norm;
    frames->a1 = 2 * (k * k - 1) * norm;
    frames->a2 = (1 - sqrt(2) * k + k * k) * norm;
    frames->end = end_of(frames, 0);
}

/* The median of the last frames; those before the first are silent. */
static double median_power(const tmb_frames *frames) {
    double sorted[TMB_FRAME_SMOOTH];
    for (size_t i = 0; i < TMB_FRAME_SMOOTH; i++) {
        size_t at = i;
        for (; at > 0 && sorted[at - 1] > frames->powers[i]; at--) {
            sorted[at] = sorted[at - 1];
        }
        sorted[at] = frames->powers[i];
    }
    return sorted[TMB_FRAME_SMOOTH / 2];
}

size_t tmb_frames_take(tmb_frames *frames, const float *samples, size_t count, bool *complete, double *power) {
    const size_t channels = (size_t)frames->channels;
    const size_t room = (size_t)(frames->end - frames->samples);
    const size_t taken = count < room ? count : room;
    for (size_t c = 0; c < channels; c++) {
        double first = frames->state[c][0];
        double second = frames->state[c][1];
        for (size_t i = 0; i < taken; i++) {
            const double x = (double)samples[i * channels + c];
            const double y = frames->b0 * x + first;
            first = frames->b1 * x - frames->a1 * y + second;
            second = frames->b2 * x - frames->a2 * y;
            frames->power += y * y;
        }
        frames->state[c][0] = first;
        frames->state[c][1] = second;
    }
    frames->samples += taken;
    *complete = frames->samples == frames->end;
    if (*complete) {
        const double values = (double)(frames->end - frames->begun) * (double)channels;
        frames->powers[frames->count % TMB_FRAME_SMOOTH] = frames->power / values;
        *power = median_power(frames);
        frames->power = 0;
        frames->count++;
        frames->begun = frames->end;
        frames->end = end_of(frames, frames->count);
    }
    return taken;
}
