/* Where the bytes of an audio file go: a file that gets its name at the end, a stream, memory. */
#ifndef TMB_IO_SINK_H
#define TMB_IO_SINK_H

#include "io/io.h"
#include "io/temporary.h"

/* Used by one thread at a time. */
typedef struct tmb_sink {
    int fd; /* -1: callback or memory */
    bool owns_fd;
    tmb_temporary *temporary; /* NULL: the descriptor is the target */
    tmb_audio_write_callback callback;
    void *user;
    uint8_t *memory; /* owned; if fd is -1 and callback NULL */
    size_t capacity, maximum;

    bool seekable;     /* what was written may be overwritten */
    bool readable;     /* and read again */
    uint64_t base;     /* where the file begins in the descriptor */
    uint64_t size;     /* bytes so far */
    uint64_t position; /* of the next write */
    tmb_error failure; /* of the first write that failed */
} tmb_sink;

/* "-" is standard output, which is a stream unless it is a regular file that is not only appended to. A path to a pipe
 * or device is written in place, everything else through a temporary file. */
tmb_status tmb_sink_open(const char *path, tmb_sink *sink, tmb_error *error);
void tmb_sink_open_memory(size_t maximum, tmb_sink *sink);
void tmb_sink_open_callback(tmb_audio_write_callback callback, void *user, tmb_sink *sink);

/* Writes at `position` and moves on; false if `failure` is set. In a stream, bytes for a place that
 * has left are dropped: encoders go back only to complete a header that is valid without it. */
bool tmb_sink_write(tmb_sink *sink, const void *data, size_t count);

/* Makes room for `count` bytes at `place` by moving all that is behind: what is there now is not defined. Only if
 * `readable`; false if `failure` is set. `position` is at the end afterwards. */
bool tmb_sink_insert(tmb_sink *sink, uint64_t place, size_t count);

/* Why a write failed. */
tmb_status tmb_sink_failure(const tmb_sink *sink, tmb_error *error);

/* Completes or removes the file and frees. Memory is the caller's if it took sink->memory (and set
 * it to NULL). */
tmb_status tmb_sink_finish(tmb_sink *sink, tmb_error *error);
void tmb_sink_abort(tmb_sink *sink);

#endif
