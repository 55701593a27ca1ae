/* Streams of the codec decoder on a GPU, and jobs that go on while the language model is stepped.
 *
 * A job's launches are put on the codec's own stream at once. What the host does to a stream between jobs (a copy, a
 * new one) is put there too, so that everything is done in order.
 */
#include "tts/qwen3/cuda/cuda_codec.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/thread.h"

#include <stdlib.h>
#include <string.h>

typedef struct stream_state {
    tmb_gpu_address memory; /* [state_floats] */
    uint64_t position;      /* frames so far */
} stream_state;

static stream_state *own(tmb_net_stream *stream) { return (stream_state *)(void *)stream; }
static const stream_state *own_const(const tmb_net_stream *stream) {
    return (const stream_state *)(const void *)stream;
}

static size_t state_bytes(const tmb_cuda_codec *codec) { return codec->state_floats * sizeof(float); }

tmb_net_bytes tmb_cuda_stream_bytes(const tmb_cuda_codec *codec) {
    return (tmb_net_bytes){sizeof(stream_state), tmb_gpu_counted(codec->gpu, state_bytes(codec))};
}

/* Nothing is read of what was before a stream's first frame, so nothing is written there. */
tmb_status tmb_cuda_stream_create(tmb_cuda_codec *codec, tmb_net_stream **out, tmb_error *error) {
    *out = NULL;
    stream_state *state = tmb_calloc(1, sizeof *state);
    tmb_status status =
        state == NULL ? tmb_fail_memory(error, "a stream of the codec", sizeof *state)
                      : tmb_gpu_take(codec->gpu, state_bytes(codec), "a stream of the codec", &state->memory, error);
    if (status != TMB_OK) {
        free(state);
        return status;
    }
    *out = (tmb_net_stream *)(void *)state;
    return TMB_OK;
}

void tmb_cuda_stream_destroy(tmb_cuda_codec *codec, tmb_net_stream **stream) {
    stream_state *state = own(*stream);
    *stream = NULL;
    if (state != NULL) {
        (void)tmb_gpu_synchronize(codec->gpu, codec->stream, NULL);
        tmb_gpu_free(codec->gpu, state->memory);
        free(state);
    }
}

static tmb_status copy(tmb_cuda_codec *codec, stream_state *to, const stream_state *from, tmb_error *error) {
    to->position = from->position;
    return tmb_gpu_copy(codec->gpu, codec->stream, to->memory, from->memory, codec->state_floats * sizeof(float),
                        error);
}

tmb_status tmb_cuda_stream_clone(tmb_cuda_codec *codec, const tmb_net_stream *stream, tmb_net_stream **out,
                                 tmb_error *error) {
    tmb_status status = tmb_cuda_stream_create(codec, out, error);
    if (status == TMB_OK && (status = copy(codec, own(*out), own_const(stream), error)) != TMB_OK) {
        tmb_cuda_stream_destroy(codec, out);
    }
    return status;
}

/* A device that is lost tells so at the next job. */
void tmb_cuda_stream_copy(tmb_cuda_codec *codec, tmb_net_stream *stream, const tmb_net_stream *from) {
    (void)copy(codec, own(stream), own_const(from), NULL);
}

/* ---- Jobs ------------------------------------------------------------------------------------- */

#define FRAMES_WITH_CONTEXT (TMB_DECODE_FRAMES + TMB_DECODE_CONTEXT)

typedef enum job_state { JOB_IDLE, JOB_RUNNING, JOB_DONE } job_state;

typedef struct job_piece {
    void *owner;
    stream_state *state;
    bool restarts;
    size_t context_frames, frames, done;
    int16_t *codes; /* of both */
    float *samples;
} job_piece;

/* Pinned, one after the other: what every launch of a job takes and gives. */
typedef struct pinned {
    int32_t *live;         /* [launches] */
    tmb_gpu_frame *frames; /* [capacity * FRAMES_WITH_CONTEXT] */
    int16_t *codes;        /* [capacity * FRAMES_WITH_CONTEXT, books], in the order of launches */
    float *samples;        /* [capacity, TMB_DECODE_FRAMES * samples_per_frame] */
} pinned;

