#include "core.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Fields of tmb_clone_request that the table of fields has not: what is said in it over a C pointer, or to the pipeline
 * alone. The type says how they are read. */
static const tmb_clone_field extras[] = {
    {.name = "deadline", .type = TMB_CLONE_NUMBER, .offset = offsetof(tmb_clone_request, deadline), .maximum = 1e9},
    {.name = "priority",
     .type = TMB_CLONE_INTEGER,
     .offset = offsetof(tmb_clone_request, priority),
     .minimum = -1000000,
     .maximum = 1000000},
    {.name = "stream", .type = TMB_CLONE_BOOLEAN, .offset = offsetof(tmb_clone_request, stream)},
    {.name = "want_codes", .type = TMB_CLONE_BOOLEAN, .offset = offsetof(tmb_clone_request, want_codes)},
    {.name = "want_samples", .type = TMB_CLONE_BOOLEAN, .offset = offsetof(tmb_clone_request, want_samples)},
};

static const tmb_clone_field *find(const char *name) {
    const tmb_clone_field *field = tmb_clone_field_find(name);
    for (size_t i = 0; field == NULL && i < sizeof extras / sizeof extras[0]; i++) {
        field = strcmp(extras[i].name, name) == 0 ? &extras[i] : NULL;
    }
    return field != NULL && field->type != TMB_CLONE_FORMAT ? field : NULL;
}

static bool wrong_type(const char *name, const char *wanted, PyObject *value) {
    PyObject *type = PyObject_GetAttrString((PyObject *)Py_TYPE(value), "__name__");
    if (type != NULL) {
        PyErr_Format(PyExc_TypeError, "%s takes %s, not %U", name, wanted, type);
        Py_DECREF(type);
    }
    return false;
}

/* Where an argument is out of its range: as the library says it, with the field. */
static bool out_of_range(const tmb_clone_field *field) {
    tmb_error error = {.status = TMB_ERROR_ARGUMENT, .field = field->name};
    (void)snprintf(error.message, sizeof error.message, "%s is %.10g to %.10g", field->name, field->minimum,
                   field->maximum);
    (void)tmb_py_raise(&error);
    return false;
}

static bool get_text(const char *name, PyObject *value, PyObject *kept, const char **out) {
    if (!PyUnicode_Check(value) && !PyBytes_Check(value)) {
        return wrong_type(name, "text", value);
    }
    PyObject *bytes = PyUnicode_Check(value) ? PyUnicode_AsUTF8String(value) : PyObject_Bytes(value);
    char *text = NULL;
    bool good = bytes != NULL && PyList_Append(kept, bytes) == 0;
    if (good && PyBytes_AsStringAndSize(bytes, &text, NULL) != 0) {
        PyErr_Clear();
        PyErr_Format(PyExc_ValueError, "%s holds a null character", name);
        good = false;
    }
    Py_XDECREF(bytes);
    *out = text;
    return good;
}

static bool get_integer(const tmb_clone_field *field, PyObject *value, long long *out) {
    if (PyBool_Check(value)) {
        return wrong_type(field->name, "an integer", value);
    }
    PyObject *index = PyNumber_Index(value);
    if (index == NULL) {
        PyErr_Clear();
        return wrong_type(field->name, "an integer", value);
    }
    int overflow = 0;
    *out = PyLong_AsLongLongAndOverflow(index, &overflow);
    Py_DECREF(index);
    bool limited = field->minimum != 0 || field->maximum != 0;
    if (overflow != 0 || (limited && ((double)*out < field->minimum || (double)*out > field->maximum))) {
        return out_of_range(field);
    }
    return PyErr_Occurred() == NULL;
}

static bool get_seed(const tmb_clone_field *field, PyObject *value, tmb_clone_request *request) {
    PyObject *index = PyBool_Check(value) ? NULL : PyNumber_Index(value);
    if (index == NULL) {
        PyErr_Clear();
        return wrong_type(field->name, "an integer", value);
    }
    request->seed = PyLong_AsUnsignedLongLong(index);
    Py_DECREF(index);
    if (PyErr_Occurred() != NULL) {
        PyErr_Clear();
        return out_of_range(field);
    }
    request->has_seed = true;
    return true;
}

static bool get_number(const tmb_clone_field *field, PyObject *value, double *out) {
    *out = PyBool_Check(value) ? -1 : PyFloat_AsDouble(value);
    if (PyBool_Check(value) || PyErr_Occurred() != NULL) {
        PyErr_Clear();
        return wrong_type(field->name, "a number", value);
    }
    bool limited = field->minimum != 0 || field->maximum != 0;
    return isfinite(*out) && (!limited || (*out >= field->minimum && *out <= field->maximum)) ? true
                                                                                              : out_of_range(field);
}

static bool set_level(tmb_py_request *out, const tmb_clone_field *field, PyObject *value) {
    const char *name = NULL;
    if (!get_text(field->name, value, out->kept, &name)) {
        return false;
    }
    for (int i = 0; field->choices[i] != NULL; i++) {
        if (strcmp(field->choices[i], name) == 0) {
            out->request.pre.level = out->request.post.level = (tmb_level_mode)i;
            return true;
        }
    }
    PyErr_Format(PyExc_ValueError, "%s is neither \"auto\" nor \"off\"", field->name);
    return false;
}

