#include "core.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define NAME "timbre.enhancer"

enum { CHUNK = 48000 }; /* samples per channel between two looks at the signals */

static bool set_level(tmb_enhance_options *out, PyObject *value) {
    bool automatic = PyUnicode_Check(value) && PyUnicode_CompareWithASCIIString(value, "auto") == 0;
    if (!automatic && !(PyUnicode_Check(value) && PyUnicode_CompareWithASCIIString(value, "off") == 0)) {
        PyErr_Format(PyExc_ValueError, "level is \"auto\" or \"off\", not %R", value);
        return false;
    }
    out->level = automatic ? TMB_LEVEL_AUTO : TMB_LEVEL_OFF;
    return true;
}

bool tmb_py_resampler_kind(tmb_resampler_kind *out, PyObject *value) {
    static const char *const names[] = {"auto", "soxr", "polyphase", "sinc"};
    for (size_t i = 0; PyUnicode_Check(value) && i < sizeof names / sizeof names[0]; i++) {
        if (PyUnicode_CompareWithASCIIString(value, names[i]) == 0) {
            *out = (tmb_resampler_kind)i;
            return true;
        }
    }
    PyErr_Format(PyExc_ValueError, "resampler is \"auto\", \"soxr\", \"polyphase\" or \"sinc\", not %R", value);
    return false;
}

static bool set_float(float *out, const char *name, PyObject *value, double maximum) {
    double number = PyFloat_AsDouble(value);
    if (PyErr_Occurred() != NULL) {
        return false;
    }
    if (!(number >= 0 && number <= maximum)) {
        PyErr_Format(PyExc_ValueError, "%s is 0 to %d, not %R", name, (int)maximum, value);
        return false;
    }
    *out = (float)number;
    return true;
}

static bool set_int(int *out, PyObject *value) {
    long number = PyLong_AsLong(value);
    if (PyErr_Occurred() != NULL && PyErr_ExceptionMatches(PyExc_OverflowError)) {
        PyErr_Clear();
        PyErr_Format(PyExc_ValueError, "%R is out of range", value);
    }
    if (PyErr_Occurred() != NULL) {
        return false;
    }
    if ((int)number != number) {
        PyErr_Format(PyExc_ValueError, "%R is out of range", value);
        return false;
    }
    *out = (int)number;
    return true;
}

static bool set_flag(bool *out, PyObject *value) {
    int truth = PyObject_IsTrue(value);
    *out = truth == 1;
    return truth >= 0;
}

bool tmb_py_enhance_options(tmb_enhance_options *out, PyObject *dictionary) {
    PyObject *key = NULL;
    PyObject *value = NULL;
    Py_ssize_t at = 0;
    if (!PyDict_Check(dictionary)) {
        PyErr_SetString(PyExc_TypeError, "options of cleaning are a dictionary");
        return false;
    }
    while (PyDict_Next(dictionary, &at, &key, &value)) {
        PyObject *bytes = PyUnicode_AsUTF8String(key);
        const char *name = bytes != NULL ? PyBytes_AsString(bytes) : NULL;
        bool good = name != NULL;
        if (!good || value == Py_None) {
            ;
        } else if (strcmp(name, "attenuation_limit_db") == 0) {
            good = set_float(&out->attenuation_limit_db, name, value, 100);
        } else if (strcmp(name, "post_filter_beta") == 0) {
            good = set_float(&out->post_filter_beta, name, value, 1);
        } else if (strcmp(name, "level") == 0) {
            good = set_level(out, value);
        } else if (strcmp(name, "resampler") == 0) {
            good = tmb_py_resampler_kind(&out->resampler, value);
        } else if (strcmp(name, "input_rate") == 0) {
            good = set_int(&out->input_rate, value);
        } else if (strcmp(name, "output_rate") == 0) {
            good = set_int(&out->output_rate, value);
        } else if (strcmp(name, "channels") == 0) {
            good = set_int(&out->channels, value);
        } else if (strcmp(name, "low_latency") == 0) {
            good = set_flag(&out->low_latency, value);
        } else if (strcmp(name, "compensate_delay") == 0) {
            good = set_flag(&out->compensate_delay, value);
        } else {
            PyErr_Format(PyExc_TypeError, "there is no option \"%s\" of cleaning", name);
            good = false;
        }
        Py_XDECREF(bytes);
        if (!good) {
            return false;
        }
    }
    return true;
}

