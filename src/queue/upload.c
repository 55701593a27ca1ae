/* A file while it is received: the same for every store, because it is in the store's tmp/. */
#include "base/memory.h"
#include "queue/blobs.h"
#include "queue/voices.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

struct tmb_upload {
    tmb_store *store;
    int descriptor;
    uint64_t bytes, max_bytes;
    char path[TMB_STORE_PATH];
};

tmb_store_status tmb_upload_begin(tmb_store *store, uint64_t max_bytes, tmb_upload **out) {
    *out = NULL;
    tmb_upload *upload = tmb_calloc(1, sizeof *upload);
    if (upload == NULL) {
        return TMB_STORE_BUSY;
    }
    upload->store = store;
    upload->max_bytes = max_bytes;
    if (!tmb_store_temporary_path(store, upload->path)) {
        free(upload);
        return TMB_STORE_FAILED;
    }
    upload->descriptor = open(upload->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (upload->descriptor < 0) {
        tmb_store_status status = tmb_store_errno(store, "cannot create a file");
        free(upload);
        return status == TMB_STORE_NOT_FOUND ? TMB_STORE_FAILED : status;
    }
    *out = upload;
    return TMB_STORE_OK;
}

tmb_store_status tmb_upload_write(tmb_upload *upload, const void *data, size_t size) {
    if (size > upload->max_bytes || upload->bytes > upload->max_bytes - size) {
        return TMB_STORE_TOO_LARGE;
    }
    if (!tmb_store_book(upload->store, size)) {
        return TMB_STORE_NO_SPACE;
    }
    upload->bytes += size;
    const char *at = data;
    while (size) {
        ssize_t written = write(upload->descriptor, at, size);
        if (written < 0 && errno != EINTR) {
            return tmb_store_errno(upload->store, "cannot write a file");
        }
        if (written > 0) {
            at += written;
            size -= (size_t)written;
        }
    }
    return TMB_STORE_OK;
}

uint64_t tmb_upload_bytes(const tmb_upload *upload) { return upload->bytes; }

const char *tmb_upload_path(tmb_upload *upload) { return upload->path; }

/* Closes and frees an upload. Its file goes, or stays with the bytes that it has on the books. */
static void end(tmb_upload **upload, bool remove_file) {
    tmb_upload *freed = *upload;
    *upload = NULL;
    if (freed == NULL) {
        return;
    }
    (void)close(freed->descriptor);
    if (remove_file) {
        (void)unlink(freed->path);
        tmb_store_unbook(freed->store, freed->bytes);
    }
    free(freed);
}

void tmb_upload_abort(tmb_upload **upload) { end(upload, true); }

tmb_store_status tmb_upload_keep(tmb_upload **upload, tmb_file_info *info) {
    tmb_upload *kept = *upload;
    uint64_t booked = kept->bytes;
    kept->bytes = 0; /* the file that it becomes has them */
    tmb_store_status status = kept->store->blobs->adopt(kept->store, kept->path, false, booked, info);
    end(upload, status != TMB_STORE_OK);
    return status;
}

tmb_store_status tmb_store_voice_add(tmb_store *store, tmb_upload **upload, tmb_voice_info *info) {
    info->bytes = (*upload)->bytes;
    tmb_store_status status = store->voices->add(store, (*upload)->path, info);
    end(upload, status != TMB_STORE_OK);
    return status;
}
