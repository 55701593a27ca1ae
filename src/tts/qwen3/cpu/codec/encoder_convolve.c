/* The encoder's convolutions, samples to rows of the transformer, in slices.
 *
 * Every layer keeps its last input rows, so slices give exactly what the whole signal would. Long slices go through the
 * last stages, whose weights are large; each of them is made of short ones through the first stages, whose rows
 * would not stay in the cache otherwise. Only the end of the signal may be no multiple of a stride: there each
 * layer's own input is filled up with zeros.
 */
#include "tts/qwen3/cpu/codec/encoder_internal.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/sizes.h"

#include <stdlib.h>
#include <string.h>

/* Transformer rows in a long slice (2 s), and samples in a short one, about. Longer ones are no faster and take more
 * memory. */
#define LONG_ROWS 48
#define SHORT_SAMPLES 3072

/* Input of a convolution, with `history` rows before the new ones. */
typedef struct plane {
    float *data;
    size_t width, history;
} plane;

typedef struct slots {
    float *in, *mid; /* inputs of convolutions, with history */
    float *raw, *out;
} slots;

typedef struct job {
    const tmb_codec_encoder *encoder;
    tmb_team *team;
    float *memory;     /* [memory_floats] */
    slots deep;        /* for long slices */
    slots shallow;     /* for short ones */
    float *samples;    /* first_memory.rows and a short slice */
    size_t short_rows; /* of the boundary between the two, in a short slice */
    size_t short_samples, long_samples;
} job;

static float *rows_of(const plane *p) { return p->data + p->history * p->width; }

static void load_memory(const job *j, const plane *p, const tmb_codec_history *memory) {
    memcpy(p->data, j->memory + memory->offset, memory->rows * memory->width * sizeof(float));
}

static void save_memory(const job *j, const plane *p, const tmb_codec_history *memory, size_t rows) {
    memcpy(j->memory + memory->offset, p->data + rows * p->width, memory->rows * memory->width * sizeof(float));
}

/* A finished tile, or its sum with `add_to`, through ELU into `to`. */
typedef struct elu_finish {
    const tmb_activation_kernels *activation;
    float *add_to; /* NULL: none; rows as the tile's */
    float *to;     /* NULL: in place */
} elu_finish;

static void finish_elu(void *argument, const tmb_conv_tile *tile) {
    const elu_finish *f = argument;
    size_t offset = tile->row * tile->pitch + tile->column;
    float *x = f->add_to != NULL ? f->add_to + offset : tile->output;
    float *to = f->to != NULL ? f->to + offset : tile->output;
    f->activation->elu(x, tile->pitch, f->add_to != NULL ? tile->output : NULL, tile->pitch, to, tile->pitch,
                       tile->rows, tile->columns);
}

static void convolve(const job *j, const tmb_conv *conv, const plane *in, float *out, size_t rows,
                     const elu_finish *finish) {
    elu_finish own = finish != NULL ? *finish : (elu_finish){0};
    tmb_conv_run run = {in->data, out, rows};
    tmb_conv_apply(conv, &run, 1, conv->out, finish != NULL ? finish_elu : NULL, &own, j->team);
}

/* What the first layer of stage `index` remembers; after the last stage, that of the last convolution. */
static const tmb_codec_history *stage_memory(const tmb_codec_encoder *encoder, size_t index) {
    if (index == encoder->config.stages) {
        return &encoder->last_memory;
    }
    const tmb_codec_stage *stage = &encoder->stages[index];
    return stage->residuals != 0 ? &stage->residual[0].memory : &stage->memory;
}

/* `rows` rows, raw in s->raw and through ELU in s->in with the history of the stage's first layer, to
 * ceil(rows / ratio) rows in `raw` and, through ELU, `next`. */