/* Everything that is ready, behind what `out` has. */
static tmb_status pull_all(tmb_enhance_stream *stream, int channels, tmb_py_floats *out, tmb_error *error) {
    for (;;) {
        float *room = tmb_py_floats_room(out, (size_t)CHUNK * (size_t)channels);
        if (room == NULL) {
            *error = (tmb_error){.status = TMB_ERROR_MEMORY, .message = "no memory for the samples"};
            return TMB_ERROR_MEMORY;
        }
        size_t count = tmb_enhance_pull(stream, room, CHUNK);
        if (count == 0) {
            return TMB_OK;
        }
        out->count += count * (size_t)channels;
    }
}

/* Measures, then pushes, a buffer chunk by chunk; signals are looked after in between. `status` is TMB_OK with false if
 * a signal's handler raised. */
static bool measure(const tmb_enhance_options *options, const tmb_py_samples *samples, tmb_level **level,
                    tmb_status *status, tmb_error *error) {
    size_t channels = (size_t)options->channels;
    *status = tmb_level_create(options->input_rate, options->channels, level, error);
    for (size_t at = 0, count = samples->count / channels; *status == TMB_OK && at < count; at += CHUNK) {
        size_t part = count - at < CHUNK ? count - at : CHUNK;
        Py_BEGIN_ALLOW_THREADS;
        *status = tmb_level_push(*level, samples->data + at * channels, part, error);
        Py_END_ALLOW_THREADS;
        if (PyErr_CheckSignals() != 0) {
            return false;
        }
    }
    return *status == TMB_OK;
}

static bool push_all(tmb_enhance_stream *stream, int channels, const tmb_py_samples *samples, tmb_py_floats *out,
                     tmb_status *status, tmb_error *error) {
    size_t count = samples->count / (size_t)channels;
    bool flushed = false;
    for (size_t at = 0; *status == TMB_OK && !flushed; at += CHUNK) {
        Py_BEGIN_ALLOW_THREADS;
        if (at < count) {
            size_t part = count - at < CHUNK ? count - at : CHUNK;
            *status = tmb_enhance_push(stream, samples->data + at * (size_t)channels, part, error);
        } else {
            flushed = true;
            *status = tmb_enhance_flush(stream, error);
        }
        if (*status == TMB_OK) {
            *status = pull_all(stream, channels, out, error);
        }
        Py_END_ALLOW_THREADS;
        if (PyErr_CheckSignals() != 0) {
            return false;
        }
    }
    return *status == TMB_OK;
}

/* enhance(context, bytes, format, options) -> bytearray of floats, interleaved */
PyObject *tmb_py_enhance(PyObject *self, PyObject *arguments) {
    (void)self;
    PyObject *capsule = NULL;
    PyObject *bytes = NULL;
    PyObject *dictionary = NULL;
    const char *format = NULL;
    tmb_enhance_options options;
    tmb_py_samples samples;
    tmb_enhance_options_default(&options);
    if (!PyArg_ParseTuple(arguments, "OO!sO", &capsule, &PyBytes_Type, &bytes, &format, &dictionary) ||
        !tmb_py_enhance_options(&options, dictionary) || !tmb_py_samples_get(bytes, format, &samples)) {
        return NULL;
    }
    tmb_py_context *context = tmb_py_context_enter(capsule);
    tmb_level *level = NULL;
    tmb_enhance_stream *stream = NULL;
    tmb_py_floats out = {0};
    tmb_error error = {0};
    tmb_status status = TMB_OK;
    bool good =
        context != NULL && (options.level == TMB_LEVEL_OFF || measure(&options, &samples, &level, &status, &error));
    if (good) {
        options.measured = level;
        Py_BEGIN_ALLOW_THREADS;
        status = tmb_enhance_open(tmb_py_context_get(context), &options, &stream, &error);
        Py_END_ALLOW_THREADS;
        good = status == TMB_OK && push_all(stream, options.channels, &samples, &out, &status, &error);
    }
    tmb_enhance_close(&stream);
    tmb_level_destroy(&level);
    tmb_py_samples_free(&samples);
    if (context != NULL) {
        tmb_py_context_leave(context);
    }
    if (!good && PyErr_Occurred() == NULL) {
        (void)tmb_py_raise(&error);
    }
    PyObject *result = good ? tmb_py_floats_take(&out) : NULL;
    free(out.data);
    return result;
}

