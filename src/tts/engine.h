/* What every text-to-speech engine offers, shaped for continuous batching and streamed output.
 *
 * One scheduler thread owns an engine: at every frame boundary it admits what waits and fits, cancels
 * what was cancelled, and steps. prepare_voice and the voice functions may run on other threads.
 */
#ifndef TMB_TTS_ENGINE_H
#define TMB_TTS_ENGINE_H

#include "base/log.h"
#include "timbre/timbre.h"

typedef struct tmb_engine tmb_engine;
typedef struct tmb_voice tmb_voice;

/* The reference of a voice: mono samples at any rate. */
typedef struct tmb_reference {
    const float *samples;
    size_t count;
    int rate;
    const char *text;     /* transcript, or NULL: x-vector only */
    const char *language; /* of the reference, may be NULL */
} tmb_reference;

/* How a text goes into the model: the official non_streaming_mode. */
typedef enum tmb_text_layout {
    TMB_TEXT_DEFAULT = 0, /* the official default: in time with the speech for clones, whole first for speakers and
                             descriptions */
    TMB_TEXT_STREAMING,
    TMB_TEXT_WHOLE
} tmb_text_layout;

/* One utterance. Strings are borrowed for admit only. */
typedef struct tmb_speak_request {
    const char *text;
    const char *language; /* "auto", a code ("en") or an English name; NULL = auto */
    tmb_who who;
    const char *speaker;  /* a built-in speaker, if there is no voice; NULL: the only one; "": none */
    const char *instruct; /* a style, or the description of a voice; NULL or "": none */
    bool greedy;
    double temperature, top_p, repetition_penalty; /* < 0: the model's default */
    int top_k;                                     /* < 0: the model's default; 0: no limit */
    double subtalker_temperature, subtalker_top_p; /* < 0: default */
    int subtalker_top_k;
    uint64_t seed;
    int max_frames;     /* as the official max_new_tokens; 0 = default */
    double max_seconds; /* 0 = no further limit */
    tmb_text_layout text_layout;
    bool x_vector_only;
    int first_chunk_frames; /* frames in the first audio event; 0 = default */
    bool want_codes;
    bool guard_runaway;  /* frame budget from the text's length, one retry, cut */
    bool stream;         /* audio goes out while it is made; otherwise, with guard_runaway, a piece goes out when it is
                            complete, so that it can be tried again */
    size_t split_length; /* a text of more letters than this is spoken in pieces, cut at sentence ends (a Chinese,
                            Japanese or Korean character counts as three); 0 = never */
    bool pauses;         /* understand [pause:1.5s] in the text */
} tmb_speak_request;

typedef enum tmb_finish_reason {
    TMB_FINISH_STOP = 0, /* the model said end of speech */
    TMB_FINISH_LENGTH,   /* a length limit */
    TMB_FINISH_RUNAWAY,  /* cut by the runaway guard */
    TMB_FINISH_CANCELLED
} tmb_finish_reason;

typedef enum tmb_engine_event_kind {
    TMB_ENGINE_AUDIO, /* samples are valid during the callback */
    TMB_ENGINE_FINISHED,
    TMB_ENGINE_FAILED,
    TMB_ENGINE_GROWS /* the sequence goes on longer than was expected */
} tmb_engine_event_kind;

/* Device memory that a sequence needs in addition to what was reserved for it. */
typedef struct tmb_engine_growth {
    uint64_t bytes;
    tmb_status status; /* TMB_OK; otherwise the sink refuses, and the sequence fails with `error` */
    tmb_error error;
} tmb_engine_growth;

typedef struct tmb_engine_event {
    tmb_engine_event_kind kind;
    uint64_t sequence;
    const float *samples; /* AUDIO: mono at the engine's rate */
    size_t sample_count;
    size_t frames_done;   /* codec frames so far, for progress */
    double progress;      /* 0 to 1, an estimate */
    const int16_t *codes; /* FINISHED with want_codes: [code_frames, code_books] */
    size_t code_frames, code_books;
    tmb_finish_reason finish_reason;
    bool instruct_dropped;       /* FINISHED: the model does not follow instructions, and none was given to it */
    tmb_error error;             /* FAILED */
    const tmb_segment *segments; /* FINISHED: the pieces of a long text and where they lie, or NULL */
    size_t segment_count;
    tmb_engine_growth *growth; /* GROWS */
} tmb_engine_event;

typedef void (*tmb_engine_sink)(void *user, const tmb_engine_event *event);

