/* Frames of several streams through the codec decoder's layers.
 *
 * A plane holds, for each stream, the rows of history that a layer wants and then the new rows. A layer's last rows
 * are saved as the next call's history as soon as its plane is written. Activations are done tile by tile, right
 * after the convolution that made the tile (see tmb_conv_finish), into the plane of the layer that follows.
 */
#include "tts/qwen3/cpu/codec/decoder_internal.h"

#include "base/error.h"
#include "base/thread.h"

#include <string.h>

typedef struct plane {
    float *data;
    size_t width, history; /* floats in a row; rows before the new ones */
    size_t rate;           /* rows in a frame */
} plane;

/* What goes through some layers together. */
typedef struct batch {
    tmb_codec_workspace *workspace;
    const tmb_codec_share *shares;
    size_t count;
    size_t frames; /* of all */
} batch;

static float *plane_start(batch *b, const plane *p, size_t i) {
    return p->data + (i * p->history + b->shares[i].before * p->rate) * p->width;
}

static float *plane_rows(batch *b, const plane *p, size_t i) { return plane_start(b, p, i) + p->history * p->width; }

static void load_history(batch *b, const plane *p, const tmb_codec_history *history) {
    for (size_t i = 0; i < b->count; i++) {
        memcpy(plane_start(b, p, i), b->shares[i].state->histories + history->offset,
               history->rows * history->width * sizeof(float));
    }
}

static void save_history(batch *b, const plane *p, const tmb_codec_history *history) {
    for (size_t i = 0; i < b->count; i++) {
        memcpy(b->shares[i].state->histories + history->offset,
               plane_start(b, p, i) + b->shares[i].frames * p->rate * p->width,
               history->rows * history->width * sizeof(float));
    }
}

/* What to do with a finished tile: values, or their sum with those of `add_to`, through Snake into `to`. */
typedef struct snake_finish {
    batch *b;
    const tmb_codec_snake *snake;
    const plane *add_to; /* NULL: none; takes the sum */
    const plane *to;     /* NULL: in place */
} snake_finish;

static void finish_snake(void *argument, const tmb_conv_tile *tile) {
    const snake_finish *f = argument;
    size_t offset = tile->row * tile->pitch + tile->column;
    float *to = f->to != NULL ? plane_rows(f->b, f->to, tile->run) + offset : tile->output;
    float *x = f->add_to != NULL ? plane_rows(f->b, f->add_to, tile->run) + offset : tile->output;
    f->b->workspace->decoder->activation.snake(x, tile->pitch, f->add_to != NULL ? tile->output : NULL, tile->pitch, to,
                                               tile->pitch, tile->rows, tile->columns,
                                               f->snake->frequency + tile->column, f->snake->gain + tile->column);
}

/* Convolves all streams' rows of `from` into those of `to`. Output rows of a transposed convolution are several
 * rows of `to`. */
static void convolve(batch *b, const tmb_conv *conv, const plane *from, const plane *to, tmb_conv_finish finish,
                     void *argument) {
    tmb_conv_run *runs = b->workspace->runs;
    for (size_t i = 0; i < b->count; i++) {
        runs[i] = (tmb_conv_run){plane_start(b, from, i), plane_rows(b, to, i), b->shares[i].frames * from->rate};
    }
    tmb_conv_apply_scratch(conv, runs, b->count, conv->out, finish, argument, b->workspace->team,
                           b->workspace->scratch);
}

/* ---- codes to latent ---- */

/* Sums of the entries of books [first, end), [frames, codebook_dim / 2]. */
static void sum_entries(batch *b, size_t first, size_t end, float *out) {
    const tmb_codec_decoder *decoder = b->workspace->decoder;
    size_t width = decoder->config.codebook_dim / 2;
    for (size_t i = 0; i < b->count; i++) {
        for (size_t t = 0; t < b->shares[i].frames; t++, out += width) {
            const int16_t *codes = b->shares[i].codes + t * decoder->config.quantizers;
            memset(out, 0, width * sizeof *out);
            for (size_t book = first; book < end; book++) {
                const float *entry =
                    decoder->entries + (book * decoder->config.codebook_size + (size_t)codes[book]) * width;
                for (size_t k = 0; k < width; k++) {
                    out[k] += entry[k];
                }
            }
        }
    }
}

