/* The extension `timbre._core`: what the Python package needs of the library, over the public header and CPython's
 * limited API. Everything is a function over capsules; the Python files beside it make classes of them.
 *
 * Rules: the library is called without the GIL; its callbacks never take the GIL, they post to an inbox or to the log,
 * which Python empties. So no thread of the library ever waits for the interpreter. */
#ifndef TIMBRE_PYTHON_CORE_H
#define TIMBRE_PYTHON_CORE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "timbre/timbre.h"

/* ---- errors.c ---- */

/* Raises what timbre._errors makes of a tmb_error; NULL, so that a caller can return it. */
PyObject *tmb_py_raise(const tmb_error *error);
/* Raises timbre.ClosedError. */
void tmb_py_raise_closed(void);
/* (status, message, field or None, errno, bytes of the file's name), as timbre._errors takes it. New reference. */
PyObject *tmb_py_error_tuple(const tmb_error *error);
/* Raises timbre.ForkError if this process is not the one that opened the thing. */
bool tmb_py_check_process(pid_t owner);
pid_t tmb_py_process(void); /* this one */

/* ---- samples.c ---- */

/* Samples of a bytes object as floats: in place if they are floats already. */
typedef struct tmb_py_samples {
    const float *data; /* [count], finite */
    size_t count;
    float *owned; /* for free(), or NULL */
} tmb_py_samples;

/* `format`: "f", "d", "e" (float16), "h", "i" or "B" with the width of their names in struct, machine byte order.
 * Integers are scaled to full scale. Raises ValueError for NaN, infinity and what no float holds. */
bool tmb_py_samples_get(PyObject *bytes, const char *format, tmb_py_samples *out);
void tmb_py_samples_free(tmb_py_samples *samples);

/* A growing run of floats. */
typedef struct tmb_py_floats {
    float *data;
    size_t count, capacity;
} tmb_py_floats;
/* Room for `more` behind what is there, or NULL: no memory. */
float *tmb_py_floats_room(tmb_py_floats *floats, size_t more);
/* A new bytearray with the floats, which are freed; NULL with an exception. */
PyObject *tmb_py_floats_take(tmb_py_floats *floats);
/* The same of samples that somebody else owns. */
PyObject *tmb_py_floats_copy(const float *data, size_t count);

PyObject *tmb_py_to_floats(PyObject *self, PyObject *arguments);

/* ---- context.c ---- */

typedef struct tmb_py_context tmb_py_context;
/* The open context of a capsule, in use until _leave; NULL with an exception: closed, or of another process. */
tmb_py_context *tmb_py_context_enter(PyObject *capsule);
void tmb_py_context_leave(tmb_py_context *context);
tmb_context *tmb_py_context_get(tmb_py_context *context);

PyObject *tmb_py_open(PyObject *self, PyObject *options);
PyObject *tmb_py_close(PyObject *self, PyObject *capsule);
PyObject *tmb_py_wait(PyObject *self, PyObject *capsule);
PyObject *tmb_py_preload(PyObject *self, PyObject *capsule);
PyObject *tmb_py_resolve(PyObject *self, PyObject *arguments);
PyObject *tmb_py_statistics(PyObject *self, PyObject *capsule);
PyObject *tmb_py_models(PyObject *self, PyObject *capsule);

/* ---- log.c ---- */

void tmb_py_log_init(void); /* before everything else here, once or more often */
void tmb_py_log(void *user, tmb_log_level level, const char *line); /* a tmb_log_callback */
PyObject *tmb_py_log_next(PyObject *self, PyObject *unused);
PyObject *tmb_py_log_flush(PyObject *self, PyObject *unused);

/* ---- request.c ---- */

/* A request and what its pointers lead to. */
typedef struct tmb_py_request {
    tmb_clone_request request;
    PyObject *kept; /* list of bytes objects */
    void *copy;     /* of ref_data or ref_samples, for free(): borrowed until the result */
} tmb_py_request;
/* Fills it from a dictionary: fields by tmb_clone_fields, and those that the table has not. */
bool tmb_py_request_fill(tmb_py_request *out, PyObject *fields);
void tmb_py_request_free(tmb_py_request *request);
/* Names of all fields that a request takes. */
PyObject *tmb_py_fields(PyObject *self, PyObject *unused);

/* ---- inbox.c, clone.c ---- */

PyObject *tmb_py_new_inbox(PyObject *self, PyObject *unused);
PyObject *tmb_py_inbox_descriptor(PyObject *self, PyObject *capsule);
PyObject *tmb_py_inbox_close_descriptor(PyObject *self, PyObject *capsule);
PyObject *tmb_py_inbox_next(PyObject *self, PyObject *arguments);
PyObject *tmb_py_submit(PyObject *self, PyObject *arguments);
PyObject *tmb_py_cancel(PyObject *self, PyObject *capsule);
PyObject *tmb_py_voice_create(PyObject *self, PyObject *arguments);
PyObject *tmb_py_voice_read(PyObject *self, PyObject *path);
PyObject *tmb_py_reference_measure(PyObject *self, PyObject *arguments);

/* ---- enhance.c, resample.c, files.c ---- */

PyObject *tmb_py_enhance(PyObject *self, PyObject *arguments);
PyObject *tmb_py_enhancer(PyObject *self, PyObject *arguments);
PyObject *tmb_py_enhancer_push(PyObject *self, PyObject *arguments);
PyObject *tmb_py_enhancer_flush(PyObject *self, PyObject *capsule);
PyObject *tmb_py_enhancer_snr(PyObject *self, PyObject *capsule);
PyObject *tmb_py_enhancer_close(PyObject *self, PyObject *capsule);
PyObject *tmb_py_resample(PyObject *self, PyObject *arguments);
PyObject *tmb_py_enhance_file(PyObject *self, PyObject *arguments);
PyObject *tmb_py_resample_file(PyObject *self, PyObject *arguments);
PyObject *tmb_py_read(PyObject *self, PyObject *arguments);
PyObject *tmb_py_write(PyObject *self, PyObject *arguments);

/* Resampling of interleaved samples, without Python. The caller sets rates, channels and kind. */
typedef struct tmb_py_resampled {
    int rate, new_rate;
    size_t channels;
    tmb_resampler_kind kind;
    tmb_resample_stream **streams; /* [channels] */
    float *one;                    /* a part of one channel */
    tmb_py_floats out;             /* interleaved */
} tmb_py_resampled;
tmb_status tmb_py_resample_open(tmb_py_resampled *work, tmb_context *context, tmb_error *error);
/* `count` samples per channel, interleaved; NULL: the input is complete. What is ready goes to `out`. */
tmb_status tmb_py_resample_push(tmb_py_resampled *work, const float *samples, size_t count, tmb_error *error);
void tmb_py_resample_close(tmb_py_resampled *work);
/* "auto", "soxr", "polyphase", "sinc"; otherwise ValueError. */
bool tmb_py_resampler_kind(tmb_resampler_kind *out, PyObject *value);

/* Fills `out` from a dictionary with the names of its fields; unknown ones are TypeErrors. */
bool tmb_py_enhance_options(tmb_enhance_options *out, PyObject *dictionary);

#endif
