#include "tts/qwen3/batch/engine_internal.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/thread.h"

#include <stdlib.h>
#include <string.h>

/* How long a step waits for the codec if there is nothing else to do. */
#define WAIT_SECONDS 0.05

/* One step: where events go. */
typedef struct step {
    tmb_qwen3_engine *engine;
    tmb_engine_sink sink;
    void *user;
} step;

static double rate_of(const tmb_qwen3_engine *engine) { return (double)engine->model.config.codec.sample_rate; }

static void fail(tmb_speech *speech, const tmb_error *error) {
    speech->failed = true;
    speech->finished = true;
    speech->error = *error;
}

/* ---- Audio ------------------------------------------------------------------------------------ */

static void send(const step *s, tmb_speech *speech, const float *samples, size_t count) {
    size_t expected = speech->finished ? speech->frames : speech->expected;
    double progress = expected == 0 ? 0 : (double)speech->decoded / (double)expected;
    tmb_engine_event event = {.kind = TMB_ENGINE_AUDIO,
                              .sequence = speech->id,
                              .samples = samples,
                              .sample_count = count,
                              .frames_done = speech->decoded,
                              .progress = progress < 0.99 ? progress : 0.99};
    s->sink(s->user, &event);
}

/* Sends samples, or keeps them until the end. */
static void put_audio(const step *s, tmb_speech *speech, const float *samples, size_t count) {
    speech->samples_out += count;
    if (!speech->hold_back) {
        send(s, speech, samples, count);
        return;
    }
    if (count > speech->audio_capacity - speech->audio_count) {
        size_t capacity = 2 * speech->audio_capacity + count;
        float *audio = tmb_realloc(speech->audio, capacity, sizeof *audio);
        if (audio == NULL) {
            tmb_error error;
            (void)tmb_fail_memory(&error, "an utterance's audio", capacity * sizeof *audio);
            fail(speech, &error);
            return;
        }
        speech->audio = audio;
        speech->audio_capacity = capacity;
    }
    memcpy(speech->audio + speech->audio_count, samples, count * sizeof *samples);
    speech->audio_count += count;
}

/* What lies between pieces whose audio is complete: silence, and the times of the segments. */
static void close_pieces(const step *s, tmb_speech *speech) {
    double rate = rate_of(s->engine);
    while (speech->piece_out < speech->piece_count && speech->pieces[speech->piece_out].done &&
           speech->decoded >= speech->pieces[speech->piece_out].end_frame) {
        const tmb_speech_piece *piece = &speech->pieces[speech->piece_out];
        speech->segments[speech->piece_out].end = (double)speech->samples_out / rate;
        size_t silence = (size_t)(piece->pause_after * rate + 0.5);
        while (silence > 0 && !speech->failed) {
            size_t here = silence < (size_t)rate ? silence : (size_t)rate;
            put_audio(s, speech, s->engine->silence, here);
            silence -= here;
        }
        speech->piece_out++;
        if (speech->piece_out < speech->piece_count) {
            speech->segments[speech->piece_out].start = (double)speech->samples_out / rate;
        }
    }
}

/* The audio that was held back, without the reference. The official cut is a product of floating-point numbers that may
 * come out one sample short. */
static void send_held(const step *s, tmb_speech *speech) {
    size_t per_frame = s->engine->model.config.codec.samples_per_frame;
    size_t total = speech->reference_frames + speech->decoded;
    size_t cut = (size_t)((double)speech->reference_frames / (double)total * (double)(total * per_frame));
    if (cut < speech->reference_frames * per_frame && speech->audio_count > 0) {
        send(s, speech, &speech->last_sample, 1);
    }
    if (speech->audio_count > 0) {
        send(s, speech, speech->audio, speech->audio_count);
    }
}

/* ---- The codec -------------------------------------------------------------------------------- */

/* Some frames of the reference went through the decoder; what it knows behind them all is kept for the voice's next
 * texts. */