typedef struct sum_finish {
    batch *b;
    const plane *to;
    const float *scale; /* NULL: 1 */
} sum_finish;

/* to += scale * tile */
static void finish_sum(void *argument, const tmb_conv_tile *tile) {
    const sum_finish *f = argument;
    float *to = plane_rows(f->b, f->to, tile->run) + tile->row * tile->pitch + tile->column;
    for (size_t r = 0; r < tile->rows; r++, to += tile->pitch) {
        const float *from = tile->output + r * tile->pitch;
        for (size_t c = 0; c < tile->columns; c++) {
            to[c] += f->scale != NULL ? f->scale[tile->column + c] * from[c] : from[c];
        }
    }
}

static void finish_gelu(void *argument, const tmb_conv_tile *tile) {
    batch *b = argument;
    b->workspace->decoder->activation.gelu(tile->output, tile->pitch, tile->output, tile->pitch, tile->rows,
                                           tile->columns);
}

static void run_transformer(batch *b, float *hidden) {
    tmb_codec_workspace *w = b->workspace;
    const tmb_codec_decoder *decoder = w->decoder;
    for (size_t i = 0; i < b->count; i++) {
        tmb_codec_state *state = b->shares[i].state;
        state->filled = tmb_codec_cache_room(&decoder->transformer_config, state->cache, decoder->cache_rows,
                                             state->filled, b->shares[i].frames);
        w->streams[i] = (tmb_codec_rows){.rows = b->shares[i].frames,
                                         .cache = state->cache,
                                         .capacity = decoder->cache_rows,
                                         .filled = state->filled,
                                         .position = state->position};
    }
    tmb_codec_transformer_forward(decoder->transformer, w->transformer, hidden, w->streams, b->count, w->team,
                                  w->scratch);
    for (size_t i = 0; i < b->count; i++) {
        b->shares[i].state->filled += b->shares[i].frames;
        b->shares[i].state->position += b->shares[i].frames;
    }
    size_t width = decoder->config.hidden_size;
    for (size_t row = 0; row < b->frames; row++) {
        tmb_codec_rms_norm(hidden + row * width, decoder->transformer_norm, decoder->config.rms_norm_eps,
                           hidden + row * width, width);
    }
}

/* Codes to what the transformer makes of them, [frames, hidden]. Everything that looks back further than the decoder's
 * `lookback` is in here. */
static void decode_hidden(batch *b) {
    tmb_codec_workspace *w = b->workspace;
    const tmb_codec_decoder *decoder = w->decoder;
    const tmb_qwen3_codec_decoder_config *config = &decoder->config;
    plane sums = {w->front.raw, config->codebook_dim / 2, 0, 1};
    plane quantized = {w->front.in, config->codebook_dim, TMB_CODEC_PRE_TAPS - 1, 1};
    plane rest = {w->front.mid, config->codebook_dim, 0, 1};
    sum_entries(b, 0, config->semantic_quantizers, sums.data);
    convolve(b, &decoder->first_projection, &sums, &quantized, NULL, NULL);
    sum_entries(b, config->semantic_quantizers, config->quantizers, sums.data);
    sum_finish add = {b, &quantized, NULL};
    convolve(b, &decoder->rest_projection, &sums, &rest, finish_sum, &add);
    load_history(b, &quantized, &decoder->pre_history);
    save_history(b, &quantized, &decoder->pre_history);

    plane latent = {w->front.raw, config->latent_dim, 0, 1};
    plane hidden = {w->hidden, config->hidden_size, 0, 1};
    convolve(b, &decoder->pre_conv, &quantized, &latent, NULL, NULL);
    convolve(b, &decoder->transformer_in, &latent, &hidden, NULL, NULL);
    run_transformer(b, hidden.data);
}

/* Latent rows into slot `out`, one a frame. */
static void decode_latent(batch *b) {
    tmb_codec_workspace *w = b->workspace;
    const tmb_codec_decoder *decoder = w->decoder;
    plane hidden = {w->hidden, decoder->config.hidden_size, 0, 1};
    plane out = {w->front.out, decoder->config.latent_dim, 0, 1};
    decode_hidden(b);
    convolve(b, &decoder->transformer_out, &hidden, &out, NULL, NULL);
}