struct tmb_cuda_codec_job {
    tmb_cuda_codec *codec;
    size_t capacity, count, books;
    job_piece *pieces;
    int16_t *codes; /* [capacity, FRAMES_WITH_CONTEXT, books] */
    void *memory;
    pinned pinned;
    tmb_gpu_event *finished;
    size_t launches, columns; /* of this job so far */
    double begun, seconds;
    size_t frames;
    job_state state;
    tmb_status status;
    tmb_error error;
};

/* A launch has at least one column. */
static size_t most_columns(const tmb_cuda_codec_job *job) { return job->capacity * FRAMES_WITH_CONTEXT; }

static size_t sample_bytes(const tmb_cuda_codec_job *job) {
    return job->capacity * TMB_DECODE_FRAMES * job->codec->samples_per_frame * sizeof(float);
}

static size_t pinned_bytes(const tmb_cuda_codec_job *job) {
    return most_columns(job) * (sizeof(tmb_gpu_frame) + sizeof(int32_t) + job->books * sizeof(int16_t)) +
           sample_bytes(job) + 64;
}

tmb_status tmb_cuda_codec_job_create(tmb_cuda_codec *codec, size_t pieces, tmb_cuda_codec_job **out, tmb_error *error) {
    *out = NULL;
    tmb_cuda_codec_job *job = tmb_calloc(1, sizeof *job);
    if (job == NULL) {
        return tmb_fail_memory(error, "the codec's buffers", sizeof *job);
    }
    job->codec = codec;
    job->capacity = pieces;
    job->books = codec->config.quantizers;
    job->pieces = tmb_calloc(pieces, sizeof *job->pieces);
    job->codes = tmb_calloc(pieces * FRAMES_WITH_CONTEXT * job->books, sizeof *job->codes);
    tmb_status status = job->pieces == NULL || job->codes == NULL
                            ? tmb_fail_memory(error, "the codec's buffers", 0)
                            : tmb_gpu_allocate_pinned(codec->gpu, pinned_bytes(job), &job->memory, error);
    if (status == TMB_OK) {
        status = tmb_gpu_event_create(codec->gpu, &job->finished, error);
    }
    if (status != TMB_OK) {
        tmb_cuda_codec_job_destroy(&job);
        return status;
    }
    pinned *p = &job->pinned;
    p->frames = job->memory;
    p->samples = (float *)(void *)(p->frames + most_columns(job));
    p->live = (int32_t *)(void *)(p->samples + sample_bytes(job) / sizeof(float));
    p->codes = (int16_t *)(void *)(p->live + most_columns(job));
    *out = job;
    return TMB_OK;
}

void tmb_cuda_codec_job_destroy(tmb_cuda_codec_job **job_address) {
    tmb_cuda_codec_job *job = *job_address;
    *job_address = NULL;
    if (job == NULL) {
        return;
    }
    (void)tmb_gpu_synchronize(job->codec->gpu, job->codec->stream, NULL);
    tmb_gpu_event_destroy(job->codec->gpu, &job->finished);
    tmb_gpu_free_pinned(job->codec->gpu, job->memory);
    free(job->pieces);
    free(job->codes);
    free(job);
}

size_t tmb_cuda_codec_job_bytes(const tmb_cuda_codec_job *job) {
    return pinned_bytes(job) +
           job->capacity * (sizeof *job->pieces + FRAMES_WITH_CONTEXT * job->books * sizeof(int16_t));
}

/* One launch's columns. */
typedef struct launch {
    tmb_gpu_frame *frames;
    int16_t *codes;
    size_t columns;
    struct {
        float *to; /* NULL: not wanted */
        size_t column, frames;
    } shares[TMB_CUDA_COLUMNS];
    size_t share_count;
} launch;

static launch begin_launch(const tmb_cuda_codec_job *job) {
    return (launch){.frames = job->pinned.frames + job->columns,
                    .codes = job->pinned.codes + job->columns * job->books};
}

