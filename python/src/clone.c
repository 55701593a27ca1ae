#include "core.h"
#include "inbox.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define INBOX "timbre.inbox"
#define ITEM "timbre.item"

static void destroy_inbox(PyObject *capsule) { tmb_py_inbox_unref(PyCapsule_GetPointer(capsule, INBOX)); }

PyObject *tmb_py_new_inbox(PyObject *self, PyObject *unused) {
    (void)self;
    (void)unused;
    tmb_py_inbox *inbox = tmb_py_inbox_create();
    return inbox != NULL ? PyCapsule_New(inbox, INBOX, destroy_inbox) : PyErr_NoMemory();
}

PyObject *tmb_py_inbox_descriptor(PyObject *self, PyObject *capsule) {
    (void)self;
    tmb_py_inbox *inbox = PyCapsule_GetPointer(capsule, INBOX);
    int descriptor = inbox != NULL ? tmb_py_inbox_fd(inbox) : -1;
    return inbox == NULL ? NULL : descriptor < 0 ? PyErr_SetFromErrno(PyExc_OSError) : PyLong_FromLong(descriptor);
}

PyObject *tmb_py_inbox_close_descriptor(PyObject *self, PyObject *capsule) {
    (void)self;
    tmb_py_inbox *inbox = PyCapsule_GetPointer(capsule, INBOX);
    if (inbox == NULL) {
        return NULL;
    }
    tmb_py_inbox_close_fd(inbox);
    Py_RETURN_NONE;
}

static PyObject *timings_of(const tmb_clone_result *result) {
    PyObject *timings = PyDict_New();
    for (int stage = TMB_STAGE_QUEUED; timings != NULL && stage < TMB_STAGE_DONE + 2; stage++) {
        const char *name = stage < TMB_STAGE_DONE    ? tmb_stage_name((tmb_stage)stage)
                           : stage == TMB_STAGE_DONE ? "first_audio"
                                                     : "total";
        double seconds = stage < TMB_STAGE_DONE    ? result->timings[stage]
                         : stage == TMB_STAGE_DONE ? result->first_audio
                                                   : result->total;
        PyObject *value = PyFloat_FromDouble(seconds);
        if (value == NULL || PyDict_SetItemString(timings, name, value) != 0) {
            Py_DECREF(timings);
            timings = NULL;
        }
        Py_XDECREF(value);
    }
    return timings;
}

static PyObject *segments_of(const tmb_clone_result *result) {
    PyObject *list = PyList_New(0);
    for (size_t i = 0; list != NULL && i < result->segment_count; i++) {
        const tmb_segment *segment = &result->segments[i];
        PyObject *one = Py_BuildValue("(sdd)", segment->text, segment->start, segment->end);
        if (one == NULL || PyList_Append(list, one) != 0) {
            Py_DECREF(list);
            list = NULL;
        }
        Py_XDECREF(one);
    }
    return list;
}

static PyObject *none(void) {
    Py_INCREF(Py_None);
    return Py_None;
}

/* The reference's measures as JSON text, or None. */
static PyObject *reference_of(const tmb_reference_info *info) {
    char *text = info != NULL ? tmb_reference_to_json(info) : NULL;
    PyObject *result = text != NULL ? PyUnicode_FromString(text) : none();
    tmb_free(text);
    return result;
}

static PyObject *codes_of(const tmb_clone_result *result) {
    if (result->codes == NULL) {
        return none();
    }
    size_t bytes = result->code_frames * result->code_books * sizeof(int16_t);
    return Py_BuildValue("(Nnn)", PyByteArray_FromStringAndSize((const char *)result->codes, (Py_ssize_t)bytes),
                         (Py_ssize_t)result->code_frames, (Py_ssize_t)result->code_books);
}

static PyObject *result_of(const tmb_clone_result *r) {
    if (r->error.status != TMB_OK) {
        return Py_BuildValue("{s:z,s:N,s:N}", "custom_id", r->custom_id, "error", tmb_py_error_tuple(&r->error),
                             "reference", reference_of(r->reference));
    }
    return Py_BuildValue(
        "{s:z,s:N,s:i,s:d,s:s,s:z,s:N,s:N,s:N,s:s,s:K,s:N,s:N,s:N,s:N,s:N}", "custom_id", r->custom_id, "samples",
        r->samples != NULL ? tmb_py_floats_copy(r->samples, r->sample_count) : none(), "sample_rate", r->sample_rate,
        "duration", r->duration, "engine", r->engine, "model", r->model, "is_clone", PyBool_FromLong(r->is_clone),
        "instruct_dropped", PyBool_FromLong(r->instruct_dropped), "voice_unusable", PyBool_FromLong(r->voice_unusable),
        "finish_reason", r->finish_reason, "seed", (unsigned long long)r->seed, "timings", timings_of(r), "segments",
        segments_of(r), "codes", codes_of(r), "reference_clean",
        r->reference_clean != NULL ? tmb_py_floats_copy(r->reference_clean, r->reference_clean_count) : none(),
        "reference", reference_of(r->reference));
}