static void end_reference_piece(tmb_qwen3_engine *engine, tmb_speech *speech, const tmb_decode_result *result,
                                size_t per_frame) {
    speech->reference_left -= result->context_frames + result->frames;
    if (speech->reference_left > 0) {
        return;
    }
    speech->last_sample = result->samples[result->frames * per_frame - 1];
    tmb_net_stream *copy = NULL;
    tmb_voice_memory_make_room_for_state(engine->memory, speech->fingerprint);
    if (engine->backend->stream_clone(engine->net, speech->stream, &copy, NULL) == TMB_OK) {
        tmb_voice_memory_put_state(engine->memory, speech->fingerprint, copy, speech->last_sample);
    }
}

/* Whether the reference is decoded already: then its state is taken over. Or another utterance is at it: *wait. */
static void take_reference(tmb_qwen3_engine *engine, tmb_speech *speech, bool *wait) {
    *wait = false;
    if (speech->reference_begun) {
        return;
    }
    if (tmb_voice_memory_get_state(engine->memory, speech->fingerprint, speech->stream, &speech->last_sample)) {
        speech->reference_left = 0;
        return;
    }
    for (size_t i = 0; i < engine->count && !*wait; i++) {
        const tmb_speech *other = engine->speeches[i];
        *wait = other->reference_begun && other->reference_left > 0 && !other->cancelled && !other->failed &&
                memcmp(speech->fingerprint, other->fingerprint, sizeof speech->fingerprint) == 0;
    }
}

static void collect(const step *s, double wait_seconds) {
    const tmb_qwen3_backend *backend = s->engine->backend;
    tmb_net *net = s->engine->net;
    if (!backend->decode_done(net, wait_seconds)) {
        return;
    }
    size_t per_frame = s->engine->model.config.codec.samples_per_frame;
    for (size_t i = 0; i < backend->decode_count(net); i++) {
        tmb_decode_result result;
        tmb_error error = {0};
        tmb_status status = backend->decode_result(net, i, &result, &error);
        tmb_speech *speech = result.owner;
        speech->in_flight = false;
        if (speech->cancelled || speech->failed) {
            continue;
        }
        if (status != TMB_OK) {
            fail(speech, &error);
            continue;
        }
        if (speech->reference_left > 0) {
            end_reference_piece(s->engine, speech, &result, per_frame);
            continue;
        }
        speech->decoded += result.frames;
        put_audio(s, speech, result.samples, result.frames * per_frame);
        close_pieces(s, speech);
    }
    backend->decode_clear(net);
}

/* Frames of a speech that should be decoded now. */
static size_t ready_frames(const tmb_qwen3_engine *engine, const tmb_speech *speech) {
    if (speech->in_flight || speech->failed || speech->cancelled || speech->piece_out == speech->piece_count) {
        return 0;
    }
    if (speech->reference_left > 0) {
        return speech->reference_left < TMB_DECODE_CONTEXT + 1 ? speech->reference_left : TMB_DECODE_CONTEXT + 1;
    }
    const tmb_speech_piece *piece = &speech->pieces[speech->piece_out];
    if (speech->waits && !piece->done) {
        return 0;
    }
    size_t frames = (piece->done ? piece->end_frame : speech->frames) - speech->decoded;
    if (!piece->done && frames < speech->chunk) {
        return 0;
    }
    frames = frames < TMB_DECODE_FRAMES ? frames : TMB_DECODE_FRAMES;
    if (!speech->hold_back && !speech->waits && frames > speech->chunk) {
        frames = speech->chunk;
    }
    return tmb_codec_until_restart(speech->reference_frames + speech->decoded, frames, engine->official);
}

/* Codes before frame `decoded`, the reference's included: context_frames of them into `out`. */
static void context_before(const tmb_qwen3_engine *engine, const tmb_speech *speech, size_t context_frames,
                           int16_t *out) {
    size_t groups = engine->model.config.talker.code_groups;
    const tmb_qwen3_voice *voice = (const tmb_qwen3_voice *)speech->voice;
    size_t end = speech->reference_frames + speech->decoded;
    for (size_t i = 0; i < context_frames; i++) {
        size_t frame = end - context_frames + i;
        const int16_t *from = frame < speech->reference_frames
                                  ? voice->codes + frame * groups
                                  : speech->codes + (frame - speech->reference_frames) * groups;
        memcpy(out + i * groups, from, groups * sizeof *out);
    }
}

