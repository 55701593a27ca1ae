#include "weights/zip.h"

#include "base/error.h"
#include "base/memory.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum {
    END_BYTES = 22, /* end of central directory, without its comment */
    COMMENT_MAX = 65535,
    CENTRAL_BYTES = 46, /* entry of the central directory, without its names */
    LOCAL_BYTES = 30,   /* header before a member's data */
    METHOD_STORED = 0,
    METHOD_DEFLATED = 8,
    FLAG_ENCRYPTED = 1
};

static const unsigned char end_mark[] = {'P', 'K', 5, 6};
static const unsigned char central_mark[] = {'P', 'K', 1, 2};
static const unsigned char local_mark[] = {'P', 'K', 3, 4};

static size_t get16(const unsigned char *p) { return (size_t)p[0] | (size_t)p[1] << 8; }

static size_t get32(const unsigned char *p) { return get16(p) | get16(p + 2) << 16; }

/* An entry of the central directory. */
typedef struct entry {
    size_t method, packed, unpacked, offset;
    uint32_t crc;
} entry;

/* Where the end of the central directory is, or NULL. */
static const unsigned char *find_end(const unsigned char *archive, size_t bytes) {
    if (bytes < END_BYTES) {
        return NULL;
    }
    size_t lowest = bytes > END_BYTES + COMMENT_MAX ? bytes - END_BYTES - COMMENT_MAX : 0;
    for (size_t at = bytes - END_BYTES + 1; at-- > lowest;) {
        if (memcmp(archive + at, end_mark, 4) == 0 && get16(archive + at + 20) == bytes - END_BYTES - at) {
            return archive + at;
        }
    }
    return NULL;
}

static tmb_status find_entry(const unsigned char *archive, const unsigned char *end, const char *name, entry *out,
                             tmb_error *error) {
    size_t count = get16(end + 10);
    size_t directory_bytes = get32(end + 12);
    size_t at = get32(end + 16);
    size_t limit = (size_t)(end - archive);
    if (get16(end + 4) != 0 || get16(end + 6) != 0 || get16(end + 8) != count || count == 0xffff || at > limit ||
        directory_bytes != limit - at) {
        return tmb_fail(error, TMB_ERROR_FORMAT, "a damaged zip archive, or one of several disks or of zip64");
    }
    size_t name_bytes = strlen(name);
    for (size_t i = 0; i < count; i++) {
        const unsigned char *header = archive + at;
        if (limit - at < CENTRAL_BYTES || memcmp(header, central_mark, 4) != 0) {
            return tmb_fail(error, TMB_ERROR_FORMAT, "a damaged zip archive: entry %zu of its directory", i);
        }
        size_t name_length = get16(header + 28);
        size_t whole = CENTRAL_BYTES + name_length + get16(header + 30) + get16(header + 32);
        if (limit - at < whole) {
            return tmb_fail(error, TMB_ERROR_FORMAT, "a damaged zip archive: entry %zu of its directory", i);
        }
        if (name_length == name_bytes && memcmp(header + CENTRAL_BYTES, name, name_bytes) == 0) {
            if ((get16(header + 8) & FLAG_ENCRYPTED) != 0) {
                return tmb_fail(error, TMB_ERROR_FORMAT, "%s is encrypted in the zip archive", name);
            }
            *out = (entry){get16(header + 10), get32(header + 20), get32(header + 24), get32(header + 42),
                           (uint32_t)get32(header + 16)};
            return TMB_OK;
        }
        at += whole;
    }
    return tmb_fail(error, TMB_ERROR_FORMAT, "%s is not in the zip archive", name);
}

/* Exactly `unpacked` bytes and not one more. */
static bool inflate_all(const unsigned char *packed, size_t packed_bytes, unsigned char *out, size_t unpacked) {
    z_stream stream = {.next_in = (unsigned char *)packed,
                       .avail_in = (uInt)packed_bytes,
                       .next_out = out,
                       .avail_out = (uInt)unpacked};
    if (inflateInit2(&stream, -MAX_WBITS) != Z_OK) {
        return false;
    }
    int result = inflate(&stream, Z_FINISH);
    bool good = result == Z_STREAM_END && stream.total_out == unpacked && stream.avail_in == 0;
    (void)inflateEnd(&stream);
    return good;
}

tmb_status tmb_zip_extract(const void *data, size_t bytes, const char *name, size_t limit, void **out,
                           size_t *out_bytes, tmb_error *error) {
    const unsigned char *archive = data;
    *out = NULL;
    *out_bytes = 0;
    const unsigned char *end = find_end(archive, bytes);
    if (end == NULL) {
        return tmb_fail(error, TMB_ERROR_FORMAT, "not a zip archive, or its end is missing");
    }
    entry found = {0};
    tmb_status status = find_entry(archive, end, name, &found, error);
    if (status != TMB_OK) {
        return status;
    }
    if (found.unpacked > limit) {
        return tmb_fail(error, TMB_ERROR_LIMIT, "%s has %zu bytes, over the limit of %zu", name, found.unpacked, limit);
    }
    size_t data_limit = (size_t)(end - archive);
    const unsigned char *local = archive + found.offset;
    if (found.offset > data_limit || data_limit - found.offset < LOCAL_BYTES || memcmp(local, local_mark, 4) != 0) {
        return tmb_fail(error, TMB_ERROR_FORMAT, "a damaged zip archive: the header of %s", name);
    }
    size_t skip = LOCAL_BYTES + get16(local + 26) + get16(local + 28);
    if (data_limit - found.offset < skip || data_limit - found.offset - skip < found.packed) {
        return tmb_fail(error, TMB_ERROR_FORMAT, "a damaged zip archive: the data of %s", name);
    }
    unsigned char *unpacked = tmb_calloc(found.unpacked + 1, 1);
    if (unpacked == NULL) {
        return tmb_fail_memory(error, name, found.unpacked);
    }
    bool good = false;
    if (found.method == METHOD_STORED && found.packed == found.unpacked) {
        memcpy(unpacked, local + skip, found.packed);
        good = true;
    } else if (found.method == METHOD_DEFLATED) {
        good = inflate_all(local + skip, found.packed, unpacked, found.unpacked);
    }
    if (!good || crc32(crc32(0, NULL, 0), unpacked, (uInt)found.unpacked) != found.crc) {
        free(unpacked);
        return tmb_fail(error, TMB_ERROR_FORMAT, "a damaged zip archive: %s cannot be unpacked", name);
    }
    *out = unpacked;
    *out_bytes = found.unpacked;
    return TMB_OK;
}
