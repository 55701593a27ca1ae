#include "base/fifo.h"

#include "base/checked.h"
#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

float *tmb_fifo_reserve(tmb_fifo *fifo, size_t count) {
    size_t needed = 0;
    if (!tmb_add_size(fifo->count, count, &needed) || (fifo->maximum != 0 && needed > fifo->maximum)) {
        return NULL;
    }
    if (fifo->start + needed > fifo->capacity) {
        if (fifo->start != 0) {
            memmove(fifo->samples, fifo->samples + fifo->start, fifo->count * sizeof(float));
            fifo->start = 0;
        }
        if (needed > fifo->capacity) {
            size_t capacity = fifo->capacity < 512 ? 512 : fifo->capacity;
            while (capacity < needed) {
                capacity = capacity > needed / 2 ? needed : capacity * 2;
            }
            float *samples = tmb_realloc(fifo->samples, capacity, sizeof(float));
            if (samples == NULL) {
                return NULL;
            }
            fifo->samples = samples;
            fifo->capacity = capacity;
        }
    }
    if (fifo->samples == NULL) {
        return tmb_fifo_reserve(fifo, 1);
    }
    return fifo->samples + fifo->start + fifo->count;
}

void tmb_fifo_commit(tmb_fifo *fifo, size_t count) { fifo->count += count; }

bool tmb_fifo_write(tmb_fifo *fifo, const float *samples, size_t count) {
    if (count == 0) {
        return true;
    }
    float *end = tmb_fifo_reserve(fifo, count);
    if (end == NULL) {
        return false;
    }
    memcpy(end, samples, count * sizeof(float));
    fifo->count += count;
    return true;
}

size_t tmb_fifo_read(tmb_fifo *fifo, float *out, size_t capacity) {
    size_t count = capacity < fifo->count ? capacity : fifo->count;
    if (count == 0) {
        return 0;
    }
    if (out != NULL) {
        memcpy(out, fifo->samples + fifo->start, count * sizeof(float));
    }
    fifo->start += count;
    fifo->count -= count;
    if (fifo->count == 0) {
        fifo->start = 0;
    }
    return count;
}

const float *tmb_fifo_peek(const tmb_fifo *fifo) { return fifo->samples == NULL ? NULL : fifo->samples + fifo->start; }

void tmb_fifo_clear(tmb_fifo *fifo) {
    fifo->start = 0;
    fifo->count = 0;
}

void tmb_fifo_free(tmb_fifo *fifo) {
    free(fifo->samples);
    fifo->samples = NULL;
    fifo->capacity = 0;
    tmb_fifo_clear(fifo);
}