static bool set(tmb_py_request *out, const tmb_clone_field *field, PyObject *value) {
    char *place = (char *)&out->request + field->offset;
    long long integer = 0;
    switch (field->type) {
    case TMB_CLONE_TEXT:
    case TMB_CLONE_LANGUAGE: {
        const char *text = NULL;
        if (!get_text(field->name, value, out->kept, &text)) {
            return false;
        }
        if ((field->flags & TMB_CLONE_EMPTY_IS_NONE) != 0 && text[0] == '\0') {
            return true;
        }
        memcpy(place, &text, sizeof text);
        return true;
    }
    case TMB_CLONE_NUMBER: {
        double number = 0;
        bool good = get_number(field, value, &number);
        memcpy(place, &number, sizeof number);
        return good;
    }
    case TMB_CLONE_INTEGER: {
        bool good = get_integer(field, value, &integer);
        int small = (int)integer;
        memcpy(place, &small, sizeof small);
        return good && (small == integer || out_of_range(field));
    }
    case TMB_CLONE_LENGTH: {
        bool good = get_integer(field, value, &integer);
        size_t length = (size_t)integer;
        memcpy(place, &length, sizeof length);
        return good;
    }
    case TMB_CLONE_BOOLEAN: {
        bool flag = value == Py_True;
        memcpy(place, &flag, sizeof flag);
        return PyBool_Check(value) || wrong_type(field->name, "True or False", value);
    }
    case TMB_CLONE_LEVEL: return set_level(out, field, value);
    case TMB_CLONE_SEED: return get_seed(field, value, &out->request);
    case TMB_CLONE_FORMAT: break;
    }
    return false;
}

/* (bytes of samples, format, rate): mono, at that rate. */
static bool set_samples(tmb_py_request *out, PyObject *value) {
    PyObject *bytes = NULL;
    const char *format = NULL;
    tmb_py_samples samples;
    if (!PyArg_ParseTuple(value, "O!si", &PyBytes_Type, &bytes, &format, &out->request.ref_rate) ||
        !tmb_py_samples_get(bytes, format, &samples)) {
        return false;
    }
    out->copy = samples.owned;
    if (out->copy == NULL && samples.count > 0) {
        out->copy = malloc(samples.count * sizeof(float));
        if (out->copy == NULL) {
            (void)PyErr_NoMemory();
            return false;
        }
        memcpy(out->copy, samples.data, samples.count * sizeof(float));
    }
    out->request.ref_samples = out->copy;
    out->request.ref_sample_count = samples.count;
    return true;
}

static bool set_data(tmb_py_request *out, PyObject *value) {
    char *data = NULL;
    Py_ssize_t size = 0;
    if (PyBytes_AsStringAndSize(value, &data, &size) != 0) {
        return false;
    }
    out->copy = malloc((size_t)size + 1);
    if (out->copy == NULL) {
        (void)PyErr_NoMemory();
        return false;
    }
    memcpy(out->copy, data, (size_t)size);
    out->request.ref_data = out->copy;
    out->request.ref_data_size = (size_t)size;
    return true;
}

bool tmb_py_request_fill(tmb_py_request *out, PyObject *fields) {
    PyObject *key = NULL;
    PyObject *value = NULL;
    Py_ssize_t at = 0;
    *out = (tmb_py_request){.kept = PyList_New(0)};
    tmb_clone_request_default(&out->request);
    bool good = out->kept != NULL;
    while (good && PyDict_Next(fields, &at, &key, &value)) {
        const char *name = NULL;
        good = get_text("the name of a field", key, out->kept, &name);
        if (!good || value == Py_None) {
            continue;
        }
        const tmb_clone_field *field = find(name);
        if (field != NULL) {
            good = set(out, field, value);
        } else if (strcmp(name, "ref_samples") == 0) {
            good = out->copy == NULL && set_samples(out, value);
        } else if (strcmp(name, "ref_data") == 0) {
            good = out->copy == NULL && set_data(out, value);
        } else if (strcmp(name, "pre") == 0) {
            good = tmb_py_enhance_options(&out->request.pre, value);
        } else if (strcmp(name, "post") == 0) {
            good = tmb_py_enhance_options(&out->request.post, value);
        } else {
            PyErr_Format(PyExc_TypeError, "there is no field \"%s\"", name);
            good = false;
        }
    }
    if (!good) {
        tmb_py_request_free(out);
    }
    return good;
}

void tmb_py_request_free(tmb_py_request *request) {
    Py_XDECREF(request->kept);
    free(request->copy);
    *request = (tmb_py_request){0};
}

PyObject *tmb_py_fields(PyObject *self, PyObject *unused) {
    (void)self;
    (void)unused;
    PyObject *list = PyList_New(0);
    size_t count = 0;
    const tmb_clone_field *table = tmb_clone_fields(&count);
    for (size_t i = 0; i < count + sizeof extras / sizeof extras[0] && list != NULL; i++) {
        const tmb_clone_field *field = i < count ? &table[i] : &extras[i - count];
        PyObject *one = Py_BuildValue("(s(zz)iIss)", field->name, field->aliases[0], field->aliases[1],
                                      (int)field->type, field->flags, field->fallback != NULL ? field->fallback : "",
                                      field->summary != NULL ? field->summary : "");
        if (one == NULL || PyList_Append(list, one) != 0) {
            Py_DECREF(list);
            list = NULL;
        }
        Py_XDECREF(one);
    }
    return list;
}
