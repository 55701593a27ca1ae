#include "io/sndfile_open.h"

#include "base/error.h"
#include "base/memory.h"

#include <pthread.h>
#include <stdio.h>

/* What a codec allocates at once, at most. */
#define CODEC_BYTES ((size_t)2 << 20)

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

tmb_status tmb_sndfile_ready(tmb_error *error) {
    return tmb_memory_is_free(CODEC_BYTES) ? TMB_OK : tmb_fail_memory(error, "an audio codec", CODEC_BYTES);
}

SNDFILE *tmb_sndfile_open(SF_VIRTUAL_IO *callbacks, int mode, SF_INFO *info, void *user, char *reason, size_t size) {
    (void)pthread_mutex_lock(&lock);
    SNDFILE *file = sf_open_virtual(callbacks, mode, info, user);
    (void)snprintf(reason, size, "%s", file == NULL ? sf_strerror(NULL) : "");
    (void)pthread_mutex_unlock(&lock);
    return file;
}

sf_count_t tmb_sndfile_seek(uint64_t *position, uint64_t size, sf_count_t offset, int whence) {
    const sf_count_t base = whence == SEEK_SET ? 0 : whence == SEEK_CUR ? (sf_count_t)*position : (sf_count_t)size;
    sf_count_t place = 0;
    if (__builtin_add_overflow(base, offset, &place) || place < 0) {
        return -1;
    }
    *position = (uint64_t)place;
    return place;
}
