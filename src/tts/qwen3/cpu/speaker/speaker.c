/* ECAPA-TDNN over rows [time, channels]. */
#include "tts/qwen3/cpu/speaker/speaker_internal.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/sizes.h"
#include "base/thread.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Half an hour at 24 kHz. */
#define SAMPLES_MAX ((size_t)1800 * 24000)

typedef struct job {
    const tmb_speaker_encoder *encoder;
    tmb_team *team;
    size_t rows;
    size_t channels, width; /* of a block, of all blocks together */
    float *padded;          /* a convolution's input with its reflected rows */
    float *x, *y, *z;       /* [rows, channels] */
    float *all;             /* [rows, width]: the blocks' outputs side by side */
    float *features;        /* [rows, width] */
    float *hidden;          /* [rows, attention channels] */
    float *weights;         /* [rows, width] of the attention */
    float *statistics;      /* [2 width]: means, deviations */
    float *gate;            /* [se channels + channels] */
    const float *constant;  /* [attention channels] added to every row of `hidden` */
} job;

static void finish_relu(void *argument, const tmb_conv_tile *tile) {
    (void)argument;
    for (size_t r = 0; r < tile->rows; r++) {
        float *row = tile->output + r * tile->pitch;
        for (size_t c = 0; c < tile->columns; c++) {
            row[c] = row[c] > 0 ? row[c] : 0;
        }
    }
}

/* Every tile: plus the part that is the same for all rows, ReLU, tanh. */
static void finish_attention(void *argument, const tmb_conv_tile *tile) {
    const job *j = argument;
    for (size_t r = 0; r < tile->rows; r++) {
        float *row = tile->output + r * tile->pitch;
        for (size_t c = 0; c < tile->columns; c++) {
            float value = row[c] + j->constant[tile->column + c];
            row[c] = value > 0 ? value : 0;
        }
        j->encoder->activation.tanh(row, row, tile->columns);
    }
}

/* Rows in j->padded, from row `reflected` on, continued by their mirror images (the end rows are not repeated). */
static void reflect(const job *j, size_t reflected, size_t width) {
    for (size_t i = 1; i <= reflected; i++) {
        float *first = j->padded + reflected * width;
        float *last = first + (j->rows - 1) * width;
        memcpy(first - i * width, first + i * width, width * sizeof(float));
        memcpy(last + i * width, last - i * width, width * sizeof(float));
    }
}

/* in [rows, in] to out (rows `pitch` apart). */
static void apply_tdnn(const job *j, const tmb_speaker_tdnn *tdnn, const float *in, float *out, size_t pitch) {
    size_t width = tdnn->conv.in;
    if (tdnn->reflected != 0) {
        memmove(j->padded + tdnn->reflected * width, in, j->rows * width * sizeof(float));
        reflect(j, tdnn->reflected, width);
        in = j->padded;
    }
    tmb_conv_run run = {in, out, j->rows};
    tmb_conv_apply(&tdnn->conv, &run, 1, pitch, finish_relu, NULL, j->team);
}

/* Res2Net: channel groups one after the other, each convolved with the result of the one before. x to y. */
static void apply_groups(const job *j, const tmb_speaker_block *block) {
    size_t scale = j->encoder->config.res2net_scale;
    size_t width = j->channels / scale;
    for (size_t row = 0; row < j->rows; row++) {
        memcpy(j->y + row * j->channels, j->x + row * j->channels, width * sizeof(float));
    }
    for (size_t i = 1; i < scale; i++) {
        const tmb_speaker_tdnn *tdnn = &block->groups[i - 1];
        float *in = j->padded + tdnn->reflected * width;
        for (size_t row = 0; row < j->rows; row++) {
            const float *x = j->x + row * j->channels + i * width;
            const float *before = j->y + row * j->channels + (i - 1) * width;
            for (size_t c = 0; c < width; c++) {
                in[row * width + c] = i > 1 ? x[c] + before[c] : x[c];
            }
        }
        reflect(j, tdnn->reflected, width);
        tmb_conv_run run = {j->padded, j->y + i * width, j->rows};
        tmb_conv_apply(&tdnn->conv, &run, 1, j->channels, finish_relu, NULL, j->team);
    }
}

/* Means over time of [rows, width]. */
static void means(const float *x, size_t rows, size_t width, float *out) {
    memset(out, 0, width * sizeof *out);
    for (size_t row = 0; row < rows; row++) {
        for (size_t c = 0; c < width; c++) {
            out[c] += x[row * width + c];
        }
    }
    for (size_t c = 0; c < width; c++) {
        out[c] /= (float)rows;
    }
}

