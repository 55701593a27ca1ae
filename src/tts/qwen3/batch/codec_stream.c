#include "tts/qwen3/batch/codec_stream.h"

#include "base/error.h"
#include "base/memory.h"

#include <stdlib.h>

tmb_status tmb_codec_decode_reference(tmb_codec_workspace *workspace, const tmb_codec_decoder *decoder, tmb_codec_state *state,
                                      const int16_t *codes, size_t frames, bool official, float *last, tmb_error *error) {
    size_t books = tmb_codec_decoder_books(decoder);
    size_t samples = tmb_codec_samples_per_frame(decoder);
    *last = 0;
    tmb_codec_state_reset(state);
    if (frames == 0) {
        return TMB_OK;
    }
    float *out = tmb_calloc(samples, sizeof *out);
    if (out == NULL) {
        return tmb_fail_memory(error, "a frame of audio", samples * sizeof *out);
    }
    /* Only what the state at the end depends on: from the last restart on. */
    size_t start = official ? (frames - 1) / TMB_CODEC_PIECE_FRAMES * TMB_CODEC_PIECE_FRAMES : 0;
    size_t context = start < TMB_CODEC_CONTEXT_FRAMES ? start : TMB_CODEC_CONTEXT_FRAMES;
    tmb_codec_piece before = {state, codes + (start - context) * books, frames - 1 - (start - context), NULL};
    tmb_status status = tmb_codec_decode(workspace, &before, 1, error);
    if (status == TMB_OK) {
        tmb_codec_piece end = {state, codes + (frames - 1) * books, 1, out};
        status = tmb_codec_decode(workspace, &end, 1, error);
        *last = out[samples - 1];
    }
    free(out);
    return status;
}