static void run_stage(const job *j, const slots *s, const tmb_codec_stage *stage, size_t rows, float *raw,
                      float *next) {
    const tmb_activation_kernels *activation = &j->encoder->activation;
    plane in = {s->in, stage->channels, 0};
    for (size_t i = 0; i < stage->residuals; i++) {
        const tmb_codec_residual *residual = &stage->residual[i];
        const tmb_codec_history *after = i + 1 < stage->residuals ? &stage->residual[i + 1].memory : &stage->memory;
        plane middle = {s->mid, residual->wide.out, 0};
        in.history = residual->memory.rows;
        load_memory(j, &in, &residual->memory);
        save_memory(j, &in, &residual->memory, rows);
        convolve(j, &residual->wide, &in, middle.data, rows, &(elu_finish){activation, NULL, NULL});
        in.history = after->rows;
        convolve(j, &residual->pointwise, &middle, s->out, rows, &(elu_finish){activation, s->raw, rows_of(&in)});
    }
    size_t outputs = (rows + stage->ratio - 1) / stage->ratio;
    in.history = stage->memory.rows;
    load_memory(j, &in, &stage->memory);
    save_memory(j, &in, &stage->memory, rows);
    memset(rows_of(&in) + rows * in.width, 0, (outputs * stage->ratio - rows) * in.width * sizeof(float));
    convolve(j, &stage->down, &in, raw, outputs, &(elu_finish){activation, NULL, next});
}

static void swap_inputs(slots *s) {
    float *in = s->in;
    s->in = s->mid;
    s->mid = in;
}

/* Stages [first, end) of `rows` rows; the last one's output goes to `raw` and `next`. Returns its rows. */
static size_t run_stages(const job *j, slots s, size_t first, size_t end, size_t rows, float *raw, float *next) {
    const tmb_codec_encoder *encoder = j->encoder;
    for (size_t i = first; i < end; i++) {
        const tmb_codec_stage *stage = &encoder->stages[i];
        const tmb_codec_history *after = stage_memory(encoder, i + 1);
        plane to = {s.mid, after->width, after->rows};
        run_stage(j, &s, stage, rows, i + 1 < end ? s.raw : raw, i + 1 < end ? rows_of(&to) : next);
        rows = (rows + stage->ratio - 1) / stage->ratio;
        swap_inputs(&s);
    }
    return rows;
}

/* A short slice through the first convolution and the first stages. */
static size_t run_short(const job *j, const float *samples, size_t count, float *raw, float *next) {
    const tmb_codec_encoder *encoder = j->encoder;
    const tmb_codec_history *memory = stage_memory(encoder, 0);
    plane in = {j->samples, 1, encoder->first_memory.rows};
    load_memory(j, &in, &encoder->first_memory);
    memcpy(rows_of(&in), samples, count * sizeof(float));
    save_memory(j, &in, &encoder->first_memory, count);
    if (encoder->split == 0) {
        convolve(j, &encoder->first, &in, raw, count, &(elu_finish){&encoder->activation, NULL, next});
        return count;
    }
    plane to = {j->shallow.in, memory->width, memory->rows};
    convolve(j, &encoder->first, &in, j->shallow.raw, count, &(elu_finish){&encoder->activation, NULL, rows_of(&to)});
    return run_stages(j, j->shallow, 0, encoder->split, count, raw, next);
}

/* A long slice; returns the rows of `out` that it made. */
static size_t run_long(const job *j, const float *samples, size_t count, float *out) {
    const tmb_codec_encoder *encoder = j->encoder;
    const tmb_codec_history *boundary = stage_memory(encoder, encoder->split);
    plane in = {j->deep.in, boundary->width, boundary->rows};
    size_t rows = 0;
    for (size_t done = 0; done < count; done += j->short_samples) {
        size_t some = count - done < j->short_samples ? count - done : j->short_samples;
        rows += run_short(j, samples + done, some, j->deep.raw + rows * in.width, rows_of(&in) + rows * in.width);
    }
    plane last = {(encoder->config.stages - encoder->split) % 2 == 0 ? j->deep.in : j->deep.mid,
                  encoder->last_memory.width, encoder->last_memory.rows};
    rows = run_stages(j, j->deep, encoder->split, encoder->config.stages, rows, j->deep.raw, rows_of(&last));
    load_memory(j, &last, &encoder->last_memory);
    save_memory(j, &last, &encoder->last_memory, rows);
    convolve(j, &encoder->last, &last, out, rows, NULL);
    return rows;
}

typedef struct sizes {
    size_t input, raw, out;
} sizes;

