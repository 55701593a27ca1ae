#include "core.h"

#include <string.h>
#include <unistd.h>

PyObject *tmb_py_error_tuple(const tmb_error *error) {
    return Py_BuildValue("(sNzin)", tmb_status_name(error->status),
                         PyUnicode_DecodeUTF8(error->message, (Py_ssize_t)strlen(error->message), "replace"),
                         error->field, error->system, (Py_ssize_t)error->name_bytes);
}

static PyObject *errors_attribute(const char *name) {
    PyObject *module = PyImport_ImportModule("timbre._errors");
    if (module == NULL) {
        return NULL;
    }
    PyObject *attribute = PyObject_GetAttrString(module, name);
    Py_DECREF(module);
    return attribute;
}

PyObject *tmb_py_raise(const tmb_error *error) {
    PyObject *make = errors_attribute("from_core");
    PyObject *arguments = make != NULL ? tmb_py_error_tuple(error) : NULL;
    PyObject *exception = arguments != NULL ? PyObject_CallObject(make, arguments) : NULL;
    if (exception != NULL) {
        PyErr_SetObject((PyObject *)Py_TYPE(exception), exception);
    }
    Py_XDECREF(exception);
    Py_XDECREF(arguments);
    Py_XDECREF(make);
    return NULL;
}

void tmb_py_raise_closed(void) {
    PyObject *type = errors_attribute("ClosedError");
    if (type != NULL) {
        PyErr_SetString(type, "the pipeline is closed");
        Py_DECREF(type);
    }
}

pid_t tmb_py_process(void) { return getpid(); }

bool tmb_py_check_process(pid_t owner) {
    if (owner == getpid()) {
        return true;
    }
    PyObject *type = errors_attribute("ForkError");
    if (type != NULL) {
        PyErr_SetString(type, "timbre was used in this process's parent, and its threads do not live on after a fork: "
                              "start workers with multiprocessing's \"spawn\" or \"forkserver\", or use timbre in the "
                              "children only");
        Py_DECREF(type);
    }
    return false;
}
