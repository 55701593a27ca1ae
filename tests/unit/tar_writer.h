/* Makes tar.gz archives in memory, good and bad ones. */
#ifndef TMB_TESTS_TAR_WRITER_H
#define TMB_TESTS_TAR_WRITER_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

typedef struct tar_writer {
    unsigned char *bytes;
    size_t size;
} tar_writer;

static inline void tar_append(tar_writer *tar, const void *bytes, size_t size) {
    tar->bytes = realloc(tar->bytes, tar->size + size + 1);
    memcpy(tar->bytes + tar->size, bytes, size);
    tar->size += size;
}

/* Sets the header's checksum. */
static inline void tar_seal(unsigned char *header) {
    memset(header + 148, ' ', 8);
    unsigned sum = 0;
    for (size_t i = 0; i < 512; i++) {
        sum += header[i];
    }
    (void)snprintf((char *)header + 148, 8, "%06o", sum);
}

/* A header and its content, padded to whole blocks; `size` is what the header says. */
static inline void tar_member(tar_writer *tar, const char *path, char type, const void *content, size_t size) {
    unsigned char block[512] = {0};
    (void)snprintf((char *)block, 100, "%s", path);
    (void)snprintf((char *)block + 100, 8, "%07o", 0644u);
    (void)snprintf((char *)block + 124, 12, "%011zo", size);
    block[156] = (unsigned char)type;
    memcpy(block + 257,
           "ustar\0"
           "00",
           8);
    tar_seal(block);
    tar_append(tar, block, 512);
    if (content != NULL) {
        static const unsigned char zeros[512];
        tar_append(tar, content, size);
        tar_append(tar, zeros, (512 - size % 512) % 512);
    }
}

static inline void tar_end(tar_writer *tar) {
    static const unsigned char zeros[1024];
    tar_append(tar, zeros, 1024);
}

/* The archive compressed, free() it; the writer is empty after it. */
static inline unsigned char *tar_compress(tar_writer *tar, int level, size_t *size) {
    z_stream stream = {.next_in = tar->bytes, .avail_in = (uInt)tar->size};
    if (deflateInit2(&stream, level, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY) != Z_OK) {
        abort();
    }
    const uLong bound = deflateBound(&stream, (uLong)tar->size) + 64;
    unsigned char *out = malloc(bound);
    stream.next_out = out;
    stream.avail_out = (uInt)bound;
    if (out == NULL || deflate(&stream, Z_FINISH) != Z_STREAM_END) {
        abort();
    }
    *size = stream.total_out;
    (void)deflateEnd(&stream);
    free(tar->bytes);
    *tar = (tar_writer){NULL, 0};
    return out;
}

#endif
