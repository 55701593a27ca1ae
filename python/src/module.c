#include "core.h"

/* fields() and so on take nothing, close(context) one argument, others a tuple. */
static PyMethodDef methods[] = {
    {"open", tmb_py_open, METH_O, NULL},
    {"close", tmb_py_close, METH_O, NULL},
    {"wait", tmb_py_wait, METH_O, NULL},
    {"preload", tmb_py_preload, METH_O, NULL},
    {"resolve", tmb_py_resolve, METH_VARARGS, NULL},
    {"statistics", tmb_py_statistics, METH_O, NULL},
    {"models", tmb_py_models, METH_O, NULL},
    {"log_next", tmb_py_log_next, METH_NOARGS, NULL},
    {"log_flush", tmb_py_log_flush, METH_NOARGS, NULL},
    {"fields", tmb_py_fields, METH_NOARGS, NULL},
    {"inbox", tmb_py_new_inbox, METH_NOARGS, NULL},
    {"inbox_descriptor", tmb_py_inbox_descriptor, METH_O, NULL},
    {"inbox_close_descriptor", tmb_py_inbox_close_descriptor, METH_O, NULL},
    {"inbox_next", tmb_py_inbox_next, METH_VARARGS, NULL},
    {"submit", tmb_py_submit, METH_VARARGS, NULL},
    {"cancel", tmb_py_cancel, METH_O, NULL},
    {"voice_create", tmb_py_voice_create, METH_VARARGS, NULL},
    {"voice_read", tmb_py_voice_read, METH_O, NULL},
    {"reference_measure", tmb_py_reference_measure, METH_VARARGS, NULL},
    {"floats", tmb_py_to_floats, METH_VARARGS, NULL},
    {"enhance", tmb_py_enhance, METH_VARARGS, NULL},
    {"enhancer", tmb_py_enhancer, METH_VARARGS, NULL},
    {"enhancer_push", tmb_py_enhancer_push, METH_VARARGS, NULL},
    {"enhancer_flush", tmb_py_enhancer_flush, METH_O, NULL},
    {"enhancer_snr", tmb_py_enhancer_snr, METH_O, NULL},
    {"enhancer_close", tmb_py_enhancer_close, METH_O, NULL},
    {"resample", tmb_py_resample, METH_VARARGS, NULL},
    {"enhance_file", tmb_py_enhance_file, METH_VARARGS, NULL},
    {"resample_file", tmb_py_resample_file, METH_VARARGS, NULL},
    {"read", tmb_py_read, METH_VARARGS, NULL},
    {"write", tmb_py_write, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "timbre._core", NULL, -1, methods, NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__core(void);

PyMODINIT_FUNC PyInit__core(void) {
    tmb_py_log_init();
    PyObject *module = PyModule_Create(&definition);
    if (module == NULL || PyModule_AddStringConstant(module, "version", tmb_version()) != 0 ||
        PyModule_AddStringConstant(module, "cpu_level", tmb_cpu_level()) != 0 ||
        PyModule_AddIntConstant(module, "cpu_threads", tmb_cpu_threads()) != 0) {
        Py_XDECREF(module);
        return NULL;
    }
    return module;
}
