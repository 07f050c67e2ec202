/* Spans and rows -> tuples of COPY BINARY, as copy_binary.py describes them; big-endian throughout.
 *
 * A value of another type than its column wants, or beyond its range, is UNUSUAL: Python then writes the rows, or says
 * which of them cannot be written. */
#include "hot_path.h"

#define DATE_SHIFT 10957 /* dates are days since 2000-01-01 on the wire, day numbers days since 1970-01-01 */
#define INT8_OID 20
#define TEXT_OID 25
#define SPAN_COLUMNS 26
#define TRACE_ID_BYTES 16

/* ---- fields ------------------------------------------------------------------------------------------------------- */

static inline void put(buffer *out, uint64_t value, int bytes) {
    for (int i = bytes - 1; i >= 0; i--)
        out->start[out->length++] = (char)(value >> (8 * i));
}

static outcome add_int4(buffer *out, int64_t value) {
    if (value < INT32_MIN || value > INT32_MAX)
        return UNUSUAL;
    if (buffer_reserve(out, 8) < 0)
        return FAILED;
    put(out, 4, 4);
    put(out, (uint64_t)value, 4);
    return DONE;
}

static outcome add_int8(buffer *out, int64_t value) {
    if (buffer_reserve(out, 12) < 0)
        return FAILED;
    put(out, 8, 4);
    put(out, (uint64_t)value, 8);
    return DONE;
}

static outcome add_null(buffer *out) { return buffer_add(out, "\xff\xff\xff\xff", 4) < 0 ? FAILED : DONE; }

static outcome add_field(buffer *out, const void *bytes, size_t length) {
    if (length > INT32_MAX)
        return UNUSUAL;
    if (buffer_reserve(out, length + 4) < 0)
        return FAILED;
    put(out, length, 4);
    return buffer_add(out, bytes, length) < 0 ? FAILED : DONE;
}

static outcome add_jsonb(buffer *out, PyObject *text) {
    if (!PyBytes_Check(text) || PyBytes_GET_SIZE(text) >= INT32_MAX)
        return UNUSUAL;
    if (buffer_reserve(out, (size_t)PyBytes_GET_SIZE(text) + 5) < 0)
        return FAILED;
    put(out, (uint64_t)PyBytes_GET_SIZE(text) + 1, 4);
    put(out, 1, 1);
    return buffer_add(out, PyBytes_AS_STRING(text), (size_t)PyBytes_GET_SIZE(text)) < 0 ? FAILED : DONE;
}

static outcome utf8_of(PyObject *text, const char **bytes, Py_ssize_t *length) {
    if (!PyUnicode_Check(text))
        return UNUSUAL;
    *bytes = PyUnicode_AsUTF8AndSize(text, length);
    return *bytes == NULL ? FAILED : DONE;
}

static outcome add_text(buffer *out, PyObject *text) {
    const char *bytes;
    Py_ssize_t length;
    TRY(utf8_of(text, &bytes, &length));
    return add_field(out, bytes, (size_t)length);
}

static outcome int_of(PyObject *value, int64_t *number) {
    int overflow;
    if (value == NULL || !PyLong_Check(value))
        return UNUSUAL;
    *number = PyLong_AsLongLongAndOverflow(value, &overflow);
    return overflow ? UNUSUAL : DONE;
}

