/* AnyValue and KeyValue, by the numbers of opentelemetry/proto/common/v1/common.proto. */
#include "values.h"

static outcome read_value(buffer *json, cursor in, int depth, PyObject **value);

/* One KeyValue. */
outcome add_attribute(buffer *json, attribute_set *set, cursor in, int depth) {
    PyObject *key, *value = NULL;
    cursor content = {NULL, NULL};
    if (set->count == python.max_keys)
        return UNUSUAL;
    if (set->count++)
        ADD(',');
    if (!is_at_end(&in) && *in.at == 0x0a) {
        in.at++;
        TRY(read_content(&in, &content));
    }
    TRY(read_text(content.at, LENGTH(content), TEXT_KEY, &key, json));
    content.at = content.end = in.end;
    outcome result = DONE;
    if (!is_at_end(&in)) {
        result = *in.at++ == 0x12 ? read_content(&in, &content) : UNUSUAL;
        if (result == DONE && !is_at_end(&in))
            result = UNUSUAL;
    }
    if (result == DONE)
        result = read_value(json, content, depth, &value);
    if (result == DONE && PyDict_SetItem(set->taken, key, value) < 0)
        result = FAILED;
    Py_DECREF(key);
    Py_XDECREF(value);
    return result;
}

/* A message with nothing but a repeated first field: the elements of an array or a key-value list. */
static outcome read_elements(buffer *json, cursor in, int depth, attribute_set *set, PyObject *list) {
    while (!is_at_end(&in)) {
        cursor content;
        PyObject *item;
        if (*in.at++ != 0x0a)
            return UNUSUAL;
        TRY(read_content(&in, &content));
        if (set != NULL) {
            TRY(add_attribute(json, set, content, depth));
            continue;
        }
        if (PyList_GET_SIZE(list))
            ADD(',');
        TRY(read_value(json, content, depth, &item));
        int failed = PyList_Append(list, item);
        Py_DECREF(item);
        if (failed < 0)
            return FAILED;
    }
    return DONE;
}

static outcome read_array(buffer *json, cursor in, int depth, PyObject **value) {
    ADD('[');
    PyObject *list = PyList_New(0);
    if (list == NULL)
        return FAILED;
    outcome result = read_elements(json, in, depth, NULL, list);
    if (result == DONE && buffer_add_char(json, ']') < 0)
        result = FAILED;
    if (result == DONE)
        *value = list;
    else
        Py_DECREF(list);
    return result;
}

static outcome read_key_values(buffer *json, cursor in, int depth, PyObject **value) {
    attribute_set set;
    TRY(begin_attributes(json, &set));
    outcome result = read_elements(json, in, depth, &set, NULL);
    if (result == DONE)
        result = end_attributes(json, &set);
    if (result == DONE)
        *value = set.taken;
    else
        Py_DECREF(set.taken);
    return result;
}

static outcome add_dumped(buffer *json, PyObject *value) {
    PyObject *text = PyObject_CallOneArg(python.dumps, value);
    if (text == NULL)
        return FAILED;
    int failed = PyBytes_Check(text) ? buffer_add(json, PyBytes_AS_STRING(text), (size_t)PyBytes_GET_SIZE(text)) : -1;
    Py_DECREF(text);
    if (failed < 0 && !PyErr_Occurred())
        return UNUSUAL;
    return failed < 0 ? FAILED : DONE;
}

/* By a rule of stored.py, of a value that JSON may have no form for. Takes `sent` over. */
static outcome stored_by(buffer *json, PyObject *rule, PyObject *sent, PyObject **value) {
    if (sent == NULL)
        return FAILED;
    PyObject *stored = rule == NULL ? sent : PyObject_CallOneArg(rule, sent);
    if (rule != NULL)
        Py_DECREF(sent);
    if (stored == NULL)
        return FAILED;
    outcome result = add_dumped(json, stored);
    if (result == DONE)
        *value = stored;
    else
        Py_DECREF(stored);
    return result;
}

/* An AnyValue with one field, or none. */
static outcome read_value(buffer *json, cursor in, int depth, PyObject **value) {
    cursor content = in;
    uint64_t number = 0;
    if (is_at_end(&in)) {
        ADD_LITERAL("null");
        Py_INCREF(Py_None);
        *value = Py_None;
        return DONE;
    }
    unsigned char tag = *in.at++;
    switch (tag) {
    case 0x0a: case 0x2a: case 0x32: case 0x3a:
        TRY(read_content(&in, &content));
        break;
    case 0x10: case 0x18:
        TRY(read_varint(&in, &number));
        break;
    case 0x21:
        TRY(read_fixed(&in, 8, &number));
        break;
    default: return UNUSUAL;
    }
    /* One more field of the oneof: the last would count. */
    if (!is_at_end(&in))
        return UNUSUAL;
    switch (tag) {
    case 0x0a: return read_text(content.at, LENGTH(content), TEXT_VALUE, value, json);
    case 0x10:
        if (number)
            ADD_LITERAL("true");
        else
            ADD_LITERAL("false");
        *value = PyBool_FromLong(number != 0);
        return DONE;
    case 0x18:
        if (json_add_int(json, (int64_t)number) < 0)
            return FAILED;
        return failed_if_null(*value = PyLong_FromLongLong((int64_t)number));
    case 0x21: {
        double read;
        memcpy(&read, &number, sizeof read);
        /* stored.py writes these as they are: PLAIN_MIN and PLAIN_MAX, and a zero without a sign, which has no bit set. */
        const int is_plain = (read > 1e-9 && read < 1e16) || number == 0;
        return stored_by(json, is_plain ? NULL : python.stored_double, PyFloat_FromDouble(read), value);
    }
    case 0x3a:
        return stored_by(json, 
            python.stored_bytes, PyBytes_FromStringAndSize((const char *)content.at, (Py_ssize_t)LENGTH(content)), value);
    default:
        if (depth >= MAX_DEPTH)
            return UNUSUAL;
        return tag == 0x2a ? read_array(json, content, depth + 1, value) : read_key_values(json, content, depth + 1, value);
    }
}
