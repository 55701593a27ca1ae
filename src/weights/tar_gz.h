/* Reads a gzip-compressed tar archive front to back, from a file or memory. The bytes are taken for hostile: every
 * header is checked against its sum, sizes against limits, and the compressed data against its CRC. */
#ifndef TMB_WEIGHTS_TAR_GZ_H
#define TMB_WEIGHTS_TAR_GZ_H

#include "timbre/timbre.h"

typedef struct tmb_tar_gz tmb_tar_gz;

/* TMB_ERROR_LIMIT beyond them. */
typedef struct tmb_tar_gz_limits {
    uint64_t total_bytes;  /* after decompression, headers and what is skipped included */
    uint64_t member_bytes; /* of one regular file */
    size_t members;        /* entries of any kind */
} tmb_tar_gz_limits;

typedef struct tmb_tar_gz_member {
    char path[256]; /* as the archive spells it, never empty; longer ones are TMB_ERROR_FORMAT */
    size_t size;    /* bytes */
} tmb_tar_gz_member;

/* `limits` is copied. TMB_ERROR_IO if the file cannot be opened. */
tmb_status tmb_tar_gz_open(const char *path, const tmb_tar_gz_limits *limits, tmb_tar_gz **out, tmb_error *error);

/* `bytes` is borrowed until close. */
tmb_status tmb_tar_gz_open_memory(const void *bytes, size_t size, const tmb_tar_gz_limits *limits, tmb_tar_gz **out,
                                  tmb_error *error);

/* Goes to the next regular file; *found is false at the archive's end, when the rest was read and its CRC was right.
 * Folders, links and devices are passed over; the extended headers of pax and GNU tar give a member its long path. */
tmb_status tmb_tar_gz_next(tmb_tar_gz *archive, tmb_tar_gz_member *member, bool *found, tmb_error *error);

/* Reads the next `size` bytes of the member that was found; TMB_ERROR_ARGUMENT if it has fewer left. */
tmb_status tmb_tar_gz_read(tmb_tar_gz *archive, void *out, size_t size, tmb_error *error);

void tmb_tar_gz_close(tmb_tar_gz **archive);

#endif
