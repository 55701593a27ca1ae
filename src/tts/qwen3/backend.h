/* What computes the networks of a checkpoint: one table of whole steps for each backend.
 *
 * The engine (batch/) decides what is spoken, when and with which seeds, and calls nothing but this table; a backend
 * owns weights, buffers, threads and whatever device there is. Prompts are handed over as ids (prompt/prompt.h), codes
 * are picked by the common rules (rules/rules.h). docs/internals/add-a-backend.md says what a new one needs.
 *
 * Threads: load, sequences, streams, prefill, begin, step and the decode functions belong to the engine's thread.
 * embed_speaker, encode and encode_bytes may be called from any thread at the same time; a backend serializes them
 * itself.
 */
#ifndef TMB_TTS_QWEN3_BACKEND_H
#define TMB_TTS_QWEN3_BACKEND_H

#include "base/log.h"
#include "tts/qwen3/config.h"
#include "tts/qwen3/precision.h"
#include "tts/qwen3/prompt/prompt.h"
#include "tts/qwen3/rules/rules.h"
#include "weights/safetensors.h"

/* Most frames of one stream in a decode job, and most frames before them that are only heard through what follows. */
#define TMB_DECODE_FRAMES 16
#define TMB_DECODE_CONTEXT 127

/* Each backend's own: the loaded networks with the buffers that step them, one utterance of the language model, one
 * stream of the codec decoder. */
typedef struct tmb_net tmb_net;
typedef struct tmb_net_sequence tmb_net_sequence;
typedef struct tmb_net_stream tmb_net_stream;

/* Bytes in each kind of memory. */
typedef struct tmb_net_bytes {
    size_t host, device;
} tmb_net_bytes;

/* The checkpoint's files, opened. */
typedef struct tmb_net_files {
    const tmb_qwen3_config *config;
    const tmb_safetensors *weights;       /* model.safetensors; must outlive the networks */
    const tmb_safetensors *codec_weights; /* speech_tokenizer/model.safetensors; likewise */
} tmb_net_files;

typedef struct tmb_net_options {
    tmb_qwen3_precisions precisions;
    int threads;                /* >= 1 */
    size_t sequences;           /* that are stepped at once, at most */
    const char *pack_directory; /* cache of packed weights; NULL: none */
    int device;                 /* which one, if the backend has several */
    uint64_t device_memory;     /* bytes of its memory that there are for models and sequences; 0: unknown */
    bool encoders_on_host;      /* the encoders of recordings are left to the CPU */
    bool codec_on_host;         /* the codec decoder is left to the CPU */
    tmb_logger *logger;         /* may be NULL */
} tmb_net_options;

/* Frames of one stream to be decoded. The codes are copied. */
typedef struct tmb_decode_request {
    void *owner; /* comes back with the result */
    tmb_net_stream *stream;
    bool restarts;          /* the stream is reset first */
    const int16_t *context; /* [context_frames, books]: go before, their audio is not wanted */
    size_t context_frames;  /* at most TMB_DECODE_CONTEXT */
    const int16_t *codes;   /* [frames, books] */
    size_t frames;          /* at most TMB_DECODE_FRAMES */
} tmb_decode_request;

typedef struct tmb_decode_result {
    void *owner;
    const float *samples; /* of `frames` frames, on the host; valid until decode_clear */
    size_t context_frames, frames;
} tmb_decode_result;

