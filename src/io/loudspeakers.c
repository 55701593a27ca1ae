/* Vorbis I specification, 4.3.9; RFC 7845, 5.1.1.2: up to eight channels in the same order. */
#include "io/loudspeakers.h"

#include <stdbool.h>
#include <string.h>

#define MOST 8

static const struct {
    uint32_t mask;
    uint8_t place[MOST]; /* of WAV's channels in Vorbis' order */
} orders[MOST + 1] = {
    [3] = {0x007, {0, 2, 1}},          [4] = {0x033, {0, 1, 2, 3}},          [5] = {0x037, {0, 2, 1, 3, 4}},
    [6] = {0x03f, {0, 2, 1, 5, 3, 4}}, [7] = {0x70f, {0, 2, 1, 6, 5, 3, 4}}, [8] = {0x63f, {0, 2, 1, 7, 5, 6, 3, 4}},
};

/* One and two channels are the same everywhere; of more than eight nothing is said. */
static bool is_surround(int channels) { return channels > 2 && channels <= MOST; }

uint32_t tmb_vorbis_mask(int channels) { return is_surround(channels) ? orders[channels].mask : 0; }

static void permute(float *samples, size_t count, int channels, bool to_wave) {
    if (!is_surround(channels)) {
        return;
    }
    const size_t width = (size_t)channels;
    const uint8_t *place = orders[channels].place;
    for (float *frame = samples; frame < samples + count * width; frame += width) {
        float before[MOST];
        memcpy(before, frame, width * sizeof(float));
        for (size_t c = 0; c < width; c++) {
            frame[to_wave ? c : place[c]] = before[to_wave ? place[c] : c];
        }
    }
}

void tmb_vorbis_to_wave(float *samples, size_t count, int channels) { permute(samples, count, channels, true); }

void tmb_wave_to_vorbis(float *samples, size_t count, int channels) { permute(samples, count, channels, false); }