/* An array of one dimension, of all texts or all int8; its length is written when its end is known. */
static outcome add_array(buffer *out, PyObject *items, int is_text) {
    if (!PyList_Check(items))
        return UNUSUAL;
    Py_ssize_t count = PyList_GET_SIZE(items);
    size_t start = out->length;
    if (count > INT32_MAX)
        return UNUSUAL;
    if (buffer_reserve(out, 24) < 0)
        return FAILED;
    put(out, 12, 4);
    put(out, count ? 1 : 0, 4); /* dimensions */
    put(out, 0, 4);             /* no element is NULL */
    put(out, is_text ? TEXT_OID : INT8_OID, 4);
    if (count == 0)
        return DONE;
    put(out, (uint64_t)count, 4);
    put(out, 1, 4); /* the first index */
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *item = PyList_GET_ITEM(items, i);
        int64_t number;
        if (is_text) {
            TRY(add_text(out, item));
        } else {
            TRY(int_of(item, &number));
            TRY(add_int8(out, number));
        }
    }
    size_t end = out->length, length = end - start - 4;
    if (length > INT32_MAX)
        return UNUSUAL;
    out->length = start;
    put(out, length, 4);
    out->length = end;
    return DONE;
}

static outcome add_key(buffer *out, int columns, int64_t tenant_id, PyObject *day, PyObject *trace_id) {
    int64_t number;
    TRY(int_of(day, &number));
    if (!PyBytes_Check(trace_id) || PyBytes_GET_SIZE(trace_id) != TRACE_ID_BYTES)
        return UNUSUAL;
    if (number < INT32_MIN || number > INT32_MAX)
        return UNUSUAL;
    if (buffer_reserve(out, 2) < 0)
        return FAILED;
    put(out, (uint64_t)columns, 2);
    TRY(add_int4(out, tenant_id));
    TRY(add_int4(out, number - DATE_SHIFT));
    return add_field(out, PyBytes_AS_STRING(trace_id), TRACE_ID_BYTES);
}

/* The bytes of a finished `out`, None where it is to be done by Python, NULL where an exception is set. */
static PyObject *finished(buffer *out, outcome result) {
    PyObject *bytes = NULL;
    if (result == DONE)
        bytes = PyBytes_FromStringAndSize(out->start, (Py_ssize_t)out->length);
    else if (result == UNUSUAL || is_left_to_python()) {
        Py_INCREF(Py_None);
        bytes = Py_None;
    }
    return bytes;
}

static buffer spare;

static buffer take_buffer(void) {
    buffer taken = spare;
    memset(&spare, 0, sizeof spare);
    return taken;
}

static void give_buffer(buffer *taken) {
    buffer_settle(taken);
    PyMem_RawFree(spare.start);
    spare = *taken;
}

/* ---- rows of `span` ----------------------------------------------------------------------------------------------- */

static outcome add_count(buffer *out, PyObject *count) {
    int64_t number;
    TRY(int_of(count, &number));
    return number ? add_int8(out, number) : add_null(out);
}

static outcome add_text_or_null(buffer *out, PyObject *text) {
    if (!PyUnicode_Check(text))
        return UNUSUAL;
    return PyUnicode_GET_LENGTH(text) ? add_text(out, text) : add_null(out);
}

static outcome add_facts(buffer *out, PyObject *facts) {
    if (!PyDict_Check(facts))
        return UNUSUAL;
    if (PyDict_GET_SIZE(facts) == 0)
        return add_null(out);
    PyObject *text = PyObject_CallOneArg(python.dumps, facts);
    if (text == NULL)
        return FAILED;
    outcome result = add_jsonb(out, text);
    Py_DECREF(text);
    return result;
}