/* A stream, which keeps its context in use for as long as it is open. */
typedef struct enhancer {
    PyObject *capsule; /* the context's */
    tmb_py_context *context;
    pid_t owner;
    pthread_mutex_t lock; /* one thread at a time */
    tmb_enhance_stream *stream;
    int channels;
    bool flushed;
} enhancer;

static void close_stream(enhancer *e) {
    (void)pthread_mutex_lock(&e->lock);
    bool open = e->stream != NULL;
    tmb_enhance_close(&e->stream);
    (void)pthread_mutex_unlock(&e->lock);
    if (open) {
        tmb_py_context_leave(e->context);
    }
}

static void destroy(PyObject *capsule) {
    enhancer *e = PyCapsule_GetPointer(capsule, NAME);
    PyObject *context = e->capsule;
    if (e->owner == tmb_py_process()) {
        Py_BEGIN_ALLOW_THREADS;
        close_stream(e);
        Py_END_ALLOW_THREADS;
        (void)pthread_mutex_destroy(&e->lock);
        free(e);
    }
    Py_DECREF(context);
}

/* enhancer(context, options) -> capsule */
PyObject *tmb_py_enhancer(PyObject *self, PyObject *arguments) {
    (void)self;
    PyObject *capsule = NULL;
    PyObject *dictionary = NULL;
    tmb_enhance_options options;
    tmb_enhance_options_default(&options);
    if (!PyArg_ParseTuple(arguments, "OO", &capsule, &dictionary) || !tmb_py_enhance_options(&options, dictionary)) {
        return NULL;
    }
    enhancer *e = calloc(1, sizeof *e);
    if (e == NULL) {
        return PyErr_NoMemory();
    }
    e->context = tmb_py_context_enter(capsule);
    if (e->context == NULL) {
        free(e);
        return NULL;
    }
    tmb_error error = {0};
    tmb_status status;
    Py_BEGIN_ALLOW_THREADS;
    status = tmb_enhance_open(tmb_py_context_get(e->context), &options, &e->stream, &error);
    Py_END_ALLOW_THREADS;
    e->channels = options.channels;
    e->owner = tmb_py_process();
    (void)pthread_mutex_init(&e->lock, NULL);
    e->capsule = capsule;
    PyObject *result = status == TMB_OK ? PyCapsule_New(e, NAME, destroy) : tmb_py_raise(&error);
    if (result == NULL) {
        tmb_enhance_close(&e->stream);
        tmb_py_context_leave(e->context);
        (void)pthread_mutex_destroy(&e->lock);
        free(e);
        return NULL;
    }
    Py_INCREF(capsule);
    return result;
}

static enhancer *get(PyObject *capsule) {
    enhancer *e = PyCapsule_GetPointer(capsule, NAME);
    return e != NULL && tmb_py_check_process(e->owner) ? e : NULL;
}

/* Pushes `samples` (NULL: flushes) and pulls what is ready. */
static PyObject *push(enhancer *e, const tmb_py_samples *samples) {
    tmb_py_floats out = {0};
    tmb_error error = {0};
    tmb_status status = TMB_OK;
    const char *refused = NULL;
    Py_BEGIN_ALLOW_THREADS;
    (void)pthread_mutex_lock(&e->lock);
    if (e->stream == NULL) {
        refused = "the enhancer is closed";
    } else if (e->flushed) {
        refused = "the enhancer was flushed: its recording is complete";
    } else {
        e->flushed = samples == NULL;
        status = samples == NULL
                     ? tmb_enhance_flush(e->stream, &error)
                     : tmb_enhance_push(e->stream, samples->data, samples->count / (size_t)e->channels, &error);
        if (status == TMB_OK) {
            status = pull_all(e->stream, e->channels, &out, &error);
        }
    }
    (void)pthread_mutex_unlock(&e->lock);
    Py_END_ALLOW_THREADS;
    if (refused != NULL) {
        PyErr_SetString(PyExc_ValueError, refused);
        return NULL;
    }
    if (status != TMB_OK) {
        free(out.data);
        return tmb_py_raise(&error);
    }
    PyObject *result = tmb_py_floats_take(&out);
    return result;
}

