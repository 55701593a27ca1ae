#include "kernels/conv_internal.h"

#include "base/checked.h"
#include "base/error.h"
#include "base/memory.h"
#include "cpu/cpu.h"
#include "kernels/generic/init.h"
#if defined(__x86_64__)
#include "kernels/x86/conv_init.h"
#endif

#include <stdlib.h>
#include <string.h>

/* Weights up to this size stay in a core's own cache: threads then share out rows. Larger ones are read
 * once by sharing out columns. */
#define SHARED_WEIGHTS_MAX ((size_t)1 << 20)

#define WIDTH 16
#define ROWS 4

static void panel_c(const float *a, size_t a_pitch, size_t rows, size_t taps, size_t tap_pitch, size_t depth,
                    const float *b, const float *start, float *c, size_t c_pitch, const void *next, size_t next_bytes) {
    (void)next;
    (void)next_bytes;
    for (size_t r = 0; r < rows; r++) {
        float sums[WIDTH];
        memcpy(sums, start != NULL ? start : c + r * c_pitch, sizeof sums);
        for (size_t p = 0; p < taps; p++) {
            const float *row = a + r * a_pitch + p * tap_pitch;
            const float *weights = b + p * depth * WIDTH;
            for (size_t k = 0; k < depth; k++) {
                float value = row[k];
                for (size_t j = 0; j < WIDTH; j++) {
                    sums[j] += value * weights[k * WIDTH + j];
                }
            }
        }
        memcpy(c + r * c_pitch, sums, sizeof sums);
    }
}

static void dot_c(const float *a, size_t a_pitch, size_t rows, size_t count, const float *b, float start, float *c,
                  size_t c_pitch) {
    for (size_t r = 0; r < rows; r++) {
        float sums[8] = {0};
        size_t k = 0;
        for (; k + 8 <= count; k += 8) {
            for (size_t j = 0; j < 8; j++) {
                sums[j] += a[r * a_pitch + k + j] * b[k + j];
            }
        }
        for (size_t j = 0; k < count; k++, j++) {
            sums[j] += a[r * a_pitch + k] * b[k];
        }
        c[r * c_pitch] =
            start + ((sums[0] + sums[4]) + (sums[2] + sums[6]) + ((sums[1] + sums[5]) + (sums[3] + sums[7])));
    }
}

void tmb_conv_kernels_init(tmb_conv_kernels *kernels, unsigned cpu_flags) {
    *kernels = (tmb_conv_kernels){.width = WIDTH, .rows = ROWS, .panel = panel_c, .dot = dot_c};
    if ((cpu_flags & TMB_CPU_GENERIC) != 0) {
        tmb_conv_kernels_init_generic(kernels);
    }
#if defined(__x86_64__)
    tmb_conv_kernels_init_x86(kernels, cpu_flags);
#endif
}

size_t tmb_conv_bytes(tmb_conv_type type, size_t taps, size_t in, size_t out) {
    size_t padded = 0;
    size_t bytes = 0;
    size_t scales = 0;
    bool half = type == TMB_CONV_HALF;
    tmb_conv_kernels kernels;
    tmb_conv_half_kernels halves;
    tmb_conv_kernels_init(&kernels, tmb_cpu_flags());
    tmb_conv_half_kernels_init(&halves, tmb_cpu_flags());
    size_t width = half ? halves.width : kernels.width;
    if (!tmb_pad_size(out, width, &padded) || !tmb_mul_size(padded, (half ? 2 : 1) * sizeof(float), &scales) ||
        !tmb_pad_size(in, half ? halves.depth_unit : 1, &bytes) || !tmb_mul_size(bytes, taps, &bytes) ||
        !tmb_mul_size(bytes, padded, &bytes) || !tmb_mul_size(bytes, half ? sizeof(uint16_t) : sizeof(float), &bytes) ||
        !tmb_add_size(bytes, scales, &bytes)) {
        return SIZE_MAX;
    }
    return bytes;
}

/* The depth blocks in the order of the sum. */
typedef struct depth_block {
    size_t tap, taps; /* of run_taps */
    size_t in, depth; /* first input and number of them */
    size_t offset;    /* of its panels in `weights` */
} depth_block;

static bool first_block(const tmb_conv *conv, depth_block *block) {
    *block = (depth_block){.taps = conv->block_taps < conv->run_taps ? conv->block_taps : conv->run_taps,
                           .depth = conv->block_in < conv->run_in ? conv->block_in : conv->run_in};
    return true;
}