typedef struct tmb_engine_operations {
    const char *name;  /* "preview", "qwen3", "remote" */
    bool clones_voice; /* false for the preview voice: results say so */
    bool own_voices;   /* admit and memory_needed take no voice: it has some of its own */
    bool pauses;       /* takes tmb_speak_request.pauses; others would read the tags aloud */

    /* Output rate in Hz, and how many sequences may be live. */
    int (*sample_rate)(const tmb_engine *engine);
    size_t (*max_sequences)(const tmb_engine *engine);

    /* Encodes a reference; thread-safe. `x_vector_only` ignores the text. */
    tmb_status (*prepare_voice)(tmb_engine *engine, const tmb_reference *reference, bool x_vector_only, tmb_voice **out,
                                tmb_error *error);
    /* Temporary bytes that preparing a reference of `samples` samples needs; NULL: negligible. Thread-safe. */
    size_t (*prepare_memory)(tmb_engine *engine, uint64_t samples, int rate, bool x_vector_only);
    /* Bytes that admitting this would reserve. */
    size_t (*memory_needed)(tmb_engine *engine, const tmb_speak_request *request, const tmb_voice *voice);
    /* The same of a device's memory; NULL: none. */
    size_t (*device_needed)(tmb_engine *engine, const tmb_speak_request *request, const tmb_voice *voice);
    /* Starts an utterance (prefill); retains the voice. `voice` is NULL if one of the engine's own speakers speaks.
     * TMB_ERROR_ARGUMENT if this engine cannot do what is asked: the message says what it can. */
    tmb_status (*admit)(tmb_engine *engine, const tmb_speak_request *request, tmb_voice *voice, uint64_t *sequence,
                        tmb_error *error);
    /* One frame for every live sequence (or, for an engine that waits on something outside, at most
     * 50 ms of waiting). Events go to `sink` on this thread. *live = sequences that are still live. */
    tmb_status (*step)(tmb_engine *engine, tmb_engine_sink sink, void *user, size_t *live, tmb_error *error);
    /* Ends a sequence without an event. Unknown ids are ignored. */
    void (*cancel)(tmb_engine *engine, uint64_t sequence);
    /* Fixed bytes, independent of live sequences: weights and buffers. */
    size_t (*model_bytes)(const tmb_engine *engine);
    /* The same of a device's memory; NULL: none. */
    size_t (*device_bytes)(const tmb_engine *engine);
    /* What there is of the device's memory for this process, in use or free; 0: unknown. `alone`: it is short, though
     * nothing is spoken, so that what is only remembered is given back first. NULL: there is no device. On the
     * scheduler's thread. */
    uint64_t (*device_room)(tmb_engine *engine, bool alone);
    /* Whether its device was lost with what it had there, which it loads again with the next sequence; NULL: it has
     * none. While nobody else uses it. */
    bool (*device_lost)(const tmb_engine *engine);
    /* What computes: "cpu", "cuda"; NULL: nothing to say. */
    const char *(*device)(const tmb_engine *engine);
    void (*destroy)(tmb_engine *engine);

    /* Saved voices; NULL if the engine has none. *data is allocated (free()). */
    tmb_status (*voice_serialize)(const tmb_voice *voice, void **data, size_t *size, tmb_error *error);
    tmb_status (*voice_deserialize)(tmb_engine *engine, const void *data, size_t size, tmb_voice **out,
                                    tmb_error *error);

    /* A held sequence stays live but is left out of step() until it is let go: its listener is too far
     * behind. NULL: the engine cannot; its audio then waits in memory. On the scheduler's thread. */
    void (*hold)(tmb_engine *engine, uint64_t sequence, bool held);
    /* Whether steps shall not wait on something outside: another engine's turn comes next. NULL: they never wait. On
     * the scheduler's thread. */
    void (*hurry)(tmb_engine *engine, bool hurried);
    /* Whether what is outside takes another sequence at the moment, as far as is known. NULL: there is nothing outside.
     */
    bool (*accepts)(tmb_engine *engine);
} tmb_engine_operations;

/* Every engine's struct begins with this. */
struct tmb_engine {
    const tmb_engine_operations *operations;
};

/* Every voice's struct begins with this; counted, immutable, shared between threads. */
struct tmb_voice {
    void (*destroy)(tmb_voice *voice);
    _Atomic(int) references;
    size_t bytes; /* that it holds */
};

tmb_voice *tmb_voice_retain(tmb_voice *voice);
void tmb_voice_release(tmb_voice **voice);

/* Whether the device on which the engine computes is gone, with everything on it. On the engine's thread, or while
 * nobody uses the engine. */
bool tmb_engine_device_lost(const tmb_engine *engine);

void tmb_speak_request_default(tmb_speak_request *request);

/* Seconds that UTF-8 text is likely to take to say: a guess for progress, from its letters and characters of CJK. */
double tmb_expected_seconds(const char *text);

#endif