/* So many frames of a piece from `done` on, as many as there is room for. */
static void take(const tmb_cuda_codec_job *job, launch *l, job_piece *piece, size_t end, bool wanted) {
    const tmb_cuda_codec *codec = job->codec;
    size_t frames = end - piece->done, room = codec->columns - l->columns;
    frames = frames < room ? frames : room;
    frames = frames < TMB_CUDA_STREAM_FRAMES ? frames : TMB_CUDA_STREAM_FRAMES;
    if (frames == 0) {
        return;
    }
    for (size_t i = 0; i < frames; i++) {
        l->frames[l->columns + i] = (tmb_gpu_frame){.state = piece->state->memory,
                                                    .position = (int64_t)piece->state->position,
                                                    .first = (int32_t)l->columns,
                                                    .within = (int32_t)i,
                                                    .frames = (int32_t)frames};
    }
    memcpy(l->codes + l->columns * job->books, piece->codes + piece->done * job->books,
           frames * job->books * sizeof *l->codes);
    l->shares[l->share_count].to =
        wanted ? piece->samples + (piece->done - piece->context_frames) * codec->samples_per_frame : NULL;
    l->shares[l->share_count].column = l->columns;
    l->shares[l->share_count++].frames = frames;
    l->columns += frames;
    piece->done += frames;
    piece->state->position += frames;
}

static tmb_status run(tmb_cuda_codec_job *job, const launch *l, bool whole, tmb_error *error) {
    tmb_cuda_codec *codec = job->codec;
    tmb_gpu *gpu = codec->gpu;
    size_t bucket = 0;
    while (((size_t)1 << bucket) < l->columns) {
        bucket++;
    }
    int32_t *live = &job->pinned.live[job->launches++];
    *live = (int32_t)l->columns;
    job->columns += l->columns;
    tmb_status status = TMB_OK;
    if ((status = tmb_gpu_upload_pinned(gpu, codec->stream, codec->live, live, sizeof *live, error)) != TMB_OK ||
        (status = tmb_gpu_upload_pinned(gpu, codec->stream, codec->frames, l->frames, l->columns * sizeof *l->frames,
                                        error)) != TMB_OK ||
        (status = tmb_gpu_upload_pinned(gpu, codec->stream, codec->codes, l->codes,
                                        l->columns * job->books * sizeof *l->codes, error)) != TMB_OK ||
        (status = tmb_gpu_graph_launch(gpu, whole ? codec->whole[bucket] : codec->heard[bucket], codec->stream,
                                       error)) != TMB_OK) {
        return status;
    }
    for (size_t i = 0; i < l->share_count && status == TMB_OK; i++) {
        size_t row = codec->samples_per_frame * sizeof(float);
        if (l->shares[i].to != NULL) {
            status = tmb_gpu_download(gpu, codec->stream, l->shares[i].to, codec->samples + l->shares[i].column * row,
                                      l->shares[i].frames * row, error);
        }
    }
    return status;
}

/* Where a piece's frames of this kind end: those that only the transformer remembers, those that go before, all. */
typedef enum phase { HEARD, BEFORE, WANTED, PHASES } phase;

static size_t end_of(const tmb_cuda_codec_job *job, const job_piece *piece, phase which) {
    size_t lookback = job->codec->lookback, context = piece->context_frames;
    return which == WANTED      ? context + piece->frames
           : which == BEFORE    ? context
           : context > lookback ? context - lookback
                                : 0;
}

/* All pieces' frames up to the phase's end, as many at once as a launch takes, one stretch of each stream. */
static tmb_status run_phase(tmb_cuda_codec_job *job, phase which, tmb_error *error) {
    for (;;) {
        launch l = begin_launch(job);
        for (size_t i = 0; i < job->count; i++) {
            take(job, &l, &job->pieces[i], end_of(job, &job->pieces[i], which), which == WANTED);
        }
        if (l.columns == 0) {
            return TMB_OK;
        }
        tmb_status status = run(job, &l, which != HEARD, error);
        if (status != TMB_OK) {
            return status;
        }
    }
}

