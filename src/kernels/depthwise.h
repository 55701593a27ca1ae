/* Convolution along rows, each channel by itself: channels lie next to each other, rows are positions (frequencies). */
#ifndef TMB_KERNELS_DEPTHWISE_H
#define TMB_KERNELS_DEPTHWISE_H

#include <stdbool.h>
#include <stddef.h>

/* out[o][c] = sum over taps k of in[i][c] * weights[k][c], for positions o in [first, first + count) and
 *     i = o * stride + k - pad                 (convolution)
 *     i = (o + pad - k) / stride, if whole     (transposed convolution)
 * and in[i] = 0 outside [0, in_rows). `out` begins with position `first`; nothing overlaps. */
typedef struct tmb_depthwise {
    const float *in; /* [in_rows - in_first, channels], its first row is row in_first */
    size_t in_first; /* no output that is asked for may need a row of [0, in_first) */
    size_t in_rows;
    size_t channels;
    const float *weights; /* [taps, channels] */
    size_t taps, stride, pad;
    bool transposed;
    float *out; /* [count, channels] */
    size_t first, count;
} tmb_depthwise;

typedef struct tmb_depthwise_kernels {
    void (*convolve)(const tmb_depthwise *job);
} tmb_depthwise_kernels;

/* The fastest variants for a CPU with `cpu_flags` (cpu/cpu.h); 0 gives plain C. */
void tmb_depthwise_kernels_init(tmb_depthwise_kernels *kernels, unsigned cpu_flags);

/* The row of job->in that tap `k` reads for position `o`; false if that is none. */
static inline bool tmb_depthwise_row(const tmb_depthwise *job, size_t o, size_t k, size_t *row) {
    const size_t place = job->transposed ? o + job->pad : o * job->stride + k;
    const size_t back = job->transposed ? k : job->pad;
    if (place < back) {
        return false;
    }
    *row = place - back;
    if (job->transposed) {
        if (*row % job->stride != 0) {
            return false;
        }
        *row /= job->stride;
    }
    if (*row >= job->in_rows) {
        return false;
    }
    *row -= job->in_first;
    return true;
}

#endif
