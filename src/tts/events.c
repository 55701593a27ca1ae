#include "tts/events.h"

/* Frames of 80 ms, as progress counts them. */
#define FRAMES_IN_2_SECONDS 25

tmb_speech_length tmb_speech_begin(const char *text, double most_seconds, int rate) {
    return (tmb_speech_length){
        .most = (uint64_t)(most_seconds * rate),
        .expected = (uint64_t)(tmb_expected_seconds(text) * rate),
        .rate = rate,
    };
}

void tmb_emit_failed(const tmb_event_sink *sink, uint64_t sequence, const tmb_error *error) {
    tmb_engine_event event = {.kind = TMB_ENGINE_FAILED, .sequence = sequence, .error = *error};
    sink->send(sink->user, &event);
}

void tmb_emit_finished(const tmb_event_sink *sink, uint64_t sequence, tmb_finish_reason reason) {
    tmb_engine_event event = {
        .kind = TMB_ENGINE_FINISHED, .sequence = sequence, .finish_reason = reason, .progress = 1};
    sink->send(sink->user, &event);
}

bool tmb_emit_pcm(const tmb_event_sink *sink, uint64_t sequence, tmb_speech_length *length, const unsigned char *pcm,
                  size_t count, float *samples) {
    uint64_t left = length->most - length->spoken;
    bool too_long = count > left;
    if (too_long) {
        count = (size_t)left;
    }
    if (count == 0) {
        return !too_long;
    }
    for (size_t i = 0; i < count; i++) {
        samples[i] = (float)(int16_t)(pcm[2 * i] | pcm[2 * i + 1] << 8) / 32768.0f;
    }
    length->spoken += count;
    /* The text's length is a guess: never 1 before the end. */
    double progress = (double)length->spoken / (double)length->expected;
    tmb_engine_event event = {
        .kind = TMB_ENGINE_AUDIO,
        .sequence = sequence,
        .samples = samples,
        .sample_count = count,
        .frames_done = (size_t)(length->spoken * FRAMES_IN_2_SECONDS / 2 / (uint64_t)length->rate),
        .progress = progress < 0.95 ? progress : 0.95,
    };
    sink->send(sink->user, &event);
    return !too_long;
}
