#include "io/sndfile_open.h"

#include <pthread.h>
#include <stdio.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

SNDFILE *tmb_sndfile_open(SF_VIRTUAL_IO *callbacks, int mode, SF_INFO *info, void *user, char *reason, size_t size) {
    (void)pthread_mutex_lock(&lock);
    SNDFILE *file = sf_open_virtual(callbacks, mode, info, user);
    (void)snprintf(reason, size, "%s", file == NULL ? sf_strerror(NULL) : "");
    (void)pthread_mutex_unlock(&lock);
    return file;
}
