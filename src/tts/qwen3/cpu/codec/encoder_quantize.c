#include "tts/qwen3/cpu/codec/encoder_internal.h"

#include "base/error.h"
#include "base/memory.h"

#include <stdlib.h>

typedef struct search {
    const tmb_codec_quantizer *quantizer;
    size_t book, size, width;
    size_t frames, books, column; /* the code goes to codes[frame * books + column] */
    float *residual;              /* [frames, width] */
    const float *products;        /* [frames, size]: residual times each entry */
    int16_t *codes;
    float *entries; /* [parts, width], scratch */
} search;

/* The nearest entry of each of the part's frames: least |entry|^2 - 2 entry . residual, the first of equals. */
static void search_part(void *argument, int part, int parts) {
    const search *s = argument;
    const float *norms = s->quantizer->norms[s->book];
    float *entry = s->entries + (size_t)part * s->width;
    size_t end = tmb_team_begin(s->frames, 1, part + 1, parts);
    for (size_t frame = tmb_team_begin(s->frames, 1, part, parts); frame < end; frame++) {
        const float *products = s->products + frame * s->size;
        size_t nearest = 0;
        float least = norms[0] - 2 * products[0];
        for (size_t i = 1; i < s->size; i++) {
            float distance = norms[i] - 2 * products[i];
            if (distance < least) {
                least = distance;
                nearest = i;
            }
        }
        s->codes[frame * s->books + s->column] = (int16_t)nearest;
        tmb_conv_unpack(&s->quantizer->books[s->book], nearest, entry);
        for (size_t k = 0; k < s->width; k++) {
            s->residual[frame * s->width + k] -= entry[k];
        }
    }
}

/* Residual quantization: each book takes what the ones before it left. */
static void quantize(search *s, const tmb_codec_quantizer *quantizer, const float *latent, float *products,
                     tmb_team *team) {
    tmb_conv_run project = {latent, s->residual, s->frames};
    tmb_conv_apply(&quantizer->projection, &project, 1, s->width, NULL, NULL, team);
    s->quantizer = quantizer;
    s->products = products;
    for (s->book = 0; s->book < quantizer->count; s->book++, s->column++) {
        tmb_conv_run run = {s->residual, products, s->frames};
        tmb_conv_apply(&quantizer->books[s->book], &run, 1, s->size, NULL, NULL, team);
        tmb_team_run(team, search_part, s);
    }
}

tmb_status tmb_codec_encoder_quantize(const tmb_codec_encoder *encoder, tmb_team *team, const float *latent,
                                      size_t frames, int16_t *codes, tmb_error *error) {
    search s = {.size = encoder->config.codebook_size,
                .width = encoder->config.codebook_dim,
                .frames = frames,
                .books = encoder->books,
                .codes = codes};
    s.residual = tmb_alloc_aligned(frames * s.width, sizeof(float));
    s.entries = tmb_alloc_aligned((size_t)tmb_team_threads(team) * s.width, sizeof(float));
    float *products = tmb_alloc_aligned(frames * s.size, sizeof(float));
    tmb_status status = TMB_OK;
    if (s.residual != NULL && s.entries != NULL && products != NULL) {
        quantize(&s, &encoder->semantic, latent, products, team);
        quantize(&s, &encoder->acoustic, latent, products, team);
    } else {
        status = tmb_fail_memory(error, "the codec's quantizer", frames * s.size * sizeof(float));
    }
    free(s.residual);
    free(s.entries);
    free(products);
    return status;
}