/* ---- upsampling ---- */

typedef struct depthwise_job {
    batch *b;
    const tmb_codec_upsample *stage;
    const plane *from, *to;
} depthwise_job;

/* Depthwise convolution and layer norm of the part's rows. */
static void depthwise_part(void *argument, int part, int parts) {
    const depthwise_job *job = argument;
    const tmb_codec_upsample *stage = job->stage;
    size_t width = job->from->width;
    size_t index = 0;
    size_t begin = tmb_team_begin(job->b->frames * job->from->rate, 1, part, parts);
    size_t end = tmb_team_begin(job->b->frames * job->from->rate, 1, part + 1, parts);
    for (size_t i = 0; i < job->b->count; i++) {
        for (size_t row = 0; row < job->b->shares[i].frames * job->from->rate; row++, index++) {
            if (index < begin || index >= end) {
                continue;
            }
            const float *from = plane_start(job->b, job->from, i) + row * width;
            float *to = plane_rows(job->b, job->to, i) + row * width;
            memcpy(to, stage->depthwise_bias, width * sizeof *to);
            for (size_t p = 0; p < TMB_CODEC_WIDE_TAPS; p++) {
                for (size_t c = 0; c < width; c++) {
                    to[c] += from[p * width + c] * stage->depthwise[p * width + c];
                }
            }
            tmb_codec_layer_norm(to, stage->norm, stage->norm_bias, 1e-6, to, width);
        }
    }
}

/* Latent rows in slot `out`, `rate` a frame, to ratio * rate a frame, again in `out`. */
static void upsample(batch *b, const tmb_codec_upsample *stage, size_t rate) {
    tmb_codec_workspace *w = b->workspace;
    size_t latent = w->decoder->config.latent_dim;
    plane from = {w->front.out, latent, 0, rate};
    plane wide = {w->front.raw, latent, TMB_CODEC_WIDE_TAPS - 1, rate * stage->ratio};
    convolve(b, &stage->transposed, &from, &wide, NULL, NULL);
    load_history(b, &wide, &stage->history);
    save_history(b, &wide, &stage->history);

    plane normed = {w->front.mid, latent, 0, wide.rate};
    depthwise_job job = {b, stage, &wide, &normed};
    tmb_team_run(w->team, depthwise_part, &job);

    plane expanded = {w->front.in, 4 * latent, 0, wide.rate};
    plane branch = {w->front.mid, latent, 0, wide.rate};
    plane out = {w->front.out, latent, 0, wide.rate};
    convolve(b, &stage->expand, &normed, &expanded, finish_gelu, b);
    for (size_t i = 0; i < b->count; i++) {
        memcpy(plane_rows(b, &out, i), plane_rows(b, &wide, i),
               b->shares[i].frames * wide.rate * latent * sizeof(float));
    }
    sum_finish add = {b, &out, stage->gamma};
    convolve(b, &stage->contract, &expanded, &branch, finish_sum, &add);
}

/* ---- Snake blocks ---- */

/* Input of a convolution with history: the plane's new rows are written, by a finish of the layer before. */
static void complete(batch *b, const plane *p, const tmb_codec_history *history) {
    load_history(b, p, history);
    save_history(b, p, history);
}

/* One block from its input plane, which may lie in `in`; the next Snake's rows go to `next`, which may lie in
 * `mid`. */
static void run_block(batch *b, const tmb_codec_slots *s, const tmb_codec_block *block, const plane *in,
                      const tmb_codec_snake *after, const plane *next) {
    size_t rate = in->rate * block->rate;
    plane raw = {s->raw, block->out, 0, rate};
    plane fresh = {s->out, block->out, 0, rate};
    plane wide = {s->mid, block->out, block->units[0].history.rows, rate};
    plane middle = {s->in, block->out, 0, rate};
    snake_finish finish = {b, &block->units[0].before, NULL, &wide};
    convolve(b, &block->transposed, in, &raw, finish_snake, &finish);
    complete(b, &wide, &block->units[0].history);
    for (size_t i = 0; i < TMB_CODEC_UNITS; i++) {
        const tmb_codec_unit *unit = &block->units[i];
        snake_finish between = {b, &unit->between, NULL, NULL};
        convolve(b, &unit->wide, &wide, &middle, finish_snake, &between);
        bool last = i + 1 == TMB_CODEC_UNITS;
        wide.history = last ? 0 : block->units[i + 1].history.rows;
        snake_finish add = {b, last ? after : &block->units[i + 1].before, &raw, last ? next : &wide};
        convolve(b, &unit->pointwise, &middle, &fresh, finish_snake, &add);
        if (!last) {
            complete(b, &wide, &block->units[i + 1].history);
        }
    }
}

