#include "core.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NAME "timbre.context"

struct tmb_py_context {
    tmb_context *context;
    pid_t owner;
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t left;
    size_t users;
    bool closed;
};

static void close_now(tmb_py_context *handle) {
    (void)pthread_mutex_lock(&handle->lock);
    handle->closed = true;
    while (handle->users > 0) {
        (void)pthread_cond_wait(&handle->left, &handle->lock);
    }
    tmb_context *context = handle->context;
    handle->context = NULL;
    (void)pthread_mutex_unlock(&handle->lock);
    tmb_close(&context);
}

static void destroy(PyObject *capsule) {
    tmb_py_context *handle = PyCapsule_GetPointer(capsule, NAME);
    if (handle->owner != getpid()) {
        return; /* its threads are the parent's: nothing of it can be ended here */
    }
    Py_BEGIN_ALLOW_THREADS;
    close_now(handle);
    Py_END_ALLOW_THREADS;
    (void)pthread_cond_destroy(&handle->left);
    (void)pthread_mutex_destroy(&handle->lock);
    free(handle);
}

tmb_py_context *tmb_py_context_enter(PyObject *capsule) {
    tmb_py_context *handle = PyCapsule_GetPointer(capsule, NAME);
    if (handle == NULL || !tmb_py_check_process(handle->owner)) {
        return NULL;
    }
    (void)pthread_mutex_lock(&handle->lock);
    bool open = !handle->closed;
    handle->users += open;
    (void)pthread_mutex_unlock(&handle->lock);
    if (!open) {
        tmb_py_raise_closed();
        return NULL;
    }
    return handle;
}

void tmb_py_context_leave(tmb_py_context *handle) {
    (void)pthread_mutex_lock(&handle->lock);
    handle->users--;
    (void)pthread_cond_broadcast(&handle->left);
    (void)pthread_mutex_unlock(&handle->lock);
}

tmb_context *tmb_py_context_get(tmb_py_context *handle) { return handle->context; }

/* A dictionary's value as bytes that live as long as `kept`: text is UTF-8, bytes are taken as they are. */
static bool take_text(PyObject *value, PyObject *kept, const char **out) {
    PyObject *bytes = PyUnicode_Check(value) ? PyUnicode_AsUTF8String(value) : PyObject_Bytes(value);
    char *text = NULL;
    bool good = bytes != NULL && PyList_Append(kept, bytes) == 0 && PyBytes_AsStringAndSize(bytes, &text, NULL) == 0;
    *out = text;
    Py_XDECREF(bytes);
    return good;
}

enum option_kind { TEXT, INTEGER, NUMBER, BYTES, COUNT, FLAG };

static const struct option {
    const char *name;
    enum option_kind kind;
    size_t offset;
} option_table[] = {
    {"engine", TEXT, offsetof(tmb_options, engine)},
    {"model", TEXT, offsetof(tmb_options, model)},
    {"precision", TEXT, offsetof(tmb_options, precision)},
    {"denoiser", TEXT, offsetof(tmb_options, denoiser)},
    {"device", TEXT, offsetof(tmb_options, device)},
    {"gpu_memory", BYTES, offsetof(tmb_options, gpu_memory)},
    {"remote_url", TEXT, offsetof(tmb_options, remote_url)},
    {"remote_key", TEXT, offsetof(tmb_options, remote_key)},
    {"threads", INTEGER, offsetof(tmb_options, threads)},
    {"resample_workers", INTEGER, offsetof(tmb_options, resample_workers)},
    {"enhance_workers", INTEGER, offsetof(tmb_options, enhance_workers)},
    {"max_batch", INTEGER, offsetof(tmb_options, max_batch)},
    {"max_batch_wait", NUMBER, offsetof(tmb_options, max_batch_wait)},
    {"memory_budget", BYTES, offsetof(tmb_options, memory_budget)},
    {"idle_unload", NUMBER, offsetof(tmb_options, idle_unload)},
    {"max_input_seconds", NUMBER, offsetof(tmb_options, max_input_seconds)},
    {"max_input_bytes", BYTES, offsetof(tmb_options, max_input_bytes)},
    {"no_ffmpeg", FLAG, offsetof(tmb_options, no_ffmpeg)},
    {"max_queued", COUNT, offsetof(tmb_options, max_queued)},
    {"voice_cache_entries", COUNT, offsetof(tmb_options, voice_cache_entries)},
    {"overflow", FLAG, offsetof(tmb_options, overflow)},
    {"remote_hedge", NUMBER, offsetof(tmb_options, remote_hedge)},
    {"no_preview", FLAG, offsetof(tmb_options, no_preview)},
};

