#include "weights/tar_gz.h"

#include "base/error.h"
#include "base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

enum { BLOCK = 512, INPUT_BYTES = 32 * 1024, MAX_EXTENDED_HEADER = 16 * 1024 };

struct tmb_tar_gz {
    tmb_tar_gz_limits limits;
    int file;                   /* -1: from memory */
    const unsigned char *bytes; /* memory that was not given to inflate yet */
    size_t bytes_left;
    z_stream stream;
    bool stream_ended;
    uint64_t produced;    /* bytes after decompression */
    size_t members;       /* headers that were read */
    uint64_t member_left; /* bytes of the current member that were not read */
    size_t padding;       /* zeros after it, up to a whole block */
    bool at_end;
    unsigned char input[INPUT_BYTES];
};

/* Fields of a ustar header: offset and length. */
enum {
    NAME_AT = 0,
    NAME_LENGTH = 100,
    SIZE_AT = 124,
    SIZE_LENGTH = 12,
    SUM_AT = 148,
    SUM_LENGTH = 8,
    TYPE_AT = 156,
    MAGIC_AT = 257,
    PREFIX_AT = 345,
    PREFIX_LENGTH = 155
};

static tmb_status open_archive(const tmb_tar_gz_limits *limits, int file, const void *bytes, size_t size,
                               tmb_tar_gz **out, tmb_error *error) {
    tmb_tar_gz *archive = tmb_calloc(1, sizeof *archive);
    if (archive == NULL) {
        return tmb_fail_memory(error, "reading an archive", sizeof *archive);
    }
    archive->limits = *limits;
    archive->file = file;
    archive->bytes = bytes;
    archive->bytes_left = size;
    if (inflateInit2(&archive->stream, 16 + MAX_WBITS) != Z_OK) { /* 16: gzip's header and trailer */
        free(archive);
        return tmb_fail_memory(error, "decompressing an archive", 0);
    }
    *out = archive;
    return TMB_OK;
}

tmb_status tmb_tar_gz_open_memory(const void *bytes, size_t size, const tmb_tar_gz_limits *limits, tmb_tar_gz **out,
                                  tmb_error *error) {
    *out = NULL;
    return open_archive(limits, -1, bytes, size, out, error);
}

tmb_status tmb_tar_gz_open(const char *path, const tmb_tar_gz_limits *limits, tmb_tar_gz **out, tmb_error *error) {
    *out = NULL;
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) {
        return tmb_fail_errno(error, TMB_ERROR_IO, errno, "%s", path);
    }
    tmb_status status = open_archive(limits, file, NULL, 0, out, error);
    if (status != TMB_OK) {
        (void)close(file);
    }
    return status;
}

void tmb_tar_gz_close(tmb_tar_gz **archive) {
    if (archive == NULL || *archive == NULL) {
        return;
    }
    (void)inflateEnd(&(*archive)->stream);
    if ((*archive)->file >= 0) {
        (void)close((*archive)->file);
    }
    free(*archive);
    *archive = NULL;
}

/* Gives inflate its next input; none is left if stream.avail_in stays 0. */
static tmb_status refill(tmb_tar_gz *archive, tmb_error *error) {
    z_stream *stream = &archive->stream;
    if (archive->file < 0) {
        const size_t most = 1u << 30;
        const size_t count = archive->bytes_left < most ? archive->bytes_left : most;
        stream->next_in = (z_const Bytef *)archive->bytes;
        stream->avail_in = (uInt)count;
        archive->bytes = count > 0 ? archive->bytes + count : archive->bytes;
        archive->bytes_left -= count;
        return TMB_OK;
    }
    ssize_t count = 0;
    do {
        count = read(archive->file, archive->input, sizeof archive->input);
    } while (count < 0 && errno == EINTR);
    if (count < 0) {
        return tmb_fail_errno(error, TMB_ERROR_IO, errno, "reading the archive");
    }
    stream->next_in = archive->input;
    stream->avail_in = (uInt)count;
    return TMB_OK;
}

/* Decompresses up to `size` bytes; *count is less than that only at the end of the compressed data. */
static tmb_status decompress(tmb_tar_gz *archive, unsigned char *out, size_t size, size_t *count, tmb_error *error) {
    z_stream *stream = &archive->stream;
    *count = 0;
    while (*count < size && !archive->stream_ended) {
        if (stream->avail_in == 0) {
            tmb_status status = refill(archive, error);
            if (status != TMB_OK) {
                return status;
            }
            if (stream->avail_in == 0) {
                return tmb_fail(error, TMB_ERROR_FORMAT, "the archive is cut off: its compressed data ends too early");
            }
        }
        const size_t left = size - *count;
        const uInt room = left < (1u << 30) ? (uInt)left : 1u << 30;
        stream->next_out = out + *count;
        stream->avail_out = room;
        const int result = inflate(stream, Z_NO_FLUSH);
        *count += room - stream->avail_out;
        archive->produced += room - stream->avail_out;
        if (archive->produced > archive->limits.total_bytes) {
            return tmb_fail(error, TMB_ERROR_LIMIT, "the archive decompresses to more than %llu bytes",
                            (unsigned long long)archive->limits.total_bytes);
        }
        switch (result) {
        case Z_STREAM_END: archive->stream_ended = true; break;
        case Z_OK:
        case Z_BUF_ERROR: break; /* more input or output is needed: the loop sees to it */
        case Z_MEM_ERROR: return tmb_fail_memory(error, "decompressing an archive", 0);
        default:
            return tmb_fail(error, TMB_ERROR_FORMAT, "not a gzip archive, or a damaged one (%s)",
                            stream->msg != NULL ? stream->msg : "zlib gives no reason");
        }
    }
    return TMB_OK;
}