/* Input in j->z, output there and in columns [index * channels, ...) of j->all. */
static void apply_block(const job *j, const tmb_speaker_block *block, size_t index) {
    size_t squeezed = j->encoder->config.se_channels;
    apply_tdnn(j, &block->before, j->z, j->x, j->channels);
    apply_groups(j, block);
    apply_tdnn(j, &block->after, j->y, j->x, j->channels);
    float *gate = j->gate + squeezed;
    means(j->x, j->rows, j->channels, j->statistics);
    tmb_conv_run squeeze = {j->statistics, j->gate, 1};
    tmb_conv_run excite = {j->gate, gate, 1};
    tmb_conv_apply(&block->squeeze, &squeeze, 1, squeezed, finish_relu, NULL, NULL);
    tmb_conv_apply(&block->excite, &excite, 1, j->channels, NULL, NULL, NULL);
    for (size_t c = 0; c < j->channels; c++) {
        gate[c] = 1 / (1 + expf(-gate[c]));
    }
    for (size_t row = 0; row < j->rows; row++) {
        float *z = j->z + row * j->channels;
        for (size_t c = 0; c < j->channels; c++) {
            z[c] += j->x[row * j->channels + c] * gate[c];
        }
        memcpy(j->all + row * j->width + index * j->channels, z, j->channels * sizeof *z);
    }
}

/* Mean and deviation over time with the weights w [rows, width] (NULL: all equal), for columns [first, end). Weights
 * need not sum to 1. */
static void weighted_statistics(const job *j, const float *w, size_t first, size_t end) {
    for (size_t column = first; column < end; column += 64) {
        size_t columns = end - column < 64 ? end - column : 64;
        float sums[64] = {0};
        float weighted[64] = {0};
        float squares[64] = {0};
        for (size_t row = 0; row < j->rows; row++) {
            const float *x = j->features + row * j->width + column;
            for (size_t c = 0; c < columns; c++) {
                float weight = w != NULL ? w[row * j->width + column + c] : 1;
                sums[c] += weight;
                weighted[c] += weight * x[c];
            }
        }
        for (size_t c = 0; c < columns; c++) {
            weighted[c] /= sums[c];
        }
        for (size_t row = 0; row < j->rows; row++) {
            const float *x = j->features + row * j->width + column;
            for (size_t c = 0; c < columns; c++) {
                float weight = w != NULL ? w[row * j->width + column + c] : 1;
                squares[c] += weight * (x[c] - weighted[c]) * (x[c] - weighted[c]);
            }
        }
        for (size_t c = 0; c < columns; c++) {
            j->statistics[column + c] = weighted[c];
            j->statistics[j->width + column + c] = sqrtf(fmaxf(squares[c] / sums[c], 1e-12f));
        }
    }
}

static void plain_statistics_part(void *argument, int part, int parts) {
    const job *j = argument;
    weighted_statistics(j, NULL, tmb_team_begin(j->width, 16, part, parts),
                        tmb_team_begin(j->width, 16, part + 1, parts));
}

/* Softmax over time of the part's columns of j->weights, without the division, then their statistics. */
static void attention_part(void *argument, int part, int parts) {
    const job *j = argument;
    size_t first = tmb_team_begin(j->width, 16, part, parts);
    size_t end = tmb_team_begin(j->width, 16, part + 1, parts);
    for (size_t column = first; column < end; column += 64) {
        size_t columns = end - column < 64 ? end - column : 64;
        float most[64];
        memcpy(most, j->weights + column, columns * sizeof *most);
        for (size_t row = 1; row < j->rows; row++) {
            const float *w = j->weights + row * j->width + column;
            for (size_t c = 0; c < columns; c++) {
                most[c] = w[c] > most[c] ? w[c] : most[c];
            }
        }
        for (size_t row = 0; row < j->rows; row++) {
            float *w = j->weights + row * j->width + column;
            for (size_t c = 0; c < columns; c++) {
                w[c] -= most[c];
            }
            j->encoder->activation.exp(w, w, columns);
        }
    }
    weighted_statistics(j, j->weights, first, end);
}

static void embed(job *j, const float *mel, float *embedding) {
    const tmb_speaker_encoder *encoder = j->encoder;
    size_t attention = encoder->config.attention_channels;
    apply_tdnn(j, &encoder->first, mel, j->z, j->channels);
    for (size_t i = 0; i < encoder->block_count; i++) {
        apply_block(j, &encoder->blocks[i], i);
    }
    apply_tdnn(j, &encoder->aggregate, j->all, j->features, j->width);

    tmb_team_run(j->team, plain_statistics_part, j);
    tmb_conv_run constant = {j->statistics, j->gate, 1};
    tmb_conv_apply(&encoder->attention_statistics, &constant, 1, attention, NULL, NULL, NULL);
    j->constant = j->gate;
    tmb_conv_run hidden = {j->features, j->hidden, j->rows};
    tmb_conv_apply(&encoder->attention_rows, &hidden, 1, attention, finish_attention, j, j->team);
    tmb_conv_run scores = {j->hidden, j->weights, j->rows};
    tmb_conv_apply(&encoder->attention, &scores, 1, j->width, NULL, NULL, j->team);
    tmb_team_run(j->team, attention_part, j);
    tmb_conv_run last = {j->statistics, embedding, 1};
    tmb_conv_apply(&encoder->last, &last, 1, encoder->config.embedding_size, NULL, NULL, NULL);
}