/* enhancer_push(enhancer, bytes, format) -> bytearray */
PyObject *tmb_py_enhancer_push(PyObject *self, PyObject *arguments) {
    (void)self;
    PyObject *capsule = NULL;
    PyObject *bytes = NULL;
    const char *format = NULL;
    tmb_py_samples samples;
    if (!PyArg_ParseTuple(arguments, "OO!s", &capsule, &PyBytes_Type, &bytes, &format)) {
        return NULL;
    }
    enhancer *e = get(capsule);
    if (e == NULL || !tmb_py_samples_get(bytes, format, &samples)) {
        return NULL;
    }
    PyObject *result = push(e, &samples);
    tmb_py_samples_free(&samples);
    return result;
}

PyObject *tmb_py_enhancer_flush(PyObject *self, PyObject *capsule) {
    (void)self;
    enhancer *e = get(capsule);
    return e != NULL ? push(e, NULL) : NULL;
}

PyObject *tmb_py_enhancer_snr(PyObject *self, PyObject *capsule) {
    (void)self;
    enhancer *e = get(capsule);
    if (e == NULL) {
        return NULL;
    }
    double snr = 0;
    bool open = false;
    Py_BEGIN_ALLOW_THREADS;
    (void)pthread_mutex_lock(&e->lock);
    open = e->stream != NULL;
    snr = open ? (double)tmb_enhance_local_snr(e->stream) : 0;
    (void)pthread_mutex_unlock(&e->lock);
    Py_END_ALLOW_THREADS;
    if (!open) {
        PyErr_SetString(PyExc_ValueError, "the enhancer is closed");
        return NULL;
    }
    return PyFloat_FromDouble(snr);
}

PyObject *tmb_py_enhancer_close(PyObject *self, PyObject *capsule) {
    (void)self;
    enhancer *e = get(capsule);
    if (e == NULL) {
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS;
    close_stream(e);
    Py_END_ALLOW_THREADS;
    Py_RETURN_NONE;
}

/* resample(context, bytes, format, channels, rate, new rate, resampler) -> bytearray */
PyObject *tmb_py_resample(PyObject *self, PyObject *arguments) {
    (void)self;
    PyObject *capsule = NULL;
    PyObject *bytes = NULL;
    PyObject *resampler = NULL;
    const char *format = NULL;
    int channels = 0;
    int rate = 0;
    int new_rate = 0;
    tmb_resampler_kind kind = TMB_RESAMPLER_AUTO;
    tmb_py_samples samples;
    if (!PyArg_ParseTuple(arguments, "OO!siiiO", &capsule, &PyBytes_Type, &bytes, &format, &channels, &rate, &new_rate,
                          &resampler) ||
        !tmb_py_resampler_kind(&kind, resampler) || !tmb_py_samples_get(bytes, format, &samples)) {
        return NULL;
    }
    tmb_py_context *context = tmb_py_context_enter(capsule);
    if (context == NULL) {
        tmb_py_samples_free(&samples);
        return NULL;
    }
    tmb_py_resampled work = {.rate = rate, .new_rate = new_rate, .channels = (size_t)channels, .kind = kind};
    tmb_error error = {0};
    tmb_status status;
    bool signalled = false;
    Py_BEGIN_ALLOW_THREADS;
    status = tmb_py_resample_open(&work, tmb_py_context_get(context), &error);
    Py_END_ALLOW_THREADS;
    size_t count = samples.count / work.channels;
    for (size_t at = 0; status == TMB_OK && !signalled && at <= count; at += CHUNK) {
        size_t part = count - at < CHUNK ? count - at : CHUNK;
        Py_BEGIN_ALLOW_THREADS;
        if (part > 0) {
            status = tmb_py_resample_push(&work, samples.data + at * work.channels, part, &error);
        }
        if (status == TMB_OK && part < CHUNK) { /* the last one */
            status = tmb_py_resample_push(&work, NULL, 0, &error);
        }
        Py_END_ALLOW_THREADS;
        signalled = PyErr_CheckSignals() != 0;
    }
    PyObject *result = status != TMB_OK ? tmb_py_raise(&error) : signalled ? NULL : tmb_py_floats_take(&work.out);
    tmb_py_resample_close(&work);
    tmb_py_samples_free(&samples);
    tmb_py_context_leave(context);
    return result;
}
