/* spantree_exporter._hot_path: what Python calls, and what it gives to begin with. */
#include "hot_path.h"
#include <structmember.h>

python_side python;

Py_ssize_t layout_offset(PyTypeObject *type, PyObject *name) {
    Py_ssize_t offset = -1;
    PyObject *found = PyUnicode_Check(name) ? PyObject_GetAttr((PyObject *)type, name) : NULL;
    if (found == NULL)
        PyErr_Clear();
    else if (Py_TYPE(found) == &PyMemberDescr_Type) {
        /* A slot of a base class is at the same place in the objects of `type`. */
        const struct PyMemberDef *member = ((PyMemberDescrObject *)found)->d_member;
        if (member->type == T_OBJECT_EX && member->offset > 0)
            offset = member->offset;
    }
    Py_XDECREF(found);
    return offset;
}

PyObject *layout_new(const layout *of, PyObject **values) {
    PyObject *object = of->type->tp_alloc(of->type, 0);
    for (Py_ssize_t i = 0; i < of->count; i++)
        if (object == NULL)
            Py_XDECREF(values[i]);
        else
            *layout_slot(object, of->offsets[i]) = values[i];
    return object;
}

int is_left_to_python(void) {
    if (!PyErr_ExceptionMatches(PyExc_Exception) || PyErr_ExceptionMatches(PyExc_MemoryError))
        return 0;
    PyErr_Clear();
    return 1;
}

/* The place of each of `names` in objects of `type`. */
static int lay_out(layout *of, PyObject *type, const char *const *names, Py_ssize_t count) {
    if (!PyType_Check(type)) {
        PyErr_SetString(PyExc_TypeError, "wanted a class");
        return -1;
    }
    Py_ssize_t *offsets = PyMem_RawCalloc((size_t)count, sizeof *offsets);
    if (offsets == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *name = PyUnicode_FromString(names[i]);
        offsets[i] = name == NULL ? -1 : layout_offset((PyTypeObject *)type, name);
        Py_XDECREF(name);
        if (offsets[i] < 0) {
            PyErr_Format(PyExc_TypeError, "%R has no slot %s", type, names[i]);
            PyMem_RawFree(offsets);
            return -1;
        }
    }
    PyMem_RawFree(of->offsets);
    Py_INCREF(type);
    Py_XDECREF(of->type);
    of->type = (PyTypeObject *)type;
    of->offsets = offsets;
    of->count = count;
    return 0;
}

static void keep(PyObject **place, PyObject *value) {
    Py_INCREF(value);
    Py_XSETREF(*place, value);
}

/* Counted up when what Python and C expect of each other changes: a build of yesterday's source is not used then. */
#define INTERFACE 6

/* set_up(interface, Span, Event, Link, Resource, Scope, stored_double, stored_bytes, dumps, sha256, max_keys, use_own_sha256) */
static PyObject *set_up(PyObject *module, PyObject *const *arguments, Py_ssize_t count) {
    (void)module;
    static const char *const span[SPAN_FIELDS] = {
        "trace_id", "span_id", "parent_span_id", "name", "kind", "start_ns", "end_ns", "status_code", "status_message",
        "flags", "trace_state", "resource", "scope", "attributes", "attributes_json", "events", "events_json", "links",
        "links_json", "dropped_attributes_count", "dropped_events_count", "dropped_links_count", "received_ns",
        "fingerprint", "raw", "anomalies"};
    static const char *const event[EVENT_FIELDS] = {"time_ns", "name", "attributes", "dropped_attributes_count"};
    static const char *const link[LINK_FIELDS] = {
        "trace_id", "span_id", "trace_state", "attributes", "flags", "dropped_attributes_count"};
    static const char *const resource[RESOURCE_FIELDS] = {"id"};
    static const char *const scope[SCOPE_FIELDS] = {"json", "attributes"};
    if (count != 12 || PyLong_AsLong(arguments[0]) != INTERFACE) {
        PyErr_Clear();
        PyErr_SetString(PyExc_ImportError, "it was built from the source of another version");
        return NULL;
    }
    arguments++;
    if (lay_out(&python.span, arguments[0], span, SPAN_FIELDS) < 0 ||
        lay_out(&python.event, arguments[1], event, EVENT_FIELDS) < 0 ||
        lay_out(&python.link, arguments[2], link, LINK_FIELDS) < 0 ||
        lay_out(&python.resource, arguments[3], resource, RESOURCE_FIELDS) < 0 ||
        lay_out(&python.scope, arguments[4], scope, SCOPE_FIELDS) < 0)
        return NULL;
    keep(&python.stored_double, arguments[5]);
    keep(&python.stored_bytes, arguments[6]);
    keep(&python.dumps, arguments[7]);
    keep(&python.sha256, arguments[8]);
    python.max_keys = PyLong_AsSsize_t(arguments[9]);
    int use_own = PyObject_IsTrue(arguments[10]);
    if (PyErr_Occurred())
        return NULL;
    python.sha256_is_built_in = use_own > 0 && sha256_has_instructions();
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"set_up", (PyCFunction)(void (*)(void))set_up, METH_FASTCALL, NULL},
    {"read_spans", (PyCFunction)(void (*)(void))read_spans, METH_FASTCALL, NULL},
    {"examine_body", examine_body, METH_O, NULL},
    {"object_units", (PyCFunction)(void (*)(void))object_units, METH_FASTCALL, NULL},
    {"span_rows", (PyCFunction)(void (*)(void))span_rows, METH_FASTCALL, NULL},
    {"table_rows", (PyCFunction)(void (*)(void))table_rows, METH_FASTCALL, NULL},
    {"term_lists", term_lists, METH_O, NULL},
    {"merge_term_lists", merge_term_lists, METH_O, NULL},
    {"term_durations", term_durations, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

static int execute(PyObject *module) {
    (void)module;
    if (python.dollar == NULL)
        python.dollar = PyUnicode_FromString("$");
    if (python.empty_text == NULL)
        python.empty_text = PyUnicode_FromString("");
    return python.dollar == NULL || python.empty_text == NULL ? -1 : 0;
}

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, execute},
#ifdef Py_mod_multiple_interpreters
    {Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED},
#endif
    {0, NULL},
};

static struct PyModuleDef module = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "_hot_path",
    .m_doc = "Decoding and row bytes in C; see hot_path.py.",
    .m_methods = methods,
    .m_slots = module_slots,
};

PyMODINIT_FUNC PyInit__hot_path(void) { return PyModuleDef_Init(&module); }
