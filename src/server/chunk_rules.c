#include "server/chunk_rules.h"

#include <stdio.h>
#include <string.h>

/* Larger chunks are larger than any body that is taken, and sums of such sizes might wrap. */
static const uint64_t largest = UINT64_C(1) << 48;

static bool fail(tmb_chunks *chunks, const char *problem) {
    chunks->error = problem;
    return false;
}

static int hex_value(char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

static bool is_control(char c) { return ((unsigned char)c < 0x20 && c != '\t') || c == 0x7f; }

static bool read_size(tmb_chunks *chunks, char c) {
    const int digit = hex_value(c);
    if (++chunks->bytes > TMB_CHUNK_LINE) {
        return fail(chunks, "the line of a chunk's size is too long");
    }
    if (digit >= 0) {
        chunks->digits = true;
        chunks->size = chunks->size * 16 + (uint64_t)digit;
        return chunks->size <= largest || fail(chunks, "a chunk is too large");
    }
    if (!chunks->digits || (c != ';' && c != '\r')) {
        return fail(chunks, "a chunk's size is no hexadecimal number");
    }
    chunks->state = c == ';' ? TMB_CHUNK_EXTENSION : TMB_CHUNK_SIZE_END;
    return true;
}

static bool read_extension(tmb_chunks *chunks, char c) {
    if (++chunks->bytes > TMB_CHUNK_LINE) {
        return fail(chunks, "the line of a chunk's size is too long");
    }
    if (c == '\r') {
        chunks->state = TMB_CHUNK_SIZE_END;
        return true;
    }
    return !is_control(c) || fail(chunks, "the line of a chunk's size has control characters");
}

/* The size's line is over. */
static size_t begin_chunk(tmb_chunks *chunks, char *out) {
    const bool last = chunks->size == 0;
    chunks->bytes = 0;
    chunks->digits = false;
    chunks->state = last ? TMB_CHUNK_TRAILER : TMB_CHUNK_DATA;
    return last ? 0 : (size_t)snprintf(out, TMB_CHUNK_SLACK, "%llx\r\n", (unsigned long long)chunks->size);
}

static bool read_trailer(tmb_chunks *chunks, char c) {
    if (++chunks->bytes > TMB_CHUNK_TRAILERS) {
        return fail(chunks, "the trailers are too long");
    }
    if (c == '\r') {
        const bool empty = chunks->state == TMB_CHUNK_TRAILER;
        chunks->state = empty ? TMB_CHUNK_END : TMB_CHUNK_TRAILER_END;
        return empty || chunks->colon || fail(chunks, "a trailer has no colon");
    }
    if (is_control(c) || (chunks->state == TMB_CHUNK_TRAILER && (c == ' ' || c == '\t' || c == ':'))) {
        return fail(chunks, "a trailer is folded, has no name or has control characters");
    }
    chunks->colon = c == ':' || (chunks->state == TMB_CHUNK_TRAILER_LINE && chunks->colon);
    chunks->state = TMB_CHUNK_TRAILER_LINE;
    return true;
}

/* One byte that is no data. */
static bool read_mark(tmb_chunks *chunks, char c, char *out, size_t *written) {
    static const char unended[] = "a line of the chunks does not end with CR and LF";
    switch (chunks->state) {
    case TMB_CHUNK_SIZE: return read_size(chunks, c);
    case TMB_CHUNK_EXTENSION: return read_extension(chunks, c);
    case TMB_CHUNK_SIZE_END:
        *written += c == '\n' ? begin_chunk(chunks, out + *written) : 0;
        return c == '\n' || fail(chunks, unended);
    case TMB_CHUNK_DATA_CR:
        chunks->state = TMB_CHUNK_DATA_LF;
        return c == '\r' || fail(chunks, "a chunk is longer than its size");
    case TMB_CHUNK_DATA_LF:
        if (c != '\n') {
            return fail(chunks, unended);
        }
        memcpy(out + *written, "\r\n", 2);
        *written += 2;
        chunks->state = TMB_CHUNK_SIZE;
        return true;
    case TMB_CHUNK_TRAILER:
    case TMB_CHUNK_TRAILER_LINE: return read_trailer(chunks, c);
    case TMB_CHUNK_TRAILER_END: chunks->state = TMB_CHUNK_TRAILER; return c == '\n' || fail(chunks, unended);
    case TMB_CHUNK_END:
        if (c != '\n') {
            return fail(chunks, unended);
        }
        memcpy(out + *written, "0\r\n\r\n", 5);
        *written += 5;
        chunks->state = TMB_CHUNK_COMPLETE;
        return true;
    case TMB_CHUNK_DATA:
    case TMB_CHUNK_COMPLETE:
    default: return true;
    }
}

bool tmb_chunks_read(tmb_chunks *chunks, const char *bytes, size_t size, char *out, size_t *written) {
    *written = 0;
    for (size_t at = 0; at < size && chunks->error == NULL && chunks->state != TMB_CHUNK_COMPLETE;) {
        if (chunks->state != TMB_CHUNK_DATA) {
            (void)read_mark(chunks, bytes[at++], out, written);
            continue;
        }
        const size_t here = size - at < chunks->size ? size - at : (size_t)chunks->size;
        memcpy(out + *written, bytes + at, here);
        *written += here;
        at += here;
        chunks->size -= here;
        chunks->state = chunks->size > 0 ? TMB_CHUNK_DATA : TMB_CHUNK_DATA_CR;
    }
    return chunks->error == NULL;
}