static tmb_status read_exactly(tmb_tar_gz *archive, void *out, size_t size, tmb_error *error) {
    size_t count = 0;
    tmb_status status = decompress(archive, out, size, &count, error);
    if (status == TMB_OK && count < size) {
        return tmb_fail(error, TMB_ERROR_FORMAT, "the archive is cut off: %zu bytes are missing in a member",
                        size - count);
    }
    return status;
}

static tmb_status skip(tmb_tar_gz *archive, uint64_t size, tmb_error *error) {
    unsigned char discarded[4096];
    while (size > 0) {
        const size_t count = size < sizeof discarded ? (size_t)size : sizeof discarded;
        tmb_status status = read_exactly(archive, discarded, count, error);
        if (status != TMB_OK) {
            return status;
        }
        size -= count;
    }
    return TMB_OK;
}

/* An octal number, spaces or NUL around it. Returns false for anything else; GNU's base-256 sizes (8 GiB and more) too.
 */
static bool parse_octal(const unsigned char *field, size_t length, uint64_t *value) {
    size_t i = 0;
    while (i < length && field[i] == ' ') {
        i++;
    }
    const size_t start = i;
    *value = 0;
    for (; i < length && field[i] >= '0' && field[i] <= '7'; i++) {
        *value = *value * 8 + (uint64_t)(field[i] - '0'); /* 12 digits have 36 bits */
    }
    return i > start && (i == length || field[i] == ' ' || field[i] == '\0');
}

static bool sum_is_right(const unsigned char *header) {
    uint64_t wanted = 0;
    if (!parse_octal(header + SUM_AT, SUM_LENGTH, &wanted)) {
        return false;
    }
    uint64_t sum = 0;
    for (size_t i = 0; i < BLOCK; i++) {
        sum += i >= SUM_AT && i < SUM_AT + SUM_LENGTH ? ' ' : header[i];
    }
    return sum == wanted;
}

/* The path out of the header's two fields. */
static void header_path(const unsigned char *header, char *path, size_t size) {
    const size_t name = strnlen((const char *)header + NAME_AT, NAME_LENGTH);
    size_t prefix = 0;
    if (memcmp(header + MAGIC_AT, "ustar\0", 6) == 0) { /* GNU's "ustar  " has other fields there */
        prefix = strnlen((const char *)header + PREFIX_AT, PREFIX_LENGTH);
    }
    size_t at = 0;
    if (prefix > 0 && prefix + 1 < size) {
        memcpy(path, header + PREFIX_AT, prefix);
        path[prefix] = '/';
        at = prefix + 1;
    }
    const size_t room = size - 1 - at; /* 100 + 1 + 155 fits 256 */
    memcpy(path + at, header + NAME_AT, name < room ? name : room);
    path[at + (name < room ? name : room)] = '\0';
}

/* "LENGTH path=VALUE\n" among the records of a pax header. */
static tmb_status pax_path(const char *records, size_t size, char *path, size_t path_size, tmb_error *error) {
    size_t at = 0;
    while (at < size && records[at] != '\0') {
        size_t length = 0;
        size_t i = at;
        for (; i < size && records[i] >= '0' && records[i] <= '9' && length <= size; i++) {
            length = length * 10 + (size_t)(records[i] - '0');
        }
        if (i == size || records[i] != ' ' || length > size - at || length <= i + 1 - at ||
            records[at + length - 1] != '\n') {
            return tmb_fail(error, TMB_ERROR_FORMAT, "the archive has a damaged extended header");
        }
        const char *record = records + i + 1;
        const size_t record_length = length - (i + 1 - at) - 1;
        if (record_length > 5 && memcmp(record, "path=", 5) == 0) {
            if (record_length - 5 >= path_size) {
                return tmb_fail(error, TMB_ERROR_FORMAT, "the archive has a path of %zu bytes; %zu are the limit",
                                record_length - 5, path_size - 1);
            }
            memcpy(path, record + 5, record_length - 5);
            path[record_length - 5] = '\0';
        }
        at += length;
    }
    return TMB_OK;
}