typedef struct tmb_qwen3_backend {
    const char *name; /* "cpu", "cuda" */

    /* Whether this machine has what it takes, as far as can be told without making the device ready: it is asked often.
     * TMB_ERROR_UNSUPPORTED says what is missing. */
    tmb_status (*available)(int device, tmb_error *error);
    /* Whether the device was lost, and with it everything on it: steps fail from then on. NULL: that cannot be. */
    bool (*lost)(const tmb_net *net, tmb_error *error);

    /* Bytes that load will hold, from the files' headers. TMB_ERROR_MODEL as load. */
    tmb_status (*estimate)(const tmb_net_files *files, const tmb_net_options *options, tmb_net_bytes *bytes,
                           tmb_error *error);
    /* Bytes of a sequence with `positions` and of a stream, from the files' headers. NULL: there is no device. */
    tmb_status (*estimate_utterance)(const tmb_net_files *files, const tmb_net_options *options, size_t positions,
                                     tmb_net_bytes *bytes, tmb_error *error);
    /* What there is of the device's memory for this process, in use or free. NULL: there is no device. */
    tmb_status (*room)(tmb_net *net, uint64_t *bytes, tmb_error *error);
    /* TMB_ERROR_MODEL if a tensor is missing or has another shape (named in the message), TMB_ERROR_MEMORY,
     * TMB_ERROR_UNSUPPORTED for a precision or shape that the backend does not have. The speaker
     * encoder is loaded if the checkpoint clones voices; the codec encoder when it is first used. */
    tmb_status (*load)(const tmb_net_files *files, const tmb_net_options *options, tmb_net **out, tmb_error *error);
    void (*destroy)(tmb_net **net);
    /* Fixed bytes, independent of live sequences: weights and buffers. */
    tmb_net_bytes (*bytes)(const tmb_net *net);

    /* ---- The language model: sequences ---- */

    /* Bytes of one with `positions`. */
    tmb_net_bytes (*sequence_bytes)(const tmb_net *net, size_t positions);
    /* A sequence without prompt; room for `positions` (fork and prefill allocate more if they need them). */
    tmb_status (*sequence_create)(tmb_net *net, size_t positions, tmb_net_sequence **out, tmb_error *error);
    void (*sequence_destroy)(tmb_net *net, tmb_net_sequence **sequence);
    size_t (*sequence_positions)(const tmb_net_sequence *sequence);
    /* The first `count` positions of another sequence's prompt, instead of prefilling them again. Whatever the
     * sequence had is dropped. With `count` 0 that is all; `from` may then be the sequence itself. */
    tmb_status (*sequence_fork)(tmb_net *net, tmb_net_sequence *sequence, const tmb_net_sequence *from, size_t count,
                                tmb_error *error);
    /* Appends rows `first` to `first + count - 1` of a prompt. Before the first step only. TMB_ERROR_LIMIT over the
     * model's positions, TMB_ERROR_MEMORY. */
    tmb_status (*prefill)(tmb_net *net, tmb_net_sequence *sequence, const tmb_prompt *prompt, size_t first,
                          size_t count, tmb_error *error);
    /* Ends the prompt: how codes are picked, and the text that is added to later frames. */
    tmb_status (*begin)(tmb_net *net, tmb_net_sequence *sequence, const tmb_lm_sampling *sampling,
                        const tmb_prompt *prompt, tmb_error *error);
    /* Device bytes that the sequence needs before it is stepped, in addition to what it has, and taking them: a step
     * allocates nothing on a device, and a sequence that lacks them FAILED. Errors as prefill. NULL: there is none. */
    size_t (*sequence_needs)(const tmb_net *net, const tmb_net_sequence *sequence);
    tmb_status (*sequence_grow)(tmb_net *net, tmb_net_sequence *sequence, tmb_error *error);
    /* One frame for each sequence: codes [count, code groups], outcomes [count]. A sequence whose outcome is not a
     * frame must not be stepped again. What becomes of a sequence does not depend on those that are stepped with it. */
    void (*step)(tmb_net *net, tmb_net_sequence *const *sequences, size_t count, int16_t *codes,
                 tmb_lm_outcome *outcomes);
    /* Whether the last step failed as a whole: then why. NULL: it cannot. */
    bool (*step_failed)(const tmb_net *net, tmb_error *error);

    /* ---- The codec decoder: streams ---- */

    tmb_net_bytes (*stream_bytes)(const tmb_net *net);
    /* A new stream, as before its first frame. */
    tmb_status (*stream_create)(tmb_net *net, tmb_net_stream **out, tmb_error *error);
    void (*stream_destroy)(tmb_net *net, tmb_net_stream **stream);
    /* A copy that goes on independently; and *stream = *from without allocating. */
    tmb_status (*stream_clone)(tmb_net *net, const tmb_net_stream *stream, tmb_net_stream **out, tmb_error *error);
    void (*stream_copy)(tmb_net *net, tmb_net_stream *stream, const tmb_net_stream *from);

    /* One job at a time. A request is added while the job is idle, at most one for each stream and as many as there
     * may be sequences; start runs them (with none it returns at once), alongside the language model if the backend
     * can. */
    bool (*decode_idle)(const tmb_net *net);
    void (*decode_add)(tmb_net *net, const tmb_decode_request *request);
    void (*decode_start)(tmb_net *net);
    /* Returns true if results wait; `wait_seconds` is how long to wait for a job that runs. */
    bool (*decode_done)(tmb_net *net, double wait_seconds);
    size_t (*decode_count)(const tmb_net *net);
    tmb_status (*decode_result)(const tmb_net *net, size_t index, tmb_decode_result *result, tmb_error *error);
    void (*decode_clear)(tmb_net *net);
    /* Seconds that jobs took and the frames that they decoded, since this was last asked; while no job runs. */
    double (*decode_seconds)(tmb_net *net, size_t *frames);

    /* ---- Encoders ---- */

    /* embedding [D] = the x-vector of mono samples at the speaker encoder's rate. TMB_ERROR_ARGUMENT if they are too
     * few or not finite; TMB_ERROR_UNSUPPORTED if the checkpoint has no speaker encoder. */
    tmb_status (*embed_speaker)(tmb_net *net, const float *samples, size_t count, float *embedding, tmb_error *error);
    /* *codes [*frames, books], to be freed with free(): mono samples at the codec's rate. */
    tmb_status (*encode)(tmb_net *net, const float *samples, size_t count, int16_t **codes, size_t *frames,
                         tmb_error *error);
    /* Temporary host bytes that encoding `count` samples needs, at most; without `codes` the x-vector alone. */
    size_t (*encode_bytes)(const tmb_net *net, size_t count, bool codes);
} tmb_qwen3_backend;

/* The backends that are built, the CPU's first; NULL after the last. */
const tmb_qwen3_backend *const *tmb_qwen3_backends(void);
/* By name; NULL if there is none. */
const tmb_qwen3_backend *tmb_qwen3_backend_find(const char *name);

extern const tmb_qwen3_backend tmb_qwen3_cpu_backend, tmb_qwen3_cuda_backend;

#endif