static void finish_clamp(void *argument, const tmb_conv_tile *tile) {
    (void)argument;
    for (size_t r = 0; r < tile->rows; r++) {
        float value = tile->output[r * tile->pitch];
        tile->output[r * tile->pitch] = value > 1 ? 1 : value < -1 ? -1 : value;
    }
}

static void swap_inputs(tmb_codec_slots *s) {
    float *in = s->in;
    s->in = s->mid;
    s->mid = in;
}

/* Samples of one share from its rows of the boundary plane, a slice of frames at a time. */
static void run_tail(batch *b, const plane *boundary, size_t index) {
    tmb_codec_workspace *w = b->workspace;
    const tmb_codec_decoder *decoder = w->decoder;
    size_t stages = decoder->config.decoder_stages;
    const tmb_codec_share *whole = &b->shares[index];
    for (size_t first = 0; first < whole->frames; first += w->slice_frames) {
        size_t left = whole->frames - first;
        tmb_codec_share slice = {.state = whole->state, .frames = left < w->slice_frames ? left : w->slice_frames};
        batch one = {w, &slice, 1, slice.frames};
        tmb_codec_slots s = w->tail;
        plane in = *boundary;
        in.data = plane_start(b, boundary, index) + first * boundary->rate * boundary->width;
        for (size_t i = decoder->tail; i < stages; i++) {
            const tmb_codec_block *block = &decoder->blocks[i];
            bool last = i + 1 == stages;
            const tmb_codec_history *history = last ? &decoder->last_history : &decoder->blocks[i + 1].history;
            plane next = {s.mid, block->out, history->rows, in.rate * block->rate};
            run_block(&one, &s, block, &in, last ? &decoder->last_snake : &decoder->blocks[i + 1].before, &next);
            complete(&one, &next, history);
            swap_inputs(&s);
            in = next;
        }
        if (whole->samples != NULL) {
            float *samples = whole->samples + first * decoder->samples_per_frame;
            plane waveform = {samples, 1, 0, in.rate};
            convolve(&one, &decoder->last, &in, &waveform, finish_clamp, NULL);
        }
    }
}

/* Latent rows in slot `out`, `rate` a frame, to samples. */
static void decode_waveform(batch *b, size_t rate) {
    tmb_codec_workspace *w = b->workspace;
    const tmb_codec_decoder *decoder = w->decoder;
    const tmb_qwen3_codec_decoder_config *config = &decoder->config;
    plane latent = {w->front.out, config->latent_dim, 0, rate};
    plane wide = {w->front.in, config->latent_dim, TMB_CODEC_WIDE_TAPS - 1, rate};
    for (size_t i = 0; i < b->count; i++) {
        memcpy(plane_rows(b, &wide, i), plane_rows(b, &latent, i),
               b->shares[i].frames * rate * config->latent_dim * sizeof(float));
    }
    complete(b, &wide, &decoder->wide_history);
    plane fresh = {w->front.out, config->decoder_dim, 0, rate};
    plane next = {decoder->tail == 0 ? w->boundary : w->front.mid, config->decoder_dim, 1, rate};
    snake_finish finish = {b, &decoder->blocks[0].before, NULL, &next};
    convolve(b, &decoder->wide_in, &wide, &fresh, finish_snake, &finish);
    complete(b, &next, &decoder->blocks[0].history);

    tmb_codec_slots s = w->front;
    for (size_t i = 0; i < decoder->tail; i++) {
        swap_inputs(&s);
        const tmb_codec_block *block = &decoder->blocks[i];
        plane in = next;
        next = (plane){i + 1 == decoder->tail ? w->boundary : s.mid, block->out, 1, in.rate * block->rate};
        run_block(b, &s, block, &in, &decoder->blocks[i + 1].before, &next);
        complete(b, &next, &decoder->blocks[i + 1].history);
    }
    for (size_t i = 0; i < b->count; i++) {
        run_tail(b, &next, i);
    }
}

