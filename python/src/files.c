#include "core.h"

#include <stdlib.h>
#include <string.h>

enum { CHUNK = 16384 }; /* samples per channel between two looks at the signals */

/* A file on its way through; `error` is set, or Python's exception, once `good` is false. */
typedef struct way {
    tmb_audio_reader *reader;
    tmb_audio_writer *writer;
    tmb_audio_info info;
    float *samples;
    tmb_error error;
    bool good;
    uint64_t read, written;
} way;

static bool fail(way *w, tmb_status status) {
    w->good = w->good && status == TMB_OK;
    return w->good;
}

static void open_reader(way *w, const char *path, const void *data, size_t size, const tmb_audio_limits *limits) {
    tmb_status status;
    Py_BEGIN_ALLOW_THREADS;
    status = path != NULL ? tmb_audio_open(path, NULL, limits, &w->reader, &w->info, &w->error)
                          : tmb_audio_open_memory(data, size, limits, &w->reader, &w->info, &w->error);
    Py_END_ALLOW_THREADS;
    w->good = true;
    if (fail(w, status)) {
        w->samples = calloc((size_t)CHUNK * (size_t)w->info.channels, sizeof(float));
        if (w->samples == NULL) {
            w->error = (tmb_error){.status = TMB_ERROR_MEMORY, .message = "no memory for the samples"};
            w->good = false;
        }
    }
}

/* The next samples, *count of them per channel; 0 is the end. */
static bool read_next(way *w, size_t *count) {
    tmb_status status;
    Py_BEGIN_ALLOW_THREADS;
    status = tmb_audio_read(w->reader, w->samples, CHUNK, count, &w->error);
    Py_END_ALLOW_THREADS;
    w->read += status == TMB_OK ? *count : 0;
    return fail(w, status) && (w->good = PyErr_CheckSignals() == 0);
}

static void require_audio(way *w) {
    if (w->good && w->read == 0) {
        w->error = (tmb_error){.status = TMB_ERROR_FORMAT, .message = "the recording holds no audio"};
        w->good = false;
    }
}

static PyObject *warnings_of(const tmb_audio_reader *reader) {
    PyObject *list = PyList_New(0);
    size_t count = reader != NULL ? tmb_audio_warning_count(reader) : 0;
    for (size_t i = 0; list != NULL && i < count; i++) {
        PyObject *text = PyUnicode_FromString(tmb_audio_warning(reader, i));
        if (text == NULL || PyList_Append(list, text) != 0) {
            Py_DECREF(list);
            list = NULL;
        }
        Py_XDECREF(text);
    }
    return list;
}

static void release(way *w) {
    Py_BEGIN_ALLOW_THREADS;
    tmb_audio_close(&w->reader);
    if (w->writer != NULL) {
        tmb_audio_abort(&w->writer);
    }
    Py_END_ALLOW_THREADS;
    free(w->samples);
    w->samples = NULL;
    if (!w->good && PyErr_Occurred() == NULL) {
        (void)tmb_py_raise(&w->error);
    }
}

/* (max_seconds, salvage, ffmpeg) */
static bool get_limits(PyObject *tuple, tmb_audio_limits *out) {
    int salvage = 0;
    int ffmpeg = 0;
    *out = (tmb_audio_limits){0};
    if (!PyArg_ParseTuple(tuple, "dpp", &out->max_seconds, &salvage, &ffmpeg)) {
        return false;
    }
    out->salvage = salvage != 0;
    out->no_ffmpeg = ffmpeg == 0;
    return true;
}

/* read(path, bytes instead of it or None, limits) -> (bytearray, rate, channels, format, warnings) */
PyObject *tmb_py_read(PyObject *self, PyObject *arguments) {
    (void)self;
    const char *path = NULL;
    const char *data = NULL;
    Py_ssize_t size = 0;
    PyObject *tuple = NULL;
    tmb_audio_limits limits;
    way w = {0};
    tmb_py_floats out = {0};
    if (!PyArg_ParseTuple(arguments, "yz#O", &path, &data, &size, &tuple) || !get_limits(tuple, &limits)) {
        return NULL;
    }
    open_reader(&w, data == NULL ? path : NULL, data, (size_t)size, &limits);
    size_t count = 1;
    while (w.good && count > 0 && read_next(&w, &count)) {
        size_t values = count * (size_t)w.info.channels;
        float *room = tmb_py_floats_room(&out, values + 1);
        if (room == NULL) {
            w.error = (tmb_error){.status = TMB_ERROR_MEMORY, .message = "no memory for the samples"};
            w.good = false;
        } else {
            memcpy(room, w.samples, values * sizeof(float));
            out.count += values;
        }
    }
    require_audio(&w);
    PyObject *warnings = w.good ? warnings_of(w.reader) : NULL;
    release(&w);
    PyObject *result = NULL;
    if (w.good && warnings != NULL) {
        result =
            Py_BuildValue("(NiisO)", tmb_py_floats_take(&out), w.info.rate, w.info.channels, w.info.format, warnings);
    }
    Py_XDECREF(warnings);
    free(out.data);
    return result;
}