static bool set_option(tmb_options *options, const char *name, PyObject *value, PyObject *kept) {
    for (size_t i = 0; i < sizeof option_table / sizeof option_table[0]; i++) {
        const struct option *option = &option_table[i];
        if (strcmp(option->name, name) != 0) {
            continue;
        }
        char *place = (char *)options + option->offset;
        switch (option->kind) {
        case TEXT: {
            const char *text = NULL;
            if (!take_text(value, kept, &text)) {
                return false;
            }
            memcpy(place, &text, sizeof text);
            return true;
        }
        case INTEGER: {
            long number = PyLong_AsLong(value);
            int small = (int)number;
            if (PyErr_Occurred() == NULL && small != number) {
                PyErr_Format(PyExc_ValueError, "%s is out of range", name);
            }
            memcpy(place, &small, sizeof small);
            break;
        }
        case NUMBER: {
            double number = PyFloat_AsDouble(value);
            memcpy(place, &number, sizeof number);
            break;
        }
        case BYTES: {
            uint64_t number = PyLong_AsUnsignedLongLong(value);
            memcpy(place, &number, sizeof number);
            break;
        }
        case COUNT: {
            size_t number = PyLong_AsSize_t(value);
            memcpy(place, &number, sizeof number);
            break;
        }
        case FLAG: {
            bool flag = PyObject_IsTrue(value) == 1;
            memcpy(place, &flag, sizeof flag);
            break;
        }
        }
        return PyErr_Occurred() == NULL;
    }
    PyErr_Format(PyExc_TypeError, "there is no option \"%s\"", name);
    return false;
}

/* "models" is a list of (name or None, model or None). */
static tmb_model_spec *take_models(PyObject *list, PyObject *kept, size_t *count) {
    Py_ssize_t length = PyList_Size(list);
    tmb_model_spec *models = length > 0 ? calloc((size_t)length, sizeof *models) : NULL;
    if (length > 0 && models == NULL) {
        (void)PyErr_NoMemory();
    }
    for (Py_ssize_t i = 0; i < length && models != NULL; i++) {
        PyObject *pair = PyList_GetItem(list, i);
        PyObject *name = pair != NULL ? PyTuple_GetItem(pair, 0) : NULL;
        PyObject *model = name != NULL ? PyTuple_GetItem(pair, 1) : NULL;
        if (model == NULL || (name != Py_None && !take_text(name, kept, &models[i].name)) ||
            (model != Py_None && !take_text(model, kept, &models[i].model))) {
            free(models);
            models = NULL;
        }
    }
    *count = models != NULL ? (size_t)length : 0;
    return models;
}

/* open(options) -> capsule. None among the values: the default. "log_level": of tmb_log_level. */
PyObject *tmb_py_open(PyObject *self, PyObject *dictionary) {
    (void)self;
    tmb_options options;
    tmb_model_spec *models = NULL;
    tmb_options_default(&options);
    options.log = tmb_py_log;
    PyObject *kept = PyList_New(0);
    PyObject *key = NULL;
    PyObject *value = NULL;
    Py_ssize_t at = 0;
    bool good = kept != NULL;
    while (good && PyDict_Next(dictionary, &at, &key, &value)) {
        const char *name = NULL;
        good = take_text(key, kept, &name);
        if (!good || value == Py_None) {
            continue;
        }
        if (strcmp(name, "log_level") == 0) {
            options.log_level = (tmb_log_level)PyLong_AsLong(value);
        } else if (strcmp(name, "models") == 0) {
            free(models);
            models = take_models(value, kept, &options.model_count);
            options.models = models;
        } else {
            (void)set_option(&options, name, value, kept);
        }
        good = PyErr_Occurred() == NULL;
    }
    tmb_py_context *handle = good ? calloc(1, sizeof *handle) : NULL;
    PyObject *capsule = NULL;
    if (handle != NULL) {
        tmb_error error = {0};
        tmb_status status;
        handle->owner = getpid();
        (void)pthread_mutex_init(&handle->lock, NULL);
        (void)pthread_cond_init(&handle->left, NULL);
        Py_BEGIN_ALLOW_THREADS;
        status = tmb_open(&options, &handle->context, &error);
        Py_END_ALLOW_THREADS;
        capsule = status == TMB_OK ? PyCapsule_New(handle, NAME, destroy) : tmb_py_raise(&error);
        if (capsule == NULL) {
            tmb_close(&handle->context);
            free(handle);
        }
    } else if (good) {
        (void)PyErr_NoMemory();
    }
    free(models);
    Py_XDECREF(kept);
    return capsule;
}