void tmb_engine_start_codec(tmb_qwen3_engine *engine) {
    if (!engine->backend->decode_idle(engine->net)) {
        return;
    }
    size_t groups = engine->model.config.talker.code_groups;
    for (size_t i = 0; i < engine->count; i++) {
        tmb_speech *speech = engine->speeches[i];
        bool wait = false;
        if (speech->reference_left > 0 && !speech->in_flight && !speech->cancelled) {
            take_reference(engine, speech, &wait);
        }
        size_t frames = wait ? 0 : ready_frames(engine, speech);
        if (frames == 0) {
            continue;
        }
        if (speech->reference_left > 0) {
            const tmb_qwen3_voice *voice = (const tmb_qwen3_voice *)speech->voice;
            const int16_t *codes = voice->codes + (voice->frames - speech->reference_left) * groups;
            /* Only the last sample of all its audio is ever wanted. */
            engine->backend->decode_add(engine->net, &(tmb_decode_request){.owner = speech,
                                                                           .stream = speech->stream,
                                                                           .context = codes,
                                                                           .context_frames = frames - 1,
                                                                           .codes = codes + (frames - 1) * groups,
                                                                           .frames = 1});
            speech->reference_begun = speech->in_flight = true;
            continue;
        }
        int16_t context[TMB_CODEC_CONTEXT_FRAMES * TMB_QWEN3_CODE_GROUPS_MAX];
        bool restarts = tmb_codec_restarts_at(speech->reference_frames + speech->decoded, engine->official);
        if (restarts) {
            context_before(engine, speech, TMB_CODEC_CONTEXT_FRAMES, context);
        }
        engine->backend->decode_add(engine->net,
                                    &(tmb_decode_request){.owner = speech,
                                                          .stream = speech->stream,
                                                          .restarts = restarts,
                                                          .context = context,
                                                          .context_frames = restarts ? TMB_CODEC_CONTEXT_FRAMES : 0,
                                                          .codes = speech->codes + speech->decoded * groups,
                                                          .frames = frames});
        speech->in_flight = true;
        /* Later events are longer: each lasts while the next is made. */
        speech->chunk = speech->chunk + speech->chunk / 2 < TMB_DECODE_FRAMES ? speech->chunk + (speech->chunk + 1) / 2
                                                                              : TMB_DECODE_FRAMES;
    }
    engine->backend->decode_start(engine->net);
}

/* ---- The language model ----------------------------------------------------------------------- */

/* Room for one more frame. */
static bool grow_codes(const tmb_qwen3_engine *engine, tmb_speech *speech) {
    if (speech->frames < speech->capacity) {
        return true;
    }
    size_t capacity = speech->capacity + speech->capacity / 2 + 64;
    int16_t *codes = tmb_realloc(speech->codes, capacity, engine->model.config.talker.code_groups * sizeof *codes);
    if (codes == NULL) {
        tmb_error error;
        (void)tmb_fail_memory(&error, "an utterance's codes", capacity * 32);
        fail(speech, &error);
        return false;
    }
    speech->codes = codes;
    speech->capacity = capacity;
    return true;
}

/* Device memory for one more frame, reserved before it is allocated: nothing is while a step runs. */
static bool grow_sequence(const step *s, tmb_speech *speech) {
    const tmb_qwen3_engine *engine = s->engine;
    const tmb_qwen3_backend *backend = engine->backend;
    tmb_engine_growth growth = {.status = TMB_OK};
    growth.bytes = backend->sequence_needs == NULL ? 0 : backend->sequence_needs(engine->net, speech->sequence);
    if (growth.bytes == 0) {
        return true;
    }
    tmb_engine_event event = {.kind = TMB_ENGINE_GROWS, .sequence = speech->id, .growth = &growth};
    s->sink(s->user, &event);
    if (growth.status == TMB_OK) {
        growth.status = backend->sequence_grow(engine->net, speech->sequence, &growth.error);
    }
    if (growth.status != TMB_OK) {
        fail(speech, &growth.error);
    }
    return growth.status == TMB_OK;
}