static tmb_status check_samples(const tmb_speaker_encoder *encoder, const float *samples, size_t count,
                                tmb_error *error) {
    if (count < encoder->samples_min) {
        return tmb_fail(error, TMB_ERROR_ARGUMENT,
                        "the reference has %zu samples at 24 kHz (%.0f ms), the speaker encoder needs at least %zu "
                        "(%.0f ms): use a "
                        "longer one",
                        count, (double)count / 24, encoder->samples_min, (double)encoder->samples_min / 24);
    }
    if (count > SAMPLES_MAX) {
        return tmb_fail(error, TMB_ERROR_LIMIT,
                        "the reference has %zu samples, at most %zu (half an hour) are possible", count, SAMPLES_MAX);
    }
    for (size_t i = 0; i < count; i++) {
        if (!isfinite(samples[i])) {
            return tmb_fail(error, TMB_ERROR_ARGUMENT, "sample %zu of the reference is not a finite number", i);
        }
    }
    return TMB_OK;
}

tmb_status tmb_speaker_mel(const tmb_speaker_encoder *encoder, tmb_team *team, const float *samples, size_t count,
                           float **mel, size_t *rows, tmb_error *error) {
    *mel = NULL;
    *rows = tmb_mel_frames(count);
    tmb_status status = check_samples(encoder, samples, count, error);
    size_t size = *rows * encoder->config.mel_bands;
    if (status == TMB_OK && (*mel = tmb_alloc_aligned(size, sizeof **mel)) == NULL) {
        status = tmb_fail_memory(error, "the mel spectrogram", size * sizeof **mel);
    }
    if (status == TMB_OK) {
        unsigned denormals = tmb_denormals_flush();
        status = tmb_mel_compute(encoder->mel, team, samples, count, *mel, error);
        tmb_denormals_restore(denormals);
    }
    if (status != TMB_OK) {
        free(*mel);
        *mel = NULL;
    }
    return status;
}

/* Floats of the largest reflected input. */
static size_t padded_size(const tmb_speaker_encoder *encoder, size_t rows) {
    const tmb_qwen3_speaker_config *config = &encoder->config;
    size_t size = (rows + 2 * encoder->first.reflected) * config->mel_bands;
    size = tmb_max_size(size, (rows + 2 * encoder->aggregate.reflected) * encoder->aggregate.conv.in);
    for (size_t i = 0; i < encoder->block_count; i++) {
        const tmb_speaker_tdnn *group = &encoder->blocks[i].groups[0];
        size = tmb_max_size(size, (rows + 2 * group->reflected) * group->conv.in);
    }
    return size;
}

tmb_status tmb_speaker_embed(const tmb_speaker_encoder *encoder, tmb_team *team, const float *samples, size_t count,
                             float *embedding, tmb_error *error) {
    tmb_status status = check_samples(encoder, samples, count, error);
    if (status != TMB_OK) {
        return status;
    }
    const tmb_qwen3_speaker_config *config = &encoder->config;
    job j = {.encoder = encoder,
             .team = team,
             .rows = tmb_mel_frames(count),
             .channels = config->channels[0],
             .width = encoder->aggregate.conv.out};
    float *mel = NULL;
    struct {
        float **address;
        size_t size;
    } buffers[] = {
        {&mel, j.rows * config->mel_bands},
        {&j.padded, padded_size(encoder, j.rows)},
        {&j.x, j.rows * j.channels},
        {&j.y, j.rows * j.channels},
        {&j.z, j.rows * j.channels},
        {&j.all, j.rows * j.width},
        {&j.features, j.rows * j.width},
        {&j.weights, j.rows * j.width},
        {&j.hidden, j.rows * config->attention_channels},
        {&j.statistics, 2 * tmb_max_size(j.width, j.channels)},
        {&j.gate, tmb_max_size(config->se_channels + j.channels, config->attention_channels)},
    };
    for (size_t i = 0; i < sizeof buffers / sizeof buffers[0] && status == TMB_OK; i++) {
        *buffers[i].address = tmb_alloc_aligned(buffers[i].size, sizeof(float));
        if (*buffers[i].address == NULL) {
            status = tmb_fail_memory(error, "the speaker encoder", buffers[i].size * sizeof(float));
        }
    }
    unsigned denormals = tmb_denormals_flush();
    if (status == TMB_OK) {
        status = tmb_mel_compute(encoder->mel, team, samples, count, mel, error);
    }
    if (status == TMB_OK) {
        embed(&j, mel, embedding);
    }
    tmb_denormals_restore(denormals);
    for (size_t i = 0; i < sizeof buffers / sizeof buffers[0]; i++) {
        free(*buffers[i].address);
    }
    return status;
}