/* Ends what runs, waits for the calls that are under way. A second time does nothing. */
PyObject *tmb_py_close(PyObject *self, PyObject *capsule) {
    (void)self;
    tmb_py_context *handle = PyCapsule_GetPointer(capsule, NAME);
    if (handle == NULL || !tmb_py_check_process(handle->owner)) {
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS;
    close_now(handle);
    Py_END_ALLOW_THREADS;
    Py_RETURN_NONE;
}

PyObject *tmb_py_wait(PyObject *self, PyObject *capsule) {
    (void)self;
    tmb_py_context *handle = tmb_py_context_enter(capsule);
    if (handle == NULL) {
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS;
    tmb_clone_wait(handle->context);
    Py_END_ALLOW_THREADS;
    tmb_py_context_leave(handle);
    Py_RETURN_NONE;
}

PyObject *tmb_py_preload(PyObject *self, PyObject *capsule) {
    (void)self;
    tmb_py_context *handle = tmb_py_context_enter(capsule);
    if (handle == NULL) {
        return NULL;
    }
    tmb_error error = {0};
    tmb_status status;
    Py_BEGIN_ALLOW_THREADS;
    status = tmb_preload(handle->context, &error);
    Py_END_ALLOW_THREADS;
    tmb_py_context_leave(handle);
    if (status != TMB_OK) {
        return tmb_py_raise(&error);
    }
    Py_RETURN_NONE;
}

/* resolve(context, needs) -> (engine or None, is_clone) */
PyObject *tmb_py_resolve(PyObject *self, PyObject *arguments) {
    (void)self;
    PyObject *capsule = NULL;
    unsigned needs = 0;
    if (!PyArg_ParseTuple(arguments, "OI", &capsule, &needs)) {
        return NULL;
    }
    tmb_py_context *handle = tmb_py_context_enter(capsule);
    if (handle == NULL) {
        return NULL;
    }
    tmb_resolution resolution = {0};
    tmb_error error = {0};
    tmb_status status;
    Py_BEGIN_ALLOW_THREADS;
    status = tmb_resolve(handle->context, needs, &resolution, &error);
    Py_END_ALLOW_THREADS;
    tmb_py_context_leave(handle);
    return status == TMB_OK ? Py_BuildValue("(zN)", resolution.engine, PyBool_FromLong(resolution.is_clone))
                            : tmb_py_raise(&error);
}

PyObject *tmb_py_statistics(PyObject *self, PyObject *capsule) {
    (void)self;
    tmb_py_context *handle = tmb_py_context_enter(capsule);
    if (handle == NULL) {
        return NULL;
    }
    tmb_statistics now = {0};
    Py_BEGIN_ALLOW_THREADS;
    tmb_get_statistics(handle->context, &now);
    Py_END_ALLOW_THREADS;
    tmb_py_context_leave(handle);
    return Py_BuildValue(
        "{s:K,s:K,s:n,s:n,s:K,s:K,s:K,s:K,s:K,s:d,s:z,s:N,s:N,s:N}", "memory_budget",
        (unsigned long long)now.memory_budget, "memory_reserved", (unsigned long long)now.memory_reserved,
        "queued_items", (Py_ssize_t)now.queued_items, "live_sequences", (Py_ssize_t)now.live_sequences,
        "finished_items", (unsigned long long)now.finished_items, "failed_items", (unsigned long long)now.failed_items,
        "cancelled_items", (unsigned long long)now.cancelled_items, "batch_steps", (unsigned long long)now.batch_steps,
        "batch_sequences", (unsigned long long)now.batch_sequences, "audio_seconds", now.audio_seconds, "engine",
        now.engine, "engine_loaded", PyBool_FromLong(now.engine_loaded), "denoiser_loaded",
        PyBool_FromLong(now.denoiser_loaded), "is_clone", PyBool_FromLong(now.is_clone));
}

static PyObject *strings(const char *const *list, size_t count) {
    PyObject *tuple = PyTuple_New((Py_ssize_t)count);
    for (size_t i = 0; i < count && tuple != NULL; i++) {
        PyObject *text = PyUnicode_FromString(list[i]);
        if (text == NULL || PyTuple_SetItem(tuple, (Py_ssize_t)i, text) != 0) {
            Py_DECREF(tuple);
            tuple = NULL;
        }
    }
    return tuple;
}

/* Called with the GIL: tmb_describe_models calls back from the calling thread. */
static void add_model(void *user, const tmb_model_description *model) {
    PyObject *list = user;
    PyObject *one =
        PyErr_Occurred() != NULL
            ? NULL
            : Py_BuildValue("{s:s,s:s,s:s,s:z,s:s,s:N,s:N,s:N,s:N,s:N}", "name", model->name, "engine", model->engine,
                            "kind", model->kind, "folder", model->folder, "size", model->size, "clones",
                            PyBool_FromLong(model->clones), "designs", PyBool_FromLong(model->designs),
                            "follows_instruct", PyBool_FromLong(model->follows_instruct), "speakers",
                            strings(model->speakers, model->speaker_count), "languages",
                            strings(model->languages, model->language_count));
    if (one != NULL) {
        (void)PyList_Append(list, one);
        Py_DECREF(one);
    }
}

/* models(context) -> list of dictionaries as tmb_model_description */
PyObject *tmb_py_models(PyObject *self, PyObject *capsule) {
    (void)self;
    tmb_py_context *handle = tmb_py_context_enter(capsule);
    if (handle == NULL) {
        return NULL;
    }
    PyObject *list = PyList_New(0);
    tmb_error error = {0};
    tmb_status status = list != NULL ? tmb_describe_models(handle->context, add_model, list, &error) : TMB_OK;
    tmb_py_context_leave(handle);
    if (status != TMB_OK && PyErr_Occurred() == NULL) {
        (void)tmb_py_raise(&error);
    }
    if (PyErr_Occurred() != NULL) {
        Py_XDECREF(list);
        list = NULL;
    }
    return list;
}
