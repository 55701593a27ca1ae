/* Rows that a causal convolution keeps of what went before, in the state of a stream. */
#ifndef TMB_TTS_QWEN3_CPU_CODEC_HISTORY_H
#define TMB_TTS_QWEN3_CPU_CODEC_HISTORY_H

#include <stddef.h>

typedef struct tmb_codec_history {
    size_t rows, width;
    size_t offset; /* in floats, of all layers' */
} tmb_codec_history;

/* Gives a layer its place behind the `floats` of those before it. */
static inline void tmb_codec_history_reserve(tmb_codec_history *history, size_t rows, size_t width, size_t *floats) {
    *history = (tmb_codec_history){rows, width, *floats};
    *floats += rows * width;
}

#endif