static outcome add_span(buffer *out, int64_t tenant_id, PyObject *day, PyObject *span, PyObject *facts) {
    if (Py_TYPE(span) != python.span.type)
        return UNUSUAL;
    PyObject *values[SPAN_FIELDS];
    for (int i = 0; i < SPAN_FIELDS; i++)
        if ((values[i] = *layout_slot(span, python.span.offsets[i])) == NULL)
            return UNUSUAL;
    PyObject *resource = values[RESOURCE], *scope = values[SCOPE];
    if (Py_TYPE(resource) != python.resource.type || Py_TYPE(scope) != python.scope.type)
        return UNUSUAL;
    PyObject *scope_json = *layout_slot(scope, python.scope.offsets[SCOPE_JSON]);
    int64_t number;
    if (scope_json == NULL)
        return UNUSUAL;
    TRY(add_key(out, SPAN_COLUMNS, tenant_id, day, values[TRACE_ID]));
    static const struct {
        enum span_field field;
        int bytes;
    } numbers[] = {{SPAN_ID, 8}, {FINGERPRINT, 8}, {PARENT_SPAN_ID, 8}, {KIND, 4}, {STATUS_CODE, 4},
                   {START_NS, 8}, {END_NS, 8}, {FLAGS, 8}, {RECEIVED_NS, 8}};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        PyObject *value = values[numbers[i].field];
        if (numbers[i].field == PARENT_SPAN_ID && value == Py_None) {
            TRY(add_null(out));
            continue;
        }
        TRY(int_of(value, &number));
        TRY(numbers[i].bytes == 4 ? add_int4(out, number) : add_int8(out, number));
    }
    TRY(add_text(out, values[NAME]));
    TRY(add_text_or_null(out, values[STATUS_MESSAGE]));
    TRY(add_text_or_null(out, values[TRACE_STATE]));
    TRY(int_of(*layout_slot(resource, python.resource.offsets[RESOURCE_ID]), &number));
    TRY(add_int8(out, number));
    TRY(scope_json == Py_None ? add_null(out) : add_jsonb(out, scope_json));
    TRY(add_jsonb(out, values[ATTRIBUTES_JSON]));
    TRY(values[EVENTS_JSON] == Py_None ? add_null(out) : add_jsonb(out, values[EVENTS_JSON]));
    TRY(values[LINKS_JSON] == Py_None ? add_null(out) : add_jsonb(out, values[LINKS_JSON]));
    TRY(add_count(out, values[DROPPED_ATTRIBUTES]));
    TRY(add_count(out, values[DROPPED_EVENTS]));
    TRY(add_count(out, values[DROPPED_LINKS]));
    /* From here on other Python code may run, and what it changes is no longer looked at by borrowed references. */
    PyObject *anomalies = values[ANOMALIES], *raw = values[RAW];
    Py_INCREF(anomalies);
    Py_INCREF(raw);
    outcome result = add_facts(out, facts);
    if (result == DONE && !PyList_Check(anomalies))
        result = UNUSUAL;
    if (result == DONE)
        result = PyList_GET_SIZE(anomalies) ? add_array(out, anomalies, 1) : add_null(out);
    if (result == DONE && raw != Py_None && !PyBytes_Check(raw))
        result = UNUSUAL;
    if (result == DONE)
        result = raw == Py_None ? add_null(out)
                                : add_field(out, PyBytes_AS_STRING(raw), (size_t)PyBytes_GET_SIZE(raw));
    Py_DECREF(anomalies);
    Py_DECREF(raw);
    return result;
}

/* span_rows(tenant_id, days, spans, facts, first, last) -> bytes | None: the tuples of spans[first:last]. */
PyObject *span_rows(PyObject *module, PyObject *const *arguments, Py_ssize_t count) {
    (void)module;
    int64_t tenant_id, first, last;
    if (count != 6 || !PyList_Check(arguments[1]) || !PyList_Check(arguments[2]) || !PyList_Check(arguments[3]) ||
        int_of(arguments[0], &tenant_id) != DONE || int_of(arguments[4], &first) != DONE || first < 0 ||
        int_of(arguments[5], &last) != DONE) {
        PyErr_Clear();
        Py_INCREF(Py_None);
        return Py_None;
    }
    buffer out = take_buffer();
    outcome result = DONE;
    for (Py_ssize_t i = (Py_ssize_t)first; result == DONE && i < last; i++) {
        if (i >= PyList_GET_SIZE(arguments[1]) || i >= PyList_GET_SIZE(arguments[2]) || i >= PyList_GET_SIZE(arguments[3])) {
            result = UNUSUAL;
            break;
        }
        PyObject *span = PyList_GET_ITEM(arguments[2], i), *facts = PyList_GET_ITEM(arguments[3], i);
        Py_INCREF(span);
        Py_INCREF(facts);
        result = add_span(&out, tenant_id, PyList_GET_ITEM(arguments[1], i), span, facts);
        Py_DECREF(span);
        Py_DECREF(facts);
    }
    PyObject *rows = finished(&out, result);
    give_buffer(&out);
    return rows;
}