static void decode_batch(batch *b) {
    const tmb_codec_decoder *decoder = b->workspace->decoder;
    size_t rate = 1;
    decode_latent(b);
    for (size_t i = 0; i < decoder->config.upsample_stages; i++) {
        upsample(b, &decoder->upsample[i], rate);
        rate *= decoder->upsample[i].ratio;
    }
    decode_waveform(b, rate);
}

static tmb_status check_codes(const tmb_codec_decoder *decoder, const tmb_codec_piece *piece, size_t index,
                              tmb_error *error) {
    size_t books = decoder->config.quantizers;
    for (size_t i = 0; i < piece->frames * books; i++) {
        if (piece->codes[i] < 0 || (size_t)piece->codes[i] >= decoder->config.codebook_size) {
            return tmb_fail(error, TMB_ERROR_ARGUMENT,
                            "code %d of frame %zu, book %zu (piece %zu): the codec has codes 0 to %zu", piece->codes[i],
                            i / books, i % books, index, decoder->config.codebook_size - 1);
        }
    }
    return TMB_OK;
}

/* Frames of a piece that nothing behind the transformer will remember. */
static size_t forgotten(const tmb_codec_decoder *decoder, const tmb_codec_piece *piece) {
    return piece->samples == NULL && piece->frames > decoder->lookback ? piece->frames - decoder->lookback : 0;
}

static size_t smaller(size_t a, size_t b) { return a < b ? a : b; }

/* Lets the transformer see those. */
static void pass_forgotten(tmb_codec_workspace *workspace, const tmb_codec_piece *piece) {
    size_t frames = forgotten(workspace->decoder, piece);
    size_t most = smaller(workspace->frames, TMB_CODEC_STREAM_FRAMES);
    for (size_t done = 0; done < frames;) {
        tmb_codec_share share = {.state = piece->state,
                                 .codes = piece->codes + done * workspace->decoder->config.quantizers,
                                 .frames = smaller(frames - done, most)};
        batch b = {.workspace = workspace, .shares = &share, .count = 1, .frames = share.frames};
        decode_hidden(&b);
        done += share.frames;
    }
}

tmb_status tmb_codec_decode(tmb_codec_workspace *workspace, const tmb_codec_piece *pieces, size_t count,
                            tmb_error *error) {
    const tmb_codec_decoder *decoder = workspace->decoder;
    for (size_t i = 0; i < count; i++) {
        tmb_status status = check_codes(decoder, &pieces[i], i, error);
        if (status != TMB_OK) {
            return status;
        }
    }
    unsigned denormals = tmb_denormals_flush();
    for (size_t i = 0; i < count; i++) {
        pass_forgotten(workspace, &pieces[i]);
    }
    size_t piece = 0;
    size_t done = 0; /* frames of that piece */
    while (piece < count) {
        batch b = {.workspace = workspace, .shares = workspace->shares};
        size_t at = piece;
        while (at < count && b.frames < workspace->frames) {
            const tmb_codec_piece *p = &pieces[at];
            size_t skip = at == piece && done > 0 ? done : forgotten(decoder, p);
            size_t some = smaller(p->frames - skip, workspace->frames - b.frames);
            some = smaller(some, TMB_CODEC_STREAM_FRAMES);
            if (some != 0) {
                workspace->shares[b.count++] = (tmb_codec_share){
                    .state = p->state,
                    .codes = p->codes + skip * decoder->config.quantizers,
                    .samples = p->samples != NULL ? p->samples + skip * decoder->samples_per_frame : NULL,
                    .frames = some,
                    .before = b.frames};
                b.frames += some;
            }
            if (skip + some < p->frames) {
                /* The rest of this piece opens the next batch; what follows it has to wait for it. */
                piece = at;
                done = skip + some;
                break;
            }
            at++;
            piece = at;
            done = 0;
        }
        if (b.count != 0) {
            decode_batch(&b);
        }
    }
    tmb_denormals_restore(denormals);
    return TMB_OK;
}