static bool next_block(const tmb_conv *conv, depth_block *block) {
    block->offset += block->taps * block->depth * conv->panels * conv->kernels.width;
    block->in += block->depth;
    if (block->in >= conv->run_in) {
        block->in = 0;
        block->tap += block->taps;
    }
    if (block->tap >= conv->run_taps) {
        return false;
    }
    size_t taps = conv->run_taps - block->tap;
    size_t depth = conv->run_in - block->in;
    block->taps = taps < conv->block_taps ? taps : conv->block_taps;
    block->depth = depth < conv->block_in ? depth : conv->block_in;
    return true;
}

ptrdiff_t tmb_conv_output_offset(const tmb_conv_source *source, size_t o) {
    return (ptrdiff_t)(o / source->group) * source->group_pitch + (ptrdiff_t)(o % source->group) * source->out;
}

/* Where the weights of depth p * in + i begin. */
static const float *depth_start(const tmb_conv *conv, const tmb_conv_source *source, size_t depth) {
    return source->data + (ptrdiff_t)(depth / conv->in) * source->tap + (ptrdiff_t)(depth % conv->in) * source->in;
}

static void pack(const tmb_conv *conv, const tmb_conv_source *source) {
    size_t width = conv->kernels.width;
    depth_block block;
    for (bool more = first_block(conv, &block); more; more = next_block(conv, &block)) {
        for (size_t panel = 0; panel < conv->panels; panel++) {
            float *packed = conv->weights + block.offset + panel * block.taps * block.depth * width;
            size_t columns = conv->out - panel * width < width ? conv->out - panel * width : width;
            ptrdiff_t offsets[TMB_CONV_WIDTH_MAX];
            for (size_t j = 0; j < columns; j++) {
                offsets[j] = tmb_conv_output_offset(source, panel * width + j);
            }
            for (size_t p = 0; p < block.taps; p++) {
                for (size_t k = 0; k < block.depth; k++, packed += width) {
                    const float *from = depth_start(conv, source, (block.tap + p) * conv->run_in + block.in + k);
                    for (size_t j = 0; j < columns; j++) {
                        packed[j] = from[offsets[j]];
                    }
                }
            }
        }
    }
}

static void pack_single(const tmb_conv *conv, const tmb_conv_source *source) {
    for (size_t depth = 0; depth < conv->run_in; depth++) {
        conv->weights[depth] = *depth_start(conv, source, depth);
    }
}

/* Allocates the weights and packs; false when out of memory. */
static bool pack_f32(tmb_conv *conv, const tmb_conv_source *source) {
    conv->weights = tmb_alloc_huge(conv->taps * conv->in * conv->panels * conv->width, sizeof *conv->weights);
    if (conv->weights == NULL) {
        return false;
    }
    if (conv->single) {
        pack_single(conv, source);
    } else {
        pack(conv, source);
    }
    return true;
}

tmb_status tmb_conv_create(tmb_conv *conv, const tmb_conv_source *source, const float *bias, tmb_conv_type type,
                           size_t taps, size_t in, size_t out, size_t stride, size_t dilation, tmb_error *error) {
    memset(conv, 0, sizeof *conv);
    size_t bytes = tmb_conv_bytes(type, taps, in, out);
    if (bytes == SIZE_MAX) {
        return tmb_fail_memory(error, "the weights of a convolution", bytes);
    }
    *conv = (tmb_conv){.is_half = type == TMB_CONV_HALF,
                       .taps = taps,
                       .in = in,
                       .out = out,
                       .stride = stride,
                       .dilation = dilation,
                       .run_taps = dilation == 1 ? 1 : taps,
                       .run_in = dilation == 1 ? taps * in : in};
    tmb_conv_kernels_init(&conv->kernels, tmb_cpu_flags());
    tmb_conv_half_kernels_init(&conv->half, tmb_cpu_flags());
    conv->width = conv->is_half ? conv->half.width : conv->kernels.width;
    conv->tile_rows = conv->is_half ? conv->half.rows : conv->kernels.rows;
    conv->panels = tmb_ceil_div(out, conv->width);
    conv->single = !conv->is_half && out == 1 && dilation == 1;
    conv->block_in = tmb_conv_even_piece(conv->run_in, TMB_CONV_DEPTH_MAX);
    conv->block_taps =
        conv->block_in < conv->run_in ? 1 : tmb_conv_even_piece(conv->run_taps, TMB_CONV_DEPTH_MAX / conv->run_in);
    if (type == TMB_CONV_EMPTY) {
        return TMB_OK;
    }
    conv->bias = tmb_alloc_aligned(conv->panels * conv->width, sizeof *conv->bias);
    bool packed = conv->bias != NULL && (conv->is_half ? tmb_conv_half_pack(conv, source) : pack_f32(conv, source));
    if (!packed) {
        tmb_conv_free(conv);
        return tmb_fail_memory(error, "the weights of a convolution", bytes);
    }
    for (size_t o = 0; bias != NULL && o < out; o++) {
        conv->bias[o] = bias[o % source->group];
    }
    return TMB_OK;
}