/* ---- rows of `execution`, `node` and `edge` ----------------------------------------------------------------------- */

/* copy_binary.Column, by the letters of copy_binary.py. */
static outcome add_value(buffer *out, char column, PyObject *value) {
    int64_t number;
    if (value == Py_None)
        return add_null(out);
    switch (column) {
    case 'i':
        TRY(int_of(value, &number));
        return add_int4(out, number);
    case 'q':
        TRY(int_of(value, &number));
        return add_int8(out, number);
    case 'd': {
        double read = PyFloat_CheckExact(value) || PyLong_CheckExact(value) ? PyFloat_AsDouble(value) : -1.0;
        uint64_t bits;
        if (read == -1.0 && (PyErr_Occurred() || !(PyFloat_CheckExact(value) || PyLong_CheckExact(value))))
            return PyErr_Occurred() ? FAILED : UNUSUAL;
        memcpy(&bits, &read, sizeof bits);
        return add_int8(out, (int64_t)bits);
    }
    case '?':
        if (!PyBool_Check(value))
            return UNUSUAL;
        return add_field(out, value == Py_True ? "\x01" : "\x00", 1);
    case 's': return add_text(out, value);
    case 'S': return add_array(out, value, 1);
    case 'Q': return add_array(out, value, 0);
    case 'u': {
        const char *digits;
        Py_ssize_t length;
        unsigned char id[TRACE_ID_BYTES] = {0};
        TRY(utf8_of(value, &digits, &length));
        if (length != 2 * TRACE_ID_BYTES)
            return UNUSUAL;
        for (int i = 0; i < 2 * TRACE_ID_BYTES; i++) {
            char c = digits[i];
            int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
            if (digit < 0)
                return UNUSUAL;
            id[i / 2] = (unsigned char)(id[i / 2] << 4 | digit);
        }
        return add_field(out, id, sizeof id);
    }
    default: return UNUSUAL;
    }
}

/* Slots where the class has them, else an ordinary look-up: the classes may be compiled ones. */
static outcome add_row(buffer *out, PyObject *row, const layout *of, PyObject *names, const char *columns) {
    for (Py_ssize_t i = 0; i < of->count; i++) {
        PyObject *value;
        if (of->offsets[i] >= 0 && Py_TYPE(row) == of->type) {
            value = *layout_slot(row, of->offsets[i]);
            if (value == NULL)
                return UNUSUAL;
            Py_INCREF(value);
        } else if ((value = PyObject_GetAttr(row, PyTuple_GET_ITEM(names, i))) == NULL) {
            return FAILED;
        }
        outcome result = add_value(out, columns[i], value);
        Py_DECREF(value);
        TRY(result);
    }
    return DONE;
}

static outcome add_rows(buffer *out, int64_t tenant_id, PyObject *keys, PyObject *rows, const layout *of, PyObject *names,
                        const char *columns, PyObject *last) {
    outcome result = DONE;
    Py_ssize_t more = PyList_GET_SIZE(last) > 0;
    for (Py_ssize_t i = 0; result == DONE && i < PyList_GET_SIZE(rows); i++) {
        if (i >= PyList_GET_SIZE(keys) ||
            (more && (i >= PyList_GET_SIZE(last) || !PyBytes_Check(PyList_GET_ITEM(last, i)))))
            return UNUSUAL;
        PyObject *key = PyList_GET_ITEM(keys, i), *row = PyList_GET_ITEM(rows, i);
        if (!PyTuple_Check(key) || PyTuple_GET_SIZE(key) != 2)
            return UNUSUAL;
        TRY(add_key(out, (int)(of->count + 3 + more), tenant_id, PyTuple_GET_ITEM(key, 0), PyTuple_GET_ITEM(key, 1)));
        PyObject *field = more ? PyList_GET_ITEM(last, i) : NULL;
        Py_INCREF(row);
        Py_XINCREF(field);
        result = add_row(out, row, of, names, columns);
        if (result == DONE && field != NULL &&
            buffer_add(out, PyBytes_AS_STRING(field), (size_t)PyBytes_GET_SIZE(field)) < 0)
            result = FAILED;
        Py_XDECREF(field);
        Py_DECREF(row);
    }
    return result;
}