/* next(inbox, wait) -> (token, "progress", stage, fraction), (token, "audio", samples, rate), (token, "result",
 * dictionary, None), or None if nothing is there. With `wait` there is always something; signals are looked after. */
PyObject *tmb_py_inbox_next(PyObject *self, PyObject *arguments) {
    (void)self;
    PyObject *capsule = NULL;
    int wait = 0;
    if (!PyArg_ParseTuple(arguments, "Op", &capsule, &wait)) {
        return NULL;
    }
    tmb_py_inbox *inbox = PyCapsule_GetPointer(capsule, INBOX);
    if (inbox == NULL) {
        return NULL;
    }
    tmb_py_event *event = tmb_py_inbox_take(inbox, 0);
    while (event == NULL && wait) {
        Py_BEGIN_ALLOW_THREADS;
        event = tmb_py_inbox_take(inbox, 0.1);
        Py_END_ALLOW_THREADS;
        if (event == NULL && PyErr_CheckSignals() != 0) {
            return NULL;
        }
    }
    if (event == NULL) {
        Py_RETURN_NONE;
    }
    PyObject *tuple = NULL;
    unsigned long long token = event->token;
    switch (event->kind) {
    case TMB_PY_PROGRESS:
        tuple = Py_BuildValue("(Kssd)", token, "progress", tmb_stage_name(event->stage), event->fraction);
        break;
    case TMB_PY_AUDIO:
        tuple = Py_BuildValue("(KsNi)", token, "audio", tmb_py_floats_copy(event->samples, event->count), event->rate);
        break;
    case TMB_PY_RESULT:
        tuple = Py_BuildValue("(KsNO)", token, "result", result_of(&event->outcome.result), Py_None);
        break;
    }
    tmb_py_event_free(event);
    return tuple;
}

/* What a capsule of an item holds: the flight, and the context to cancel it in. */
typedef struct item {
    tmb_py_flight *flight;
    PyObject *context; /* capsule */
} item;

static void drop(item *one) {
    if (atomic_exchange(&one->flight->dropped, true) || atomic_load(&one->flight->ended)) {
        return;
    }
    tmb_py_context *context = tmb_py_context_enter(one->context);
    if (context == NULL) {
        PyErr_Clear(); /* closed: cancelled long since; a parent process's: not ours to cancel */
        return;
    }
    uint64_t number = one->flight->item;
    Py_BEGIN_ALLOW_THREADS;
    tmb_clone_cancel(tmb_py_context_get(context), number);
    Py_END_ALLOW_THREADS;
    tmb_py_context_leave(context);
}

static void destroy_item(PyObject *capsule) {
    PyObject *type = NULL;
    PyObject *value = NULL;
    PyObject *trace = NULL;
    item *one = PyCapsule_GetPointer(capsule, ITEM);
    PyErr_Fetch(&type, &value, &trace);
    drop(one);
    PyErr_Restore(type, value, trace);
    tmb_py_flight_unref(one->flight);
    Py_DECREF(one->context);
    free(one);
}

/* submit(context, inbox, token, fields, audio, progress) -> item. When the item is let go its events are dropped, and
 * it is cancelled if it has not ended. */
