#include "weights/digest.h"

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/text.h"

#include <nettle/sha1.h>
#include <nettle/sha2.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define BLOCK_BYTES ((size_t)1 << 18)

typedef struct digest {
    tmb_digest_kind kind;
    struct sha256_ctx sha256;
    struct sha1_ctx sha1;
} digest;

static void update(digest *d, const void *data, size_t bytes) {
    if (d->kind == TMB_DIGEST_SHA256) {
        sha256_update(&d->sha256, bytes, data);
    } else {
        sha1_update(&d->sha1, bytes, data);
    }
}

static void begin(digest *d, tmb_digest_kind kind, uint64_t bytes) {
    d->kind = kind;
    sha256_init(&d->sha256);
    sha1_init(&d->sha1);
    if (kind == TMB_DIGEST_GIT) {
        char head[40];
        int length = snprintf(head, sizeof head, "blob %llu", (unsigned long long)bytes);
        update(d, head, (size_t)length + 1);
    }
}

static void finish(digest *d, char out[TMB_DIGEST_HEX_MAX]) {
    uint8_t sum[SHA256_DIGEST_SIZE];
    if (d->kind == TMB_DIGEST_SHA256) {
        sha256_digest(&d->sha256, SHA256_DIGEST_SIZE, sum);
        tmb_hex_encode(sum, SHA256_DIGEST_SIZE, out);
    } else {
        sha1_digest(&d->sha1, SHA1_DIGEST_SIZE, sum);
        tmb_hex_encode(sum, SHA1_DIGEST_SIZE, out);
    }
}

void tmb_digest_memory(tmb_digest_kind kind, const void *data, size_t bytes, char out[TMB_DIGEST_HEX_MAX]) {
    digest d;
    begin(&d, kind, bytes);
    update(&d, data, bytes);
    finish(&d, out);
}

tmb_status tmb_digest_file(tmb_digest_kind kind, const char *path, char out[TMB_DIGEST_HEX_MAX], tmb_error *error) {
    int file = -1;
    uint64_t size = 0;
    tmb_status status = tmb_file_open(path, &file, &size, error);
    if (status != TMB_OK) {
        return status;
    }
    void *block = tmb_calloc(BLOCK_BYTES, 1);
    if (block == NULL) {
        (void)close(file);
        return tmb_fail_memory(error, "a checksum", 0);
    }
    digest d;
    begin(&d, kind, size);
    for (uint64_t at = 0; at < size && status == TMB_OK;) {
        size_t part = size - at < BLOCK_BYTES ? (size_t)(size - at) : BLOCK_BYTES;
        status = tmb_file_read_at(file, at, block, part, path, error);
        if (status == TMB_OK) {
            update(&d, block, part);
        }
        at += part;
    }
    finish(&d, out);
    free(block);
    (void)close(file);
    return status;
}