void tmb_conv_unpack(const tmb_conv *conv, size_t output, float *row) {
    if (conv->single) {
        memcpy(row, conv->weights, conv->run_in * sizeof *row);
        return;
    }
    size_t width = conv->kernels.width;
    depth_block block;
    for (bool more = first_block(conv, &block); more; more = next_block(conv, &block)) {
        const float *packed =
            conv->weights + block.offset + output / width * block.taps * block.depth * width + output % width;
        for (size_t p = 0; p < block.taps; p++) {
            for (size_t k = 0; k < block.depth; k++, packed += width) {
                row[(block.tap + p) * conv->run_in + block.in + k] = *packed;
            }
        }
    }
}

void tmb_conv_free(tmb_conv *conv) {
    free(conv->weights);
    free(conv->half_weights);
    free(conv->column_scales);
    free(conv->bias);
    memset(conv, 0, sizeof *conv);
}

size_t tmb_conv_rows_here(const tmb_conv_job *work, tmb_conv_position *at, size_t wanted) {
    while (at->run < work->count && at->row >= work->runs[at->run].rows) {
        at->run++;
        at->row = 0;
    }
    if (at->run == work->count) {
        return 0;
    }
    size_t left = work->runs[at->run].rows - at->row;
    return left < wanted ? left : wanted;
}

static tmb_conv_position position_of(const tmb_conv_job *work, size_t row) {
    tmb_conv_position at = {0};
    while (at.run < work->count && row >= work->runs[at.run].rows) {
        row -= work->runs[at.run].rows;
        at.run++;
    }
    at.row = row;
    return at;
}

/* The last panel, if it is partial: computed into a scratch tile, so that nothing is written past the output. */
static void narrow_panel(const tmb_conv *conv, const float *a, size_t a_pitch, size_t rows, const depth_block *block,
                         size_t tap_pitch, const float *b, const float *start, float *c, size_t c_pitch,
                         size_t columns) {
    _Alignas(64) float tile[TMB_CONV_TILE_MAX];
    const tmb_conv_kernels *kernels = &conv->kernels;
    for (size_t row = 0; row < rows; row += kernels->rows) {
        size_t some = rows - row < kernels->rows ? rows - row : kernels->rows;
        for (size_t r = 0; start == NULL && r < some; r++) {
            memcpy(tile + r * kernels->width, c + (row + r) * c_pitch, columns * sizeof(float));
        }
        kernels->panel(a + row * a_pitch, a_pitch, some, block->taps, tap_pitch, block->depth, b, start, tile,
                       kernels->width, NULL, 0);
        for (size_t r = 0; r < some; r++) {
            memcpy(c + (row + r) * c_pitch, tile + r * kernels->width, columns * sizeof(float));
        }
    }
}

/* Panels [first, end) of `rows` rows from `begin` on. */
static void compute(const tmb_conv_job *work, tmb_conv_position begin, size_t rows, size_t first, size_t end) {
    const tmb_conv *conv = work->conv;
    size_t width = conv->kernels.width;
    size_t a_pitch = conv->stride * conv->in;
    size_t tap_pitch = conv->dilation * conv->in;
    depth_block block;
    bool more = first_block(conv, &block);
    while (more) {
        depth_block now = block;
        more = next_block(conv, &block);
        size_t panel_size = now.taps * now.depth * width;
        for (size_t panel = first; panel < end; panel++) {
            const float *b = conv->weights + now.offset + panel * panel_size;
            const float *start = now.tap == 0 && now.in == 0 ? conv->bias + panel * width : NULL;
            const float *next = panel + 1 < end ? b + panel_size : NULL;
            size_t columns = conv->out - panel * width < width ? conv->out - panel * width : width;
            tmb_conv_position at = begin;
            for (size_t left = rows; left > 0;) {
                size_t some = tmb_conv_rows_here(work, &at, left);
                const float *a = work->runs[at.run].input + at.row * a_pitch + now.tap * tap_pitch + now.in;
                float *c = work->runs[at.run].output + at.row * work->output_pitch + panel * width;
                if (columns == width) {
                    size_t share = panel_size * sizeof(float) * some / rows;
                    conv->kernels.panel(a, a_pitch, some, now.taps, tap_pitch, now.depth, b, start, c,
                                        work->output_pitch, next, share);
                    next = next != NULL ? next + share / sizeof(float) : NULL;
                } else {
                    narrow_panel(conv, a, a_pitch, some, &now, tap_pitch, b, start, c, work->output_pitch, columns);
                }
                if (!more && work->finish != NULL) {
                    tmb_conv_tile tile = {at.run, at.row, some, panel * width, columns, c, work->output_pitch};
                    work->finish(work->argument, &tile);
                }
                at.row += some;
                left -= some;
            }
        }
    }
}

