/* The codec decoder over one stream of frames, as the official implementation would decode it or without its
 * restarts.
 *
 * Frames count from the start of the reference. Officially the decoder starts afresh at every 300th frame, with the 25
 * before it as context; without that it goes on.
 */
#ifndef TMB_TTS_QWEN3_BATCH_CODEC_STREAM_H
#define TMB_TTS_QWEN3_BATCH_CODEC_STREAM_H

#include "tts/qwen3/backend.h"

#define TMB_CODEC_PIECE_FRAMES 300
#define TMB_CODEC_CONTEXT_FRAMES 25

/* How many of `frames` frames from frame `position` on can be decoded before the next restart. */
static inline size_t tmb_codec_until_restart(size_t position, size_t frames, bool official) {
    size_t left = TMB_CODEC_PIECE_FRAMES - position % TMB_CODEC_PIECE_FRAMES;
    return official && frames > left ? left : frames;
}

static inline bool tmb_codec_restarts_at(size_t position, bool official) {
    return official && position > 0 && position % TMB_CODEC_PIECE_FRAMES == 0;
}

/* How many of a reference's frames the state behind it depends on: from the last restart on, with its context. */
static inline size_t tmb_codec_reference_frames(size_t frames, bool official) {
    if (!official || frames == 0) {
        return frames;
    }
    size_t start = (frames - 1) / TMB_CODEC_PIECE_FRAMES * TMB_CODEC_PIECE_FRAMES;
    return frames - start + (start < TMB_CODEC_CONTEXT_FRAMES ? start : TMB_CODEC_CONTEXT_FRAMES);
}

#endif
