#include "tts/qwen3/cpu/codec/decoder_internal.h"

#include "base/error.h"
#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

static size_t cache_floats(const tmb_codec_decoder *decoder) {
    return tmb_codec_cache_size(&decoder->transformer_config, decoder->cache_rows);
}

size_t tmb_codec_state_bytes(const tmb_codec_decoder *decoder) {
    return sizeof(tmb_codec_state) + (decoder->history_floats + cache_floats(decoder)) * sizeof(float);
}

tmb_status tmb_codec_state_create(const tmb_codec_decoder *decoder, tmb_codec_state **out, tmb_error *error) {
    *out = NULL;
    tmb_codec_state *state = tmb_calloc(1, sizeof *state);
    if (state != NULL) {
        state->decoder = decoder;
        state->histories = tmb_alloc_aligned(decoder->history_floats, sizeof(float));
        state->cache = tmb_alloc_aligned(cache_floats(decoder), sizeof(float));
    }
    if (state == NULL || state->histories == NULL || state->cache == NULL) {
        tmb_codec_state_destroy(&state);
        return tmb_fail_memory(error, "the state of a codec decoder", tmb_codec_state_bytes(decoder));
    }
    *out = state;
    return TMB_OK;
}

tmb_status tmb_codec_state_clone(const tmb_codec_state *state, tmb_codec_state **out, tmb_error *error) {
    tmb_status status = tmb_codec_state_create(state->decoder, out, error);
    if (status == TMB_OK) {
        tmb_codec_state_copy(*out, state);
    }
    return status;
}

void tmb_codec_state_copy(tmb_codec_state *state, const tmb_codec_state *from) {
    const tmb_codec_decoder *decoder = state->decoder;
    memcpy(state->histories, from->histories, decoder->history_floats * sizeof(float));
    memcpy(state->cache, from->cache, cache_floats(decoder) * sizeof(float));
    state->filled = from->filled;
    state->position = from->position;
}

/* Rows of the cache that are not filled are never read. */
void tmb_codec_state_reset(tmb_codec_state *state) {
    memset(state->histories, 0, state->decoder->history_floats * sizeof(float));
    state->filled = 0;
    state->position = 0;
}

void tmb_codec_state_destroy(tmb_codec_state **address) {
    tmb_codec_state *state = *address;
    *address = NULL;
    if (state != NULL) {
        free(state->histories);
        free(state->cache);
        free(state);
    }
}