PyObject *tmb_py_submit(PyObject *self, PyObject *arguments) {
    (void)self;
    PyObject *context_capsule = NULL;
    PyObject *inbox_capsule = NULL;
    PyObject *fields = NULL;
    unsigned long long token = 0;
    int audio = 0;
    int progress = 0;
    if (!PyArg_ParseTuple(arguments, "OOKO!pp", &context_capsule, &inbox_capsule, &token, &PyDict_Type, &fields, &audio,
                          &progress)) {
        return NULL;
    }
    tmb_py_inbox *inbox = PyCapsule_GetPointer(inbox_capsule, INBOX);
    tmb_py_request request;
    if (inbox == NULL || !tmb_py_request_fill(&request, fields)) {
        return NULL;
    }
    tmb_py_context *context = tmb_py_context_enter(context_capsule);
    if (context == NULL) {
        tmb_py_request_free(&request);
        return NULL;
    }
    tmb_py_flight *flight = tmb_py_flight_create(inbox, token);
    item *one = calloc(1, sizeof *one);
    PyObject *capsule = NULL;
    if (flight == NULL || one == NULL) {
        capsule = PyErr_NoMemory();
        if (flight != NULL) {
            tmb_py_flight_unref(flight);
            tmb_py_flight_unref(flight);
        }
        free(one);
    } else {
        tmb_error error = {0};
        tmb_status status;
        uint64_t number = 0;
        const tmb_clone_callbacks callbacks = tmb_py_flight_callbacks(flight, audio, progress);
        flight->borrowed = request.copy;
        request.copy = NULL;
        one->flight = flight;
        one->context = context_capsule;
        Py_INCREF(context_capsule);
        Py_BEGIN_ALLOW_THREADS;
        status = tmb_clone_submit(tmb_py_context_get(context), &request.request, &callbacks, &number, &error);
        Py_END_ALLOW_THREADS;
        flight->item = number;
        if (status != TMB_OK) {
            atomic_store(&flight->ended, true);
            tmb_py_flight_unref(flight); /* the library's part: there is no callback */
            (void)tmb_py_raise(&error);
        }
        capsule = status == TMB_OK ? PyCapsule_New(one, ITEM, destroy_item) : NULL;
        if (capsule == NULL) {
            atomic_store(&flight->dropped, true);
            tmb_py_flight_unref(flight);
            Py_DECREF(context_capsule);
            free(one);
        }
    }
    tmb_py_context_leave(context);
    tmb_py_request_free(&request);
    return capsule;
}

/* cancel(item): nothing more is heard of it. */
PyObject *tmb_py_cancel(PyObject *self, PyObject *capsule) {
    (void)self;
    item *one = PyCapsule_GetPointer(capsule, ITEM);
    if (one == NULL) {
        return NULL;
    }
    drop(one);
    Py_RETURN_NONE;
}

/* voice_create(context, fields, path) -> reference's measures as JSON text, or None */
PyObject *tmb_py_voice_create(PyObject *self, PyObject *arguments) {
    (void)self;
    PyObject *capsule = NULL;
    PyObject *fields = NULL;
    const char *path = NULL;
    tmb_py_request request;
    if (!PyArg_ParseTuple(arguments, "OO!y", &capsule, &PyDict_Type, &fields, &path) ||
        !tmb_py_request_fill(&request, fields)) {
        return NULL;
    }
    tmb_py_context *context = tmb_py_context_enter(capsule);
    PyObject *result = NULL;
    if (context != NULL) {
        tmb_reference_info info = {0};
        tmb_error error = {0};
        tmb_status status;
        Py_BEGIN_ALLOW_THREADS;
        status = tmb_voice_create(tmb_py_context_get(context), &request.request, path, &info, &error);
        Py_END_ALLOW_THREADS;
        tmb_py_context_leave(context);
        result = status == TMB_OK ? reference_of(info.duration > 0 ? &info : NULL) : tmb_py_raise(&error);
    }
    tmb_py_request_free(&request);
    return result;
}

/* voice_read(path) -> (model, transcript, seconds, in_context) */
PyObject *tmb_py_voice_read(PyObject *self, PyObject *path) {
    (void)self;
    char *name = NULL;
    if (PyBytes_AsStringAndSize(path, &name, NULL) != 0) {
        return NULL;
    }
    tmb_saved_voice voice = {0};
    tmb_error error = {0};
    tmb_status status;
    Py_BEGIN_ALLOW_THREADS;
    status = tmb_saved_voice_read(name, &voice, &error);
    Py_END_ALLOW_THREADS;
    /* The transcript holds as much as fits, and may end within a character. */
    return status != TMB_OK
               ? tmb_py_raise(&error)
               : Py_BuildValue("(sNdN)", voice.model,
                               PyUnicode_DecodeUTF8(voice.transcript, (Py_ssize_t)strlen(voice.transcript), "ignore"),
                               voice.seconds, PyBool_FromLong(voice.in_context));
}

/* reference_measure(context, path, transcript or None) -> JSON text */
PyObject *tmb_py_reference_measure(PyObject *self, PyObject *arguments) {
    (void)self;
    PyObject *capsule = NULL;
    const char *path = NULL;
    const char *transcript = NULL;
    if (!PyArg_ParseTuple(arguments, "Oyz", &capsule, &path, &transcript)) {
        return NULL;
    }
    tmb_py_context *context = tmb_py_context_enter(capsule);
    if (context == NULL) {
        return NULL;
    }
    tmb_reference_info info = {0};
    tmb_error error = {0};
    tmb_status status;
    Py_BEGIN_ALLOW_THREADS;
    status = tmb_reference_measure(tmb_py_context_get(context), path, transcript, &info, &error);
    Py_END_ALLOW_THREADS;
    tmb_py_context_leave(context);
    return status == TMB_OK ? reference_of(&info) : tmb_py_raise(&error);
}
