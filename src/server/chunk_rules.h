/* What a chunked body must be, so that no program before this one can read it differently: sizes in hexadecimal digits,
 * lines that end with CR and LF, bounded extensions and trailers. What comes out is the same body with neither. */
#ifndef TMB_SERVER_CHUNK_RULES_H
#define TMB_SERVER_CHUNK_RULES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    TMB_CHUNK_LINE = 1024,     /* bytes of the line with a chunk's size */
    TMB_CHUNK_TRAILERS = 8192, /* bytes behind the last chunk */
    TMB_CHUNK_SLACK = 32       /* room for the output beyond the input's size */
};

/* Zero-initialise. */
typedef struct tmb_chunks {
    enum {
        TMB_CHUNK_SIZE = 0,
        TMB_CHUNK_EXTENSION,
        TMB_CHUNK_SIZE_END,
        TMB_CHUNK_DATA,
        TMB_CHUNK_DATA_CR,
        TMB_CHUNK_DATA_LF,
        TMB_CHUNK_TRAILER,
        TMB_CHUNK_TRAILER_LINE,
        TMB_CHUNK_TRAILER_END,
        TMB_CHUNK_END,
        TMB_CHUNK_COMPLETE
    } state;
    uint64_t size;     /* of the chunk; in DATA: what is still to come */
    unsigned bytes;    /* of this line, or of all trailers */
    bool digits;       /* the line has one */
    bool colon;        /* the trailer's line has one */
    const char *error; /* what is wrong, once something is */
} tmb_chunks;

/* Takes `size` bytes of the body and writes what is to be passed on to `out` [size + TMB_CHUNK_SLACK]; *written is its
 * size. False: it is no body, `chunks->error` says why, and *written has what was still right. Bytes behind the end are
 * dropped. */
bool tmb_chunks_read(tmb_chunks *chunks, const char *bytes, size_t size, char *out, size_t *written);

#endif