/* Where `names` are in objects of `type`: to look is more than to write a row, and rows come a trace at a time. The first
 * few are kept for good: three tables have the same classes and names every time. */
typedef struct {
    layout of;
    PyObject *names;
} named_layout;

static named_layout kept[4];
static size_t kept_count = 0;

static int look_up(named_layout *found, PyTypeObject *type, PyObject *names) {
    for (size_t i = 0; i < kept_count; i++)
        if (kept[i].of.type == type && kept[i].names == names) {
            *found = kept[i];
            return 0;
        }
    Py_ssize_t *offsets = PyMem_RawCalloc((size_t)PyTuple_GET_SIZE(names) + 1, sizeof *offsets);
    if (offsets == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    Py_INCREF(type);
    Py_INCREF(names);
    *found = (named_layout){{type, offsets, PyTuple_GET_SIZE(names)}, names};
    for (Py_ssize_t i = 0; i < found->of.count; i++)
        offsets[i] = layout_offset(type, PyTuple_GET_ITEM(names, i));
    if (kept_count < sizeof kept / sizeof *kept)
        kept[kept_count++] = *found;
    return 0;
}

static void let_go(named_layout *found) {
    for (size_t i = 0; i < kept_count; i++)
        if (kept[i].of.offsets == found->of.offsets)
            return;
    PyMem_RawFree(found->of.offsets);
    Py_DECREF(found->of.type);
    Py_DECREF(found->names);
}

/* table_rows(tenant_id, keys, rows, names, columns, last) -> bytes | None: `names` are the fields of a row in the order of
 * the columns, `columns` has a letter for each; `last` are the whole fields of one more column, or nothing. */
PyObject *table_rows(PyObject *module, PyObject *const *arguments, Py_ssize_t count) {
    (void)module;
    int64_t tenant_id;
    if (count != 6 || !PyList_Check(arguments[1]) || !PyList_Check(arguments[2]) || !PyTuple_Check(arguments[3]) ||
        !PyBytes_Check(arguments[4]) || !PyList_Check(arguments[5]) ||
        PyTuple_GET_SIZE(arguments[3]) != PyBytes_GET_SIZE(arguments[4]) ||
        PyTuple_GET_SIZE(arguments[3]) > INT16_MAX - 3 || int_of(arguments[0], &tenant_id) != DONE ||
        PyList_GET_SIZE(arguments[1]) != PyList_GET_SIZE(arguments[2]) || PyList_GET_SIZE(arguments[2]) == 0) {
        PyErr_Clear();
        Py_INCREF(Py_None);
        return Py_None;
    }
    PyObject *keys = arguments[1], *rows = arguments[2], *names = arguments[3];
    named_layout found;
    if (look_up(&found, Py_TYPE(PyList_GET_ITEM(rows, 0)), names) < 0)
        return NULL;
    buffer out = take_buffer();
    outcome result = add_rows(&out, tenant_id, keys, rows, &found.of, names, PyBytes_AS_STRING(arguments[4]), arguments[5]);
    PyObject *tuples = finished(&out, result);
    give_buffer(&out);
    let_go(&found);
    return tuples;
}