/* The piece is complete: on to the next that has words. */
static void end_piece(tmb_qwen3_engine *engine, tmb_speech *speech, tmb_finish_reason reason) {
    if (reason != TMB_FINISH_STOP && speech->reason != TMB_FINISH_RUNAWAY) {
        speech->reason = reason;
    }
    speech->pieces[speech->piece].done = true;
    speech->pieces[speech->piece].end_frame = speech->frames;
    speech->piece++;
    speech->retries = 0;
    bool full = speech->frames >= speech->frame_limit;
    while (speech->piece < speech->piece_count &&
           (full || speech->pieces[speech->piece].begin == speech->pieces[speech->piece].end)) {
        if (full) {
            speech->pieces[speech->piece].pause_after = 0;
            speech->reason = speech->reason == TMB_FINISH_STOP ? TMB_FINISH_LENGTH : speech->reason;
        }
        speech->pieces[speech->piece].done = true;
        speech->pieces[speech->piece].end_frame = speech->frames;
        speech->piece++;
    }
    speech->finished = speech->piece == speech->piece_count;
    tmb_error error = {0};
    if (!speech->finished && tmb_speech_begin_piece(engine, speech, &error) != TMB_OK) {
        fail(speech, &error);
    }
}

/* Over its budget or going in circles: once more with another seed if nobody has heard any of it, then cut. */
static void check_runaway(tmb_qwen3_engine *engine, tmb_speech *speech) {
    size_t groups = engine->model.config.talker.code_groups;
    size_t frames = speech->frames - speech->piece_begin;
    bool stuck = tmb_speech_is_stuck(speech->codes + speech->piece_begin * groups, frames, groups);
    if (frames < speech->budget && !stuck) {
        return;
    }
    bool heard = speech->decoded > speech->piece_begin || (speech->in_flight && speech->piece_out == speech->piece);
    if (speech->retries == 0 && !heard && !speech->sampling.talker.greedy) {
        speech->retries++;
        speech->frames = speech->piece_begin;
        tmb_error error = {0};
        if (tmb_speech_begin_piece(engine, speech, &error) != TMB_OK) {
            fail(speech, &error);
        }
        return;
    }
    end_piece(engine, speech, TMB_FINISH_RUNAWAY);
}

static void take_outcome(tmb_qwen3_engine *engine, tmb_speech *speech, tmb_lm_outcome outcome, const int16_t *codes) {
    size_t groups = engine->model.config.talker.code_groups;
    tmb_error error = {0};
    switch (outcome) {
    case TMB_LM_FRAME:
        memcpy(speech->codes + speech->frames++ * groups, codes, groups * sizeof *codes);
        if (speech->guard) {
            check_runaway(engine, speech);
        }
        break;
    case TMB_LM_END: end_piece(engine, speech, TMB_FINISH_STOP); break;
    case TMB_LM_LIMIT: end_piece(engine, speech, TMB_FINISH_LENGTH); break;
    default:
        if (engine->backend->step_failed == NULL || !engine->backend->step_failed(engine->net, &error)) {
            (void)tmb_fail(&error, TMB_ERROR_MEMORY, "there is no memory for more than %zu frames", speech->frames);
        }
        fail(speech, &error);
        break;
    }
}

