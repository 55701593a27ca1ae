/* Convolutions with 16-bit operands.
 *
 * Weights and input rows are either bf16, if the CPU multiplies that, or whole numbers of 12 bits with a scale for
 * each output and for each input row: a product sum of a depth block then fits into 32 bits exactly. A row's conversion
 * depends on that row alone, so that results do not depend on chunks. A depth block lies within one tap, since rows of
 * different taps have different scales.
 */
#include "kernels/conv_internal.h"

#include "base/checked.h"
#include "base/memory.h"
#include "cpu/cpu.h"
#include "kernels/generic/init.h"
#if defined(__x86_64__)
#include "kernels/x86/conv_init.h"
#endif

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define WIDTH 16
#define ROWS 4

static void convert_c(const float *x, size_t count, uint16_t *out, float *scale) {
    float most = 0;
    for (size_t i = 0; i < count; i++) {
        float size = fabsf(x[i]);
        most = size > most ? size : most;
    }
    float factor = most > 0 ? TMB_CONV_ROW_STEPS / most : 0;
    for (size_t i = 0; i < count; i++) {
        out[i] = (uint16_t)(int16_t)lrintf(x[i] * factor);
    }
    if (count % 2 != 0) {
        out[count] = 0;
    }
    *scale = most / TMB_CONV_ROW_STEPS;
}

static void panel_c(const uint16_t *a, size_t a_pitch, const float *row_scales, size_t rows, size_t pairs,
                    const uint16_t *b, const float *column_scales, const float *start, float *c, size_t c_pitch,
                    const void *next, size_t next_bytes) {
    (void)next;
    (void)next_bytes;
    for (size_t r = 0; r < rows; r++) {
        int32_t sums[WIDTH] = {0};
        for (size_t k = 0; k < 2 * pairs; k++) {
            for (size_t j = 0; j < WIDTH; j++) {
                sums[j] += (int16_t)a[r * a_pitch + k] * (int16_t)b[(k / 2 * WIDTH + j) * 2 + k % 2];
            }
        }
        for (size_t j = 0; j < WIDTH; j++) {
            float base = start != NULL ? start[j] : c[r * c_pitch + j];
            c[r * c_pitch + j] = base + (float)sums[j] * (row_scales[r] * column_scales[j]);
        }
    }
}

void tmb_conv_half_kernels_init(tmb_conv_half_kernels *kernels, unsigned cpu_flags) {
    *kernels = (tmb_conv_half_kernels){
        .width = WIDTH,
        .rows = ROWS,
        .depth_unit = 2,
        .depth_max = TMB_CONV_DEPTH_MAX,
        .whole_numbers = true,
        .convert = convert_c,
        .panel = panel_c,
    };
    if ((cpu_flags & TMB_CPU_GENERIC) != 0) {
        tmb_conv_half_kernels_init_generic(kernels);
    }
#if defined(__x86_64__)
    tmb_conv_half_kernels_init_x86(kernels, cpu_flags);
#endif
}

