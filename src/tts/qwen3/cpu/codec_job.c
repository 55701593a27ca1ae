#include "tts/qwen3/cpu/codec_job.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/thread.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define FRAMES_WITH_CONTEXT (TMB_DECODE_FRAMES + TMB_DECODE_CONTEXT)

/* Frames that go through the network at once. */
#define WORKSPACE_FRAMES 16

typedef enum job_state { JOB_IDLE, JOB_RUNNING, JOB_DONE } job_state;

typedef struct job_piece {
    void *owner;
    tmb_codec_state *state;
    bool restarts;
    size_t context_frames, frames;
    int16_t *codes; /* of both */
    float *samples;
} job_piece;

struct tmb_codec_job {
    size_t capacity, count;
    size_t books, samples_per_frame;
    job_piece *pieces;
    tmb_codec_piece *arguments; /* [capacity] */
    int16_t *codes;             /* [capacity, FRAMES_WITH_CONTEXT, books] */
    float *samples;             /* [capacity, TMB_DECODE_FRAMES * samples_per_frame] */
    tmb_codec_workspace *workspace;
    tmb_team *own_team;
    double seconds; /* and frames, for the log */
    size_t frames;
    tmb_status status;
    tmb_error error;
    bool threaded, closing;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    job_state state; /* under the lock if there is a thread */
};

static void run(tmb_codec_job *job) {
    for (size_t i = 0; i < job->count; i++) {
        const job_piece *piece = &job->pieces[i];
        if (piece->restarts) {
            tmb_codec_state_reset(piece->state);
        }
        job->arguments[i] = (tmb_codec_piece){piece->state, piece->codes, piece->context_frames, NULL};
    }
    job->status = tmb_codec_decode(job->workspace, job->arguments, job->count, &job->error);
    double begin = tmb_now();
    for (size_t i = 0; i < job->count; i++) {
        const job_piece *piece = &job->pieces[i];
        job->arguments[i] = (tmb_codec_piece){piece->state, piece->codes + piece->context_frames * job->books,
                                              piece->frames, piece->samples};
        job->frames += piece->frames;
    }
    if (job->status == TMB_OK) {
        job->status = tmb_codec_decode(job->workspace, job->arguments, job->count, &job->error);
    }
    job->seconds += tmb_now() - begin;
}

static void *thread_main(void *argument) {
    tmb_codec_job *job = argument;
    (void)tmb_denormals_flush();
    (void)pthread_setname_np(pthread_self(), "timbre-codec");
    (void)pthread_mutex_lock(&job->lock);
    for (;;) {
        while (job->state != JOB_RUNNING && !job->closing) {
            (void)pthread_cond_wait(&job->changed, &job->lock);
        }
        if (job->closing) {
            break;
        }
        (void)pthread_mutex_unlock(&job->lock);
        run(job);
        (void)pthread_mutex_lock(&job->lock);
        job->state = JOB_DONE;
        (void)pthread_cond_broadcast(&job->changed);
    }
    (void)pthread_mutex_unlock(&job->lock);
    return NULL;
}

tmb_status tmb_codec_job_create(const tmb_codec_decoder *decoder, size_t pieces, int threads, tmb_team *team,
                                tmb_codec_job **out, tmb_error *error) {
    *out = NULL;
    tmb_codec_job *job = tmb_calloc(1, sizeof *job);
    if (job == NULL) {
        return tmb_fail_memory(error, "the codec's buffers", sizeof *job);
    }
    (void)pthread_mutex_init(&job->lock, NULL);
    tmb_condition_init(&job->changed);
    job->capacity = pieces;
    job->books = tmb_codec_decoder_books(decoder);
    job->samples_per_frame = tmb_codec_samples_per_frame(decoder);
    job->pieces = tmb_calloc(pieces, sizeof *job->pieces);
    job->arguments = tmb_calloc(pieces, sizeof *job->arguments);
    job->codes = tmb_calloc(pieces * FRAMES_WITH_CONTEXT * job->books, sizeof *job->codes);
    job->samples = tmb_calloc(pieces * TMB_DECODE_FRAMES * job->samples_per_frame, sizeof *job->samples);
    tmb_status status = TMB_OK;
    if (job->pieces == NULL || job->arguments == NULL || job->codes == NULL || job->samples == NULL) {
        status = tmb_fail_memory(error, "the codec's buffers", 0);
    }
    if (status == TMB_OK && threads > 0) {
        status = tmb_team_create(threads, &job->own_team, error);
    }
    if (status == TMB_OK) {
        status = tmb_codec_workspace_create(decoder, WORKSPACE_FRAMES, threads > 0 ? job->own_team : team,
                                            &job->workspace, error);
    }
    if (status == TMB_OK && threads > 0) {
        job->threaded = pthread_create(&job->thread, NULL, thread_main, job) == 0;
        status = job->threaded ? TMB_OK : tmb_fail(error, TMB_ERROR_MEMORY, "the system refused to start a thread");
    }
    if (status != TMB_OK) {
        tmb_codec_job_destroy(&job);
        return status;
    }
    *out = job;
    return TMB_OK;
}

