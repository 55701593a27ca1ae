/* Inside the engine: live utterances, and what is shared between them. All but prepare_voice and the saved voices runs
 * on the scheduler's thread.
 */
#ifndef TMB_TTS_QWEN3_BATCH_ENGINE_INTERNAL_H
#define TMB_TTS_QWEN3_BATCH_ENGINE_INTERNAL_H

#include "tts/qwen3/batch/codec_stream.h"
#include "tts/qwen3/batch/model.h"
#include "tts/qwen3/batch/voice_memory.h"

#include <pthread.h>

/* A piece of a long text; a text that is not split is one. */
typedef struct tmb_speech_piece {
    size_t begin, end;  /* of what is spoken, in the text */
    double pause_after; /* seconds */
    bool done;          /* the language model has finished it: end_frame is known */
    size_t end_frame;
} tmb_speech_piece;

/* One utterance. */
typedef struct tmb_speech {
    uint64_t id;
    tmb_voice *voice; /* NULL: `speaker` speaks */
    int32_t speaker;  /* codec token; negative: nobody in particular */
    char *instruct;   /* NULL: none */
    bool instruct_dropped;
    uint64_t fingerprint[2];                /* of the voice, or of speaker and instruction */
    bool held, cancelled, failed, finished; /* finished: the language model has finished every piece */
    tmb_error error;                        /* if failed */

    /* what is said */
    char *text;
    tmb_speech_piece *pieces;
    size_t piece_count;
    tmb_segment *segments; /* [piece_count] */
    char **segment_texts;
    size_t piece;       /* that the language model is at */
    size_t piece_out;   /* whose audio goes out next */
    size_t piece_begin; /* first frame of `piece` */
    int retries;        /* of this piece */
    size_t budget;      /* frames that this piece may have; 0 = no limit */
    bool guard;
    bool waits; /* a piece's audio goes out when it is complete */

    /* how */
    bool in_context, non_streaming, want_codes;
    int32_t language;
    tmb_lm_sampling sampling;
    uint64_t seed;
    size_t frame_limit; /* of the whole */
    size_t piece_limit; /* of a piece: the model's own limit is of one generation */
    size_t expected;    /* frames, an estimate */

    tmb_net_sequence *sequence;
    int16_t *codes; /* [capacity, groups] */
    size_t frames, capacity;
    tmb_finish_reason reason;

    /* decoding */
    tmb_net_stream *stream;
    bool in_flight;
    size_t decoded; /* frames whose audio is out, or in `audio` */
    size_t chunk;   /* frames that the next event should have */
    size_t reference_frames;
    size_t reference_left; /* that the decoder has still to go through first */
    bool reference_begun;
    float last_sample; /* of the reference */
    bool hold_back;    /* audio is collected until the end: how much of the reference is cut depends on the length */
    float *audio;
    size_t audio_count, audio_capacity;
    uint64_t samples_out;
} tmb_speech;

typedef struct tmb_qwen3_engine {
    tmb_engine base;
    tmb_qwen3_model model;
    tmb_logger *logger;
    bool official; /* everything in f32: the waveform too as the official implementation makes it */
    size_t max_sequences;
    uint64_t next_id;

    const tmb_qwen3_backend *backend; /* the model's, and its networks */
    tmb_net *net;
    pthread_rwlock_t net_lock; /* read by whoever encodes on another thread, written if the networks change */
    /* Cancelled ones stay until the codec lets go of them: at most a whole job of them in addition to the live ones. */
    tmb_speech **speeches; /* [2 * max_sequences] */
    size_t count, live;    /* live: not cancelled */
    /* of one step, [max_sequences] */
    tmb_speech **stepped;
    tmb_net_sequence **sequences;
    int16_t *codes;
    tmb_lm_outcome *outcomes;
    float *silence; /* one second */
    /* since the last utterance ended, for the log */
    double lm_seconds;
    size_t lm_frames, lm_steps;

    tmb_voice_memory *memory;
} tmb_qwen3_engine;

/* ---- speech.c ---- */

/* Everything but the prefill of its first piece. */
tmb_status tmb_speech_create(tmb_qwen3_engine *engine, const tmb_speak_request *request, tmb_voice *voice,
                             tmb_speech **out, tmb_error *error);
void tmb_speech_destroy(const tmb_qwen3_engine *engine, tmb_speech **speech);
/* Bytes of one on the host, and on the device (may be NULL). */
size_t tmb_speech_bytes(const tmb_qwen3_engine *engine, const tmb_speak_request *request, const tmb_qwen3_voice *voice,
                        size_t *device);

/* Prefills the piece that the speech is at. */
tmb_status tmb_speech_begin_piece(tmb_qwen3_engine *engine, tmb_speech *speech, tmb_error *error);

/* ---- who.c ---- */

/* Sets who speaks; `speech->language` is set already and becomes the speaker's dialect if it has one.
 * TMB_ERROR_ARGUMENT for what the model cannot do. */
tmb_status tmb_speech_set_who(const tmb_qwen3_engine *engine, const tmb_speak_request *request, tmb_voice *voice,
                              tmb_speech *speech, tmb_error *error);
/* What a model that does not clone says to a recording. */
tmb_status tmb_qwen3_refuse_cloning(const tmb_qwen3_config *config, tmb_error *error);

/* ---- budget.c ---- */

/* Letters of a text, a Chinese, Japanese or Korean character for three, digits for what it takes to say them. */
size_t tmb_speech_letters(const char *text, size_t bytes);
/* Frames that a text of so many letters takes at most when it is spoken, and about. */
size_t tmb_speech_budget(size_t letters);
size_t tmb_speech_expected(size_t letters);
/* Whether the last frames go round in a circle. codes: [frames, groups]. */
bool tmb_speech_is_stuck(const int16_t *codes, size_t frames, size_t groups);

/* ---- voices.c ---- */

tmb_status tmb_engine_prepare_voice(tmb_engine *base, const tmb_reference *reference, bool x_vector_only,
                                    tmb_voice **out, tmb_error *error);
size_t tmb_engine_prepare_memory(tmb_engine *base, uint64_t samples, int rate, bool x_vector_only);
tmb_status tmb_engine_voice_serialize(const tmb_voice *voice, void **data, size_t *size, tmb_error *error);
tmb_status tmb_engine_voice_deserialize(tmb_engine *base, const void *data, size_t size, tmb_voice **out,
                                        tmb_error *error);

/* ---- step.c ---- */

/* Starts the codec on what is ready for it, if it rests. */
void tmb_engine_start_codec(tmb_qwen3_engine *engine);

tmb_status tmb_engine_step(tmb_engine *base, tmb_engine_sink sink, void *user, size_t *live, tmb_error *error);

#endif
