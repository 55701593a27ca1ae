#include "test.h"

#include "clone_helper.h"

#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#define VOICES 128
#define VOICE_SAMPLES 12000

static atomic_int results;

void outcome_init(clone_outcome *outcome) {
    memset(outcome, 0, sizeof *outcome);
    (void)pthread_mutex_init(&outcome->lock, NULL);
    (void)pthread_cond_init(&outcome->changed, NULL);
    outcome->in_order = true;
}

tmb_clone_request clone_request(const char *text, int voice) {
    static float samples[VOICES][VOICE_SAMPLES];
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    (void)pthread_mutex_lock(&lock);
    if (samples[voice][1] == 0) {
        for (int i = 0; i < VOICE_SAMPLES; i++) {
            /* Four syllables a second: a steady tone is no reference. */
            const double syllables = 0.55 + 0.45 * sin(0.001 * i);
            samples[voice][i] = (float)(0.4 * syllables * sin(0.02 * i + 0.001 * i * voice));
        }
    }
    (void)pthread_mutex_unlock(&lock);
    tmb_clone_request request;
    tmb_clone_request_default(&request);
    request.text = text;
    request.ref_samples = samples[voice];
    request.ref_sample_count = VOICE_SAMPLES;
    request.ref_rate = 24000;
    request.run_pre_processing = false;
    request.run_post_processing = false;
    return request;
}

static void take_progress(void *user, uint64_t item, tmb_stage stage, double fraction) {
    clone_outcome *outcome = user;
    (void)item;
    (void)pthread_mutex_lock(&outcome->lock);
    outcome->after_result |= outcome->results != 0;
    outcome->went_back |= fraction < outcome->progress[stage];
    outcome->progress[stage] = fraction;
    (void)pthread_mutex_unlock(&outcome->lock);
}

static bool take_audio(void *user, uint64_t item, const float *samples, size_t count, int rate) {
    clone_outcome *outcome = user;
    (void)item;
    (void)rate;
    (void)pthread_mutex_lock(&outcome->lock);
    outcome->after_result |= outcome->results != 0;
    if (outcome->heard == 0) {
        outcome->first = samples[0];
    }
    outcome->in_order &= outcome->heard == 0 || samples[0] >= outcome->last;
    outcome->last = samples[count - 1];
    outcome->heard += count;
    (void)pthread_cond_broadcast(&outcome->changed);
    while (outcome->audio_blocks) {
        (void)pthread_cond_wait(&outcome->changed, &outcome->lock);
    }
    bool go_on = outcome->cancel_after == 0 || outcome->heard < outcome->cancel_after;
    (void)pthread_mutex_unlock(&outcome->lock);
    return go_on;
}

static void take_result(void *user, const tmb_clone_result *result) {
    clone_outcome *outcome = user;
    (void)pthread_mutex_lock(&outcome->lock);
    outcome->results++;
    outcome->order = atomic_fetch_add(&results, 1);
    outcome->error = result->error;
    outcome->sample_count = result->sample_count;
    outcome->clean_count = result->reference_clean_count;
    if (result->sample_count != 0) {
        outcome->result_first = result->samples[0];
        outcome->result_last = result->samples[result->sample_count - 1];
    }
    outcome->rate = result->sample_rate;
    outcome->duration = result->duration;
    memcpy(outcome->timings, result->timings, sizeof outcome->timings);
    outcome->total = result->total;
    outcome->first_audio = result->first_audio;
    (void)snprintf(outcome->finish, sizeof outcome->finish, "%s",
                   result->finish_reason != NULL ? result->finish_reason : "");
    (void)snprintf(outcome->engine, sizeof outcome->engine, "%s", result->engine != NULL ? result->engine : "");
    (void)snprintf(outcome->model, sizeof outcome->model, "%s", result->model != NULL ? result->model : "");
    (void)snprintf(outcome->custom_id, sizeof outcome->custom_id, "%s",
                   result->custom_id != NULL ? result->custom_id : "");
    outcome->is_clone = result->is_clone;
    outcome->seed = result->seed;
    outcome->last_code = result->codes != NULL ? result->codes[result->code_frames * result->code_books - 1] : 0;
    outcome->segments = result->segment_count;
    if (result->segment_count != 0) {
        (void)snprintf(outcome->segment, sizeof outcome->segment, "%s", result->segments[0].text);
    }
    (void)pthread_cond_broadcast(&outcome->changed);
    (void)pthread_mutex_unlock(&outcome->lock);
}

tmb_status clone_submit(tmb_context *context, const tmb_clone_request *request, clone_outcome *outcome,
                        tmb_error *error) {
    tmb_clone_callbacks callbacks = {.user = outcome, .result = take_result};
    if (outcome->want_audio) {
        callbacks.audio = take_audio;
    }
    if (outcome->want_progress) {
        callbacks.progress = take_progress;
    }
    return tmb_clone_submit(context, request, &callbacks, &outcome->item, error);
}

void outcome_wait(clone_outcome *outcome) {
    (void)pthread_mutex_lock(&outcome->lock);
    while (outcome->results == 0) {
        (void)pthread_cond_wait(&outcome->changed, &outcome->lock);
    }
    (void)pthread_mutex_unlock(&outcome->lock);
}

void outcome_wait_heard(clone_outcome *outcome, size_t samples) {
    (void)pthread_mutex_lock(&outcome->lock);
    while (outcome->heard < samples) {
        (void)pthread_cond_wait(&outcome->changed, &outcome->lock);
    }
    (void)pthread_mutex_unlock(&outcome->lock);
}

void outcome_let_go(clone_outcome *outcome) {
    (void)pthread_mutex_lock(&outcome->lock);
    outcome->audio_blocks = false;
    (void)pthread_cond_broadcast(&outcome->changed);
    (void)pthread_mutex_unlock(&outcome->lock);
}

size_t outcome_heard(clone_outcome *outcome) {
    (void)pthread_mutex_lock(&outcome->lock);
    size_t heard = outcome->heard;
    (void)pthread_mutex_unlock(&outcome->lock);
    return heard;
}

int outcome_results(clone_outcome *outcome) {
    (void)pthread_mutex_lock(&outcome->lock);
    int count = outcome->results;
    (void)pthread_mutex_unlock(&outcome->lock);
    return count;
}

void submit(tmb_context *context, const tmb_clone_request *request, clone_outcome *outcome) {
    tmb_error error = {0};
    assert_ok(clone_submit(context, request, outcome, &error), error);
}

void assert_success(clone_outcome *outcome) {
    outcome_wait(outcome);
    if (outcome->error.status != TMB_OK) {
        fail_msg("item %llu: %s", (unsigned long long)outcome->item, outcome->error.message);
    }
    assert_false(outcome->after_result);
}

void assert_failure(clone_outcome *outcome, tmb_status status) {
    outcome_wait(outcome);
    if (outcome->error.status != status) {
        fail_msg("item %llu: %s instead of %s: %s", (unsigned long long)outcome->item,
                 tmb_status_name(outcome->error.status), tmb_status_name(status), outcome->error.message);
    }
    assert_true(status == TMB_OK || outcome->error.message[0] != '\0');
    assert_false(outcome->after_result);
}
