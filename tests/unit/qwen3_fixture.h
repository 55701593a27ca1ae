/* The whole engine over the small checkpoints: opening, speaking, comparing with goldens. */
#ifndef QWEN3_FIXTURE_H
#define QWEN3_FIXTURE_H

#include "tts/qwen3/qwen3.h"

#define MOST_ITEMS 8

/* What became of one utterance. */
typedef struct outcome {
    uint64_t sequence;
    float *audio;
    size_t count, events, first_event;
    int16_t *codes;
    size_t frames, books;
    bool finished, failed, instruct_dropped;
    tmb_finish_reason reason;
    tmb_segment segments[16];
    size_t segment_count;
    tmb_error error;
} outcome;

typedef struct outcomes {
    outcome items[MOST_ITEMS];
    size_t count;
} outcomes;

void take_event(void *user, const tmb_engine_event *event);
void free_outcomes(outcomes *all);
/* Steps until nothing is live. */
void run_engine(tmb_engine *engine, outcomes *all);

tmb_engine *open_with(const char *model, const char *precision, int threads);
/* The same on a device; NULL: as the environment says. */
tmb_engine *open_on(const char *model, const char *precision, int threads, const char *device);
tmb_voice *voice_of(tmb_engine *engine, const char *file, const char *text, bool x_vector_only);
/* Admits a request as the next of `all`. */
void add_request(tmb_engine *engine, outcomes *all, const tmb_speak_request *request, tmb_voice *voice);

/* Speaks a golden case's items together: greedily as the case was made, or sampled with *seed, *seed + 1 and so on.
 * Returns how many. */
size_t speak_case(tmb_engine *engine, const char *model, const char *name, const uint64_t *seed, outcomes *all);

/* The golden cases of a model in f32: codes, waveforms, together and alone. */
void check_cases(const char *model, const char *const *cases, size_t count, int threads);

#endif
