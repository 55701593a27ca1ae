/* The events of an engine that is handed its speech as 16-bit PCM from outside: a child process, a server. */
#ifndef TMB_TTS_EVENTS_H
#define TMB_TTS_EVENTS_H

#include "tts/engine.h"

/* Who hears of a step. */
typedef struct tmb_event_sink {
    tmb_engine_sink send;
    void *user;
} tmb_event_sink;

/* How far a sequence is. */
typedef struct tmb_speech_length {
    uint64_t spoken, most, expected; /* samples */
    int rate;
} tmb_speech_length;

tmb_speech_length tmb_speech_begin(const char *text, double most_seconds, int rate);

/* The sequence has to be over before these say so: the listener may admit another in its place. */
void tmb_emit_failed(const tmb_event_sink *sink, uint64_t sequence, const tmb_error *error);
void tmb_emit_finished(const tmb_event_sink *sink, uint64_t sequence, tmb_finish_reason reason);

/* Hands on `count` samples of little-endian mono PCM, converted in `samples` [count], but no more than `most` in all;
 * false if that cut something off. Without a sample to hand on there is no event. */
bool tmb_emit_pcm(const tmb_event_sink *sink, uint64_t sequence, tmb_speech_length *length, const unsigned char *pcm,
                  size_t count, float *samples);

#endif
