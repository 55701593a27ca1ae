/* Submitting items and keeping what came back. */
#ifndef TMB_TESTS_CLONE_HELPER_H
#define TMB_TESTS_CLONE_HELPER_H

#include "timbre/timbre.h"

#include <pthread.h>

typedef struct clone_outcome {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    /* What the test sets before it submits. */
    bool audio_blocks;   /* the audio callback waits until it is let go */
    size_t cancel_after; /* samples after which it returns false; 0 = never */
    bool want_audio, want_progress;
    /* What came. */
    uint64_t item;
    int results;
    tmb_error error;
    size_t heard;      /* samples by the audio callback */
    float first, last; /* of them */
    bool in_order;     /* fake engine: frames came one after the other */
    bool after_result; /* a callback came after the result */
    size_t sample_count, clean_count;
    float result_first, result_last;
    int rate;
    double duration;
    double timings[TMB_STAGE_COUNT], total, first_audio;
    double progress[TMB_STAGE_COUNT];
    bool went_back;
    char finish[16], engine[16], model[64], custom_id[16];
    bool is_clone;
    uint64_t seed;
    int16_t last_code;
    size_t segments;
    char segment[16]; /* the first one's text */
    int order;        /* the how many-th result of all */
} clone_outcome;

void outcome_init(clone_outcome *outcome);

/* 0.2 s of a tone at 24 kHz that depends on `voice`; static storage. */
tmb_clone_request clone_request(const char *text, int voice);

tmb_status clone_submit(tmb_context *context, const tmb_clone_request *request, clone_outcome *outcome,
                        tmb_error *error);

/* It must be taken; it must succeed; it must fail so, with a message. The last two wait for the result. */
void submit(tmb_context *context, const tmb_clone_request *request, clone_outcome *outcome);
void assert_success(clone_outcome *outcome);
void assert_failure(clone_outcome *outcome, tmb_status status);

/* Waits for the result, or until so many samples were heard. */
void outcome_wait(clone_outcome *outcome);
void outcome_wait_heard(clone_outcome *outcome, size_t samples);
void outcome_let_go(clone_outcome *outcome);
size_t outcome_heard(clone_outcome *outcome);
int outcome_results(clone_outcome *outcome);

#endif
