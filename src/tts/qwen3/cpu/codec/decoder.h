/* Codec decoder of Qwen3-TTS: codes to waveform.
 *
 * Split residual vector quantizer -> causal convolution -> transformer with a sliding window ->
 * upsampling (transposed convolutions, ConvNeXt) -> four blocks of Snake, transposed convolution and dilated
 * residual units -> waveform in [-1, 1]. Everything is causal, so a stream that keeps each layer's last
 * inputs gives, frame by frame, exactly the samples of the whole: how codes are cut into calls, and what else
 * is in a call, never changes a bit of the result.
 *
 * After `decoder.*` of the official speech_tokenizer checkpoint (qwen-tts 0.1.1).
 */
#ifndef TMB_TTS_QWEN3_CPU_CODEC_DECODER_H
#define TMB_TTS_QWEN3_CPU_CODEC_DECODER_H

#include "base/team.h"
#include "timbre/timbre.h"
#include "tts/qwen3/precision.h"

typedef struct tmb_safetensors tmb_safetensors;
typedef struct tmb_qwen3_codec_config tmb_qwen3_codec_config;

/* Weights: immutable, shared between threads, packed in the order in which this CPU reads them. */
typedef struct tmb_codec_decoder tmb_codec_decoder;

/* What one stream remembers: the last inputs of each layer, the attention's keys and values. */
typedef struct tmb_codec_state tmb_codec_state;

/* Buffers for one thread that decodes. */
typedef struct tmb_codec_workspace tmb_codec_workspace;

/* Reads the tensors `decoder.*`. Nothing of `weights` is needed afterwards. TMB_ERROR_MODEL if a tensor is
 * missing or has another shape than the configuration says (named in the message), TMB_ERROR_MEMORY. */
tmb_status tmb_codec_decoder_load(const tmb_qwen3_codec_config *config, const tmb_safetensors *weights,
                                  tmb_codec_precision precision, tmb_codec_decoder **out, tmb_error *error);
void tmb_codec_decoder_destroy(tmb_codec_decoder **decoder);

/* The same in parts, for several threads: after create every part once, different ones at the same time if wanted;
 * when all are there, loaded. Otherwise only destroy may follow. */
tmb_status tmb_codec_decoder_create(const tmb_qwen3_codec_config *config, tmb_codec_precision precision,
                                    tmb_codec_decoder **out, tmb_error *error);
size_t tmb_codec_decoder_parts(const tmb_codec_decoder *decoder);
tmb_status tmb_codec_decoder_load_part(tmb_codec_decoder *decoder, const tmb_safetensors *weights, size_t part,
                                       tmb_error *error);
void tmb_codec_decoder_loaded(tmb_codec_decoder *decoder);

/* Bytes of weights that a decoder of this configuration holds, within a few percent; SIZE_MAX if the
 * configuration's sizes are absurd. And of a loaded one, exactly. */
size_t tmb_codec_decoder_estimate(const tmb_qwen3_codec_config *config, tmb_codec_precision precision);
size_t tmb_codec_decoder_bytes(const tmb_codec_decoder *decoder);

size_t tmb_codec_samples_per_frame(const tmb_codec_decoder *decoder); /* [1920] */
size_t tmb_codec_decoder_books(const tmb_codec_decoder *decoder);     /* codes in a frame [16] */
/* Frames that the next sample depends on through convolutions [10]; the transformer before them looks back further. */
size_t tmb_codec_decoder_lookback(const tmb_codec_decoder *decoder);

/* A new stream, as before its first frame. `decoder` must outlive it. */
tmb_status tmb_codec_state_create(const tmb_codec_decoder *decoder, tmb_codec_state **out, tmb_error *error);
/* A copy that goes on independently: a voice keeps the state after its reference, each utterance clones it. */
tmb_status tmb_codec_state_clone(const tmb_codec_state *state, tmb_codec_state **out, tmb_error *error);
/* *state = *from, without allocating; both of one decoder. */
void tmb_codec_state_copy(tmb_codec_state *state, const tmb_codec_state *from);
void tmb_codec_state_reset(tmb_codec_state *state);
void tmb_codec_state_destroy(tmb_codec_state **state);
/* Bytes of one state of this decoder. */
size_t tmb_codec_state_bytes(const tmb_codec_decoder *decoder);

/* Buffers for tmb_codec_decode. `frames` (>= 1) is how many frames, of all sequences together, go through the
 * network at once: more make weights that come from memory serve more frames, 16 are plenty. `team` (NULL:
 * one thread) must outlive it. */
tmb_status tmb_codec_workspace_create(const tmb_codec_decoder *decoder, size_t frames, tmb_team *team,
                                      tmb_codec_workspace **out, tmb_error *error);
size_t tmb_codec_workspace_bytes(const tmb_codec_workspace *workspace);
void tmb_codec_workspace_destroy(tmb_codec_workspace **workspace);

/* One piece of one stream. */
typedef struct tmb_codec_piece {
    tmb_codec_state *state;
    const int16_t *codes; /* [frames, books], each 0 <= code < codebook size */
    size_t frames;        /* may be 0 */
    float *samples;       /* [frames * samples per frame], written; NULL: only the state goes on (for the
                             reference that precedes an utterance), which costs little: only as many of the last
                             frames as the convolutions look back go through them */
} tmb_codec_piece;

/* Decodes `count` pieces of different streams together. A code out of range: TMB_ERROR_ARGUMENT that names
 * it, before anything is decoded. Does not allocate. */
tmb_status tmb_codec_decode(tmb_codec_workspace *workspace, const tmb_codec_piece *pieces, size_t count,
                            tmb_error *error);

#endif