/* Floats of the slots that stages [first, end) and what follows them need for `rows` rows. */
static sizes slot_sizes(const tmb_codec_encoder *encoder, size_t first, size_t end, size_t rows) {
    sizes s = {0};
    for (size_t i = first; i < end; i++) {
        const tmb_codec_stage *stage = &encoder->stages[i];
        size_t history = stage->memory.rows;
        for (size_t k = 0; k < stage->residuals; k++) {
            history = tmb_max_size(history, stage->residual[k].memory.rows);
        }
        s.input = tmb_max_size(s.input, (rows + stage->ratio + history) * stage->channels);
        s.raw = tmb_max_size(s.raw, rows * stage->channels);
        s.out = tmb_max_size(s.out, rows * stage->channels);
        rows = (rows + stage->ratio - 1) / stage->ratio;
    }
    const tmb_codec_history *after = stage_memory(encoder, end);
    s.input = tmb_max_size(s.input, (rows + after->rows) * after->width);
    s.raw = tmb_max_size(s.raw, rows * after->width);
    return s;
}

/* Lengths of the slices: short ones in whole rows of the boundary, long ones in whole short ones. */
static void plan(job *j) {
    const tmb_codec_encoder *encoder = j->encoder;
    size_t step = 1; /* samples in a row of the boundary */
    for (size_t i = 0; i < encoder->split; i++) {
        step *= encoder->stages[i].ratio;
    }
    j->long_samples = LONG_ROWS * encoder->hop;
    j->short_rows = tmb_max_size(1, SHORT_SAMPLES / step);
    j->short_rows = j->short_rows * step < j->long_samples ? j->short_rows : j->long_samples / step;
    j->short_samples = j->short_rows * step;
}

size_t tmb_codec_encoder_convolve_bytes(const tmb_codec_encoder *encoder) {
    job j = {.encoder = encoder};
    plan(&j);
    sizes deep = slot_sizes(encoder, encoder->split, encoder->config.stages,
                            LONG_ROWS * encoder->hop / (j.short_samples / j.short_rows));
    sizes shallow = slot_sizes(encoder, 0, encoder->split, j.short_samples);
    return (encoder->memory_floats + encoder->first_memory.rows + j.short_samples + 2 * deep.input + deep.raw +
            deep.out + 2 * shallow.input + shallow.raw + shallow.out) *
           sizeof(float);
}

tmb_status tmb_codec_encoder_convolve(const tmb_codec_encoder *encoder, tmb_team *team, const float *samples,
                                      size_t count, float *out, tmb_error *error) {
    job j = {.encoder = encoder, .team = team};
    plan(&j);
    sizes deep = slot_sizes(encoder, encoder->split, encoder->config.stages,
                            LONG_ROWS * encoder->hop / (j.short_samples / j.short_rows));
    sizes shallow = slot_sizes(encoder, 0, encoder->split, j.short_samples);
    struct {
        float **address;
        size_t size;
    } buffers[] = {
        {&j.memory, encoder->memory_floats},
        {&j.samples, encoder->first_memory.rows + j.short_samples},
        {&j.deep.in, deep.input},
        {&j.deep.mid, deep.input},
        {&j.deep.raw, deep.raw},
        {&j.deep.out, deep.out},
        {&j.shallow.in, shallow.input},
        {&j.shallow.mid, shallow.input},
        {&j.shallow.raw, shallow.raw},
        {&j.shallow.out, shallow.out},
    };
    tmb_status status = TMB_OK;
    for (size_t i = 0; i < sizeof buffers / sizeof buffers[0] && status == TMB_OK; i++) {
        *buffers[i].address = tmb_alloc_huge(buffers[i].size, sizeof(float));
        if (*buffers[i].address == NULL) {
            status = tmb_fail_memory(error, "the codec encoder's buffers", buffers[i].size * sizeof(float));
        }
    }
    /* Long slices begin at multiples of their length, and so at whole rows of every layer: only the last may be
     * ragged. Short ones inside a long one too. */
    for (size_t done = 0; status == TMB_OK && done < count; done += j.long_samples) {
        size_t some = count - done < j.long_samples ? count - done : j.long_samples;
        out += run_long(&j, samples + done, some, out) * encoder->config.hidden_size;
    }
    for (size_t i = 0; i < sizeof buffers / sizeof buffers[0]; i++) {
        free(*buffers[i].address);
    }
    return status;
}