static tmb_status check_codes(const tmb_cuda_codec_job *job, tmb_error *error) {
    for (size_t i = 0; i < job->count; i++) {
        const job_piece *piece = &job->pieces[i];
        for (size_t k = 0; k < (piece->context_frames + piece->frames) * job->books; k++) {
            if (piece->codes[k] < 0 || (size_t)piece->codes[k] >= job->codec->config.codebook_size) {
                return tmb_fail(error, TMB_ERROR_ARGUMENT,
                                "code %d of frame %zu, book %zu (piece %zu): the codec has codes 0 to %zu",
                                piece->codes[k], k / job->books, k % job->books, i,
                                job->codec->config.codebook_size - 1);
            }
        }
    }
    return TMB_OK;
}

void tmb_cuda_decode_add(tmb_cuda_codec_job *job, const tmb_decode_request *request) {
    size_t index = job->count++, context = request->context_frames * job->books;
    job_piece *piece = &job->pieces[index];
    *piece = (job_piece){.owner = request->owner,
                         .state = own(request->stream),
                         .restarts = request->restarts,
                         .context_frames = request->context_frames,
                         .frames = request->frames,
                         .codes = job->codes + index * FRAMES_WITH_CONTEXT * job->books,
                         .samples = job->pinned.samples + index * TMB_DECODE_FRAMES * job->codec->samples_per_frame};
    if (context > 0) {
        memcpy(piece->codes, request->context, context * sizeof *piece->codes);
    }
    memcpy(piece->codes + context, request->codes, request->frames * job->books * sizeof *piece->codes);
}

/* A job that failed may have launches that still run: they read and write its memory until they are done. */
static void settle(const tmb_cuda_codec_job *job) {
    if (job->status != TMB_OK && job->launches > 0) {
        (void)tmb_gpu_synchronize(job->codec->gpu, job->codec->stream, NULL);
    }
}

void tmb_cuda_decode_start(tmb_cuda_codec_job *job) {
    if (job->count == 0) {
        return;
    }
    job->begun = tmb_now();
    job->launches = job->columns = 0;
    job->state = JOB_RUNNING;
    job->status = check_codes(job, &job->error);
    for (size_t i = 0; i < job->count && job->status == TMB_OK; i++) {
        job->pieces[i].state->position = job->pieces[i].restarts ? 0 : job->pieces[i].state->position;
        job->frames += job->pieces[i].frames;
    }
    for (phase which = HEARD; which < PHASES && job->status == TMB_OK; which++) {
        job->status = run_phase(job, which, &job->error);
    }
    if (job->status == TMB_OK) {
        job->status = tmb_gpu_record(job->codec->gpu, job->finished, job->codec->stream, &job->error);
    }
    settle(job);
}

bool tmb_cuda_decode_idle(const tmb_cuda_codec_job *job) { return job->state == JOB_IDLE; }

/* The device ends by itself: a wait is for as long as it takes. */
bool tmb_cuda_decode_done(tmb_cuda_codec_job *job, double wait_seconds) {
    if (job->state != JOB_RUNNING) {
        return job->state == JOB_DONE;
    }
    bool done = true;
    if (job->status == TMB_OK) {
        job->status = wait_seconds > 0 ? tmb_gpu_wait(job->codec->gpu, job->finished, &job->error)
                                       : tmb_gpu_query(job->codec->gpu, job->finished, &done, &job->error);
        settle(job);
    }
    if (done || job->status != TMB_OK) {
        job->state = JOB_DONE;
        job->seconds += tmb_now() - job->begun;
    }
    return job->state == JOB_DONE;
}

size_t tmb_cuda_decode_count(const tmb_cuda_codec_job *job) { return job->count; }

tmb_status tmb_cuda_decode_result(const tmb_cuda_codec_job *job, size_t index, tmb_decode_result *result,
                                  tmb_error *error) {
    const job_piece *piece = &job->pieces[index];
    *result = (tmb_decode_result){piece->owner, piece->samples, piece->context_frames, piece->frames};
    if (job->status != TMB_OK && error != NULL) {
        *error = job->error;
    }
    return job->status;
}

void tmb_cuda_decode_clear(tmb_cuda_codec_job *job) {
    job->count = 0;
    job->state = JOB_IDLE;
}

double tmb_cuda_decode_seconds(tmb_cuda_codec_job *job, size_t *frames) {
    double seconds = job->seconds;
    *frames = job->frames;
    job->seconds = 0;
    job->frames = 0;
    return seconds;
}