/* write(path, bytes, format, channels, rate, container, encoding) -> clipped samples */
PyObject *tmb_py_write(PyObject *self, PyObject *arguments) {
    (void)self;
    const char *path = NULL;
    PyObject *bytes = NULL;
    const char *format = NULL;
    int channels = 0;
    int rate = 0;
    int container = 0;
    int encoding = 0;
    tmb_py_samples samples;
    if (!PyArg_ParseTuple(arguments, "yO!siiii", &path, &PyBytes_Type, &bytes, &format, &channels, &rate, &container,
                          &encoding) ||
        !tmb_py_samples_get(bytes, format, &samples)) {
        return NULL;
    }
    tmb_audio_writer *writer = NULL;
    tmb_error error = {0};
    tmb_status status;
    uint64_t clipped = 0;
    Py_BEGIN_ALLOW_THREADS;
    status = tmb_audio_create(path, (tmb_container)container, (tmb_encoding)encoding, rate, channels, &writer, &error);
    if (status == TMB_OK) {
        status = tmb_audio_write(writer, samples.data, samples.count / (size_t)channels, &error);
        clipped = tmb_audio_clipped(writer);
        if (status == TMB_OK) {
            status = tmb_audio_finish(&writer, &error);
        } else {
            tmb_audio_abort(&writer);
        }
    }
    Py_END_ALLOW_THREADS;
    tmb_py_samples_free(&samples);
    return status == TMB_OK ? PyLong_FromUnsignedLongLong(clipped) : tmb_py_raise(&error);
}

/* Where a file goes, and the file as it was made: (path, container, encoding) */
static void open_writer(way *w, PyObject *target, int rate) {
    const char *path = NULL;
    int container = 0;
    int encoding = 0;
    if (!w->good) {
        return;
    }
    if (!PyArg_ParseTuple(target, "yii", &path, &container, &encoding)) {
        w->good = false;
        return;
    }
    tmb_status status;
    Py_BEGIN_ALLOW_THREADS;
    status = tmb_audio_create_like(w->reader, path, (tmb_container)container, (tmb_encoding)encoding, rate,
                                   w->info.channels, &w->writer, &w->error);
    Py_END_ALLOW_THREADS;
    (void)fail(w, status);
}

static bool write_some(way *w, const float *samples, size_t count) {
    w->written += count;
    return fail(w, tmb_audio_write(w->writer, samples, count, &w->error));
}

/* Completes the file: (rate, channels, samples per channel, clipped, warnings) */
static PyObject *finish(way *w, int rate) {
    PyObject *warnings = NULL;
    uint64_t clipped = 0;
    require_audio(w);
    if (w->good) {
        tmb_status status;
        warnings = warnings_of(w->reader);
        clipped = tmb_audio_clipped(w->writer);
        Py_BEGIN_ALLOW_THREADS;
        status = tmb_audio_finish(&w->writer, &w->error);
        Py_END_ALLOW_THREADS;
        (void)fail(w, status);
    }
    release(w);
    PyObject *result = w->good && warnings != NULL
                           ? Py_BuildValue("(iiKKO)", rate, w->info.channels, (unsigned long long)w->written,
                                           (unsigned long long)clipped, warnings)
                           : NULL;
    Py_XDECREF(warnings);
    return result;
}

/* The level of the speech in a file, which is read once for it alone. */
static tmb_level *measure(const char *path, const tmb_audio_limits *limits, way *result) {
    way w = {0};
    tmb_level *level = NULL;
    open_reader(&w, path, NULL, 0, limits);
    if (w.good) {
        (void)fail(&w, tmb_level_create(w.info.rate, w.info.channels, &level, &w.error));
    }
    size_t count = 1;
    while (w.good && count > 0 && read_next(&w, &count)) {
        tmb_status status;
        Py_BEGIN_ALLOW_THREADS;
        status = tmb_level_push(level, w.samples, count, &w.error);
        Py_END_ALLOW_THREADS;
        (void)fail(&w, status);
    }
    require_audio(&w);
    release(&w);
    result->good = w.good;
    return level;
}