void tmb_codec_job_destroy(tmb_codec_job **job_address) {
    tmb_codec_job *job = *job_address;
    *job_address = NULL;
    if (job == NULL) {
        return;
    }
    if (job->threaded) {
        (void)pthread_mutex_lock(&job->lock);
        while (job->state == JOB_RUNNING) {
            (void)pthread_cond_wait(&job->changed, &job->lock);
        }
        job->closing = true;
        (void)pthread_cond_broadcast(&job->changed);
        (void)pthread_mutex_unlock(&job->lock);
        (void)pthread_join(job->thread, NULL);
    }
    tmb_codec_workspace_destroy(&job->workspace);
    tmb_team_destroy(&job->own_team);
    (void)pthread_cond_destroy(&job->changed);
    (void)pthread_mutex_destroy(&job->lock);
    free(job->pieces);
    free(job->arguments);
    free(job->codes);
    free(job->samples);
    free(job);
}

double tmb_codec_job_seconds(tmb_codec_job *job, size_t *frames) {
    double seconds = job->seconds;
    *frames = job->frames;
    job->seconds = 0;
    job->frames = 0;
    return seconds;
}

size_t tmb_codec_job_bytes(const tmb_codec_job *job) {
    size_t piece = FRAMES_WITH_CONTEXT * job->books * sizeof *job->codes +
                   TMB_DECODE_FRAMES * job->samples_per_frame * sizeof *job->samples;
    return job->capacity * piece + tmb_codec_workspace_bytes(job->workspace);
}

void tmb_codec_job_add(tmb_codec_job *job, const tmb_decode_request *request, tmb_codec_state *state) {
    size_t index = job->count++;
    job_piece *piece = &job->pieces[index];
    *piece = (job_piece){.owner = request->owner,
                         .state = state,
                         .restarts = request->restarts,
                         .context_frames = request->context_frames,
                         .frames = request->frames,
                         .codes = job->codes + index * FRAMES_WITH_CONTEXT * job->books,
                         .samples = job->samples + index * TMB_DECODE_FRAMES * job->samples_per_frame};
    size_t context = request->context_frames * job->books;
    if (context > 0) {
        memcpy(piece->codes, request->context, context * sizeof *piece->codes);
    }
    memcpy(piece->codes + context, request->codes, request->frames * job->books * sizeof *piece->codes);
}

void tmb_codec_job_start(tmb_codec_job *job) {
    if (job->count == 0) {
        return;
    }
    if (!job->threaded) {
        run(job);
        job->state = JOB_DONE;
        return;
    }
    (void)pthread_mutex_lock(&job->lock);
    job->state = JOB_RUNNING;
    (void)pthread_cond_broadcast(&job->changed);
    (void)pthread_mutex_unlock(&job->lock);
}

bool tmb_codec_job_done(tmb_codec_job *job, double wait_seconds) {
    if (!job->threaded) {
        return job->state == JOB_DONE;
    }
    (void)pthread_mutex_lock(&job->lock);
    if (job->state == JOB_RUNNING && wait_seconds > 0) {
        const struct timespec end = tmb_deadline(wait_seconds);
        while (job->state == JOB_RUNNING && pthread_cond_timedwait(&job->changed, &job->lock, &end) == 0) {
        }
    }
    bool done = job->state == JOB_DONE;
    (void)pthread_mutex_unlock(&job->lock);
    return done;
}

bool tmb_codec_job_idle(const tmb_codec_job *job) {
    tmb_codec_job *lockable = (tmb_codec_job *)(uintptr_t)job;
    (void)pthread_mutex_lock(&lockable->lock);
    bool idle = job->state == JOB_IDLE;
    (void)pthread_mutex_unlock(&lockable->lock);
    return idle;
}

size_t tmb_codec_job_count(const tmb_codec_job *job) { return job->count; }

tmb_status tmb_codec_job_result(const tmb_codec_job *job, size_t index, tmb_decode_result *result, tmb_error *error) {
    const job_piece *piece = &job->pieces[index];
    *result = (tmb_decode_result){piece->owner, piece->samples, piece->context_frames, piece->frames};
    if (job->status != TMB_OK && error != NULL) {
        *error = job->error;
    }
    return job->status;
}

void tmb_codec_job_clear(tmb_codec_job *job) {
    job->count = 0;
    (void)pthread_mutex_lock(&job->lock);
    job->state = JOB_IDLE;
    (void)pthread_mutex_unlock(&job->lock);
}
