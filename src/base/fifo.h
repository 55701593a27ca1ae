/* A first-in first-out queue of floats with a maximum, the glue between stream stages. */
#ifndef TMB_BASE_FIFO_H
#define TMB_BASE_FIFO_H

#include <stdbool.h>
#include <stddef.h>

/* Zero-initialise, then set `maximum`. Used by one thread at a time. */
typedef struct tmb_fifo {
    float *samples;
    size_t start;    /* first sample that is still queued */
    size_t count;    /* queued samples */
    size_t capacity; /* allocated samples */
    size_t maximum;  /* never holds more than this; 0 = no maximum */
} tmb_fifo;

/* Room for `count` more samples at the returned address, contiguous; NULL when out of memory or over
 * the maximum. tmb_fifo_commit makes `count` of them part of the queue. */
float *tmb_fifo_reserve(tmb_fifo *fifo, size_t count);
void tmb_fifo_commit(tmb_fifo *fifo, size_t count);

/* Appends; false when out of memory or over the maximum (nothing is appended then). */
bool tmb_fifo_write(tmb_fifo *fifo, const float *samples, size_t count);

/* Takes up to `capacity` samples from the front; returns how many. `out` NULL drops them. */
size_t tmb_fifo_read(tmb_fifo *fifo, float *out, size_t capacity);

/* The front of the queue, valid until the next call; `fifo->count` samples. */
const float *tmb_fifo_peek(const tmb_fifo *fifo);

void tmb_fifo_clear(tmb_fifo *fifo);
void tmb_fifo_free(tmb_fifo *fifo);

#endif