/* The content of an extended header (GNU's long name, pax), which describes the member after it. */
static tmb_status extended_path(tmb_tar_gz *archive, int type, uint64_t size, char *path, size_t path_size,
                                tmb_error *error) {
    if (size > MAX_EXTENDED_HEADER) {
        return tmb_fail(error, TMB_ERROR_LIMIT, "the archive has an extended header of %llu bytes; %d are the limit",
                        (unsigned long long)size, MAX_EXTENDED_HEADER);
    }
    char content[MAX_EXTENDED_HEADER];
    tmb_status status = read_exactly(archive, content, (size_t)size, error);
    if (status != TMB_OK || type == 'g') { /* global: nothing there names a member */
        return status;
    }
    if (type == 'x') {
        return pax_path(content, (size_t)size, path, path_size, error);
    }
    const size_t length = strnlen(content, (size_t)size);
    if (length >= path_size) {
        return tmb_fail(error, TMB_ERROR_FORMAT, "the archive has a path of %zu bytes; %zu are the limit", length,
                        path_size - 1);
    }
    memcpy(path, content, length);
    path[length] = '\0';
    return TMB_OK;
}

/* Reads what follows the archive's end, so that the compressed data's CRC is checked. */
static tmb_status finish(tmb_tar_gz *archive, tmb_error *error) {
    unsigned char rest[4096];
    size_t count = 0;
    do {
        tmb_status status = decompress(archive, rest, sizeof rest, &count, error);
        if (status != TMB_OK) {
            return status;
        }
    } while (count > 0);
    archive->at_end = true;
    return TMB_OK;
}

static bool is_zero(const unsigned char *block) {
    for (size_t i = 0; i < BLOCK; i++) {
        if (block[i] != 0) {
            return false;
        }
    }
    return true;
}

tmb_status tmb_tar_gz_next(tmb_tar_gz *archive, tmb_tar_gz_member *member, bool *found, tmb_error *error) {
    *found = false;
    char long_path[sizeof member->path] = "";
    while (!archive->at_end) {
        tmb_status status = skip(archive, archive->member_left + archive->padding, error);
        archive->member_left = 0;
        archive->padding = 0;
        unsigned char header[BLOCK];
        if (status == TMB_OK) {
            status = read_exactly(archive, header, BLOCK, error);
        }
        if (status != TMB_OK) {
            return status;
        }
        if (is_zero(header)) {
            return finish(archive, error);
        }
        uint64_t size = 0;
        if (!sum_is_right(header) || !parse_octal(header + SIZE_AT, SIZE_LENGTH, &size)) {
            return tmb_fail(error, TMB_ERROR_FORMAT,
                            "not a tar archive, or a damaged one (member %zu has a wrong header)",
                            archive->members + 1);
        }
        if (++archive->members > archive->limits.members) {
            return tmb_fail(error, TMB_ERROR_LIMIT, "the archive has more than %zu members", archive->limits.members);
        }
        const unsigned char type = header[TYPE_AT];
        const size_t padding = (size_t)((BLOCK - size % BLOCK) % BLOCK);
        if (type == 'L' || type == 'x' || type == 'g') {
            status = extended_path(archive, type, size, long_path, sizeof long_path, error);
            archive->padding = padding;
            if (status != TMB_OK) {
                return status;
            }
            continue;
        }
        const bool has_content = type == '0' || type == '\0' || type == '7' || type > '7';
        archive->member_left = has_content ? size : 0;
        archive->padding = has_content ? padding : 0;
        if (type != '0' && type != '\0') {
            long_path[0] = '\0';
            continue;
        }
        if (long_path[0] != '\0') {
            memcpy(member->path, long_path, sizeof long_path);
        } else {
            header_path(header, member->path, sizeof member->path);
        }
        if (member->path[0] == '\0') {
            return tmb_fail(error, TMB_ERROR_FORMAT, "the archive's member %zu has no name", archive->members);
        }
        if (size > archive->limits.member_bytes || size > SIZE_MAX) {
            return tmb_fail(error, TMB_ERROR_LIMIT, "%.200s: %llu bytes; %llu are the limit", member->path,
                            (unsigned long long)size, (unsigned long long)archive->limits.member_bytes);
        }
        member->size = (size_t)size;
        *found = true;
        return TMB_OK;
    }
    return TMB_OK;
}

tmb_status tmb_tar_gz_read(tmb_tar_gz *archive, void *out, size_t size, tmb_error *error) {
    if (size > archive->member_left) {
        return tmb_fail(error, TMB_ERROR_ARGUMENT, "the archive's member has %llu bytes left, not %zu",
                        (unsigned long long)archive->member_left, size);
    }
    tmb_status status = read_exactly(archive, out, size, error);
    if (status == TMB_OK) {
        archive->member_left -= size;
    }
    return status;
}
