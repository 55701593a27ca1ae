#include "core.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

float *tmb_py_floats_room(tmb_py_floats *floats, size_t more) {
    if (more > SIZE_MAX / sizeof(float) - floats->count) {
        return NULL;
    }
    size_t needed = floats->count + more;
    if (needed > floats->capacity) {
        size_t capacity = floats->capacity <= SIZE_MAX / sizeof(float) / 2 ? 2 * floats->capacity : needed;
        capacity = capacity > needed ? capacity : needed;
        float *data = realloc(floats->data, capacity * sizeof(float));
        if (data == NULL) {
            return NULL;
        }
        floats->data = data;
        floats->capacity = capacity;
    }
    return floats->data + floats->count;
}

PyObject *tmb_py_floats_copy(const float *data, size_t count) {
    if (count > (size_t)PY_SSIZE_T_MAX / sizeof(float)) {
        return PyErr_NoMemory();
    }
    return PyByteArray_FromStringAndSize((const char *)data, (Py_ssize_t)(count * sizeof(float)));
}

PyObject *tmb_py_floats_take(tmb_py_floats *floats) {
    PyObject *bytes = tmb_py_floats_copy(floats->data, floats->count);
    free(floats->data);
    *floats = (tmb_py_floats){0};
    return bytes;
}

static float from_half(uint16_t half) {
    int exponent = (half >> 10) & 31;
    int mantissa = half & 1023;
    float value = exponent == 31  ? (mantissa != 0 ? NAN : INFINITY)
                  : exponent == 0 ? ldexpf((float)mantissa, -24)
                                  : ldexpf((float)(mantissa + 1024), exponent - 25);
    return (half & 0x8000) != 0 ? -value : value;
}

static float value_at(const char *data, char format, size_t index) {
    switch (format) {
    case 'd': {
        double value;
        memcpy(&value, data + index * sizeof value, sizeof value);
        return (float)value;
    }
    case 'e': {
        uint16_t value;
        memcpy(&value, data + index * sizeof value, sizeof value);
        return from_half(value);
    }
    case 'h': {
        int16_t value;
        memcpy(&value, data + index * sizeof value, sizeof value);
        return (float)value / 32768.0F;
    }
    case 'i': {
        int32_t value;
        memcpy(&value, data + index * sizeof value, sizeof value);
        return (float)((double)value / 2147483648.0);
    }
    default: return ((float)(unsigned char)data[index] - 128.0F) / 128.0F;
    }
}

/* The first index that is not finite, or count. */
static size_t first_not_finite(const float *data, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (!isfinite(data[i])) {
            return i;
        }
    }
    return count;
}

bool tmb_py_samples_get(PyObject *bytes, const char *format, tmb_py_samples *out) {
    *out = (tmb_py_samples){0};
    size_t width = 0;
    switch (format[0]) {
    case 'f': width = 4; break;
    case 'd': width = 8; break;
    case 'e':
    case 'h': width = 2; break;
    case 'i': width = 4; break;
    case 'B': width = 1; break;
    default: PyErr_Format(PyExc_TypeError, "samples of the format \"%s\" are not understood", format); return false;
    }
    char *data = NULL;
    Py_ssize_t size = 0;
    if (PyBytes_AsStringAndSize(bytes, &data, &size) != 0) {
        return false;
    }
    if ((size_t)size % width != 0) {
        PyErr_SetString(PyExc_ValueError, "the bytes are no whole number of samples");
        return false;
    }
    size_t count = (size_t)size / width;
    size_t bad = 0;
    bool memory = true;
    Py_BEGIN_ALLOW_THREADS;
    if (format[0] == 'f' && (uintptr_t)data % sizeof(float) == 0) {
        out->data = (const float *)(const void *)data;
    } else if (count > 0 &&
               (out->owned = count <= SIZE_MAX / sizeof(float) ? malloc(count * sizeof(float)) : NULL) == NULL) {
        memory = false;
    } else if (format[0] == 'f') {
        memcpy(out->owned, data, count * sizeof(float));
    } else {
        for (size_t i = 0; i < count; i++) {
            out->owned[i] = value_at(data, format[0], i);
        }
    }
    if (out->data == NULL) {
        out->data = out->owned;
    }
    out->count = count;
    bad = memory ? first_not_finite(out->data, count) : 0;
    Py_END_ALLOW_THREADS;
    if (!memory) {
        (void)PyErr_NoMemory();
        return false;
    }
    if (bad < count) {
        bool nan = isnan(out->data[bad]);
        tmb_py_samples_free(out);
        PyErr_Format(PyExc_ValueError, "value %zu of the samples is %s", bad,
                     nan ? "not a number" : "infinite, or too large for a 32-bit float");
        return false;
    }
    return true;
}

void tmb_py_samples_free(tmb_py_samples *samples) {
    free(samples->owned);
    *samples = (tmb_py_samples){0};
}

/* floats(bytes, format) -> bytearray of floats */
PyObject *tmb_py_to_floats(PyObject *self, PyObject *arguments) {
    (void)self;
    PyObject *bytes = NULL;
    const char *format = NULL;
    tmb_py_samples samples;
    if (!PyArg_ParseTuple(arguments, "O!s", &PyBytes_Type, &bytes, &format) ||
        !tmb_py_samples_get(bytes, format, &samples)) {
        return NULL;
    }
    PyObject *result = tmb_py_floats_copy(samples.data, samples.count);
    tmb_py_samples_free(&samples);
    return result;
}