/* A frame of every utterance that is not finished; false if there is none. */
static bool step_language_model(const step *s) {
    tmb_qwen3_engine *engine = s->engine;
    size_t count = 0;
    for (size_t i = 0; i < engine->count; i++) {
        tmb_speech *speech = engine->speeches[i];
        if (!speech->finished && !speech->held && !speech->cancelled && grow_codes(engine, speech) &&
            grow_sequence(s, speech)) {
            engine->stepped[count] = speech;
            engine->sequences[count++] = speech->sequence;
        }
    }
    if (count == 0) {
        return false;
    }
    double begin = tmb_now();
    engine->backend->step(engine->net, engine->sequences, count, engine->codes, engine->outcomes);
    engine->lm_seconds += tmb_now() - begin;
    engine->lm_frames += count;
    engine->lm_steps++;
    for (size_t i = 0; i < count; i++) {
        take_outcome(engine, engine->stepped[i], engine->outcomes[i],
                     engine->codes + i * engine->model.config.talker.code_groups);
    }
    return true;
}

/* ---- The end ---------------------------------------------------------------------------------- */

static void send_end(const step *s, tmb_speech *speech) {
    if (speech->failed) {
        tmb_engine_event event = {.kind = TMB_ENGINE_FAILED, .sequence = speech->id, .error = speech->error};
        s->sink(s->user, &event);
        return;
    }
    if (speech->hold_back) {
        send_held(s, speech);
    }
    tmb_engine_event event = {.kind = TMB_ENGINE_FINISHED,
                              .sequence = speech->id,
                              .frames_done = speech->frames,
                              .progress = 1,
                              .finish_reason = speech->reason,
                              .instruct_dropped = speech->instruct_dropped,
                              .segments = speech->segments,
                              .segment_count = speech->piece_count};
    if (speech->want_codes) {
        event.codes = speech->codes;
        event.code_frames = speech->frames;
        event.code_books = s->engine->model.config.talker.code_groups;
    }
    s->sink(s->user, &event);
}

/* How fast it was: for all that spoke since the last end, while the codec rests. */
static void log_speed(tmb_qwen3_engine *engine) {
    size_t decoded = 0;
    if (engine->lm_steps == 0 || !engine->backend->decode_idle(engine->net)) {
        return;
    }
    double codec = engine->backend->decode_seconds(engine->net, &decoded);
    tmb_log(engine->logger, TMB_LOG_DEBUG,
            "%zu frames in %zu steps of the language model, %.1f ms a step; codec %.1f ms a frame", engine->lm_frames,
            engine->lm_steps, 1e3 * engine->lm_seconds / (double)engine->lm_steps,
            decoded == 0 ? 0 : 1e3 * codec / (double)decoded);
    engine->lm_seconds = 0;
    engine->lm_frames = engine->lm_steps = 0;
}

/* Sends FINISHED or FAILED events for completed utterances and removes them. */
static void finish(const step *s) {
    tmb_qwen3_engine *engine = s->engine;
    size_t kept = 0;
    size_t count = engine->count;
    for (size_t i = 0; i < count; i++) {
        tmb_speech *speech = engine->speeches[i];
        if (!speech->in_flight && !speech->failed && !speech->cancelled) {
            close_pieces(s, speech);
        }
        bool over =
            speech->cancelled || speech->failed || (speech->finished && speech->piece_out == speech->piece_count);
        if (speech->in_flight || !over) {
            engine->speeches[kept++] = speech;
            continue;
        }
        if (!speech->cancelled) {
            log_speed(engine);
            send_end(s, speech);
            engine->live--;
        }
        tmb_speech_destroy(engine, &speech);
    }
    engine->count = kept;
}

tmb_status tmb_engine_step(tmb_engine *base, tmb_engine_sink sink, void *user, size_t *live, tmb_error *error) {
    (void)error;
    tmb_qwen3_engine *engine = (tmb_qwen3_engine *)base;
    step s = {engine, sink, user};
    collect(&s, 0);
    tmb_engine_start_codec(engine);
    bool stepped = step_language_model(&s);
    /* A chunk that has just become complete starts at once; in the caller's thread it is done then. */
    collect(&s, stepped ? 0 : WAIT_SECONDS);
    tmb_engine_start_codec(engine);
    collect(&s, 0);
    finish(&s);
    *live = engine->live;
    return TMB_OK;
}