static uint16_t to_bf16(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static size_t padded_in(const tmb_conv *conv) { return tmb_round_up(conv->in, conv->half.depth_unit); }

/* The blocks of a tap: pairs of the block that begins with pair `begin`. */
static size_t block_pairs(const tmb_conv *conv, size_t begin) {
    size_t pairs = padded_in(conv) / 2;
    size_t piece = tmb_conv_even_piece(pairs, conv->half.depth_max / 2);
    return pairs - begin < piece ? pairs - begin : piece;
}

/* What packing needs in addition to the layer. */
typedef struct packing {
    const tmb_conv_source *source;
    ptrdiff_t *offsets; /* of the outputs in the source */
    int32_t *largest;   /* magnitudes of the outputs' weights */
    float *factors;     /* weights to steps */
    uint16_t *row;      /* [taps * in], one output's */
    uint16_t *block;    /* [padded_in, width], one panel's */
} packing;

/* |value| as an integer: ordered like the floats, and compilers compare several at a time. */
static int32_t magnitude(float value) {
    int32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits & INT32_MAX;
}

/* A weight as it is packed. Rounds to nearest by adding 1.5 * 2^23, which pushes the fraction out of the mantissa and
 * which compilers vectorize too. */
static uint16_t to_whole(float value, float factor) {
    float shifted = value * factor + 0x1.8p23f;
    uint32_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    return (uint16_t)bits;
}

/* Whether an output's weights lie together, input after input, as in all but transposed convolutions. */
static bool lies_along(const tmb_conv *conv, const tmb_conv_source *source) {
    return source->in == (ptrdiff_t)conv->taps && (conv->taps == 1 || source->tap == 1);
}

/* The largest weight of an output over all taps and inputs gives the output's scale. Loops follow the memory: these
 * weights are larger than caches. */
static void find_scales(const tmb_conv *conv, const packing *w) {
    const tmb_conv_source *source = w->source;
    bool along = lies_along(conv, source);
    for (size_t o = 0; along && o < conv->out; o++) {
        const float *from = source->data + w->offsets[o];
        int32_t largest = 0;
        for (size_t k = 0; k < conv->taps * conv->in; k++) {
            int32_t size = magnitude(from[k]);
            largest = size > largest ? size : largest;
        }
        w->largest[o] = largest;
    }
    for (size_t i = 0; !along && i < conv->in; i++) {
        for (size_t p = 0; p < conv->taps; p++) {
            const float *from = source->data + (ptrdiff_t)p * source->tap + (ptrdiff_t)i * source->in;
            for (size_t o = 0; o < conv->out; o++) {
                int32_t size = magnitude(from[w->offsets[o]]);
                w->largest[o] = size > w->largest[o] ? size : w->largest[o];
            }
        }
    }
    for (size_t o = 0; o < conv->out; o++) {
        float most;
        memcpy(&most, &w->largest[o], sizeof most);
        conv->column_scales[o] = conv->half.whole_numbers ? most / TMB_CONV_COLUMN_STEPS : 1;
        w->factors[o] = conv->column_scales[o] > 0 ? 1 / conv->column_scales[o] : 0;
    }
}

/* Where output `o` of a tap's block that begins with pair `begin` is packed; its pairs are 2 * width apart. */
static uint16_t *packed_at(const tmb_conv *conv, size_t tap, size_t begin, size_t o) {
    size_t width = conv->half.width;
    return conv->half_weights + (tap * padded_in(conv) + 2 * begin) * conv->panels * width +
           2 * (o / width * block_pairs(conv, begin) * width + o % width);
}

/* Converts an output's weights in one go, then spreads them. */
static void pack_along(const tmb_conv *conv, const packing *w, size_t o) {
    const float *values = w->source->data + w->offsets[o];
    size_t step = 2 * conv->half.width;
    size_t taps = conv->taps;
    if (conv->half.whole_numbers) {
        for (size_t k = 0; k < taps * conv->in; k++) {
            w->row[k] = to_whole(values[k], w->factors[o]);
        }
    } else {
        for (size_t k = 0; k < taps * conv->in; k++) {
            w->row[k] = to_bf16(values[k]);
        }
    }
    for (size_t p = 0; p < taps; p++) {
        size_t pairs = 0;
        for (size_t begin = 0; begin < padded_in(conv) / 2; begin += pairs) {
            uint16_t *to = packed_at(conv, p, begin, o);
            const uint16_t *from = w->row + 2 * begin * taps + p;
            pairs = block_pairs(conv, begin);
            size_t inputs = 2 * pairs < conv->in - 2 * begin ? 2 * pairs : conv->in - 2 * begin;
            for (size_t k = 0; k < inputs / 2; k++, to += step, from += 2 * taps) {
                to[0] = from[0];
                to[1] = from[taps];
            }
            if (inputs % 2 != 0) {
                to[0] = from[0];
            }
        }
    }
}

/* Packs the weights of input `i`, which lies in the block that begins with pair `begin`. */
static void pack_across(const tmb_conv *conv, const packing *w, size_t i, size_t begin) {
    size_t width = conv->half.width;
    for (size_t p = 0; p < conv->taps; p++) {
        const float *from = w->source->data + (ptrdiff_t)p * w->source->tap + (ptrdiff_t)i * w->source->in;
        for (size_t first = 0; first < conv->out; first += width) {
            uint16_t *to = packed_at(conv, p, begin, first) + (i / 2 - begin) * 2 * width + i % 2;
            size_t columns = conv->out - first < width ? conv->out - first : width;
            for (size_t j = 0; j < columns; j++) {
                float value = from[w->offsets[first + j]];
                to[2 * j] = conv->half.whole_numbers ? to_whole(value, w->factors[first + j]) : to_bf16(value);
            }
        }
    }
}

/* Puts the blocks of the panel of output `o` into the kernel's own order. */
static void arrange_panel(const tmb_conv *conv, const packing *w, size_t o) {
    for (size_t p = 0; p < conv->taps; p++) {
        size_t pairs = 0;
        for (size_t begin = 0; begin < padded_in(conv) / 2; begin += pairs) {
            pairs = block_pairs(conv, begin);
            uint16_t *packed = packed_at(conv, p, begin, o);
            memcpy(w->block, packed, 2 * pairs * conv->half.width * sizeof *packed);
            conv->half.arrange(w->block, pairs, packed);
        }
    }
}

static void pack_weights(const tmb_conv *conv, const packing *w) {
    for (size_t o = 0; o < conv->out; o++) {
        w->offsets[o] = tmb_conv_output_offset(w->source, o);
    }
    find_scales(conv, w);
    bool along = lies_along(conv, w->source);
    size_t begin = 0;
    for (size_t i = 0; !along && i < conv->in; i++) {
        begin = i / 2 < begin + block_pairs(conv, begin) ? begin : i / 2;
        pack_across(conv, w, i, begin);
    }
    size_t width = conv->half.width;
    for (size_t first = 0; first < conv->out; first += width) {
        for (size_t o = first; along && o < first + width && o < conv->out; o++) {
            pack_along(conv, w, o);
        }
        if (conv->half.arrange != NULL) {
            arrange_panel(conv, w, first);
        }
    }
}

bool tmb_conv_half_pack(tmb_conv *conv, const tmb_conv_source *source) {
    size_t width = conv->half.width;
    packing w = {.source = source,
                 .offsets = tmb_calloc(conv->out, sizeof *w.offsets),
                 .largest = tmb_calloc(conv->out, sizeof *w.largest),
                 .factors = tmb_calloc(conv->out, sizeof *w.factors),
                 .row = tmb_calloc(conv->taps * conv->in, sizeof *w.row),
                 .block = tmb_alloc_aligned(padded_in(conv) * width, sizeof *w.block)};
    conv->half_weights = tmb_alloc_huge(conv->taps * padded_in(conv) * conv->panels * width, sizeof(uint16_t));
    conv->column_scales = tmb_alloc_aligned(conv->panels * width, sizeof(float));
    bool whole = w.offsets != NULL && w.largest != NULL && w.factors != NULL && w.row != NULL && w.block != NULL &&
                 conv->half_weights != NULL && conv->column_scales != NULL;
    if (whole) {
        pack_weights(conv, &w);
    }
    free(w.offsets);
    free(w.largest);
    free(w.factors);
    free(w.row);
    free(w.block);
    return whole;
}

/* ---- application ---- */

/* Input rows that a thread's scratch memory holds: those of a piece of one run and, for several short runs, some more.
 */
static size_t scratch_rows(const tmb_conv *conv) {
    size_t rows = TMB_CONV_ROWS_MAX * conv->stride + 2 * tmb_conv_span(conv);
    return tmb_round_up(rows, TMB_ALIGNMENT); /* what follows the scales is aligned then */
}

size_t tmb_conv_scratch_bytes(const tmb_conv *conv) {
    size_t bytes = 0;
    if (!conv->is_half) {
        return 0;
    }
    /* The last tile of rows may end behind the last of them. */
    if (!tmb_mul_size(scratch_rows(conv) + conv->half.rows, padded_in(conv) * sizeof(uint16_t) + sizeof(float),
                      &bytes) ||
        !tmb_pad_size(bytes, TMB_ALIGNMENT, &bytes)) {
        return SIZE_MAX;
    }
    return bytes;
}

/* Consecutive output rows of one run whose inputs are converted. */
typedef struct segment {
    size_t run, row, rows;
    size_t converted; /* its first input row among the converted ones */
} segment;

enum { SEGMENTS_MAX = 64 };

static void narrow_panel(const tmb_conv *conv, const uint16_t *a, size_t a_pitch, const float *row_scales, size_t rows,
                         size_t pairs, const uint16_t *b, const float *column_scales, const float *start, float *c,
                         size_t c_pitch, size_t columns) {
    _Alignas(64) float tile[TMB_CONV_TILE_MAX];
    const tmb_conv_half_kernels *half = &conv->half;
    for (size_t row = 0; row < rows; row += half->rows) {
        size_t some = rows - row < half->rows ? rows - row : half->rows;
        for (size_t r = 0; start == NULL && r < some; r++) {
            memcpy(tile + r * half->width, c + (row + r) * c_pitch, columns * sizeof(float));
        }
        half->panel(a + row * a_pitch, a_pitch, row_scales + row, some, pairs, b, column_scales, start, tile,
                    half->width, NULL, 0);
        for (size_t r = 0; r < some; r++) {
            memcpy(c + (row + r) * c_pitch, tile + r * half->width, columns * sizeof(float));
        }
    }
}

/* One panel and depth block for all segments. */
typedef struct panel_work {
    size_t tap, pair, pairs; /* the block */
    size_t panel;
    const uint16_t *b, *next;
    bool first, last; /* block of the sum */
} panel_work;

static void compute_panel(const tmb_conv_job *job, const panel_work *w, const segment *segments, size_t count,
                          size_t rows, const uint16_t *converted, const float *scales) {
    const tmb_conv *conv = job->conv;
    size_t width = conv->half.width;
    size_t pitch = padded_in(conv);
    size_t columns = conv->out - w->panel * width < width ? conv->out - w->panel * width : width;
    const float *start = w->first ? conv->bias + w->panel * width : NULL;
    const float *column_scales = conv->column_scales + w->panel * width;
    const uint16_t *next = w->next;
    for (size_t i = 0; i < count; i++) {
        const segment *s = &segments[i];
        size_t row = s->converted + w->tap * conv->dilation;
        const uint16_t *a = converted + row * pitch + 2 * w->pair;
        float *c = job->runs[s->run].output + s->row * job->output_pitch + w->panel * width;
        if (columns == width) {
            size_t share = 2 * w->pairs * width * sizeof(uint16_t) * s->rows / rows;
            conv->half.panel(a, pitch, scales + row, s->rows, w->pairs, w->b, column_scales, start, c,
                             job->output_pitch, next, share);
            next = next != NULL ? next + share / sizeof(uint16_t) : NULL;
        } else {
            narrow_panel(conv, a, pitch, scales + row, s->rows, w->pairs, w->b, column_scales, start, c,
                         job->output_pitch, columns);
        }
        if (w->last && job->finish != NULL) {
            tmb_conv_tile tile = {s->run, s->row, s->rows, w->panel * width, columns, c, job->output_pitch};
            job->finish(job->argument, &tile);
        }
    }
}

size_t tmb_conv_half_compute(const tmb_conv_job *job, int part, tmb_conv_position begin, size_t rows, size_t first,
                             size_t end) {
    const tmb_conv *conv = job->conv;
    size_t width = conv->half.width;
    size_t pitch = padded_in(conv);
    size_t capacity = scratch_rows(conv);
    float *scales = (float *)(void *)(job->scratch + (size_t)part * job->scratch_bytes);
    uint16_t *converted = (uint16_t *)(void *)(scales + capacity);
    segment segments[SEGMENTS_MAX];
    size_t count = 0;
    size_t used = 0; /* converted rows */
    size_t done = 0;
    tmb_conv_position at = begin;
    while (done < rows && count < SEGMENTS_MAX) {
        size_t some = tmb_conv_rows_here(job, &at, rows - done);
        size_t history = tmb_conv_span(conv) - 1;
        if (used + history + some > capacity) {
            if (used + history + 1 > capacity) {
                break;
            }
            some = capacity - used - history;
        }
        const float *input = job->runs[at.run].input + at.row * conv->in;
        for (size_t r = 0; r < some + history; r++) {
            conv->half.convert(input + r * conv->in, conv->in, converted + (used + r) * pitch, &scales[used + r]);
        }
        segments[count++] = (segment){at.run, at.row, some, used};
        used += some + history;
        done += some;
        at.row += some;
    }
    const uint16_t *block = conv->half_weights;
    panel_work w = {0};
    for (w.tap = 0; w.tap < conv->taps; w.tap++) {
        for (w.pair = 0; w.pair < pitch / 2; w.pair += w.pairs) {
            w.pairs = block_pairs(conv, w.pair);
            w.first = w.tap == 0 && w.pair == 0;
            w.last = w.tap + 1 == conv->taps && w.pair + w.pairs == pitch / 2;
            size_t size = 2 * w.pairs * width;
            for (w.panel = first; w.panel < end; w.panel++) {
                w.b = block + w.panel * size;
                w.next = w.panel + 1 < end ? w.b + size : NULL;
                compute_panel(job, &w, segments, count, done, converted, scales);
            }
            block += conv->panels * size;
        }
    }
    return done;
}
