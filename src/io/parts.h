/* The parts of a file that are decoded one after the other. */
#ifndef TMB_IO_PARTS_H
#define TMB_IO_PARTS_H

#include "io/source.h"

/* More are refused. */
#define TMB_PARTS_MAX 1024

/* Recordings that were appended to one another make several: chained Ogg streams, plain concatenation. */
typedef struct tmb_part {
    uint64_t start, end; /* bytes of the source */
    uint64_t length;     /* samples per channel that it must give; 0: not known */
} tmb_part;

/* Zero-initialise. */
typedef struct tmb_parts {
    tmb_part *items; /* owned */
    size_t count;
} tmb_parts;

tmb_status tmb_parts_add(tmb_parts *parts, tmb_part part, tmb_error *error);
void tmb_parts_free(tmb_parts *parts);

#endif