/* enhance_file(context, path, target, options, limits) -> (rate, channels, samples, clipped, warnings) */
PyObject *tmb_py_enhance_file(PyObject *self, PyObject *arguments) {
    (void)self;
    PyObject *capsule = NULL;
    PyObject *target = NULL;
    PyObject *dictionary = NULL;
    PyObject *tuple = NULL;
    const char *path = NULL;
    tmb_audio_limits limits;
    tmb_enhance_options options;
    tmb_enhance_options_default(&options);
    if (!PyArg_ParseTuple(arguments, "OyOOO", &capsule, &path, &target, &dictionary, &tuple) ||
        !get_limits(tuple, &limits) || !tmb_py_enhance_options(&options, dictionary)) {
        return NULL;
    }
    tmb_py_context *context = tmb_py_context_enter(capsule);
    if (context == NULL) {
        return NULL;
    }
    way w = {.good = true};
    tmb_level *level = options.level == TMB_LEVEL_AUTO ? measure(path, &limits, &w) : NULL;
    tmb_enhance_stream *stream = NULL;
    PyObject *result = NULL;
    if (w.good) {
        open_reader(&w, path, NULL, 0, &limits);
        if (w.good) {
            tmb_status status;
            options.input_rate = w.info.rate;
            options.channels = w.info.channels;
            options.measured = level;
            Py_BEGIN_ALLOW_THREADS;
            status = tmb_enhance_open(tmb_py_context_get(context), &options, &stream, &w.error);
            Py_END_ALLOW_THREADS;
            (void)fail(&w, status);
        }
        open_writer(&w, target, options.output_rate);
        size_t count = 1;
        while (w.good && count > 0 && read_next(&w, &count)) {
            Py_BEGIN_ALLOW_THREADS;
            (void)fail(&w, count > 0 ? tmb_enhance_push(stream, w.samples, count, &w.error)
                                     : tmb_enhance_flush(stream, &w.error));
            for (size_t ready = 1; w.good && ready > 0;) {
                ready = tmb_enhance_pull(stream, w.samples, CHUNK);
                (void)(ready == 0 || write_some(&w, w.samples, ready));
            }
            Py_END_ALLOW_THREADS;
        }
        tmb_enhance_close(&stream);
        result = finish(&w, options.output_rate);
    }
    tmb_level_destroy(&level);
    tmb_py_context_leave(context);
    return result;
}

/* resample_file(context, path, target, rate, resampler, limits) -> (rate, channels, samples, clipped, warnings) */
PyObject *tmb_py_resample_file(PyObject *self, PyObject *arguments) {
    (void)self;
    PyObject *capsule = NULL;
    PyObject *target = NULL;
    PyObject *resampler = NULL;
    PyObject *tuple = NULL;
    const char *path = NULL;
    int rate = 0;
    tmb_audio_limits limits;
    tmb_resampler_kind kind = TMB_RESAMPLER_AUTO;
    if (!PyArg_ParseTuple(arguments, "OyOiOO", &capsule, &path, &target, &rate, &resampler, &tuple) ||
        !get_limits(tuple, &limits) || !tmb_py_resampler_kind(&kind, resampler)) {
        return NULL;
    }
    tmb_py_context *context = tmb_py_context_enter(capsule);
    if (context == NULL) {
        return NULL;
    }
    way w = {0};
    tmb_py_resampled work = {.new_rate = rate, .kind = kind};
    open_reader(&w, path, NULL, 0, &limits);
    if (w.good) {
        work.rate = w.info.rate;
        work.channels = (size_t)w.info.channels;
        (void)fail(&w, tmb_py_resample_open(&work, tmb_py_context_get(context), &w.error));
    }
    open_writer(&w, target, rate);
    size_t count = 1;
    while (w.good && count > 0 && read_next(&w, &count)) {
        Py_BEGIN_ALLOW_THREADS;
        if (fail(&w, tmb_py_resample_push(&work, count > 0 ? w.samples : NULL, count, &w.error))) {
            (void)write_some(&w, work.out.data, work.out.count / work.channels);
            work.out.count = 0;
        }
        Py_END_ALLOW_THREADS;
    }
    tmb_py_resample_close(&work);
    PyObject *result = finish(&w, rate);
    tmb_py_context_leave(context);
    return result;
}
