#include "queue/contents/contents.h"

#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <nettle/sha2.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

tmb_store_status tmb_contents_errno(tmb_logger *logger, const char *what) {
    int code = errno;
    if (code == ENOSPC || code == EDQUOT || code == EFBIG) {
        return TMB_STORE_NO_SPACE;
    }
    if (code == ENOENT) {
        return TMB_STORE_NOT_FOUND;
    }
    tmb_log(logger, TMB_LOG_ERROR, "%s: %s", what, strerror(code));
    /* A folder over the network comes back. */
    return code == EACCES || code == EPERM || code == EROFS ? TMB_STORE_FAILED : TMB_STORE_BUSY;
}

int tmb_contents_scratch(const char *scratch) {
    int descriptor = open(scratch, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (descriptor >= 0) {
        (void)unlink(scratch);
    }
    return descriptor;
}

int tmb_contents_identity_file(const char *identity) {
    int descriptor = memfd_create("timbre-identity", MFD_CLOEXEC);
    if (descriptor >= 0 &&
        (!tmb_file_write_all(descriptor, identity, strlen(identity)) || lseek(descriptor, 0, SEEK_SET))) {
        (void)close(descriptor);
        descriptor = -1;
    }
    return descriptor;
}

bool tmb_contents_identity_read(int descriptor, char identity[TMB_STORE_ID]) {
    char text[TMB_STORE_ID];
    ssize_t got = pread(descriptor, text, sizeof text, 0);
    bool good = got == TMB_ID_LENGTH;
    if (good) {
        text[TMB_ID_LENGTH] = 0;
        good = tmb_is_id(text);
    }
    memcpy(identity, good ? text : "", good ? sizeof text : 1);
    return good;
}

tmb_store_status tmb_contents_sum(tmb_logger *logger, const char *path, char sum[TMB_SUM_SIZE], uint64_t *bytes) {
    struct sha256_ctx hash;
    uint8_t digest[SHA256_DIGEST_SIZE];
    char block[65536];
    int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (descriptor < 0) {
        return tmb_contents_errno(logger, path);
    }
    sha256_init(&hash);
    *bytes = 0;
    ssize_t got = 0;
    while ((got = read(descriptor, block, sizeof block)) > 0 || (got < 0 && errno == EINTR)) {
        sha256_update(&hash, got > 0 ? (size_t)got : 0, (const uint8_t *)block);
        *bytes += got > 0 ? (uint64_t)got : 0;
    }
    tmb_store_status status = got < 0 ? tmb_contents_errno(logger, path) : TMB_STORE_OK;
    (void)close(descriptor);
    sha256_digest(&hash, sizeof digest, digest);
    tmb_hex_encode(digest, sizeof digest, sum);
    return status;
}