/* The one output of `rows` rows from `begin` on. */
static void compute_single(const tmb_conv_job *work, tmb_conv_position begin, size_t rows) {
    const tmb_conv *conv = work->conv;
    size_t a_pitch = conv->stride * conv->in;
    tmb_conv_position at = begin;
    for (size_t left = rows; left > 0;) {
        size_t some = tmb_conv_rows_here(work, &at, left);
        const float *a = work->runs[at.run].input + at.row * a_pitch;
        float *c = work->runs[at.run].output + at.row * work->output_pitch;
        conv->kernels.dot(a, a_pitch, some, conv->taps * conv->in, conv->weights, conv->bias[0], c, work->output_pitch);
        if (work->finish != NULL) {
            tmb_conv_tile tile = {at.run, at.row, some, 0, 1, c, work->output_pitch};
            work->finish(work->argument, &tile);
        }
        at.row += some;
        left -= some;
    }
}

static void part_of_job(void *argument, int part, int parts) {
    const tmb_conv_job *work = argument;
    const tmb_conv *conv = work->conv;
    int row_part = part % work->row_parts;
    int column_parts = parts / work->row_parts;
    int column_part = part / work->row_parts;
    size_t begin = tmb_team_begin(work->rows, conv->tile_rows, row_part, work->row_parts);
    size_t end = tmb_team_begin(work->rows, conv->tile_rows, row_part + 1, work->row_parts);
    size_t first = tmb_team_begin(conv->panels, 1, column_part, column_parts);
    size_t last = tmb_team_begin(conv->panels, 1, column_part + 1, column_parts);
    if (begin == end || first == last) {
        return;
    }
    if (conv->single) {
        compute_single(work, position_of(work, begin), end - begin);
        return;
    }
    size_t piece = tmb_conv_even_piece(end - begin, TMB_CONV_ROWS_MAX);
    piece = tmb_round_up(piece, conv->tile_rows);
    for (size_t row = begin; row < end;) {
        size_t some = end - row < piece ? end - row : piece;
        if (conv->is_half) {
            some = tmb_conv_half_compute(work, part, position_of(work, row), some, first, last);
        } else {
            compute(work, position_of(work, row), some, first, last);
        }
        row += some;
    }
}

void tmb_conv_apply_scratch(const tmb_conv *conv, const tmb_conv_run *runs, size_t count, size_t output_pitch,
                            tmb_conv_finish finish, void *argument, tmb_team *team, void *scratch) {
    tmb_conv_job work = {.conv = conv,
                         .runs = runs,
                         .count = count,
                         .output_pitch = output_pitch,
                         .finish = finish,
                         .argument = argument,
                         .scratch = scratch,
                         .scratch_bytes = tmb_conv_scratch_bytes(conv),
                         .row_parts = 1};
    for (size_t i = 0; i < count; i++) {
        work.rows += runs[i].rows;
    }
    if (work.rows == 0) {
        return;
    }
    int threads = tmb_team_threads(team);
    size_t bytes = conv->taps * conv->in * conv->out * (conv->is_half ? sizeof(uint16_t) : sizeof(float));
    bool many_rows = work.rows >= 4 * conv->tile_rows * (size_t)threads;
    if (conv->panels < (size_t)threads ||
        (many_rows && (bytes <= SHARED_WEIGHTS_MAX || conv->panels < 4 * (size_t)threads))) {
        work.row_parts = threads;
    }
    tmb_team_run(team, part_of_job, &work);
}

void tmb_conv_apply(const tmb_conv *conv, const tmb_conv_run *runs, size_t count, size_t output_pitch,
                    tmb_conv_finish finish, void *argument, tmb_team *team) {
    tmb_conv_apply_scratch(conv, runs, count, output_pitch, finish, argument, team, NULL);
}
